//! TLS identities of servers of the tests. Their keys are made anew each time.

use std::sync::Arc;

use proofroom_canonical::Digest;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData as _,
};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::tee::written;

/// A server's key and certificate.
#[derive(Clone, Debug)]
pub struct TlsIdentity {
    /// What a server needs to speak TLS as it; HTTP/1.1 alone.
    pub config: Arc<ServerConfig>,
    /// SHA-256 of the key's SubjectPublicKeyInfo.
    pub spki: Digest,
    /// The certificate in PEM, for servers that read it from a file.
    pub certificate: String,
    /// The key in PEM.
    pub key: String,
}

/// An authority that certifies servers on loopback.
#[derive(Debug)]
pub struct TlsAuthority {
    /// Its certificate.
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl TlsIdentity {
    /// A key whose certificate no authority signed.
    #[must_use]
    pub fn self_signed() -> Self {
        let key = written(KeyPair::generate());
        let certificate = written(of_loopback().self_signed(&key));
        Self::of(&certificate, &key)
    }

    fn of(certificate: &Certificate, key: &KeyPair) -> Self {
        let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider);
        let config = written(config.with_safe_default_protocol_versions()).with_no_client_auth();
        let chain = vec![certificate.der().clone()];
        let mut config = written(config.with_single_cert(chain, secret));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            config: Arc::new(config),
            spki: Digest::of(key.subject_public_key_info()),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl TlsAuthority {
    /// An authority that nobody else has.
    #[must_use]
    pub fn new() -> Self {
        let key = written(KeyPair::generate());
        let mut params = written(CertificateParams::new(Vec::new()));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = written(params.self_signed(&key)).pem();
        let issuer = Issuer::new(params, key);
        Self { pem, issuer }
    }

    /// A key that it certified.
    #[must_use]
    pub fn certify(&self) -> TlsIdentity {
        let key = written(KeyPair::generate());
        let certificate = written(of_loopback().signed_by(&key, &self.issuer));
        TlsIdentity::of(&certificate, &key)
    }
}

impl Default for TlsAuthority {
    fn default() -> Self {
        Self::new()
    }
}

fn of_loopback() -> CertificateParams {
    written(CertificateParams::new(vec!["127.0.0.1".to_owned()]))
}
