//! A way to one upstream: a plain one, or one that opens only after its evidence was appraised.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use proofroom_canonical::{Digest, Timestamp};
use proofroom_classify::Assurance as TierAssurance;
use proofroom_record::{
    event::RunStatus,
    statement::{Assurance, UpstreamFacts},
};

use crate::{
    attested::{AttestedRoute, Verified},
    config::{BaseUrl, Upstream},
    gateway::Core,
    receipt::Signed,
    refusal::{Refusal, UpstreamFault},
    transport::{self, HttpClient, RequestFault, UpstreamResponse},
};

/// A configured way to an upstream.
pub(crate) enum Channel {
    Standard(Arc<Upstream>, Arc<HttpClient>),
    Attested(Arc<AttestedRoute>),
}

/// A way that may be used now.
pub(crate) enum OpenChannel {
    Standard(Arc<HttpClient>),
    Attested(Arc<Verified>),
}

/// Why nothing may be sent to an upstream now. There is no tier below to fall back to.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelError {
    /// The tier must be attested and the upstream is configured without evidence.
    #[error(
        "the tier must be attested and the upstream shows no evidence; ask the operator to correct the configuration"
    )]
    NotAttested,
    /// No connection to the attested upstream.
    #[error("the attested upstream cannot be reached; nothing was sent and no other tier is used")]
    Unreachable,
    /// The upstream did not serve evidence.
    #[error("the upstream served no evidence (HTTP status {0}); nothing was sent")]
    NoEvidence(u16),
    /// The evidence is larger than evidence may be, or broke off.
    #[error("the upstream's evidence is too large or broke off; nothing was sent")]
    EvidenceUnreadable,
    /// The appraisal policy does not accept the evidence.
    #[error(
        "appraisal policy `{policy}` does not accept the upstream's evidence ({cause}); nothing was sent"
    )]
    EvidenceRefused {
        /// Name of the policy.
        policy: String,
        /// Codes of the checks that failed.
        cause: String,
    },
    /// Accepted evidence names another TLS key than the connection's.
    #[error(
        "the upstream's evidence is about another TLS key than the connection's; nothing was sent"
    )]
    KeyNotInEvidence,
    /// After verification a connection showed another key.
    #[error("the upstream's TLS key changed after it was verified; nothing was sent")]
    KeyChanged,
    /// Accepted evidence that is no longer valid.
    #[error("the upstream's evidence has expired; nothing was sent")]
    EvidenceExpired,
    /// The evidence is about another model.
    #[error(
        "the upstream's evidence is about model `{attested}`, not about the one asked for; nothing was sent"
    )]
    ModelNotAttested {
        /// The model that the evidence names.
        attested: String,
    },
    /// What a provider serves is none of its format.
    #[error("the provider's evidence is not in its format; nothing was sent")]
    ReportMalformed,
    /// What a provider serves was made at boot, for no challenge.
    #[error("the provider's evidence is of a version that answers no challenge; nothing was sent")]
    ReportSuperseded,
    /// What Intel says of a provider's platform is not at hand.
    #[error(
        "no collateral for the provider's platform `{platform}`; fetch it with `proofroom collateral`; nothing was sent"
    )]
    NoCollateral {
        /// The platform's FMSPC.
        platform: String,
    },
    /// The policy for the provider does not accept its evidence.
    #[error(
        "policy `{policy}` does not accept the provider's evidence (check `{check}`: `{code}`); nothing was sent"
    )]
    ProviderRefused {
        /// Name of the policy.
        policy: String,
        /// What stands in the way.
        check: String,
        /// Its code.
        code: &'static str,
    },
    /// An answer came without a receipt that verifies.
    #[error(
        "an earlier answer of the provider had no receipt that verifies (`{code}`); nothing was sent"
    )]
    ReceiptRefused {
        /// The receipt's code.
        code: &'static str,
    },
    /// Accepted evidence could not be kept for those who judge the records.
    #[error(
        "the upstream's evidence cannot be kept, so that nobody could judge it later; see to the gateway's disk; nothing was sent"
    )]
    EvidenceNotKept,
    /// The upstream answered that it does not have the key that requests are sealed to.
    #[error("the upstream no longer has the key that its evidence names; nothing was sent")]
    SealingKeyUnknown,
    /// No random nonce, or no TLS.
    #[error("the gateway could not prepare a verification; ask its operator")]
    Internal,
}

