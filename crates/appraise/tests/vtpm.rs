//! Reports on guests with a virtual TPM: with everything, and with each thing missing.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../../verifier/tests/support/evidence.rs"]
mod evidence;

use std::sync::LazyLock;

use proofroom_appraise::{
    Answer, Beside, End, Expected, Kind, Made, Policy, Proof, Report, appraise, ear,
};
use proofroom_canonical::{Nonce, Timestamp};
use proofroom_evidence::{Base64, VTPM_REGISTERS, VtpmDocument, VtpmGuest};
use proofroom_testkit::{azure::SimulatedParavisor, gcp::SimulatedGuest, tee::SimulatedTee};
use proofroom_verifier::PRODUCTION_AZURE_TDX;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_790_000_000);
const NONCE: Nonce = Nonce::from_random([7; 32]);
const AZURE_TDX: u32 = 4;

static GUEST: LazyLock<SimulatedGuest> = LazyLock::new(|| SimulatedGuest::from_seed([3; 32], NOW));

fn document() -> Vec<u8> {
    let nonce = NONCE.as_bytes();
    GUEST.document(nonce, GUEST.bound(nonce)).write().unwrap()
}

fn beside() -> Beside {
    Beside {
        collateral: Some(SimulatedTee::demo().collateral(&GUEST.plan)),
        expected: Expected {
            nonce: Some(NONCE),
            report_data: None,
            made: Made::ForThisExchange,
        },
        ..Beside::default()
    }
}

fn under_policy(document: &[u8], beside: &Beside) -> Report {
    let text = GUEST.policy("nonce-and-key");
    let policy = Policy::parse(Kind::Vtpm, &text, "test.toml", None, NOW).unwrap();
    appraise(document, beside, Some(&policy), NOW).unwrap()
}

#[track_caller]
fn told(report: &Report, end: &str, answers: &[(&str, &str)]) {
    assert_eq!(report.end().as_str(), end, "{report:#?}");
    for (check, wanted) in answers {
        let row = report.checks().iter().find(|row| row.check == *check);
        let code = match &row.unwrap().answer {
            Answer::Pass => "pass",
            Answer::Fail { code, .. } | Answer::NotEvaluated { code, .. } => code,
        };
        assert_eq!(code, *wanted, "{check}");
    }
}

#[test]
fn a_guest_of_google_is_accepted_under_its_policy() {
    let report = under_policy(&document(), &beside());
    assert_eq!(report.kind(), Kind::Vtpm);
    let End::Accepted(Proof::Gcp(verified)) = report.end() else {
        panic!("{report:#?}");
    };
    assert_eq!(verified.instance().name, "simulated-instance");
    let hardware = report.checks().iter();
    let hardware = hardware.filter(|row| row.subject.as_deref() == Some("hardware"));
    let hardware: Vec<_> = hardware.map(|row| row.check).collect();
    assert!(hardware.contains(&"tcb-status"), "{hardware:?}");
    let claims = ear::claims_set(&report, "test");
    let members = claims["submods"].as_object().unwrap();
    assert_eq!(members.keys().collect::<Vec<_>>(), ["vtpm-evidence"]);
}

#[test]
fn what_is_missing_is_said_and_nothing_is_accepted() {
    let mut without = beside();
    without.collateral = None;
    let missing = [("tee", "not-supplied"), ("report-data", "not-reached")];
    told(&under_policy(&document(), &without), "incomplete", &missing);
    let mut without = beside();
    without.expected.nonce = None;
    let missing = [
        ("qualifying-data", "not-supplied"),
        ("report-data", "not-supplied"),
        ("quote-signature", "pass"),
    ];
    told(&under_policy(&document(), &without), "incomplete", &missing);
    let mut archived = beside();
    archived.expected.made = Made::Archived;
    let missing = [("qualifying-data", "archive-audit"), ("pcr-digest", "pass")];
    told(
        &under_policy(&document(), &archived),
        "incomplete",
        &missing,
    );
}

