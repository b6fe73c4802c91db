//! The keys of one run of the shim: made at start, held in memory, gone with the process.

use std::sync::Arc;

use ed25519_dalek::{Signer as _, SigningKey};
use proofroom_canonical::{Digest, Hex};
use proofroom_sealing::KeyPair;
use rcgen::{CertifiedKey, PublicKeyData as _, generate_simple_self_signed};
use rustls::{ServerConfig, crypto::ring};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

/// Whoever connects goes by the key that the quote names, and by no name.
const NAME: &str = "proofroom-enclave.invalid";

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("the system gives no random bytes")]
    Entropy,
    #[error("no certificate can be made")]
    Certificate(#[from] rcgen::Error),
    #[error("the certificate cannot be served")]
    Tls(#[from] rustls::Error),
}

/// TLS key, receipt key, and the key that requests are sealed to.
pub(crate) struct Keys {
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) tls_spki: Digest,
    pub(crate) sealing: Arc<KeyPair>,
    receipts: SigningKey,
}

impl Keys {
    pub(crate) fn fresh() -> Result<Self, KeyError> {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec![NAME.to_owned()])?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let mut tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            tls: Arc::new(tls),
            tls_spki: Digest::of(signing_key.subject_public_key_info()),
            sealing: Arc::new(KeyPair::from_random(&*random()?)),
            receipts: SigningKey::from_bytes(&*random()?),
        })
    }

    pub(crate) fn receipt_key(&self) -> Hex<32> {
        Hex::from_bytes(self.receipts.verifying_key().to_bytes())
    }

    /// Ed25519 over `text`.
    pub(crate) fn sign(&self, text: &str) -> Hex<64> {
        Hex::from_bytes(self.receipts.sign(text.as_bytes()).to_bytes())
    }
}

/// 32 bytes that nobody knows.
pub(crate) fn random() -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|_| KeyError::Entropy)?;
    Ok(bytes)
}
