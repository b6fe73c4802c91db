//! The probe's sessions, and what is asked of each.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
    time::{Duration, Instant},
};

use proofroom_e2e::{
    Bundle, Deployment, Live, RoomCommand, Session, git, program, repository_root, skip,
    static_program,
};
use serde_json::{Value, json};

const EACCES: i32 = 13;
/// The probe, in every room.
const PROBE: &str = "/workspace/escape-probe";

/// How much a room may use up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caps {
    /// As the policy says.
    Default,
    /// Little, so that it is used up soon.
    Low,
    /// Little, and enough for every group in one room.
    Machine,
}

/// What the rooms are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// A process of this kernel.
    Process,
    /// A virtual machine with an emulated processor.
    Machine,
}

/// One session of the probe.
#[derive(Debug)]
pub(crate) struct Played {
    /// The bundle's events.
    pub(crate) events: Vec<Value>,
    /// The name that a daemon left behind carries.
    pub(crate) mark: String,
    attempts: Vec<Value>,
    killed: Vec<String>,
    mechanisms: String,
    shown: String,
}

/// Every attempt, as the probe lists them.
pub(crate) fn attempts() -> Vec<Value> {
    let listed = Command::new(static_program("escape-probe"))
        .arg("list")
        .output()
        .expect("the probe starts");
    assert!(listed.status.success(), "{listed:?}");
    lines(&String::from_utf8_lossy(&listed.stdout))
}

/// Whether this machine has rooms of its own kernel. What it has not is said aloud.
pub(crate) fn has_process_rooms() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let doctor = Command::new(program("proofroom"))
            .args(["doctor", "--json"])
            .output()
            .expect("doctor starts");
        let report: Value = serde_json::from_slice(&doctor.stdout).expect("doctor's JSON");
        let has = report["highest_level"] != "none";
        if !has {
            skip("escape (process)", "this machine offers no rooms");
        }
        has
    })
}

/// Plays a group in a session of its own, and fails unless nothing escaped and everything is told.
pub(crate) fn play(group: &str, caps: Caps) -> Option<Played> {
    if !has_process_rooms() {
        return None;
    }
    let deployment = deployment(caps);
    let repository = repository(&deployment);
    let played = session(&deployment, &repository, &["run", group]);
    played.judge(Backend::Process, &[group]);
    Some(played)
}

/// Plays `act` in one room and then a group in the next one of the same deployment.
pub(crate) fn play_after(act: &str, group: &str) {
    if !has_process_rooms() {
        return;
    }
    let deployment = deployment(Caps::Default);
    let repository = repository(&deployment);
    let before = session(&deployment, &repository, &["act", act]);
    let end = &before.events.last().expect("events")["body"]["end"];
    assert_eq!(end, "completed", "`{act}` failed: {}", before.shown);
    let played = session(&deployment, &repository, &["run", group]);
    played.judge(Backend::Process, &[group]);
}

/// The same groups in virtual machines: each list in one machine, one command for each group. The
/// first machine also does `act`.
pub(crate) fn play_in_machines(act: &str, machines: &[&[&str]]) {
    let deployment = deployment(Caps::Machine);
    let repository = repository(&deployment);
    for (number, groups) in machines.iter().enumerate() {
        let began = Instant::now();
        let session = match deployment.machine_session(&repository) {
            Ok(session) => session,
            Err(why) => return skip("escape (vm)", &why),
        };
        let mut machine = Machine::boot(&deployment, session);
        println!("booted after {:?}", began.elapsed());
        if number == 0 {
            machine.act(act);
        }
        for group in *groups {
            machine.run(group);
        }
        let played = machine.end(&repository);
        played.judge(Backend::Machine, groups);
        println!("machine {number} took {:?}", began.elapsed());
    }
}

/// A machine at work: its session's own command waits, and the probe's are a person's.
struct Machine<'a> {
    deployment: &'a Deployment,
    live: Live,
    id: String,
    said: Vec<Value>,
    killed: Vec<String>,
}

