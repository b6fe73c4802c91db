//! The demo's session, from its task to its branch: what its records, its repository and its output
//! must say, and what a stranger makes of its bundle.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use proofroom_e2e::{Bundle, Deployment, git, program, python, repository_root, skip};
use serde_json::Value;

const TASK: &str = "The test suite of this repository fails. Fix it and commit the fix.";

fn cassette() -> PathBuf {
    repository_root().join("crates/testkit/cassettes/demo.json")
}

/// Where a label stands among the default policy's.
fn rank(label: &Value) -> usize {
    let levels = ["public", "internal", "confidential", "restricted"];
    let rank = levels.iter().position(|level| label == level);
    rank.unwrap_or_else(|| panic!("`{label}` is no label"))
}

/// Everything that was stopped, as the events say it.
fn stopped(events: &[Value]) -> Vec<String> {
    let mut all = Vec::new();
    for event in events {
        let body = &event["body"];
        if body["result"]["status"] == "denied" {
            let intent = events.iter().find(|intent| intent["seq"] == body["of"]);
            let action = &intent.expect("an intent")["body"]["action"];
            all.push(format!("{} {}", action["kind"], action["path"]));
        }
        if body["observation"]["kind"] == "blocked" {
            let attempt = &body["observation"]["attempt"];
            let what = [&attempt["path"], &attempt["target"]];
            let what = what.into_iter().find(|what| !what.is_null());
            all.push(format!("{} {}", attempt["on"], what.expect("an object")));
        }
    }
    all.iter().map(|one| one.replace('"', "")).collect()
}

/// What a person would notice of a work tree: its files, its status, its HEAD.
fn work_tree(repository: &Path) -> (BTreeMap<PathBuf, Vec<u8>>, String, String) {
    let mut files = BTreeMap::new();
    let mut open = vec![repository.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("directory") {
            let path = entry.expect("entry").path();
            if path.is_dir() && !path.ends_with(".git") {
                open.push(path);
            } else if path.is_file() {
                files.insert(path.clone(), fs::read(&path).expect("file"));
            }
        }
    }
    let status = git(repository, &["status", "--porcelain", "--ignored"]);
    (files, status, git(repository, &["rev-parse", "HEAD"]))
}

#[test]
fn the_demos_session_is_accepted_and_says_exactly_what_happened() {
    let deployment = Deployment::with_cassette(&cassette());
    let repository = deployment.demo_repository();
    let before = work_tree(&repository);
    let bundle = deployment.session(&repository).task(TASK).run();
    assert_eq!(bundle.code, Some(0), "{bundle:#?}");
    bundle.assert_accepted();
    model_runs_go_where_their_label_sends_them(&bundle);
    every_attempt_is_an_event(&bundle);
    counts_agree(&bundle);
    assert_eq!(work_tree(&repository), before, "the work tree was touched");
    the_branch_passes_the_tests(&deployment, &repository, &bundle);
    the_bundle_follows_from_the_state(&deployment, &bundle);
    a_stranger_verifies_it(&bundle);
}

fn model_runs_go_where_their_label_sends_them(bundle: &Bundle) {
    let runs = bundle.model_runs();
    assert_eq!(runs.len(), 17);
    let mut high_water = 0;
    for (number, run) in runs.iter().enumerate() {
        assert_eq!(run["sequence"], number);
        let classification = &run["classification"];
        let (before, after) = (
            rank(&classification["high_water_before"]),
            rank(&classification["high_water_after"]),
        );
        assert_eq!(before, high_water.max(before), "the mark fell: {run:#}");
        assert!(after >= before, "the mark fell: {run:#}");
        high_water = after;
    }
    let story: Vec<(&str, &str)> = runs
        .iter()
        .map(|run| {
            let word = |value: &'_ Value| match value.as_str() {
                Some("standard") => "standard",
                Some("tee") => "tee",
                Some("complete") => "complete",
                Some("refused") => "refused",
                _ => "none",
            };
            (word(&run["routing"]["tier"]), word(&run["status"]))
        })
        .collect();
    let mut wanted = vec![("standard", "complete"); 8];
    wanted.push(("none", "refused"));
    wanted.extend([("tee", "complete"); 8]);
    assert_eq!(story, wanted);
    let refused = &runs[8];
    assert_eq!(refused["failure"]["code"], "label-requires-tier");
    assert_eq!(refused["routing"]["rule"], "confidential-in-tee");
    assert!(refused["upstream"].is_null(), "it was not sent");
    assert!(refused["request"]["forwarded"].is_null(), "it was not sent");
    for run in runs.iter().filter(|run| run["status"] == "complete") {
        assert_eq!(run["upstream"]["source"], "cassette");
        let kind = &run["upstream"]["assurance"]["kind"];
        let attested = run["routing"]["tier"] == "tee";
        assert_eq!(kind == "attested", attested, "{run:#}");
    }
    assert_eq!(
        bundle.session_record()["predicate"]["high_water"],
        "restricted"
    );
}

