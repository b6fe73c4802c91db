//! X.509 certificates of the deployment: one P-256 CA, and directly under it the session's and the
//! gateway's certificates, each with one SPIFFE ID. Reads and verifies; issues nothing.

use der::{EncodePem as _, oid::ObjectIdentifier};
use p256::ecdsa::VerifyingKey;
use proofroom_canonical::{Refusal, Timestamp};
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
    pub fn parse_pem(pem: &[u8]) -> Result<Self, Refusal> {
        let certificate = x509::read(pem).ok_or_else(malformed)?;
        if to_pem(&certificate)?.as_bytes() != pem {
            return Err(malformed());
        }
        let key = x509::public_key(&certificate).filter(|_| x509::names_ecdsa(&certificate));
        let key = key.ok_or_else(|| {
            let words = "certificate does not use ECDSA P-256 with SHA-256";
            Refusal::new("certificate-algorithm", words)
        })?;
        Ok(Self { certificate, key })
    }

    /// The key in the certificate; nothing vouches for it yet.
    #[must_use]
    pub const fn key(&self) -> &VerifyingKey {
        &self.key
    }

    fn check_extensions(&self) -> Result<(), Refusal> {
        match x509::unknown_critical(&self.certificate, &UNDERSTOOD) {
            Some(id) => {
                let words = format!("certificate has the unknown critical extension `{id}`");
                Err(Refusal::new("certificate-critical-extension", words))
            }
            None => Ok(()),
        }
    }

    fn check_signed_by(&self, key: &VerifyingKey) -> Result<(), Refusal> {
        let signed = x509::is_signed_by(&self.certificate, key);
        Refusal::unless(
            signed,
            "certificate-bad-signature",
            || "certificate is not signed by the CA",
        )
    }

    fn spiffe_id(&self) -> Result<SpiffeId, Refusal> {
        let names: Option<SubjectAltName> =
            x509::extension(&self.certificate).map_err(|_| malformed())?;
        let words = "certificate does not carry exactly one SPIFFE ID";
        let refused = Refusal::new("certificate-spiffe", words);
        match names.map(|names| names.0).as_deref() {
            Some([GeneralName::UniformResourceIdentifier(uri)]) => {
                let id = uri.as_str().parse();
                id.map_err(|error: SpiffeError| refused.because(error))
            }
            _ => Err(refused),
        }
    }
}

/// The same certificate in the one PEM encoding that bundles hold: LF, 64 columns.
///
/// # Errors
/// `certificate-malformed` when `pem` does not begin with one PEM certificate.
pub fn canonical_pem(pem: &[u8]) -> Result<String, Refusal> {
    to_pem(&x509::read(pem).ok_or_else(malformed)?)
}

fn to_pem(certificate: &Certificate) -> Result<String, Refusal> {
    let pem = certificate.to_pem(der::pem::LineEnding::LF);
    pem.map_err(|_| malformed())
}

fn malformed() -> Refusal {
    let words = "not exactly one DER certificate in PEM with lines of 64 characters";
    Refusal::new("certificate-malformed", words)
}

/// The deployment's CA: a self-signed certificate that an auditor or a bundle named.
#[derive(Clone, Debug)]
pub struct DeploymentCa(UnverifiedCertificate);

impl DeploymentCa {
    /// Reads a CA certificate and proves that it is a self-signed one for signing certificates. It
    /// does not prove whose it is: pin it.
    ///
    /// # Errors
    /// A refusal whose code begins with `certificate-`.
    pub fn parse_pem(pem: &[u8]) -> Result<Self, Refusal> {
        let certificate = UnverifiedCertificate::parse_pem(pem)?;
        certificate.check_extensions()?;
        let may_issue = x509::may_issue(&certificate.certificate).map_err(|_| malformed())?;
        let tbs = certificate.certificate.tbs_certificate();
        let is_ca = may_issue && tbs.issuer() == tbs.subject();
        Refusal::unless(
            is_ca,
            "certificate-not-a-ca",
            || "certificate is not a self-signed CA certificate",
        )?;
        certificate.check_signed_by(&certificate.key)?;
        Ok(Self(certificate))
    }

    /// Proves that this CA issued `certificate` to the SPIFFE ID it carries, for signatures alone.
    ///
    /// # Errors
    /// A refusal whose code begins with `certificate-`.
    pub fn verify(&self, certificate: &UnverifiedCertificate) -> Result<CertifiedKey, Refusal> {
        certificate.check_extensions()?;
        let tbs = certificate.certificate.tbs_certificate();
        let issued = tbs.issuer() == self.0.certificate.tbs_certificate().subject();
        Refusal::unless(
            issued,
            "certificate-issuer",
            || "certificate names another issuer than the CA",
        )?;
        certificate.check_signed_by(&self.0.key)?;
        let may_sign = x509::may_only_sign(&certificate.certificate).map_err(|_| malformed())?;
        Refusal::unless(
            may_sign,
            "certificate-not-an-end-entity",
            || "certificate is not for signatures of an end entity",
        )?;
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
    pub fn key_at(&self, at: Timestamp) -> Result<&VerifyingKey, Refusal> {
        let (from, until) = (self.from, self.until);
        Refusal::unless(
            (from..=until).contains(&at),
            "certificate-not-valid-at",
            || format!("certificate is valid from {from} to {until}, not at {at}"),
        )?;
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
