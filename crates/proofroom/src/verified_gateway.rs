//! A standalone gateway that shows what it is before anything is sent to it: asked over a nonce made now, and
//! believed only as far as its evidence goes.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proofroom_authn::Origin;
use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_evidence::{REPORT_DATA_BYTES, ReportData};
use proofroom_gateway::{Answered, IdentityError, ask_identity};
use proofroom_record::gateway::{
    GatewayEvidence, GatewayEvidenceError, GatewayIdentity, GatewayProof,
};
use proofroom_verifier::{
    AppraisalPolicy, QuoteAppraisal, QuoteExpectation, VerifiedQuote, appraise_quote,
};

use crate::{
    collateral::{CollateralError, CollateralSource},
    keys::{KeyError, random},
};

/// What a gateway answered: nothing of it is verified but that it is about this nonce and this connection.
#[derive(Debug)]
pub struct Shown {
    /// What it says of itself.
    pub identity: GatewayIdentity,
    /// A quote or report.
    pub evidence: Vec<u8>,
    /// What that must carry to be about this identity.
    pub report_data: [u8; REPORT_DATA_BYTES],
}

/// Why a gateway's answer shows nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShownError {
    /// An answer to another question.
    #[error(transparent)]
    Answer(#[from] GatewayEvidenceError),
    /// A gateway outside of a TEE.
    #[error(
        "the gateway shows no evidence of what it is, and says so itself: {0}; its operator's word is all there is"
    )]
    NoEvidence(String),
    /// Not base64.
    #[error("the gateway's evidence is not base64")]
    NotBase64,
}

impl ShownError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Answer(error) => error.code(),
            Self::NoEvidence(_) => "gateway-without-evidence",
            Self::NotBase64 => "gateway-evidence-malformed",
        }
    }
}

impl Shown {
    /// Reads what was answered to `nonce`.
    ///
    /// # Errors
    /// See [`ShownError`].
    pub fn read(answered: &Answered, nonce: Nonce) -> Result<Self, ShownError> {
        let (answer, identity) =
            GatewayEvidence::read(&answered.document, nonce, answered.tls_key)?;
        let report = match &answer.evidence {
            GatewayProof::Tee { report, .. } => report,
            GatewayProof::None { reason } => return Err(ShownError::NoEvidence(reason.clone())),
        };
        let evidence = STANDARD.decode(report).map_err(|_| ShownError::NotBase64)?;
        let data = ReportData::of_statement(answer.identity.as_bytes());
        Ok(Self {
            identity,
            evidence,
            report_data: *data.as_bytes(),
        })
    }
}

/// Why a gateway is not verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotVerified {
    /// It cannot be asked.
    #[error(transparent)]
    Asked(#[from] IdentityError),
    /// Its answer shows nothing.
    #[error(transparent)]
    Shown(#[from] ShownError),
    /// Nothing is bound to its connection.
    #[error(
        "no TLS key is in the gateway's evidence: a connection to it is not one to the machine that is shown"
    )]
    Unbound,
    /// What its platform's vendor says is not at hand.
    #[error(transparent)]
    Collateral(#[from] CollateralError),
    /// Checks that did not pass.
    #[error("the gateway's evidence is not accepted under the policy `{policy}`: {checks}")]
    Refused {
        /// The policy's name.
        policy: String,
        /// What did not pass, and how.
        checks: String,
    },
    /// The system gave no nonce.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl NotVerified {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Asked(error) => error.code(),
            Self::Shown(error) => error.code(),
            Self::Unbound => "gateway-evidence-unbound",
            Self::Collateral(error) => error.code(),
            Self::Refused { .. } => "gateway-evidence-refused",
            Self::Key(error) => error.code(),
        }
    }

    /// Whether nothing was learnt about the gateway: it did not answer.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Asked(IdentityError::Unreachable | IdentityError::Status(500..))
        )
    }
}

/// What a gateway has to show.
#[derive(Clone, Debug)]
pub struct GatewayPolicy {
    /// The appraisal policy for the TDX quote of its machine.
    pub policy: AppraisalPolicy,
    /// What Intel says about platforms.
    pub collateral: CollateralSource,
}

/// A gateway whose evidence was accepted: its machine holds the two keys. Only [`GatewayPolicy::verify`] makes one.
#[derive(Clone, Debug)]
pub struct VerifiedGateway {
    tls_key: Digest,
    identity: GatewayIdentity,
    quote: VerifiedQuote,
}

impl VerifiedGateway {
    /// SHA-256 of the SubjectPublicKeyInfo of the TLS key that it alone has.
    #[must_use]
    pub const fn tls_key(&self) -> Digest {
        self.tls_key
    }

    /// What it says of itself, under its quote.
    #[must_use]
    pub const fn identity(&self) -> &GatewayIdentity {
        &self.identity
    }

    /// The accepted quote, and until when it holds.
    #[must_use]
    pub const fn quote(&self) -> &VerifiedQuote {
        &self.quote
    }
}

impl GatewayPolicy {
    /// Asks the gateway at `gateway`, over TLS and a nonce made now, and appraises its answer as of `now`. Nothing but the
    /// nonce is sent.
    ///
    /// # Errors
    /// See [`NotVerified`].
    pub async fn verify(
        &self,
        gateway: &Origin,
        now: Timestamp,
    ) -> Result<VerifiedGateway, NotVerified> {
        let nonce = Nonce::from_random(random()?);
        let answered = ask_identity(&gateway.to_string(), nonce).await?;
        let tls_key = answered.tls_key.ok_or(NotVerified::Unbound)?;
        let shown = Shown::read(&answered, nonce)?;
        let collateral = self.collateral.of_quote(&shown.evidence)?;
        let expected = QuoteExpectation::Challenge(shown.report_data);
        let appraisal = appraise_quote(
            &shown.evidence,
            Some(&collateral),
            &self.policy,
            expected,
            now,
        );
        let quote = appraisal
            .into_verified()
            .map_err(|appraisal| self.refused(&appraisal))?;
        Ok(VerifiedGateway {
            tls_key,
            identity: shown.identity,
            quote,
        })
    }

    fn refused(&self, appraisal: &QuoteAppraisal) -> NotVerified {
        let obstacles = appraisal.checks().iter().filter_map(|check| {
            let (code, words) = check.outcome.code_and_words()?;
            Some(format!("{} ({code}: {words})", check.name))
        });
        let words: Vec<String> = obstacles.collect();
        NotVerified::Refused {
            policy: self.policy.name().to_owned(),
            checks: words.join("; "),
        }
    }
}