#[test]
fn what_is_wrong_is_refused() {
    let mut other = beside();
    other.expected.nonce = Some(Nonce::from_random([8; 32]));
    let wrong = [("qualifying-data", "qualifying-data-mismatch")];
    told(&under_policy(&document(), &other), "refused", &wrong);
    let nonce = NONCE.as_bytes();
    let unbound = GUEST.document(nonce, [1; 64]).write().unwrap();
    let wrong = [("report-data", "report-data-mismatch")];
    told(&under_policy(&unbound, &beside()), "refused", &wrong);
    let text = String::from_utf8(document()).unwrap();
    let malformed = text.replace("\"td_quote\"", "\"quote_of_td\"");
    let wrong = [("document-parse", "document-malformed")];
    told(
        &under_policy(malformed.as_bytes(), &beside()),
        "refused",
        &wrong,
    );
    let azure = Policy::parse(Kind::Vtpm, PRODUCTION_AZURE_TDX, "a.toml", None, NOW).unwrap();
    let report = appraise(&document(), &beside(), Some(&azure), NOW).unwrap();
    let wrong = [
        ("ak-certificates", "root-not-trusted"),
        ("tee", "tee-refused"),
    ];
    told(&report, "refused", &wrong);
}

#[test]
fn without_a_policy_a_simulated_root_is_refused_and_nothing_is_ever_accepted() {
    let report = appraise(&document(), &beside(), None, NOW).unwrap();
    let known = [
        ("ak-certificates", "root-not-trusted"),
        ("instance", "needs-policy"),
        ("quote-parse", "pass"),
        ("reference-pcrs", "needs-policy"),
        ("report-data", "unproved"),
    ];
    told(&report, "refused", &known);
}

/// A guest behind Azure's paravisor.
fn azure(nonce: &[u8]) -> Vec<u8> {
    let paravisor = SimulatedParavisor::from_seed([3; 32]);
    let guest = VtpmGuest::Azure {
        hcl_report: Base64(paravisor.hcl_report(AZURE_TDX, &[])),
    };
    let tee = SimulatedTee::demo();
    let td_quote = tee.quote(&GUEST.plan.td, paravisor.report_data());
    let quote = paravisor.quote(nonce);
    let document = VtpmDocument::new(guest, quote, paravisor.pcrs, Some(td_quote));
    document.write().unwrap()
}

#[test]
fn a_guest_of_azure_without_a_policy_is_incomplete_at_best() {
    let document = azure(NONCE.as_bytes());
    let mut beside = beside();
    let report = appraise(&document, &beside, None, NOW).unwrap();
    let known = [
        ("pck-chain-root", "root-not-trusted"),
        ("hcl-parse", "pass"),
    ];
    told(&report, "refused", &known);
    beside.collateral = None;
    let report = appraise(&document, &beside, None, NOW).unwrap();
    let known = [
        ("tee", "not-supplied"),
        ("runtime-data", "not-reached"),
        ("quote-signature", "unproved"),
        ("pcr-digest", "unproved"),
    ];
    told(&report, "incomplete", &known);
}

#[test]
fn genuine_evidence_without_its_collateral_is_incomplete() {
    let read = |name: &str| evidence::read(&format!("trustee/az-tdx-vtpm/{name}"));
    let files = (
        read("hcl-report.bin"),
        read("td-quote.bin"),
        read("tpm-quote-v1.json"),
    );
    let (Some(hcl), Some(td_quote), Some(tpm)) = files else {
        return;
    };
    let tpm: serde_json::Value = serde_json::from_slice(&tpm).unwrap();
    let bytes = |value: &serde_json::Value| hex::decode(value.as_str().unwrap()).unwrap();
    let mut pcrs = [[0; 32]; VTPM_REGISTERS];
    for (place, value) in pcrs.iter_mut().zip(tpm["pcrs"].as_array().unwrap()) {
        *place = bytes(value).try_into().unwrap();
    }
    let quote = (bytes(&tpm["message"]), bytes(&tpm["signature"]));
    let guest = VtpmGuest::Azure {
        hcl_report: Base64(hcl),
    };
    let document = VtpmDocument::new(guest, quote, pcrs, Some(td_quote));
    let bytes = document.write().unwrap();
    let report = appraise(&bytes, &Beside::default(), None, NOW).unwrap();
    let known = [
        ("hcl-parse", "pass"),
        ("quote-parse", "pass"),
        ("quote-signature", "unproved"),
    ];
    told(&report, "incomplete", &known);
}
