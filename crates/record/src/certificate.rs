//! X.509 certificates of the deployment: one P-256 CA, and directly under it the session's and the
//! gateway's certificates, each with one SPIFFE ID. Reads and verifies; issues nothing.

use der::{EncodePem as _, oid::ObjectIdentifier};
use p256::ecdsa::VerifyingKey;
use proofroom_canonical::Timestamp;
use proofroom_verifier::x509;
use x509_cert::{
    Certificate,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use crate::spiffe::{SpiffeError, SpiffeId};

pub use x509::MAX_CERTIFICATE_BYTES;

// RFC 5280 section 4.2.1
const UNDERSTOOD: [ObjectIdentifier; 4] = [
    ObjectIdentifier::new_unwrap("2.5.29.15"),
    ObjectIdentifier::new_unwrap("2.5.29.17"),
    ObjectIdentifier::new_unwrap("2.5.29.19"),
    ObjectIdentifier::new_unwrap("2.5.29.37"),
];

/// Why a certificate was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Not one PEM certificate, or not in the one encoding.
    #[error("not exactly one DER certificate in PEM with lines of 64 characters")]
    Malformed,
    /// Not a P-256 key with `ecdsa-with-SHA256`.
    #[error("certificate does not use ECDSA P-256 with SHA-256")]
    Algorithm,
    /// A critical extension that this verifier does not know.
    #[error("certificate has the unknown critical extension `{0}`")]
    UnknownCriticalExtension(ObjectIdentifier),
    /// The CA certificate is none.
    #[error("certificate is not a self-signed CA certificate")]
    NotACa,
    /// A session or gateway certificate that could issue certificates or not sign.
    #[error("certificate is not for signatures of an end entity")]
    NotAnEndEntity,
    /// Issued under another name.
    #[error("certificate names another issuer than the CA")]
    Issuer,
    /// The CA did not sign it.
    #[error("certificate is not signed by the CA")]
    BadSignature,
    /// Its subject alternative name is not exactly one SPIFFE ID.
    #[error("certificate does not carry exactly one SPIFFE ID")]
    Spiffe(#[source] Option<SpiffeError>),
    /// Not valid at the time in question.
    #[error("certificate is valid from {from} to {until}, not at {at}")]
    NotValidAt {
        /// First moment.
        from: Timestamp,
        /// Last moment.
        until: Timestamp,
        /// The time in question.
        at: Timestamp,
    },
}

impl CertificateError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed => "certificate-malformed",
            Self::Algorithm => "certificate-algorithm",
            Self::UnknownCriticalExtension(_) => "certificate-critical-extension",
            Self::NotACa => "certificate-not-a-ca",
            Self::NotAnEndEntity => "certificate-not-an-end-entity",
            Self::Issuer => "certificate-issuer",
            Self::BadSignature => "certificate-bad-signature",
            Self::Spiffe(_) => "certificate-spiffe",
            Self::NotValidAt { .. } => "certificate-not-valid-at",
        }
    }
}

/// A certificate that was read and not verified.
#[derive(Clone, Debug)]
pub struct UnverifiedCertificate {
    certificate: Certificate,
    key: VerifyingKey,
}

impl UnverifiedCertificate {
    /// Reads the one certificate of a PEM file. Only one encoding of it is accepted.
    ///
    /// # Errors
    /// `certificate-malformed` or `certificate-algorithm`.
    pub fn parse_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        let certificate = x509::read(pem).ok_or(CertificateError::Malformed)?;
        if to_pem(&certificate)?.as_bytes() != pem {
            return Err(CertificateError::Malformed);
        }
        if !x509::names_ecdsa(&certificate) {
            return Err(CertificateError::Algorithm);
        }
        let key = x509::public_key(&certificate).ok_or(CertificateError::Algorithm)?;
        Ok(Self { certificate, key })
    }

    /// The key in the certificate; nothing vouches for it yet.
    #[must_use]
    pub const fn key(&self) -> &VerifyingKey {
        &self.key
    }

    fn check_extensions(&self) -> Result<(), CertificateError> {
        match x509::unknown_critical(&self.certificate, &UNDERSTOOD) {
            Some(id) => Err(CertificateError::UnknownCriticalExtension(id)),
            None => Ok(()),
        }
    }

    fn check_signed_by(&self, key: &VerifyingKey) -> Result<(), CertificateError> {
        match x509::is_signed_by(&self.certificate, key) {
            true => Ok(()),
            false => Err(CertificateError::BadSignature),
        }
    }

    fn spiffe_id(&self) -> Result<SpiffeId, CertificateError> {
        let names: Option<SubjectAltName> =
            x509::extension(&self.certificate).map_err(|_| CertificateError::Malformed)?;
        match names.map(|names| names.0).as_deref() {
            Some([GeneralName::UniformResourceIdentifier(uri)]) => uri
                .as_str()
                .parse()
                .map_err(|error| CertificateError::Spiffe(Some(error))),
            _ => Err(CertificateError::Spiffe(None)),
        }
    }
}

