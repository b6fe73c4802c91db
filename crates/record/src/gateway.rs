//! Sessions of a standalone gateway, whose callers hold virtual keys or an issuer's tokens, and no room: what a session is
//! bound to, and the account of its runs, by which a missing one shows.

use std::collections::BTreeMap;

use proofroom_canonical::{Digest, Nonce, SessionId, Timestamp, json};
use proofroom_tlog::LeafKind;
use serde::{Deserialize, Serialize};

use crate::{
    predicate::Predicate,
    statement::{ClientIdentity, Subject},
};

/// Predicate type of a gateway account.
pub const GATEWAY_ACCOUNT_V1: &str = "https://proofroom.dev/gateway-account/v1";

/// Value of [`GatewaySession::purpose`].
pub const GATEWAY_SESSION_PURPOSE: &str = "proofroom.gateway-session.v1";

/// What a key's session at a gateway is bound to, written down before its first run. The digest of its
/// bytes is the `session_binding` of every record of the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewaySession {
    /// [`GATEWAY_SESSION_PURPOSE`]: keeps these bytes from meaning anything else.
    pub purpose: String,
    /// The session.
    pub session: SessionId,
    /// Whose it is.
    pub client: ClientIdentity,
    /// Name of the repository that the key is for; empty where it names none.
    pub repository: String,
    /// What the key is used for, as routing rules name purposes; empty where it names nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub opened_for: String,
    /// SHA-256 of the SubjectPublicKeyInfo of the client's TLS key, where the key is bound to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<Digest>,
    /// SHA-256 thumbprint (RFC 7638) of the client's key, where the virtual key is bound to one by proofs (RFC 9449).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof_key: Option<Digest>,
    /// The key's session before this one, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<SessionId>,
    /// The gateway's policies when the session began.
    pub policies: GatewayPolicies,
    /// What the gateway shows of itself.
    pub gateway: GatewayAttestation,
    /// When it began (gateway's clock).
    pub opened: Timestamp,
}

/// SHA-256 of each policy file of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayPolicies {
    /// `classification.toml`.
    pub classification: Digest,
    /// `routing.toml`.
    pub routing: Digest,
    /// The appraisal policy for attested upstreams.
    pub appraisal: Digest,
    /// `upstreams.toml`.
    pub upstreams: Digest,
}

/// What a gateway shows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum GatewayAttestation {
    /// Nothing: it runs outside of a TEE, and its operator's word stands for what it is.
    None,
    /// Evidence with the record key in its report data, on request.
    Tee,
}

/// Value of [`GatewayIdentity::purpose`].
pub const GATEWAY_IDENTITY_PURPOSE: &str = "proofroom.gateway-identity.v1";

/// Where a standalone gateway says what it is.
pub const GATEWAY_ATTESTATION_PATH: &str = "/.well-known/proofroom/attestation";

/// The most bytes of a gateway's [`GatewayEvidence`].
pub const MAX_GATEWAY_EVIDENCE_BYTES: usize = 512 * 1024;

/// What a gateway in a TEE binds its evidence to: the evidence's report data is the SHA-512 of this
/// statement's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayIdentity {
    /// [`GATEWAY_IDENTITY_PURPOSE`]: keeps these bytes from meaning anything else.
    pub purpose: String,
    /// The nonce of whoever asks.
    pub nonce: Nonce,
    /// SHA-256 of the SubjectPublicKeyInfo of the key that signs its records.
    pub record_key: Digest,
    /// SHA-256 of the SubjectPublicKeyInfo of its listener's TLS key; absent where it serves none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<Digest>,
    /// The policies in force.
    pub policies: GatewayPolicies,
}

/// What a gateway answers to whoever asks what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayEvidence {
    /// The exact text of its [`GatewayIdentity`].
    pub identity: String,
    /// What stands behind it.
    pub evidence: GatewayProof,
}

/// What stands behind a gateway's identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum GatewayProof {
    /// Nothing: the identity is its operator's word.
    None {
        /// Why, in words.
        reason: String,
    },
    /// A quote or report whose report data is the SHA-512 of the identity's text.
    Tee {
        /// The quote or report, base64.
        report: String,
        /// What the host adds to it, base64; empty where it adds nothing.
        aux: String,
    },
}

