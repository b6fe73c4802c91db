//! One mutation per line, each with the check that must refuse it, its code, and the exit code.

use proofroom_canonical::Digest;
use proofroom_record::{
    bundle::{Files, MANIFEST, archive, evidence_name},
    render::transcript,
};

use crate::{
    first_problem,
    fixture::{self, Fixture, seal_files},
    good, good_files, verify,
};

pub(crate) type Wanted = (&'static str, &'static str, u8);

#[track_caller]
pub(crate) fn refused(what: &str, bytes: &[u8], (check, code, exit): Wanted) {
    let report = verify(bytes);
    let found = first_problem(&report);
    assert_eq!(found, (check, code), "{what}\n{}", transcript(&report));
    assert_eq!(
        report.verdict.exit_code(),
        exit,
        "{what}\n{}",
        transcript(&report)
    );
}

fn replace(files: &mut Files, name: &str, from: &str, to: &str) {
    let text = String::from_utf8(files[name].clone()).unwrap();
    assert!(text.contains(from), "{name} has no `{from}`");
    files.insert(name.to_owned(), text.replacen(from, to, 1).into_bytes());
}

fn rename(files: &mut Files, from: &str, to: &str) {
    let bytes = files.remove(from).unwrap();
    files.insert(to.to_owned(), bytes);
}

fn swap(files: &mut Files, one: &str, other: &str) {
    let (a, b) = (files[one].clone(), files[other].clone());
    files.insert(one.to_owned(), b);
    files.insert(other.to_owned(), a);
}

/// Changes the middle of a file's `nth` line by one character.
fn tweak_line(files: &mut Files, name: &str, nth: usize) {
    let text = String::from_utf8(files[name].clone()).unwrap();
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let middle = lines[nth].len() / 2;
    let swapped = if &lines[nth][middle..=middle] == "A" {
        "B"
    } else {
        "A"
    };
    lines[nth].replace_range(middle..=middle, swapped);
    files.insert(name.to_owned(), lines.join("\n").into_bytes());
}

fn edit_events(files: &mut Files, edit: impl Fn(&mut Vec<String>)) {
    let text = String::from_utf8(files["events.jsonl"].clone()).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    edit(&mut lines);
    files.insert(
        "events.jsonl".to_owned(),
        (lines.join("\n") + "\n").into_bytes(),
    );
}

fn other_trust() -> Files {
    let parts = Fixture {
        ca_key: 4,
        ..Fixture::default()
    }
    .parts();
    parts.to_files()
}

fn only_evidence(files: &Files) -> String {
    files
        .keys()
        .find(|name| name.starts_with("evidence/"))
        .unwrap()
        .clone()
}

type Edit = fn(&mut Files);

const RUN0: &str = "records/0000-model-run.dsse.json";
const RUN1: &str = "records/0001-model-run.dsse.json";
const RUN2: &str = "records/0002-model-run.dsse.json";
const PROOF0: &str = "records/0000-model-run.tlog-proof";
const PROOF1: &str = "records/0001-model-run.tlog-proof";
const PROOF2: &str = "records/0002-model-run.tlog-proof";
const SESSION: &str = "records/session.dsse.json";
const DESTRUCTION: &str = "records/destruction.dsse.json";

/// Changes to files; the manifest is made afresh, so that the deeper check must notice.
fn file_edits() -> Vec<(&'static str, Edit, Wanted)> {
    let mut all = record_edits();
    all.extend(event_edits());
    all.extend(log_edits());
    all.extend(trust_edits());
    all
}

