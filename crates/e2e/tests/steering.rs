//! A person's command in a living room, a room stopped in memory, and every limit that ends a session.

#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is one"
)]

use std::{
    fs,
    time::{Duration, Instant},
};

use proofroom_e2e::{Bundle, Deployment, Live, Process, RoomCommand};
use serde_json::Value;

/// A deployment whose `room.toml` says this instead of that.
fn deployment(changes: &[(&str, &str)]) -> Deployment {
    let deployment = Deployment::empty_with_hello();
    let path = deployment.policy().join("room.toml");
    let mut text = fs::read_to_string(&path).expect("room.toml");
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    fs::write(&path, text).expect("room.toml");
    deployment
}

fn start(deployment: &Deployment, script: &str) -> (Live, String) {
    let repository = deployment.repository("plain", &[("a.txt", "a\n")]);
    let mut live = deployment
        .session(&repository)
        .command(&["sh", "-c", script])
        .live();
    live.wait_for("output", |line| {
        let text = line["text"].as_str().unwrap_or_default();
        text.contains("started")
    });
    let id = live.id();
    (live, id)
}

fn run(deployment: &Deployment, script: &str) -> Bundle {
    let repository = deployment.repository("plain", &[("a.txt", "a\n")]);
    let session = deployment.session(&repository);
    session.command(&["sh", "-c", script]).run()
}

/// The observations of one kind.
fn observations(bundle: &Bundle, kind: &str) -> Vec<Value> {
    let of_kind = |event: Value| {
        let observation = event["body"]["observation"].clone();
        (observation["kind"] == kind).then_some(observation)
    };
    bundle.events().into_iter().filter_map(of_kind).collect()
}

fn assert_limit(bundle: &Bundle, resource: &str) {
    assert_eq!(bundle.end(), Some("limit-reached"), "{bundle:#?}");
    bundle.assert_accepted();
    let closing = bundle.lines.iter().find(|line| line["type"] == "session");
    let last = &closing.expect("a closing line")["limit"]["resource"];
    assert_eq!(last, resource, "{bundle:#?}");
    let reached = observations(bundle, "limit-reached");
    assert!(
        reached.iter().any(|limit| limit["resource"] == resource),
        "{reached:?}"
    );
}

