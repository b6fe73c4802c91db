//! Signs fast: ring's P-256, with a key that the rest of the product holds as RustCrypto's. For whoever signs while
//! somebody waits: the gateway each model-run record, a room's supervisor each event before its action happens.

#![forbid(unsafe_code)]

use std::fmt;

use p256::ecdsa::SigningKey;
use proofroom_canonical::Refusal;
use proofroom_dsse::{EnvelopeSigner, key_id, not_signed};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};

/// An ECDSA P-256 key in ring's hands. Its nonces are ring's: random, and mixed with the key and with what is signed
/// (two signatures of one message differ).
pub struct FastSigner {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    key_id: String,
}

/// ring does not take the key.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("ring refuses the key")]
pub struct RefusedKey;

impl fmt::Debug for FastSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FastSigner")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

impl FastSigner {
    /// Hands `key` to ring.
    ///
    /// # Errors
    /// [`RefusedKey`]: ring checks that the public key is one, and is the private one's.
    pub fn new(key: &SigningKey) -> Result<Self, RefusedKey> {
        let random = SystemRandom::new();
        let secret = zeroize::Zeroizing::new(<[u8; 32]>::from(key.to_bytes()));
        let public = key.verifying_key().to_sec1_point(false);
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_ASN1_SIGNING,
            &*secret,
            public.as_bytes(),
            &random,
        );
        Ok(Self {
            pair: pair.map_err(|_| RefusedKey)?,
            random,
            key_id: key_id(key.verifying_key()),
        })
    }
}

impl EnvelopeSigner for FastSigner {
    fn key_id(&self) -> String {
        self.key_id.clone()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Refusal> {
        let signature = self.pair.sign(&self.random, message);
        let signature = signature.map_err(|_| not_signed())?;
        Ok(signature.as_ref().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::SigningKey;
    use proofroom_dsse::Envelope;

    use super::FastSigner;

    #[test]
    fn what_ring_signs_the_verifier_accepts() {
        for byte in 1..=32 {
            let key = SigningKey::from_slice(&[byte; 32]).unwrap();
            let signer = FastSigner::new(&key).unwrap();
            let envelope = Envelope::sign_with(b"{}", &signer).unwrap();
            let payload = envelope.verify(key.verifying_key()).unwrap();
            assert_eq!(payload.as_bytes(), b"{}");
        }
    }
}
