//! Reference manifests and tokens of the kit, beside the genuine report that they come nearest to.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proofroom_appraise::{Answer, Beside, appraise};
use proofroom_canonical::Timestamp;
use serde_json::{Value, json};

use super::{Row, bytes, read};

const DATA: &str = "nvidia-attestation-sdk/testdata";
const NOW: &str = "2025-09-01T00:00:00.000Z";
const BIOS: &str = "sample_rims/NV_GPU_VBIOS_1010_0200_882_96005E0001_measurement_mismatch.xml";
const GOOD: &str = "NV_GPU_DRIVER_GH100_550.144.03.xml";

/// File, time, what the driver's check answers. `gpu-rim-version-mismatch` is what a good manifest of another
/// driver gets: digest, signature and path were in order.
const DRIVERS: [(&str, &str, &str); 7] = [
    (GOOD, NOW, "gpu-rim-version-mismatch"),
    (GOOD, "2024-12-30T16:56:49.000Z", "gpu-rim-not-yet-valid"),
    (GOOD, "2026-12-30T16:56:51.000Z", "gpu-rim-expired"),
    (
        "sample_rims/NV_GPU_DRIVER_GH100_570.124.03_expired.xml",
        NOW,
        "gpu-rim-expired",
    ),
    (
        "sample_rims/NV_GPU_DRIVER_GH100_535.86.09_measurement_mismatch.xml",
        NOW,
        "gpu-rim-digest-mismatch",
    ),
    (
        "incorrect_cert_chain_driver_rim.xml",
        NOW,
        "gpu-rim-root-not-trusted",
    ),
    (
        "incorrect_signature_driver_rim.xml",
        NOW,
        "gpu-rim-signature-invalid",
    ),
];

pub(super) fn rows() -> Vec<Row> {
    let drivers = DRIVERS.iter().map(|(file, at, expected)| {
        let beside = Beside {
            driver_rims: vec![read(&format!("{DATA}/{file}")).unwrap()],
            ..Beside::default()
        };
        row(
            &format!("{DATA}/{file}"),
            "driver-rim",
            &beside,
            at,
            expected,
        )
    });
    let bios = [
        (NOW, "pass"),
        ("2025-12-12T23:58:04.000Z", "gpu-rim-expired"),
    ];
    let bios = bios.iter().map(|(at, expected)| {
        let beside = Beside {
            bios_rims: vec![read(&format!("{DATA}/{BIOS}")).unwrap()],
            ..Beside::default()
        };
        row(&format!("{DATA}/{BIOS}"), "bios-rim", &beside, at, expected)
    });
    drivers.chain(bios).chain([unsigned()]).collect()
}

/// A local verifier's tokens, which nobody signed.
fn unsigned() -> Row {
    let file = "dstack/dstack-util_tests_fixtures_gpu_attestation_h100.json";
    let output: Value = serde_json::from_slice(&read(file).unwrap()).unwrap();
    let beside = Beside {
        tokens: vec![serde_json::to_vec(&output["detached_eat"]).unwrap()],
        ..Beside::default()
    };
    row(file, "token-signature", &beside, NOW, "gpu-token-unsigned")
}

fn row(file: &str, check: &str, beside: &Beside, at: &str, expected: &str) -> Row {
    let gpu = format!("{DATA}/sample_attestation_data/gpu");
    let device = json!([{
        "evidence": STANDARD.encode(bytes(&format!("{gpu}/hopperAttestationReport.txt"))),
        "certificate": STANDARD.encode(read(&format!("{gpu}/hopperCertChain.txt")).unwrap()),
    }]);
    let now = at.parse::<Timestamp>().unwrap();
    let report = appraise(device.to_string().as_bytes(), beside, None, now).unwrap();
    let found = report.checks().iter().find(|row| row.check == check);
    let got = match &found.unwrap().answer {
        Answer::Pass => "pass".to_owned(),
        Answer::Fail { code, .. } | Answer::NotEvaluated { code, .. } => code.clone(),
    };
    Row {
        files: format!("`{file}`, check `{check}`"),
        at: at.to_owned(),
        agrees: got == expected,
        expected: expected.to_owned(),
        got,
    }
}
