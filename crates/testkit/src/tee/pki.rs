//! The simulated vendor's certificates: root, platform CA, PCK and TCB signer, as Intel's PCK
//! certificate profile lays them out. Every subject says `SIMULATED`.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DnType, IsCa, Issuer,
    KeyUsagePurpose, SerialNumber, date_time_ymd,
};

use super::{keys::SimulatedKey, written};
use crate::der::der;

/// The platform that the PCK certificate is for.
pub(crate) const FMSPC: [u8; 6] = [0x51, 0x4d, 0x00, 0x00, 0x00, 0x00];
/// `CPUSVN` of the PCK certificate.
pub(super) const CPU_SVN: [u8; 16] = [2, 2, 2, 2, 3, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0];
/// `PCESVN` of the PCK certificate.
pub(super) const PCE_SVN: u8 = 11;

pub(super) const PLATFORM_CA_SERIAL: u8 = 2;
pub(super) const PCK_SERIAL: u8 = 3;
pub(super) const TCB_SIGNER_SERIAL: u8 = 4;

/// Intel's SGX extension arc, 1.2.840.113741.1.13.1.
const SGX: [u64; 7] = [1, 2, 840, 113_741, 1, 13, 1];

/// The simulated vendor's keys and certificates.
#[derive(Debug)]
pub struct SimulatedPki {
    root: Issuer<'static, SimulatedKey>,
    platform_ca: Issuer<'static, SimulatedKey>,
    root_certificate: Certificate,
    platform_certificate: Certificate,
    pck_certificate: Certificate,
    tcb_certificate: Certificate,
    pub(super) pck: SimulatedKey,
    pub(super) tcb_signer: SimulatedKey,
    pub(super) attestation: SimulatedKey,
}

impl SimulatedPki {
    /// The vendor of `seed`.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let key = |label| SimulatedKey::derive(&seed, label);
        let root_params = ca("SIMULATED SGX Root CA", 1, 1);
        let root_key = key("root");
        let root_certificate = written(root_params.self_signed(&root_key));
        let root = Issuer::new(root_params, root_key);

        let platform_params = ca("SIMULATED SGX PCK Platform CA", PLATFORM_CA_SERIAL, 0);
        let platform_key = key("platform-ca");
        let platform_certificate = written(platform_params.signed_by(&platform_key, &root));
        let platform_ca = Issuer::new(platform_params, platform_key);

        let pck = key("pck");
        let mut pck_params = leaf("SIMULATED SGX PCK Certificate", PCK_SERIAL);
        pck_params.custom_extensions = vec![CustomExtension::from_oid_content(
            &SGX,
            sgx_extension(&seed),
        )];
        let pck_certificate = written(pck_params.signed_by(&pck, &platform_ca));

        let tcb_signer = key("tcb-signer");
        let tcb_params = leaf("SIMULATED SGX TCB Signing", TCB_SIGNER_SERIAL);
        let tcb_certificate = written(tcb_params.signed_by(&tcb_signer, &root));
        Self {
            root,
            platform_ca,
            root_certificate,
            platform_certificate,
            pck_certificate,
            tcb_certificate,
            pck,
            tcb_signer,
            attestation: key("attestation"),
        }
    }

    /// The root certificate, DER.
    #[must_use]
    pub fn root_der(&self) -> &[u8] {
        self.root_certificate.der()
    }

    pub(super) const fn root(&self) -> &Issuer<'static, SimulatedKey> {
        &self.root
    }

    pub(super) const fn platform_ca(&self) -> &Issuer<'static, SimulatedKey> {
        &self.platform_ca
    }

    /// PCK, platform CA, root; PEM, as quotes carry it.
    pub(super) fn pck_chain(&self) -> String {
        self.pck_certificate.pem() + &self.pck_crl_chain()
    }

    /// Platform CA, root; PEM.
    pub(super) fn pck_crl_chain(&self) -> String {
        self.platform_certificate.pem() + &self.root_certificate.pem()
    }

    /// TCB signer, root; PEM.
    pub(super) fn tcb_chain(&self) -> String {
        self.tcb_certificate.pem() + &self.root_certificate.pem()
    }
}

fn named(common_name: &str, serial: u8) -> CertificateParams {
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

fn ca(common_name: &str, serial: u8, path_length: u8) -> CertificateParams {
    let mut params = named(common_name, serial);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf(common_name: &str, serial: u8) -> CertificateParams {
    let mut params = named(common_name, serial);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

/// The SGX extension's value: PPID, TCB, PCEID, FMSPC, SGX type.
fn sgx_extension(seed: &[u8; 32]) -> Vec<u8> {
    let ppid = seed.get(..16).unwrap_or_default();
    let mut tcb = Vec::new();
    for (index, svn) in (1..).zip(CPU_SVN) {
        tcb.extend(entry(&[2, index], &der(0x02, &[svn])));
    }
    tcb.extend(entry(&[2, 17], &der(0x02, &[PCE_SVN])));
    tcb.extend(entry(&[2, 18], &der(0x04, &CPU_SVN)));
    let mut all = entry(&[1], &der(0x04, ppid));
    all.extend(entry(&[2], &der(0x30, &tcb)));
    all.extend(entry(&[3], &der(0x04, &[0, 0])));
    all.extend(entry(&[4], &der(0x04, &FMSPC)));
    all.extend(entry(&[5], &der(0x0a, &[0])));
    der(0x30, &all)
}

/// `SEQUENCE { OBJECT IDENTIFIER under the SGX arc, value }`
fn entry(tail: &[u8], value: &[u8]) -> Vec<u8> {
    // 1.2.840.113741.1.13.1 in base 128; every arc of `tail` is below 128, so one byte each
    let mut oid = vec![0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];
    oid.extend_from_slice(tail);
    let mut content = der(0x06, &oid);
    content.extend_from_slice(value);
    der(0x30, &content)
}
