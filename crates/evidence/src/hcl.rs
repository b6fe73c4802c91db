//! The report that Azure's paravisor (the host compatibility layer) keeps for a guest in its virtual
//! TPM, at NV index 0x01400001: a header, the report of the hardware, and the runtime data whose digest
//! the hardware signed. Layout: Microsoft, "Azure confidential VMs guest attestation design", and
//! `az-cvm-vtpm`. Nothing here is verified.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proofroom_canonical::json;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{REPORT_DATA_BYTES, snp::SNP_REPORT_BYTES};

/// The most bytes of a report that are read. NV indices are smaller.
pub const MAX_HCL_BYTES: usize = 16 * 1024;

const HEADER_BYTES: usize = 32;
const REQUEST_BYTES: usize = 20;
const TD_REPORT_BYTES: usize = 1024;
const MAGIC: &[u8; 4] = b"HCLA";
const TYPE_SNP: u32 = 2;
const TYPE_TDX: u32 = 4;
const HASH_SHA256: u32 = 1;
/// The key id of the attestation key in the runtime data.
const AK: &str = "HCLAkPub";
/// RSA moduli that are read, in bytes: 2,048 to 4,096 bits.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

/// Which hardware reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HclTee {
    /// AMD SEV-SNP: the report is one that the chip's key signed.
    Snp,
    /// Intel TDX: the report is a TDREPORT, of which a quote must be had beside it.
    Tdx,
}

/// Why bytes are no such report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HclError {
    /// Too short or long, another mark, a length that does not fit, or bytes behind the end.
    #[error("not a report of Azure's paravisor: {0}")]
    Malformed(&'static str),
    /// Hardware or a digest that is not supported.
    #[error("a report of Azure's paravisor with {0} {1}")]
    Unsupported(&'static str, u32),
    /// Runtime data that is no strict JSON.
    #[error("the runtime data is no JSON")]
    Runtime,
    /// No attestation key, two, or one that is no RSA key of a supported size.
    #[error("the runtime data names no RSA attestation key")]
    Key,
}

impl HclError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "hcl-malformed",
            Self::Unsupported(..) => "hcl-unsupported",
            Self::Runtime => "hcl-runtime-malformed",
            Self::Key => "hcl-key",
        }
    }
}

/// An RSA public key as runtime data names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RsaNumbers {
    /// The modulus, big-endian.
    pub modulus: Vec<u8>,
    /// The public exponent, big-endian.
    pub exponent: Vec<u8>,
}

/// A report taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HclReport {
    tee: HclTee,
    hardware: Vec<u8>,
    runtime: Vec<u8>,
    key: RsaNumbers,
}

impl HclReport {
    /// Reads a report. Behind its runtime data nothing but zeros may follow, as the index is larger.
    ///
    /// # Errors
    /// See [`HclError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, HclError> {
        let malformed = HclError::Malformed;
        if bytes.len() > MAX_HCL_BYTES {
            return Err(malformed("too large"));
        }
        let short = malformed("too short");
        let (header, rest) = bytes.split_at_checked(HEADER_BYTES).ok_or(short.clone())?;
        if !header.starts_with(MAGIC) {
            return Err(malformed("another mark"));
        }
        let (report, rest) = rest
            .split_at_checked(SNP_REPORT_BYTES)
            .ok_or(short.clone())?;
        let (request, rest) = rest.split_first_chunk::<REQUEST_BYTES>().ok_or(short)?;
        let [data_size, _version, kind, hash, size] = words(request);
        let tee = match kind {
            TYPE_SNP => HclTee::Snp,
            TYPE_TDX => HclTee::Tdx,
            other => return Err(HclError::Unsupported("hardware", other)),
        };
        if hash != HASH_SHA256 {
            return Err(HclError::Unsupported("digest", hash));
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let (runtime, filling) = rest
            .split_at_checked(size)
            .ok_or(malformed("runtime data cut short"))?;
        let whole = usize::try_from(data_size)
            .is_ok_and(|all| all.checked_sub(size) == Some(REQUEST_BYTES));
        if !whole || filling.iter().any(|byte| *byte != 0) {
            return Err(malformed("lengths that do not fit"));
        }
        Ok(Self {
            tee,
            hardware: hardware(tee, report)?.to_vec(),
            key: attestation_key(runtime)?,
            runtime: runtime.to_vec(),
        })
    }

    /// Which hardware reported.
    #[must_use]
    pub const fn tee(&self) -> HclTee {
        self.tee
    }

    /// The report of the hardware: an SNP report, or a TDREPORT.
    #[must_use]
    pub fn hardware(&self) -> &[u8] {
        &self.hardware
    }

    /// The attestation key that the runtime data names. It is the hardware's word only if the hardware's
    /// report carries [`HclReport::report_data`].
    #[must_use]
    pub const fn key(&self) -> &RsaNumbers {
        &self.key
    }

    /// What the hardware's report must carry: SHA-256 of the runtime data, then zeros.
    #[must_use]
    pub fn report_data(&self) -> [u8; REPORT_DATA_BYTES] {
        let mut data = [0; REPORT_DATA_BYTES];
        for (place, byte) in data.iter_mut().zip(Sha256::digest(&self.runtime)) {
            *place = byte;
        }
        data
    }
}

/// Five little-endian numbers.
fn words(bytes: &[u8; REQUEST_BYTES]) -> [u32; 5] {
    let mut found = [0; 5];
    for (word, four) in found.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*four);
    }
    found
}

/// A TDREPORT is shorter than the place for it; zeros must follow.
fn hardware(tee: HclTee, report: &[u8]) -> Result<&[u8], HclError> {
    if tee == HclTee::Snp {
        return Ok(report);
    }
    match report.split_at_checked(TD_REPORT_BYTES) {
        Some((found, filling)) if filling.iter().all(|byte| *byte == 0) => Ok(found),
        _ => Err(HclError::Malformed("bytes behind the TDREPORT")),
    }
}

fn attestation_key(runtime: &[u8]) -> Result<RsaNumbers, HclError> {
    let value = json::parse_value(runtime, MAX_HCL_BYTES).map_err(|_| HclError::Runtime)?;
    let keys = value.get("keys").and_then(Value::as_array);
    let text = |key: &Value, name: &str| key.get(name).and_then(Value::as_str).map(str::to_owned);
    let mut found = keys
        .into_iter()
        .flatten()
        .filter(|key| text(key, "kid").as_deref() == Some(AK));
    let (Some(key), None) = (found.next(), found.next()) else {
        return Err(HclError::Key);
    };
    let number = |name| URL_SAFE_NO_PAD.decode(text(key, name)?).ok();
    match (text(key, "kty").as_deref(), number("n"), number("e")) {
        (Some("RSA"), Some(modulus), Some(exponent))
            if MODULUS_BYTES.contains(&modulus.len()) && (1..=8).contains(&exponent.len()) =>
        {
            Ok(RsaNumbers { modulus, exponent })
        }
        _ => Err(HclError::Key),
    }
}

#[cfg(test)]
mod tests;
