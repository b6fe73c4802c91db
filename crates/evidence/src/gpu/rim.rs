//! NVIDIA's reference manifests: TCG RIM as an ISO 19770-2 SWID tag in XML with one enveloped XML
//! signature (W3C XML-DSig 1.1). Taken apart and digested; no signature is looked at here. Exactly
//! the shape that NVIDIA writes is read, any other is refused.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha384};

use super::{GpuError, SIGNATURE_BYTES, device::DEVICE_CHAIN_MAX, xml::Element};
use crate::Measurement;

/// The most bytes of a manifest that are read. Genuine manifests have about 21,000.
pub const MAX_RIM_BYTES: usize = 256 * 1024;
const MAX_TEXT: usize = 64;
const MAX_ALTERNATIVES: usize = 64;

const SWID: &str = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd";
const SHA384_HASH: &str = "http://www.w3.org/2001/04/xmlenc#sha384";
const DSIG: &str = "http://www.w3.org/2000/09/xmldsig#";
const C14N_1_1: &str = "http://www.w3.org/2006/12/xml-c14n11";
const ECDSA_SHA384: &str = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384";
const SHA384: &str = "http://www.w3.org/2001/04/xmldsig-more#sha384";
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";

/// The golden values of one measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RimMeasurement {
    /// The index, from 0. Reports count from 1.
    pub index: u8,
    /// The values, any of which is good.
    pub values: Vec<Measurement>,
}

/// A reference manifest, taken apart. Not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rim {
    product: String,
    version: String,
    measurements: Vec<RimMeasurement>,
    digest: [u8; 48],
    signed_digest: [u8; 48],
    signed_info: Vec<u8>,
    signature: [u8; SIGNATURE_BYTES],
    chain: Vec<Vec<u8>>,
}

impl Rim {
    /// Takes a manifest of at most [`MAX_RIM_BYTES`] apart.
    ///
    /// # Errors
    /// `gpu-too-large` or `gpu-rim-malformed`.
    pub fn parse(bytes: &[u8]) -> Result<Self, GpuError> {
        if bytes.len() > MAX_RIM_BYTES {
            return Err(GpuError::TooLarge {
                what: "reference manifest",
                have: bytes.len(),
                max: MAX_RIM_BYTES,
            });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| GpuError::Rim("it is not text"))?;
        let root = Element::parse(text)?;
        if !root.is(SWID, "SoftwareIdentity") {
            return Err(GpuError::Rim("it is not a software identity"));
        }
        let parts = root.elements()?;
        let [entity, meta, payload, signature] = parts.as_slice() else {
            return Err(GpuError::Rim(
                "it has other parts than the four it must have",
            ));
        };
        let shape = entity.is(SWID, "Entity")
            && meta.is(SWID, "Meta")
            && payload.is(SWID, "Payload")
            && signature.is(DSIG, "Signature");
        if !shape {
            return Err(GpuError::Rim("its parts are not the ones it must have"));
        }
        let signed = Signed::read(signature)?;
        Ok(Self {
            product: short(meta.attribute("product"))?,
            version: short(meta.attribute("colloquialVersion"))?,
            measurements: read_measurements(payload)?,
            digest: Sha384::digest(root.canonical(Some(signature))).into(),
            signed_digest: signed.digest,
            signed_info: signed.info,
            signature: signed.signature,
            chain: signed.chain,
        })
    }

    /// The chip, such as `GH100`.
    #[must_use]
    pub fn product(&self) -> &str {
        &self.product
    }

    /// The version of the driver or BIOS that this is about.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The measurements that this has golden values for.
    #[must_use]
    pub fn measurements(&self) -> &[RimMeasurement] {
        &self.measurements
    }

    /// SHA-384 of the manifest's canonical form without its signature.
    #[must_use]
    pub const fn digest(&self) -> &[u8; 48] {
        &self.digest
    }

    /// The digest that the signature is about.
    #[must_use]
    pub const fn signed_digest(&self) -> &[u8; 48] {
        &self.signed_digest
    }

    /// The bytes under the signature: `SignedInfo` in canonical form.
    #[must_use]
    pub fn signed_info(&self) -> &[u8] {
        &self.signed_info
    }

    /// The signature: r then s, big-endian.
    #[must_use]
    pub const fn signature(&self) -> &[u8; SIGNATURE_BYTES] {
        &self.signature
    }

    /// The signer's certificates, DER, leaf first.
    #[must_use]
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }
}

struct Signed {
    info: Vec<u8>,
    digest: [u8; 48],
    signature: [u8; SIGNATURE_BYTES],
    chain: Vec<Vec<u8>>,
}

impl Signed {
    fn read(signature: &Element) -> Result<Self, GpuError> {
        let parts = children(signature, &["SignedInfo", "SignatureValue", "KeyInfo"])?;
        let [info, value, key] = parts.as_slice() else {
            return Err(GpuError::Rim("the signature lacks a part"));
        };
        let data = children(key, &["X509Data"])?;
        let certificates = match data.as_slice() {
            [data] => data.elements()?,
            _ => Vec::new(),
        };
        if certificates.is_empty() || certificates.len() > DEVICE_CHAIN_MAX {
            return Err(GpuError::Rim("it has no certificate, or too many"));
        }
        let chain = certificates
            .into_iter()
            .map(
                |certificate| match certificate.is(DSIG, "X509Certificate") {
                    true => base64(certificate),
                    false => Err(GpuError::Rim("it holds something else than certificates")),
                },
            )
            .collect::<Result<_, _>>()?;
        Ok(Self {
            digest: read_info(info)?,
            info: info.canonical(None),
            signature: exactly(base64(value)?)?,
            chain,
        })
    }
}