/// The same certificate in the one PEM encoding that bundles hold: LF, 64 columns.
///
/// # Errors
/// `certificate-malformed` when `pem` does not begin with one PEM certificate.
pub fn canonical_pem(pem: &[u8]) -> Result<String, CertificateError> {
    to_pem(&x509::read(pem).ok_or(CertificateError::Malformed)?)
}

fn to_pem(certificate: &Certificate) -> Result<String, CertificateError> {
    let pem = certificate.to_pem(der::pem::LineEnding::LF);
    pem.map_err(|_| CertificateError::Malformed)
}

/// The deployment's CA: a self-signed certificate that an auditor or a bundle named.
#[derive(Clone, Debug)]
pub struct DeploymentCa(UnverifiedCertificate);

impl DeploymentCa {
    /// Reads a CA certificate and proves that it is a self-signed one for signing certificates. It
    /// does not prove whose it is: pin it.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn parse_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        let certificate = UnverifiedCertificate::parse_pem(pem)?;
        certificate.check_extensions()?;
        let may_issue = x509::may_issue(&certificate.certificate);
        let tbs = certificate.certificate.tbs_certificate();
        if !may_issue.map_err(|_| CertificateError::Malformed)? || tbs.issuer() != tbs.subject() {
            return Err(CertificateError::NotACa);
        }
        certificate.check_signed_by(&certificate.key)?;
        Ok(Self(certificate))
    }

    /// Proves that this CA issued `certificate` to the SPIFFE ID it carries, for signatures alone.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn verify(
        &self,
        certificate: &UnverifiedCertificate,
    ) -> Result<CertifiedKey, CertificateError> {
        certificate.check_extensions()?;
        let tbs = certificate.certificate.tbs_certificate();
        if tbs.issuer() != self.0.certificate.tbs_certificate().subject() {
            return Err(CertificateError::Issuer);
        }
        certificate.check_signed_by(&self.0.key)?;
        let may_sign = x509::may_only_sign(&certificate.certificate);
        if !may_sign.map_err(|_| CertificateError::Malformed)? {
            return Err(CertificateError::NotAnEndEntity);
        }
        let own = x509::validity(&certificate.certificate);
        let ca = x509::validity(&self.0.certificate);
        Ok(CertifiedKey {
            key: certificate.key,
            spiffe_id: certificate.spiffe_id()?,
            from: own.0.max(ca.0),
            until: own.1.min(ca.1),
        })
    }
}

/// A key that the deployment's CA certified for a SPIFFE ID. Only [`DeploymentCa::verify`] makes
/// one; it is usable only for a time at which it was valid.
#[derive(Clone, Debug)]
pub struct CertifiedKey {
    key: VerifyingKey,
    spiffe_id: SpiffeId,
    from: Timestamp,
    until: Timestamp,
}

impl CertifiedKey {
    /// The key, for something signed at `at`.
    ///
    /// # Errors
    /// `certificate-not-valid-at`.
    pub fn key_at(&self, at: Timestamp) -> Result<&VerifyingKey, CertificateError> {
        let (from, until) = (self.from, self.until);
        match (from..=until).contains(&at) {
            true => Ok(&self.key),
            false => Err(CertificateError::NotValidAt { from, until, at }),
        }
    }

    /// Whose key it is.
    #[must_use]
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }
}

#[cfg(test)]
mod tests;
