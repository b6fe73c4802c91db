//! What a device's own certificates say: the firmware that holds its key (TCG DICE composite device
//! id, OID 2.23.133.5.4.1), its chip and its serial number. No signature is looked at here.

use der::{
    Decode, ErrorKind, Reader, SliceReader,
    asn1::{ObjectIdentifier, OctetStringRef},
};
use x509_cert::Certificate;

use super::GpuError;
use crate::Measurement;

/// The most bytes of a PEM chain that are read. Genuine chains have about 4,900.
pub const MAX_CHAIN_BYTES: usize = 32 * 1024;
/// Genuine chains have five certificates.
pub const DEVICE_CHAIN_MAX: usize = 8;

const COMPOSITE_DEVICE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.5.4.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const MAX_CHIP: usize = 16;

/// What a device's leaf certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceFacts {
    /// Digest of the firmware that holds the leaf's key.
    pub fwid: Measurement,
    /// The chip, such as `GH100`: the first word of the subject's common name.
    pub chip: String,
    /// The certificate's serial number in decimal, which NVIDIA's tokens call `ueid`.
    pub ueid: String,
}

impl DeviceFacts {
    /// Reads the DER certificate `leaf`.
    ///
    /// # Errors
    /// `gpu-chain-malformed` if it is no certificate, `gpu-device-extension` if the composite device
    /// id is missing, doubled or malformed or the subject names no chip.
    pub fn parse(leaf: &[u8]) -> Result<Self, GpuError> {
        let certificate = Certificate::from_der(leaf)
            .map_err(|_| GpuError::Chain("its first certificate is not DER X.509"))?;
        let tbs = certificate.tbs_certificate();
        let mut found = tbs
            .extensions()
            .into_iter()
            .flatten()
            .filter(|extension| extension.extn_id == COMPOSITE_DEVICE_ID);
        let (Some(extension), None) = (found.next(), found.next()) else {
            return Err(GpuError::DeviceExtension("composite device id"));
        };
        let fwid = read_fwid(extension.extn_value.as_bytes())
            .map_err(|_| GpuError::DeviceExtension("composite device id"))?;
        Ok(Self {
            fwid,
            chip: chip(&certificate).ok_or(GpuError::DeviceExtension("common name"))?,
            ueid: decimal(tbs.serial_number().as_bytes()),
        })
    }
}

/// The DER certificates of a PEM chain, leaf first.
///
/// # Errors
/// `gpu-too-large`, or `gpu-chain-malformed` unless it is one to eight PEM certificates.
pub fn certificate_chain(pem: &[u8]) -> Result<Vec<Vec<u8>>, GpuError> {
    if pem.len() > MAX_CHAIN_BYTES {
        return Err(GpuError::TooLarge {
            what: "certificate chain",
            have: pem.len(),
            max: MAX_CHAIN_BYTES,
        });
    }
    let blocks = pem::parse_many(pem).map_err(|_| GpuError::Chain("it is not PEM"))?;
    if blocks.is_empty() || blocks.len() > DEVICE_CHAIN_MAX {
        return Err(GpuError::Chain("it has none or too many certificates"));
    }
    if blocks.iter().any(|block| block.tag() != "CERTIFICATE") {
        return Err(GpuError::Chain("it holds something else than certificates"));
    }
    Ok(blocks.into_iter().map(pem::Pem::into_contents).collect())
}

/// `SEQUENCE { version INTEGER, deviceID SubjectPublicKeyInfo, fwid SEQUENCE { hashAlg, OCTET STRING } }`
fn read_fwid(bytes: &[u8]) -> Result<Measurement, der::Error> {
    let mut reader = SliceReader::new(bytes)?;
    let fwid = reader.sequence(|id: &mut SliceReader<'_>| {
        if u8::decode(id)? != 1 {
            return Err(failed());
        }
        id.tlv_bytes()?; // the device's own key, which signed this certificate
        id.sequence(|fwid: &mut SliceReader<'_>| {
            if ObjectIdentifier::decode(fwid)? != SHA384 {
                return Err(failed());
            }
            let digest = <&OctetStringRef>::decode(fwid)?;
            digest.as_bytes().try_into().map_err(|_| failed())
        })
    })?;
    if !reader.is_finished() {
        return Err(failed());
    }
    Ok(Measurement::from_bytes(fwid))
}

fn failed() -> der::Error {
    ErrorKind::Failed.into()
}

fn chip(certificate: &Certificate) -> Option<String> {
    let mut names = certificate
        .tbs_certificate()
        .subject()
        .iter()
        .filter(|attribute| attribute.oid == COMMON_NAME);
    let (Some(name), None) = (names.next(), names.next()) else {
        return None;
    };
    let text = std::str::from_utf8(name.value.value()).ok()?;
    let chip = text.split(' ').next()?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    (!chip.is_empty() && chip.len() <= MAX_CHIP && chip.bytes().all(plain)).then(|| chip.to_owned())
}

/// A big-endian number of any length in decimal.
fn decimal(bytes: &[u8]) -> String {
    let mut digits = vec![0_u8];
    for byte in bytes {
        let mut carry = u16::from(*byte);
        for digit in &mut digits {
            // at most 9 * 256 + 255 + 25, so the quotient fits in what is carried on
            let value = u16::from(*digit) * 256 + carry;
            *digit = u8::try_from(value % 10).unwrap_or(0);
            carry = value / 10;
        }
        while carry > 0 {
            digits.push(u8::try_from(carry % 10).unwrap_or(0));
            carry /= 10;
        }
    }
    digits
        .iter()
        .rev()
        .map(|digit| char::from(b'0' + digit))
        .collect()
}
