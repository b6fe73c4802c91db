//! Evidence of all devices of a machine, as NVIDIA's tools write it: a JSON list of reports with
//! their certificate chains, alone or inside the request to NVIDIA's attestation service.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proofroom_canonical::json;
use serde::Deserialize;

use super::{GpuError, MAX_CHAIN_BYTES, MAX_REPORT_BYTES};

/// The most devices of one machine.
pub const MAX_DEVICES: usize = 32;
/// The most bytes of a list that are read: 32 devices with some 12,300 bytes each, and room.
pub const MAX_LIST_BYTES: usize = 1024 * 1024;

#[derive(Deserialize)]
#[serde(untagged)]
enum Raw {
    List(Vec<RawDevice>),
    Request(RawRequest),
}

/// What NVIDIA's attestation service is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRequest {
    #[serde(rename = "nonce")]
    _nonce: String,
    #[serde(rename = "arch")]
    _arch: String,
    evidence_list: Vec<RawDevice>,
}

/// `arch` and `nonce` are what the collector says; the report and its certificates are asked instead.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDevice {
    #[serde(rename = "arch")]
    _arch: Option<String>,
    #[serde(rename = "nonce")]
    _nonce: Option<String>,
    certificate: String,
    evidence: String,
}

/// One device's report and certificate chain, as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceEvidence {
    /// The measurement report.
    pub report: Vec<u8>,
    /// The certificate chain, PEM, leaf first.
    pub chain: Vec<u8>,
}

/// Evidence of several devices, taken apart as far as the list goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceList {
    devices: Vec<DeviceEvidence>,
}

impl EvidenceList {
    /// Takes devices whose reports and chains are at hand.
    ///
    /// # Errors
    /// `gpu-list-member` for none or more than [`MAX_DEVICES`].
    pub fn new(devices: Vec<DeviceEvidence>) -> Result<Self, GpuError> {
        if devices.is_empty() || devices.len() > MAX_DEVICES {
            return Err(member("evidence_list", "has no device, or too many"));
        }
        Ok(Self { devices })
    }

    /// Reads a JSON list of `certificate` and `evidence` in base64, or an object that holds one in
    /// `evidence_list`.
    ///
    /// # Errors
    /// `gpu-list-malformed` for anything but strict JSON with the known members,
    /// `gpu-list-member` for base64 that is not canonical or a bad number of devices,
    /// `gpu-too-large` for a report or chain over its size.
    pub fn parse(bytes: &[u8]) -> Result<Self, GpuError> {
        let raw: Raw = json::parse(bytes, MAX_LIST_BYTES).map_err(GpuError::List)?;
        let devices = match raw {
            Raw::List(devices) => devices,
            Raw::Request(request) => request.evidence_list,
        };
        let devices = devices.iter().map(decode).collect::<Result<_, _>>()?;
        Self::new(devices)
    }

    /// The devices, in the list's order.
    #[must_use]
    pub fn devices(&self) -> &[DeviceEvidence] {
        &self.devices
    }
}

fn decode(raw: &RawDevice) -> Result<DeviceEvidence, GpuError> {
    Ok(DeviceEvidence {
        report: bytes(&raw.evidence, "evidence", MAX_REPORT_BYTES)?,
        chain: bytes(&raw.certificate, "certificate", MAX_CHAIN_BYTES)?,
    })
}

fn bytes(text: &str, name: &'static str, max: usize) -> Result<Vec<u8>, GpuError> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|_| member(name, "is not canonical padded base64"))?;
    if bytes.len() > max {
        return Err(GpuError::TooLarge {
            what: name,
            have: bytes.len(),
            max,
        });
    }
    Ok(bytes)
}

const fn member(member: &'static str, problem: &'static str) -> GpuError {
    GpuError::ListMember { member, problem }
}
