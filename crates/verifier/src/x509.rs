//! What this product asks of the X.509 certificates that deployments issue (RFC 5280): ECDSA on P-256 with
//! SHA-256, critical extensions that are understood, an issuer's signature, a time. Who may be trusted for
//! what is the caller's to say.

use der::{Decode, DecodePem as _, Encode as _, oid::AssociatedOid, oid::ObjectIdentifier};
use p256::{
    ecdsa::{DerSignature, VerifyingKey, signature::Verifier as _},
    pkcs8::DecodePublicKey as _,
};
use proofroom_canonical::Timestamp;
use x509_cert::{
    Certificate,
    ext::pkix::{BasicConstraints, KeyUsage},
    time::Time,
};

/// The most bytes that a certificate's PEM file may have.
pub const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;

// RFC 5758 section 3.2
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");

/// The one certificate that a PEM file begins with.
#[must_use]
pub fn read(pem: &[u8]) -> Option<Certificate> {
    let small = pem.len() <= MAX_CERTIFICATE_BYTES;
    small.then(|| Certificate::from_pem(pem).ok()).flatten()
}

/// The key that a certificate is about; none where it is not on P-256.
#[must_use]
pub fn public_key(certificate: &Certificate) -> Option<VerifyingKey> {
    let key = certificate.tbs_certificate().subject_public_key_info();
    VerifyingKey::from_public_key_der(&key.to_der().ok()?).ok()
}

/// Whether a certificate says, in both places, that it is signed by ECDSA with SHA-256.
#[must_use]
pub fn names_ecdsa(certificate: &Certificate) -> bool {
    let algorithm = certificate.signature_algorithm();
    algorithm.oid == ECDSA_WITH_SHA256 && certificate.tbs_certificate().signature() == algorithm
}

/// Whether the holder of `key` signed a certificate, by ECDSA with SHA-256.
#[must_use]
pub fn is_signed_by(certificate: &Certificate, key: &VerifyingKey) -> bool {
    let signature = certificate.signature().as_bytes();
    let signature = signature.and_then(|bits| DerSignature::from_bytes(bits).ok());
    let signed = certificate.tbs_certificate().to_der().ok();
    (signed.zip(signature)).is_some_and(|(tbs, signature)| key.verify(&tbs, &signature).is_ok())
}

/// An extension; none where a certificate lacks it.
///
/// # Errors
/// It is there more than once, or is malformed.
pub fn extension<'a, T>(certificate: &'a Certificate) -> Result<Option<T>, der::Error>
where
    T: Decode<'a, Error = der::Error> + AssociatedOid,
{
    let found = certificate.tbs_certificate().get_extension()?;
    Ok(found.map(|(_, extension)| extension))
}

/// The first critical extension that is not one of those `understood`.
#[must_use]
pub fn unknown_critical(
    certificate: &Certificate,
    understood: &[ObjectIdentifier],
) -> Option<ObjectIdentifier> {
    let extensions = certificate.tbs_certificate().extensions();
    let mut ids = (extensions.into_iter().flatten())
        .filter(|extension| extension.critical)
        .map(|extension| extension.extn_id);
    ids.find(|id| !understood.contains(id))
}

/// Whether a certificate is a CA's that may issue others.
///
/// # Errors
/// An extension that says so is malformed.
pub fn may_issue(certificate: &Certificate) -> Result<bool, der::Error> {
    let ca = extension::<BasicConstraints>(certificate)?.is_some_and(|basic| basic.ca);
    let usage = extension::<KeyUsage>(certificate)?;
    Ok(ca && usage.is_some_and(|usage| usage.key_cert_sign()))
}

/// Whether a certificate is for signatures, and not a CA's.
///
/// # Errors
/// An extension that says so is malformed.
pub fn may_only_sign(certificate: &Certificate) -> Result<bool, der::Error> {
    let ca = extension::<BasicConstraints>(certificate)?.is_some_and(|basic| basic.ca);
    let usage = extension::<KeyUsage>(certificate)?;
    Ok(!ca && usage.is_some_and(|usage| usage.digital_signature()))
}

/// The first and the last moment at which a certificate holds: until the end of its last second.
#[must_use]
pub fn validity(certificate: &Certificate) -> (Timestamp, Timestamp) {
    let validity = certificate.tbs_certificate().validity();
    let at = |time: &Time| {
        let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
        Timestamp::from_unix_seconds(seconds)
    };
    let last = at(&validity.not_after).unix_millis().saturating_add(999);
    (at(&validity.not_before), Timestamp::from_unix_millis(last))
}
