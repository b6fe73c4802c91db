//! Evidence of NVIDIA GPUs and NVSwitches: SPDM measurement reports, device certificates, evidence
//! lists, tokens of NVIDIA's attestation service. Bytes to claims; whether they are true is the
//! verifier's to say. The format is written down in `docs/spec/gpu.md`.

mod device;
mod error;
mod list;
mod opaque;
mod report;
mod rim;
mod token;
mod xml;

pub use device::{DEVICE_CHAIN_MAX, DeviceFacts, MAX_CHAIN_BYTES, certificate_chain};
pub use error::GpuError;
pub use list::{DeviceEvidence, EvidenceList, MAX_DEVICES, MAX_LIST_BYTES};
pub use opaque::{FeatureFlag, OpaqueData, Switched};
pub use report::{
    DeviceReport, MAX_MEASUREMENTS, MAX_REPORT_BYTES, MeasurementBlock, SIGNATURE_BYTES,
};
pub use rim::{MAX_RIM_BYTES, Rim, RimMeasurement};
pub use token::{DetachedEat, Jws, JwsHeader, MAX_TOKEN_BYTES};

/// A cursor over an SPDM structure.
type Reader<'a> = crate::reader::Reader<'a, GpuError>;

#[cfg(test)]
mod tests;
