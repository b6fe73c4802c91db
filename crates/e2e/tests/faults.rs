//! What fails while a session runs: models, upstreams, disks, processes, and the person at the
//! terminal. Each time the session ends with a record that says how, and nothing acknowledged is lost.

#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is one"
)]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use proofroom_e2e::{Bundle, Deployment, Live, Process, Upstream, repository_root, skip};
use serde_json::Value;

const DEMO_TASK: &str = "The test suite of this repository fails (run it with `python3 -m \
                         unittest`). Find the cause, fix it without changing the tests, and commit \
                         the fix.";

fn cassette(name: &str) -> PathBuf {
    repository_root().join(format!("crates/testkit/cassettes/{name}.json"))
}

/// A deployment whose only upstream serves every model that the player knows, its faults included.
fn faulty() -> (Deployment, Upstream) {
    let upstream = Upstream::start(&cassette("hello"), &[]);
    let deployment = Deployment::empty();
    let text = format!(
        r#"[[upstream]]
name = "faulty"
tier = "standard"
base_url = "http://{}"
apis = ["chat", "messages"]
models = ["cassette-*"]
region = "local"
source = "cassette"
key = {{ from = "none" }}
retention = {{ mode = "in-memory", contract = "recorded answers on this machine, no contract" }}
attestation = {{ kind = "none" }}
"#,
        upstream.address
    );
    fs::write(deployment.policy().join("upstreams.toml"), text).unwrap();
    (deployment, upstream)
}

fn intent<'a>(kind: &'a str) -> impl Fn(&Value) -> bool + use<'a> {
    move |line| {
        let body = &line["event"]["body"];
        body["type"] == "intent" && body["action"]["kind"] == kind
    }
}

fn said<'a>(words: &'a str) -> impl Fn(&Value) -> bool + use<'a> {
    move |line| {
        let text = line["text"].as_str().unwrap_or_default();
        text.contains(words)
    }
}

/// The session ended this way, was verified, and left nothing running.
fn assert_ended(bundle: &Bundle, end: &str, processes: &[Process]) {
    let code = if end == "completed" { 0 } else { 1 };
    assert_eq!(bundle.end(), Some(end), "{bundle:#?}");
    assert_eq!(bundle.code, Some(code), "{bundle:#?}");
    bundle.assert_accepted();
    Process::assert_gone(processes);
}

fn groups_of(session: &str) -> String {
    let found = Command::new("find")
        .args(["/sys/fs/cgroup", "-maxdepth", "6", "-name"])
        .arg(format!("proofroom-{session}"))
        .output();
    String::from_utf8_lossy(&found.unwrap().stdout).into_owned()
}

#[test]
fn every_fault_of_a_model_ends_the_session_with_an_accepted_record() {
    let (deployment, _upstream) = faulty();
    let repository = deployment.repository("plain", &[("a.txt", "a\n")]);
    let cases = [
        ("garbage-json", "agent-failed", Some("upstream-error")),
        ("invalid-utf8", "agent-failed", Some("upstream-error")),
        ("die-mid-stream", "agent-failed", Some("upstream-error")),
        ("wrong-shape", "agent-failed", Some("upstream-error")),
        ("status-429", "agent-failed", Some("upstream-error")),
        ("status-500", "agent-failed", Some("upstream-error")),
        ("big-arguments", "agent-failed", Some("complete")),
        ("unknown-tool", "limit-reached", Some("complete")),
        ("endless-stream", "limit-reached", Some("cancelled")),
        ("hang", "limit-reached", Some("cancelled")),
    ];
    std::thread::scope(|scope| {
        for (fault, end, status) in cases {
            let seconds = if status == Some("cancelled") {
                "8"
            } else {
                "60"
            };
            let model = format!("cassette-fault-{fault}");
            let session = deployment
                .session(&repository)
                .arguments(&["--model", &model, "--seconds", seconds, "--steps", "4"])
                .task("say hello");
            scope.spawn(move || {
                let bundle = session.run();
                assert_ended(&bundle, end, &[]);
                let runs = bundle.model_runs();
                assert!(!runs.is_empty(), "{fault}: no model run is recorded");
                for run in runs {
                    assert_eq!(run["status"].as_str(), status, "{fault}: {run:#}");
                }
            });
        }
    });
}