fn record_edits() -> Vec<(&'static str, Edit, Wanted)> {
    vec![
        (
            "payload of a run",
            |f| replace(f, RUN0, "\"payload\":\"e", "\"payload\":\"f"),
            ("signature", "envelope-bad-signature", 10),
        ),
        (
            "signature of a run",
            |f| replace(f, RUN0, "\"sig\":\"ME", "\"sig\":\"MF"),
            ("signature", "envelope-bad-signature", 10),
        ),
        (
            "key id of a run",
            |f| replace(f, RUN0, "\"keyid\":\"", "\"keyid\":\"0"),
            ("signature", "envelope-wrong-key", 10),
        ),
        (
            "payload type",
            |f| replace(f, SESSION, "in-toto+json", "other+json"),
            ("signature", "envelope-payload-type", 10),
        ),
        (
            "space in an envelope",
            |f| replace(f, SESSION, "{\"payload\"", "{ \"payload\""),
            ("inclusion", "tlog-root-mismatch", 10),
        ),
        (
            "extra field in an envelope",
            |f| replace(f, DESTRUCTION, "{", "{\"x\":1,"),
            ("signature", "envelope-malformed", 10),
        ),
        (
            "truncated envelope",
            |f| {
                f.get_mut(RUN1).unwrap().pop();
            },
            ("signature", "envelope-malformed", 10),
        ),
        (
            "destruction in place of a run",
            |f| swap(f, RUN0, DESTRUCTION),
            ("signature", "predicate-type", 10),
        ),
        (
            "two runs in each other's place",
            |f| {
                swap(f, RUN0, RUN1);
                swap(f, PROOF0, PROOF1);
            },
            ("completeness", "run-sequence", 10),
        ),
        (
            "runs swapped, receipts not",
            |f| swap(f, RUN0, RUN1),
            ("inclusion", "tlog-root-mismatch", 10),
        ),
        (
            "last run dropped",
            |f| {
                f.remove(RUN2);
                f.remove(PROOF2);
            },
            ("completeness", "runs-not-as-cited", 10),
        ),
        (
            "first run dropped, others renamed",
            |f| {
                rename(f, RUN1, RUN0);
                rename(f, RUN2, RUN1);
                rename(f, PROOF1, PROOF0);
                rename(f, PROOF2, PROOF1);
            },
            ("completeness", "run-sequence", 10),
        ),
        (
            "run doubled at the end",
            |f| {
                f.insert("records/0003-model-run.dsse.json".into(), f[RUN2].clone());
                f.insert(
                    "records/0003-model-run.tlog-proof".into(),
                    f[PROOF2].clone(),
                );
            },
            ("completeness", "run-sequence", 10),
        ),
        (
            "middle run dropped",
            |f| {
                f.remove(RUN1);
                f.remove(PROOF1);
            },
            ("bytes", "bundle-unknown-file", 30),
        ),
        (
            "session record dropped",
            |f| {
                f.remove(SESSION);
            },
            ("bytes", "bundle-missing-file", 30),
        ),
        (
            "destruction record dropped",
            |f| {
                f.remove(DESTRUCTION);
                f.remove("records/destruction.tlog-proof");
            },
            ("presentation", "page-differs", 10),
        ),
    ]
}

fn event_edits() -> Vec<(&'static str, Edit, Wanted)> {
    let chain = |code| ("event-chain", code, 10);
    vec![
        (
            "event dropped",
            |f| {
                edit_events(f, |l| {
                    l.remove(3);
                })
            },
            chain("event-gap"),
        ),
        (
            "events dropped at the end",
            |f| edit_events(f, |l| l.truncate(3)),
            chain("chain-truncated"),
        ),
        (
            "event doubled",
            |f| edit_events(f, |l| l.insert(3, l[3].clone())),
            chain("event-duplicate"),
        ),
        (
            "events reordered",
            |f| edit_events(f, |l| l.swap(2, 3)),
            chain("event-gap"),
        ),
        (
            "event changed",
            |f| edit_events(f, |l| l[3] = l[3].replace("8.8.8.8", "9.9.9.9")),
            chain("event-wrong-prev"),
        ),
        (
            "last event changed",
            |f| {
                edit_events(f, |l| {
                    let end = l.pop().unwrap();
                    l.push(end.replace("completed", "cancelled"));
                })
            },
            ("completeness", "event-head", 10),
        ),
        (
            "event written otherwise",
            |f| edit_events(f, |l| l[0] = l[0].replace("{\"v\":1", "{ \"v\":1")),
            chain("event-not-canonical"),
        ),
        (
            "later format version",
            |f| edit_events(f, |l| l[0] = l[0].replace("\"v\":1", "\"v\":2")),
            ("event-chain", "event-version", 20),
        ),
        (
            "last newline missing",
            |f| {
                f.get_mut("events.jsonl").unwrap().pop();
            },
            chain("chain-truncated"),
        ),
        (
            "empty line at the end",
            |f| f.get_mut("events.jsonl").unwrap().push(b'\n'),
            chain("event-malformed"),
        ),
        (
            "no events",
            |f| {
                f.insert("events.jsonl".into(), Vec::new());
            },
            chain("chain-truncated"),
        ),
        (
            "head signature nobody needs",
            |f| {
                f.insert("events.head.sig".into(), b"x\n".to_vec());
            },
            chain("head-signature-unexpected"),
        ),
        (
            "binding written otherwise",
            |f| replace(f, "binding.json", "{", "{ "),
            chain("event-wrong-prev"),
        ),
        (
            "binding is garbage",
            |f| {
                f.insert("binding.json".into(), b"{}".to_vec());
            },
            chain("event-wrong-prev"),
        ),
    ]
}

