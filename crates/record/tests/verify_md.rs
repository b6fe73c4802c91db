//! `VERIFY.md` is run, block by block, against a real bundle, with public tools only. Needs a Python
//! with securesystemslib, in-toto-attestation and cryptography, named by `PROOFROOM_PYTHON`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "a test: what does not hold ends it"
)]

#[path = "bundle/fixture.rs"]
mod fixture;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use proofroom_record::{
    bundle::{Files, archive},
    ladder::write_bundle,
    statement::Signer,
};

/// The commands of the page, in order, as one script.
fn script(page: &str) -> String {
    let blocks = page.split("\n```sh\n").skip(1);
    let commands: Vec<&str> = blocks
        .map(|rest| rest.split_once("\n```\n").expect("an unclosed block").0)
        .collect();
    assert!(commands.len() >= 8, "only {} blocks", commands.len());
    commands.join("\n")
}

fn python() -> Option<PathBuf> {
    let python = env::var_os("PROOFROOM_PYTHON").map(PathBuf::from);
    if python.is_none() {
        println!("SKIPPED: PROOFROOM_PYTHON names no Python; VERIFY.md was NOT run");
    }
    python
}

fn unpack(files: &Files, dir: &Path) {
    for (name, bytes) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn run(files: &Files, python: &Path) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let wrapper = format!("#!/bin/sh\nexec '{}' \"$@\"\n", python.display());
    fs::write(bin.join("python3"), wrapper).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(bin.join("python3"), mode).unwrap();
    let pack = dir.path().join("pack");
    unpack(files, &pack);
    let page = String::from_utf8(files["VERIFY.md"].clone()).unwrap();
    let path = format!("{}:{}", bin.display(), env::var("PATH").unwrap());
    Command::new("sh")
        .args(["-c", &script(&page)])
        .current_dir(pack)
        .env("PATH", path)
        .env("TMPDIR", dir.path())
        .output()
        .unwrap()
}

fn both(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn a_stranger_verifies_the_bundle_with_public_tools() {
    let Some(python) = python() else { return };
    for signer in [Signer::Session, Signer::Gateway] {
        let fixture = fixture::Fixture {
            signer,
            ..fixture::Fixture::default()
        };
        let files = archive::read(&write_bundle(&fixture.parts()).unwrap()).unwrap();
        let output = run(&files, &python);
        assert!(output.status.success(), "{}", both(&output));
        let text = both(&output);
        assert!(
            text.contains("records/session.tlog-proof") || text.contains("index 5"),
            "{text}"
        );
        assert_eq!(text.matches("Verified OK").count(), 5, "{text}");
        assert!(text.contains("Signature Verified Successfully"), "{text}");
    }
}

#[test]
fn the_stranger_notices_what_was_changed() {
    let Some(python) = python() else { return };
    let good = archive::read(&write_bundle(&fixture::Fixture::default().parts()).unwrap()).unwrap();
    let edits: [(&str, &str, &str); 6] = [
        (
            "records/0000-model-run.dsse.json",
            "\"payload\":\"e",
            "\"payload\":\"f",
        ),
        ("events.jsonl", "8.8.8.8", "9.9.9.9"),
        ("records/0001-model-run.tlog-proof", "index 3", "index 2"),
        ("log/checkpoint", "\n7\n", "\n8\n"),
        ("trust/policies/room.toml", "#", "##"),
        ("binding.json", "{", "{ "),
    ];
    for (name, from, to) in edits {
        let mut files = good.clone();
        let text = String::from_utf8(files[name].clone()).unwrap();
        files.insert(name.to_owned(), text.replacen(from, to, 1).into_bytes());
        let manifest = proofroom_record::bundle::manifest(&files);
        files.insert("MANIFEST.sha256".to_owned(), manifest);
        let output = run(&files, &python);
        assert!(
            !output.status.success(),
            "{name} was changed and nobody noticed:\n{}",
            both(&output)
        );
    }
}
