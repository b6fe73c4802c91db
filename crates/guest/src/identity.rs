//! The session key and what it is bound to. The key is made here, lives in this process's memory
//! alone, and signs event heads and the session record, nothing else.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::HeaderMap;
use p256::{
    ecdsa::SigningKey,
    pkcs8::{EncodePublicKey as _, LineEnding},
};
use proofroom_canonical::{Digest, Sensitive, json};
use proofroom_record::{
    attest_api::Moment,
    dsse::spki_digest,
    room_api::{self, Assignment, IdentityAnswer, IdentityRequest, RoomAppraised},
    statement::RoomEvidenceClaim,
};

use crate::{
    attest::{self, AttestError, Attester},
    channel::{Channel, ChannelError},
};

/// A key that the host has certified for this session.
#[derive(Debug)]
pub struct Identity {
    /// The session key.
    pub key: SigningKey,
    /// Digest of the binding statement: the root of the event chain.
    pub binding: Digest,
    /// How the room showed what it is.
    pub room_evidence: RoomEvidenceClaim,
    /// What the host made of it.
    pub appraised: RoomAppraised,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The host did not certify the key.
    #[error("the host did not certify the session key")]
    Host(#[source] ChannelError),
    /// The host's answer holds no certificate.
    #[error("the host's answer holds no certificate")]
    NoCertificate,
    /// The kernel gave no randomness, or a key could not be made of it.
    #[error("no session key could be made")]
    NoKey,
    /// The room has an attester, and it made no evidence.
    #[error("the room could not show what it is")]
    Attest(#[source] AttestError),
}

impl IdentityError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Host(_) => "identity-not-certified",
            Self::NoCertificate => "identity-no-certificate",
            Self::NoKey => "identity-no-key",
            Self::Attest(error) => error.code(),
        }
    }
}

/// Makes a P-256 key of the kernel's randomness.
///
/// # Errors
/// [`IdentityError::NoKey`].
pub fn new_key() -> Result<SigningKey, IdentityError> {
    // One draw in 2^32 is not a valid scalar; three in a row are a broken generator.
    for _ in 0..3 {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|_| IdentityError::NoKey)?;
        let secret = Sensitive::new(secret);
        if let Ok(key) = SigningKey::from_slice(secret.expose()) {
            return Ok(key);
        }
    }
    Err(IdentityError::NoKey)
}

impl Identity {
    /// Binds `key` to the assignment, shows what the room is, and has the host certify the key.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub async fn establish(
        channel: &Channel,
        attester: &Arc<dyn Attester>,
        assignment: &Assignment,
        key: SigningKey,
    ) -> Result<Self, IdentityError> {
        let binding = assignment.binding(spki_digest(key.verifying_key()));
        let binding = json::to_bytes(&binding).map_err(|_| IdentityError::NoKey)?;
        let statement = String::from_utf8(binding.clone()).map_err(|_| IdentityError::NoKey)?;
        let offer = attest::attest(attester, Moment::Start, statement)
            .await
            .map_err(IdentityError::Attest)?;
        let session_key = key
            .verifying_key()
            .to_public_key_pem(LineEnding::LF)
            .map_err(|_| IdentityError::NoKey)?;
        let request = IdentityRequest {
            session_key,
            binding: STANDARD.encode(&binding),
            room_evidence: offer.clone(),
        };
        let body = json::to_bytes(&request).map_err(|_| IdentityError::NoKey)?;
        let answer: IdentityAnswer = channel
            .post(room_api::IDENTITY, &HeaderMap::new(), Bytes::from(body))
            .await
            .map_err(IdentityError::Host)?;
        if !answer
            .certificate_chain
            .contains("-----BEGIN CERTIFICATE-----")
        {
            return Err(IdentityError::NoCertificate);
        }
        let claim = attest::claim(&offer, &answer.room_appraisal, &assignment.policies);
        Ok(Self {
            key,
            binding: Digest::of(&binding),
            room_evidence: claim.map_err(IdentityError::Attest)?,
            appraised: answer.room_appraisal,
        })
    }
}
