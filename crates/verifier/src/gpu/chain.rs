//! NVIDIA's certificate paths: P-384 and SHA-384 throughout, in the order in which they were given,
//! up to a root that the policy names by digest (RFC 5280 section 6.1, without policies and name
//! constraints, which these paths do not have).

use der::{Decode as _, Encode as _, Header, Reader as _, SliceReader, oid::ObjectIdentifier};
use p384::{
    ecdsa::{DerSignature, VerifyingKey, signature::Verifier as _},
    pkcs8::DecodePublicKey as _,
};
use proofroom_canonical::{Digest, Timestamp};
use x509_cert::{
    Certificate,
    certificate::Version,
    ext::pkix::{BasicConstraints, KeyUsage},
};

use super::GpuCause;

// RFC 5758 section 3.2
const ECDSA_WITH_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
// RFC 5280 section 4.2.1: key usage, basic constraints
const UNDERSTOOD: [ObjectIdentifier; 2] = [
    ObjectIdentifier::new_unwrap("2.5.29.15"),
    ObjectIdentifier::new_unwrap("2.5.29.19"),
];

pub(super) type Refusal = (GpuCause, String);

/// A chain whose every link holds, up to a trusted root.
pub(super) struct Path {
    key: VerifyingKey,
    /// SHA-256 of the public key that certifies the leaf: the device's own identity.
    issuer_key: Digest,
    from: i64,
    until: i64,
}

impl Path {
    /// Proves that `chain`, leaf first, leads to a root that `trusts`.
    ///
    /// # Errors
    /// `chain-malformed`, `chain-leaf`, `root-not-trusted`, `certificate-refused` or `chain-broken`.
    pub(super) fn verify(
        chain: &[Vec<u8>],
        trusts: impl Fn(Digest) -> bool,
        refuses: impl Fn(Digest) -> bool,
    ) -> Result<Self, Refusal> {
        let links: Vec<Link<'_>> = chain
            .iter()
            .map(|der| Link::read(der))
            .collect::<Result<_, _>>()?;
        let Some((leaf, above)) = links.split_first() else {
            return Err(malformed("the chain is empty"));
        };
        leaf.must_sign()?;
        let (Some(issuer), Some(root)) = (above.first(), above.last()) else {
            return Err(leaf_refusal("the chain has one certificate alone"));
        };
        if !trusts(root.digest) {
            let words = format!(
                "the chain ends in root {}, which is not trusted",
                root.digest
            );
            return Err((GpuCause::RootNotTrusted, words));
        }
        if let Some(refused) = links.iter().find(|link| refuses(link.digest)) {
            let words = format!("the policy refuses certificate {}", refused.digest);
            return Err((GpuCause::CertificateRefused, words));
        }
        for (below, (child, parent)) in links.iter().zip(above).enumerate() {
            parent.must_have_issued(child, below)?;
        }
        Ok(Self {
            key: leaf.key,
            issuer_key: issuer.key_digest()?,
            from: links.iter().map(|link| link.from).max().unwrap_or(i64::MAX),
            until: links.iter().map(|link| link.until).min().unwrap_or(0),
        })
    }

    pub(super) const fn key(&self) -> &VerifyingKey {
        &self.key
    }

    pub(super) const fn issuer_key(&self) -> Digest {
        self.issuer_key
    }

    /// When the first certificate ends.
    pub(super) const fn until(&self) -> Timestamp {
        Timestamp::from_unix_seconds(self.until)
    }

    /// Whether every certificate holds at `now`. NVIDIA's device certificates end with the year 9999.
    pub(super) fn holds_at(&self, now: Timestamp) -> Result<(), Refusal> {
        let now_seconds = now.unix_seconds();
        if now_seconds < self.from {
            let words = format!("a certificate is not valid yet at {now}");
            return Err((GpuCause::CertificateNotYetValid, words));
        }
        if now_seconds > self.until {
            let words = format!("a certificate is not valid any more at {now}");
            return Err((GpuCause::CertificateExpired, words));
        }
        Ok(())
    }
}

/// One certificate of a chain, with the bytes that its issuer signed.
struct Link<'a> {
    certificate: Certificate,
    signed: &'a [u8],
    digest: Digest,
    key: VerifyingKey,
    ca: bool,
    path_length: Option<u8>,
    usage: Option<KeyUsage>,
    from: i64,
    until: i64,
}

