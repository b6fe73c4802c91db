//! What a host process that died left of its room: found by what the room was known to have, ended,
//! and reported as observed. A room that somebody owns is never touched: its slot is locked.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use proofroom_canonical::IsolationLevel;
use proofroom_confine::{IdMap, MapWriter, launch};
use rustix::{
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
    rand::{GetRandomFlags, getrandom},
};
use serde::{Deserialize, Serialize};

use crate::{
    Fact, Observed, RoomError,
    error::On as _,
    groups::Groups,
    machine, signals,
    slots::{self, Slot},
};

/// How often a killed process is looked for, 1 ms apart.
const GONE_TRIES: u32 = 5000;

/// What a room has outside of itself, kept by its host for whoever has to end it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// The machine's boot id when the room was started.
    pub boot: String,
    /// Its first process.
    pub first: ProcessTrace,
    /// Its host ids.
    pub ids: IdMap,
    /// The host ids of its machine's TPM, where it has one.
    #[serde(default)]
    pub tpm: Option<IdMap>,
    /// Its resource groups.
    pub groups: Vec<PathBuf>,
    /// Its isolation level.
    pub isolation: IsolationLevel,
    /// The mechanisms in force.
    pub mechanisms: Vec<String>,
}

/// A process that is not taken for another which gets its number later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessTrace {
    /// Its number.
    pub pid: i32,
    /// When it began, in clock ticks since the machine's start.
    pub started: u64,
}

impl ProcessTrace {
    /// The process that has this number now.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        Self::read(pid, &fs::read_to_string(stat_of(pid)).ok()?)
    }

    fn read(pid: i32, stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(") ")?;
        let started = rest.split(' ').nth(19)?.parse().ok()?;
        Some(Self { pid, started })
    }

    /// Whether it is still there.
    #[must_use]
    pub fn is_there(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Whether it is seen not to be there any more. What cannot be read is not gone.
    fn is_gone(self) -> bool {
        match fs::read_to_string(stat_of(self.pid)) {
            Ok(stat) => Self::read(self.pid, &stat).is_some_and(|now| now != self),
            Err(error) => {
                error.kind() == std::io::ErrorKind::NotFound
                    || error.raw_os_error() == Some(libc::ESRCH)
            }
        }
    }
}

fn stat_of(pid: i32) -> String {
    format!("/proc/{pid}/stat")
}

/// The machine's boot id; empty where the kernel does not say.
#[must_use]
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// Ends what is left of the room named `name` after its owner died, and says what was observed.
/// Blocking. Never call it for a room that somebody owns.
///
/// # Errors
/// `room-remains` or `file-operation-failed` when something of it stays.
pub fn sweep(name: &str, trace: Option<&Trace>) -> Result<Vec<Observed>, RoomError> {
    let mut seen = Vec::new();
    let noted = trace.map_or(&[][..], |trace| &trace.groups);
    let rebooted = trace.is_some_and(|trace| trace.boot != boot_id());
    if rebooted {
        seen.push(Observed::now(Fact::HostRebootedSince, ""));
    }
    let mut groups = Groups::left_by(name, noted);
    let mut killed = 0;
    if let Some(trace) = trace.filter(|_| !rebooted) {
        killed += kill_first(trace.first);
    }
    killed += groups.kill()?;
    if let Some(trace) = trace.filter(|_| !rebooted) {
        let mut held = Vec::new();
        for ids in std::iter::once(trace.ids).chain(trace.tpm) {
            // A pair that is locked has a new owner, who saw that nobody ran under it.
            let slot = Slot::reclaim(ids)?;
            if slot.is_some() && ids.writer == MapWriter::Root {
                killed += kill_all(ids)?;
            }
            held.extend(slot);
        }
        wait_gone(trace.first)?;
        seen.push(Observed::now(
            Fact::FirstProcessGone,
            format!("process {}", trace.first.pid),
        ));
        for slot in held {
            let left = launch::process_of(slot.ids).on("list", Path::new("/proc"))?;
            if left.is_none() {
                seen.push(Observed::now(Fact::HostIdsUnused, ids(slot.ids)));
                machine::forget(slot.ids)?;
                slot.give_back()?;
            }
        }
    }
    if killed > 0 {
        seen.insert(0, Observed::now(Fact::ProcessesKilled, killed.to_string()));
    }
    let removed = groups.remove()?;
    if removed > 0 {
        seen.push(Observed::now(
            Fact::ResourceGroupsRemoved,
            removed.to_string(),
        ));
    }
    Ok(seen)
}

/// What a sweep did, and what it could not do. The next one tries that again; it holds nothing else up.
#[derive(Debug)]
#[must_use]
pub struct Swept<T> {
    /// What was ended or removed.
    pub done: T,
    /// Why something is still there: `file-operation-failed`, `room-remains`.
    pub remaining: Vec<RoomError>,
}