fn every_attempt_is_an_event(bundle: &Bundle) {
    let events = bundle.events();
    let all = stopped(&events);
    let wanted = [
        ("read-file ", "etc/shadow"),
        ("read-file ", "/etc/shadow"),
        ("file ", "/etc/shadow"),
        ("network ", "1.1.1.1:443"),
        // no datagram socket is made at all, so the address was never seen
        ("network ", "socket family 2"),
        ("secret ", "/proc/1/environ"),
    ];
    for (kind, object) in wanted {
        let found = |one: &&String| one.starts_with(kind) && one.contains(object);
        assert!(
            all.iter().any(|one| found(&one)),
            "{kind}{object} is not in {all:#?}"
        );
    }
    assert_eq!(
        all.len(),
        wanted.len(),
        "nothing else was stopped: {all:#?}"
    );
    let refused = events.iter().filter(|event| {
        let result = &event["body"]["result"];
        result["status"] == "model-run" && result["run_status"] == "refused"
    });
    assert_eq!(
        refused.count(),
        1,
        "the credential file to the standard tier"
    );
}

fn counts_agree(bundle: &Bundle) {
    let events = bundle.events();
    let record = &bundle.session_record()["predicate"];
    assert_eq!(record["events"]["count"], events.len());
    assert_eq!(record["events"]["stopped"], stopped(&events).len());
    assert_eq!(record["end"], "completed");
    assert_eq!(record["isolation"], "process");
    let mut by_type: BTreeMap<&str, u64> = BTreeMap::new();
    for event in &events {
        *by_type
            .entry(event["body"]["type"].as_str().unwrap())
            .or_default() += 1;
    }
    assert_eq!(
        record["events"]["by_type"],
        serde_json::to_value(&by_type).unwrap()
    );
    let cited: Vec<_> = record["model_runs"].as_array().unwrap().iter().collect();
    let held = bundle.model_runs();
    assert_eq!(cited.len(), held.len());
    for (cited, held) in cited.iter().zip(&held) {
        assert_eq!(
            (&cited["run"], &cited["status"]),
            (&held["run"], &held["status"])
        );
    }
    let last = bundle.lines.last().expect("lines");
    assert_eq!(last["type"], "session");
    assert_eq!(last["verdict"], "accepted");
    assert_eq!(last["model_runs"], held.len());
    assert_eq!(last["events"], record["events"]);
    let shown: Vec<_> = bundle
        .lines
        .iter()
        .filter(|line| line["type"] == "event")
        .collect();
    assert_eq!(shown.len(), events.len(), "every event was shown");
    for (shown, kept) in shown.iter().zip(&events) {
        assert_eq!(shown["event"], *kept);
    }
}

fn the_branch_passes_the_tests(deployment: &Deployment, repository: &Path, bundle: &Bundle) {
    let record = &bundle.session_record()["predicate"];
    let reference = record["result"]["reference"].as_str().expect("a branch");
    let commit = git(repository, &["rev-parse", reference]);
    assert_eq!(record["result"]["commit"], commit.as_str());
    let tree = git(repository, &["rev-parse", &format!("{reference}^{{tree}}")]);
    assert_eq!(record["result"]["tree"], tree.as_str());
    let branches = git(repository, &["for-each-ref", "--format=%(refname)"]);
    assert_eq!(
        branches.lines().count(),
        2,
        "main and the session's: {branches}"
    );
    let clone = deployment.path().join("clone");
    let (from, to) = (repository.to_str().unwrap(), clone.to_str().unwrap());
    git(deployment.path(), &["clone", "-q", from, to]);
    git(&clone, &["fetch", "-q", "origin", reference]);
    let tests = |at: &str| {
        git(&clone, &["checkout", "-q", at]);
        let mut unittest = Command::new("python3");
        unittest.args(["-B", "-m", "unittest", "discover", "-s", "tests", "-t", "."]);
        unittest
            .current_dir(&clone)
            .output()
            .expect("python3 starts")
    };
    assert!(!tests("HEAD").status.success(), "they failed before");
    let fixed = tests("FETCH_HEAD");
    assert!(fixed.status.success(), "{fixed:?}");
    let changed = git(
        &clone,
        &["diff", "--name-only", "origin/main", "FETCH_HEAD"],
    );
    assert_eq!(changed, "ledger/split.py");
}

