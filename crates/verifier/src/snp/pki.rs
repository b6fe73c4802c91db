//! AMD's certificates: their one signature algorithm, what each may be used for, when they hold, and
//! the root's revocation list. What the chip key's certificate says about its chip is not read here.

use der::{Decode as _, Reader as _, SliceReader, asn1::UintRef, oid::ObjectIdentifier};
use p384::ecdsa;
use proofroom_canonical::Timestamp;
use proofroom_evidence::snp::MAX_CERTIFICATE_BYTES;
use rsa::{BoxedUint, PublicKey, pss, signature::Verifier as _};
use sha2::Sha384;
use x509_cert::{
    Certificate,
    crl::CertificateList,
    ext::{
        Extensions,
        pkix::{BasicConstraints, KeyUsage},
    },
    name::Name,
    spki::AlgorithmIdentifierOwned,
    time::Time,
};

use super::Refusal;
use crate::SnpCause;

/// The most bytes of a revocation list that are read. AMD's name a handful of certificates.
const MAX_CRL_BYTES: usize = 64 * 1024;
const RSA_BITS: u32 = 4096;
const RSA_BYTES: usize = 512;

const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
// RFC 5280 section 4.2.1: key usage, basic constraints
const UNDERSTOOD: [ObjectIdentifier; 2] = [
    ObjectIdentifier::new_unwrap("2.5.29.15"),
    ObjectIdentifier::new_unwrap("2.5.29.19"),
];

/// `RSASSA-PSS-params` (RFC 4055 section 3.1): SHA-384, MGF1 with SHA-384, salt of 48 bytes.
#[rustfmt::skip]
const PSS_SHA384: [u8; 52] = [
    0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00,
    0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08,
    0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00,
    0xa2, 0x03, 0x02, 0x01, 0x30,
];
/// The trailer, which is the default. AMD wrote it out until some time between 2023 and 2026.
const PSS_TRAILER: [u8; 5] = [0xa3, 0x03, 0x02, 0x01, 0x01];

/// A certificate with the exact bytes under its signature.
pub(super) struct Signed {
    certificate: Certificate,
    body: Vec<u8>,
    what: &'static str,
}

impl Signed {
    pub(super) fn parse(der: &[u8], what: &'static str) -> Result<Self, Refusal> {
        let refuse = |why: &str| {
            let words = format!("the {what} certificate {why}");
            Err((SnpCause::ChainMalformed, words))
        };
        if der.len() > MAX_CERTIFICATE_BYTES {
            return refuse("is larger than any that is read");
        }
        let (Ok(certificate), Some(body)) = (Certificate::from_der(der), first_member(der)) else {
            return refuse("is not DER X.509");
        };
        let tbs = certificate.tbs_certificate();
        if !is_pss_sha384(certificate.signature_algorithm())
            || tbs.signature() != certificate.signature_algorithm()
        {
            return refuse("is not signed with RSASSA-PSS and SHA-384");
        }
        Ok(Self {
            certificate,
            body: body.to_vec(),
            what,
        })
    }

    fn refuse(&self, cause: SnpCause, why: &str) -> Refusal {
        (cause, format!("the {} certificate {why}", self.what))
    }

    pub(super) fn serial(&self) -> &[u8] {
        self.certificate
            .tbs_certificate()
            .serial_number()
            .as_bytes()
    }

    pub(super) fn subject(&self) -> &Name {
        self.certificate.tbs_certificate().subject()
    }

    /// Refuses unless the subject's one common name is `wanted`.
    pub(super) fn is_named(&self, wanted: &str) -> Result<(), Refusal> {
        let mut names = self
            .subject()
            .iter()
            .filter(|attribute| attribute.oid == COMMON_NAME);
        match (names.next(), names.next()) {
            (Some(name), None) if name.value.value() == wanted.as_bytes() => Ok(()),
            _ => Err(self.refuse(SnpCause::ChainBroken, &format!("is not named `{wanted}`"))),
        }
    }

    /// Refuses unless `issuer` issued this certificate: by name, by right and by signature.
    pub(super) fn is_issued_by(&self, issuer: &Self) -> Result<(), Refusal> {
        let refuse = |why: &str| Err(self.refuse(SnpCause::ChainBroken, why));
        if self.certificate.tbs_certificate().issuer() != issuer.subject() {
            return refuse(&format!("names another issuer than the {}", issuer.what));
        }
        let signature = self.certificate.signature().as_bytes();
        if !issuer.rsa_key()?.signed(&self.body, signature) {
            return refuse(&format!("is not signed by the {}", issuer.what));
        }
        Ok(())
    }

