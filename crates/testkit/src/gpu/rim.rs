//! Reference manifests of the simulated vendor, in the shape of NVIDIA's. Written in canonical form
//! by hand, so that the reader's canonical form has something else to agree with.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proofroom_canonical::Digest;
use rcgen::{Certificate, IsCa, Issuer, KeyUsagePurpose, date_time_ymd};
use sha2::{Digest as _, Sha384};

use super::{
    BIOS, DRIVER, SimulatedKey384,
    pki::{ca, named},
    report::measurement,
};
use crate::tee::written;

const SWID: &str = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd";
const HASH: &str = "http://www.w3.org/2001/04/xmlenc#sha384";
const DSIG: &str = "http://www.w3.org/2000/09/xmldsig#";

/// What a manifest says, and what is odd about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RimPlan {
    /// The chip.
    pub product: String,
    /// The version that it is about.
    pub version: String,
    /// Golden values, by index from 0.
    pub golden: Vec<(u8, Vec<[u8; 48]>)>,
    /// Another root than the vendor's.
    pub other_root: bool,
    /// The year in whose first days the signer ends.
    pub signer_until: i32,
    /// The signature is another one.
    pub bad_signature: bool,
}

impl RimPlan {
    /// Of the driver of a planned GPU: the upper half of the measurements.
    #[must_use]
    pub fn driver() -> Self {
        Self::about(DRIVER, 32..64)
    }

    /// Of the BIOS of a planned device: the lower half.
    #[must_use]
    pub fn bios() -> Self {
        Self::about(BIOS.1, 0..32)
    }

    fn about(version: &str, indices: std::ops::Range<u8>) -> Self {
        Self {
            product: "GH100".to_owned(),
            version: version.to_owned(),
            golden: indices
                .map(|index| (index, vec![[0; 48], measurement(index)]))
                .collect(),
            other_root: false,
            signer_until: 2049,
            bad_signature: false,
        }
    }

    fn attributes(&self) -> String {
        format!(
            "colloquialVersion=\"{}\" product=\"{}\"",
            self.version, self.product
        )
    }

    fn resources(&self) -> String {
        let mut out = String::new();
        for (index, values) in &self.golden {
            let hashes: String = (0..)
                .zip(values)
                .map(|(at, value): (u8, _)| format!(" ns2:Hash{at}=\"{}\"", hex::encode(value)))
                .collect();
            out.push_str(&format!(
                "\n  <ns0:Resource active=\"True\" alternatives=\"{}\" index=\"{index}\" size=\"48\" type=\"Measurement\"{hashes}></ns0:Resource>",
                values.len()
            ));
        }
        out
    }
}

/// Root and signer of manifests.
pub(super) struct Signer {
    root: Certificate,
    leaf: Certificate,
    key: SimulatedKey384,
}

impl Signer {
    pub(super) fn new(seed: &[u8; 32], plan: &RimPlan) -> Self {
        let label = if plan.other_root {
            "rim other root"
        } else {
            "rim root"
        };
        let root_key = SimulatedKey384::derive(seed, label);
        let root_params = ca("SIMULATED CoRIM Root CA", 1);
        let root = written(root_params.self_signed(&root_key));
        let issuer = Issuer::new(root_params, root_key);
        let mut params = named("SIMULATED RIM Signer", 2);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.not_after = date_time_ymd(plan.signer_until, 1, 2);
        let key = SimulatedKey384::derive(seed, "rim signer");
        let leaf = written(params.signed_by(&key, &issuer));
        Self { root, leaf, key }
    }

    pub(super) fn root_digest(&self) -> Digest {
        Digest::of(self.root.der())
    }
}

pub(super) fn write(seed: &[u8; 32], plan: &RimPlan) -> Vec<u8> {
    let signer = Signer::new(seed, plan);
    let head = format!(
        "<SoftwareIdentity xmlns=\"{SWID}\" xmlns:ns0=\"{SWID}\" xmlns:ns2=\"{HASH}\" name=\"GH100\" tagId=\"simulated\">\n <ns0:Entity name=\"SIMULATED\"></ns0:Entity>\n <ns0:Meta {}></ns0:Meta>\n <ns0:Payload>{}\n </ns0:Payload>\n",
        plan.attributes(),
        plan.resources()
    );
    let tail = "</SoftwareIdentity>";
    let digest = STANDARD.encode(Sha384::digest(format!("{head}{tail}")));
    let info = |scope: &str| {
        format!(
            "<ds:SignedInfo{scope}><ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/2006/12/xml-c14n11\"></ds:CanonicalizationMethod><ds:SignatureMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384\"></ds:SignatureMethod><ds:Reference URI=\"\"><ds:Transforms><ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"></ds:Transform><ds:Transform Algorithm=\"http://www.w3.org/2006/12/xml-c14n11\"></ds:Transform></ds:Transforms><ds:DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#sha384\"></ds:DigestMethod><ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
        )
    };
    // canonical XML brings the namespaces of the elements around along
    let scope =
        format!(" xmlns=\"{SWID}\" xmlns:ds=\"{DSIG}\" xmlns:ns0=\"{SWID}\" xmlns:ns2=\"{HASH}\"");
    let mut signature = signer.key.sign_raw(info(&scope).as_bytes());
    if plan.bad_signature {
        signature = signer.key.sign_raw(b"something else");
    }
    let certificate = |certificate: &Certificate| {
        let text = STANDARD.encode(certificate.der());
        format!("<ds:X509Certificate>{text}</ds:X509Certificate>")
    };
    format!(
        "{head}<ds:Signature xmlns:ds=\"{DSIG}\">{}<ds:SignatureValue>{}</ds:SignatureValue><ds:KeyInfo><ds:X509Data>{}{}</ds:X509Data></ds:KeyInfo></ds:Signature>{tail}\n",
        info(""),
        STANDARD.encode(signature),
        certificate(&signer.leaf),
        certificate(&signer.root),
    )
    .into_bytes()
}
