//! Many sessions with secrets in their workspaces, prompts, outputs and keys, ended in every way: what is
//! left afterwards on disks, in memory and in the kernel. `PROOFROOM_RESIDUE_SESSIONS` says how many,
//! `PROOFROOM_RESIDUE_SKIP` names directories, apart by colons, that other programs fill meanwhile.

#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is one"
)]

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use proofroom_e2e::{
    Bundle, Deployment, Live, Process, RoomCommand,
    canary::{Canaries, inputs, random, scan, scan_memory},
};
use serde_json::{Value, json};

/// Sessions where nobody asked for more.
const FEW: usize = 12;

/// How a session comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Completed,
    FailedAgent,
    OutputLimit,
    TimeLimit,
    Interrupt,
    HostKilled,
    SupervisorKilled,
    EndedByRequest,
    EndedAtOnce,
    PausedAndHostKilled,
}

const WAYS: [Way; 10] = [
    Way::Completed,
    Way::FailedAgent,
    Way::OutputLimit,
    Way::TimeLimit,
    Way::Interrupt,
    Way::HostKilled,
    Way::SupervisorKilled,
    Way::EndedByRequest,
    Way::EndedAtOnce,
    Way::PausedAndHostKilled,
];

/// What one session was seen to have.
struct Seen {
    way: Way,
    id: String,
    secret: String,
    processes: Vec<Process>,
    namespaces: BTreeSet<String>,
    /// When it was over, in clock ticks since the machine's start.
    over: u64,
}

/// Now, in clock ticks since the machine's start.
fn ticks() -> u64 {
    let text = fs::read_to_string("/proc/uptime").expect("uptime");
    let seconds = text.split(' ').next().expect("two numbers");
    let (whole, part) = seconds.split_once('.').expect("hundredths");
    let number = |digits: &str| digits.parse::<u64>().expect("digits");
    number(whole) * 100 + number(part)
}

/// The stage: one deployment, whose provider key is a canary too.
struct Stage {
    deployment: Deployment,
    repository: PathBuf,
    inputs: tempfile::TempDir,
    key: String,
    own: BTreeSet<String>,
}

impl Stage {
    fn new(canaries: &Canaries) -> Self {
        let inputs = inputs();
        let cassette = inputs.path().join("cassette.json");
        fs::write(&cassette, canaries.cassette().to_string()).expect("cassette");
        let deployment = Deployment::with_cassette(&cassette);
        let upstreams = deployment.policy().join("upstreams.toml");
        let text = fs::read_to_string(&upstreams).expect("upstreams");
        let keyed = "key = { from = \"env\", name = \"RESIDUE_KEY\", header = \"bearer\" }";
        let text = text.replacen("key = { from = \"none\" }", keyed, 1);
        fs::write(&upstreams, text).expect("upstreams");
        let room = deployment.policy().join("room.toml");
        let text = fs::read_to_string(&room).expect("room.toml");
        let text = text.replace("output_bytes = 268435456", "output_bytes = 1000000");
        fs::write(&room, text).expect("room.toml");
        let repository = deployment.repository("repository", &[("README.md", "Nothing here.\n")]);
        Self {
            deployment,
            repository,
            inputs,
            key: random(),
            own: namespaces_of(std::process::id()),
        }
    }

    /// A session whose command puts a secret, which stands nowhere whole, into a file, its output and
    /// its memory, says that it did, and goes on as told.
    fn command(&self, secret: &str, then: &str, arguments: &[&str]) -> Live {
        let (left, right) = secret.split_at(secret.len() / 2);
        let script = format!(
            "s={left}; s=$s{right}; echo $s > notes; echo $s > /tmp/$s; echo $s; echo started; {then}"
        );
        self.deployment
            .session(&self.repository)
            .env("RESIDUE_KEY", self.key.as_ref())
            .arguments(arguments)
            .command(&["sh", "-c", &script])
            .live()
    }

