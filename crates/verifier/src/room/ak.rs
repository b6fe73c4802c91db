//! The certificate of an attestation key: issued by the deployment's CA, for one session's software
//! TPM, for attestation and nothing else.

use der::{DecodePem as _, Encode as _, oid::ObjectIdentifier};
use p256::{
    ecdsa::{DerSignature, VerifyingKey, signature::Verifier as _},
    pkcs8::DecodePublicKey as _,
};
use proofroom_canonical::Timestamp;
use x509_cert::{
    Certificate,
    ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage},
    name::Name,
};

use super::Work;
use crate::{RoomCode, RoomOutcome};

/// Common name of the subject: whose TPM it is. The attribute `serialNumber` beside it is the session.
pub const AK_COMMON_NAME: &str = "Proofroom software TPM of the host";
/// `tcg-kp-AIKCertificate` (TCG EK credential profile), the one use of an attestation key.
pub const AIK_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.3");

const MAX_PEM_BYTES: usize = 16 * 1024;
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const SERIAL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.5");
// RFC 5758 section 3.2
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
// RFC 5280 section 4.2.1: key usage, basic constraints, extended key usage
const UNDERSTOOD: [ObjectIdentifier; 3] = [
    ObjectIdentifier::new_unwrap("2.5.29.15"),
    ObjectIdentifier::new_unwrap("2.5.29.19"),
    ObjectIdentifier::new_unwrap("2.5.29.37"),
];

pub(super) fn check(work: &Work<'_>, pem: &str, key: &VerifyingKey) -> RoomOutcome {
    match verify(work, pem, key) {
        Ok(()) => RoomOutcome::Pass,
        Err((cause, words)) => RoomOutcome::fail(cause, words),
    }
}

type Refusal = (RoomCode, String);

fn verify(work: &Work<'_>, pem: &str, key: &VerifyingKey) -> Result<(), Refusal> {
    let certificate = read(pem.as_bytes(), "attestation key's certificate")?;
    let ca = read(work.trust.deployment_ca, "deployment's CA certificate")?;
    issued(&certificate, &ca)?;
    usage(&certificate)?;
    named(&certificate, &work.expected.session.to_string())?;
    holds_at(&certificate, work.now)?;
    let found = public_key(&certificate)?;
    if found == *key {
        return Ok(());
    }
    let words = "the certificate is about another key than the quote's".to_owned();
    Err((RoomCode::AkCertificateKey, words))
}

fn read(pem: &[u8], what: &str) -> Result<Certificate, Refusal> {
    let malformed = || {
        let words = format!("the {what} is not one certificate in PEM");
        (RoomCode::AkCertificateMalformed, words)
    };
    if pem.len() > MAX_PEM_BYTES {
        return Err(malformed());
    }
    Certificate::from_pem(pem).map_err(|_| malformed())
}

fn public_key(certificate: &Certificate) -> Result<VerifyingKey, Refusal> {
    certificate
        .tbs_certificate()
        .subject_public_key_info()
        .to_der()
        .ok()
        .and_then(|der| VerifyingKey::from_public_key_der(&der).ok())
        .ok_or_else(|| {
            let words = "a certificate's key is not on P-256".to_owned();
            (RoomCode::AkCertificateMalformed, words)
        })
}

fn issued(certificate: &Certificate, ca: &Certificate) -> Result<(), Refusal> {
    let refuse = |words: &str| (RoomCode::AkCertificateIssuer, words.to_owned());
    let authority = ca.tbs_certificate();
    let is_ca = extension::<BasicConstraints>(ca)?.is_some_and(|basic| basic.ca)
        && extension::<KeyUsage>(ca)?.is_some_and(|usage| usage.key_cert_sign());
    if !is_ca {
        return Err(refuse("the deployment's CA certificate may not issue any"));
    }
    let tbs = certificate.tbs_certificate();
    if tbs.issuer() != authority.subject()
        || certificate.signature_algorithm().oid != ECDSA_WITH_SHA256
        || tbs.signature() != certificate.signature_algorithm()
    {
        return Err(refuse("the certificate names another issuer or algorithm"));
    }
    let key = public_key(ca)?;
    let signed = tbs.to_der().ok();
    let signature = certificate
        .signature()
        .as_bytes()
        .and_then(|bits| DerSignature::from_bytes(bits).ok());
    match (signed, signature) {
        (Some(signed), Some(signature)) if key.verify(&signed, &signature).is_ok() => Ok(()),
        _ => Err(refuse("the deployment's CA did not sign the certificate")),
    }
}

fn usage(certificate: &Certificate) -> Result<(), Refusal> {
    let unknown = certificate
        .tbs_certificate()
        .extensions()
        .into_iter()
        .flatten()
        .any(|extension| extension.critical && !UNDERSTOOD.contains(&extension.extn_id));
    let ca = extension::<BasicConstraints>(certificate)?.is_some_and(|basic| basic.ca);
    let signs = extension::<KeyUsage>(certificate)?.is_some_and(|usage| usage.digital_signature());
    let uses = extension::<ExtendedKeyUsage>(certificate)?.map(|uses| uses.0);
    if unknown || ca || !signs || uses.as_deref() != Some(&[AIK_USAGE]) {
        let words = "the certificate is not for an attestation key alone".to_owned();
        return Err((RoomCode::AkCertificateUse, words));
    }
    Ok(())
}

fn named(certificate: &Certificate, session: &str) -> Result<(), Refusal> {
    let subject = certificate.tbs_certificate().subject();
    let is = |oid, wanted: &str| attribute(subject, oid).as_deref() == Some(wanted);
    if is(COMMON_NAME, AK_COMMON_NAME) && is(SERIAL_NUMBER, session) {
        return Ok(());
    }
    let words = format!("the certificate is not about the software TPM of `{session}`");
    Err((RoomCode::AkCertificateSession, words))
}

/// The one value of an attribute; none when there are two.
fn attribute(name: &Name, oid: ObjectIdentifier) -> Option<String> {
    let mut values = name
        .iter_rdn()
        .flat_map(x509_cert::name::RelativeDistinguishedName::iter)
        .filter(|attribute| attribute.oid == oid)
        .map(|attribute| String::from_utf8_lossy(attribute.value.value()).into_owned());
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

fn holds_at(certificate: &Certificate, now: Timestamp) -> Result<(), Refusal> {
    let validity = certificate.tbs_certificate().validity();
    let seconds = |time: &x509_cert::time::Time| {
        i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
    };
    let (from, until) = (seconds(&validity.not_before), seconds(&validity.not_after));
    if (from..=until).contains(&now.unix_seconds()) {
        return Ok(());
    }
    let words = format!("the certificate does not hold at {now}");
    Err((RoomCode::AkCertificateTime, words))
}

fn extension<'a, T>(certificate: &'a Certificate) -> Result<Option<T>, Refusal>
where
    T: der::Decode<'a, Error = der::Error> + der::oid::AssociatedOid,
{
    certificate
        .tbs_certificate()
        .get_extension::<T>()
        .map(|found| found.map(|(_, value)| value))
        .map_err(|_| {
            let words = "an extension of a certificate cannot be read".to_owned();
            (RoomCode::AkCertificateMalformed, words)
        })
}