/// A bundle whose making was interrupted is made again, to the byte.
fn the_bundle_follows_from_the_state(deployment: &Deployment, bundle: &Bundle) {
    let record = bundle.session_record();
    let session = record["predicate"]["session"].as_str().expect("a session");
    let own = deployment
        .state()
        .join(format!("bundles/{session}.proofroom"));
    let first = fs::read(&own).expect("the state's own bundle");
    assert_eq!(
        first,
        fs::read(&bundle.path).unwrap(),
        "two places, one bundle"
    );
    fs::remove_file(&own).expect("bundle");
    fs::remove_file(deployment.state().join(format!("sessions/{session}/done"))).expect("mark");
    let nowhere = deployment.path().join("no-repository");
    fs::create_dir(&nowhere).expect("directory");
    let next = deployment.session(&nowhere).task("nothing").run();
    assert_ne!(next.code, Some(0), "there is no repository");
    assert_eq!(first, fs::read(&own).expect("made again"), "the same bytes");
}

/// Follows the bundle's own VERIFY.md with public tools, then once more on a tampered pack.
fn a_stranger_verifies_it(bundle: &Bundle) {
    let Some(python) = python() else {
        let test = "the_demos_session_is_accepted_and_says_exactly_what_happened, VERIFY.md";
        return skip(
            test,
            "PROOFROOM_PYTHON names no Python with the public tools",
        );
    };
    let files = bundle.files();
    let page = String::from_utf8(files["VERIFY.md"].clone()).expect("text");
    let good = follow(&page, &files, &python);
    assert!(good.status.success(), "{good:#?}");
    let said =
        String::from_utf8_lossy(&good.stdout).into_owned() + &String::from_utf8_lossy(&good.stderr);
    // each model run, the session and its destruction
    assert_eq!(said.matches("Verified OK").count(), 17 + 2, "{said}");
    let edits = [
        ("events.jsonl", "1.1.1.1:443", "1.1.1.2:443"),
        (
            "records/0008-model-run.dsse.json",
            "\"payload\":\"e",
            "\"payload\":\"f",
        ),
        ("trust/policies/routing.toml", "version = 1", "version =  1"),
    ];
    for (name, from, to) in edits {
        let mut tampered = files.clone();
        let text = String::from_utf8(tampered[name].clone()).expect("text");
        let changed = text.replacen(from, to, 1);
        assert_ne!(text, changed, "{name} holds no `{from}`");
        tampered.insert(name.to_owned(), changed.into_bytes());
        // a forger writes the list of files anew
        let manifest = String::from_utf8(files["MANIFEST.sha256"].clone()).expect("text");
        tampered.insert(
            "MANIFEST.sha256".to_owned(),
            remade(&manifest, name, &tampered[name]),
        );
        let output = follow(&page, &tampered, &python);
        assert!(
            !output.status.success(),
            "{name} was changed and nobody noticed"
        );
    }
}

fn remade(manifest: &str, name: &str, bytes: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("file");
    fs::write(&path, bytes).expect("file");
    let sum = Command::new("sha256sum")
        .arg(&path)
        .output()
        .expect("sha256sum");
    let sum = String::from_utf8_lossy(&sum.stdout);
    let sum = sum.split(' ').next().expect("a digest");
    let lines = manifest.lines().map(|line| match line.split_once("  ") {
        Some((_, of)) if of == name => format!("{sum}  {name}\n"),
        _ => format!("{line}\n"),
    });
    lines.collect::<String>().into_bytes()
}

/// Runs a page's commands, in order, in an unpacked bundle.
fn follow(page: &str, files: &BTreeMap<String, Vec<u8>>, python: &Path) -> Output {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (bin, pack) = (dir.path().join("bin"), dir.path().join("pack"));
    fs::create_dir(&bin).expect("directory");
    let wrapper = format!("#!/bin/sh\nexec '{}' \"$@\"\n", python.display());
    fs::write(bin.join("python3"), wrapper).expect("file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(bin.join("python3"), mode).expect("mode");
    for (name, bytes) in files {
        let path = pack.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, bytes).expect("file");
    }
    let blocks = page.split("\n```sh\n").skip(1);
    let commands: Vec<&str> = blocks
        .map(|rest| rest.split_once("\n```\n").expect("an unclosed block").0)
        .collect();
    assert!(commands.len() >= 8, "only {} blocks", commands.len());
    let path = format!("{}:{}", bin.display(), env::var("PATH").expect("PATH"));
    Command::new("sh")
        .args(["-c", &commands.join("\n")])
        .current_dir(pack)
        .env("PATH", path)
        .env("TMPDIR", dir.path())
        .output()
        .expect("sh starts")
}

