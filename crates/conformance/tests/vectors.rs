//! Every vector through the production code, and through a second implementation in another language
//! that shares nothing with it but the specification. `PROOFROOM_PYTHON` names a Python with
//! `cryptography` and `lxml`; without it, and without the evidence kit, the tests say aloud what they skipped.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use proofroom_conformance::{Answer, Vector, answer, load_all, make};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors")
}

/// Written past the test harness, which hides what passing tests print.
fn skipped(what: &str) {
    std::io::stderr()
        .write_all(format!("SKIPPED: {what}\n").as_bytes())
        .unwrap();
}

fn kit() -> Option<PathBuf> {
    if let Some(named) = env::var_os("PROOFROOM_EVIDENCE_DIR") {
        return Some(named.into());
    }
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .skip(3) // this crate, `crates`, the repository
        .map(|parent| parent.join("shared/evidence"))
        .find(|candidate| candidate.is_dir())
}

/// The vectors that can be asked about here; the names of the others are printed.
fn vectors() -> Vec<Vector> {
    let all = load_all(&root(), kit().as_deref()).unwrap();
    assert!(all.len() > 100, "only {} vectors", all.len());
    let (asked, missing): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.request.is_some());
    if !missing.is_empty() {
        let count = missing.len();
        skipped(&format!(
            "{count} vectors read genuine evidence that is not here; set PROOFROOM_EVIDENCE_DIR"
        ));
    }
    asked
}

#[track_caller]
fn agree(who: &str, vectors: &[Vector], answers: &[Answer]) {
    assert_eq!(vectors.len(), answers.len(), "{who} did not answer each");
    let wrong: Vec<String> = vectors
        .iter()
        .zip(answers)
        .filter(|(vector, answer)| vector.expected != **answer)
        .map(|(vector, answer)| {
            let (name, expected) = (&vector.name, &vector.expected);
            format!("{name}\n  expected {expected:?}\n  got      {answer:?}")
        })
        .collect();
    assert!(wrong.is_empty(), "{who} disagrees:\n{}", wrong.join("\n"));
}

#[test]
fn the_production_code_answers_as_expected() {
    let vectors = vectors();
    let answers: Vec<Answer> = vectors
        .iter()
        .map(|vector| answer(vector.request.as_ref().unwrap()))
        .collect();
    agree("the production code", &vectors, &answers);
}

#[test]
fn the_program_answers_line_by_line() {
    let vectors = vectors();
    let program = env!("CARGO_BIN_EXE_proofroom-conformance");
    let answers = asked(&mut Command::new(program), &vectors);
    agree("the program", &vectors, &answers);
}

#[test]
fn a_second_implementation_in_another_language_agrees() {
    let Some(python) = env::var_os("PROOFROOM_PYTHON") else {
        skipped("PROOFROOM_PYTHON names no Python; the second opinion was NOT asked");
        return;
    };
    let vectors = vectors();
    let mut command = Command::new(python);
    command.arg(root().join("second-opinion/answer.py"));
    let answers = asked(&mut command, &vectors);
    agree("the second opinion", &vectors, &answers);
}

/// The answers of a program to all requests.
fn asked(command: &mut Command, vectors: &[Vector]) -> Vec<Answer> {
    let requests: Vec<u8> = vectors
        .iter()
        .flat_map(|vector| {
            let mut line = serde_json::to_vec(vector.request.as_ref().unwrap()).unwrap();
            line.push(b'\n');
            line
        })
        .collect();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(&requests));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_line_that_is_no_request_ends_the_program() {
    let program = env!("CARGO_BIN_EXE_proofroom-conformance");
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let unknown = b"{\"stage\":\"telepathy\"}\n";
    child.stdin.take().unwrap().write_all(unknown).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("line 1 is no request"), "{words}");
}

#[test]
fn the_committed_vectors_are_what_the_generator_makes() {
    let made = make::files().unwrap();
    let committed = committed();
    let differing: Vec<&String> = made
        .iter()
        .filter(|(name, bytes)| committed.get(*name) != Some(bytes))
        .map(|(name, _)| name)
        .collect();
    let stale: Vec<&String> = committed
        .keys()
        .filter(|name| !made.contains_key(*name))
        .collect();
    assert!(
        differing.is_empty() && stale.is_empty(),
        "run `cargo run -p proofroom-conformance --bin proofroom-make-vectors`: \
         differing {differing:?}, made no more {stale:?}"
    );
}

/// Every file of a stage, by its path below `vectors/`.
fn committed() -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let coverage = fs::read(root().join("SPEC_COVERAGE.md")).unwrap();
    found.insert("SPEC_COVERAGE.md".to_owned(), coverage);
    let stages = [
        "dsse",
        "gpu",
        "room",
        "snp",
        "tlog-proof",
        "upstream-tdx",
        "vtpm",
    ];
    for stage in stages {
        collect(&root(), &root().join(stage), &mut found);
    }
    found
}

fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, found);
        } else {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            found.insert(name, fs::read(&path).unwrap());
        }
    }
}
