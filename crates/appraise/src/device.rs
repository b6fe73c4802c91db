//! Reports on NVIDIA devices.

use proofroom_canonical::Timestamp;
use proofroom_verifier::gpu::{
    GpuAppraisal, GpuCheck, GpuEndorsements, GpuPolicy, PRODUCTION_GPU, appraise_gpus,
};

use crate::{Beside, Kind, Policy, Proof, Report, Row, row::PolicyWords};

/// What of an appraisal is its policy's own word.
const WORDS: PolicyWords = PolicyWords {
    checks: &["device-count", "chip", "versions", "mode"],
    codes: &[
        "gpu-chip-not-allowed",
        "gpu-driver-not-allowed",
        "gpu-bios-not-allowed",
        "gpu-mode-not-allowed",
        "gpu-device-count",
        "gpu-measurements-not-pinned",
        "gpu-jwks-not-trusted",
        "gpu-token-issuer",
        "gpu-debug-status",
    ],
};

pub(crate) fn report(
    evidence: &[u8],
    beside: &Beside,
    policy: Option<&Policy>,
    at: Timestamp,
) -> Report {
    let endorsements = GpuEndorsements {
        driver_rims: &beside.driver_rims,
        bios_rims: &beside.bios_rims,
        tokens: &beside.tokens,
        jwks: beside.jwks.as_deref(),
    };
    let freshness = beside.expected.freshness();
    let judge = |policy: &GpuPolicy| appraise_gpus(evidence, endorsements, policy, freshness, at);
    match policy {
        Some(named @ Policy::Gpu(policy)) => {
            let appraisal = judge(policy);
            let report = plain(evidence, &appraisal, rows(&appraisal), at);
            let verified = appraisal.into_verified().ok();
            report.under(named.facts(), verified.map(|v| Proof::Gpus(Box::new(v))))
        }
        _ => match GpuPolicy::parse(PRODUCTION_GPU, "production-gpu.toml") {
            Ok(shipped) => {
                let appraisal = judge(&shipped);
                plain(evidence, &appraisal, WORDS.withdraw(rows(&appraisal)), at)
            }
            Err(_) => Report::unproved(Kind::GpuList, evidence, at, Vec::new()),
        },
    }
}

fn row(check: &GpuCheck) -> Row {
    Row::of(check.name.as_str(), &check.outcome)
}

fn rows(appraisal: &GpuAppraisal) -> Vec<Row> {
    let set = appraisal.checks().iter().map(row);
    let devices = appraisal.devices().iter().enumerate();
    let each = devices.flat_map(|(number, device)| {
        let checks = device.checks().iter();
        checks.map(move |check| row(check).about(format!("device {number}")))
    });
    set.chain(each).collect()
}

fn plain(evidence: &[u8], appraisal: &GpuAppraisal, rows: Vec<Row>, at: Timestamp) -> Report {
    let mut report = Report::unproved(Kind::GpuList, evidence, at, rows);
    for (number, device) in appraisal.devices().iter().enumerate() {
        report = report.with_facts(&format!("device {number}."), device);
    }
    report
}
