//! TLS towards upstreams: public roots for standard ones; for attested ones a verifier that trusts
//! no certificate authority at all, only the key that appraised evidence names.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use hyper_rustls::ConfigBuilderExt as _;
use proofroom_canonical::Digest;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption, VerifierBuilderError, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _};

/// What a key verifier goes by.
#[derive(Debug)]
enum Expectation {
    /// Any key: only to learn which one it is, before anything but the nonce is sent.
    Learn,
    /// This key and no other.
    Exactly(Digest),
}

/// Judges a connection by its key alone. The handshake signature is always verified, so the peer
/// holds the key that it shows.
#[derive(Debug)]
pub(crate) struct KeyVerifier {
    expectation: Expectation,
    /// Who must certify the key besides.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    seen: Mutex<Option<Digest>>,
    provider: Arc<CryptoProvider>,
}

impl KeyVerifier {
    pub(crate) fn learn() -> Arc<Self> {
        Arc::new(Self::new(Expectation::Learn))
    }

    pub(crate) fn exactly(spki: Digest) -> Arc<Self> {
        Arc::new(Self::new(Expectation::Exactly(spki)))
    }

    /// This key, and only if one of these authorities, or a public one where none are named, certifies it for the
    /// host's name: for where no evidence binds a key, or evidence does not say whose the host is.
    pub(crate) fn exactly_and_certified(
        spki: Digest,
        authorities: Option<RootCertStore>,
    ) -> Result<Arc<Self>, VerifierBuilderError> {
        let mut verifier = Self::new(Expectation::Exactly(spki));
        let roots = authorities.unwrap_or_else(|| {
            RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned())
        });
        let provider = Arc::clone(&verifier.provider);
        let certified = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        verifier.authorities = Some(certified.build()?);
        Ok(Arc::new(verifier))
    }

    fn new(expectation: Expectation) -> Self {
        Self {
            expectation,
            authorities: None,
            seen: Mutex::new(None),
            provider: Arc::new(ring::default_provider()),
        }
    }

    /// SHA-256 of the SubjectPublicKeyInfo that a peer showed: any, or one that was refused.
    pub(crate) fn seen(&self) -> Option<Digest> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a peer showed another key than the expected one.
    pub(crate) fn met_another_key(&self) -> bool {
        matches!(self.expectation, Expectation::Exactly(_)) && self.seen().is_some()
    }

    fn remember(&self, key: Digest) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
    }
}

impl ServerCertVerifier for KeyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(authorities) = &self.authorities {
            authorities.verify_server_cert(end_entity, intermediates, name, ocsp, now)?;
        }
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let found = Digest::of(parsed.subject_public_key_info());
        match self.expectation {
            Expectation::Exactly(wanted) if wanted == found => Ok(ServerCertVerified::assertion()),
            Expectation::Exactly(_) => {
                self.remember(found);
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            Expectation::Learn => {
                self.remember(found);
                Ok(ServerCertVerified::assertion())
            }
        }
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

/// TLS 1.3 to an attested upstream. Sessions are never resumed: a resumed handshake shows no key.
pub(crate) fn attested_config(verifier: Arc<KeyVerifier>) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The most certificates of authorities that are named for one server.
pub(crate) const MAX_AUTHORITIES: usize = 16;
/// The most bytes of a file of theirs.
const MAX_AUTHORITIES_BYTES: u64 = 256 * 1024;

/// The certificate authorities in `pem`: nothing unless it holds 1 to 16 X.509 certificates.
pub(crate) fn authorities(pem: &str) -> Option<RootCertStore> {
    let mut store = RootCertStore::empty();
    let added = CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|der| store.add(der.ok()?).ok())
        .collect::<Option<Vec<()>>>()?;
    (1..=MAX_AUTHORITIES)
        .contains(&added.len())
        .then_some(store)
}

/// The certificate authorities in the file at `path`: nothing unless it has at most 256 KiB and holds 1 to 16 X.509
/// certificates in PEM.
#[must_use]
pub fn authorities_in(path: &Path) -> Option<RootCertStore> {
    let small = fs::metadata(path).ok()?.len() <= MAX_AUTHORITIES_BYTES;
    let pem = small.then(|| fs::read_to_string(path).ok())??;
    authorities(&pem)
}

/// TLS 1.2 or 1.3 to a server that authorities vouch for: these and no others, or the public ones where none are
/// named.
///
/// # Errors
/// When the cryptography that is built in cannot speak them.
pub(crate) fn standard_config(authorities: Option<RootCertStore>) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?;
    let builder = match authorities {
        Some(authorities) => builder.with_root_certificates(authorities),
        None => builder.with_webpki_roots(),
    };
    Ok(builder.with_no_client_auth())
}
