//! `proofroom appraise` as a process: exit codes, words and JSON.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{fs, io::Write as _, path::Path, process::Command};

use p256::pkcs8::{EncodePrivateKey as _, LineEnding};
use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_testkit::{gcp::SimulatedGuest, tee::SimulatedTee};
use proofroom_verifier::SIMULATED_UPSTREAM;
use serde_json::Value;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_790_000_000);
const NONCE: Nonce = Nonce::from_random([7; 32]);

fn run(dir: &Path, arguments: &[&str]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_proofroom"))
        .arg("appraise")
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        done.status.code().unwrap(),
        text(&done.stdout),
        text(&done.stderr),
    )
}

fn prepared() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let document = SimulatedTee::demo().evidence_document(NONCE, Digest::of("k"), "any", NOW);
    fs::write(dir.path().join("evidence"), document).unwrap();
    fs::write(dir.path().join("policy.toml"), SIMULATED_UPSTREAM).unwrap();
    dir
}

#[test]
fn the_exit_code_is_the_end_and_the_words_say_why() {
    let dir = prepared();
    let (at, nonce) = (NOW.to_string(), NONCE.to_string());
    let policy = ["evidence", "--policy", "policy.toml", "--at", &at];
    let (code, out, _) = run(dir.path(), &[&policy[..], &["--nonce", &nonce]].concat());
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("ACCEPTED, SIMULATED"), "{out}");

    let (code, out, _) = run(dir.path(), &policy);
    assert_eq!(code, 11, "{out}");
    assert!(out.contains("nonce: evidence from an archive"), "{out}");

    let (code, out, _) = run(dir.path(), &["evidence"]);
    assert_eq!(code, 10, "{out}");
    assert!(out.contains("(now)") && out.contains("none, so nothing can be accepted"));
}

#[test]
fn json_holds_both_times_and_the_vector() {
    let dir = prepared();
    let at = NOW.to_string();
    let (code, out, _) = run(
        dir.path(),
        &[
            "evidence",
            "--policy",
            "policy.toml",
            "--at",
            &at,
            "--also-now",
            "--json",
            "--ear",
        ],
    );
    assert_eq!(code, 11, "{out}");
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["format"], "proofroom.appraisal.v1");
    assert_eq!(value["report"]["end"], "incomplete");
    assert_eq!(value["report"]["at"], at);
    assert_eq!(value["now"]["end"], "refused");
    assert_eq!(value["report"]["policy"]["assurance"], "simulated");
    let appraisal = &value["ear"]["submods"]["upstream-evidence"];
    assert_eq!(appraisal["ear_status"], "none");
}

#[test]
fn what_is_no_evidence_is_said_with_what_was_looked_for() {
    let dir = prepared();
    let (code, _, err) = run(dir.path(), &["policy.toml"]);
    assert_eq!(code, 20, "{err}");
    assert!(
        err.contains("SEV-SNP") && err.contains("evidence-unknown"),
        "{err}"
    );
    let (code, _, err) = run(dir.path(), &["no-such-file"]);
    assert_eq!(code, 64, "{err}");
}

#[test]
fn a_bare_quote_finds_its_platform_in_a_directory_of_collateral() {
    let dir = prepared();
    let tee = SimulatedTee::demo();
    let plan = tee.plan(NONCE, Digest::of("k"), "any", NOW);
    fs::write(dir.path().join("quote"), tee.quote(&plan.td, [9; 64])).unwrap();
    let data = "09".repeat(64);
    let at = "2026-09-21T14:13:20Z";
    assert_eq!(NOW.to_string(), "2026-09-21T14:13:20.000Z");
    let arguments = [
        "quote",
        "--policy",
        "policy.toml",
        "--collateral",
        ".",
        "--report-data",
        &data,
        "--at",
        at,
    ];
    let (code, _, err) = run(dir.path(), &arguments);
    assert_eq!(code, 64, "{err}");
    assert!(err.contains("collateral-missing"), "{err}");
    let file = format!("{}.json", hex::encode(plan.tcb_fmspc));
    let collateral = serde_json::to_vec(&tee.collateral(&plan)).unwrap();
    fs::write(dir.path().join(file), collateral).unwrap();
    let (code, out, err) = run(dir.path(), &arguments);
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, _) = run(dir.path(), &[&arguments[..], &["--archived"]].concat());
    assert_eq!(code, 11, "{out}");
}

