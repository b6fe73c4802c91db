//! Living sessions seen and steered from another terminal, and what is left of them when their host
//! process dies: listed, ended, logged, swept.

#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is one"
)]

use std::{fs, path::PathBuf};

use proofroom_e2e::{Bundle, Deployment, Live, Process, RoomCommand};
use serde_json::Value;

/// A session whose command says that it runs, and then waits for a minute.
fn waiting(deployment: &Deployment) -> (Live, String) {
    let repository = deployment.path().join("plain");
    let repository = if repository.exists() {
        repository
    } else {
        deployment.repository("plain", &[("a.txt", "a\n")])
    };
    let mut live = deployment
        .session(&repository)
        .command(&["sh", "-c", "/bin/true; echo started; sleep 60"])
        .live();
    live.wait_for("output", |line| {
        line["text"]
            .as_str()
            .unwrap_or_default()
            .contains("started")
    });
    let id = live.id();
    (live, id)
}

fn bundle_of(deployment: &Deployment, id: &str) -> Bundle {
    Bundle::at(deployment.state().join(format!("bundles/{id}.proofroom")))
}

/// The facts of a destruction record: name and detail.
fn observed(bundle: &Bundle) -> Vec<(String, String)> {
    let record = bundle.destruction_record();
    let facts = record["predicate"]["observed"].as_array().expect("facts");
    let end = record["predicate"]["at"].as_str().expect("a time");
    let fact = |fact: &Value| {
        let at = fact["at"].as_str().expect("a time");
        assert!(at <= end, "{record:#}");
        let text = |name: &str| fact[name].as_str().expect("text").to_owned();
        (text("fact"), text("detail"))
    };
    facts.iter().map(fact).collect()
}

fn names(facts: &[(String, String)]) -> Vec<&str> {
    facts.iter().map(|(name, _)| name.as_str()).collect()
}

fn folder(deployment: &Deployment, id: &str) -> PathBuf {
    deployment.state().join("sessions").join(id)
}

/// What may be in a session's folder when it is over.
fn assert_tidy(deployment: &Deployment, id: &str) {
    let kept = [
        "binding.json",
        "done",
        "evidence",
        "journal.jsonl",
        "lock",
        "policies",
        "records",
        "result.json",
        "room.json",
        "session.pem",
    ];
    for entry in fs::read_dir(folder(deployment, id)).expect("a folder") {
        let name = entry.expect("entry").file_name();
        assert!(kept.iter().any(|kept| name == *kept), "{name:?} is left");
    }
}

#[test]
fn a_living_session_is_listed_and_ends_by_request_with_every_fact_of_its_end() {
    let deployment = Deployment::empty_with_hello();
    let (live, id) = waiting(&deployment);
    let processes = live.processes();
    let rows = RoomCommand::new(&deployment, &["list", "--json"]).lines();
    assert_eq!(rows.len(), 1, "{rows:?}");
    let row = &rows[0];
    assert_eq!(row["session"], id.as_str());
    assert_eq!(row["state"], "running");
    assert_eq!(row["agent"], "sh");
    assert!(row["usage"]["processes"].as_u64() >= Some(2), "{row:#}");
    assert!(row["usage"]["memory_bytes"].as_u64() > Some(0), "{row:#}");
    let human = RoomCommand::new(&deployment, &["list"]).success();
    assert!(human.contains(&id) && human.contains("running"), "{human}");

    let said = RoomCommand::new(&deployment, &["end", &id[..12]]).success();
    assert!(said.contains("is over"), "{said}");
    let bundle = live.finish();
    assert_eq!(bundle.end(), Some("cancelled"), "{bundle:#?}");
    bundle.assert_accepted();
    Process::assert_gone(&processes);
    let facts = observed(&bundle);
    let names = names(&facts);
    assert_eq!(names[..2], ["pid-namespace-ended", "host-ids-unused"]);
    assert!(names.contains(&"files-unlinked"), "{facts:?}");
    assert_tidy(&deployment, &id);
    let nothing = RoomCommand::new(&deployment, &["list", "--json"]).lines();
    assert!(nothing.is_empty(), "{nothing:?}");
}

#[test]
fn a_room_that_is_ended_at_once_leaves_an_interrupted_record() {
    let deployment = Deployment::empty_with_hello();
    let (live, id) = waiting(&deployment);
    let processes = live.processes();
    RoomCommand::new(&deployment, &["end", "--now", &id]).success();
    let bundle = live.finish();
    assert_eq!(bundle.end(), Some("interrupted"), "{bundle:#?}");
    bundle.assert_accepted();
    Process::assert_gone(&processes);
    let refused = RoomCommand::new(&deployment, &["end", &id]).output();
    assert_eq!(refused.status.code(), Some(64));
    let complaint = String::from_utf8_lossy(&refused.stderr);
    assert!(complaint.contains("(session-not-listening)"), "{complaint}");
}

