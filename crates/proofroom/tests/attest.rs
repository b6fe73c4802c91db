//! `proofroom attest` over the FUSE double of the kernel's interface, and what `proofroom appraise` says of
//! what it makes. Where this user may not mount FUSE the tests say so and prove nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests"
)]

use std::{fs, path::Path, process::Command};

use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_evidence::Challenge;
use proofroom_testkit::{
    tee::SimulatedTee,
    tsm::{TsmDouble, TsmOptions, TsmProvider},
};
use serde_json::Value;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_790_000_000);
const NONCE: Nonce = Nonce::from_random([7; 32]);
const OTHER: Nonce = Nonce::from_random([8; 32]);

fn run(dir: &Path, arguments: &[&str]) -> (i32, Value, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_proofroom"))
        .args(arguments)
        .arg("--json")
        .current_dir(dir)
        .output()
        .unwrap();
    let said = serde_json::from_slice(&done.stdout).unwrap_or(Value::Null);
    let complaint = String::from_utf8_lossy(&done.stderr).into_owned();
    (done.status.code().unwrap(), said, complaint)
}

fn guest(dir: &Path, provider: TsmProvider) -> Option<TsmDouble> {
    let at = dir.join("guest");
    fs::create_dir(&at).unwrap();
    let options = TsmOptions {
        provider,
        ..TsmOptions::default()
    };
    TsmDouble::mount(&at, SimulatedTee::demo(), options)
        .inspect_err(|error| eprintln!("SKIPPED: FUSE cannot be mounted here: {error}"))
        .ok()
}

fn attest(dir: &Path) -> (i32, Value, String) {
    let nonce = NONCE.to_string();
    let reports = ["--reports", "guest/report"];
    let rest = ["--nonce", &nonce, "--out", "evidence"];
    run(dir, &[&["attest"][..], &rest, &reports].concat())
}

/// Intel's word on the simulated platform, in the directory.
fn endorse(dir: &Path) {
    let tee = SimulatedTee::demo();
    let plan = tee.plan(NONCE, Digest::of("k"), "any", NOW);
    let file = format!("{}.json", hex::encode(plan.tcb_fmspc));
    let collateral = serde_json::to_vec(&tee.collateral(&plan)).unwrap();
    fs::write(dir.join(file), collateral).unwrap();
    let policy = proofroom_verifier::SIMULATED_UPSTREAM;
    fs::write(dir.join("policy.toml"), policy).unwrap();
}

/// How the appraisal ends, and what it says of the binding to `nonce`.
fn appraised(dir: &Path, nonce: Nonce) -> (i32, Value) {
    let (nonce, at) = (nonce.to_string(), NOW.to_string());
    let beside = ["--collateral", ".", "--policy", "policy.toml"];
    let asked = ["--nonce", &nonce, "--at", &at];
    let arguments = [&["appraise", "evidence"][..], &beside, &asked].concat();
    let (code, said, complaint) = run(dir, &arguments);
    let checks = said["report"]["checks"]
        .as_array()
        .unwrap_or_else(|| panic!("{complaint}"));
    let named = |check: &&Value| check["check"] == "report-data-binding";
    let binding = checks.iter().find(named).unwrap();
    (code, binding["outcome"].clone())
}

#[test]
fn a_quote_answers_its_nonce_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_double) = guest(dir.path(), TsmProvider::Tdx) else {
        return;
    };
    let (code, said, complaint) = attest(dir.path());
    assert_eq!(code, 0, "{complaint}");
    assert_eq!(said["kind"], "tdx");
    assert_eq!(
        said["statement"],
        format!(r#"{{"purpose":"proofroom.challenge.v1","nonce":"{NONCE}"}}"#)
    );
    endorse(dir.path());
    assert_eq!(appraised(dir.path(), NONCE), (0, "pass".into()));
    assert_eq!(appraised(dir.path(), OTHER), (10, "fail".into()));
    let (code, _, complaint) = attest(dir.path());
    assert_eq!(code, 64, "an existing file was written over: {complaint}");
}

#[test]
fn a_report_of_sev_snp_carries_the_challenge() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_double) = guest(dir.path(), TsmProvider::SevSnp) else {
        return;
    };
    let (code, said, complaint) = attest(dir.path());
    assert_eq!(code, 0, "{complaint}");
    assert_eq!(said["kind"], "sev-snp");
    // nobody signs the double's reports: SEV-SNP ABI, REPORT_DATA at 50h
    let report = fs::read(dir.path().join("evidence")).unwrap();
    let expected = Challenge::new(NONCE).report_data();
    assert_eq!(&report[0x50..0x90], expected.as_bytes());
}

#[test]
fn a_machine_that_cannot_attest_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let (code, _, complaint) = attest(dir.path());
    assert_eq!(code, 69, "{complaint}");
    assert!(complaint.contains("guest/report"), "{complaint}");
    assert!(!dir.path().join("evidence").exists());
}
