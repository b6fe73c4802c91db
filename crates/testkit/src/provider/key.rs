//! Keys of the simulated provider: secp256k1 as Ethereum uses it, and Ed25519. Derived from a name, so
//! everybody has them.

use ed25519_dalek::Signer as _;
use sha2::Sha256;
use sha3::{Digest as _, Keccak256};

use crate::tee::written;

/// A key that signs receipts.
#[derive(Clone, Debug)]
pub enum ProviderKey {
    /// secp256k1, known by its address.
    Ethereum(k256::ecdsa::SigningKey),
    /// Ed25519.
    Ed25519(ed25519_dalek::SigningKey),
}

fn seed(name: &str) -> [u8; 32] {
    use sha2::Digest as _;
    Sha256::digest(format!("proofroom SIMULATED provider key {name}")).into()
}

impl ProviderKey {
    /// The secp256k1 key of `name`.
    #[must_use]
    pub fn ethereum(name: &str) -> Self {
        Self::Ethereum(written(k256::ecdsa::SigningKey::from_slice(&seed(name))))
    }

    /// The Ed25519 key of `name`.
    #[must_use]
    pub fn ed25519(name: &str) -> Self {
        Self::Ed25519(ed25519_dalek::SigningKey::from_bytes(&seed(name)))
    }

    /// As reports spell the algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        match self {
            Self::Ethereum(_) => "ecdsa",
            Self::Ed25519(_) => "ed25519",
        }
    }

    /// The bytes that a quote binds.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Ethereum(key) => {
                let point = key.verifying_key().to_sec1_point(false);
                let hash = Keccak256::digest(point.as_bytes().get(1..).unwrap_or_default());
                hash.get(12..).unwrap_or_default().to_vec()
            }
            Self::Ed25519(key) => key.verifying_key().to_bytes().to_vec(),
        }
    }

    /// As reports spell it.
    #[must_use]
    pub fn address(&self) -> String {
        let hex = hex::encode(self.bytes());
        match self {
            Self::Ethereum(_) => format!("0x{hex}"),
            Self::Ed25519(_) => hex,
        }
    }

    /// The signature over `text`, as receipts spell it.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        match self {
            Self::Ethereum(_) => {
                let prefix = format!("\x19Ethereum Signed Message:\n{}", text.len());
                format!("0x{}", self.sign_raw(format!("{prefix}{text}").as_bytes()))
            }
            Self::Ed25519(_) => self.sign_raw(text.as_bytes()),
        }
    }

    /// The signature over `message` with nothing before it, in hex: of secp256k1 over its Keccak-256, with the number
    /// that lets the key be found.
    #[must_use]
    pub fn sign_raw(&self, message: &[u8]) -> String {
        match self {
            Self::Ethereum(key) => {
                let hash = Keccak256::digest(message);
                let (signature, id) = key.sign_prehash_recoverable(&hash);
                let v = id.to_byte().saturating_add(27);
                hex::encode([&signature.to_bytes()[..], &[v]].concat())
            }
            Self::Ed25519(key) => hex::encode(key.sign(message).to_bytes()),
        }
    }

    /// The public key: a secp256k1 point in its short form, or an Ed25519 key.
    #[must_use]
    pub fn compressed(&self) -> Vec<u8> {
        match self {
            Self::Ethereum(key) => key.verifying_key().to_sec1_point(true).as_bytes().to_vec(),
            Self::Ed25519(_) => self.bytes(),
        }
    }
}
