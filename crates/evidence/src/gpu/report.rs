//! A device's measurement report: an SPDM `GET_MEASUREMENTS` request and the `MEASUREMENTS` response
//! to it (DSP0274 1.1, sections 10.11.1 and 10.11.2), taken apart by their lengths. Not verified.

use proofroom_canonical::{Digest, Nonce};

use super::{GpuError, OpaqueData, Reader};
use crate::Measurement;

/// The most bytes of a report that are read. Genuine reports have about 4,200.
pub const MAX_REPORT_BYTES: usize = 16 * 1024;
/// The most measurements of a report. Genuine reports have 64.
pub const MAX_MEASUREMENTS: usize = 128;
/// ECDSA P-384 as r then s, big-endian.
pub const SIGNATURE_BYTES: usize = 96;

/// Zero bytes that collectors leave behind the signature (one seen); more is not a report.
const MAX_PADDING: usize = 64;
const VERSION_1_1: u8 = 0x11;
const GET_MEASUREMENTS: u8 = 0xe0;
const MEASUREMENTS: u8 = 0x60;
const SIGNATURE_REQUESTED: u8 = 1;
const ALL_MEASUREMENTS: u8 = 0xff;
const DMTF: u8 = 1;
/// Type, and size of the value, before a DMTF value.
const DMTF_HEADER: u16 = 3;
const SHA384_BYTES: u16 = 48;

/// One measurement of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeasurementBlock {
    /// The index in the report, from 1. Reference manifests count from 0.
    pub index: u8,
    /// `DMTFSpecMeasurementValueType`: what kind of thing was measured.
    pub kind: u8,
    /// The SHA-384 digest.
    pub value: Measurement,
}

/// A measurement report, taken apart. Not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceReport {
    nonce: Nonce,
    slot: u8,
    measurements: Vec<MeasurementBlock>,
    responder_nonce: [u8; 32],
    opaque: OpaqueData,
    signed: Vec<u8>,
    signature: [u8; SIGNATURE_BYTES],
}

impl DeviceReport {
    /// Takes a report apart.
    ///
    /// # Errors
    /// The `gpu-report-*` codes of [`GpuError`], `gpu-opaque-malformed` and `gpu-too-large`: every
    /// length must fit exactly, the request must ask for all measurements with a signature, every
    /// measurement must be a SHA-384 digest with its own index, in rising order. At most 64 zero
    /// bytes may follow the signature: they are under no signature and part of nothing.
    pub fn parse(bytes: &[u8]) -> Result<Self, GpuError> {
        if bytes.len() > MAX_REPORT_BYTES {
            return Err(GpuError::TooLarge {
                what: "report",
                have: bytes.len(),
                max: MAX_REPORT_BYTES,
            });
        }
        let cut = |part| GpuError::ReportTruncated { part };
        let mut reader = Reader::new(bytes, "request", cut);
        let (nonce, slot) = parse_request(&mut reader)?;
        let measurements = parse_response(&mut reader)?;
        reader.at("nonce");
        let responder_nonce = reader.array()?;
        reader.at("opaque data length");
        let length = reader.u16()?;
        reader.at("opaque data");
        let opaque = OpaqueData::parse(&mut reader.sub(length.into())?)?;
        let signed = bytes.strip_suffix(reader.rest()).unwrap_or_default();
        reader.at("signature");
        let signature = reader.array()?;
        refuse_trailing(&reader, MAX_PADDING)?;
        Ok(Self {
            nonce,
            slot,
            measurements,
            responder_nonce,
            opaque,
            signed: signed.to_vec(),
            signature,
        })
    }

    /// The nonce of the request: what whoever asked chose.
    #[must_use]
    pub const fn nonce(&self) -> Nonce {
        self.nonce
    }

    /// The slot of the certificate chain whose key signs.
    #[must_use]
    pub const fn slot(&self) -> u8 {
        self.slot
    }

    /// The measurements, in rising order of their index.
    #[must_use]
    pub fn measurements(&self) -> &[MeasurementBlock] {
        &self.measurements
    }

    /// The measurement with this index, counted from 1.
    #[must_use]
    pub fn measurement(&self, index: u8) -> Option<Measurement> {
        self.measurements
            .iter()
            .find(|block| block.index == index)
            .map(|block| block.value)
    }

    /// SHA-256 over all measured values in order: one value for a policy to name.
    #[must_use]
    pub fn measurements_digest(&self) -> Digest {
        let mut all = Vec::new();
        for block in &self.measurements {
            all.push(block.index);
            all.extend_from_slice(block.value.as_bytes());
        }
        Digest::of(all)
    }