/// Why a gateway's answer does not count as one to this question.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum GatewayEvidenceError {
    /// Not the JSON that it must be.
    #[error("the answer is not a gateway's evidence")]
    Malformed,
    /// Another purpose.
    #[error("the statement is not a gateway's identity")]
    Purpose,
    /// Another nonce: a recorded answer.
    #[error("the statement answers another nonce")]
    Nonce,
    /// Another TLS key than the connection's: somebody is in between.
    #[error("the statement names another TLS key than the connection's")]
    TlsKey,
}

impl GatewayEvidenceError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed => "gateway-evidence-malformed",
            Self::Purpose => "gateway-evidence-purpose",
            Self::Nonce => "gateway-evidence-nonce",
            Self::TlsKey => "gateway-evidence-tls-key",
        }
    }
}

impl GatewayEvidence {
    /// Reads an answer to `nonce`, which came over a connection whose server showed the TLS key of this
    /// digest, or none on loopback. Nothing is verified but that the statement is about this question
    /// and this connection: whether the proof proves it is for the appraisal.
    ///
    /// # Errors
    /// See [`GatewayEvidenceError`].
    pub fn read(
        bytes: &[u8],
        nonce: Nonce,
        tls_key: Option<Digest>,
    ) -> Result<(Self, GatewayIdentity), GatewayEvidenceError> {
        let malformed = |_| GatewayEvidenceError::Malformed;
        let answer: Self = json::parse(bytes, MAX_GATEWAY_EVIDENCE_BYTES).map_err(malformed)?;
        let identity: GatewayIdentity =
            json::parse(answer.identity.as_bytes(), MAX_GATEWAY_EVIDENCE_BYTES)
                .map_err(malformed)?;
        if identity.purpose != GATEWAY_IDENTITY_PURPOSE {
            return Err(GatewayEvidenceError::Purpose);
        }
        if identity.nonce != nonce {
            return Err(GatewayEvidenceError::Nonce);
        }
        if tls_key.is_some() && identity.tls_key != tls_key {
            return Err(GatewayEvidenceError::TlsKey);
        }
        Ok((answer, identity))
    }
}

/// Why an account was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccountOccasion {
    /// The session did nothing for as long as sessions may; the key's next run begins another.
    Idle,
    /// The key expired or was revoked.
    KeyEnded,
    /// The gateway found the session when it started, after it had not been stopped in order.
    Recovered,
    /// The gateway stopped in order. The session goes on when it starts again.
    Stopped,
}

/// Predicate `gateway-account/v1`: a session's runs, counted from its beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayAccount {
    /// The session.
    pub session: SessionId,
    /// Digest of its [`GatewaySession`].
    pub session_binding: Digest,
    /// Whose it is.
    pub client: ClientIdentity,
    /// Why the account was written.
    pub occasion: AccountOccasion,
    /// Places that were taken: sequence numbers are below this.
    pub runs: u64,
    /// Runs that have a record.
    pub recorded: u64,
    /// Places without a record: the gateway's process ended during the run.
    pub missing: Vec<u64>,
    /// Recorded runs by the tier that they were sent to.
    pub by_tier: BTreeMap<String, u64>,
    /// Recorded runs of which nothing was sent.
    pub not_sent: u64,
    /// The session's mark.
    pub high_water: String,
    /// When (gateway's clock).
    pub at: Timestamp,
}

impl Predicate for GatewayAccount {
    const TYPE: &'static str = GATEWAY_ACCOUNT_V1;
    const LEAF: LeafKind = LeafKind::GatewayAccount;

    fn subjects(&self) -> Vec<Subject> {
        vec![Subject::sha256("gateway-session", self.session_binding)]
    }

