//! The commands with which a security team tries its rules: as it runs them.

#![expect(
    clippy::unwrap_used,
    reason = "a command that cannot be run is what the tests are for"
)]

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

const TERM: &str = r#"
[[terms]]
id = "project-names"
terms = ["Project Falcon"]
label = "restricted"
match = ["the plan for project falcon"]
not_match = ["falconry"]
"#;

const EXPIRED: &str = r#"
[[exceptions]]
id = "old-plans"
rule = "project-names"
repositories = ["**"]
globs = ["plans/*"]
owner = "security@acme.example"
reason = "a plan of last year"
expires = "2020-01-01T00:00:00Z"
"#;

fn proofroom(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_proofroom"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A policy directory with `more` at the end of `classification.toml`.
fn policies(dir: &Path, more: &str) -> String {
    let path = dir.join("policies");
    let shown = path.to_str().unwrap().to_owned();
    let made = proofroom(&["policy", "init", &shown], "");
    assert!(made.status.success());
    let file = path.join("classification.toml");
    let text = fs::read_to_string(&file).unwrap() + more;
    fs::write(file, text).unwrap();
    shown
}

#[test]
fn a_secret_is_told_by_its_place_and_never_by_its_value() {
    // put together here, so that no scanner takes this file for a leak
    let secret = ["t7Qk9", "fLw2zVx"].concat();
    let text = format!("hello\n  db_password = \"{secret}\"\n");
    for flag in [&["classify", "-"][..], &["classify", "-", "--json"]] {
        let output = proofroom(flag, &text);
        assert!(output.status.success());
        let told = out(&output);
        assert!(told.contains("credential-assignment"), "{told}");
        assert!(
            !told.contains(&secret) && output.stderr.is_empty(),
            "{told}"
        );
    }
    let told = out(&proofroom(&["classify", "-", "--json"], &text));
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["label"], "restricted");
    assert_eq!(told["findings"][0]["line"], 2);
    assert!(told["findings"][0]["column"].as_u64().unwrap() > 2);
    let clean = out(&proofroom(&["classify", "-"], "fn main() {}\n"));
    assert!(
        clean.contains("level internal: nothing was found"),
        "{clean}"
    );
}

#[test]
fn what_is_no_text_is_unreadable() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("image.png");
    fs::write(&file, b"\x89PNG\r\n\x1a\n\0\xff").unwrap();
    let told = out(&proofroom(&["classify", file.to_str().unwrap()], ""));
    assert!(
        told.contains("level restricted: rule `unreadable-content`"),
        "{told}"
    );
}

#[test]
fn a_term_is_tested_and_simulated_and_an_expired_exception_is_said_aloud() {
    let dir = tempfile::tempdir().unwrap();
    let policy = policies(dir.path(), &[TERM, EXPIRED].concat());
    let tested = proofroom(&["policy", "test", &policy], "");
    assert!(tested.status.success(), "{tested:?}");
    let told = out(&tested);
    assert!(
        told.contains("holds  classification.toml  terms[1] (`project-names`).match[1]"),
        "{told}"
    );
    assert!(
        told.contains("holds  routing.toml  rules[1] (`confidential-in-tee`).match[1]"),
        "{told}"
    );
    assert!(
        told.contains("`restricted` to an unattested tier: 0"),
        "{told}"
    );
    let tree = dir.path().join("acme");
    fs::create_dir_all(tree.join("plans")).unwrap();
    fs::write(tree.join("plans/q1.md"), "Project Falcon ships in May\n").unwrap();
    fs::write(tree.join("main.rs"), "fn main() {}\n").unwrap();
    let shown = tree.to_str().unwrap();
    let simulated = proofroom(&["policy", "simulate", shown, "--policy", &policy], "");
    let told = out(&simulated);
    assert!(
        told.contains("restricted  \"plans/q1.md\"  project-names x1"),
        "{told}"
    );
    assert!(
        told.contains("internal 1, confidential 0, restricted 1"),
        "{told}"
    );
    let warned = String::from_utf8(simulated.stderr).unwrap();
    assert!(
        warned.contains(
            "exception `old-plans` of security@acme.example has expired and is not applied"
        ),
        "{warned}"
    );
    let checked = proofroom(&["policy", "check", &policy], "");
    assert!(
        String::from_utf8(checked.stderr)
            .unwrap()
            .contains("`old-plans`")
    );
    let lines = out(&proofroom(
        &["policy", "simulate", shown, "--policy", &policy, "--json"],
        "",
    ));
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(first["path"], "main.rs");
}

#[test]
fn an_example_that_fails_is_named_and_ends_with_its_own_code() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = TERM.replace("\"falconry\"", "\"project falcon\"");
    let policy = policies(dir.path(), &wrong);
    let tested = proofroom(&["policy", "test", &policy], "");
    assert_eq!(tested.status.code(), Some(10));
    assert!(
        out(&tested)
            .contains("FAILS  classification.toml  terms[1] (`project-names`).not_match[1]")
    );
    let judged = proofroom(&["classify", "-", "--policy", &policy], "x");
    assert_eq!(judged.status.code(), Some(64));
}