const BOOTED: Duration = Duration::from_secs(300);
const END: &str = "/tmp/end";

impl<'a> Machine<'a> {
    fn boot(deployment: &'a Deployment, session: Session) -> Self {
        let waiting = [PROBE, "act", "wait", END];
        let mut live = session.command(&waiting).live().patient(BOOTED);
        live.wait_for("the room", |line| {
            line["text"].as_str().unwrap_or_default() == "waiting\n"
        });
        Self {
            id: live.id(),
            deployment,
            live,
            said: Vec::new(),
            killed: Vec::new(),
        }
    }

    fn execute(&self, argv: &[&str]) -> Output {
        let arguments = [&["exec", &self.id, "--"], argv].concat();
        RoomCommand::new(self.deployment, &arguments).output()
    }

    fn act(&self, act: &str) {
        let done = self.execute(&[PROBE, "act", act]);
        assert!(done.status.success(), "{act}: {done:?}");
    }

    fn run(&mut self, group: &str) {
        let began = Instant::now();
        let done = self.execute(&[PROBE, "run", group]);
        let said = lines(&String::from_utf8_lossy(&done.stdout));
        println!("{group}: {:?}", began.elapsed());
        let slow = |one: &&Value| one["ms"].as_u64().is_some_and(|ms| ms >= 1000);
        for one in said.iter().filter(slow) {
            println!("  {}: {} ms", one["attempt"], one["ms"]);
        }
        if done.status.code() == Some(128 + 9) {
            self.killed.push(group.to_owned());
        } else {
            let whole = said.iter().any(|one| one["summary"] == true);
            if !whole {
                println!("{group} in the machine: {done:?}");
                // what the session says of itself tells why
                self.live.wait_for("whole report", |_| false);
            }
        }
        self.said.extend(said);
    }

    /// Lets the session's own command go home, which only a living supervisor can.
    fn end(self, repository: &Path) -> Played {
        let done = self.execute(&["cp", "/workspace/mark.txt", END]);
        assert!(done.status.success(), "{done:?}");
        let bundle = self.live.finish();
        let mut played = Played::of(&bundle, mark(repository));
        played.attempts = self.said;
        played.killed = self.killed;
        played
    }
}

fn deployment(caps: Caps) -> Deployment {
    let hello = repository_root().join("crates/testkit/cassettes/hello.json");
    let deployment = Deployment::with_cassette(&hello);
    if caps != Caps::Default {
        let file = deployment.policy().join("room.toml");
        let tmp = if caps == Caps::Low { 16 } else { 48 };
        let text = fs::read_to_string(&file)
            .expect("room.toml")
            .replace("memory_bytes = 4294967296", "memory_bytes = 536870912")
            .replace("workspace_bytes = 2147483648", "workspace_bytes = 67108864")
            .replace(
                "tmp_bytes = 536870912",
                &format!("tmp_bytes = {}", tmp << 20),
            )
            .replace("shm_bytes = 67108864", "shm_bytes = 16777216")
            .replace("\nprocesses = 512", "\nprocesses = 128")
            .replace("inodes = 400000", "inodes = 2000");
        fs::write(&file, text).expect("room.toml");
    }
    deployment
}

/// The probe lies in the workspace: every backend has one.
fn repository(deployment: &Deployment) -> PathBuf {
    let mark = format!("{}-{}", std::process::id(), deployment.path().display());
    let mark = mark.replace('/', "-");
    let repository = deployment.repository("probed", &[("mark.txt", &mark)]);
    let probe = repository.join("escape-probe");
    fs::copy(static_program("escape-probe"), &probe).expect("the probe");
    git(&repository, &["add", "-A"]);
    git(&repository, &["commit", "-q", "-m", "The probe"]);
    repository
}

fn session(deployment: &Deployment, repository: &Path, words: &[&str]) -> Played {
    let argv = [&[PROBE], words].concat();
    let bundle = deployment.session(repository).command(&argv).run();
    Played::of(&bundle, mark(repository))
}

