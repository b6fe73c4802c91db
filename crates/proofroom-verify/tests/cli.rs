//! The program as a person or a script calls it: exit codes, streams, pinning.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "a test: what does not hold ends it"
)]

#[path = "../../record/tests/bundle/fixture.rs"]
mod fixture;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use proofroom_record::{bundle::archive, ladder::write_bundle};

fn verify(arguments: &[&str], dir: &Path) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_proofroom-verify"))
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let bytes = write_bundle(&fixture::Fixture::default().parts()).unwrap();
    let files = archive::read(&bytes).unwrap();
    fs::write(dir.path().join("s.proofroom"), &bytes).unwrap();
    fs::write(dir.path().join("cut.proofroom"), &bytes[..bytes.len() - 1]).unwrap();
    for name in ["ca.pem", "log.vkey", "session.pem"] {
        fs::write(dir.path().join(name), &files[&format!("trust/{name}")]).unwrap();
    }
    dir
}

const AT: [&str; 2] = ["--at", "2026-11-24T10:00:00Z"];

#[test]
fn exit_codes_say_what_the_transcript_says() {
    let dir = folder();
    let run = |arguments: &[&str]| verify(&[arguments, &AT[..]].concat(), dir.path());
    let (code, out, err) = run(&["s.proofroom"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(
        out.contains("Verdict: accepted, with trust anchors from the bundle"),
        "{out}"
    );
    assert!(out.contains("\nNot proven: "), "{out}");
    let (code, out, _) = run(&["s.proofroom", "--ca", "ca.pem", "--log-key", "log.vkey"]);
    assert_eq!(code, 0);
    assert!(
        out.contains("Verdict: accepted, with the pinned trust anchors"),
        "{out}"
    );
    let (code, out, _) = run(&["s.proofroom", "--ca", "session.pem"]);
    assert_eq!(code, 10);
    assert!(
        out.contains("Verdict: rejected") && out.contains("\nNot proven: "),
        "{out}"
    );
    let (code, out, _) = run(&["cut.proofroom"]);
    assert_eq!(code, 30);
    assert!(
        out.contains("Verdict: malformed") && out.contains("\nNot proven: "),
        "{out}"
    );
}

#[test]
fn the_json_carries_verdict_checks_and_caveats() {
    let dir = folder();
    let (code, out, _) = verify(&["--json", "s.proofroom", AT[0], AT[1]], dir.path());
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 0);
    assert_eq!(report["verdict"], "accepted");
    assert_eq!(report["exit_code"], 0);
    assert_eq!(report["checks"][0]["name"], "bytes");
    assert_eq!(report["checks"][0]["outcome"], "pass");
    assert!(
        report["remarks"][0]
            .as_str()
            .unwrap()
            .starts_with("SIMULATED")
    );
    assert!(!report["not_proven"].as_array().unwrap().is_empty());
}

#[test]
fn wrong_usage_is_64_and_help_is_0() {
    let dir = folder();
    assert_eq!(verify(&[], dir.path()).0, 64);
    assert_eq!(verify(&["absent.proofroom"], dir.path()).0, 64);
    assert_eq!(
        verify(&["s.proofroom", "--ca", "absent.pem"], dir.path()).0,
        64
    );
    assert_eq!(
        verify(&["s.proofroom", "--at", "yesterday"], dir.path()).0,
        64
    );
    assert_eq!(verify(&["--help"], dir.path()).0, 0);
}