    fn built_in(&self, canaries: &Canaries) -> Live {
        let task = self.inputs.path().join("task");
        fs::write(&task, format!("Note this: {}", canaries.task)).expect("task");
        self.deployment
            .session(&self.repository)
            .env("RESIDUE_KEY", self.key.as_ref())
            .arguments(&[Path::new("--task-file"), &task])
            .live()
    }

    fn session(&self, way: Way, canaries: &Canaries) -> Seen {
        let secret = random();
        let mut live = match way {
            Way::Completed => self.built_in(canaries),
            Way::FailedAgent => self.command(&secret, "sleep 0.3; exit 3", &[]),
            Way::OutputLimit => {
                // the shell itself: arguments of programs are in events
                let then = "sleep 0.3; while :; do echo $s; done";
                self.command(&secret, then, &[])
            }
            Way::TimeLimit => self.command(&secret, "sleep 60", &["--seconds", "8"]),
            _ => self.command(&secret, "sleep 60", &[]),
        };
        let started = |line: &Value| {
            let text = line["text"].as_str().unwrap_or_default();
            text.contains("started") || line["event"]["body"]["type"] == "intent"
        };
        live.wait_for("start", started);
        let id = live.id();
        let processes = live.processes();
        let mut namespaces = BTreeSet::new();
        for process in &processes {
            namespaces.extend(namespaces_of(process.pid));
        }
        let namespaces = namespaces.difference(&self.own).cloned().collect();
        self.end(way, live, &id);
        Process::assert_gone(&processes);
        let secret = if way == Way::Completed {
            canaries.secret.clone()
        } else {
            secret
        };
        Seen {
            way,
            id,
            secret,
            processes,
            namespaces,
            over: ticks(),
        }
    }

    fn end(&self, way: Way, live: Live, id: &str) {
        let room = |arguments: &[&str]| {
            RoomCommand::new(&self.deployment, arguments).success();
        };
        let wanted = match way {
            Way::Completed => "completed",
            Way::FailedAgent => "agent-failed",
            Way::OutputLimit | Way::TimeLimit => "limit-reached",
            Way::Interrupt => {
                live.signal("INT");
                "cancelled"
            }
            Way::SupervisorKilled => {
                let supervisor = live.processes().into_iter().find(is_supervisor);
                kill(supervisor.expect("a supervisor").pid);
                "interrupted"
            }
            Way::EndedByRequest => {
                room(&["end", id]);
                "cancelled"
            }
            Way::EndedAtOnce => {
                room(&["end", "--now", id]);
                "interrupted"
            }
            Way::HostKilled => {
                drop(live.kill());
                return room(&["sweep"]);
            }
            Way::PausedAndHostKilled => {
                room(&["pause", id]);
                drop(live.kill());
                return room(&["sweep"]);
            }
        };
        let bundle = live.finish();
        assert_eq!(bundle.end(), Some(wanted), "{way:?}: {bundle:#?}");
    }
}

fn is_supervisor(process: &Process) -> bool {
    fs::read(format!("/proc/{}/cmdline", process.pid))
        .is_ok_and(|line| line.starts_with(b"/proofroom/proofroom-guest\0supervise"))
}

fn kill(pid: u32) {
    let sent = Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .status();
    assert!(sent.expect("kill starts").success());
}

/// The namespaces that a process is in, such as `mnt:[4026531841]`.
fn namespaces_of(pid: u32) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/ns")) else {
        return BTreeSet::new();
    };
    entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|link| link.to_string_lossy().into_owned())
        .collect()
}

