//! The probe's sessions, and what is asked of each.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use proofroom_e2e::{Bundle, Deployment, git, program, repository_root, skip, static_program};
use serde_json::Value;

/// How much a room may use up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caps {
    /// As the policy says.
    Default,
    /// Little, so that it is used up soon.
    Low,
}

/// A backend, and what `proofroom run` is told to get it.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    name: &'static str,
    arguments: Vec<String>,
}

/// One session of the probe.
#[derive(Debug)]
pub(crate) struct Played {
    /// The bundle's events.
    pub(crate) events: Vec<Value>,
    /// The name that a daemon left behind carries.
    pub(crate) mark: String,
    attempts: Vec<Value>,
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

/// The backends that this machine has. What it has not is said aloud.
pub(crate) fn backends() -> Vec<Backend> {
    static FOUND: OnceLock<Vec<Backend>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let doctor = Command::new(program("proofroom"))
            .args(["doctor", "--json"])
            .output()
            .expect("doctor starts");
        let report: Value = serde_json::from_slice(&doctor.stdout).expect("doctor's JSON");
        let mut found = Vec::new();
        if report["highest_level"] == "none" {
            skip("escape (process)", "this machine offers no rooms");
        } else {
            found.push(Backend {
                name: "process",
                arguments: vec![],
            });
        }
        match machine() {
            Ok(machine) => found.push(machine),
            Err(why) => skip("escape (vm)", &why),
        }
        found
    });
    found.clone()
}

/// Machines with an emulated processor, or why there are none.
fn machine() -> Result<Backend, String> {
    let help = Command::new(program("proofroom"))
        .args(["run", "--help"])
        .output()
        .expect("proofroom starts");
    if !String::from_utf8_lossy(&help.stdout).contains("--accel") {
        return Err("this build has no `vm` rooms".to_owned());
    }
    let probe = static_program("escape-probe");
    let target = probe.ancestors().nth(3).expect("the target directory");
    let image = target.join("image");
    for wanted in [
        Path::new("/usr/bin/qemu-system-x86_64"),
        Path::new("/usr/bin/swtpm"),
        &image.join("image.json"),
    ] {
        if !wanted.exists() {
            return Err(format!("`{}` is not there", wanted.display()));
        }
    }
    let image = image.display().to_string();
    let words = ["--isolation", "vm", "--accel", "tcg", "--image", &image];
    Ok(Backend {
        name: "vm",
        arguments: words.map(str::to_owned).to_vec(),
    })
}

/// Plays a group in every backend, and fails unless nothing escaped and everything is told.
pub(crate) fn play(group: &str, caps: Caps) -> Vec<Played> {
    let play = |backend: &Backend| {
        let deployment = deployment(caps);
        let repository = repository(&deployment);
        let played = session(&deployment, &repository, backend, &["run", group]);
        played.judge(backend, group);
        played
    };
    let of_all = |backend: &&Backend| {
        let told = caps == Caps::Default || backend.name == "process";
        if !told {
            let why = "a machine's kernel ends the whole command for lack of memory";
            skip(&format!("escape ({group} in {})", backend.name), why);
        }
        told
    };
    backends().iter().filter(of_all).map(play).collect()
}

/// Plays `act` in one room and then a group in the next one of the same deployment.
pub(crate) fn played_after(backend: &Backend, act: &str, group: &str) {
    let deployment = deployment(Caps::Default);
    let repository = repository(&deployment);
    let before = session(&deployment, &repository, backend, &["act", act]);
    let end = &before.events.last().expect("events")["body"]["end"];
    assert_eq!(end, "completed", "`{act}` failed: {}", before.shown);
    let played = session(&deployment, &repository, backend, &["run", group]);
    played.judge(backend, group);
}

fn deployment(caps: Caps) -> Deployment {
    let hello = repository_root().join("crates/testkit/cassettes/hello.json");
    let deployment = Deployment::with_cassette(&hello);
    if caps == Caps::Low {
        let file = deployment.policy().join("room.toml");
        let text = fs::read_to_string(&file)
            .expect("room.toml")
            .replace("memory_bytes = 4294967296", "memory_bytes = 536870912")
            .replace("workspace_bytes = 2147483648", "workspace_bytes = 67108864")
            .replace("tmp_bytes = 536870912", "tmp_bytes = 16777216")
            .replace("shm_bytes = 67108864", "shm_bytes = 16777216")
            .replace("\nprocesses = 512", "\nprocesses = 128")
            .replace("inodes = 400000", "inodes = 5000");
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

fn session(
    deployment: &Deployment,
    repository: &Path,
    backend: &Backend,
    words: &[&str],
) -> Played {
    let argv = [&["/workspace/escape-probe"], words].concat();
    let bundle = deployment
        .session(repository)
        .arguments(&backend.arguments)
        .command(&argv)
        .run();
    let mark = fs::read_to_string(repository.join("mark.txt")).expect("mark");
    Played::of(&bundle, format!("escape-orphan-{mark}"))
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

    fn judge(&self, backend: &Backend, group: &str) {
        let place = format!("{group} in {}", backend.name);
        let listed = attempts();
        let wanted = listed.iter().filter(|one| one["group"] == group);
        let wanted: Vec<&Value> = wanted.map(|one| &one["attempt"]).collect();
        let made = self.attempts.iter().filter(|one| !one["attempt"].is_null());
        let made: Vec<&Value> = made.collect();
        let names: Vec<&Value> = made.iter().map(|one| &one["attempt"]).collect();
        assert_eq!(names, wanted, "{place}: {}", self.shown);
        keep(backend, group, &made);
        let escaped: Vec<&&Value> = made
            .iter()
            .filter(|one| one["outcome"] == "escaped" && !self.excused(one))
            .collect();
        assert!(escaped.is_empty(), "{place}: escapes: {escaped:#?}");
        let end = &self.events.last().expect("events")["body"]["end"];
        let whole = end == "completed" || made.iter().any(|one| self.excused(one));
        assert!(whole, "{place}: ended {end}: {}", self.shown);
        let untold = self.untold(&made);
        assert!(untold.is_empty(), "{place}: no event: {untold:#?}");
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
fn keep(backend: &Backend, group: &str, made: &[&Value]) {
    let Some(dir) = std::env::var_os("PROOFROOM_ATTACK_RESULTS") else {
        return;
    };
    let dir = PathBuf::from(dir);
    fs::create_dir_all(&dir).expect("results directory");
    let file = dir.join(format!("{}-{group}.jsonl", backend.name));
    let mut file = fs::File::create(file).expect("results file");
    for one in made {
        writeln!(file, "{one}").expect("results");
    }
}
