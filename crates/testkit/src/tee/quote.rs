//! Format-true TDX quotes, versions 4 and 5 (Intel DCAP quoting library API, appendices A.3 and A.4), signed
//! with simulated keys.

use sha2::{Digest as _, Sha256};

use super::{QuoteLayout, SimulatedTd, pki::SimulatedPki, written};

/// Intel's QE vendor id, which every DCAP quote carries.
const QE_VENDOR: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];
/// `MRSIGNER` of the simulated quoting enclave.
pub(super) const QE_MRSIGNER: [u8; 32] = *b"SIMULATED quoting enclave signer";
/// `ISVPRODID` of a TD quoting enclave.
pub(super) const QE_ISV_PROD_ID: u16 = 2;
/// `ISVSVN` of the simulated quoting enclave.
pub(super) const QE_ISV_SVN: u16 = 4;
/// `ATTRIBUTES` of an enclave: initialised, 64-bit, provisioning key access.
pub(super) const QE_ATTRIBUTES: [u8; 16] = [0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

const QE_AUTH_DATA: [u8; 32] = *b"SIMULATED QE authentication data";

/// Signs a quote of `td`.
pub(super) fn sign(pki: &SimulatedPki, td: &SimulatedTd, report_data: &[u8; 64]) -> Vec<u8> {
    let mut quote = header(td.layout);
    quote.extend(body_descriptor(td.layout));
    quote.extend(td_report(td, report_data));
    let signature = pki.attestation.sign_raw(&quote);
    let qe = qe_certification(pki);

    let mut data = Vec::new();
    data.extend_from_slice(&signature);
    data.extend_from_slice(pki.attestation.coordinates());
    data.extend_from_slice(&6_u16.to_le_bytes()); // QE report certification data
    put_u32_length(&mut data, &qe);
    put_u32_length(&mut quote, &data);
    quote
}

fn header(layout: QuoteLayout) -> Vec<u8> {
    let version: u16 = match layout {
        QuoteLayout::V4 => 4,
        QuoteLayout::V5Td10 | QuoteLayout::V5Td15 => 5,
    };
    let mut header = version.to_le_bytes().to_vec();
    header.extend_from_slice(&2_u16.to_le_bytes()); // ECDSA P-256
    header.extend_from_slice(&0x81_u32.to_le_bytes()); // TDX
    header.extend_from_slice(&[0; 4]); // QE SVN, PCE SVN: reserved
    header.extend_from_slice(&QE_VENDOR);
    header.extend_from_slice(b"SIMULATED, no proof.");
    header
}

/// Type and size of the body, which version 4 does not have.
fn body_descriptor(layout: QuoteLayout) -> Vec<u8> {
    let (kind, size): (u16, u32) = match layout {
        QuoteLayout::V4 => return Vec::new(),
        QuoteLayout::V5Td10 => (2, 584),
        QuoteLayout::V5Td15 => (3, 648),
    };
    [&kind.to_le_bytes()[..], &size.to_le_bytes()].concat()
}

fn td_report(td: &SimulatedTd, report_data: &[u8; 64]) -> Vec<u8> {
    let zero = [0_u8; 48];
    let mut report = td.tee_tcb_svn.to_vec();
    report.extend_from_slice(td.mr_seam.as_bytes());
    report.extend_from_slice(&zero); // MRSIGNERSEAM: zero for the vendor's own module
    report.extend_from_slice(&[0; 8]); // SEAMATTRIBUTES
    report.extend_from_slice(&td.attributes.to_le_bytes());
    report.extend_from_slice(&[0xe7, 0x02, 0x06, 0, 0, 0, 0, 0]); // XFAM
    report.extend_from_slice(td.mr_td.as_bytes());
    report.extend_from_slice(td.mr_config_id.as_bytes());
    report.extend_from_slice(td.mr_owner.as_bytes());
    report.extend_from_slice(td.mr_owner_config.as_bytes());
    for register in &td.rtmr {
        report.extend_from_slice(register.as_bytes());
    }
    report.extend_from_slice(report_data);
    if td.layout == QuoteLayout::V5Td15 {
        report.extend_from_slice(&td.tee_tcb_svn); // TEETCBSVN2: no update since the TD was made
        report.extend_from_slice(td.mr_service_td.as_bytes());
    }
    report
}

/// QE report, its signature by the PCK, authentication data, PCK certificate chain.
fn qe_certification(pki: &SimulatedPki) -> Vec<u8> {
    let report = qe_report(pki);
    let signature = pki.pck.sign_raw(&report);
    let mut data = report;
    data.extend_from_slice(&signature);
    data.extend_from_slice(&32_u16.to_le_bytes());
    data.extend_from_slice(&QE_AUTH_DATA);
    data.extend_from_slice(&5_u16.to_le_bytes()); // PCK certificate chain
    put_u32_length(&mut data, pki.pck_chain().as_bytes());
    data
}

/// The quoting enclave's report: its data is the digest of the attestation key it certifies.
fn qe_report(pki: &SimulatedPki) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(pki.attestation.coordinates());
    hash.update(QE_AUTH_DATA);
    let mut report = Vec::new();
    report.extend_from_slice(&super::pki::CPU_SVN);
    report.extend_from_slice(&[0; 4 + 28]); // MISCSELECT, reserved
    report.extend_from_slice(&QE_ATTRIBUTES);
    report.extend_from_slice(b"SIMULATED quoting enclave, code."); // MRENCLAVE
    report.extend_from_slice(&[0; 32]); // reserved
    report.extend_from_slice(&QE_MRSIGNER);
    report.extend_from_slice(&[0; 96]); // reserved
    report.extend_from_slice(&QE_ISV_PROD_ID.to_le_bytes());
    report.extend_from_slice(&QE_ISV_SVN.to_le_bytes());
    report.extend_from_slice(&[0; 60]); // reserved
    report.extend_from_slice(&hash.finalize());
    report.extend_from_slice(&[0; 32]);
    report
}

fn put_u32_length(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = written(u32::try_from(bytes.len()));
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}
