//! Signs records fast: ring's P-256, with the key that the rest of the product holds as RustCrypto's.

use p256::ecdsa::SigningKey;
use proofroom_canonical::Refusal;
use proofroom_record::dsse::{EnvelopeSigner, key_id, not_signed};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};

/// The gateway's record key.
pub(crate) struct RecordSigner {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    key_id: String,
}

/// ring does not take the key.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("ring refuses the key")]
pub(crate) struct RefusedKey;

impl RecordSigner {
    pub(crate) fn new(key: &SigningKey) -> Result<Self, RefusedKey> {
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

impl EnvelopeSigner for RecordSigner {
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
    use proofroom_record::dsse::Envelope;

    use super::RecordSigner;

    #[test]
    fn what_ring_signs_the_verifier_accepts() {
        for byte in 1..=32 {
            let key = SigningKey::from_slice(&[byte; 32]).unwrap();
            let signer = RecordSigner::new(&key).unwrap();
            let envelope = Envelope::sign_with(b"{}", &signer).unwrap();
            let payload = envelope.verify(key.verifying_key()).unwrap();
            assert_eq!(payload.as_bytes(), b"{}");
        }
    }
}