impl<'a> Link<'a> {
    fn read(der: &'a [u8]) -> Result<Self, Refusal> {
        let unreadable = |_| malformed("a certificate is not DER X.509");
        let certificate = Certificate::from_der(der).map_err(unreadable)?;
        let signed = signed_part(der).map_err(unreadable)?;
        let tbs = certificate.tbs_certificate();
        if tbs.version() != Version::V3 {
            return Err(malformed("a certificate is not of version 3"));
        }
        let unknown = tbs
            .extensions()
            .into_iter()
            .flatten()
            .any(|extension| extension.critical && !UNDERSTOOD.contains(&extension.extn_id));
        if unknown {
            return Err(malformed("a certificate has an unknown critical extension"));
        }
        let basic = extension::<BasicConstraints>(&certificate)?;
        let usage = extension::<KeyUsage>(&certificate)?;
        let key = public_key(&certificate)?;
        let seconds = |time: &x509_cert::time::Time| {
            i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
        };
        let validity = tbs.validity();
        Ok(Self {
            signed,
            digest: Digest::of(der),
            key,
            ca: basic.as_ref().is_some_and(|basic| basic.ca),
            path_length: basic.and_then(|basic| basic.path_len_constraint),
            usage,
            from: seconds(&validity.not_before),
            until: seconds(&validity.not_after),
            certificate,
        })
    }

    fn must_sign(&self) -> Result<(), Refusal> {
        if self.ca {
            return Err(leaf_refusal("the chain begins with a CA's certificate"));
        }
        if self.usage.is_some_and(|usage| usage.digital_signature()) {
            return Ok(());
        }
        Err(leaf_refusal("the leaf's key is not for signatures"))
    }

    /// Proves that this CA issued `child`, which has `below` certificates below itself.
    fn must_have_issued(&self, child: &Link<'_>, below: usize) -> Result<(), Refusal> {
        let broken = |words: &str| (GpuCause::ChainBroken, words.to_owned());
        if !self.ca || !self.usage.is_some_and(|usage| usage.key_cert_sign()) {
            return Err(broken("a certificate may not issue any"));
        }
        // RFC 5280 section 4.2.1.9: how many intermediate certificates may follow, the leaf aside
        if self
            .path_length
            .is_some_and(|most| below > usize::from(most))
        {
            return Err(broken("a path is longer than its CA allows"));
        }
        let tbs = child.certificate.tbs_certificate();
        let algorithm = child.certificate.signature_algorithm();
        if tbs.issuer() != self.certificate.tbs_certificate().subject() {
            return Err(broken("a certificate names another issuer"));
        }
        if algorithm.oid != ECDSA_WITH_SHA384 || tbs.signature() != algorithm {
            return Err(broken("a certificate is not signed with ECDSA and SHA-384"));
        }
        let signature = child
            .certificate
            .signature()
            .as_bytes()
            .and_then(|bits| DerSignature::from_bytes(bits).ok());
        match signature {
            Some(signature) if self.key.verify(child.signed, &signature).is_ok() => Ok(()),
            _ => Err(broken("a certificate is not signed by its issuer")),
        }
    }

    fn key_digest(&self) -> Result<Digest, Refusal> {
        self.certificate
            .tbs_certificate()
            .subject_public_key_info()
            .to_der()
            .map(Digest::of)
            .map_err(|_| malformed("a certificate's key cannot be written"))
    }
}

/// The bytes of `tbsCertificate` as they are, which is what was signed.
fn signed_part(der: &[u8]) -> Result<&[u8], der::Error> {
    let mut reader = SliceReader::new(der)?;
    Header::decode(&mut reader)?;
    reader.tlv_bytes()
}

fn extension<T: for<'a> der::Decode<'a, Error = der::Error> + der::oid::AssociatedOid>(
    certificate: &Certificate,
) -> Result<Option<T>, Refusal> {
    let mut found = certificate
        .tbs_certificate()
        .extensions()
        .into_iter()
        .flatten()
        .filter(|extension| extension.extn_id == T::OID);
    let first = found.next();
    if found.next().is_some() {
        return Err(malformed("a certificate has an extension twice"));
    }
    first
        .map(|extension| T::from_der(extension.extn_value.as_bytes()))
        .transpose()
        .map_err(|_| malformed("an extension of a certificate cannot be read"))
}

fn public_key(certificate: &Certificate) -> Result<VerifyingKey, Refusal> {
    certificate
        .tbs_certificate()
        .subject_public_key_info()
        .to_der()
        .ok()
        .and_then(|der| VerifyingKey::from_public_key_der(&der).ok())
        .ok_or_else(|| malformed("a certificate's key is not on P-384"))
}

fn malformed(words: &str) -> Refusal {
    (GpuCause::ChainMalformed, words.to_owned())
}

fn leaf_refusal(words: &str) -> Refusal {
    (GpuCause::ChainLeaf, words.to_owned())
}
