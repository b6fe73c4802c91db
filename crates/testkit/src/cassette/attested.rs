//! The TLS identity of a simulated attested upstream: a key of its own, and evidence about it.

use std::sync::Arc;

use proofroom_canonical::{Digest, Nonce, Timestamp};
use rcgen::{CertifiedKey, PublicKeyData as _, generate_simple_self_signed};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::tee::SimulatedTee;

/// A self-made TLS key, and the simulated TEE that vouches for it.
#[derive(Debug)]
pub struct Attested {
    tee: SimulatedTee,
    spki: Digest,
    model: String,
    tls: Arc<ServerConfig>,
    certificate: String,
}

/// Why there is no attested identity or no evidence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttestedError {
    /// The nonce is not 64 lower-case hex digits.
    #[error("nonce is not 64 lower-case hex digits")]
    Nonce,
    /// No key or certificate could be made.
    #[error("cannot make a tls certificate")]
    Certificate(#[source] rcgen::Error),
    /// The certificate cannot be served.
    #[error("cannot serve the tls certificate")]
    Tls(#[source] rustls::Error),
}

impl AttestedError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Nonce => "nonce-invalid",
            Self::Certificate(_) => "certificate-failed",
            Self::Tls(_) => "tls-failed",
        }
    }
}

impl Attested {
    /// A fresh TLS key for `localhost` and `127.0.0.1`, vouched for by the demonstration's TEE.
    ///
    /// # Errors
    /// [`AttestedError::Certificate`] or [`AttestedError::Tls`].
    pub fn new(model: &str) -> Result<Self, AttestedError> {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(names).map_err(AttestedError::Certificate)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let mut tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(AttestedError::Tls)?
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .map_err(AttestedError::Tls)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            tee: SimulatedTee::demo(),
            spki: Digest::of(signing_key.subject_public_key_info()),
            model: model.to_owned(),
            tls: Arc::new(tls),
            certificate: cert.pem(),
        })
    }

    /// SHA-256 of the TLS key's SubjectPublicKeyInfo, which the evidence names.
    #[must_use]
    pub const fn tls_spki_sha256(&self) -> Digest {
        self.spki
    }

    /// The self-signed certificate, PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    pub(super) fn tls(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.tls)
    }

    /// The evidence document for a verifier's `nonce`.
    ///
    /// # Errors
    /// [`AttestedError::Nonce`].
    pub fn evidence(&self, nonce: &str, now: Timestamp) -> Result<Vec<u8>, AttestedError> {
        let nonce: Nonce = nonce.parse().map_err(|_| AttestedError::Nonce)?;
        Ok(self
            .tee
            .evidence_document(nonce, self.spki, &self.model, now))
    }
}
