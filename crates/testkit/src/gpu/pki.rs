//! Certificates of simulated devices, laid out as NVIDIA's: root, identity CA, the device's own CA, and
//! the leaf whose key signs reports. Every subject says `SIMULATED`.

use proofroom_canonical::Digest;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DnType, IsCa, Issuer,
    KeyUsagePurpose, SerialNumber, date_time_ymd,
};

use super::{DevicePlan, SimulatedKey384};
use crate::tee::written;

/// TCG DICE composite device id.
const COMPOSITE_DEVICE_ID: [u64; 6] = [2, 23, 133, 5, 4, 1];

/// What is odd about a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainPlan {
    /// Nothing.
    Whole,
    /// The root alone.
    RootAlone,
    /// The leaf is missing.
    NoLeaf,
    /// The device's CA is missing: a link is broken.
    NoDeviceCa,
    /// The root is missing.
    NoRoot,
    /// The identity CA's certificate is another one of the same name.
    ForgedIdentity,
    /// The identity CA allows no CA below itself.
    PathTooLong,
    /// The device's CA is no CA.
    NoCa,
    /// The leaf is a CA.
    LeafIsCa,
    /// The leaf ended in 2021.
    LeafExpired,
    /// The leaf begins in 2048.
    LeafNotYetValid,
    /// The leaf names no firmware.
    NoFirmwareId,
    /// The leaf's key is the one of another device.
    OtherKey,
    /// The leaf is signed with the key of another CA.
    ForgedLeaf,
}

/// The simulated vendor's keys and certificates above all devices.
#[derive(Debug)]
pub(super) struct DevicePki {
    root: Issuer<'static, SimulatedKey384>,
    root_certificate: Certificate,
}

impl DevicePki {
    pub(super) fn from_seed(seed: &[u8; 32]) -> Self {
        let key = SimulatedKey384::derive(seed, "gpu root");
        let params = ca("SIMULATED Device Identity CA", 1);
        let root_certificate = written(params.self_signed(&key));
        Self {
            root: Issuer::new(params, key),
            root_certificate,
        }
    }

    pub(super) fn root_digest(&self) -> Digest {
        Digest::of(self.root_certificate.der())
    }

    pub(super) fn chain(&self, seed: &[u8; 32], plan: &DevicePlan) -> String {
        let identity = self.identity(seed, plan);
        let device = device_ca(seed, plan, &identity.1);
        let leaf = leaf(seed, plan, &device.1);
        let root = self.root_certificate.pem();
        let (leaf, device, identity) = (leaf.pem(), device.0.pem(), identity.0.pem());
        let parts = match plan.chain {
            ChainPlan::RootAlone => vec![root],
            ChainPlan::NoLeaf => vec![device, identity, root],
            ChainPlan::NoDeviceCa => vec![leaf, identity, root],
            ChainPlan::NoRoot => vec![leaf, device, identity],
            _ => vec![leaf, device, identity, root],
        };
        parts.concat()
    }

    fn identity(
        &self,
        seed: &[u8; 32],
        plan: &DevicePlan,
    ) -> (Certificate, Issuer<'static, SimulatedKey384>) {
        let mut params = ca("SIMULATED Identity", 2);
        if plan.chain == ChainPlan::PathTooLong {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        }
        let label = match plan.chain {
            ChainPlan::ForgedIdentity => "another gpu identity",
            _ => "gpu identity",
        };
        // the certificate is of the honest key: below a forged one, its links do not hold
        let honest = SimulatedKey384::derive(seed, "gpu identity");
        let certificate = written(params.signed_by(&honest, &self.root));
        (
            certificate,
            Issuer::new(params, SimulatedKey384::derive(seed, label)),
        )
    }
}

fn device_ca(
    seed: &[u8; 32],
    plan: &DevicePlan,
    identity: &Issuer<'static, SimulatedKey384>,
) -> (Certificate, Issuer<'static, SimulatedKey384>) {
    let mut params = ca(&format!("{} SIMULATED BROM", plan.chip), plan.number);
    if plan.chain == ChainPlan::NoCa {
        params.is_ca = IsCa::ExplicitNoCa;
    }
    let label = format!("gpu device {} {}", plan.chip, plan.number);
    let key = SimulatedKey384::derive(seed, &label);
    let certificate = written(params.signed_by(&key, identity));
    (certificate, Issuer::new(params, key))
}

fn leaf(
    seed: &[u8; 32],
    plan: &DevicePlan,
    device: &Issuer<'static, SimulatedKey384>,
) -> Certificate {
    let mut params = named(&format!("{} SIMULATED FMC", plan.chip), 0);
    params.serial_number = Some(SerialNumber::from_slice(&serial(plan).to_be_bytes()));
    params.is_ca = match plan.chain {
        ChainPlan::LeafIsCa => IsCa::Ca(BasicConstraints::Unconstrained),
        _ => IsCa::NoCa,
    };
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    match plan.chain {
        ChainPlan::LeafExpired => params.not_after = date_time_ymd(2021, 1, 1),
        ChainPlan::LeafNotYetValid => params.not_before = date_time_ymd(2048, 1, 1),
        _ => {}
    }
    if plan.chain != ChainPlan::NoFirmwareId {
        params.custom_extensions = vec![CustomExtension::from_oid_content(
            &COMPOSITE_DEVICE_ID,
            composite_device_id(&plan.report.certified_fwid),
        )];
    }
    let key = match plan.chain {
        ChainPlan::OtherKey => SimulatedKey384::derive(seed, "gpu leaf of another"),
        _ => leaf_key(seed, plan),
    };
    if plan.chain != ChainPlan::ForgedLeaf {
        return written(params.signed_by(&key, device));
    }
    let forger = ca(&format!("{} SIMULATED BROM", plan.chip), plan.number);
    let forger = Issuer::new(forger, SimulatedKey384::derive(seed, "gpu forger"));
    written(params.signed_by(&key, &forger))
}

pub(super) fn leaf_key(seed: &[u8; 32], plan: &DevicePlan) -> SimulatedKey384 {
    SimulatedKey384::derive(seed, &format!("gpu leaf {} {}", plan.chip, plan.number))
}

/// More than 64 bits, as genuine ones; never beginning with a bit that DER would have to hide.
pub(super) fn serial(plan: &DevicePlan) -> u128 {
    let chip: u128 = plan.chip.bytes().map(u128::from).sum();
    0x5349_4d00_0000_0000_0000_0000_0000_0000 + (chip << 8) + u128::from(plan.number)
}

pub(super) fn named(common_name: &str, serial: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.distinguished_name.push(
        DnType::OrganizationName,
        "Proofroom SIMULATED, proves nothing",
    );
    params.serial_number = Some(SerialNumber::from_slice(&[serial]));
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
    params.use_authority_key_identifier_extension = true;
    params
}

pub(super) fn ca(common_name: &str, serial: u8) -> CertificateParams {
    let mut params = named(common_name, serial);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// `SEQUENCE { 1, deviceID SEQUENCE {}, SEQUENCE { id-sha384, OCTET STRING } }`
fn composite_device_id(fwid: &[u8; 48]) -> Vec<u8> {
    let mut out = vec![0x30, 0x44, 0x02, 0x01, 0x01, 0x30, 0x00, 0x30, 0x3d];
    out.extend([
        0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x04, 0x30,
    ]);
    out.extend_from_slice(fwid);
    out
}