#[test]
fn a_persons_command_runs_as_the_agent_comes_back_whole_and_names_the_person() {
    let deployment = deployment(&[]);
    let (live, id) = start(&deployment, "echo started; sleep 60");
    let exec = |argv: &[&str]| {
        let arguments = [&["exec", &id, "--"], argv].concat();
        RoomCommand::new(&deployment, &arguments).output()
    };
    let output = exec(&["sh", "-c", "id -u; pwd; printf 'a\\033b' >&2; exit 7"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(output.stdout, b"1000\n/workspace\n");
    assert_eq!(output.stderr, b"a\x1bb");
    // Larger than every buffer on the way: nothing of it is lost.
    let output = exec(&["seq", "1", "200000"]);
    assert_eq!(output.status.code(), Some(0), "{:?}", output.stderr);
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(text.lines().count(), 200_000);
    assert_eq!(text.lines().last(), Some("200000"));
    // Confined like the agent's own: there is no network, and the attempt is an event.
    let script = "import socket; socket.create_connection(('192.0.2.1', 80), 2)";
    let output = exec(&["python3", "-c", script]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    RoomCommand::new(&deployment, &["end", &id]).success();
    let bundle = live.finish();
    assert_eq!(bundle.end(), Some("cancelled"), "{bundle:#?}");
    bundle.assert_accepted();
    let person = |event: &Value| event["body"]["action"]["kind"] == "run-by-person";
    let events = bundle.events();
    let acts: Vec<&Value> = events.iter().filter(|event| person(event)).collect();
    assert_eq!(acts.len(), 3);
    let action = &acts[0]["body"]["action"];
    assert!(action["uid"].is_u64(), "{action}");
    assert!(!action["user"].as_str().expect("a name").is_empty());
    assert_eq!(action["argv"][0], "sh");
    let blocked = observations(&bundle, "blocked");
    let tried = |one: &Value| one["attempt"]["target"].as_str() == Some("ip 192.0.2.1:80");
    assert!(blocked.iter().any(tried), "{blocked:?}");
}

#[test]
fn a_persons_command_is_refused_where_the_access_policy_forbids_it() {
    let deployment = deployment(&[]);
    let repository = deployment.repository("plain", &[("a.txt", "a\n")]);
    let mut live = deployment
        .session(&repository)
        .arguments(&["--programs", "sh"])
        .command(&["sh", "-c", "echo started; sleep 60"])
        .live();
    live.wait_for("output", |line| {
        line["text"].as_str().unwrap_or_default() == "started\n"
    });
    let id = live.id();
    let output = RoomCommand::new(&deployment, &["exec", &id, "--", "id"]).output();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(output.stdout, b"");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(complaint.contains("(session-refused)"), "{complaint}");
    RoomCommand::new(&deployment, &["end", &id]).success();
    let bundle = live.finish();
    bundle.assert_accepted();
    let denied = bundle
        .events()
        .into_iter()
        .any(|event| event["body"]["result"]["status"] == "denied");
    assert!(denied, "{:#?}", bundle.events());
}

#[test]
fn a_paused_room_does_nothing_and_its_pause_is_an_event_that_is_not_idleness() {
    let deployment = deployment(&[("idle_seconds = 1800", "idle_seconds = 4")]);
    let script = "echo started; i=0; while true; do i=$((i+1)); /bin/echo $i; sleep 0.2; done";
    let (live, id) = start(&deployment, script);
    RoomCommand::new(&deployment, &["pause", &id]).success();
    let rows = RoomCommand::new(&deployment, &["list", "--json"]).lines();
    assert_eq!(rows[0]["state"], "paused", "{rows:?}");
    let count = || rows_of(&deployment)[0]["events"].as_u64().expect("a count");
    // What was under way arrives; then nothing does.
    std::thread::sleep(Duration::from_millis(500));
    let before = count();
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(count(), before);
    let refused = RoomCommand::new(&deployment, &["exec", &id, "--", "id"]).output();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    RoomCommand::new(&deployment, &["resume", &id]).success();
    let deadline = Instant::now() + Duration::from_secs(20);
    while count() <= before {
        assert!(Instant::now() < deadline, "the room does not go on");
        std::thread::sleep(Duration::from_millis(50));
    }
    RoomCommand::new(&deployment, &["end", &id]).success();
    let bundle = live.finish();
    assert_eq!(bundle.end(), Some("cancelled"), "{bundle:#?}");
    bundle.assert_accepted();
    let pauses = observations(&bundle, "paused");
    assert_eq!(pauses.len(), 1, "{pauses:?}");
    assert!(pauses[0]["from"].as_str() < pauses[0]["to"].as_str());
}

fn rows_of(deployment: &Deployment) -> Vec<Value> {
    RoomCommand::new(deployment, &["list", "--json"]).lines()
}

#[test]
fn a_paused_room_ends_by_request_and_one_whose_host_was_killed_is_swept() {
    let deployment = deployment(&[]);
    let (live, id) = start(&deployment, "echo started; sleep 60");
    RoomCommand::new(&deployment, &["pause", &id]).success();
    RoomCommand::new(&deployment, &["end", &id]).success();
    let bundle = live.finish();
    assert_eq!(bundle.end(), Some("cancelled"), "{bundle:#?}");
    bundle.assert_accepted();

    let deployment = self::deployment(&[]);
    let (live, id) = start(&deployment, "echo started; sleep 60");
    let processes = live.processes();
    RoomCommand::new(&deployment, &["pause", &id]).success();
    drop(live.kill());
    std::thread::sleep(Duration::from_millis(200));
    assert!(
        processes.iter().any(Process::lives),
        "a stopped room cannot notice that its host is gone"
    );
    RoomCommand::new(&deployment, &["sweep"]).success();
    Process::assert_gone(&processes);
    let bundle = Bundle::at(deployment.state().join(format!("bundles/{id}.proofroom")));
    bundle.assert_accepted();
    let record = bundle.destruction_record();
    let facts = record["predicate"]["observed"].as_array().expect("facts");
    let killed = facts.iter().any(|fact| fact["fact"] == "processes-killed");
    assert!(killed, "{record:#}");
}

#[test]
fn a_session_that_does_nothing_ends_at_its_idle_limit() {
    let deployment = deployment(&[("idle_seconds = 1800", "idle_seconds = 2")]);
    let began = Instant::now();
    let bundle = run(&deployment, "sleep 120");
    assert_limit(&bundle, "idle");
    assert!(began.elapsed() < Duration::from_secs(60));
    let human = format!("{:?}", bundle.lines);
    assert!(human.contains("2 s without an event"), "{human}");
}

#[test]
fn a_session_that_writes_more_than_its_output_ends() {
    let deployment = deployment(&[("output_bytes = 268435456", "output_bytes = 100000")]);
    let bundle = run(&deployment, "yes");
    assert_limit(&bundle, "output");
}

#[test]
fn an_agent_that_the_kernel_kills_for_lack_of_memory_ends_at_that_limit() {
    let small = [
        ("memory_bytes = 4294967296", "memory_bytes = 301989888"),
        ("workspace_bytes = 2147483648", "workspace_bytes = 8388608"),
        ("tmp_bytes = 536870912", "tmp_bytes = 8388608"),
        ("shm_bytes = 67108864", "shm_bytes = 1048576"),
    ];
    let deployment = deployment(&small);
    let repository = deployment.repository("plain", &[("a.txt", "a\n")]);
    let bundle = deployment
        .session(&repository)
        .command(&["python3", "-c", "x = [bytes(4096) for _ in range(10**8)]"])
        .run();
    let record = bundle.session_record();
    let mechanisms = record["predicate"]["mechanisms"].to_string();
    if mechanisms.contains("no-room-memory-limit") {
        return proofroom_e2e::skip("an_agent_that_the_kernel_kills", "no memory group here");
    }
    assert_limit(&bundle, "memory");
}

#[test]
fn a_room_with_fewer_processors_than_the_machine_is_held_to_them() {
    let machine = std::thread::available_parallelism().map_or(1, usize::from);
    let deployment = deployment(&[("cpus = 8", "cpus = 1")]);
    let script = "timeout 4 sh -c 'while :; do :; done' & timeout 4 sh -c 'while :; do :; done' & \
                  timeout 4 sh -c 'while :; do :; done' & wait; cat /proc/self/stat > /dev/null; times";
    let bundle = run(&deployment, script);
    bundle.assert_accepted();
    let record = bundle.session_record();
    let mechanisms = record["predicate"]["mechanisms"].to_string();
    if machine < 2 || mechanisms.contains("no-room-cpu-limit") {
        return proofroom_e2e::skip("a_room_with_fewer_processors", "no cpu group here");
    }
    assert!(mechanisms.contains("cpu"), "{mechanisms}");
    // `times` says what the children took: minutes and seconds, user and system.
    let said: String = bundle
        .lines
        .iter()
        .filter(|line| line["kind"] == "stdout")
        .filter_map(|line| line["text"].as_str())
        .collect();
    let children = said.lines().nth(1).expect("two lines");
    let seconds: f64 = children
        .split(' ')
        .filter_map(|part| {
            let (minutes, seconds) = part.trim_end_matches('s').split_once('m')?;
            Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
        })
        .sum();
    assert!(seconds < 6.0, "one processor for 4 s, but {said}");
}
