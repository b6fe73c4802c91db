//! X.509 certificates of the deployment: one P-256 CA, and directly under it the session's and the
//! gateway's certificates, each with one SPIFFE ID. Reads and verifies; issues nothing.

use der::{DecodePem as _, Encode as _, EncodePem as _, oid::ObjectIdentifier};
use p256::{
    ecdsa::{DerSignature, VerifyingKey, signature::Verifier as _},
    pkcs8::DecodePublicKey as _,
};
use proofroom_canonical::Timestamp;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName, name::GeneralName};

use crate::spiffe::{SpiffeError, SpiffeId};

/// The most bytes that a certificate's PEM file may have.
pub const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;

// RFC 5758 section 3.2 and RFC 5280 section 4.2.1
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
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
    certificate: x509_cert::Certificate,
    key: VerifyingKey,
}

impl UnverifiedCertificate {
    /// Reads the one certificate of a PEM file. Only one encoding of it is accepted.
    ///
    /// # Errors
    /// `certificate-malformed` or `certificate-algorithm`.
    pub fn parse_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        let certificate = parse(pem)?;
        if certificate
            .to_pem(der::pem::LineEnding::LF)
            .ok()
            .as_deref()
            .map(str::as_bytes)
            != Some(pem)
        {
            return Err(CertificateError::Malformed);
        }
        let tbs = certificate.tbs_certificate();
        let algorithm = certificate.signature_algorithm();
        if algorithm.oid != ECDSA_WITH_SHA256 || tbs.signature() != algorithm {
            return Err(CertificateError::Algorithm);
        }
        let spki =
            (tbs.subject_public_key_info().to_der()).map_err(|_| CertificateError::Malformed)?;
        let key =
            VerifyingKey::from_public_key_der(&spki).map_err(|_| CertificateError::Algorithm)?;
        Ok(Self { certificate, key })
    }

    /// The key in the certificate; nothing vouches for it yet.
    #[must_use]
    pub const fn key(&self) -> &VerifyingKey {
        &self.key
    }

    fn extension<'a, T>(&'a self) -> Result<Option<T>, CertificateError>
    where
        T: der::Decode<'a, Error = der::Error> + der::oid::AssociatedOid,
    {
        let found = self.certificate.tbs_certificate().get_extension::<T>();
        found
            .map(|found| found.map(|(_, value)| value))
            .map_err(|_| CertificateError::Malformed)
    }

    fn check_extensions(&self) -> Result<(), CertificateError> {
        let extensions = self.certificate.tbs_certificate().extensions();
        let unknown = extensions
            .into_iter()
            .flatten()
            .find(|extension| extension.critical && !UNDERSTOOD.contains(&extension.extn_id));
        match unknown {
            Some(extension) => Err(CertificateError::UnknownCriticalExtension(
                extension.extn_id,
            )),
            None => Ok(()),
        }
    }

    fn check_signed_by(&self, key: &VerifyingKey) -> Result<(), CertificateError> {
        let tbs = (self.certificate.tbs_certificate().to_der())
            .map_err(|_| CertificateError::Malformed)?;
        let bits =
            (self.certificate.signature().as_bytes()).ok_or(CertificateError::BadSignature)?;
        let signature =
            DerSignature::from_bytes(bits).map_err(|_| CertificateError::BadSignature)?;
        key.verify(&tbs, &signature)
            .map_err(|_| CertificateError::BadSignature)
    }

    fn validity(&self) -> Validity {
        let validity = self.certificate.tbs_certificate().validity();
        let at = |time: &x509_cert::time::Time| {
            let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
            Timestamp::from_unix_seconds(seconds)
        };
        // a certificate holds until the end of its last second
        let last = at(&validity.not_after).unix_millis().saturating_add(999);
        Validity {
            from: at(&validity.not_before),
            until: Timestamp::from_unix_millis(last),
        }
    }

    fn spiffe_id(&self) -> Result<SpiffeId, CertificateError> {
        let names: Option<SubjectAltName> = self.extension()?;
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
    let certificate = parse(pem)?;
    certificate
        .to_pem(der::pem::LineEnding::LF)
        .map_err(|_| CertificateError::Malformed)
}

fn parse(pem: &[u8]) -> Result<x509_cert::Certificate, CertificateError> {
    if pem.len() > MAX_CERTIFICATE_BYTES {
        return Err(CertificateError::Malformed);
    }
    x509_cert::Certificate::from_pem(pem).map_err(|_| CertificateError::Malformed)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Validity {
    from: Timestamp,
    until: Timestamp,
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
        let tbs = certificate.certificate.tbs_certificate();
        let is_ca = certificate
            .extension::<BasicConstraints>()?
            .is_some_and(|basic| basic.ca);
        let may_issue = certificate
            .extension::<KeyUsage>()?
            .is_some_and(|usage| usage.key_cert_sign());
        if !is_ca || !may_issue || tbs.issuer() != tbs.subject() {
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
        let is_ca = certificate
            .extension::<BasicConstraints>()?
            .is_some_and(|basic| basic.ca);
        let may_sign = certificate
            .extension::<KeyUsage>()?
            .is_some_and(|usage| usage.digital_signature());
        if is_ca || !may_sign {
            return Err(CertificateError::NotAnEndEntity);
        }
        let (own, ca) = (certificate.validity(), self.0.validity());
        Ok(CertifiedKey {
            key: certificate.key,
            spiffe_id: certificate.spiffe_id()?,
            validity: Validity {
                from: own.from.max(ca.from),
                until: own.until.min(ca.until),
            },
        })
    }
}

/// A key that the deployment's CA certified for a SPIFFE ID. Only [`DeploymentCa::verify`] makes
/// one; it is usable only for a time at which it was valid.
#[derive(Clone, Debug)]
pub struct CertifiedKey {
    key: VerifyingKey,
    spiffe_id: SpiffeId,
    validity: Validity,
}

impl CertifiedKey {
    /// The key, for something signed at `at`.
    ///
    /// # Errors
    /// `certificate-not-valid-at`.
    pub const fn key_at(&self, at: Timestamp) -> Result<&VerifyingKey, CertificateError> {
        let (from, until) = (self.validity.from, self.validity.until);
        let millis = at.unix_millis();
        if millis < from.unix_millis() || millis > until.unix_millis() {
            return Err(CertificateError::NotValidAt { from, until, at });
        }
        Ok(&self.key)
    }

    /// Whose key it is.
    #[must_use]
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }
}

#[cfg(test)]
mod tests;