#[test]
fn logs_follow_a_session_to_its_last_event_and_steer_no_terminal() {
    let deployment = Deployment::empty_with_hello();
    let repository = deployment.repository("plain", &[("a.txt", "a\n")]);
    let mut live = deployment
        .session(&repository)
        .command(&[
            "sh",
            "-c",
            "/bin/echo 'a\u{1b}[2Jb'; echo started; sleep 60",
        ])
        .live();
    // Both lines may come as one.
    let started = |text: &str| text.ends_with("started\n");
    live.wait_for("output", |line| line["text"].as_str().is_some_and(started));
    let id = live.id();
    let follow = RoomCommand::new(&deployment, &["logs", "--follow", &id]).start();
    RoomCommand::new(&deployment, &["end", &id]).success();
    let output = follow.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    let last = text.lines().last().expect("lines");
    assert!(last.ends_with("closed   cancelled"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    assert!(text.contains("\\u{1b}[2J"), "{text}");
    let bundle = live.finish();
    assert_eq!(bundle.events().len(), text.lines().count());
    let exact = RoomCommand::new(&deployment, &["logs", "--json", &id]).lines();
    assert_eq!(exact, bundle.events());
}

#[test]
fn what_a_killed_host_left_is_swept_once_by_two_sweepers_and_the_living_stay() {
    let deployment = Deployment::empty_with_hello();
    let (dead, id) = waiting(&deployment);
    let (living, other) = waiting(&deployment);
    let processes = dead.processes();
    drop(dead.kill());
    Process::assert_gone(&processes);
    let rows = RoomCommand::new(&deployment, &["list", "--json"]).lines();
    let state = |session: &str| {
        let row = rows.iter().find(|row| row["session"] == session);
        row.expect("a row")["state"].as_str().map(str::to_owned)
    };
    assert_eq!(state(&id).as_deref(), Some("unclosed"));
    assert_eq!(state(&other).as_deref(), Some("running"));

    let sweepers = [(); 2].map(|()| RoomCommand::new(&deployment, &["sweep", "--json"]).start());
    let mut closed = 0;
    for sweeper in sweepers {
        let output = sweeper.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        closed += text.matches("its record is closed").count();
        assert!(!text.contains("warning"), "{text}");
    }
    assert_eq!(closed, 1);
    let bundle = bundle_of(&deployment, &id);
    bundle.assert_accepted();
    assert_eq!(bundle.session_record()["predicate"]["end"], "interrupted");
    let facts = observed(&bundle);
    let names = names(&facts);
    for wanted in [
        "ended-by-janitor",
        "host-process-gone",
        "first-process-gone",
        "host-ids-unused",
        "files-unlinked",
    ] {
        assert!(names.contains(&wanted), "{wanted}: {facts:?}");
    }
    assert!(!names.contains(&"host-rebooted-since"), "{facts:?}");
    assert_tidy(&deployment, &id);

    RoomCommand::new(&deployment, &["end", &other]).success();
    let bundle = living.finish();
    assert_eq!(bundle.end(), Some("cancelled"), "{bundle:#?}");
    bundle.assert_accepted();
}

#[test]
fn a_session_of_an_earlier_boot_is_closed_and_its_record_says_so() {
    let deployment = Deployment::empty_with_hello();
    let (dead, id) = waiting(&deployment);
    let processes = dead.processes();
    drop(dead.kill());
    Process::assert_gone(&processes);
    let note = folder(&deployment, &id).join("room.json");
    let text = fs::read_to_string(&note).expect("a note");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot id");
    let earlier = "00000000-0000-4000-8000-000000000000";
    assert!(text.contains(boot.trim()));
    fs::write(&note, text.replace(boot.trim(), earlier)).expect("a note");
    RoomCommand::new(&deployment, &["sweep"]).success();
    let bundle = bundle_of(&deployment, &id);
    bundle.assert_accepted();
    let facts = observed(&bundle);
    let names = names(&facts);
    assert!(names.contains(&"host-rebooted-since"), "{facts:?}");
    // What ran before the reboot was not looked at, so nothing is said of it.
    assert!(!names.contains(&"first-process-gone"), "{facts:?}");
}
