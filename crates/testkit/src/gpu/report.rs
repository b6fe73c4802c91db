//! Measurement reports of simulated devices: SPDM request and response with NVIDIA's opaque fields.

use proofroom_canonical::Nonce;
use sha2::{Digest as _, Sha384};

use super::{BIOS, DRIVER, SimulatedKey384};
use crate::tee::written;

/// How many measurements a report has.
const MEASUREMENTS: u8 = 64;

/// What a report says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportPlan {
    /// The request's nonce.
    pub nonce: Nonce,
    /// The measured values, the first of which has index 1.
    pub measurements: Vec<[u8; 48]>,
    /// The driver's version.
    pub driver: Option<String>,
    /// The BIOS's version, as the report writes it.
    pub bios: Vec<u8>,
    /// The firmware that the report names.
    pub fwid: Option<[u8; 48]>,
    /// The firmware that the leaf certificate names.
    pub certified_fwid: [u8; 48],
    /// `0xaa` where protected PCIe is on, `0x55` where it is off.
    pub protected_pcie: Option<u8>,
    /// 0, 1 or 2: single or multi passthrough, protected PCIe.
    pub feature: Option<u16>,
    /// `0xaa` where the first decoder is there, `0x55` where it is not.
    pub nvdec0: u8,
    /// More opaque fields.
    pub more: Vec<(u16, Vec<u8>)>,
}

impl ReportPlan {
    /// A well-configured GPU behind protected PCIe.
    #[must_use]
    pub fn gpu(nonce: Nonce) -> Self {
        Self {
            nonce,
            measurements: (0..MEASUREMENTS).map(measurement).collect(),
            driver: Some(DRIVER.to_owned()),
            bios: BIOS.0.to_vec(),
            fwid: Some(digest("fwid")),
            certified_fwid: digest("fwid"),
            protected_pcie: Some(0xaa),
            feature: Some(2),
            nvdec0: 0x55,
            more: Vec::new(),
        }
    }

    /// A switch: neither driver nor mode.
    #[must_use]
    pub fn switch(nonce: Nonce) -> Self {
        Self {
            driver: None,
            protected_pcie: None,
            feature: None,
            ..Self::gpu(nonce)
        }
    }

    /// Request and response without the signature.
    #[must_use]
    pub fn signed_part(&self) -> Vec<u8> {
        let mut out = vec![0x11, 0xe0, 0x01, 0xff];
        out.extend_from_slice(self.nonce.as_bytes());
        out.push(0);
        out.extend([0x11, 0x60, 0, 0]);
        let record = self.record();
        out.push(written(u8::try_from(self.measurements.len())));
        let length = written(u32::try_from(record.len())).to_le_bytes();
        out.extend_from_slice(length.get(..3).unwrap_or_default());
        out.extend(record);
        out.extend(digest("responder nonce").iter().take(32));
        let opaque = self.opaque();
        out.extend(written(u16::try_from(opaque.len())).to_le_bytes());
        out.extend(opaque);
        out
    }

    pub(super) fn write(&self, key: &SimulatedKey384) -> Vec<u8> {
        let mut out = self.signed_part();
        let signature = key.sign_raw(&out);
        out.extend(signature);
        out
    }

    fn record(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (index, value) in (1_u8..).zip(&self.measurements) {
            out.extend([index, 1, 51, 0, 1, 48, 0]);
            out.extend_from_slice(value);
        }
        out
    }

    fn opaque(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut field = |kind: u16, value: &[u8]| {
            out.extend(kind.to_le_bytes());
            out.extend(written(u16::try_from(value.len())).to_le_bytes());
            out.extend_from_slice(value);
        };
        field(6, &self.bios);
        field(14, &[0x3c, 0x05, 0, 0]);
        field(15, b"895\0\0\0\0\0\0");
        field(17, b"G520\0");
        field(18, b"0280\0");
        if let Some(driver) = &self.driver {
            field(3, format!("{driver}\0").as_bytes());
        }
        field(11, &[self.nvdec0]);
        if let Some(fwid) = &self.fwid {
            field(20, fwid);
        }
        if let Some(status) = self.protected_pcie {
            field(21, &[status]);
        }
        if let Some(feature) = self.feature {
            field(36, &feature.to_le_bytes());
        }
        for (kind, value) in &self.more {
            field(*kind, value);
        }
        out
    }
}

/// The measurement of a well-configured device, counted from 0.
#[must_use]
pub(super) fn measurement(index: u8) -> [u8; 48] {
    digest(&format!("measurement {index}"))
}

fn digest(of: &str) -> [u8; 48] {
    Sha384::digest(format!("proofroom SIMULATED gpu {of}")).into()
}
