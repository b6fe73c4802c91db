//! The bytes of a simulated report (AMD 56860, "ATTESTATION_REPORT").

use proofroom_evidence::snp::{SNP_REPORT_BYTES, SNP_SIGNED_BYTES};

use super::{ReportPlan, keys::ChipKey};

impl ReportPlan {
    /// The signed part.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let cpu = if self.version > 2 { self.cpu } else { [0; 3] };
        let mitigations = [if self.version > 3 { 1 } else { 0 }, 0, 0, 0, 0, 0, 0, 0];
        // build, minor, major, reserved: 1.55.29
        let firmware = [29, 55, 1, 0];
        let parts: [&[u8]; 28] = [
            &self.version.to_le_bytes(),
            &self.guest_svn.to_le_bytes(),
            &self.policy.to_le_bytes(),
            &[0; 32], // FAMILY_ID, IMAGE_ID
            &self.vmpl.to_le_bytes(),
            &self.algorithm.to_le_bytes(),
            &self.current_tcb,
            &self.platform.to_le_bytes(),
            &self.flags.to_le_bytes(),
            &[0; 4],
            &self.report_data,
            &self.measurement,
            &self.host_data,
            &self.id_key_digest,
            &self.author_key_digest,
            &[0x1d; 32], // REPORT_ID
            &self.report_id_ma,
            &self.reported_tcb,
            &cpu,
            &[0; 21],
            &self.chip_id,
            &self.committed_tcb,
            &firmware,
            &firmware,
            &self.launch_tcb,
            &mitigations,
            &mitigations,
            &[0; 152],
        ];
        parts.concat()
    }
}

/// `body` with its signature: r and s little-endian in fields of 72 bytes.
pub(super) fn sign(key: &ChipKey, body: Vec<u8>) -> Vec<u8> {
    let signature = key.sign(&body);
    let (r, s) = signature.split_at(48);
    let mut report = body;
    debug_assert_eq!(report.len(), SNP_SIGNED_BYTES);
    for number in [r, s] {
        report.extend(number.iter().rev());
        report.extend([0; 24]);
    }
    report.resize(SNP_REPORT_BYTES, 0);
    report
}
