//! The walks in the documents, executed: every command block runs, in order and in one directory, and
//! says what the document says that it says.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

use proofroom_e2e::{Upstream, program, repository_root};

/// A block of commands and the lines that their output must have, in this order.
struct Step {
    commands: String,
    wanted: Vec<String>,
}

/// The steps of a document: a `sh` block, and the `text` block right behind it, if there is one.
fn steps(document: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut blocks = document.split("```");
    // what stands before a block is prose
    blocks.next();
    while let (Some(block), prose) = (blocks.next(), blocks.next()) {
        let (kind, body) = block.split_once('\n').expect("a block has lines");
        match kind {
            "sh" => steps.push(Step {
                commands: body.to_owned(),
                wanted: Vec::new(),
            }),
            "text" => {
                let step = steps.last_mut().expect("output belongs to commands");
                assert!(step.wanted.is_empty(), "two outputs for one block");
                step.wanted = body.lines().map(str::to_owned).collect();
            }
            other => panic!("unknown block `{other}`"),
        }
        assert!(prose.is_some(), "a block is not closed");
    }
    steps
}

/// Whether the pieces of `wanted` between its dots stand in `line`, in this order.
fn has(line: &str, wanted: &str) -> bool {
    let mut rest = line;
    wanted
        .split('…')
        .all(|piece| match rest.split_once(piece.trim()) {
            Some((_, behind)) => {
                rest = behind;
                true
            }
            None => false,
        })
}

fn run(step: &Step, dir: &Path, server: &str) {
    let programs = program("proofroom");
    let path = format!(
        "{}:{}",
        programs.parent().expect("a directory").display(),
        env::var("PATH").expect("PATH")
    );
    let output = Command::new("bash")
        .args([
            "-e",
            "-u",
            "-o",
            "pipefail",
            "-c",
            &format!("exec 2>&1\n{}", step.commands),
        ])
        .current_dir(dir)
        .env("PATH", path)
        .env("SERVER", server)
        .env("MODEL", "cassette-standard")
        .env("XDG_STATE_HOME", dir.join("state"))
        .env("HOME", dir)
        .stdin(Stdio::null())
        .output()
        .expect("bash starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\nsaid: {said}", step.commands);
    let mut lines = said.lines();
    for wanted in &step.wanted {
        assert!(
            lines.any(|line| has(line, wanted)),
            "no line `{wanted}` (in its place) after\n{}\nsaid: {said}",
            step.commands
        );
    }
}

#[test]
fn the_security_engineers_week_goes_as_it_is_written() {
    let document = repository_root().join("docs/walks/security-engineer.md");
    let document = fs::read_to_string(document).expect("the walk");
    let steps = steps(&document);
    assert!(steps.len() > 8, "{} steps", steps.len());
    let hello = repository_root().join("crates/testkit/cassettes/hello.json");
    let upstream = Upstream::start(&hello, &[]);
    let server = format!("http://{}/v1", upstream.address);
    let dir = tempfile::tempdir().expect("a directory");
    for step in &steps {
        run(step, dir.path(), &server);
    }
}

#[test]
fn a_document_that_says_something_else_fails() {
    assert!(has(
        "  version 1, in force from 2026",
        "version 1, in force from …"
    ));
    assert!(!has(
        "  version 2, in force from 2026",
        "version 1, in force from …"
    ));
    assert!(!has("b a", "a…b"));
    let read = steps("x\n```sh\ntrue\n```\n```text\nout\n```\n");
    assert_eq!((read.len(), read[0].wanted.len()), (1, 1));
}