impl ChannelError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotAttested => "upstream-not-attested",
            Self::Unreachable => "upstream-unreachable",
            Self::NoEvidence(_) => "evidence-not-served",
            Self::EvidenceUnreadable => "evidence-unreadable",
            Self::EvidenceRefused { .. } => "evidence-refused",
            Self::KeyNotInEvidence => "evidence-of-another-key",
            Self::KeyChanged => "upstream-key-changed",
            Self::EvidenceExpired => "evidence-expired",
            Self::ModelNotAttested { .. } => "model-not-attested",
            Self::ReportMalformed => "report-malformed",
            Self::ReportSuperseded => "report-superseded",
            Self::NoCollateral { .. } => "collateral-missing",
            Self::ProviderRefused { code, .. } | Self::ReceiptRefused { code } => code,
            Self::EvidenceNotKept => "evidence-not-kept",
            Self::SealingKeyUnknown => "sealed-key-unknown",
            Self::Internal => "verification-not-possible",
        }
    }

    /// Whether the upstream is away, as opposed to wrong.
    pub(crate) const fn is_outage(&self) -> bool {
        matches!(self, Self::Unreachable | Self::NoEvidence(_))
    }

    pub(crate) fn refusal(&self) -> Refusal {
        Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            self.code(),
            self.to_string(),
        )
    }
}

impl Channel {
    pub(crate) fn upstream(&self) -> &Arc<Upstream> {
        match self {
            Self::Standard(upstream, _) => upstream,
            Self::Attested(route) => route.upstream(),
        }
    }

    /// Keeps an attested upstream's verification ahead of traffic.
    pub(crate) fn keep(&self, core: &Arc<Core>) {
        match self {
            Self::Standard(..) => {}
            Self::Attested(route) => route.keep(core),
        }
    }

    /// Opens the way for a request for `model`: for an attested upstream, verification first.
    pub(crate) async fn open(
        &self,
        core: &Arc<Core>,
        model: &str,
        tier: TierAssurance,
    ) -> Result<OpenChannel, ChannelError> {
        match (self, tier) {
            (Self::Standard(..), TierAssurance::Attested) => Err(ChannelError::NotAttested),
            (Self::Standard(_, client), TierAssurance::Unattested) => {
                Ok(OpenChannel::Standard(Arc::clone(client)))
            }
            (Self::Attested(route), _) => {
                // verification is rare and large: it takes no room in a run's own future
                let verified = Box::pin(route.open(core)).await?;
                verified.serves(model)?;
                Ok(OpenChannel::Attested(verified))
            }
        }
    }

    /// Whether a request would wait for a verification now.
    pub(crate) fn waits(&self, core: &Core) -> bool {
        match self {
            Self::Standard(..) => false,
            Self::Attested(route) => route.waits(core),
        }
    }

    /// A sealed request came to nobody who can open it: the evidence is of an enclave that is gone.
    pub(crate) fn sealing_key_unknown(&self, core: &Core, open: &OpenChannel) {
        if let (Self::Attested(route), OpenChannel::Attested(verified)) = (self, open) {
            route.close(core, verified, ChannelError::SealingKeyUnknown);
        }
    }

    /// What a failed connection means: refusal for an attested upstream, which closes when the
    /// failure was another key; upstream error for a standard one.
    pub(crate) fn connect_failed(&self, core: &Core, open: &OpenChannel) -> (Refusal, RunStatus) {
        match (self, open) {
            (Self::Attested(route), OpenChannel::Attested(verified)) => {
                let error = route.connect_failed(core, verified);
                (error.refusal(), RunStatus::Refused)
            }
            _ => (
                UpstreamFault::Unreachable.refusal(),
                RunStatus::UpstreamError,
            ),
        }
    }
}

impl OpenChannel {
    /// What is needed for receipts of answers, where they are required.
    pub(crate) fn signed(
        &self,
        channel: &Channel,
        core: &Core,
    ) -> Result<Option<Signed>, ChannelError> {
        match (channel, self) {
            (Channel::Attested(route), Self::Attested(verified)) => {
                Signed::of(Arc::clone(route), Arc::clone(verified), core)
            }
            _ => Ok(None),
        }
    }

    /// Sends a request for below `base`, sealed where the policy for the upstream demands that.
    pub(crate) async fn request(
        &self,
        core: &Core,
        base: &BaseUrl,
        request: Request<Full<Bytes>>,
    ) -> Result<UpstreamResponse, RequestFault> {
        match self {
            Self::Standard(client) => transport::plain(client, request).await,
            Self::Attested(verified) => verified.request(core, base, request).await,
        }
    }

    /// Digest of the evidence by which the upstream was verified.
    pub(crate) fn evidence(&self) -> Option<Digest> {
        match self {
            Self::Standard(_) => None,
            Self::Attested(verified) => Some(verified.evidence()),
        }
    }

    /// What a record says about the upstream, which was asked for `model`.
    pub(crate) fn facts(&self, upstream: &Upstream, model: &str, sent: Timestamp) -> UpstreamFacts {
        UpstreamFacts {
            name: upstream.name.clone(),
            model: Some(model.to_owned()),
            source: upstream.source,
            assurance: match self {
                Self::Standard(_) => Assurance::ContractOnly {
                    contract: upstream.retention.contract.clone(),
                },
                Self::Attested(verified) => verified.assurance(),
            },
            retention: upstream.retention.mode.to_string(),
            region: upstream.region.clone(),
            sent,
        }
    }
}
