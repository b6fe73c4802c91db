//! One mutation per line, each with the check that must refuse it, its code, and the exit code.

use proofroom_canonical::{Digest, IsolationLevel, SessionId};
use proofroom_record::{
    bundle::{BundleParts, Files, HeadSignature, MANIFEST, archive, evidence_name},
    event::{Action, EventBody, Outcome, RunStatus, SessionEnd},
    render::transcript,
    statement::{Assurance, ModelRun, Signer},
};

use crate::{
    first_problem,
    fixture::{self, Fixture, assemble, at, seal_files},
    good, good_files, verify,
};

type Wanted = (&'static str, &'static str, u8);

#[track_caller]
fn refused(what: &str, bytes: &[u8], (check, code, exit): Wanted) {
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

fn attested(runs: &mut [ModelRun], change: impl Fn(&mut Assurance)) {
    change(&mut runs[1].upstream.as_mut().unwrap().assurance);
}

fn other_session() -> SessionId {
    SessionId::from_random([9; 16])
}

fn lie(change: impl FnOnce(&mut Fixture)) -> Fixture {
    let mut fixture = Fixture::default();
    change(&mut fixture);
    fixture
}

/// Changes before signing: every signature and receipt is good, only the claims disagree.
fn lies() -> Vec<(&'static str, Fixture, Wanted)> {
    let mut all = session_lies();
    all.extend(run_lies());
    all.extend(other_lies());
    all
}

fn session_lies() -> Vec<(&'static str, Fixture, Wanted)> {
    let complete = |code| ("completeness", code, 10);
    let session = |change: fn(&mut proofroom_record::statement::AgentSession)| {
        lie(|f| f.session = Box::new(change))
    };
    vec![
        (
            "event count",
            session(|s| s.events.count += 1),
            complete("event-count"),
        ),
        (
            "event head",
            session(|s| s.events.head = Digest::of("x")),
            complete("event-head"),
        ),
        (
            "count by type",
            session(|s| {
                s.events.by_type.remove("observed");
            }),
            complete("event-types"),
        ),
        (
            "stopped attempts hidden",
            session(|s| s.events.stopped = 0),
            complete("stopped-count"),
        ),
        (
            "a run not cited",
            session(|s| {
                s.model_runs.pop();
            }),
            complete("runs-not-as-cited"),
        ),
        (
            "a run cited twice",
            session(|s| s.model_runs.push(s.model_runs[0].clone())),
            complete("runs-not-as-cited"),
        ),
        (
            "status of a run",
            session(|s| s.model_runs[2].status = RunStatus::Complete),
            complete("runs-not-as-cited"),
        ),
        (
            "another end",
            session(|s| s.end = SessionEnd::AgentFailed),
            complete("session-end-differs"),
        ),
        (
            "result hidden",
            session(|s| s.result = None),
            complete("result-differs"),
        ),
        (
            "lower high-water mark",
            session(|s| s.high_water = "public".into()),
            complete("high-water"),
        ),
        (
            "another binding",
            session(|s| s.binding = Digest::of("x")),
            ("binding", "binding-session-record", 10),
        ),
        (
            "another agent",
            session(|s| s.agent = "other".into()),
            ("binding", "binding-session-record", 10),
        ),
        (
            "another identity",
            session(|s| s.spiffe_id = "spiffe://x/gateway".into()),
            ("binding", "binding-session-record", 10),
        ),
        (
            "ends before it begins",
            session(|s| s.started = at(500)),
            ("times", "time-order", 10),
        ),
        (
            "hardware without a quote",
            lie(|f| {
                f.session = Box::new(|s| s.isolation = IsolationLevel::Hardware);
                f.destruction = Box::new(|d| d.isolation = IsolationLevel::Hardware);
            }),
            ("presentation", "page-differs", 10),
        ),
    ]
}

fn run_lies() -> Vec<(&'static str, Fixture, Wanted)> {
    let runs = |change: fn(&mut Vec<ModelRun>)| lie(|f| f.runs = Box::new(change));
    let evidence = |code| ("evidence", code, 10);
    vec![
        (
            "gap in the runs",
            runs(|r| r[1].sequence = 5),
            ("completeness", "run-sequence", 10),
        ),
        (
            "run of another session",
            runs(|r| r[1].session = other_session()),
            ("binding", "binding-model-run", 10),
        ),
        (
            "run of another binding",
            runs(|r| r[1].session_binding = Digest::of("x")),
            ("binding", "binding-model-run", 10),
        ),
        (
            "run of another caller",
            runs(|r| r[1].caller = "x".into()),
            ("binding", "binding-model-run", 10),
        ),
        (
            "run under another policy",
            runs(|r| r[1].classification.policy = Digest::of("x")),
            ("policies", "policy-of-run-differs", 10),
        ),
        (
            "run routed under another policy",
            runs(|r| r[1].routing.policy = Digest::of("x")),
            ("policies", "policy-of-run-differs", 10),
        ),
        (
            "high-water mark falls",
            runs(|r| r[2].classification.high_water_before = "public".into()),
            ("completeness", "high-water", 10),
        ),
        (
            "run long before the session",
            runs(|r| r[0].started = at(-500)),
            ("times", "time-order", 10),
        ),
        (
            "connection with another key",
            runs(|r| {
                attested(r, |a| {
                    if let Assurance::Attested { tls_spki, .. } = a {
                        *tls_spki = Digest::of("x");
                    }
                })
            }),
            evidence("evidence-key-differs"),
        ),
        (
            "another appraisal policy",
            runs(|r| {
                attested(r, |a| {
                    if let Assurance::Attested { policy, .. } = a {
                        *policy = Digest::of("x");
                    }
                })
            }),
            evidence("evidence-policy-differs"),
        ),
        (
            "simulated, and does not say so",
            runs(|r| {
                attested(r, |a| {
                    if let Assurance::Attested {
                        appraisal_policy, ..
                    } = a
                    {
                        *appraisal_policy = "production".into();
                    }
                })
            }),
            evidence("evidence-policy-name"),
        ),
        (
            "appraisal stretched",
            runs(|r| {
                attested(r, |a| {
                    if let Assurance::Attested { expires, .. } = a {
                        *expires = at(90_000_000);
                    }
                })
            }),
            evidence("evidence-expired"),
        ),
        (
            "used before it was appraised",
            runs(|r| {
                attested(r, |a| {
                    if let Assurance::Attested { appraised, .. } = a {
                        *appraised = at(45);
                    }
                })
            }),
            evidence("evidence-expired"),
        ),
    ]
}

fn other_lies() -> Vec<(&'static str, Fixture, Wanted)> {
    let events = |change: fn(&mut Vec<EventBody>)| lie(|f| f.events = Box::new(change));
    let complete = |code| ("completeness", code, 10);
    vec![
        (
            "event 0 with another commit",
            events(|e| {
                if let EventBody::SessionOpened { commit, .. } = &mut e[0] {
                    *commit = "x".into();
                }
            }),
            ("binding", "binding-event-0", 10),
        ),
        (
            "outcome with another tier",
            events(|e| {
                if let EventBody::Outcome {
                    result: Outcome::ModelRun { tier, .. },
                    ..
                } = &mut e[5]
                {
                    *tier = None;
                }
            }),
            complete("outcome-differs"),
        ),
        (
            "intent of another request",
            events(|e| {
                if let EventBody::Intent {
                    action: Action::ModelRun { request, .. },
                } = &mut e[4]
                {
                    *request = Digest::of("x");
                }
            }),
            complete("intent-differs"),
        ),
        (
            "run cited by two events",
            events(|e| {
                let again = e[5].clone();
                if let (
                    EventBody::Outcome { result, .. },
                    EventBody::Outcome { result: first, .. },
                ) = (&mut e[7], again)
                {
                    *result = first;
                }
            }),
            complete("outcome-without-run"),
        ),
        (
            "run cited by no event",
            events(|e| {
                if let EventBody::Outcome { result, .. } = &mut e[5] {
                    *result = Outcome::Failed {
                        code: "x".into(),
                        reason: "x".into(),
                    };
                }
            }),
            complete("run-without-outcome"),
        ),
        (
            "binding for another purpose",
            lie(|f| f.binding = Box::new(|b| b.purpose = "x".into())),
            ("binding", "binding-purpose", 10),
        ),
        (
            "binding of another key",
            lie(|f| f.binding = Box::new(|b| b.session_key = Digest::of("x"))),
            ("binding", "binding-certificate", 10),
        ),
        (
            "destruction of another session",
            lie(|f| f.destruction = Box::new(|d| d.session_record = Digest::of("x"))),
            ("destruction", "destruction-of-another", 10),
        ),
        (
            "destruction of another room",
            lie(|f| f.destruction = Box::new(|d| d.isolation = IsolationLevel::Vm)),
            ("destruction", "destruction-isolation", 10),
        ),
        (
            "destroyed before it ended",
            lie(|f| f.destruction = Box::new(|d| d.at = at(10))),
            ("times", "time-order", 10),
        ),
        (
            "destroyed in the future",
            lie(|f| f.destruction = Box::new(|d| d.at = at(200_000))),
            ("times", "time-in-future", 10),
        ),
        (
            "gateway certificate for a session",
            lie(|f| f.gateway_path = "session/ses_07070707070707070707070707070707/agent/x"),
            ("key-chain", "certificate-role", 10),
        ),
        (
            "gateway certificate for nobody",
            lie(|f| f.gateway_path = "console"),
            ("key-chain", "certificate-spiffe", 10),
        ),
        (
            "certificate of another session",
            lie(|f| f.session_path = format!("session/{}/agent/builtin", other_session())),
            ("key-chain", "certificate-role", 10),
        ),
        (
            "certificate of another agent",
            lie(|f| f.session_path = format!("session/{}/agent/other", fixture::session_id())),
            ("binding", "binding-certificate", 10),
        ),
        (
            "certificates that had expired",
            lie(|f| f.valid_until = (2026, 11, 20)),
            ("key-chain", "certificate-not-valid-at", 10),
        ),
    ]
}

#[test]
fn signed_lies_are_refused_by_the_check_that_they_concern() {
    let pages = good_files();
    for (what, fixture, wanted) in lies() {
        refused(what, &assemble(&fixture.parts(), &pages), wanted);
    }
}

#[test]
fn what_could_not_be_checked_is_incomplete_and_not_accepted() {
    let missing = |change: fn(&mut Fixture), drop: fn(&mut BundleParts), check| {
        let mut parts = lie(change).parts();
        drop(&mut parts);
        let bytes = proofroom_record::ladder::write_bundle(&parts).unwrap();
        refused(check, &bytes, (check, "-", 11));
    };
    missing(|_| {}, |parts| parts.destruction = None, "destruction");
    let hardware: fn(&mut Fixture) = |f| {
        f.session = Box::new(|s| s.isolation = IsolationLevel::Hardware);
        f.destruction = Box::new(|d| d.isolation = IsolationLevel::Hardware);
    };
    missing(hardware, |_| {}, "isolation");
}

#[test]
fn an_interrupted_session_needs_the_rooms_own_signature_over_its_last_event() {
    let fixture = Fixture {
        signer: Signer::Gateway,
        ..Fixture::default()
    };
    let parts = fixture.parts();
    let pages = good_files();
    let with = |head_signature| {
        assemble(
            &BundleParts {
                head_signature,
                ..parts.clone()
            },
            &pages,
        )
    };
    let chain = |code| ("event-chain", code, 10);
    refused(
        "missing",
        &with(HeadSignature::InSessionRecord),
        chain("head-signature-missing"),
    );
    let garbage = HeadSignature::Separate(b"AAAA\n".to_vec());
    refused("garbage", &with(garbage), chain("head-signature-malformed"));
    let head = proofroom_record::head::EventHead {
        seq: 0,
        digest: Digest::of("x"),
    };
    let other = HeadSignature::Separate((head.sign(&fixture::session_key()) + "\n").into_bytes());
    refused("another head", &with(other), chain("head-bad-signature"));
}

#[test]
fn the_writer_refuses_what_the_reader_would_reject() {
    let parts = lie(|f| f.session = Box::new(|s| s.events.stopped = 0)).parts();
    let refused = proofroom_record::ladder::write_bundle(&parts).unwrap_err();
    assert_eq!(refused.code(), "stopped-count");
}

#[test]
fn the_list_is_long_enough() {
    assert!(
        file_edits().len() >= 60 && lies().len() >= 40,
        "{} {}",
        file_edits().len(),
        lies().len()
    );
}