    /// Refuses unless this is a CA that may have `below` CAs below it.
    pub(super) fn is_ca(&self, below: u8) -> Result<(), Refusal> {
        self.refuse_unknown_critical()?;
        let refuse = || Err(self.refuse(SnpCause::ChainBroken, "may not issue certificates"));
        let Some(basic) = self.extension::<BasicConstraints>()? else {
            return refuse();
        };
        let long_enough = basic.path_len_constraint.is_none_or(|most| most >= below);
        let signs = self
            .extension::<KeyUsage>()?
            .is_some_and(|usage| usage.key_cert_sign());
        if basic.ca && long_enough && signs {
            return Ok(());
        }
        refuse()
    }

    pub(super) fn is_no_ca(&self) -> Result<(), Refusal> {
        self.refuse_unknown_critical()?;
        if self
            .extension::<BasicConstraints>()?
            .is_some_and(|basic| basic.ca)
        {
            return Err(self.refuse(SnpCause::ChainBroken, "is that of a CA"));
        }
        Ok(())
    }

    fn refuse_unknown_critical(&self) -> Result<(), Refusal> {
        if has_unknown_critical(self.certificate.tbs_certificate().extensions()) {
            return Err(self.refuse(
                SnpCause::ChainBroken,
                "has a critical extension that is not understood",
            ));
        }
        Ok(())
    }

    fn extension<T>(&self) -> Result<Option<T>, Refusal>
    where
        T: for<'a> der::Decode<'a> + der::oid::AssociatedOid,
    {
        self.certificate
            .tbs_certificate()
            .get_extension::<T>()
            .map(|found| found.map(|(_, value)| value))
            .map_err(|_| self.refuse(SnpCause::ChainBroken, "has a malformed extension"))
    }

    /// The last second at which the certificate holds, if it holds at `now`.
    pub(super) fn holds_until(&self, now: Timestamp) -> Result<Timestamp, Refusal> {
        let validity = self.certificate.tbs_certificate().validity();
        if now < instant(validity.not_before) {
            return Err(self.refuse(SnpCause::CertificateNotYetValid, "is not valid yet"));
        }
        let end = instant(validity.not_after);
        if now > end {
            return Err(self.refuse(SnpCause::CertificateExpired, "is not valid any more"));
        }
        Ok(end)
    }

    fn key_bits(&self, algorithm: ObjectIdentifier) -> Option<&[u8]> {
        let key = self.certificate.tbs_certificate().subject_public_key_info();
        (key.algorithm.oid == algorithm)
            .then(|| key.subject_public_key.as_bytes())
            .flatten()
    }

    fn rsa_key(&self) -> Result<RsaKey, Refusal> {
        self.key_bits(RSA_ENCRYPTION)
            .and_then(RsaKey::parse)
            .ok_or_else(|| self.refuse(SnpCause::ChainMalformed, "has no RSA key of 4096 bits"))
    }

    /// The certificate's ECDSA P-384 key.
    pub(super) fn ecdsa_key(&self) -> Result<ecdsa::VerifyingKey, Refusal> {
        let key = self.certificate.tbs_certificate().subject_public_key_info();
        let curve = key.algorithm.parameters.as_ref();
        self.key_bits(EC_PUBLIC_KEY)
            .filter(|_| {
                curve.is_some_and(|any| any.decode_as::<ObjectIdentifier>() == Ok(SECP384R1))
            })
            .and_then(|bits| ecdsa::VerifyingKey::from_sec1_bytes(bits).ok())
            .ok_or_else(|| self.refuse(SnpCause::ChainMalformed, "has no key on P-384"))
    }
}

/// An RSA key of 4096 bits, for RSASSA-PSS with SHA-384.
struct RsaKey(pss::VerifyingKey<Sha384>);

impl RsaKey {
    /// `RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER }` (RFC 8017 appendix A.1.1)
    fn parse(der: &[u8]) -> Option<Self> {
        let mut reader = SliceReader::new(der).ok()?;
        let (modulus, exponent) = reader
            .sequence(|key: &mut SliceReader<'_>| {
                Ok::<_, der::Error>((key.decode::<UintRef<'_>>()?, key.decode::<UintRef<'_>>()?))
            })
            .ok()?;
        if !reader.is_finished() || modulus.as_bytes().len() != RSA_BYTES {
            return None;
        }
        let modulus = BoxedUint::from_be_slice(modulus.as_bytes(), RSA_BITS).ok()?;
        let exponent = BoxedUint::from_be_slice(exponent.as_bytes(), 64).ok()?;
        let key = PublicKey::new(modulus, exponent).ok()?;
        Some(Self(pss::VerifyingKey::new(key)))
    }

    fn signed(&self, body: &[u8], signature: Option<&[u8]>) -> bool {
        signature
            .filter(|bytes| bytes.len() == RSA_BYTES)
            .and_then(|bytes| pss::Signature::try_from(bytes).ok())
            .is_some_and(|signature| self.0.verify(body, &signature).is_ok())
    }
}