    /// The nonce that the device added.
    #[must_use]
    pub const fn responder_nonce(&self) -> &[u8; 32] {
        &self.responder_nonce
    }

    /// NVIDIA's own fields.
    #[must_use]
    pub const fn opaque(&self) -> &OpaqueData {
        &self.opaque
    }

    /// The bytes under the signature: the request, and the response without its signature.
    #[must_use]
    pub fn signed(&self) -> &[u8] {
        &self.signed
    }

    /// The signature: r then s, big-endian.
    #[must_use]
    pub const fn signature(&self) -> &[u8; SIGNATURE_BYTES] {
        &self.signature
    }

    /// SHA-256 over the signed bytes alone. Signature and padding can be changed without changing
    /// what is attested, so a digest of the whole report identifies nothing.
    #[must_use]
    pub fn identity(&self) -> Digest {
        Digest::of(&self.signed)
    }
}

fn parse_request(reader: &mut Reader<'_>) -> Result<(Nonce, u8), GpuError> {
    header(reader, GET_MEASUREMENTS)?;
    let attributes = reader.u8()?;
    if attributes & SIGNATURE_REQUESTED == 0 {
        return Err(field("request attributes", attributes.into()));
    }
    let operation = reader.u8()?;
    if operation != ALL_MEASUREMENTS {
        return Err(GpuError::ReportUnsupported {
            field: "measurement operation",
            value: operation.into(),
            supported: "0xff (all measurements)",
        });
    }
    let nonce = Nonce::from_random(reader.array()?);
    let slot = reader.u8()?;
    if slot > 0x0f {
        return Err(field("slot", slot.into()));
    }
    Ok((nonce, slot))
}

fn parse_response(reader: &mut Reader<'_>) -> Result<Vec<MeasurementBlock>, GpuError> {
    reader.at("response");
    header(reader, MEASUREMENTS)?;
    reader.take(2)?; // indices and slot of the response: reserved unless asked for
    let count = usize::from(reader.u8()?);
    if count == 0 || count > MAX_MEASUREMENTS {
        return Err(field(
            "number of blocks",
            u32::try_from(count).unwrap_or(u32::MAX),
        ));
    }
    let [low, middle, high] = reader.array()?;
    reader.at("measurement record");
    let mut record = reader.sub(u32::from_le_bytes([low, middle, high, 0]))?;
    let mut blocks: Vec<MeasurementBlock> = Vec::with_capacity(count);
    for _ in 0..count {
        let block = parse_block(&mut record)?;
        if blocks
            .last()
            .is_some_and(|before| before.index >= block.index)
            || block.index == 0
        {
            return Err(field("measurement index", block.index.into()));
        }
        blocks.push(block);
    }
    record.at("measurement record");
    refuse_trailing(&record, 0)?;
    Ok(blocks)
}

fn parse_block(record: &mut Reader<'_>) -> Result<MeasurementBlock, GpuError> {
    record.at("measurement block");
    let index = record.u8()?;
    let specification = record.u8()?;
    if specification != DMTF {
        return Err(GpuError::ReportUnsupported {
            field: "measurement specification",
            value: specification.into(),
            supported: "1 (DMTF)",
        });
    }
    let size = record.u16()?;
    let kind = record.u8()?;
    let value_size = record.u16()?;
    // bit 7 of the type says that the value is no digest
    if value_size != SHA384_BYTES || kind & 0x80 != 0 {
        return Err(GpuError::ReportUnsupported {
            field: "measurement value size",
            value: value_size.into(),
            supported: "48 (a SHA-384 digest)",
        });
    }
    if size != DMTF_HEADER + SHA384_BYTES {
        return Err(field("measurement size", size.into()));
    }
    let value = Measurement::from_bytes(record.array()?);
    Ok(MeasurementBlock { index, kind, value })
}

fn header(reader: &mut Reader<'_>, code: u8) -> Result<(), GpuError> {
    let version = reader.u8()?;
    if version != VERSION_1_1 {
        return Err(GpuError::ReportUnsupported {
            field: "SPDM version",
            value: version.into(),
            supported: "0x11 (SPDM 1.1)",
        });
    }
    let found = reader.u8()?;
    if found == code {
        return Ok(());
    }
    Err(field("message code", found.into()))
}

/// Refuses bytes that are left over, but for so many zeros.
fn refuse_trailing(reader: &Reader<'_>, padding: usize) -> Result<(), GpuError> {
    let rest = reader.rest();
    if rest.len() <= padding && rest.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    Err(GpuError::ReportTrailingBytes {
        part: reader.part(),
        count: rest.len(),
    })
}

const fn field(field: &'static str, value: u32) -> GpuError {
    GpuError::ReportField { field, value }
}
