//! The deployment's own keys: the certificate authority, the gateway's record key, the log's
//! checkpoint key and the key of commitments. Made at first use, kept in files that only their owner can read.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use p256::{
    ecdsa::{SigningKey, VerifyingKey},
    pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, LineEnding},
};
use proofroom_authn::HolderKey;
use proofroom_canonical::{SessionId, Timestamp};
use proofroom_evidence::TpmKey;
use proofroom_gateway::CommitmentKey;
use proofroom_verifier::AK_COMMON_NAME;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SignatureAlgorithm,
    string::Ia5String,
};
use zeroize::Zeroizing;

/// A certificate outlives the longest session by this much; keys are not reused across sessions.
const SESSION_CERTIFICATE_DAYS: i64 = 2;
const GATEWAY_CERTIFICATE_DAYS: i64 = 397;
const CA_CERTIFICATE_DAYS: i64 = 3650;
const RENEW_BEFORE_DAYS: i64 = 30;
const DAY_SECONDS: i64 = 86_400;
/// Clocks of the machines that read a certificate may lag by this much.
const BACKDATE_SECONDS: i64 = 300;

/// `serialNumber`, which holds the session in the subject of an attestation key.
const SERIAL_NUMBER: [u64; 4] = [2, 5, 4, 5];
/// `tcg-kp-AIKCertificate`: for an attestation key and nothing else.
const AIK_USAGE_ARCS: [u64; 5] = [2, 23, 133, 8, 3];

/// Why the deployment's keys could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A key file could not be read or written.
    #[error("cannot use key file `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A key file can be read by other users.
    #[error(
        "key file `{0}` can be read by other users; run `chmod 600` on it, and replace the key if others may have read it"
    )]
    Exposed(PathBuf),
    /// A key file does not hold what it should.
    #[error(
        "key file `{0}` does not hold a usable key; restore it from a backup (a new key makes new records unverifiable under the old trust anchors)"
    )]
    Malformed(PathBuf),
    /// The public key that a room sent is not a P-256 key.
    #[error("the room's session key is not a P-256 SubjectPublicKeyInfo in PEM")]
    SessionKey,
    /// What a TPM gave is not an attestation key.
    #[error("the software TPM's key is not an ECDSA P-256 attestation key")]
    AttestationKey,
    /// The system gave no randomness.
    #[error("the system gave no randomness")]
    Randomness,
    /// A certificate could not be made.
    #[error("cannot issue a certificate")]
    Issue(#[source] rcgen::Error),
}

impl KeyError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "key-file",
            Self::Exposed(_) => "key-file-exposed",
            Self::Malformed(_) => "key-file-malformed",
            Self::SessionKey => "session-key-malformed",
            Self::AttestationKey => "attestation-key-malformed",
            Self::Randomness => "no-randomness",
            Self::Issue(_) => "certificate-issue",
        }
    }
}

/// The deployment's keys, ready for use.
pub struct DeploymentKeys {
    trust_domain: String,
    ca: Issuer<'static, KeyPair>,
    ca_pem: String,
    gateway: SigningKey,
    gateway_pem: String,
    log: ed25519_dalek::SigningKey,
    commitments: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for DeploymentKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeploymentKeys")
            .field("trust_domain", &self.trust_domain)
            .finish_non_exhaustive()
    }
}

