//! P-256 keys derived from a seed, signing deterministically (RFC 6979), so that the same seed makes
//! the same certificates. Never for production keys.

use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use sha2::{Digest as _, Sha256};

/// A key that anybody with the seed and the label can derive.
#[derive(Clone)]
pub struct SimulatedKey {
    key: SigningKey,
    /// SEC1 uncompressed point: 0x04, x, y.
    point: Vec<u8>,
}

impl SimulatedKey {
    /// The key of `label` under `seed`.
    #[must_use]
    pub fn derive(seed: &[u8; 32], label: &str) -> Self {
        // A digest is a valid scalar but for about one in 2^32; the counter steps over those.
        let key = (0_u8..=u8::MAX).find_map(|counter| {
            let mut hash = Sha256::new();
            hash.update(b"proofroom SIMULATED key\n");
            hash.update(seed);
            hash.update(label.as_bytes());
            hash.update([counter]);
            SigningKey::from_slice(&hash.finalize()).ok()
        });
        let key = super::written(key.ok_or("no key for this seed"));
        let point = key.verifying_key().to_sec1_point(false).as_bytes().to_vec();
        Self { key, point }
    }

    /// x and y, 64 bytes, as quotes carry the attestation key.
    #[must_use]
    pub fn coordinates(&self) -> &[u8] {
        self.point.get(1..).unwrap_or_default()
    }

    /// ECDSA P-256/SHA-256 over `message`: r then s, 64 bytes.
    #[must_use]
    pub fn sign_raw(&self, message: &[u8]) -> [u8; 64] {
        let signature: Signature = self.key.sign(message);
        signature.to_bytes().into()
    }
}

impl std::fmt::Debug for SimulatedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimulatedKey(..)")
    }
}

impl PublicKeyData for SimulatedKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for SimulatedKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: Signature = self.key.sign(message);
        Ok(signature.to_der().as_bytes().to_vec())
    }
}
