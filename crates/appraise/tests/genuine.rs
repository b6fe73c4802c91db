//! Genuine evidence without a policy: everything about the hardware is proved, nothing is accepted.
//! Without the evidence these tests say aloud that they were skipped.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../../verifier/tests/support/evidence.rs"]
mod evidence;

use evidence::read;
use proofroom_appraise::{Answer, Beside, Report, appraise, ear};
use proofroom_canonical::Timestamp;

fn report(evidence: &str, beside: &Beside, at: &str) -> Option<Report> {
    let at: Timestamp = at.parse().unwrap();
    Some(appraise(&read(evidence)?, beside, None, at).unwrap())
}

fn with_collateral(name: &str) -> Option<Beside> {
    Some(Beside {
        collateral: Some(serde_json::from_slice(&read(name)?).unwrap()),
        ..Beside::default()
    })
}

fn passed(report: &Report) -> Vec<&str> {
    let passed = report
        .checks()
        .iter()
        .filter(|row| row.answer == Answer::Pass);
    passed.map(|row| row.check).collect()
}

#[test]
fn a_genuine_quote_is_incomplete_and_its_debug_sibling_refused() {
    let Some(beside) = with_collateral("dcap-qvl/tdx_quote_collateral.json") else {
        return;
    };
    let at = "2025-06-19T10:32:28.000Z";
    let genuine = report("dcap-qvl/tdx_quote", &beside, at).unwrap();
    assert_eq!(genuine.end().as_str(), "incomplete");
    let hardware = [
        "quote-parse",
        "pck-chain-root",
        "collateral-time",
        "collateral-signature",
        "quote-signature",
        "placeholder-registers",
    ];
    assert_eq!(passed(&genuine), hardware);
    assert_eq!(genuine.facts()["tcb"]["status"], "UpToDate");
    // a check that needs a policy leaves the whole claim unmade
    let vector = &ear::claims_set(&genuine, "test")["submods"]["tdx-quote"];
    assert_eq!(vector["ear_trustworthiness_vector"]["hardware"], 0);

    let late = report("dcap-qvl/tdx_quote", &beside, "2026-01-01T00:00:00.000Z").unwrap();
    assert_eq!(late.end().as_str(), "refused");

    let Some(debug) = with_collateral("derived/collateral_50806f000000_platform_2023-06.json")
    else {
        return;
    };
    let debug = report(
        "trustee/tdx_quote_4.dat",
        &debug,
        "2023-06-15T00:00:00.000Z",
    )
    .unwrap();
    assert_eq!(debug.end().as_str(), "refused");
}

#[test]
fn a_genuine_snp_report_is_incomplete_with_its_chain() {
    let (Some(leaf), Some(roots)) = (
        read("trustee/snp/test-vcek.der"),
        read("trustee/roots/milan_ask_ark_asvk.pem"),
    ) else {
        return;
    };
    let beside = Beside {
        certificates: vec![roots, leaf],
        ..Beside::default()
    };
    let at = "2024-06-01T00:00:00.000Z";
    let genuine = report("trustee/snp/test-report.bin", &beside, at).unwrap();
    assert_eq!(
        genuine.end().as_str(),
        "incomplete",
        "{:#?}",
        genuine.checks()
    );
    for check in [
        "chain-root",
        "chain-signatures",
        "report-signature",
        "product",
    ] {
        assert!(passed(&genuine).contains(&check), "{check}");
    }
}

#[test]
fn genuine_devices_and_a_token_of_nvidias_are_incomplete() {
    const SERIALIZED: &str = "nvidia-attestation-sdk/common-test-data/serialized_test_evidence";
    let beside = Beside::default();
    let at = "2026-05-23T00:00:00.000Z";
    let name = format!("{SERIALIZED}/hopper_evidence.json");
    if let Some(genuine) = report(&name, &beside, at) {
        assert_eq!(
            genuine.end().as_str(),
            "incomplete",
            "{:#?}",
            genuine.checks()
        );
        assert!(passed(&genuine).contains(&"report-signature"));
    }
    let name =
        "nvidia-attestation-sdk/testdata/sample_attestation_data/hopperClaimsv3_detached_eat.json";
    if let Some(token) = report(name, &beside, at) {
        assert_eq!(token.end().as_str(), "incomplete");
        assert_eq!(passed(&token), ["token-parse"]);
    }
}
