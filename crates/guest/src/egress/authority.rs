//! TLS that ends in the room: an authority of one session, whose key never leaves the supervisor's
//! memory, vouches to the agent for the hosts that single requests may go to. What goes out is not
//! this connection but the request.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use proofroom_egress::{EgressPolicy, HostName, Mode, Scheme};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::{ServerConfig, crypto::ring};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Name of the authorities' file, which lies beside the agent's socket.
pub const AUTHORITIES: &str = "authorities.pem";
/// The authorities of the machine's image, which vouch for hosts that are passed through.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The most hosts whose certificates are kept.
const MAX_KEPT: usize = 1000;

/// Why there is no TLS in the room.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A certificate could not be made.
    #[error("a certificate could not be made")]
    Certificate(#[from] rcgen::Error),
    /// TLS could not be set up with it.
    #[error("TLS could not be set up")]
    Tls(#[from] rustls::Error),
    /// The authorities could not be written for the agent.
    #[error("the authorities' file could not be written")]
    File(#[from] io::Error),
}

/// The authority of one session.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    configs: Mutex<BTreeMap<HostName, Arc<ServerConfig>>>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    /// An authority, if the policy has single requests over TLS; the agent finds its certificate,
    /// with those of the image, at `file`.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn establish(policy: &EgressPolicy, file: &Path) -> Result<Option<Self>, AuthorityError> {
        let secure = |mode: &Mode| {
            matches!(
                mode,
                Mode::Http {
                    scheme: Scheme::Https,
                    ..
                }
            )
        };
        if !policy.rules().iter().any(|rule| secure(&rule.mode)) {
            return Ok(None);
        }
        let mut params = CertificateParams::new([])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        params
            .distinguished_name
            .push(DnType::CommonName, "Proofroom session egress");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let mut all = fs::read_to_string(SYSTEM_AUTHORITIES).unwrap_or_default();
        all.push_str(&issuer.pem());
        fs::write(file, all)?;
        Ok(Some(Self {
            issuer,
            configs: Mutex::default(),
        }))
    }

    /// TLS as `host`, HTTP/1.1 and nothing else.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn config(&self, host: &HostName) -> Result<Arc<ServerConfig>, AuthorityError> {
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = configs.get(host) {
            return Ok(Arc::clone(config));
        }
        let mut params = CertificateParams::new([host.to_string()])?;
        params.use_authority_key_identifier_extension = true;
        params
            .distinguished_name
            .push(DnType::CommonName, "Proofroom session egress host");
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let chain = vec![certificate.der().clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        if configs.len() < MAX_KEPT {
            configs.insert(host.clone(), Arc::clone(&config));
        }
        Ok(config)
    }
}