impl DeploymentKeys {
    /// Opens the keys in `dir`, making those that are not there yet.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn open(dir: &Path, trust_domain: &str, now: Timestamp) -> Result<Self, KeyError> {
        fs::create_dir_all(dir)
            .and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(0o700)))
            .map_err(|source| file_error(dir, source))?;
        // Two first sessions at once must not each make a set of keys.
        let lock_path = dir.join("lock");
        let _lock =
            crate::files::lock(&lock_path).map_err(|source| file_error(&lock_path, source))?;
        let ca_key = open_p256(&dir.join("ca.key.pem"))?;
        let ca_pair = key_pair(&ca_key, &dir.join("ca.key.pem"))?;
        let ca_params = ca_params(trust_domain, now)?;
        let ca_pem = read_or_make(&dir.join("ca.cert.pem"), 0o644, || {
            let certificate = ca_params.self_signed(&ca_pair).map_err(KeyError::Issue)?;
            Ok(Zeroizing::new(certificate.pem()))
        })?;
        let ca = Issuer::new(ca_params, ca_pair);
        let gateway = open_p256(&dir.join("gateway.key.pem"))?;
        let gateway_pem = gateway_certificate(dir, &ca, &gateway, trust_domain, now)?;
        Ok(Self {
            trust_domain: trust_domain.to_owned(),
            ca,
            ca_pem: ca_pem.to_string(),
            gateway,
            gateway_pem,
            log: ed25519_dalek::SigningKey::from_bytes(&*open_bytes(&dir.join("log.key"))?),
            commitments: open_bytes(&dir.join("commitment.key"))?,
        })
    }

    /// The deployment's SPIFFE trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The CA certificate, PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The gateway's certificate, PEM.
    #[must_use]
    pub fn gateway_pem(&self) -> &str {
        &self.gateway_pem
    }

    /// The key that signs model-run and destruction records.
    #[must_use]
    pub const fn gateway(&self) -> &SigningKey {
        &self.gateway
    }

    /// The key that signs the log's checkpoints.
    #[must_use]
    pub const fn log(&self) -> &ed25519_dalek::SigningKey {
        &self.log
    }

    /// The key from which those of runs' commitments are derived.
    #[must_use]
    pub fn commitments(&self) -> CommitmentKey {
        CommitmentKey::new(*self.commitments)
    }

    /// The SPIFFE ID of `agent` in `session`.
    #[must_use]
    pub fn spiffe_id(&self, session: SessionId, agent: &str) -> String {
        format!(
            "spiffe://{}/session/{session}/agent/{agent}",
            self.trust_domain
        )
    }

    /// Reads the public key that a room sent.
    ///
    /// # Errors
    /// [`KeyError::SessionKey`] when `spki_pem` is not a P-256 public key.
    pub fn read_session_key(spki_pem: &str) -> Result<VerifyingKey, KeyError> {
        VerifyingKey::from_public_key_pem(spki_pem).map_err(|_| KeyError::SessionKey)
    }

    /// Certifies a session key for `spiffe_id`; returns the certificate, PEM.
    ///
    /// # Errors
    /// [`KeyError::Issue`].
    pub fn certify_session(
        &self,
        key: &VerifyingKey,
        spiffe_id: &str,
        now: Timestamp,
    ) -> Result<String, KeyError> {
        let params = leaf_params(
            "Proofroom session",
            spiffe_id,
            SESSION_CERTIFICATE_DAYS,
            now,
        )?;
        let certificate = params
            .signed_by(&P256Public::from(key), &self.ca)
            .map_err(KeyError::Issue)?;
        Ok(certificate.pem())
    }

    /// Certifies the attestation key of the software TPM that the host runs for `session`; returns the
    /// certificate, PEM. `public` is the key's TPMT_PUBLIC, from the TPM itself: whoever calls this
    /// started that TPM.
    ///
    /// # Errors
    /// [`KeyError::AttestationKey`] when `public` is not that of an attestation key on P-256.
    pub fn certify_attestation_key(
        &self,
        public: &[u8],
        session: SessionId,
        now: Timestamp,
    ) -> Result<String, KeyError> {
        let key = TpmKey::parse(public)
            .ok()
            .filter(|key| key.attributes().is_attestation_key())
            .and_then(|key| VerifyingKey::from_sec1_bytes(key.point()).ok())
            .ok_or(KeyError::AttestationKey)?;
        let mut params = params(AK_COMMON_NAME, SESSION_CERTIFICATE_DAYS, now)?;
        params.distinguished_name.push(
            DnType::CustomDnType(SERIAL_NUMBER.to_vec()),
            session.to_string(),
        );
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(AIK_USAGE_ARCS.to_vec())];
        params.use_authority_key_identifier_extension = true;
        let certificate = params
            .signed_by(&P256Public::from(&key), &self.ca)
            .map_err(KeyError::Issue)?;
        Ok(certificate.pem())
    }
}

/// A P-256 public key in the shape in which rcgen certifies one.
struct P256Public(Vec<u8>);