/// Ends rooms of which nothing is known but that their pair of host ids was not given back and has
/// no owner; tells the pairs under which processes ran. Blocking.
pub fn sweep_slots() -> Swept<Vec<IdMap>> {
    let mut swept = Swept {
        done: Vec::new(),
        remaining: Vec::new(),
    };
    let slots = slots::abandoned().unwrap_or_else(|error| {
        swept.remaining.push(error);
        Vec::new()
    });
    for slot in slots {
        match sweep_slot(slot) {
            Ok(ended) => swept.done.extend(ended),
            Err(error) => swept.remaining.push(error),
        }
    }
    swept
}

/// Ends what runs under a pair of ids without an owner; the pair, when something did. What cannot be ended
/// or cleaned stays taken.
fn sweep_slot(slot: Slot) -> Result<Option<IdMap>, RoomError> {
    let ids = slot.ids;
    let left = launch::processes_of(ids).on("list", Path::new("/proc"))?;
    // A user's range of subordinate ids is shared with other programs: theirs is not ours to end.
    if !left.is_empty() && ids.writer != MapWriter::Root {
        return Ok(None);
    }
    kill_all(ids)?;
    machine::forget(ids)?;
    slot.give_back()?;
    Ok((!left.is_empty()).then_some(ids))
}

/// A name for a room that is no session's: it says which process owns it, so that whoever finds its
/// groups sees whether that process is gone.
///
/// # Errors
/// `file-operation-failed` when `/proc` does not show this process.
pub fn own_name(kind: &str) -> Result<String, RoomError> {
    let stat = Path::new("/proc/self/stat");
    let own = ProcessTrace::of(std::process::id().cast_signed());
    let own = own.ok_or(std::io::ErrorKind::NotFound).on("read", stat)?;
    let mut random = [0; 4];
    getrandom(&mut random, GetRandomFlags::empty()).on("read", Path::new("getrandom"))?;
    let (pid, started) = (own.pid, own.started);
    let namespace = pid_namespace().unwrap_or_default();
    Ok(format!(
        "{kind}-{namespace}-{pid}-{started}-{}",
        hex::encode(random)
    ))
}

/// Numbers of processes mean something in one namespace alone.
fn pid_namespace() -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self/ns/pid")
        .ok()
        .map(|found| found.ino())
}

/// Whether the process that made this name with [`own_name`] is gone; of another pid namespace nobody
/// can say.
fn is_orphan(name: &str) -> bool {
    let mut parts = name.split('-').skip(1);
    let mut number = || parts.next()?.parse::<u64>().ok();
    let (Some(namespace), Some(pid), Some(started)) = (number(), number(), number()) else {
        return false;
    };
    let Ok(pid) = i32::try_from(pid) else {
        return false;
    };
    Some(namespace) == pid_namespace() && ProcessTrace { pid, started }.is_gone()
}

/// Ends what is in the groups of a room that was started for no session and whose owner is gone;
/// returns how many groups were removed.
fn sweep_orphan(name: &str) -> Result<usize, RoomError> {
    let mut groups = Groups::left_by(name, &[]);
    groups.kill()?;
    groups.remove()
}

/// Removes a group that nobody is in: those with members the kernel keeps, and they are no error.
fn remove_empty(group: &Path) -> Result<usize, RoomError> {
    match fs::remove_dir(group) {
        Ok(()) => Ok(1),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::ENOENT)) => Ok(0),
        Err(error) => Err(error).on("remove", group),
    }
}

/// Removes empty resource groups of sessions that `lives` does not know, when they are older than
/// `age`: a group that is being filled is younger. Ends rooms that were started ahead of any session, or
/// to try something, whose owner is gone, and removes their groups. Tells how many groups.
pub fn sweep_groups(age: Duration, lives: impl Fn(&str) -> bool) -> Swept<usize> {
    let old = |path: &Path| {
        let made = fs::metadata(path).and_then(|found| found.modified());
        made.is_ok_and(|made| made.elapsed().is_ok_and(|since| since > age))
    };
    let mut swept = Swept {
        done: 0,
        remaining: Vec::new(),
    };
    for path in Groups::all() {
        let name = path.file_name().map(|name| name.to_string_lossy());
        let name = name.as_deref().and_then(|n| n.strip_prefix("proofroom-"));
        let no_sessions = ["ahead-", "canary-", "capture-"];
        let of_none = |name: &&str| no_sessions.iter().any(|kind| name.starts_with(kind));
        let ours = name.is_some_and(|name| name.starts_with("ses_") && !lives(name));
        let removed = match name.filter(of_none).filter(|name| is_orphan(name)) {
            Some(orphan) => sweep_orphan(orphan),
            None if ours && old(&path) => remove_empty(&path),
            None => Ok(0),
        };
        match removed {
            Ok(removed) => swept.done += removed,
            Err(error) => swept.remaining.push(error),
        }
    }
    swept
}

