//! What the kernel still has of sessions: one search for each kind of thing, and the proof that each finds
//! what is there.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use proofroom_e2e::{Deployment, Process};

use crate::{plant::Planted, stage::Seen};

/// What is looked for.
pub(crate) struct Traces<'a> {
    pub(crate) deployment: &'a Deployment,
    /// Block devices that were there before the sessions.
    pub(crate) blocks: &'a BTreeSet<String>,
    pub(crate) seen: Vec<&'a Seen>,
}

/// One search.
struct Search {
    what: &'static str,
    find: fn(&Traces<'_>) -> Vec<String>,
}

const SEARCHES: [Search; 9] = [
    Search {
        what: "a process of a session",
        find: processes,
    },
    Search {
        what: "a program of ours",
        find: programs,
    },
    Search {
        what: "a process in a room's namespace",
        find: inhabitants,
    },
    Search {
        what: "a socket",
        find: sockets,
    },
    Search {
        what: "a resource group",
        find: groups,
    },
    Search {
        what: "a session's folder or file",
        find: files,
    },
    Search {
        what: "a pinned namespace or a mount",
        find: mounts,
    },
    Search {
        what: "a loop device",
        find: loops,
    },
    Search {
        what: "a mapped device",
        find: mapped,
    },
];

/// Fails unless nothing is found any more. The kernel frees some things late.
pub(crate) fn assert_nothing(traces: &Traces<'_>) {
    for search in &SEARCHES {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let found = (search.find)(traces);
            if found.is_empty() {
                break;
            }
            let what = search.what;
            assert!(Instant::now() < deadline, "{what} is left: {found:#?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Fails unless every search finds something: of a session that lives, and of what is planted where no
/// room of this kind has one.
#[expect(clippy::print_stderr, reason = "an unproven search must be seen")]
pub(crate) fn assert_every_search_finds(living: &Traces<'_>) {
    let planted = Planted::new(living.deployment.path());
    for search in &SEARCHES {
        if !(search.find)(living).is_empty() {
            continue;
        }
        let why = planted.missing(search.what);
        let why = why.unwrap_or_else(|| panic!("the search for {} finds nothing", search.what));
        eprintln!(
            "NOT PROVEN: that {} would be found here: {why}",
            search.what
        );
    }
}

/// Now, in clock ticks since the machine's start.
pub(crate) fn ticks() -> u64 {
    let text = fs::read_to_string("/proc/uptime").expect("uptime");
    let seconds = text.split(' ').next().expect("two numbers");
    let (whole, part) = seconds.split_once('.').expect("hundredths");
    let number = |digits: &str| digits.parse::<u64>().expect("digits");
    number(whole) * 100 + number(part)
}

/// The namespaces that a process is in, such as `mnt:[4026531841]`.
pub(crate) fn namespaces_of(pid: u32) -> BTreeSet<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/ns"));
    let links = entries.into_iter().flatten().flatten();
    let links = links.filter_map(|entry| fs::read_link(entry.path()).ok());
    links
        .map(|link| link.to_string_lossy().into_owned())
        .collect()
}

/// Names of the machine's block devices.
pub(crate) fn block_devices() -> BTreeSet<String> {
    let blocks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    blocks
        .map(|block| block.file_name().to_string_lossy().into_owned())
        .collect()
}

fn all_pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let names = entries.map(|entry| entry.file_name());
    names
        .filter_map(|name| name.to_str()?.parse().ok())
        .collect()
}

fn processes(traces: &Traces<'_>) -> Vec<String> {
    let all = traces.seen.iter().flat_map(|one| &one.processes);
    let left = all.filter(|process| process.lives());
    left.map(|process| format!("{process:?}")).collect()
}

/// Programs of ours on this deployment that still run, other than upstreams.
pub(crate) fn survivors(deployment: &Deployment) -> Vec<u32> {
    let programs = proofroom_e2e::program("proofroom");
    let programs = programs.parent().expect("a directory").to_owned();
    let state = deployment.state();
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

fn programs(traces: &Traces<'_>) -> Vec<String> {
    let pids = survivors(traces.deployment).into_iter();
    pids.map(|pid| format!("process {pid}")).collect()
}

/// The kernel gives a freed number to the next room: who began later is not what was left.
fn inhabitants(traces: &Traces<'_>) -> Vec<String> {
    let left = |pid: &u32| {
        let (inside, began) = (namespaces_of(*pid), Process::began(*pid));
        let in_it = |one: &&Seen| {
            began.is_some_and(|began| began < one.over) && !inside.is_disjoint(&one.namespaces)
        };
        traces.seen.iter().any(in_it)
    };
    let pids = all_pids().into_iter().filter(left);
    pids.map(|pid| format!("process {pid}")).collect()
}

/// Socket files of the deployment. They are bound by a short name, so the kernel's own list has no path of
/// theirs; a socket that nobody holds is gone from that list by itself.
fn sockets(traces: &Traces<'_>) -> Vec<String> {
    let mut find = Command::new("find");
    find.arg(traces.deployment.path()).args(["-type", "s"]);
    lines(&mut find)
}

fn groups(traces: &Traces<'_>) -> Vec<String> {
    let mut find = Command::new("find");
    find.args(["/sys/fs/cgroup", "-maxdepth", "6", "-name", "proofroom-*"]);
    named(traces, lines(&mut find))
}

/// What stays of a session on purpose: its record, of which the bundle is made.
const RECORD: [&str; 10] = [
    "/binding.json",
    "/done",
    "/evidence",
    "/journal.jsonl",
    "/lock",
    "/policies",
    "/records",
    "/result.json",
    "/room.json",
    "/session.pem",
];

/// What is named after a session, or belongs to a machine's TPM, where a program may leave something; and
/// what is in a session's folder besides its record.
fn files(traces: &Traces<'_>) -> Vec<String> {
    let state = traces.deployment.state();
    let mut find = Command::new("find");
    find.args(["/dev/shm", "/run", "/tmp", "/var/tmp", "-maxdepth", "4"]);
    find.arg("-not").arg("-path").arg(state.join("*"));
    let mut inside = Command::new("find");
    inside.arg(state.join("sessions"));
    inside.args(["-mindepth", "2", "-maxdepth", "2"]);
    let mut inside = lines(&mut inside);
    inside.retain(|path| !RECORD.iter().any(|name| path.ends_with(name)));
    let mut found = named(traces, lines(&mut find));
    found.extend(named(traces, inside));
    found.extend(orphaned_tpms());
    found
}

/// Those of the paths that have a session's id in them.
fn named(traces: &Traces<'_>, mut paths: Vec<String>) -> Vec<String> {
    paths.retain(|path| traces.seen.iter().any(|one| path.contains(&one.id)));
    paths
}

/// What a program printed, whether it found all that it was asked to look at or not.
fn lines(command: &mut Command) -> Vec<String> {
    let output = command.output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(str::to_owned).collect()
}

/// States of TPMs whose owner runs no process. Machines of other tests may live beside this one.
fn orphaned_tpms() -> Vec<String> {
    use std::os::unix::fs::MetadataExt as _;
    let pids = all_pids().into_iter();
    let owners: BTreeSet<u32> = pids
        .filter_map(|pid| Some(fs::metadata(format!("/proc/{pid}")).ok()?.uid()))
        .collect();
    let entries = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let orphaned = entries.filter(|entry| {
        let name = entry.file_name();
        let owner = entry.metadata().map(|metadata| metadata.uid());
        name.to_string_lossy().starts_with("proofroom-tpm-")
            && owner.is_ok_and(|owner| !owners.contains(&owner))
    });
    orphaned
        .map(|entry| entry.path().display().to_string())
        .collect()
}

fn mounts(traces: &Traces<'_>) -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let folder = traces.deployment.path().to_string_lossy().into_owned();
    let pinned = |line: &str| {
        let namespaces = traces.seen.iter().flat_map(|one| &one.namespaces);
        namespaces.into_iter().any(|one| line.contains(one))
    };
    let of_ours = |line: &&str| line.contains(&folder) || pinned(line);
    text.lines().filter(of_ours).map(str::to_owned).collect()
}

fn loops(traces: &Traces<'_>) -> Vec<String> {
    let folder = traces.deployment.path().to_string_lossy().into_owned();
    let blocks = block_devices().into_iter();
    let backing = blocks.filter_map(|block| {
        let file = PathBuf::from("/sys/block")
            .join(block)
            .join("loop/backing_file");
        fs::read_to_string(file).ok()
    });
    backing.filter(|file| file.contains(&folder)).collect()
}

fn mapped(traces: &Traces<'_>) -> Vec<String> {
    let now = block_devices();
    let new = now.difference(traces.blocks);
    new.filter(|name| name.starts_with("dm-"))
        .cloned()
        .collect()
}