impl From<&VerifyingKey> for P256Public {
    fn from(key: &VerifyingKey) -> Self {
        Self(key.to_sec1_point(false).as_bytes().to_vec())
    }
}

impl PublicKeyData for P256Public {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

fn ca_params(trust_domain: &str, now: Timestamp) -> Result<CertificateParams, KeyError> {
    let mut params = params("Proofroom deployment CA", CA_CERTIFICATE_DAYS, now)?;
    params
        .distinguished_name
        .push(DnType::OrganizationName, trust_domain);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf_params(
    name: &str,
    spiffe_id: &str,
    days: i64,
    now: Timestamp,
) -> Result<CertificateParams, KeyError> {
    let mut params = params(name, days, now)?;
    let uri = Ia5String::try_from(spiffe_id).map_err(KeyError::Issue)?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn params(name: &str, days: i64, now: Timestamp) -> Result<CertificateParams, KeyError> {
    let mut params = CertificateParams::new(Vec::new()).map_err(KeyError::Issue)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    let seconds = now.unix_seconds();
    params.not_before = date(seconds.saturating_sub(BACKDATE_SECONDS));
    params.not_after = date(seconds.saturating_add(days.saturating_mul(DAY_SECONDS)));
    Ok(params)
}

fn date(unix_seconds: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(unix_seconds)
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}

/// The gateway's certificate lives beside a note of when to renew it; the key stays the same.
fn gateway_certificate(
    dir: &Path,
    ca: &Issuer<'static, KeyPair>,
    key: &SigningKey,
    trust_domain: &str,
    now: Timestamp,
) -> Result<String, KeyError> {
    let renewal = dir.join("gateway.renew-after");
    let certificate = dir.join("gateway.cert.pem");
    let due = fs::read_to_string(&renewal)
        .ok()
        .and_then(|text| text.trim().parse::<Timestamp>().ok())
        .is_none_or(|after| now >= after);
    if !due && let Ok(pem) = fs::read_to_string(&certificate) {
        return Ok(pem);
    }
    let id = format!("spiffe://{trust_domain}/gateway");
    let issued = leaf_params("Proofroom gateway", &id, GATEWAY_CERTIFICATE_DAYS, now)?
        .signed_by(&P256Public::from(key.verifying_key()), ca)
        .map_err(KeyError::Issue)?
        .pem();
    let renew_in = (GATEWAY_CERTIFICATE_DAYS - RENEW_BEFORE_DAYS).saturating_mul(DAY_SECONDS);
    let renew = Timestamp::from_unix_seconds(now.unix_seconds().saturating_add(renew_in));
    replace(&certificate, issued.as_bytes())?;
    replace(&renewal, renew.to_string().as_bytes())?;
    Ok(issued)
}

fn key_pair(key: &SigningKey, path: &Path) -> Result<KeyPair, KeyError> {
    let pem = key
        .to_pkcs8_pem(LineEnding::LF)
        .map_err(|_| KeyError::Malformed(path.to_owned()))?;
    KeyPair::from_pem(&pem).map_err(|_| KeyError::Malformed(path.to_owned()))
}

fn open_p256(path: &Path) -> Result<SigningKey, KeyError> {
    let pem = read_or_make(path, 0o600, || {
        // A uniformly random scalar is out of range once in 2^32 draws; draw again.
        let key = loop {
            let candidate = Zeroizing::new(random::<32>()?);
            if let Ok(key) = SigningKey::from_slice(candidate.as_slice()) {
                break key;
            }
        };
        key.to_pkcs8_pem(LineEnding::LF)
            .map_err(|_| KeyError::Malformed(path.to_owned()))
    })?;
    SigningKey::from_pkcs8_pem(&pem).map_err(|_| KeyError::Malformed(path.to_owned()))
}

/// The key in `path` by which a client proves that its requests are its own, made if it is not there.
///
/// # Errors
/// [`KeyError`], also for a file that others may read.
pub fn open_holder_key(path: &Path) -> Result<HolderKey, KeyError> {
    let secret = Zeroizing::new(open_p256(path)?.to_bytes().into());
    HolderKey::of(&secret).map_err(|_| KeyError::Malformed(path.to_owned()))
}

/// What a file of mode 0600 holds, without white space around it.
///
/// # Errors
/// [`KeyError`], also for a file that others may read.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let absent = || Err(file_error(path, std::io::ErrorKind::NotFound.into()));
    let text = read_or_make(path, 0o600, absent)?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// 32 random bytes, in base64.
fn open_bytes(path: &Path) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = read_or_make(path, 0o600, || {
        let seed = Zeroizing::new(random::<32>()?);
        Ok(Zeroizing::new(STANDARD.encode(seed.as_slice())))
    })?;
    let seed = Zeroizing::new(
        STANDARD
            .decode(text.trim())
            .map_err(|_| KeyError::Malformed(path.to_owned()))?,
    );
    let seed = seed.as_slice().try_into().map(Zeroizing::new);
    seed.map_err(|_| KeyError::Malformed(path.to_owned()))
}

/// `N` bytes of the system's randomness.
///
/// # Errors
/// [`KeyError::Randomness`].
pub fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| KeyError::Randomness)?;
    Ok(bytes)
}

