//! What another gateway, or an enclave of ours, says it is, asked over a connection of its own: for whoever wants
//! to check one before sending to it.

use bytes::Bytes;
use proofroom_canonical::{Digest, Nonce};
use proofroom_record::gateway::GATEWAY_ATTESTATION_PATH;
use proofroom_serving::MAX_REPORT_BYTES;

use crate::{
    config::{BaseUrl, Transport},
    served::get_plain,
    transport::{FetchFailure, fetch_evidence},
};

/// Why a gateway did not say what it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Not an address that can be asked.
    #[error("`{0}` is no address of a gateway: `https://host`, or `http://` on loopback")]
    Address(String),
    /// No connection, or no answer in time.
    #[error("the gateway cannot be reached")]
    Unreachable,
    /// Another status than 200.
    #[error("the gateway answered with status {0}")]
    Status(u16),
    /// Too long, or broken off.
    #[error("the gateway's answer is too long or broke off")]
    Body,
}

impl IdentityError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Address(_) => "gateway-address",
            Self::Unreachable => "gateway-unreachable",
            Self::Status(_) => "gateway-status",
            Self::Body => "gateway-evidence-malformed",
        }
    }
}

/// What a gateway answered, and the digest of the TLS key that it showed while it did.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The bytes, at most those of an enclave's report: a `GatewayEvidence`, such a report, or anything.
    pub document: Bytes,
    /// SHA-256 of the SubjectPublicKeyInfo; nothing on loopback without TLS.
    pub tls_key: Option<Digest>,
}

/// Asks the gateway at `url` what it is. No certificate authority is asked: its key is learnt, and is
/// worth what the evidence says of it.
///
/// # Errors
/// See [`IdentityError`].
pub async fn ask_identity(url: &str, nonce: Nonce) -> Result<Answered, IdentityError> {
    let base = BaseUrl::parse(url).ok_or_else(|| IdentityError::Address(url.to_owned()))?;
    let path = format!("{GATEWAY_ATTESTATION_PATH}?nonce={nonce}");
    let uri = base
        .join(&path)
        .map_err(|_| IdentityError::Address(url.to_owned()))?;
    match base.transport {
        Transport::Tls => fetch_evidence(&base, &uri, MAX_REPORT_BYTES)
            .await
            .map(|fetched| Answered {
                document: fetched.document,
                tls_key: Some(fetched.tls_spki),
            })
            .map_err(of),
        Transport::Plain => get_plain(uri, MAX_REPORT_BYTES)
            .await
            .map(|document| Answered {
                document,
                tls_key: None,
            })
            .map_err(of),
    }
}

const fn of(failure: FetchFailure) -> IdentityError {
    match failure {
        FetchFailure::Unreachable | FetchFailure::NoKey => IdentityError::Unreachable,
        FetchFailure::Status(status) => IdentityError::Status(status),
        FetchFailure::Body => IdentityError::Body,
    }
}