#[test]
fn machines_read_json_lines_and_people_read_the_level_and_the_source() {
    let hello = repository_root().join("crates/testkit/cassettes/repair.json");
    let deployment = Deployment::with_cassette(&hello);
    let repository = deployment.demo_repository();
    let run = |json: Option<&str>| {
        let mut command = Command::new(program("proofroom"));
        command
            .arg("run")
            .args(json)
            .args(["--task", TASK, "--repo"]);
        command
            .arg(&repository)
            .arg("--policy")
            .arg(deployment.policy());
        command.arg("--state").arg(deployment.state());
        command.output().expect("proofroom starts")
    };
    let machine = run(Some("--json"));
    assert!(machine.status.success(), "{machine:?}");
    assert_eq!(String::from_utf8_lossy(&machine.stderr), "");
    let text = String::from_utf8(machine.stdout).expect("UTF-8");
    for line in text.lines() {
        let value: Value =
            serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        assert!(value["type"].is_string(), "{line}");
    }
    assert!(text.ends_with("}\n"));
    let human = run(None);
    assert!(human.status.success(), "{human:?}");
    let text = String::from_utf8(human.stdout).expect("UTF-8");
    assert!(!text.contains('\u{1b}'), "no colours into a pipe");
    for wanted in [
        "isolation  process: no hardware isolation",
        "cassette",
        "verdict  accepted",
    ] {
        assert!(text.contains(wanted), "`{wanted}` is not in:\n{text}");
    }
}

#[test]
fn simulated_evidence_is_called_simulated_on_the_screen() {
    let deployment = Deployment::with_cassette(&cassette());
    let repository = deployment.demo_repository();
    let mut command = Command::new(program("proofroom"));
    command
        .args(["run", "--task", TASK, "--repo"])
        .arg(&repository);
    command.arg("--policy").arg(deployment.policy());
    command.arg("--state").arg(deployment.state());
    let human = command.output().expect("proofroom starts");
    assert!(human.status.success(), "{human:?}");
    let text = String::from_utf8(human.stdout).expect("UTF-8");
    for wanted in ["simulated", "cassette", "process: no hardware isolation"] {
        assert!(text.contains(wanted), "`{wanted}` is not in:\n{text}");
    }
}

#[test]
fn test_keys_open_nothing_under_the_production_policy() {
    let deployment = Deployment::with_cassette(&cassette());
    let production = repository_root().join("crates/verifier/policies/production-upstream.toml");
    fs::copy(production, deployment.policy().join("appraisal.toml")).expect("appraisal policy");
    let repository = deployment.demo_repository();
    let bundle = deployment.session(&repository).task(TASK).run();
    assert_eq!(bundle.code, Some(1), "{bundle:#?}");
    bundle.assert_accepted();
    let record = bundle.session_record();
    assert_eq!(record["predicate"]["end"], "agent-failed");
    let restricted = |run: &&Value| rank(&run["classification"]["high_water_after"]) >= 2;
    let runs = bundle.model_runs();
    let held: Vec<_> = runs.iter().filter(restricted).collect();
    assert!(held.len() >= 2, "the credential file and what followed it");
    for run in &held {
        assert_ne!(run["status"], "complete", "{run:#}");
        assert_ne!(run["routing"]["tier"], "standard", "{run:#}");
        assert!(
            run["request"]["forwarded"].is_null(),
            "it was sent: {run:#}"
        );
        assert!(
            run["response"]["http_status"].is_null(),
            "it was answered: {run:#}"
        );
    }
    let failures: Vec<_> = held
        .iter()
        .map(|run| run["failure"]["code"].clone())
        .collect();
    assert!(
        failures.iter().any(|code| code
            .as_str()
            .is_some_and(|code| code != "label-requires-tier")),
        "the attested upstream was refused for its evidence: {failures:?}"
    );
    assert!(
        !bundle
            .files()
            .keys()
            .any(|name| name.starts_with("evidence/"))
    );
}
