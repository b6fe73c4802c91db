//! The commands with which a security team puts rules in force and asks which were: as it runs them.

#![expect(
    clippy::unwrap_used,
    reason = "a command that cannot be run is what the tests are for"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use p256::{
    ecdsa::SigningKey,
    pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding},
};
use serde_json::Value;

/// A deployment with a policy directory.
struct Deployment {
    dir: tempfile::TempDir,
}

impl Deployment {
    fn new() -> Self {
        let made = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let policy = made.path("policy");
        assert!(made.run(&["policy", "init", &policy]).status.success());
        made
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_proofroom"))
            .args(arguments)
            .env("XDG_STATE_HOME", self.dir.path())
            .output()
            .unwrap()
    }

    fn activate(&self, reason: &str, more: &[&str]) -> Output {
        let policy = self.path("policy");
        let mut all = vec![
            "policy",
            "activate",
            &policy,
            "--author",
            "sec@acme.example",
        ];
        all.extend(["--reason", reason]);
        all.extend(more);
        self.run(&all)
    }

    fn history(&self, more: &[&str]) -> Vec<Value> {
        let mut all = vec!["policy", "history", "--json"];
        all.extend(more);
        let output = self.run(&all);
        assert!(output.status.success(), "{}", said(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn change(&self, file: &str) {
        let path = self.dir.path().join("policy").join(file);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text + "# changed\n").unwrap();
    }

    fn version(&self, number: u32) -> PathBuf {
        let versions = self.dir.path().join("proofroom/policy-versions");
        versions.join(format!("{number:06}"))
    }

    fn refused(&self, code: &str) {
        let output = self.run(&["policy", "history"]);
        assert_eq!(output.status.code(), Some(64));
        assert!(
            said(&output).contains(&format!("({code})")),
            "{}",
            said(&output)
        );
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn versions_are_kept_with_their_intervals() {
    let deployment = Deployment::new();
    let none = deployment.run(&["policy", "history"]);
    assert!(said(&none).contains("policy-no-history"));
    assert!(deployment.activate("the first", &[]).status.success());
    deployment.change("classification.toml");
    assert!(deployment.activate("the second", &[]).status.success());
    deployment.change("routing.toml");
    let later = ["--from", "2999-01-01T00:00:00Z"];
    assert!(deployment.activate("the third", &later).status.success());
    let all = deployment.history(&[]);
    assert_eq!(all.len(), 3);
    assert_eq!(all[0]["until"], all[1]["from"]);
    assert_eq!(all[1]["until"], "2999-01-01T00:00:00.000Z");
    assert_eq!(all[2]["until"], Value::Null);
    assert_eq!(all[2]["previous"], all[1]["entry"]);
    let of = |version: &Value| version["policies"]["classification"].clone();
    assert_ne!(of(&all[0]), of(&all[1]));
    assert_eq!(of(&all[1]), of(&all[2]));
    let first = all[0]["from"].as_str().unwrap();
    assert_eq!(deployment.history(&["--at", first])[0]["number"], 0);
    assert_eq!(deployment.history(&["--at", "2998-01-01"])[0]["number"], 1);
    assert_eq!(deployment.history(&["--at", "2999-02-01"])[0]["number"], 2);
    let before = deployment.run(&["policy", "history", "--at", "2000-01-01"]);
    assert!(said(&before).contains("policy-none-in-force"));
}

#[test]
fn a_bad_version_is_never_put_in_force() {
    let deployment = Deployment::new();
    let file = deployment.dir.path().join("policy/classification.toml");
    fs::write(&file, "version = 1\nunknown = 1\n").unwrap();
    let refused = deployment.activate("a mistake", &[]);
    assert!(said(&refused).contains("policy-refused"));
    let deployment = Deployment::new();
    let past = deployment.activate("backdated", &["--from", "2001-01-01T00:00:00Z"]);
    assert!(
        said(&past).contains("record-contradiction"),
        "{}",
        said(&past)
    );
    assert!(said(&deployment.activate(" ", &[])).contains("record-contradiction"));
}

#[test]
fn a_history_that_was_tampered_with_is_refused_loudly() {
    let two = || {
        let deployment = Deployment::new();
        for reason in ["one", "two"] {
            let done = deployment.activate(reason, &[]);
            assert!(done.status.success(), "{}", said(&done));
        }
        deployment
    };
    let shortened = two();
    fs::remove_dir_all(shortened.version(1)).unwrap();
    shortened.refused("policy-history-shortened");
    let gone = two();
    fs::remove_dir_all(gone.version(0).parent().unwrap()).unwrap();
    gone.refused("policy-history-shortened");
    let cut = two();
    fs::remove_dir_all(cut.version(0)).unwrap();
    cut.refused("policy-history-broken");
    let swapped = two();
    let entries = [0, 1].map(|number| swapped.version(number).join("entry.dsse.json"));
    fs::copy(&entries[1], &entries[0]).unwrap();
    swapped.refused("policy-history-broken");
    let file = two();
    fs::write(file.version(1).join("routing.toml"), "version = 1\n").unwrap();
    file.refused("policy-history-file-differs");
    let forged = two();
    let anchor = forged.dir.path().join("proofroom/keys/policy-anchor.pem");
    fs::write(anchor, public(&key(5))).unwrap();
    forged.refused("envelope-wrong-key");
    let moved = two();
    fs::write(moved.version(1).join("leaf"), "0").unwrap();
    moved.refused("policy-history-not-in-log");
}

#[test]
fn sessions_take_the_version_in_force_and_refuse_others() {
    let deployment = Deployment::new();
    assert!(deployment.activate("the first", &[]).status.success());
    deployment.change("routing.toml");
    let (policy, here) = (deployment.path("policy"), deployment.path("."));
    let command = ["run", "--repo", &here, "--policy", &policy, "--", "true"];
    let refused = deployment.run(&command);
    assert_eq!(refused.status.code(), Some(64));
    let words = said(&refused);
    assert!(
        words.contains("policy-refused") && words.contains("differs from the version"),
        "{words}"
    );
    // a history that does not hold starts nothing
    fs::remove_dir_all(deployment.version(0)).unwrap();
    let refused = deployment.run(&command);
    assert_eq!(refused.status.code(), Some(64));
    assert!(said(&refused).contains("policy-history-shortened"));
}

#[test]
fn a_security_team_signs_with_its_own_key() {
    let deployment = Deployment::new();
    let (team, next) = (key(3), key(4));
    let write = |name: &str, text: &str| {
        fs::write(deployment.dir.path().join(name), text).unwrap();
        deployment.path(name)
    };
    let pem = |key: &SigningKey| key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string();
    let team_file = write("team.pem", &pem(&team));
    let next_file = write("next.pem", &pem(&next));
    let next_public = write("next.pub.pem", &public(&next));
    let first = deployment.activate("ours", &["--key", &team_file, "--next-key", &next_public]);
    assert!(first.status.success(), "{}", said(&first));
    // neither the deployment nor the first key may go on
    for wrong in [&[][..], &["--key", &team_file]] {
        let refused = deployment.activate("not ours", wrong);
        assert!(
            said(&refused).contains("policy-history-not-successor"),
            "{}",
            said(&refused)
        );
    }
    assert!(
        deployment
            .activate("handed over", &["--key", &next_file])
            .status
            .success()
    );
    let signers: Vec<_> = deployment
        .history(&[])
        .into_iter()
        .map(|version| version["signer"].clone())
        .collect();
    assert_eq!(signers.len(), 2);
    assert_ne!(signers[0], signers[1]);
    assert!(Path::new(&team_file).exists());
}

fn key(byte: u8) -> SigningKey {
    SigningKey::from_slice(&[byte; 32]).unwrap()
}

fn public(key: &SigningKey) -> String {
    let key = key.verifying_key();
    key.to_public_key_pem(LineEnding::LF).unwrap()
}