#[test]
fn a_guest_with_a_virtual_tpm_is_judged_with_collateral_from_a_file_or_a_directory() {
    let guest = SimulatedGuest::from_seed([3; 32], NOW);
    let document = guest.document(NONCE.as_bytes(), guest.bound(NONCE.as_bytes()));
    let collateral = serde_json::to_vec(&SimulatedTee::demo().collateral(&guest.plan)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    write("evidence", &document.write().unwrap());
    write("policy.toml", guest.policy("nonce-and-key").as_bytes());
    write("collateral.json", &collateral);
    let file = format!("{}.json", hex::encode(guest.plan.tcb_fmspc));
    write(&file, &collateral);
    let (at, nonce) = (NOW.to_string(), NONCE.to_string());
    let judged = ["evidence", "--at", &at, "--nonce", &nonce];
    let under_policy = [&judged[..], &["--policy", "policy.toml"]].concat();
    for path in ["collateral.json", "."] {
        let (code, out, err) = run(
            dir.path(),
            &[&under_policy[..], &["--collateral", path]].concat(),
        );
        assert_eq!(code, 0, "{out}{err}");
        assert!(out.contains("ACCEPTED, SIMULATED"), "{out}");
    }
    let (code, out, _) = run(dir.path(), &[&under_policy[..], &["--json"]].concat());
    assert_eq!(code, 11, "{out}");
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["report"]["kind"], "vtpm-evidence");
    // without a policy Google's own root alone would do, and this one is simulated
    let (code, out, _) = run(dir.path(), &judged);
    assert_eq!(code, 10, "{out}");
    assert!(out.contains("root-not-trusted"), "{out}");
}

/// Written past the test harness, which hides what passing tests print.
fn skipped(what: &str) {
    std::io::stderr()
        .write_all(format!("SKIPPED: {what}\n").as_bytes())
        .unwrap();
}

const READER: &str = r#"
import base64, json, sys
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
raw = lambda part: base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
head, body, signature = open("ear.jwt").read().split(".")
r, s = (int.from_bytes(half, "big") for half in (raw(signature)[:32], raw(signature)[32:]))
key = load_pem_private_key(open("key.pem", "rb").read(), None).public_key()
key.verify(utils.encode_dss_signature(r, s), f"{head}.{body}".encode(), ec.ECDSA(SHA256()))
print(json.loads(raw(body))["submods"]["upstream-evidence"]["ear_status"])
"#;

#[test]
fn another_library_reads_a_signed_result() {
    let dir = prepared();
    let key = p256::ecdsa::SigningKey::from_slice(&[1; 32]).unwrap();
    let pem = key.to_pkcs8_pem(LineEnding::LF).unwrap();
    fs::write(dir.path().join("key.pem"), pem.as_bytes()).unwrap();
    let sign = ["evidence", "--ear-token", "ear.jwt", "--sign", "key.pem"];
    let (code, out, err) = run(dir.path(), &sign);
    assert_eq!(code, 10, "{out}{err}");
    assert!(dir.path().join("ear.jwt").is_file());
    let (code, _, _) = run(dir.path(), &["evidence", "--ear-token", "ear.jwt"]);
    assert_ne!(code, 10, "a token without a key");
    let Some(python) = std::env::var_os("PROOFROOM_PYTHON") else {
        return skipped("no other library looked at a signed EAR; set PROOFROOM_PYTHON");
    };
    let read = Command::new(python)
        .args(["-c", READER])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&read.stdout);
    assert_eq!(
        said.trim(),
        "contraindicated",
        "{}",
        String::from_utf8_lossy(&read.stderr)
    );
}