/// The root's revocation list: signed by `root`, holding at `now`. Answers until when, and refuses if
/// it names one of `certificates`, of which the leaf is the last.
pub(super) fn not_revoked(
    crl: &[u8],
    root: &Signed,
    certificates: &[&Signed],
    now: Timestamp,
) -> Result<Timestamp, Refusal> {
    let list = read_crl(crl, root)?;
    let end = crl_holds_until(&list, now)?;
    let revoked = list.tbs_cert_list.revoked_certificates.unwrap_or_default();
    // an entry that says more than a serial number may be about another issuer's certificate
    if revoked
        .iter()
        .any(|entry| has_unknown_critical(entry.crl_entry_extensions.as_ref()))
    {
        return Err(invalid_crl("has an entry that is not understood"));
    }
    for (place, certificate) in certificates.iter().enumerate() {
        let serial = certificate.serial();
        let listed = revoked
            .iter()
            .any(|entry| entry.serial_number.as_bytes() == serial);
        // Every VCEK, which comes last, has serial number 0, which therefore names none.
        let is_leaf = place + 1 == certificates.len();
        if listed && !(is_leaf && serial == [0]) {
            return Err(certificate.refuse(SnpCause::CertificateRevoked, "is revoked"));
        }
    }
    Ok(end)
}

fn read_crl(crl: &[u8], root: &Signed) -> Result<CertificateList, Refusal> {
    if crl.len() > MAX_CRL_BYTES {
        return Err(invalid_crl("is larger than any that is read"));
    }
    let (Ok(list), Some(body)) = (
        <CertificateList as der::Decode>::from_der(crl),
        first_member(crl),
    ) else {
        return Err(invalid_crl("is not a DER revocation list"));
    };
    if list.tbs_cert_list.issuer != *root.subject() {
        return Err(invalid_crl("is not of the root"));
    }
    if !is_pss_sha384(&list.signature_algorithm)
        || list.tbs_cert_list.signature != list.signature_algorithm
    {
        return Err(invalid_crl("is not signed with RSASSA-PSS and SHA-384"));
    }
    let may_sign = root
        .extension::<KeyUsage>()?
        .is_some_and(|usage| usage.crl_sign());
    if !may_sign || !root.rsa_key()?.signed(body, list.signature.as_bytes()) {
        return Err(invalid_crl("is not signed by the root"));
    }
    if has_unknown_critical(list.tbs_cert_list.crl_extensions.as_ref()) {
        return Err(invalid_crl(
            "has a critical extension that is not understood",
        ));
    }
    Ok(list)
}

fn crl_holds_until(list: &CertificateList, now: Timestamp) -> Result<Timestamp, Refusal> {
    let refuse = |why: &str| Err((SnpCause::CrlExpired, format!("the revocation list {why}")));
    if now < instant(list.tbs_cert_list.this_update) {
        return refuse("is from the future");
    }
    match list.tbs_cert_list.next_update.map(instant) {
        Some(end) if now <= end => Ok(end),
        Some(_) => refuse("is too old"),
        None => refuse("does not say until when it holds"),
    }
}

fn invalid_crl(why: &str) -> Refusal {
    (SnpCause::CrlInvalid, format!("the revocation list {why}"))
}

fn has_unknown_critical(extensions: Option<&Extensions>) -> bool {
    extensions
        .into_iter()
        .flatten()
        .any(|extension| extension.critical && !UNDERSTOOD.contains(&extension.extn_id))
}

fn is_pss_sha384(algorithm: &AlgorithmIdentifierOwned) -> bool {
    let Some(parameters) = &algorithm.parameters else {
        return false;
    };
    let value = parameters.value();
    algorithm.oid == RSASSA_PSS
        && der::Tagged::tag(parameters) == der::Tag::Sequence
        && value.strip_suffix(&PSS_TRAILER).unwrap_or(value) == PSS_SHA384
}

/// The exact bytes of the first member of the one sequence that `der` is.
fn first_member(der: &[u8]) -> Option<&[u8]> {
    let mut reader = SliceReader::new(der).ok()?;
    let member = reader
        .sequence(|outer: &mut SliceReader<'_>| {
            let first = outer.tlv_bytes()?;
            while !outer.is_finished() {
                outer.tlv_bytes()?;
            }
            Ok::<_, der::Error>(first)
        })
        .ok()?;
    reader.is_finished().then_some(member)
}

fn instant(time: Time) -> Timestamp {
    let seconds = time.to_unix_duration().as_secs();
    Timestamp::from_unix_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}