fn log_edits() -> Vec<(&'static str, Edit, Wanted)> {
    vec![
        (
            "index of a receipt",
            |f| replace(f, PROOF0, "index 2", "index 3"),
            ("inclusion", "tlog-root-mismatch", 10),
        ),
        (
            "hash of a receipt",
            |f| tweak_line(f, PROOF0, 2),
            ("inclusion", "tlog-root-mismatch", 10),
        ),
        (
            "extra data in a receipt",
            |f| replace(f, PROOF0, "index", "extra eHg=\nindex"),
            ("inclusion", "proof-extra", 10),
        ),
        (
            "receipt of another record",
            |f| swap(f, PROOF0, PROOF1),
            ("inclusion", "tlog-root-mismatch", 10),
        ),
        (
            "receipt dropped",
            |f| {
                f.remove(PROOF0);
            },
            ("bytes", "bundle-missing-file", 30),
        ),
        (
            "size in the checkpoint",
            |f| replace(f, "log/checkpoint", "\n7\n", "\n8\n"),
            ("checkpoint", "note-signature", 10),
        ),
        (
            "root in the checkpoint",
            |f| tweak_line(f, "log/checkpoint", 2),
            ("checkpoint", "note-signature", 10),
        ),
        (
            "origin of the checkpoint",
            |f| {
                replace(
                    f,
                    "log/checkpoint",
                    "proofroom.test/log\n",
                    "proofroom.test/lag\n",
                )
            },
            ("checkpoint", "note-signature", 10),
        ),
        (
            "second signature",
            |f| {
                let signature = String::from_utf8(f["log/checkpoint"].clone())
                    .unwrap()
                    .lines()
                    .last()
                    .unwrap()
                    .replace("/log", "/other");
                f.get_mut("log/checkpoint")
                    .unwrap()
                    .extend_from_slice(format!("{signature}\n").as_bytes());
            },
            ("checkpoint", "checkpoint-signatures", 10),
        ),
        (
            "another honest checkpoint",
            |f| {
                let leaves = vec![b"a".to_vec(), b"b".to_vec()];
                f.insert("log/checkpoint".into(), fixture::log(&leaves).0);
            },
            ("consistency", "checkpoint-differs", 10),
        ),
        (
            "log key without newline",
            |f| {
                f.get_mut("trust/log.vkey").unwrap().pop();
            },
            ("checkpoint", "log-key-file", 10),
        ),
        (
            "log key changed",
            |f| tweak_line(f, "trust/log.vkey", 0),
            ("checkpoint", "note-key-point", 10),
        ),
    ]
}