fn mark(repository: &Path) -> String {
    let mark = fs::read_to_string(repository.join("mark.txt")).expect("mark");
    format!("escape-orphan-{mark}")
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

impl Played {
    fn of(bundle: &Bundle, mark: String) -> Self {
        let shown = format!("{:?} {} {:#?}", bundle.code, bundle.complaint, bundle.lines);
        assert!(bundle.path.exists(), "no bundle: {shown}");
        bundle.assert_accepted();
        let mut said = String::new();
        for line in &bundle.lines {
            if line["type"] == "room" && line["kind"] == "stdout" {
                said.push_str(line["text"].as_str().expect("text"));
            }
        }
        let record = bundle.session_record();
        Self {
            events: bundle.events(),
            mark,
            attempts: lines(&said),
            killed: Vec::new(),
            mechanisms: record["predicate"]["mechanisms"].to_string(),
            shown,
        }
    }

    /// Observations of one kind.
    pub(crate) fn observed(&self, kind: &str) -> impl Iterator<Item = &Value> {
        let kind = kind.to_owned();
        self.events
            .iter()
            .map(|event| &event["body"]["observation"])
            .filter(move |seen| seen["kind"] == *kind)
    }

    fn judge(&self, backend: Backend, groups: &[&str]) {
        let place = format!("{groups:?} in {backend:?}");
        let listed = attempts();
        let of_these = |one: &&Value| groups.iter().any(|group| one["group"] == **group);
        let wanted: Vec<&Value> = listed.iter().filter(of_these).collect();
        let made = self.made(&wanted);
        let names = |all: &[&Value]| -> Vec<Value> {
            all.iter().map(|one| one["attempt"].clone()).collect()
        };
        let made: Vec<&Value> = made.iter().collect();
        assert_eq!(names(&made), names(&wanted), "{place}: {}", self.shown);
        for group in groups {
            keep(backend, group, &made);
        }
        let escaped: Vec<&&Value> = made
            .iter()
            .filter(|one| one["outcome"] == "escaped" && !self.excused(one))
            .collect();
        assert!(escaped.is_empty(), "{place}: escapes: {escaped:#?}");
        let end = &self.events.last().expect("events")["body"]["end"];
        let whole = end == "completed"
            || (end == "limit-reached" && !self.ended_for_memory(groups).is_empty())
            || made.iter().any(|one| self.excused(one));
        assert!(whole, "{place}: ended {end}: {}", self.shown);
        let untold = self.untold(&made);
        assert!(untold.is_empty(), "{place}: no event: {untold:#?}");
        let idle = unrefused(&made);
        assert!(idle.is_empty(), "{place}: never opened: {idle:#?}");
    }

    /// What was made, with those attempts as stopped that the kernel ended together with the whole
    /// command: only for lack of memory, and only when the supervisor lived to tell.
    fn made(&self, wanted: &[&Value]) -> Vec<Value> {
        let said = |one: &Value| self.attempts.iter().find(|made| made["attempt"] == *one);
        let ended = |one: &Value| {
            let group = one["group"].as_str().unwrap_or_default();
            let mut one = one.clone();
            one["outcome"] = "blocked".into();
            one["detail"] = "the whole command was ended".into();
            (!self.ended_for_memory(&[group]).is_empty()).then_some(one)
        };
        wanted
            .iter()
            .filter_map(|one| said(&one["attempt"]).cloned().or_else(|| ended(one)))
            .collect()
    }

    /// Those of the groups that use the memory up and whose command was killed.
    fn ended_for_memory<'a>(&self, groups: &[&'a str]) -> Vec<&'a str> {
        let alone = groups.len() == 1
            && self.events.last().expect("events")["body"]["end"] == "limit-reached";
        let killed = |group: &&str| alone || self.killed.iter().any(|one| one == *group);
        let of_memory = |group: &&str| ["memory", "shared", "nameless"].contains(group);
        groups
            .iter()
            .copied()
            .filter(|group| of_memory(group) && killed(group))
            .collect()
    }

    /// A host without writable groups says so in the record, and caps no memory.
    fn excused(&self, one: &Value) -> bool {
        let memory = one["attempt"]
            .as_str()
            .is_some_and(|name| name.starts_with("memory"));
        let lacking = memory && self.mechanisms.contains("no-room-memory-limit");
        if lacking {
            skip(
                "escape (memory)",
                "this host gives the room no memory group",
            );
        }
        lacking
    }

    /// How often files were refused, and how often the attempts that were made are due: one opening each.
    pub(crate) fn openings(&self, path: &str, access: &str) -> (u64, usize) {
        let attempt = json!({ "on": "file", "path": path, "access": access });
        let event = json!({ "kind": "blocked", "attempt": attempt });
        let of_it = |one: &&Value| {
            let expected = one["expect_events"].as_array();
            one["outcome"] == "blocked" && expected.is_some_and(|all| all.contains(&event))
        };
        let due = self.attempts.iter().filter(of_it).count();
        (self.times(&event), due)
    }

    /// Events that are due and not there, or there less often than they are due.
    fn untold(&self, made: &[&Value]) -> Vec<String> {
        let mut due: Vec<(&Value, u64)> = Vec::new();
        for one in made.iter().filter(|one| one["outcome"] == "blocked") {
            for event in one["expect_events"].as_array().expect("a list") {
                match due.iter_mut().find(|(known, _)| *known == event) {
                    // a limit is told once, however often it is reached
                    Some((_, times)) if event["kind"] != "limit-reached" => *times += 1,
                    Some(_) => {}
                    None => due.push((event, 1)),
                }
            }
        }
        due.iter()
            .filter_map(|(event, times)| {
                let found = self.times(event);
                (found < *times).then(|| format!("{event}: {found} of {times}"))
            })
            .collect()
    }

    fn times(&self, wanted: &Value) -> u64 {
        let count = |found: &Value| found["times"].as_u64().unwrap_or(1);
        if wanted["kind"] == "outcome" {
            let results = self.events.iter().map(|event| &event["body"]["result"]);
            return results
                .filter(|found| holds(found, wanted))
                .map(count)
                .sum();
        }
        let seen = self
            .events
            .iter()
            .map(|event| &event["body"]["observation"]);
        seen.filter(|found| holds(found, wanted)).map(count).sum()
    }
}

