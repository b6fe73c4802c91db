//! P-384 keys derived from a seed, signing deterministically (RFC 6979). Never for production keys.

use p384::ecdsa::{Signature, SigningKey, signature::Signer as _};
use rcgen::{PKCS_ECDSA_P384_SHA384, PublicKeyData, SignatureAlgorithm};
use sha2::{Digest as _, Sha384};

use crate::tee::written;

/// A key that anybody with the seed and the label can derive.
pub struct SimulatedKey384 {
    key: SigningKey,
    /// SEC1 uncompressed point: 0x04, x, y.
    point: Vec<u8>,
}

impl SimulatedKey384 {
    /// The key of `label` under `seed`.
    #[must_use]
    pub fn derive(seed: &[u8; 32], label: &str) -> Self {
        // a digest is a valid scalar but for about one in 2^190; the counter is for form
        let key = (0_u8..=u8::MAX).find_map(|counter| {
            let mut hash = Sha384::new();
            hash.update(b"proofroom SIMULATED P-384 key\n");
            hash.update(seed);
            hash.update(label.as_bytes());
            hash.update([counter]);
            SigningKey::from_slice(&hash.finalize()).ok()
        });
        let key = written(key.ok_or("no key for this seed"));
        let point = key.verifying_key().to_sec1_point(false).as_bytes().to_vec();
        Self { key, point }
    }

    /// x and y, 48 bytes each.
    #[must_use]
    pub fn coordinates(&self) -> (&[u8], &[u8]) {
        let point = self.point.get(1..).unwrap_or_default();
        point.split_at_checked(48).unwrap_or_default()
    }

    /// ECDSA P-384/SHA-384 over `message`: r then s, 96 bytes.
    #[must_use]
    pub fn sign_raw(&self, message: &[u8]) -> [u8; 96] {
        let signature: Signature = self.key.sign(message);
        signature.to_bytes().into()
    }
}

impl std::fmt::Debug for SimulatedKey384 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimulatedKey384(..)")
    }
}

impl PublicKeyData for SimulatedKey384 {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P384_SHA384
    }
}

impl rcgen::SigningKey for SimulatedKey384 {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: Signature = self.key.sign(message);
        Ok(signature.to_der().as_bytes().to_vec())
    }
}