#[test]
fn an_upstream_that_dies_between_two_sessions_is_named_in_a_valid_record() {
    let (deployment, upstream) = faulty();
    let repository = deployment.repository("plain", &[("a.txt", "a\n")]);
    drop(upstream);
    let bundle = deployment
        .session(&repository)
        .arguments(&["--model", "cassette-standard"])
        .task("say hello")
        .run();
    assert_ended(&bundle, "agent-failed", &[]);
    let runs = bundle.model_runs();
    assert!(runs.iter().all(|run| run["status"] == "upstream-error"));
    assert!(!runs.is_empty());
}

fn waiting_for_a_model(deployment: &Deployment, upstream: &Upstream, repository: &Path) -> Live {
    let mut live = deployment
        .session(repository)
        .arguments(&["--model", "cassette-fault-hang"])
        .task("wait")
        .live();
    live.wait_for("model request", intent("model-run"));
    // The intent comes first; the run has begun when the upstream has a connection (state 01).
    let (_, port) = upstream.address.rsplit_once(':').unwrap();
    let own = format!(":{:04X}", port.parse::<u16>().unwrap());
    let connected = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().is_some_and(|local| local.ends_with(&own));
        local && fields.nth(1) == Some("01")
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while !fs::read_to_string("/proc/net/tcp")
        .unwrap()
        .lines()
        .any(connected)
    {
        assert!(
            Instant::now() < deadline,
            "the gateway never asked the model"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    live
}

#[test]
fn an_interrupt_during_a_model_request_cancels_the_session() {
    let (deployment, upstream) = faulty();
    let repository = deployment.repository("plain", &[("a.txt", "a\n")]);
    let live = waiting_for_a_model(&deployment, &upstream, &repository);
    let processes = live.processes();
    live.signal("INT");
    let bundle = live.finish();
    assert_ended(&bundle, "cancelled", &processes);
    // The run that was under way is recorded and cited, not forgotten.
    let runs = bundle.model_runs();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0]["status"], "cancelled");
}

#[test]
fn an_interrupt_during_a_command_cancels_the_session() {
    let (deployment, _upstream) = faulty();
    let repository = deployment.repository("plain", &[("a.txt", "a\n")]);
    let mut live = deployment
        .session(&repository)
        .command(&["sh", "-c", "echo started; sleep 60"])
        .live();
    live.wait_for("output", said("started"));
    let processes = live.processes();
    assert!(processes.len() >= 3, "{processes:?}");
    live.signal("INT");
    assert_ended(&live.finish(), "cancelled", &processes);
}

#[test]
fn an_interrupt_at_the_start_leaves_a_cancelled_record_or_says_that_nothing_began() {
    let (deployment, _upstream) = faulty();
    let repository = deployment.repository("plain", &[("a.txt", "a\n")]);
    for stage in ["session", "commit", "isolation", "room"] {
        let mut live = deployment
            .session(&repository)
            .command(&["sleep", "60"])
            .live();
        live.wait_for(stage, |line| line["name"] == stage);
        live.signal("INT");
        let id = live.id();
        let bundle = live.finish();
        if bundle.end().is_none() {
            assert!(
                matches!(stage, "session" | "commit"),
                "{stage}: {bundle:#?}"
            );
            assert_eq!(bundle.code, Some(1));
            assert!(bundle.complaint.contains("(interrupted)"), "{bundle:#?}");
            assert!(!bundle.path.exists());
            assert!(!deployment.state().join("sessions").join(&id).exists());
        } else {
            assert_ended(&bundle, "cancelled", &[]);
        }
        assert_eq!(groups_of(&id), "");
    }
}

