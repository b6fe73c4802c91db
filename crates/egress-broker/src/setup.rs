//! A broker from a policy: credentials and authorities are read before the session begins, and a
//! session whose broker lacks one of them does not begin.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Instant,
};

use http::{HeaderName, HeaderValue};
use hyper_rustls::ConfigBuilderExt as _;
use proofroom_canonical::Sensitive;
use proofroom_egress::{Credential, EgressPolicy, Meter, Mode, Scheme};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio::sync::Semaphore;

use crate::{Broker, MAX_AT_ONCE, dial::Resolve};

/// The most bytes that a credential may have.
const MAX_CREDENTIAL_BYTES: u64 = 4096;

/// Why the broker of a policy cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupProblem {
    /// The file of a credential or of authorities cannot be read.
    #[error("egress rule `{rule}`: `{path}` cannot be read")]
    Unreadable {
        /// The rule.
        rule: String,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Everybody may read a credential.
    #[error("egress rule `{rule}`: every user of this machine can read `{path}`; run `chmod 600`")]
    Exposed {
        /// The rule.
        rule: String,
        /// The file.
        path: PathBuf,
    },
    /// A credential that no header can carry.
    #[error("egress rule `{rule}`: `{path}` holds no credential of one line")]
    NotACredential {
        /// The rule.
        rule: String,
        /// The file.
        path: PathBuf,
    },
    /// A file of authorities without one.
    #[error("egress rule `{rule}`: `{path}` holds no certificate in PEM")]
    NotCertificates {
        /// The rule.
        rule: String,
        /// The file.
        path: PathBuf,
    },
    /// No TLS.
    #[error("TLS could not be prepared")]
    Tls(#[source] rustls::Error),
}

impl SetupProblem {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "egress-file-unreadable",
            Self::Exposed { .. } => "egress-credential-exposed",
            Self::NotACredential { .. } => "egress-credential",
            Self::NotCertificates { .. } => "egress-certificates",
            Self::Tls(_) => "egress-tls",
        }
    }
}

impl Broker {
    /// The broker of one session.
    ///
    /// # Errors
    /// [`SetupProblem`]: nothing goes out then.
    pub fn open(
        policy: EgressPolicy,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Arc<Self>, SetupProblem> {
        let (mut tls, mut credentials) = (BTreeMap::new(), BTreeMap::new());
        let mut public = None;
        for rule in policy.rules() {
            let Mode::Http {
                scheme,
                credential,
                ca_file,
                ..
            } = &rule.mode
            else {
                continue;
            };
            if let Some(credential) = credential {
                credentials.insert(rule.name.clone(), read_credential(&rule.name, credential)?);
            }
            if *scheme == Scheme::Https {
                let config = match (ca_file, &public) {
                    (Some(path), _) => Arc::new(by(&rule.name, path)?),
                    (None, Some(config)) => Arc::clone(config),
                    (None, None) => Arc::clone(public.insert(Arc::new(by_public_roots()?))),
                };
                tls.insert(rule.name.clone(), config);
            }
        }
        let meter = Mutex::new(Meter::new(policy.caps()));
        Ok(Arc::new(Self {
            policy,
            resolver,
            tls,
            credentials,
            meter,
            begun: Instant::now(),
            at_once: Arc::new(Semaphore::new(MAX_AT_ONCE)),
        }))
    }
}

fn read_credential(
    rule: &str,
    credential: &Credential,
) -> Result<(HeaderName, HeaderValue), SetupProblem> {
    let (rule, path) = (rule.to_owned(), credential.file.clone());
    let text = match read(&path) {
        Ok((_, mode)) if mode & 0o007 != 0 => return Err(SetupProblem::Exposed { rule, path }),
        Ok((text, _)) => text,
        Err(source) => return Err(SetupProblem::Unreadable { rule, path, source }),
    };
    let line = text.expose().trim_end_matches(['\r', '\n']);
    let value = Sensitive::new(format!("{}{line}", credential.prefix));
    let header = HeaderName::from_bytes(credential.header.as_bytes());
    match (header, HeaderValue::from_str(value.expose())) {
        (Ok(header), Ok(mut value)) if !line.is_empty() => {
            value.set_sensitive(true);
            Ok((header, value))
        }
        _ => Err(SetupProblem::NotACredential { rule, path }),
    }
}

fn read(path: &Path) -> io::Result<(Sensitive<String>, u32)> {
    let file = File::open(path)?;
    let mode = file.metadata()?.mode();
    let mut text = String::with_capacity(usize::try_from(MAX_CREDENTIAL_BYTES).unwrap_or(0));
    file.take(MAX_CREDENTIAL_BYTES).read_to_string(&mut text)?;
    Ok((Sensitive::new(text), mode))
}

fn by_public_roots() -> Result<ClientConfig, SetupProblem> {
    Ok(
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(SetupProblem::Tls)?
            .with_webpki_roots()
            .with_no_client_auth(),
    )
}

fn by(rule: &str, path: &Path) -> Result<ClientConfig, SetupProblem> {
    let pem = std::fs::read(path).map_err(|source| SetupProblem::Unreadable {
        rule: rule.to_owned(),
        path: path.to_owned(),
        source,
    })?;
    let mut roots = RootCertStore::empty();
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let added = certificate.is_ok_and(|certificate| roots.add(certificate).is_ok());
        if !added {
            count = 0;
            break;
        }
        count += 1;
    }
    if count == 0 {
        return Err(SetupProblem::NotCertificates {
            rule: rule.to_owned(),
            path: path.to_owned(),
        });
    }
    Ok(
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(SetupProblem::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}
