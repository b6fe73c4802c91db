//! The attestation key of a virtual TPM of Google's: its certificate's path to a root that the policy names,
//! and which instance the certificate says it is of. The path is `rustls-webpki`'s to verify.

use der::{Decode as _, Encode as _, Sequence, oid::ObjectIdentifier};
use p256::ecdsa::Signature;
use proofroom_canonical::{Digest, Timestamp};
use proofroom_evidence::{Base64, VtpmSignature};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use serde::Serialize;
use webpki::{
    EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, anchor_from_trusted_cert,
    ring::{ECDSA_P256_SHA256, ECDSA_P384_SHA384, RSA_PKCS1_2048_8192_SHA256},
};
use x509_cert::Certificate;

use super::{VtpmCause, policy::GoogleRule};
use crate::x509;

/// Of a key's certificate and its root at least; Google has one CA between them.
const CERTIFICATES: std::ops::RangeInclusive<usize> = 2..=5;
const MAX_DER_BYTES: usize = 8 * 1024;
/// What may have signed a certificate.
const SIGNED_BY: &[&dyn SignatureVerificationAlgorithm] = &[
    RSA_PKCS1_2048_8192_SHA256,
    ECDSA_P256_SHA256,
    ECDSA_P384_SHA384,
];
/// Google's arc: the instance that a certificate is about.
const INSTANCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.1.21");

pub(super) type Refusal = (VtpmCause, String);

/// The instance that Google's certificate of the attestation key names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GcpInstance {
    /// The zone that it runs in.
    pub zone: String,
    /// The number of its project.
    pub project_number: u64,
    /// The id of its project.
    pub project: String,
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
}

/// Certificates from the attestation key's to the root's.
pub(super) struct AkChain<'a> {
    ders: Vec<CertificateDer<'a>>,
    certificates: Vec<Certificate>,
    leaf: Certificate,
}

impl<'a> AkChain<'a> {
    pub(super) fn parse(chain: &'a [Base64]) -> Result<Self, Refusal> {
        let malformed = |words: &str| (VtpmCause::ChainMalformed, words.to_owned());
        if !CERTIFICATES.contains(&chain.len()) {
            return Err(malformed("there are not two to five certificates"));
        }
        let ders = chain.iter().map(|der| der.0.as_slice());
        let read = |der: &[u8]| match Certificate::from_der(der) {
            Ok(read) if der.len() <= MAX_DER_BYTES => Ok(read),
            _ => Err(malformed("a certificate is not DER X.509 of at most 8 KiB")),
        };
        let certificates: Vec<_> = ders.clone().map(read).collect::<Result<_, _>>()?;
        let leaf = certificates.first().cloned();
        Ok(Self {
            ders: ders.map(CertificateDer::from).collect(),
            leaf: leaf.ok_or_else(|| malformed("there is no certificate"))?,
            certificates,
        })
    }

    /// Refuses unless the root is one of the rule's, every certificate holds at `now`, there is a path from
    /// the key to the root (RFC 5280 section 6.1), and the key is for signatures, as endorsement keys are not.
    pub(super) fn judge(&self, rule: &GoogleRule, now: Timestamp) -> Result<(), Refusal> {
        let refuse = |cause, words: &str| Err((cause, words.to_owned()));
        let ([leaf, between @ ..], Some(root)) = (self.ders.as_slice(), self.ders.last()) else {
            return refuse(VtpmCause::ChainMalformed, "there is no certificate");
        };
        let digest = Digest::of(root);
        if !rule.trusts_root(digest) {
            let words = format!("the policy does not name root certificate {digest}");
            return Err((VtpmCause::RootNotTrusted, words));
        }
        for (from, until) in self.certificates.iter().map(x509::validity) {
            if now < from {
                let words = "a certificate is not valid yet";
                return refuse(VtpmCause::CertificateNotYetValid, words);
            }
            if now > until {
                let words = "a certificate is not valid any more";
                return refuse(VtpmCause::CertificateExpired, words);
            }
        }
        if let Err(error) = path(leaf, between, root, now) {
            let words = format!("no path from the key's certificate to the root: {error}");
            return Err((VtpmCause::ChainBroken, words));
        }
        match x509::may_only_sign(&self.leaf) {
            Ok(true) => Ok(()),
            _ => refuse(
                VtpmCause::AkUsage,
                "the certified key is not for signatures",
            ),
        }
    }

    /// The key's `SubjectPublicKeyInfo`, DER.
    pub(super) fn spki(&self) -> Vec<u8> {
        let key = self.leaf.tbs_certificate().subject_public_key_info();
        key.to_der().unwrap_or_default()
    }

    /// Whether the certified key made a TPM's signature over `message`.
    pub(super) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let (algorithm, bytes) = match VtpmSignature::parse(signature) {
            Ok(VtpmSignature::Rsa(bytes)) => (RSA_PKCS1_2048_8192_SHA256, bytes),
            Ok(VtpmSignature::Ecdsa(raw)) => match Signature::from_scalars(raw.r, raw.s) {
                Ok(signature) => (ECDSA_P256_SHA256, signature.to_der().as_bytes().to_vec()),
                Err(_) => return false,
            },
            Err(_) => return false,
        };
        let leaf = self.ders.first();
        let leaf = leaf.and_then(|der| EndEntityCert::try_from(der).ok());
        leaf.is_some_and(|leaf| leaf.verify_signature(algorithm, message, &bytes).is_ok())
    }

    /// The instance that the key's certificate names.
    pub(super) fn instance(&self) -> Result<GcpInstance, Refusal> {
        let extensions = self.leaf.tbs_certificate().extensions();
        let mut found = (extensions.into_iter().flatten())
            .filter(|extension| extension.extn_id == INSTANCE)
            .map(|extension| RawInstance::from_der(extension.extn_value.as_bytes()));
        let (Some(Ok(read)), None) = (found.next(), found.next()) else {
            let words = "the key's certificate does not name one instance that can be read";
            return Err((VtpmCause::InstanceMalformed, words.to_owned()));
        };
        if !read.is_production() {
            let words = "Google does not say that the instance is of its production";
            return Err((VtpmCause::InstanceNotProduction, words.to_owned()));
        }
        Ok(GcpInstance {
            zone: read.zone,
            project_number: read.project_number,
            project: read.project,
            id: read.id,
            name: read.name,
        })
    }
}

/// Google's certificates have extended key usages of their own kind, which say nothing that the key usage does
/// not: any are accepted.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

fn path(
    leaf: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    root: &CertificateDer<'_>,
    now: Timestamp,
) -> Result<(), webpki::Error> {
    let anchor = anchor_from_trusted_cert(root)?;
    let seconds = u64::try_from(now.unix_seconds()).unwrap_or(0);
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let leaf = EndEntityCert::try_from(leaf)?;
    leaf.verify_for_usage(SIGNED_BY, &[anchor], between, now, AnyUsage, None, None)?;
    Ok(())
}

/// The extension's value, as `google/go-tpm-tools` reads it (`server/verify.go`).
#[derive(Sequence)]
struct RawInstance {
    zone: String,
    project_number: u64,
    project: String,
    id: u64,
    name: String,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    security: Option<RawSecurity>,
}

#[derive(Sequence)]
struct RawSecurity {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    version: Option<u64>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    production: Option<bool>,
}

impl RawInstance {
    fn is_production(&self) -> bool {
        let security = self.security.as_ref();
        security.and_then(|security| security.production) == Some(true)
    }
}