/// The one `SignedInfo` there is: canonical XML 1.1, ECDSA and SHA-384 over the whole document but for
/// its signature.
fn read_info(info: &Element) -> Result<[u8; 48], GpuError> {
    let parts = children(
        info,
        &["CanonicalizationMethod", "SignatureMethod", "Reference"],
    )?;
    let [canonicalization, method, reference] = parts.as_slice() else {
        return Err(GpuError::Rim("the signed information lacks a part"));
    };
    algorithm(canonicalization, C14N_1_1)?;
    algorithm(method, ECDSA_SHA384)?;
    if reference.attribute("URI") != Some("") {
        return Err(GpuError::Rim(
            "the signature is not about the whole document",
        ));
    }
    let parts = children(reference, &["Transforms", "DigestMethod", "DigestValue"])?;
    let [transforms, method, value] = parts.as_slice() else {
        return Err(GpuError::Rim("the reference lacks a part"));
    };
    let transforms = children(transforms, &["Transform", "Transform"])?;
    let [enveloped, canonical] = transforms.as_slice() else {
        return Err(GpuError::Rim("the reference lacks a transform"));
    };
    algorithm(enveloped, ENVELOPED)?;
    algorithm(canonical, C14N_1_1)?;
    algorithm(method, SHA384)?;
    exactly(base64(value)?)
}

/// The children of an XML-DSig element, which must be these, in this order.
fn children<'a>(element: &'a Element, names: &[&str]) -> Result<Vec<&'a Element>, GpuError> {
    let found = element.elements()?;
    let as_named = found.len() == names.len()
        && found
            .iter()
            .zip(names)
            .all(|(child, name)| child.is(DSIG, name));
    if as_named {
        return Ok(found);
    }
    Err(GpuError::Rim(
        "the signature has other parts than it must have",
    ))
}

fn algorithm(element: &Element, wanted: &str) -> Result<(), GpuError> {
    let bare = element.elements()?.is_empty() && element.attributes_in("") == 1;
    if bare && element.attribute("Algorithm") == Some(wanted) {
        return Ok(());
    }
    Err(GpuError::Rim(
        "an algorithm of the signature is another one",
    ))
}

fn read_measurements(payload: &Element) -> Result<Vec<RimMeasurement>, GpuError> {
    let mut read: Vec<RimMeasurement> = Vec::new();
    let mut last: Option<u8> = None;
    for resource in payload.elements()? {
        if !resource.is(SWID, "Resource") || resource.attribute("type") != Some("Measurement") {
            return Err(GpuError::Rim(
                "the payload holds something else than measurements",
            ));
        }
        let index = number(resource.attribute("index"))?;
        if last.is_some_and(|before| before >= index) {
            return Err(GpuError::Rim("an index comes twice or out of order"));
        }
        last = Some(index);
        let values = golden_values(resource)?;
        match resource.attribute("active") {
            Some("True") => read.push(RimMeasurement { index, values }),
            Some("False") => {}
            _ => {
                return Err(GpuError::Rim(
                    "a measurement is neither active nor inactive",
                ));
            }
        }
    }
    Ok(read)
}

fn golden_values(resource: &Element) -> Result<Vec<Measurement>, GpuError> {
    let count = usize::from(number(resource.attribute("alternatives"))?);
    let whole = resource.attribute("size") == Some("48")
        && (1..=MAX_ALTERNATIVES).contains(&count)
        && resource.attributes_in(SHA384_HASH) == count;
    if !whole {
        return Err(GpuError::Rim(
            "a measurement does not have the values it names",
        ));
    }
    (0..count)
        .map(|at| {
            resource
                .attribute_of(SHA384_HASH, &format!("Hash{at}"))
                .and_then(|value| value.parse().ok())
                .ok_or(GpuError::Rim("a golden value is no SHA-384 digest"))
        })
        .collect()
}

/// Decimal digits alone: no sign, no leading zero.
fn number(text: Option<&str>) -> Result<u8, GpuError> {
    let refuse = GpuError::Rim("a number is malformed");
    match text.and_then(|text| Some((text, text.parse::<u8>().ok()?))) {
        Some((text, number)) if number.to_string() == text => Ok(number),
        _ => Err(refuse),
    }
}

fn short(text: Option<&str>) -> Result<String, GpuError> {
    text.filter(|text| !text.is_empty() && text.len() <= MAX_TEXT)
        .map(str::to_owned)
        .ok_or(GpuError::Rim("product or version is missing"))
}

fn base64(element: &Element) -> Result<Vec<u8>, GpuError> {
    let text: String = element.text()?.split_ascii_whitespace().collect();
    STANDARD
        .decode(text)
        .map_err(|_| GpuError::Rim("base64 is malformed"))
}

fn exactly<const N: usize>(bytes: Vec<u8>) -> Result<[u8; N], GpuError> {
    bytes
        .try_into()
        .map_err(|_| GpuError::Rim("digest or signature has another size"))
}
