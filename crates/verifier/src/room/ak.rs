//! The certificate of an attestation key: issued by the deployment's CA, for one session's software
//! TPM, for attestation and nothing else.

use der::oid::ObjectIdentifier;
use p256::ecdsa::VerifyingKey;
use proofroom_canonical::Timestamp;
use x509_cert::{Certificate, ext::pkix::ExtendedKeyUsage, name::Name};

use super::Work;
use crate::{RoomCode, RoomOutcome, x509};

/// Common name of the subject: whose TPM it is. The attribute `serialNumber` beside it is the session.
pub const AK_COMMON_NAME: &str = "Proofroom software TPM of the host";
/// `tcg-kp-AIKCertificate` (TCG EK credential profile), the one use of an attestation key.
pub const AIK_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.3");

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const SERIAL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.5");
// RFC 5280 section 4.2.1: key usage, basic constraints, extended key usage
const UNDERSTOOD: [ObjectIdentifier; 3] = [
    ObjectIdentifier::new_unwrap("2.5.29.15"),
    ObjectIdentifier::new_unwrap("2.5.29.19"),
    ObjectIdentifier::new_unwrap("2.5.29.37"),
];

pub(super) fn check(work: &Work<'_>, pem: &str, key: &VerifyingKey) -> RoomOutcome {
    verify(work, pem, key).into()
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
    let words = || format!("the {what} is not one certificate in PEM");
    x509::read(pem).ok_or_else(|| (RoomCode::AkCertificateMalformed, words()))
}

fn public_key(certificate: &Certificate) -> Result<VerifyingKey, Refusal> {
    let words = "a certificate's key is not on P-256";
    let key = x509::public_key(certificate);
    key.ok_or_else(|| (RoomCode::AkCertificateMalformed, words.to_owned()))
}

fn issued(certificate: &Certificate, ca: &Certificate) -> Result<(), Refusal> {
    let refuse = |words: &str| Err((RoomCode::AkCertificateIssuer, words.to_owned()));
    if !x509::may_issue(ca).map_err(unreadable)? {
        return refuse("the deployment's CA certificate may not issue any");
    }
    let issuer = certificate.tbs_certificate().issuer();
    if issuer != ca.tbs_certificate().subject() || !x509::names_ecdsa(certificate) {
        return refuse("the certificate names another issuer or algorithm");
    }
    match x509::is_signed_by(certificate, &public_key(ca)?) {
        true => Ok(()),
        false => refuse("the deployment's CA did not sign the certificate"),
    }
}

fn usage(certificate: &Certificate) -> Result<(), Refusal> {
    let unknown = x509::unknown_critical(certificate, &UNDERSTOOD);
    let signs = x509::may_only_sign(certificate).map_err(unreadable)?;
    let uses: Option<ExtendedKeyUsage> = x509::extension(certificate).map_err(unreadable)?;
    let attests = uses.is_some_and(|uses| uses.0 == [AIK_USAGE]);
    if unknown.is_none() && signs && attests {
        return Ok(());
    }
    let words = "the certificate is not for an attestation key alone".to_owned();
    Err((RoomCode::AkCertificateUse, words))
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
    let (from, until) = x509::validity(certificate);
    if (from..=until).contains(&now) {
        return Ok(());
    }
    let words = format!("the certificate does not hold at {now}");
    Err((RoomCode::AkCertificateTime, words))
}

fn unreadable(_: der::Error) -> Refusal {
    let words = "an extension of a certificate cannot be read".to_owned();
    (RoomCode::AkCertificateMalformed, words)
}