fn trust_edits() -> Vec<(&'static str, Edit, Wanted)> {
    vec![
        (
            "another CA",
            |f| {
                f.insert("trust/ca.pem".into(), other_trust()["trust/ca.pem"].clone());
            },
            ("key-chain", "certificate-bad-signature", 10),
        ),
        (
            "CA file with a second newline",
            |f| f.get_mut("trust/ca.pem").unwrap().push(b'\n'),
            ("key-chain", "certificate-malformed", 10),
        ),
        (
            "gateway certificate of another CA",
            |f| {
                f.insert(
                    "trust/gateway.pem".into(),
                    other_trust()["trust/gateway.pem"].clone(),
                );
            },
            ("key-chain", "certificate-bad-signature", 10),
        ),
        (
            "certificates in each other's place",
            |f| swap(f, "trust/gateway.pem", "trust/session.pem"),
            ("signature", "envelope-wrong-key", 10),
        ),
        (
            "certificate changed",
            |f| tweak_line(f, "trust/session.pem", 3),
            ("signature", "certificate-malformed", 10),
        ),
        (
            "access policy",
            |f| replace(f, "trust/policies/access.cedar", "permit", "forbid"),
            ("policies", "policy-differs", 10),
        ),
        (
            "classification policy",
            |f| replace(f, "trust/policies/classification.toml", "public", "secret"),
            ("policies", "policy-differs", 10),
        ),
        (
            "routing policy",
            |f| replace(f, "trust/policies/routing.toml", "#", "##"),
            ("policies", "policy-differs", 10),
        ),
        (
            "room policy",
            |f| replace(f, "trust/policies/room.toml", "#", "##"),
            ("policies", "policy-differs", 10),
        ),
        (
            "appraisal policy",
            |f| replace(f, "trust/policies/appraisal.toml", "600", "601"),
            ("policies", "policy-differs", 10),
        ),
        (
            "egress policy",
            |f| replace(f, "trust/policies/egress.toml", "egress", "Egress"),
            ("policies", "policy-differs", 10),
        ),
        (
            "evidence dropped",
            |f| {
                let name = only_evidence(f);
                f.remove(&name);
            },
            ("evidence", "evidence-missing", 10),
        ),
        (
            "evidence changed",
            |f| {
                let name = only_evidence(f);
                tweak_line(f, &name, 0);
            },
            ("bytes", "bundle-unknown-file", 30),
        ),
        (
            "evidence changed and renamed",
            |f| {
                let old = only_evidence(f);
                tweak_line(f, &old, 0);
                let name = evidence_name(Digest::of(&f[&old]));
                rename(f, &old, &name);
            },
            ("evidence", "evidence-not-cited", 10),
        ),
        (
            "evidence that nobody cites",
            |f| {
                f.insert(evidence_name(Digest::of("{}")), b"{}".to_vec());
            },
            ("evidence", "evidence-not-cited", 10),
        ),
        (
            "unknown file",
            |f| {
                f.insert("notes.txt".into(), Vec::new());
            },
            ("bytes", "bundle-unknown-file", 30),
        ),
        (
            "instructions changed",
            |f| replace(f, "VERIFY.md", "openssl verify", "true"),
            ("presentation", "page-differs", 10),
        ),
        (
            "report changed",
            |f| replace(f, "report.html", "cassette", "live"),
            ("presentation", "page-differs", 10),
        ),
        (
            "report of a later format",
            |f| replace(f, "report.html", "report.v1", "report.v2"),
            ("presentation", "page-differs", 20),
        ),
    ]
}

#[test]
fn every_change_to_a_file_is_refused_by_the_check_that_it_concerns() {
    let good = good_files();
    for (what, edit, wanted) in file_edits() {
        let mut files = good.clone();
        edit(&mut files);
        assert_ne!(files, good, "{what} changes nothing");
        refused(what, &seal_files(files.clone()), wanted);
        // the same with the manifest as it was: noticed already there, or before
        files.insert(MANIFEST.to_owned(), good[MANIFEST].clone());
        let stale = archive::write(&files).unwrap();
        let first = if wanted.0 == "bytes" {
            wanted
        } else {
            ("manifest", "manifest-differs", wanted.2.min(10))
        };
        refused(what, &stale, first);
    }
}

#[test]
fn the_container_itself_is_strict() {
    let bytes = good();
    let files = good_files();
    let malformed = |code| ("bytes", code, 30);
    refused(
        "trailing byte",
        &[&bytes[..], b"x"].concat(),
        malformed("archive-not-canonical"),
    );
    refused(
        "leading byte",
        &[b"x", &bytes[..]].concat(),
        malformed("archive-structure"),
    );
    refused(
        "cut off",
        &bytes[..bytes.len() - 1],
        malformed("archive-not-canonical"),
    );
    refused(
        "cut in half",
        &bytes[..bytes.len() / 2],
        malformed("archive-structure"),
    );
    refused("empty", b"", malformed("archive-structure"));
    let mut named = bytes.clone();
    named[30] = b'/';
    refused("absolute name", &named, malformed("archive-name"));
    let mut compressed = bytes.clone();
    compressed[8] = 8;
    refused(
        "compressed entry",
        &compressed,
        malformed("archive-not-canonical"),
    );
    let mut dated = bytes.clone();
    dated[10] = 1;
    refused("another date", &dated, malformed("archive-not-canonical"));
    let mut manifest = files.clone();
    manifest.get_mut(MANIFEST).unwrap().extend_from_slice(b"\n");
    let sealed = archive::write(&manifest).unwrap();
    refused(
        "longer manifest",
        &sealed,
        ("manifest", "manifest-differs", 10),
    );
    let mut missing = files;
    missing.remove(MANIFEST);
    refused(
        "no manifest",
        &archive::write(&missing).unwrap(),
        malformed("bundle-missing-file"),
    );
}

#[test]
fn the_list_is_long_enough() {
    assert!(
        file_edits().len() >= 60 && crate::lies::lies().len() >= 40,
        "{} {}",
        file_edits().len(),
        crate::lies::lies().len()
    );
}
