//! NVIDIA's typed fields inside a report's opaque data: type and size as little-endian 16-bit
//! numbers, then the value (the field numbers are those of NVIDIA/nvtrust, `spdm_msrt_resp_msg.py`).

use super::{GpuError, Reader};
use crate::Measurement;

/// Genuine reports have 15 fields.
const MAX_FIELDS: usize = 64;
const MAX_TEXT: usize = 64;

const DRIVER_VERSION: u16 = 3;
const VBIOS_VERSION: u16 = 6;
const NVDEC0_STATUS: u16 = 11;
const BOARD_ID: u16 = 14;
const CHIP_SKU: u16 = 15;
const PROJECT: u16 = 17;
const PROJECT_SKU: u16 = 18;
const FWID: u16 = 20;
const PROTECTED_PCIE_STATUS: u16 = 21;
const FEATURE_FLAG: u16 = 36;

/// A unit or a mode that a device reports as one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switched {
    /// `0xaa`.
    On,
    /// `0x55`.
    Off,
}

/// What a device is set up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureFlag {
    /// One GPU passed through to one machine.
    SinglePassthrough,
    /// Several GPUs of one machine.
    MultiPassthrough,
    /// Several GPUs behind protected PCIe and `NVSwitch`.
    ProtectedPcie,
}

/// NVIDIA's fields that somebody asks for. A field that a device left out is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpaqueData {
    /// Version of the driver that set the device up, such as `570.172.08`. Not of a switch.
    pub driver_version: Option<String>,
    /// Version of the video BIOS, or of a switch's BIOS, such as `96.00.CF.00.02`.
    pub vbios_version: Option<String>,
    /// Board id, hex.
    pub board_id: Option<String>,
    /// SKU of the chip.
    pub chip_sku: Option<String>,
    /// Project of the board.
    pub project: Option<String>,
    /// SKU of the project.
    pub project_sku: Option<String>,
    /// Digest of the firmware that holds the signing key.
    pub fwid: Option<Measurement>,
    /// Whether the first video decoder is there, which is what measurement 35 is about.
    pub nvdec0: Option<Switched>,
    /// Whether the device is behind protected PCIe.
    pub protected_pcie: Option<Switched>,
    /// What the device is set up for.
    pub feature: Option<FeatureFlag>,
}

impl OpaqueData {
    /// Takes all fields of `reader`. Unknown fields are skipped; no field may come twice.
    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Self, GpuError> {
        let mut data = Self::default();
        let mut seen = Vec::new();
        while !reader.rest().is_empty() {
            let kind = reader.u16()?;
            let size = usize::from(reader.u16()?);
            let value = reader.take(size)?;
            if seen.contains(&kind) || seen.len() >= MAX_FIELDS {
                return Err(problem("any", "comes twice, or there are too many fields"));
            }
            seen.push(kind);
            data.set(kind, value)?;
        }
        Ok(data)
    }

    fn set(&mut self, kind: u16, value: &[u8]) -> Result<(), GpuError> {
        match kind {
            DRIVER_VERSION => self.driver_version = Some(text("DRIVER_VERSION", value)?),
            VBIOS_VERSION => self.vbios_version = Some(bios_version(value)?),
            NVDEC0_STATUS => self.nvdec0 = Some(switched("NVDEC0_STATUS", value)?),
            BOARD_ID => self.board_id = Some(hex::encode(value)),
            CHIP_SKU => self.chip_sku = Some(text("CHIP_SKU", value)?),
            PROJECT => self.project = Some(text("PROJECT", value)?),
            PROJECT_SKU => self.project_sku = Some(text("PROJECT_SKU", value)?),
            FWID => self.fwid = Some(fwid(value)?),
            PROTECTED_PCIE_STATUS => {
                self.protected_pcie = Some(switched("PROTECTED_PCIE_STATUS", value)?);
            }
            FEATURE_FLAG => self.feature = Some(feature(value)?),
            _ => {}
        }
        Ok(())
    }
}

/// Printable ASCII, closed and filled up by zeros.
fn text(field: &'static str, value: &[u8]) -> Result<String, GpuError> {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    let (text, filling) = value.split_at_checked(end).unwrap_or((value, &[]));
    let plain = !text.is_empty()
        && text.len() <= MAX_TEXT
        && text.iter().all(u8::is_ascii_graphic)
        && filling.iter().all(|b| *b == 0);
    match std::str::from_utf8(text) {
        Ok(text) if plain => Ok(text.to_owned()),
        _ => Err(problem(field, "is not short printable text")),
    }
}

/// A little-endian number of 32 bits as four groups, and one byte: `00cf0096 02` is `96.00.CF.00.02`.
/// Switches write the same text out.
fn bios_version(value: &[u8]) -> Result<String, GpuError> {
    if let [d, c, b, a, e, 0, 0, 0] = value {
        return Ok(format!("{a:02X}.{b:02X}.{c:02X}.{d:02X}.{e:02X}"));
    }
    text("VBIOS_VERSION", value)
}

fn fwid(value: &[u8]) -> Result<Measurement, GpuError> {
    value
        .try_into()
        .map(Measurement::from_bytes)
        .map_err(|_| problem("FWID", "is not 48 bytes long"))
}

fn switched(field: &'static str, value: &[u8]) -> Result<Switched, GpuError> {
    match value {
        [0xaa] => Ok(Switched::On),
        [0x55] => Ok(Switched::Off),
        _ => Err(problem(field, "is neither 0xaa nor 0x55")),
    }
}

fn feature(value: &[u8]) -> Result<FeatureFlag, GpuError> {
    match value {
        [0, 0] => Ok(FeatureFlag::SinglePassthrough),
        [1, 0] => Ok(FeatureFlag::MultiPassthrough),
        [2, 0] => Ok(FeatureFlag::ProtectedPcie),
        _ => Err(problem("FEATURE_FLAG", "is unknown")),
    }
}

const fn problem(field: &'static str, problem: &'static str) -> GpuError {
    GpuError::Opaque { field, problem }
}
