//! TLS 1.3 at the listener. A client's certificate is taken for its key alone: no authority is asked.

use std::{path::Path, sync::Arc};

use proofroom_canonical::Digest;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    server::{
        ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _};

use crate::config::{ClientCertificates, TlsFiles};

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsProblem {
    #[error("cannot read `{path}` as PEM")]
    Pem {
        path: String,
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    #[error("the certificate's file holds none that can be read")]
    NoCertificate,
    #[error("the certificate and its key cannot be used")]
    Unusable(#[from] Error),
}

/// What the listener serves, and SHA-256 of its key's SubjectPublicKeyInfo.
pub(crate) fn server_config(files: &TlsFiles) -> Result<(Arc<ServerConfig>, Digest), TlsProblem> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|source| pem(&files.certificate, source))?;
    let own = client_key(Some(&chain)).ok_or(TlsProblem::NoCertificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| pem(&files.key, source))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = match files.client_certificates {
        ClientCertificates::NotAsked => builder.with_no_client_auth(),
        ClientCertificates::Asked => {
            builder.with_client_cert_verifier(Arc::new(AnyKey { provider }))
        }
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((Arc::new(config), own))
}

fn pem(path: &Path, source: rustls_pki_types::pem::Error) -> TlsProblem {
    TlsProblem::Pem {
        path: path.display().to_string(),
        source,
    }
}

/// SHA-256 of the SubjectPublicKeyInfo of the first certificate: of the one that a client showed, and
/// whose key it proved to hold in the handshake.
pub(crate) fn client_key(shown: Option<&[CertificateDer<'_>]>) -> Option<Digest> {
    let parsed = ParsedCertificate::try_from(shown?.first()?).ok()?;
    Some(Digest::of(parsed.subject_public_key_info()))
}

/// Takes any certificate whose key signs the handshake. What the key may is for the virtual keys that
/// are bound to it.
#[derive(Debug)]
struct AnyKey {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        ParsedCertificate::try_from(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
