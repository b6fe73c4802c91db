//! `proofroom layer` as a person uses it: exit codes, both streams, and what is on disk afterwards.

#![expect(clippy::expect_used, reason = "a broken set-up must fail its test")]

use std::{
    fs,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

fn layer(state: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_proofroom"))
        .arg("layer")
        .args(arguments)
        .arg("--state")
        .arg(state)
        .arg("--json")
        .output()
        .expect("the program runs")
}

fn last_line(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().expect("something was said");
    serde_json::from_str(line).expect("each line is JSON")
}

fn code(output: &Output) -> (Option<i32>, String) {
    let text = String::from_utf8_lossy(&output.stderr);
    let code = text.trim_end().rsplit('(').next().unwrap_or_default();
    (output.status.code(), code.trim_end_matches(')').to_owned())
}

#[test]
fn a_layer_is_built_listed_verified_and_named_when_it_is_damaged() {
    if Command::new("mkfs.erofs").arg("-V").output().is_err() {
        eprintln!("SKIPPED: `mkfs.erofs` (package erofs-utils) is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let from = dir.path().join("from");
    fs::create_dir(&from).unwrap();
    fs::write(from.join("tool"), vec![b'x'; 20_000]).unwrap();
    let from = from.to_str().unwrap();

    let built = layer(
        &state,
        &[
            "build",
            "--name",
            "tools",
            "--from",
            from,
            "--compression=none",
        ],
    );
    assert_eq!(built.status.code(), Some(0), "{built:?}");
    let built = last_line(&built);
    let root = built["root"].as_str().unwrap();
    assert_eq!(last_line(&layer(&state, &["list"]))["root"], root);
    for wanted in ["tools", root] {
        let verified = layer(&state, &["verify", wanted]);
        assert_eq!(verified.status.code(), Some(0));
        assert_eq!(last_line(&verified)["type"], "verified");
    }

    let image = state.join("layers").join(root).join("layer.img");
    fs::set_permissions(&image, fs::Permissions::from_mode(0o644)).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&image).unwrap();
    file.write_all_at(b"y", 2 * 4096).unwrap();
    let refused = layer(&state, &["verify", "tools"]);
    assert_eq!(
        code(&refused),
        (Some(1), "layer-data-block-corrupt".to_owned())
    );
    assert!(String::from_utf8_lossy(&refused.stderr).contains("block 2 "));
}

#[test]
fn requests_that_cannot_be_are_usage_errors() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let usage = |code: &str| (Some(64), code.to_owned());
    let refused = layer(&state, &["verify", "none"]);
    assert_eq!(code(&refused), usage("layer-unknown"));
    let refused = layer(&state, &["build", "--name=x", "--packages=--yes"]);
    assert_eq!(code(&refused), usage("layer-package-name"));
    let refused = layer(&state, &["build", "--name=x", "--from=/nonexistent"]);
    assert_eq!(code(&refused), usage("layer-disk"));
    let layers = state.join("layers");
    assert!(!layers.exists() || fs::read_dir(layers).unwrap().count() == 0);
}
