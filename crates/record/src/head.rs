//! Event heads: the session key's signature over one position of the event chain. It proves that
//! the room wrote everything up to there, also when the room is lost before it can close.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use p256::ecdsa::{
    DerSignature, SigningKey, VerifyingKey,
    signature::{Signer as _, Verifier as _},
};
use proofroom_canonical::Digest;

use crate::room_api::event_head_message;

/// One position of an event chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventHead {
    /// `seq` of the event.
    pub seq: u64,
    /// SHA-256 of the event's line.
    pub digest: Digest,
}

/// Why a head's signature was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// Not standard base64 of a DER-encoded ECDSA signature.
    #[error("head signature is not base64 of a DER signature")]
    Malformed,
    /// The session key did not sign this head.
    #[error("head signature does not verify with the session key")]
    BadSignature,
}

impl HeadError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "head-signature-malformed",
            Self::BadSignature => "head-bad-signature",
        }
    }
}

impl EventHead {
    /// The bytes that are signed.
    #[must_use]
    pub fn to_signed_bytes(self) -> Vec<u8> {
        event_head_message(self.seq, self.digest)
    }

    /// Signs this head: standard base64 of the DER signature.
    #[must_use]
    pub fn sign(self, key: &SigningKey) -> String {
        let signature: DerSignature = key.sign(&self.to_signed_bytes());
        STANDARD.encode(signature.as_bytes())
    }

    /// Proves that the holder of `key` signed this head.
    ///
    /// # Errors
    /// See [`HeadError`].
    pub fn verify(self, signature: &str, key: &VerifyingKey) -> Result<(), HeadError> {
        let der = STANDARD
            .decode(signature)
            .map_err(|_| HeadError::Malformed)?;
        let parsed = DerSignature::from_bytes(&der).map_err(|_| HeadError::Malformed)?;
        key.verify(&self.to_signed_bytes(), &parsed)
            .map_err(|_| HeadError::BadSignature)
    }
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::SigningKey;
    use proofroom_canonical::Digest;

    use super::{EventHead, HeadError};

    #[test]
    fn a_head_signature_holds_for_its_head_alone() {
        let key = SigningKey::from_slice(&[3; 32]).unwrap();
        let digest = Digest::of("line");
        let signature = EventHead { seq: 4, digest }.sign(&key);
        let verify = |seq, text: &str| EventHead { seq, digest }.verify(text, key.verifying_key());
        assert_eq!(verify(4, &signature), Ok(()));
        assert_eq!(verify(5, &signature), Err(HeadError::BadSignature));
        assert_eq!(verify(4, "!"), Err(HeadError::Malformed));
    }
}