pub(crate) fn ids(ids: IdMap) -> String {
    format!("{} and {}", ids.supervisor, ids.agent)
}

/// The end of a room's first process is the end of its pid namespace.
fn kill_first(first: ProcessTrace) -> usize {
    let Some(pid) = Pid::from_raw(first.pid) else {
        return 0;
    };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
        return 0;
    };
    // Looked at through the handle's lifetime: the number cannot be another's meanwhile.
    let same = first.is_there();
    usize::from(same && pidfd_send_signal(&handle, Signal::KILL).is_ok())
}

fn kill_all(ids: IdMap) -> Result<usize, RoomError> {
    let mut killed = 0;
    let look = || launch::processes_of(ids);
    for _ in 0..GONE_TRIES {
        if look().on("list", Path::new("/proc"))?.is_empty() {
            return Ok(killed);
        }
        let sent = signals::send(Signal::KILL, look).on("list", Path::new("/proc"))?;
        killed += sent.len();
        std::thread::sleep(Duration::from_millis(1));
    }
    let remains = format!("processes run under its ids {}", self::ids(ids));
    Err(RoomError::Remains { remains })
}

fn wait_gone(first: ProcessTrace) -> Result<(), RoomError> {
    for _ in 0..GONE_TRIES {
        if !first.is_there() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let remains = format!("its first process {} runs", first.pid);
    Err(RoomError::Remains { remains })
}

#[cfg(test)]
mod tests {
    use super::{ProcessTrace, sweep};
    use crate::Fact;

    #[test]
    fn a_process_is_told_from_a_later_one_with_its_number() {
        let own = ProcessTrace::of(std::process::id().cast_signed()).unwrap();
        assert!(own.is_there());
        let later = ProcessTrace {
            started: own.started + 1,
            ..own
        };
        assert!(!later.is_there());
    }

    #[test]
    fn what_was_started_ahead_is_ended_when_its_owner_is_gone_and_not_before() {
        use std::{fs, os::unix::process::ExitStatusExt as _, process::Command, time::Duration};
        let mine = super::own_name("ahead").unwrap();
        let probe = super::own_name("ahead").unwrap();
        let limits = crate::RoomConfig::parse(crate::DEFAULT_ROOM, std::path::Path::new("/x"));
        let limits = limits.unwrap().limits;
        let kept = crate::groups::Groups::make(&mine, &limits).unwrap();
        if kept.directories().is_empty() {
            println!("SKIPPED: no writable resource groups");
            return;
        }
        assert_ne!(mine, probe);
        let mut owner = Command::new("sleep").arg("60").spawn().unwrap();
        let trace = ProcessTrace::of(owner.id().cast_signed()).unwrap();
        let namespace = super::pid_namespace().unwrap();
        let other = format!("ahead-{namespace}-{}-{}-0", trace.pid, trace.started);
        let groups = crate::groups::Groups::make(&other, &limits).unwrap();
        let place = groups.directories().remove(0);
        let mut left = Command::new("sleep").arg("60").spawn().unwrap();
        fs::write(place.join("cgroup.procs"), left.id().to_string()).unwrap();
        // Other tests' groups may be swept beside these, so only what remains is looked at.
        let sweep = || {
            let swept = super::sweep_groups(Duration::from_secs(3600), |_| true);
            assert!(swept.remaining.is_empty(), "{:?}", swept.remaining);
        };
        sweep();
        assert_eq!(left.try_wait().unwrap(), None);
        owner.kill().unwrap();
        owner.wait().unwrap();
        // Waited for beside, as by the first process of the system.
        let waiting = std::thread::spawn(move || left.wait().unwrap().signal());
        sweep();
        assert_eq!(waiting.join().unwrap(), Some(9));
        assert!(groups.directories().iter().all(|group| !group.exists()));
        // Nothing of it is left to be removed.
        std::mem::forget(groups);
        assert!(kept.directories().iter().all(|group| group.exists()));
    }

    #[test]
    fn after_a_reboot_no_process_is_touched_whatever_number_it_has() {
        use proofroom_canonical::IsolationLevel;
        use proofroom_confine::{IdMap, MapWriter};
        let child = std::process::Command::new("sleep").arg("60").spawn();
        let mut child = child.unwrap();
        let trace = super::Trace {
            boot: "another boot".to_owned(),
            first: ProcessTrace::of(child.id().cast_signed()).unwrap(),
            ids: IdMap {
                supervisor: 4_000_000_000,
                agent: 4_000_000_001,
                writer: MapWriter::Root,
            },
            tpm: None,
            groups: vec![],
            isolation: IsolationLevel::Process,
            mechanisms: vec![],
        };
        let seen = sweep("ses_of_nobody", Some(&trace)).unwrap();
        let facts: Vec<Fact> = seen.iter().map(|one| one.fact).collect();
        assert_eq!(facts, [Fact::HostRebootedSince]);
        assert_eq!(child.try_wait().unwrap(), None);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