fn read_or_make(
    path: &Path,
    mode: u32,
    make: impl FnOnce() -> Result<Zeroizing<String>, KeyError>,
) -> Result<Zeroizing<String>, KeyError> {
    match fs::metadata(path) {
        Ok(found) if mode == 0o600 && found.permissions().mode() & 0o077 != 0 => {
            return Err(KeyError::Exposed(path.to_owned()));
        }
        Ok(_) => {
            return fs::read_to_string(path)
                .map(Zeroizing::new)
                .map_err(|source| file_error(path, source));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(file_error(path, source)),
    }
    let text = make()?;
    // Whole or not at all: a process that dies here must not leave half a key.
    replace(path, text.as_bytes())?;
    if mode != 0o600 {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(|source| file_error(path, source))?;
    }
    Ok(text)
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    crate::files::replace(path, bytes).map_err(|source| file_error(path, source))
}

fn file_error(path: &Path, source: std::io::Error) -> KeyError {
    KeyError::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::{DeploymentKeys, KeyError};
    use p256::pkcs8::{EncodePublicKey as _, LineEnding};
    use proofroom_canonical::{SessionId, Timestamp};
    use std::{fs, os::unix::fs::PermissionsExt as _};

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

    #[test]
    fn keys_are_the_same_when_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let first = DeploymentKeys::open(dir.path(), "example.org", NOW).unwrap();
        let again = DeploymentKeys::open(dir.path(), "example.org", NOW).unwrap();
        assert_eq!(first.ca_pem(), again.ca_pem());
        assert_eq!(first.gateway_pem(), again.gateway_pem());
        assert_eq!(first.gateway(), again.gateway());
        assert_eq!(first.log().to_bytes(), again.log().to_bytes());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        DeploymentKeys::open(dir.path(), "example.org", NOW).unwrap();
        let path = dir.path().join("gateway.key.pem");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = DeploymentKeys::open(dir.path(), "example.org", NOW).unwrap_err();
        assert!(matches!(refused, KeyError::Exposed(found) if found == path));
    }

    #[test]
    fn a_session_key_gets_a_certificate_with_its_identity() {
        let dir = tempfile::tempdir().unwrap();
        let keys = DeploymentKeys::open(dir.path(), "example.org", NOW).unwrap();
        let id = keys.spiffe_id(SessionId::from_random([1; 16]), "builtin");
        let session = p256::ecdsa::SigningKey::from_slice(&[3; 32]).unwrap();
        let pem = session
            .verifying_key()
            .to_public_key_pem(LineEnding::LF)
            .unwrap();
        let key = DeploymentKeys::read_session_key(&pem).unwrap();
        assert_eq!(&key, session.verifying_key());
        let certificate = keys.certify_session(&key, &id, NOW).unwrap();
        assert!(certificate.starts_with("-----BEGIN CERTIFICATE-----"));
        let refused = DeploymentKeys::read_session_key("nonsense").unwrap_err();
        assert_eq!(refused.code(), "session-key-malformed");
    }
}
