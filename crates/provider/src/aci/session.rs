//! A session of a service of ACI that passes requests on: what it verified of an upstream, when, and by what evidence.
//! A receipt cites it by its digest. What it claims is the attested service's word; its evidence is kept and not
//! appraised again.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proofroom_canonical::{
    Digest, Timestamp,
    json::{self, JsonError},
    lower_hex,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{API_VERSION, canonical, receipt::CitedSession};
use crate::{ReceiptError, VerifiedProvider, policy::SessionRule};

/// The most bytes of a session that are read: it holds an upstream's whole evidence.
pub const MAX_SESSION_BYTES: usize = 4 * 1024 * 1024;

/// Why a session is refused. The answer that cites it is then nobody's word.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Not strict JSON with the members that are used.
    #[error("session refused")]
    Malformed(#[source] JsonError),
    /// Not of the version that is read, or with numbers or names that are not.
    #[error("the session is of no known form")]
    Form,
    /// Another session than the one that the receipt cites.
    #[error("the session is not the one that the receipt cites")]
    Other,
    /// Its evidence is not what its digest says.
    #[error("the session's evidence is not what its digest says")]
    Evidence,
    /// The service served before it began, or after it ended.
    #[error("the answer was not served within the session's time")]
    Expired,
    /// Verified by something that the policy does not list.
    #[error("the session was made by a verifier that the policy does not list")]
    Verifier,
    /// It says of no connection what the service held it to.
    #[error("the session names no channel that is bound to a key")]
    Channel,
    /// It does not claim what the policy demands, or on another ground.
    #[error("the session does not claim what the policy demands")]
    Claim,
}

impl SessionError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Form => "session-malformed",
            Self::Other => "session-other",
            Self::Evidence => "session-evidence",
            Self::Expired => "session-expired",
            Self::Verifier => "session-verifier",
            Self::Channel => "session-channel",
            Self::Claim => "session-claim",
        }
    }
}

#[derive(Deserialize)]
struct Raw {
    api_version: String,
    verifier_id: String,
    established_at: u32,
    expires_at: u32,
    channel_binding: Vec<Channel>,
    claims: Map<String, Value>,
    evidence: Evidence,
}

#[derive(Deserialize)]
struct Channel {
    r#type: String,
}

#[derive(Deserialize)]
struct Evidence {
    digest: String,
    data: String,
}

#[derive(Deserialize)]
struct Claim {
    status: String,
    source: Option<String>,
}

/// Verifies the session that a receipt cites, by the policy that accepted `provider`.
///
/// # Errors
/// [`ReceiptError::Session`], or [`ReceiptError::UpstreamUnexpected`] where the policy knows of no sessions.
pub fn verify_aci_session(
    session: &[u8],
    provider: &VerifiedProvider,
    cited: CitedSession,
) -> Result<(), ReceiptError> {
    let keyset = provider.keyset.as_ref();
    let rule = keyset.and_then(|attested| attested.sessions.as_ref());
    let rule = rule.ok_or(ReceiptError::UpstreamUnexpected)?;
    judge(session, rule, cited).map_err(ReceiptError::Session)
}

fn judge(session: &[u8], rule: &SessionRule, cited: CitedSession) -> Result<(), SessionError> {
    let document =
        json::parse_value(session, MAX_SESSION_BYTES).map_err(SessionError::Malformed)?;
    if canonical::digest(&document).ok_or(SessionError::Form)? != cited.id {
        return Err(SessionError::Other);
    }
    let raw = Raw::deserialize(document)
        .map_err(|error| SessionError::Malformed(JsonError::Shape(error)))?;
    if raw.api_version != API_VERSION {
        return Err(SessionError::Form);
    }
    if !raw.evidence.is_whole() {
        return Err(SessionError::Evidence);
    }
    let time = |seconds: u32| Timestamp::from_unix_seconds(seconds.into());
    if !(time(raw.established_at)..time(raw.expires_at)).contains(&cited.served) {
        return Err(SessionError::Expired);
    }
    if !rule.verifiers.contains(&raw.verifier_id) {
        return Err(SessionError::Verifier);
    }
    let bound = |channel: &Channel| {
        matches!(
            channel.r#type.as_str(),
            "tls_spki_sha256" | "e2ee_public_key_sha256"
        )
    };
    if raw.channel_binding.is_empty() || !raw.channel_binding.iter().all(bound) {
        return Err(SessionError::Channel);
    }
    let each = rule.claims.iter();
    let met = each.map(|(name, sources)| claims(&raw.claims, name, sources));
    met.into_iter()
        .all(|met| met)
        .then_some(())
        .ok_or(SessionError::Claim)
}

impl Evidence {
    /// Whether the bytes of the data URI (RFC 2397) are those of the digest.
    fn is_whole(&self) -> bool {
        let encoded = self.data.strip_prefix("data:");
        let encoded = encoded.and_then(|rest| rest.split_once(";base64,"));
        let bytes = encoded.and_then(|(_, text)| STANDARD.decode(text).ok());
        let said = self.digest.strip_prefix("sha256:").and_then(lower_hex);
        bytes.is_some_and(|bytes| said == Some(*Digest::of(bytes).as_bytes()))
    }
}

/// Whether a claim is asserted, on one of these grounds. What is unknown is not asserted.
fn claims(all: &Map<String, Value>, name: &str, sources: &[String]) -> bool {
    let claim = all
        .get(name)
        .and_then(|value| Claim::deserialize(value).ok());
    claim.is_some_and(|claim| {
        let source = claim.source.as_ref();
        claim.status == "asserted" && source.is_some_and(|source| sources.contains(source))
    })
}
