//! RSA-4096 and P-384 keys derived from a seed. Never for production keys.

use chacha20::{ChaCha20Rng, rand_core::SeedableRng as _};
use p384::ecdsa::{Signature, SigningKey, signature::Signer as _};
use rsa::{
    PrivateKey, PublicKey, pss,
    signature::{RandomizedSigner as _, SignatureEncoding as _},
    traits::PublicKeyParts as _,
};
use sha2::{Digest as _, Sha256, Sha384};

use crate::{
    der::{bit_string, der, integer, object_id, sequence},
    tee::written,
};

const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const SECP384R1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];

fn derived<H: sha2::Digest>(seed: &[u8; 32], label: &str, counter: u8) -> sha2::digest::Output<H> {
    let mut hash = H::new();
    hash.update(b"proofroom SIMULATED SNP key\n");
    hash.update(seed);
    hash.update(label.as_bytes());
    hash.update([counter]);
    hash.finalize()
}

/// A key of the simulated vendor.
pub(super) struct RsaKey {
    key: PrivateKey,
}

impl RsaKey {
    pub(super) fn derive(seed: &[u8; 32], label: &str) -> Self {
        let mut random = ChaCha20Rng::from_seed(derived::<Sha256>(seed, label, 0).into());
        Self {
            key: written(PrivateKey::new(&mut random, 4096)),
        }
    }

    /// `SubjectPublicKeyInfo`, DER.
    pub(super) fn public(&self) -> Vec<u8> {
        let public = PublicKey::from(&self.key);
        let key = sequence(&[&integer(&public.n_bytes()), &integer(&public.e_bytes())]);
        let algorithm = sequence(&[&object_id(RSA_ENCRYPTION), &der(0x05, &[])]);
        sequence(&[&algorithm, &bit_string(&key)])
    }

    /// RSASSA-PSS with SHA-384; the salt is derived from `message`.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut random = ChaCha20Rng::from_seed(Sha256::digest(message).into());
        pss::SigningKey::<Sha384>::new(self.key.clone())
            .sign_with_rng(&mut random, message)
            .to_vec()
    }
}

impl std::fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RsaKey(..)")
    }
}

/// A chip's key.
pub(super) struct ChipKey {
    key: SigningKey,
}

impl ChipKey {
    pub(super) fn derive(seed: &[u8; 32], label: &str) -> Self {
        let key = (0..=u8::MAX).find_map(|counter| {
            SigningKey::from_slice(&derived::<Sha384>(seed, label, counter)).ok()
        });
        Self {
            key: written(key.ok_or("no key for this seed")),
        }
    }

    /// `SubjectPublicKeyInfo`, DER.
    pub(super) fn public(&self) -> Vec<u8> {
        let point = self.key.verifying_key().to_sec1_point(false);
        let algorithm = sequence(&[&object_id(EC_PUBLIC_KEY), &object_id(SECP384R1)]);
        sequence(&[&algorithm, &bit_string(point.as_bytes())])
    }

    /// ECDSA P-384 with SHA-384: r then s, big-endian.
    pub(super) fn sign(&self, message: &[u8]) -> [u8; 96] {
        let signature: Signature = self.key.sign(message);
        signature.to_bytes().into()
    }
}

impl std::fmt::Debug for ChipKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChipKey(..)")
    }
}