fn all_pids() -> Vec<u32> {
    fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Waits until nothing is found any more; fails with what is. The kernel frees some things late.
fn nothing<T: std::fmt::Debug>(what: &str, find: impl Fn() -> Vec<T>) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let found = find();
        if found.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{what} is left: {found:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Programs of ours that still run, other than upstreams.
fn survivors(stage: &Stage) -> Vec<u32> {
    let programs = proofroom_e2e::program("proofroom");
    let programs = programs.parent().expect("a directory").to_owned();
    let state = stage.deployment.state();
    let ours = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let in_room = exe.starts_with("/proofroom");
        let program = exe.starts_with(&programs) && !line.contains("cassette");
        let deployed = line.contains(&*state.to_string_lossy());
        *pid != std::process::id() && deployed && (in_room || program)
    };
    all_pids().into_iter().filter(ours).collect()
}

fn assert_no_kernel_objects(stage: &Stage, seen: &[Seen]) {
    let pids: BTreeSet<u32> = seen
        .iter()
        .flat_map(|one| one.processes.iter())
        .filter(|process| process.lives())
        .map(|process| process.pid)
        .collect();
    assert_eq!(pids, BTreeSet::new(), "processes of rooms");
    let namespaces: BTreeSet<&String> = seen.iter().flat_map(|one| &one.namespaces).collect();
    assert!(namespaces.len() >= 4, "the walk saw none: {namespaces:?}");
    nothing("a process in a room's namespace", || {
        // The kernel gives a freed number to the next room: who began later is not what was left.
        let left = |pid: &u32| {
            let (inside, began) = (namespaces_of(*pid), Process::began(*pid));
            let in_it = |one: &Seen| {
                began.is_some_and(|began| began < one.over) && !inside.is_disjoint(&one.namespaces)
            };
            seen.iter().any(in_it)
        };
        all_pids().into_iter().filter(left).collect()
    });
    nothing("a pinned namespace or a mount", || {
        let text = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let of_ours = |line: &str| {
            let folder = stage.deployment.path().to_string_lossy().into_owned();
            line.contains(&folder) || namespaces.iter().any(|ns| line.contains(ns.as_str()))
        };
        let lines = text.lines().filter(|line| of_ours(line));
        lines.map(str::to_owned).collect::<Vec<_>>()
    });
    nothing("a loop device", || {
        let blocks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
        let of_ours = |path: &PathBuf| {
            let backing = fs::read_to_string(path.join("loop/backing_file"));
            backing.is_ok_and(|file| file.contains(&*stage.deployment.path().to_string_lossy()))
        };
        blocks.map(|block| block.path()).filter(of_ours).collect()
    });
    nothing("a socket", || {
        let text = fs::read_to_string("/proc/net/unix").expect("sockets");
        let folder = stage.deployment.path().to_string_lossy().into_owned();
        let lines = text.lines().filter(|line| line.contains(&folder));
        lines.map(str::to_owned).collect::<Vec<_>>()
    });
    nothing("a resource group", || {
        let found = Command::new("find")
            .args(["/sys/fs/cgroup", "-maxdepth", "6", "-name", "proofroom-*"])
            .output();
        let text = String::from_utf8_lossy(&found.expect("find").stdout).into_owned();
        let of_ours = |line: &&str| seen.iter().any(|one| line.ends_with(&one.id));
        let lines = text.lines().filter(of_ours).map(str::to_owned);
        lines.collect::<Vec<_>>()
    });
}

fn assert_on_no_disk(stage: &Stage, seen: &[Seen], since: SystemTime) {
    let mut wanted: Vec<&str> = seen.iter().map(|one| one.secret.as_str()).collect();
    wanted.push(&stage.key);
    wanted.sort_unstable();
    wanted.dedup();
    let planted = random();
    let dir = tempfile::tempdir().expect("temporary directory");
    fs::write(dir.path().join("planted"), &planted).expect("file");
    wanted.push(&planted);
    let roots = ["/dev/shm", "/run", "/var/tmp"].map(Path::new);
    let mut roots: Vec<&Path> = roots.into_iter().filter(|root| root.is_dir()).collect();
    roots.push(stage.deployment.path());
    let skip = env::var("PROOFROOM_RESIDUE_SKIP").unwrap_or_default();
    let mut skipped: Vec<&Path> = skip
        .split(':')
        .filter(|s| !s.is_empty())
        .map(Path::new)
        .collect();
    skipped.push(stage.inputs.path());
    let found = scan(&wanted, Some(since), &roots, &skipped);
    let only = json!([[dir.path().join("planted"), planted, "raw"]]);
    assert_eq!(found["found"], only, "{found:#}");
}

/// A process whose memory holds a string that stands nowhere else.
fn holding(secret: &str) -> Child {
    let (left, right) = secret.split_at(secret.len() / 2);
    let script = format!(
        "import time\ns = {left:?} + {right:?}\nprint(len(s), flush=True)\ntime.sleep(60)\n"
    );
    let mut child = Command::new("python3")
        .args(["-c", &script])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let mut first = [0];
    let out = child.stdout.as_mut().expect("piped");
    std::io::Read::read_exact(out, &mut first).expect("it says that it is ready");
    child
}

fn assert_in_no_memory(stage: &Stage, seen: &[Seen]) {
    let planted = random();
    let mut child = holding(&planted);
    let found = scan_memory(&[&planted], &[child.id()]);
    assert_eq!(found["found"], json!([[child.id(), planted]]), "{found}");
    child.kill().expect("it runs");
    child.wait().expect("it ends");

    // One that lives now, after all the others: its host process, which has looked at what they left,
    // and its room.
    let own = random();
    let mut live = stage.command(&own, "sleep 60", &[]);
    live.wait_for("start", |line| {
        line["text"]
            .as_str()
            .unwrap_or_default()
            .contains("started")
    });
    let mut pids: Vec<u32> = live.processes().iter().map(|one| one.pid).collect();
    pids.extend(survivors(stage));
    pids.sort_unstable();
    pids.dedup();
    let mut wanted: Vec<&str> = seen.iter().map(|one| one.secret.as_str()).collect();
    wanted.push(&own);
    let found = scan_memory(&wanted, &pids);
    let holds = found["found"].as_array().expect("a list");
    assert!(
        holds.iter().all(|one| one[1] == own.as_str()),
        "memory holds a secret of an earlier session: {found}"
    );
    assert!(!holds.is_empty(), "the room itself knows its own: {found}");
    let searched = found["searched"].as_array().expect("a list").len();
    assert!(
        searched >= 3,
        "host, supervisor and agent at least: {found}"
    );
    live.signal("INT");
    let bundle = live.finish();
    assert_eq!(bundle.end(), Some("cancelled"), "{bundle:#?}");
}

#[test]
fn nothing_is_left_of_sessions_that_ended_in_every_way() {
    let asked = env::var("PROOFROOM_RESIDUE_SESSIONS").ok();
    let count = asked.map_or(FEW, |count| count.parse().expect("a number"));
    // a minute back: a clock of a file system may lag
    let since = SystemTime::now() - Duration::from_secs(60);
    let canaries = Canaries::new();
    let mut stage = Stage::new(&canaries);
    let ways = WAYS.iter().cycle().take(count);
    let seen: Vec<Seen> = ways.map(|way| stage.session(*way, &canaries)).collect();
    for one in &seen {
        let path = format!("bundles/{}.proofroom", one.id);
        let bundle = Bundle::at(stage.deployment.state().join(path));
        let (code, said) = bundle.verify();
        assert_eq!(code, 0, "{:?}: {said:#}", one.way);
        let gone = bundle.destruction_record();
        let facts = gone["predicate"]["observed"].as_array().expect("facts");
        assert!(
            facts.iter().any(|fact| fact["fact"] == "host-ids-unused"),
            "{:?}: {gone:#}",
            one.way
        );
    }
    assert_in_no_memory(&stage, &seen);
    stage.deployment.stop_upstream(1);
    stage.deployment.stop_upstream(0);
    nothing("a process of ours", || survivors(&stage));
    assert_no_kernel_objects(&stage, &seen);
    assert_on_no_disk(&stage, &seen, since);
}