#[test]
fn an_interrupt_during_the_delivery_cancels_the_session_and_keeps_its_record_true() {
    let (deployment, _upstream) = faulty();
    let repository = deployment.repository("plain", &[("a.txt", "a\n")]);
    let mut live = deployment
        .session(&repository)
        .command(&["sh", "-c", "head -c 1500000 /dev/urandom > big"])
        .live();
    live.wait_for("delivery", intent("deliver"));
    live.signal("INT");
    let id = live.id();
    let bundle = live.finish();
    assert_ended(&bundle, "cancelled", &[]);
    let record = bundle.session_record();
    let branches = proofroom_e2e::git(&repository, &["branch", "--list", "proofroom/*"]);
    let delivered = !record["predicate"]["result"].is_null();
    assert_eq!(delivered, branches.contains(&id), "{record:#} {branches}");
}

fn supervisor(live: &Live) -> Process {
    let of_room = |process: &Process| {
        fs::read(format!("/proc/{}/cmdline", process.pid))
            .is_ok_and(|line| line.starts_with(b"/proofroom/proofroom-guest\0supervise"))
    };
    let found = live.processes().into_iter().find(of_room);
    found.expect("the room's supervisor")
}

fn send(signal: &str, process: &Process) {
    let sent = Command::new("kill")
        .args([signal, &process.pid.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

#[test]
fn a_second_interrupt_ends_a_supervisor_that_hangs_at_once() {
    let (deployment, upstream) = faulty();
    let repository = deployment.repository("plain", &[("a.txt", "a\n")]);
    let mut live = waiting_for_a_model(&deployment, &upstream, &repository);
    let processes = live.processes();
    send("-STOP", &supervisor(&live));
    live.signal("INT");
    live.wait_for("first answer", said("interrupt again"));
    live.signal("INT");
    assert_ended(&live.finish(), "interrupted", &processes);
}

#[test]
fn a_supervisor_that_dies_leaves_an_interrupted_record_and_no_process() {
    let (deployment, _upstream) = faulty();
    let repository = deployment.repository("plain", &[("a.txt", "a\n")]);
    let mut live = deployment
        .session(&repository)
        .command(&["sh", "-c", "echo started; sleep 60"])
        .live();
    live.wait_for("output", said("started"));
    let processes = live.processes();
    send("-KILL", &supervisor(&live));
    assert_ended(&live.finish(), "interrupted", &processes);
}

/// What a program acknowledged by printing it, of one session.
fn acknowledged(lines: &[Value]) -> (Option<String>, Vec<Value>) {
    let id = lines
        .iter()
        .find(|line| line["name"] == "session")
        .and_then(|line| line["value"].as_str())
        .map(str::to_owned);
    let events = lines
        .iter()
        .filter(|line| line["type"] == "event")
        .map(|line| line["event"].clone())
        .collect();
    (id, events)
}

#[test]
fn a_host_that_is_killed_takes_its_room_along_and_loses_nothing_it_acknowledged() {
    let deployment = Deployment::with_cassette(&cassette("demo"));
    let repository = deployment.demo_repository();
    let mut killed = Vec::new();
    let mut seed = u64::from(std::process::id());
    for round in 0..10_u64 {
        let mut live = deployment.session(&repository).task(DEMO_TASK).live();
        live.id();
        // A different point each time, from the very start to the end of the session.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis(round * 220 + (seed >> 33) % 220));
        let processes = live.processes();
        let lines = live.kill();
        Process::assert_gone(&processes);
        killed.push(acknowledged(&lines));
    }
    let last = deployment.session(&repository).command(&["true"]).run();
    assert_ended(&last, "completed", &[]);
    let mut interrupted = 0;
    for (id, events) in killed {
        let id = id.expect("a session id");
        assert_eq!(groups_of(&id), "");
        let bundle = Bundle::at(deployment.state().join(format!("bundles/{id}.proofroom")));
        if events.is_empty() && !bundle.path.exists() {
            continue;
        }
        bundle.assert_accepted();
        let kept = bundle.events();
        assert_eq!(kept.get(..events.len()), Some(events.as_slice()), "{id}");
        interrupted += u32::from(bundle.session_record()["predicate"]["end"] == "interrupted");
    }
    assert!(
        interrupted >= 3,
        "only {interrupted} were caught in the act"
    );
}

#[test]
fn a_host_that_is_killed_during_a_command_or_after_a_delivery_leaves_a_true_record() {
    let (deployment, _upstream) = faulty();
    let repository = deployment.repository("plain", &[("a.txt", "a\n")]);
    let mut running = deployment
        .session(&repository)
        .command(&["sh", "-c", "setsid sleep 60 & echo started; sleep 60"])
        .live();
    running.wait_for("output", said("started"));
    let mut delivered = deployment
        .session(&repository)
        .command(&["sh", "-c", "echo b > a.txt"])
        .live();
    delivered.wait_for("delivery", |line| {
        line["event"]["body"]["result"]["status"] == "delivered"
    });
    let ids = [running.id(), delivered.id()];
    for live in [delivered, running] {
        let processes = live.processes();
        drop(live.kill());
        Process::assert_gone(&processes);
    }
    let next = deployment.session(&repository).command(&["true"]).run();
    assert_ended(&next, "completed", &[]);
    for (id, result) in ids.iter().zip([false, true]) {
        let path = format!("bundles/{id}.proofroom");
        let bundle = Bundle::at(deployment.state().join(path));
        bundle.assert_accepted();
        let record = bundle.session_record();
        let stated = &record["predicate"]["result"]["reference"];
        assert_eq!(stated.is_string(), result, "{record:#}");
        assert_eq!(groups_of(id), "");
    }
}

/// A small file system in the state directory's place; unmounted with the value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m,mode=0700", "small"])
            .arg(path)
            .status();
        mounted.unwrap().success().then(|| Self(path.to_owned()))
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    fn fill(&self) {
        let mut file = fs::File::create(self.ballast()).unwrap();
        for piece in [65_536, 4096, 1] {
            while std::io::Write::write_all(&mut file, &vec![0; piece]).is_ok() {}
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn a_full_disk_stops_the_session_and_the_next_run_closes_its_record() {
    let (deployment, _upstream) = faulty();
    let repository = deployment.repository("plain", &[("a.txt", "a\n")]);
    let Some(disk) = SmallDisk::mount(&deployment.state()) else {
        return skip("a_full_disk", "tmpfs cannot be mounted here");
    };
    let script =
        "echo started; i=0; while true; do i=$((i+1)); /bin/echo step $i; sleep 0.02; done";
    let mut live = deployment
        .session(&repository)
        .command(&["sh", "-c", script])
        .live();
    live.wait_for("output", said("started"));
    let processes = live.processes();
    disk.fill();
    let id = live.id();
    let failed = live.finish();
    Process::assert_gone(&processes);
    assert_eq!(failed.code, Some(70), "{failed:#?}");
    assert!(
        failed.complaint.contains("(record-not-kept)"),
        "{failed:#?}"
    );
    assert!(failed.complaint.contains("No space left"), "{failed:#?}");
    let (_, events) = acknowledged(&failed.lines);

    // While the disk is full, nothing begins, and the session stays as it is.
    let refused = deployment.session(&repository).command(&["true"]).run();
    assert_ne!(refused.code, Some(0), "{refused:#?}");
    assert_eq!(refused.end(), None, "{refused:#?}");
    let warned = refused.lines.iter().any(said("No space left"));
    assert!(warned, "{refused:#?}");

    fs::remove_file(disk.ballast()).unwrap();
    let next = deployment.session(&repository).command(&["true"]).run();
    assert_ended(&next, "completed", &[]);
    let bundle = Bundle::at(deployment.state().join(format!("bundles/{id}.proofroom")));
    bundle.assert_accepted();
    assert_eq!(bundle.session_record()["predicate"]["end"], "interrupted");
    assert_eq!(bundle.events().get(..events.len()), Some(events.as_slice()));
}

/// A library that makes `fsync` and `fdatasync` fail once a file exists.
fn failing_sync(dir: &Path) -> Option<PathBuf> {
    let source = dir.join("sync.c");
    let library = dir.join("sync.so");
    let text = r#"#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
static int fails(void) { const char *f = getenv("SYNC_FAILS"); return f && access(f, F_OK) == 0; }
int fsync(int fd) { int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
  if (fails()) { errno = EIO; return -1; } return real(fd); }
int fdatasync(int fd) { int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
  if (fails()) { errno = EIO; return -1; } return real(fd); }
"#;
    fs::write(&source, text).unwrap();
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source)
        .arg("-ldl")
        .status();
    made.is_ok_and(|status| status.success()).then_some(library)
}

#[test]
fn a_sync_that_fails_stops_the_session_before_anything_more_is_acknowledged() {
    let (deployment, _upstream) = faulty();
    let repository = deployment.repository("plain", &[("a.txt", "a\n")]);
    let Some(library) = failing_sync(deployment.path()) else {
        return skip("a_sync_that_fails", "no C compiler here");
    };
    let trigger = deployment.path().join("fails");
    let script =
        "echo started; i=0; while true; do i=$((i+1)); /bin/echo step $i; sleep 0.02; done";
    let mut live = deployment
        .session(&repository)
        .env("LD_PRELOAD", library.as_os_str())
        .env("SYNC_FAILS", trigger.as_os_str())
        .command(&["sh", "-c", script])
        .live();
    live.wait_for("output", said("started"));
    fs::write(&trigger, "").unwrap();
    let id = live.id();
    let failed = live.finish();
    assert_eq!(failed.code, Some(70), "{failed:#?}");
    assert!(
        failed.complaint.contains("(record-not-kept)"),
        "{failed:#?}"
    );
    assert!(
        failed.complaint.contains("Input/output error"),
        "{failed:#?}"
    );
    let (_, events) = acknowledged(&failed.lines);
    let next = deployment.session(&repository).command(&["true"]).run();
    assert_ended(&next, "completed", &[]);
    let bundle = Bundle::at(deployment.state().join(format!("bundles/{id}.proofroom")));
    bundle.assert_accepted();
    assert_eq!(bundle.events().get(..events.len()), Some(events.as_slice()));
}

/// libfaketime, where Debian's `faketime` is installed.
fn faketime() -> Option<PathBuf> {
    let libraries = ["x86_64", "aarch64"]
        .map(|machine| format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1"));
    libraries
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.exists())
}

#[test]
fn a_clock_that_is_set_back_and_forward_during_a_session_makes_no_record_contradict_another() {
    let Some(library) = faketime() else {
        return skip(
            "a_clock_that_is_set",
            "no libfaketime here (apt install faketime)",
        );
    };
    let (deployment, _upstream) = faulty();
    let repository = deployment.repository("plain", &[("a.txt", "a\n")]);
    let clock = deployment.path().join("clock");
    let set = |offset: &str| {
        let new = clock.with_extension("new");
        fs::write(&new, offset).unwrap();
        fs::rename(&new, &clock).unwrap();
    };
    set("+0");
    let script = r#"
ask() { python3 - <<'P'
import json, os, urllib.request as r
body = json.dumps({"model": "cassette-standard", "messages": [{"role": "user", "content": "hi"}]}).encode()
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
print(r.urlopen(r.Request(url, body, {"content-type": "application/json"})).status)
P
}
ask; echo first; sleep 2; ask; echo second; sleep 2; ask"#;
    let mut live = deployment
        .session(&repository)
        .env("LD_PRELOAD", library.as_os_str())
        .env("FAKETIME_TIMESTAMP_FILE", clock.as_os_str())
        .env("FAKETIME_NO_CACHE", "1".as_ref())
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1".as_ref())
        .command(&["sh", "-c", script])
        .live();
    live.wait_for("first", said("first"));
    set("-7200");
    live.wait_for("second", said("second"));
    set("+3600");
    let maps = fs::read_to_string(format!("/proc/{}/maps", live.pid())).unwrap();
    assert!(maps.contains("libfaketime"), "whose clock was set?");
    let bundle = live.finish();
    assert_ended(&bundle, "completed", &[]);
    assert_eq!(bundle.model_runs().len(), 3);
}

#[test]
fn two_first_sessions_at_once_on_one_state_directory_and_one_repository_are_both_accepted() {
    let (deployment, _upstream) = faulty();
    let repository = deployment.repository("plain", &[("a.txt", "a\n")]);
    let ids: Vec<String> = std::thread::scope(|scope| {
        let started: Vec<_> = ["one", "two"]
            .map(|name| {
                let script = format!("echo {name} > {name}.txt");
                let session = deployment
                    .session(&repository)
                    .command(&["sh", "-c", &script]);
                scope.spawn(move || {
                    let bundle = session.run();
                    assert_ended(&bundle, "completed", &[]);
                    acknowledged(&bundle.lines).0.expect("an id")
                })
            })
            .into_iter()
            .collect();
        let ends = started.into_iter().map(|session| session.join().unwrap());
        ends.collect()
    });
    let branches = proofroom_e2e::git(&repository, &["branch", "--list", "proofroom/*"]);
    assert!(ids.iter().all(|id| branches.contains(id)), "{branches}");
}

#[test]
fn one_session_that_cannot_be_closed_does_not_keep_the_next_from_beginning() {
    let (deployment, _upstream) = faulty();
    let repository = deployment.repository("plain", &[("a.txt", "a\n")]);
    let first = deployment.session(&repository).command(&["true"]).run();
    assert_ended(&first, "completed", &[]);
    let broken = deployment
        .state()
        .join("sessions/ses_00000000000000000000000000000001");
    fs::create_dir(&broken).unwrap();
    fs::write(broken.join("journal.jsonl"), "not an event\n\n").unwrap();
    let next = deployment.session(&repository).command(&["true"]).run();
    assert_ended(&next, "completed", &[]);
    let warned = next.lines.iter().find(|line| line["type"] == "warning");
    let text = warned.expect("a warning")["text"].as_str().unwrap();
    assert!(
        text.contains("ses_00000000000000000000000000000001"),
        "{text}"
    );
    assert!(broken.exists());
}

#[test]
fn a_state_directory_that_cannot_be_used_is_named() {
    let (deployment, _upstream) = faulty();
    let repository = deployment.repository("plain", &[("a.txt", "a\n")]);
    fs::write(deployment.state(), "a file").unwrap();
    let refused = deployment.session(&repository).command(&["true"]).run();
    assert_eq!(refused.code, Some(64));
    assert!(
        refused.complaint.contains("(state-directory)"),
        "{refused:?}"
    );
    let name = deployment.state().display().to_string();
    assert!(refused.complaint.contains(&name), "{refused:?}");
    fs::remove_file(deployment.state()).unwrap();
    fs::create_dir(deployment.state()).unwrap();
    fs::set_permissions(deployment.state(), fs::Permissions::from_mode(0o755)).unwrap();
    let refused = deployment.session(&repository).command(&["true"]).run();
    assert_eq!(refused.code, Some(64));
    assert!(refused.complaint.contains("(state-exposed)"), "{refused:?}");
}