/// Programs whose opening is due in the record, and that were not told of its refusal: another one that opened
/// the file twice would stand for them.
fn unrefused<'a>(made: &[&'a Value]) -> Vec<&'a Value> {
    let opens = |one: &Value| {
        let expected = one["expect_events"].as_array().expect("a list");
        expected
            .iter()
            .any(|event| event["attempt"]["on"] == "file")
    };
    let by_programs = made.iter().filter(|one| one["group"] == "commands");
    by_programs
        .filter(|one| one["outcome"] == "blocked" && opens(one) && one["errno"] != EACCES)
        .copied()
        .collect()
}

/// Whether `found` has every member of `wanted`. The word for what a wanted outcome is of is ours.
fn holds(found: &Value, wanted: &Value) -> bool {
    match wanted.as_object() {
        Some(members) => members.iter().all(|(name, value)| {
            (name == "kind" && value == "outcome") || holds(&found[name.as_str()], value)
        }),
        None => found == wanted,
    }
}

/// Keeps the results for `cargo xtask attack-matrix`.
fn keep(backend: Backend, group: &str, made: &[&Value]) {
    let Some(dir) = std::env::var_os("PROOFROOM_ATTACK_RESULTS") else {
        return;
    };
    let dir = PathBuf::from(dir);
    fs::create_dir_all(&dir).expect("results directory");
    let name = match backend {
        Backend::Process => "process",
        Backend::Machine => "vm",
    };
    let file = dir.join(format!("{name}-{group}.jsonl"));
    let mut file = fs::File::create(file).expect("results file");
    for one in made.iter().filter(|one| one["group"] == group) {
        writeln!(file, "{one}").expect("results");
    }
}