    fn contradiction(&self) -> Option<&'static str> {
        let missing = self.missing.len() as u64;
        let sorted = self.missing.is_sorted_by(|one, next| one < next);
        if !sorted || self.missing.last().is_some_and(|last| *last >= self.runs) {
            return Some("`missing` is not an ascending list of the session's places");
        }
        if self.recorded.checked_add(missing) != Some(self.runs) {
            return Some("recorded and missing runs are not all runs");
        }
        let sent = self
            .by_tier
            .values()
            .try_fold(0_u64, |sum, count| sum.checked_add(*count));
        if sent.and_then(|sent| sent.checked_add(self.not_sent)) != Some(self.recorded) {
            return Some("the tiers' runs are not the recorded ones");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use p256::ecdsa::SigningKey;
    use proofroom_canonical::{Digest, Nonce, SessionId, Timestamp};

    use super::{
        AccountOccasion, GATEWAY_IDENTITY_PURPOSE, GatewayAccount, GatewayEvidence,
        GatewayIdentity, GatewayPolicies, GatewayProof,
    };
    use crate::{
        predicate::{open, seal},
        statement::ClientIdentity,
    };

    fn account() -> GatewayAccount {
        GatewayAccount {
            session: SessionId::from_random([1; 16]),
            session_binding: Digest::of("session"),
            client: ClientIdentity::of_key(&"k_1", "ada", "core"),
            occasion: AccountOccasion::Recovered,
            runs: 5,
            recorded: 4,
            missing: vec![2],
            by_tier: BTreeMap::from([("standard".to_owned(), 2), ("tee".to_owned(), 1)]),
            not_sent: 1,
            high_water: "internal".to_owned(),
            at: Timestamp::from_unix_seconds(1),
        }
    }

    #[test]
    fn evidence_answers_one_nonce_over_one_connection() {
        let (nonce, tls) = (Nonce::from_random([4; 32]), Digest::of("tls"));
        let one = Digest::of("policy");
        let identity = GatewayIdentity {
            purpose: GATEWAY_IDENTITY_PURPOSE.to_owned(),
            nonce,
            record_key: Digest::of("record"),
            tls_key: Some(tls),
            policies: GatewayPolicies {
                classification: one,
                routing: one,
                appraisal: one,
                upstreams: one,
            },
        };
        let answer = |identity: &GatewayIdentity| {
            let answer = GatewayEvidence {
                identity: serde_json::to_string(identity).unwrap(),
                evidence: GatewayProof::None {
                    reason: "no TEE".to_owned(),
                },
            };
            serde_json::to_vec(&answer).unwrap()
        };
        let bytes = answer(&identity);
        let read = |bytes: &[u8], nonce, tls| {
            GatewayEvidence::read(bytes, nonce, tls).map(|(_, identity)| identity)
        };
        assert_eq!(read(&bytes, nonce, Some(tls)), Ok(identity.clone()));
        assert_eq!(read(&bytes, nonce, None), Ok(identity.clone()));
        let code =
            |found: Result<GatewayIdentity, super::GatewayEvidenceError>| found.unwrap_err().code();
        let other = Nonce::from_random([5; 32]);
        assert_eq!(code(read(&bytes, other, None)), "gateway-evidence-nonce");
        let other = Some(Digest::of("other"));
        assert_eq!(code(read(&bytes, nonce, other)), "gateway-evidence-tls-key");
        let purpose = GatewayIdentity {
            purpose: "proofroom.challenge.v1".to_owned(),
            ..identity
        };
        let refused = read(&answer(&purpose), nonce, None);
        assert_eq!(code(refused), "gateway-evidence-purpose");
        for end in 0..bytes.len() {
            let refused = read(&bytes[..end], nonce, None);
            assert_eq!(code(refused), "gateway-evidence-malformed", "{end}");
        }
    }

    #[test]
    fn an_account_comes_back_and_one_that_does_not_add_up_is_not_sealed() {
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        let sealed = seal(&account(), &key).unwrap();
        let opened = open::<GatewayAccount>(&sealed.bytes, key.verifying_key()).unwrap();
        assert_eq!(opened.predicate(), &account());
        type Break = fn(&mut GatewayAccount);
        let breaks: [Break; 5] = [
            |account| account.runs = 6,
            |account| account.missing = vec![5],
            |account| account.missing = vec![2, 2],
            |account| account.not_sent = 0,
            |account| account.recorded = 5,
        ];
        for break_it in breaks {
            let mut broken = account();
            break_it(&mut broken);
            let refused = seal(&broken, &key).unwrap_err();
            assert_eq!(refused.code(), "record-contradiction");
        }
    }
}
