//! `proofroom find-value`, as whoever looks for a known secret runs it.

#![expect(
    clippy::unwrap_used,
    reason = "a command that cannot be run is what the tests are for"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use p256::pkcs8::{EncodePublicKey as _, LineEnding};
use proofroom::{keys::DeploymentKeys, state::StateDir};
use proofroom_canonical::{Digest, Nonce, RunId, SessionId, Timestamp};
use proofroom_record::{predicate::seal, statement::ModelRun};
use serde_json::json;

const VALUE: &str = "not-a-real-value-4711";

/// A deployment in a folder, and the record of a run in whose request `VALUE` was found.
struct Case {
    folder: tempfile::TempDir,
}

fn run_of(keys: &DeploymentKeys, committed: bool) -> ModelRun {
    let blinding = Nonce::from_random([3; 32]);
    let key = keys.commitments();
    let digest = Digest::of("something");
    let run = json!({
        "run": RunId::from_random([1; 16]), "session": SessionId::from_random([2; 16]), "sequence": 0,
        "session_binding": digest, "caller": "spiffe://test/agent",
        "request": {"endpoint": "/v1/messages", "model": "m", "stream": false, "received": digest,
            "received_bytes": 1},
        "classification": {"label": "restricted", "high_water_before": "public",
            "high_water_after": "restricted", "policy": digest,
            "findings": [{"rule": "json-web-token", "reason": "r", "label": "restricted", "count": 1}]},
        "routing": {"rule": "r", "policy": digest, "rejected": []},
        "status": "refused", "failure": {"code": "label-requires-tier", "reason": "no"},
        "started": Timestamp::from_unix_seconds(1), "finished": Timestamp::from_unix_seconds(1),
        "blinding": blinding,
    });
    let mut run: ModelRun = serde_json::from_value(run).unwrap();
    if committed {
        let commitment = key.of_run(&blinding).commit("json-web-token", VALUE);
        let findings = run.classification.findings.iter_mut();
        findings.for_each(|finding| finding.commitments = vec![commitment]);
        run.classification.commitment_key = Some(key.id());
    }
    run
}

impl Case {
    fn new(committed: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(&folder.path().join("state")).unwrap();
        let now = Timestamp::from_unix_seconds(1_796_083_200);
        let keys = DeploymentKeys::open(&state.keys(), "proofroom.internal", now).unwrap();
        let sealed = seal(&run_of(&keys, committed), keys.gateway()).unwrap();
        fs::write(folder.path().join("record"), sealed.bytes).unwrap();
        let public = keys.gateway().verifying_key();
        let pem = public.to_public_key_pem(LineEnding::LF).unwrap();
        fs::write(folder.path().join("gateway.pem"), pem).unwrap();
        fs::write(folder.path().join("right"), format!("{VALUE}\n")).unwrap();
        fs::write(folder.path().join("wrong"), "not-a-real-value-4712").unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ask(&self, value: &str, more: &[&str]) -> Output {
        let file = |name: &&str| match self.path(name) {
            path if Path::new(&path).exists() => path,
            _ => PathBuf::from(name),
        };
        Command::new(env!("CARGO_BIN_EXE_proofroom"))
            .arg("find-value")
            .arg("--record")
            .arg(self.path("record"))
            .arg(self.path(value))
            .args(more.iter().map(file))
            .output()
            .unwrap()
    }
}

fn said(output: &Output) -> String {
    let all = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8(all).unwrap()
}

#[test]
fn the_deployment_finds_the_value_and_no_other_and_repeats_neither() {
    let case = Case::new(true);
    let right = case.ask("right", &["--state", "state"]);
    assert_eq!(right.status.code(), Some(0), "{}", said(&right));
    assert!(
        said(&right).contains("found: in the request") && said(&right).contains("`json-web-token`")
    );
    let wrong = case.ask("wrong", &["--state", "state"]);
    assert_eq!(wrong.status.code(), Some(10));
    for output in [right, wrong] {
        assert!(!said(&output).contains("not-a-real-value"));
    }
}

#[test]
fn a_revealed_key_opens_its_record_for_somebody_else() {
    let case = Case::new(true);
    let revealed = said(&case.ask("right", &["--state", "state", "--reveal"]));
    let key = revealed
        .lines()
        .next()
        .and_then(|line| line.rsplit(' ').next());
    fs::write(case.path("key"), key.unwrap()).unwrap();
    fs::remove_dir_all(case.path("state")).unwrap();
    let by_key = ["--run-key", "key", "--gateway-key", "gateway.pem"];
    assert_eq!(case.ask("right", &by_key).status.code(), Some(0));
    let wrong = case.ask("wrong", &by_key);
    assert_eq!(wrong.status.code(), Some(10));
    // a key of another run opens nothing either, and nothing tells the two apart
    assert!(said(&wrong).contains("or the key is not the one of that run"));
    fs::write(case.path("key"), "00").unwrap();
    assert!(said(&case.ask("right", &by_key)).contains("(run-key)"));
}

#[test]
fn what_cannot_be_opened_is_said_and_not_taken_for_another_value() {
    let without = Case::new(false);
    let output = without.ask("right", &["--state", "state"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(said(&output).contains("(no-commitments)"));
    fs::write(without.path("key"), "00".repeat(32)).unwrap();
    let by_key = ["--run-key", "key", "--gateway-key", "gateway.pem"];
    let output = without.ask("right", &by_key);
    assert_eq!(output.status.code(), Some(64), "{}", said(&output));
    let case = Case::new(true);
    // another deployment did not sign the record
    let other = Case::new(true);
    fs::copy(other.path("record"), case.path("record")).unwrap();
    assert_eq!(
        case.ask("right", &["--state", "state"]).status.code(),
        Some(64)
    );
    // and another key of commitments opens nothing
    let case = Case::new(true);
    fs::remove_file(case.path("state/keys/commitment.key")).unwrap();
    let output = case.ask("right", &["--state", "state"]);
    assert!(
        said(&output).contains("made with another key"),
        "{}",
        said(&output)
    );
}

#[test]
fn whoever_types_the_value_itself_does_not_find_it_in_what_is_printed() {
    let case = Case::new(true);
    let output = case.ask(VALUE, &["--state", "state"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(!said(&output).contains(VALUE), "{}", said(&output));
}
