//! The room's resource groups: cgroup v1 or v2, whichever this process may write. Where neither is
//! writable the room still has its rlimits and file system sizes, and its mechanisms say so.

use std::{
    collections::BTreeSet,
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    time::Duration,
};

use proofroom_confine::{FURTHER_GROUP, OWN_GROUP, launch::Group};
use rustix::process::Signal;

use crate::{Limits, RoomError, config::SUPERVISOR_HEADROOM_BYTES, error::On as _, signals};

/// Processes of the supervisor's side on top of the agent's.
const SUPERVISOR_PROCESSES: u64 = 64;
/// How often an ended group is tried to be removed, 1 ms apart: the kernel lets go of the last
/// process a little after it was reaped.
const REMOVE_TRIES: u32 = 2000;
/// A group's list of members.
const MEMBERS: &str = "cgroup.procs";
/// What commands leave to the supervisor, and those that run beside a session's own command to that one.
const RESERVE_BYTES: u64 = SUPERVISOR_HEADROOM_BYTES / 4;
/// How often the members of a group are looked for and killed, 1 ms apart.
const KILL_TRIES: u32 = 2000;

/// In which hierarchies a room may have groups; the empty name is version 2.
const CONTROLLERS: [&str; 5] = ["memory", "pids", "cpu", "freezer", ""];

/// The groups of one room.
#[derive(Debug)]
pub(crate) struct Groups {
    made: Vec<Made>,
    pub(crate) mechanisms: Vec<String>,
}

#[derive(Debug)]
struct Made {
    directory: PathBuf,
    version: Version,
    /// Where the room's first process is, below the directory.
    entrance: &'static str,
    /// How `/proc/<pid>/cgroup` ends its line for a member.
    line: String,
}

/// Where the supervisor of a divided room is.
const SUPERVISOR: &str = "supervisor";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

struct Controller {
    own: OwnGroup,
    version: Version,
    mechanism: &'static str,
    settings: Vec<(&'static str, String, Setting)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Setting {
    Required,
    /// Kernels without swap accounting lack it.
    WhereKnown,
}

impl Groups {
    pub(crate) fn make(name: &str, limits: &Limits) -> Result<Self, RoomError> {
        let mut groups = Self {
            made: Vec::new(),
            mechanisms: Vec::new(),
        };
        for controller in controllers(limits) {
            let directory = controller.own.directory.join(format!("proofroom-{name}"));
            match fs::create_dir(&directory) {
                Ok(()) => {}
                Err(e) if is_not_ours(&e) => continue,
                Err(e) => return Err(e).on("create", &directory),
            }
            let own = controller.own.line.trim_end_matches('/');
            groups.made.push(Made {
                directory: directory.clone(),
                version: controller.version,
                entrance: "",
                line: format!("{own}/proofroom-{name}"),
            });
            for (file, value, setting) in &controller.settings {
                let path = directory.join(file);
                if *setting == Setting::WhereKnown && !path.exists() {
                    continue;
                }
                fs::write(&path, value).on("write", &path)?;
            }
            groups.mechanisms.push(controller.mechanism.to_owned());
        }
        let mut wanted = vec![
            ("memory", "no-room-memory-limit"),
            ("pids", "no-room-pids-limit"),
        ];
        if quota(limits).is_some() {
            wanted.push(("cpu", "no-room-cpu-limit"));
        }
        for (kind, absent) in wanted {
            let there = |m: &String| m.starts_with("cgroup") && m.contains(kind);
            if !groups.mechanisms.iter().any(there) {
                groups.mechanisms.push(absent.to_owned());
            }
        }
        Ok(groups)
    }

    /// Divides the version 2 group: the supervisor into one of its own, and commands into two whose memory is
    /// less than the room's. So what a command uses up is lacking in its own group, where the kernel then
    /// looks for somebody to end, and the supervisor finds memory meanwhile. The supervisor may put commands
    /// there and change nothing else.
    pub(crate) fn divide(&mut self, memory: u64, supervisor: u32) -> Result<(), RoomError> {
        let Some(made) = self.made.iter_mut().find(|one| one.version == Version::Two) else {
            return Err(RoomError::LimitNotEnforceable {
                limit: "memory",
                why: "the room has no version 2 group to divide".to_owned(),
                what_to_do: "let its starter make version 2 groups with the memory controller",
            });
        };
        let group = made.directory.clone();
        let enable = group.join("cgroup.subtree_control");
        fs::write(&enable, "+memory").on("write", &enable)?;
        let entrance = group.join(SUPERVISOR);
        fs::create_dir(&entrance).on("create", &entrance)?;
        made.entrance = SUPERVISOR;
        made.line = format!("{}/{SUPERVISOR}", made.line);
        for (name, reserve) in [
            (OWN_GROUP, RESERVE_BYTES),
            (FURTHER_GROUP, 2 * RESERVE_BYTES),
        ] {
            let part = group.join(name);
            fs::create_dir(&part).on("create", &part)?;
            let most = part.join("memory.max");
            fs::write(&most, memory.saturating_sub(reserve).to_string()).on("write", &most)?;
            // Nobody else looks into it.
            fs::set_permissions(&part, Permissions::from_mode(0o700)).on("protect", &part)?;
            give(&part, supervisor)?;
            give(&part.join(MEMBERS), supervisor)?;
        }
        // Moving from one part into another takes the right to both and to what they have in common.
        give(&group.join(MEMBERS), supervisor)?;
        self.mechanisms.push("cgroup-v2-command-memory".to_owned());
        Ok(())
    }

    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        self.made
            .iter()
            .map(|made| made.directory.clone())
            .collect()
    }

    /// The groups as the launcher enters them.
    pub(crate) fn entrances(&self) -> Result<Vec<Group>, RoomError> {
        let entrance = |made: &Made| match made.version {
            Version::One => {
                let tasks = made.directory.join("tasks");
                let file = File::options().write(true).open(&tasks);
                Ok(Group::Tasks(file.on("open", &tasks)?.into()))
            }
            Version::Two => {
                let entrance = made.directory.join(made.entrance);
                let directory = File::open(&entrance).on("open", &entrance)?;
                Ok(Group::Directory(directory.into()))
            }
        };
        self.made.iter().map(entrance).collect()
    }

    /// Looks that a process is in every one of the groups. Its members are born in them, so what
    /// holds for the room's first process holds for all.
    pub(crate) fn hold(&self, pid: i32) -> Result<(), RoomError> {
        if self.made.is_empty() {
            return Ok(());
        }
        let path = PathBuf::from(format!("/proc/{pid}/cgroup"));
        let text = fs::read_to_string(&path).on("read", &path)?;
        let outside = |made: &&Made| !text.lines().any(|line| is_in(line, &made.line));
        match self.made.iter().find(outside) {
            None => Ok(()),
            Some(made) => Err(RoomError::NotInGroup {
                group: made.directory.clone(),
            }),
        }
    }

    /// The groups that a room named `name` left behind when its owner died: those that it noted, and
    /// those where this process would make them.
    pub(crate) fn left_by(name: &str, noted: &[PathBuf]) -> Self {
        let own = format!("proofroom-{name}");
        let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mut directories: Vec<PathBuf> = CONTROLLERS
            .into_iter()
            .filter_map(|controller| own_group(&text, controller))
            .map(|group| group.directory.join(&own))
            .collect();
        directories.extend(noted.iter().cloned());
        directories.sort();
        directories.dedup();
        directories.retain(|directory| directory.ends_with(&own) && directory.is_dir());
        let made = |directory| Made {
            directory,
            // None of these counts for what is only killed and removed.
            version: Version::One,
            entrance: "",
            line: String::new(),
        };
        Self {
            made: directories.into_iter().map(made).collect(),
            mechanisms: Vec::new(),
        }
    }

    /// Every group of a room that lies where this process makes groups.
    pub(crate) fn all() -> Vec<PathBuf> {
        let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let children = |group: OwnGroup| fs::read_dir(group.directory).ok();
        let mut found: Vec<PathBuf> = CONTROLLERS
            .into_iter()
            .filter_map(|controller| own_group(&text, controller))
            .filter_map(children)
            .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
            .filter(|path| {
                let name = path.file_name().map(|name| name.to_string_lossy());
                name.is_some_and(|name| name.starts_with("proofroom-"))
            })
            .collect();
        found.sort();
        found.dedup();
        found
    }

    /// Kills every process in the groups; returns how many there were. One that stays is seen when its
    /// group cannot be removed.
    pub(crate) fn kill(&self) -> Result<usize, RoomError> {
        self.thaw();
        let mut killed = BTreeSet::new();
        for made in &self.made {
            for part in made.parts() {
                let path = part.join(MEMBERS);
                killed.extend(kill_members(&path).on("read", &path)?);
            }
        }
        Ok(killed.len())
    }

    /// Lets processes run that a pause had stopped: a stopped process does not even die everywhere.
    pub(crate) fn thaw(&self) {
        for made in &self.made {
            // Only one of these is there, and only in a group that stops its processes.
            drop(fs::write(made.directory.join("freezer.state"), "THAWED"));
            let two = made.directory.join("cgroup.freeze");
            if two.exists() {
                drop(fs::write(two, "0"));
            }
        }
    }

    /// Takes on a group that was made after the room's start, when there is one.
    pub(crate) fn adopt(&mut self, directory: PathBuf) {
        if directory.is_dir() {
            self.made.push(Made {
                directory,
                version: Version::One,
                entrance: "",
                line: String::new(),
            });
        }
    }

    /// The version 2 group of the room, when it has one.
    pub(crate) fn version_two(&self) -> Option<PathBuf> {
        let two = self.made.iter().find(|made| made.version == Version::Two)?;
        Some(two.directory.clone())
    }

    /// Where a room of this name gets the group that stops it, which is made when it is needed first.
    pub(crate) fn freezer_of(name: &str) -> Option<PathBuf> {
        let text = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own_group(&text, "freezer")?;
        Some(own.directory.join(format!("proofroom-{name}")))
    }

    /// Removes the groups, which the kernel permits only when no process is in them; returns how
    /// many there were.
    pub(crate) fn remove(&mut self) -> Result<usize, RoomError> {
        let count = self.made.len();
        for made in self.made.drain(..) {
            for part in made.parts() {
                remove(&part)?;
            }
        }
        Ok(count)
    }
}

impl Made {
    /// The groups below it, then itself.
    fn parts(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten();
        let paths = entries.flatten().map(|entry| entry.path());
        let mut parts: Vec<PathBuf> = paths.filter(|path| path.is_dir()).collect();
        parts.push(self.directory.clone());
        parts
    }
}

fn remove(group: &Path) -> Result<(), RoomError> {
    let mut tries = 0;
    while let Err(error) = fs::remove_dir(group) {
        tries += 1;
        if error.raw_os_error() != Some(EBUSY) || tries > REMOVE_TRIES {
            return Err(error).on("remove", group);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn give(path: &Path, owner: u32) -> Result<(), RoomError> {
    chown(path, Some(owner), None).on("give away", path)
}

impl Drop for Groups {
    fn drop(&mut self) {
        // a room that failed to start: nothing is in them
        drop(self.remove());
    }
}

/// Kills until there are none: a member may have made another between two looks.
fn kill_members(list: &Path) -> io::Result<BTreeSet<i32>> {
    let look = || Ok(members(&fs::read_to_string(list)?));
    let mut killed = BTreeSet::new();
    for _ in 0..KILL_TRIES {
        if look()?.is_empty() {
            break;
        }
        killed.extend(signals::send(Signal::KILL, look)?);
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(killed)
}

/// Members of a group. Those of other pid namespaces have the number 0, which is nobody's here.
fn members(list: &str) -> Vec<i32> {
    let numbers = list.lines().filter_map(|line| line.parse().ok());
    numbers.filter(|pid| *pid > 0).collect()
}

const EBUSY: i32 = 16;
/// The period of a processor quota, in microseconds.
const CPU_PERIOD: u64 = 100_000;

fn is_not_ours(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotFound
            | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// Whether `line` of a `/proc/<pid>/cgroup`, less its hierarchy number, is `wanted`.
fn is_in(line: &str, wanted: &str) -> bool {
    line.split_once(':').is_some_and(|(_, rest)| rest == wanted)
}

fn controllers(limits: &Limits) -> Vec<Controller> {
    let processes = limits.processes.saturating_add(SUPERVISOR_PROCESSES);
    let Ok(text) = fs::read_to_string("/proc/self/cgroup") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    if let Some(own) = own_group(&text, "memory") {
        found.push(Controller {
            own,
            version: Version::One,
            mechanism: "cgroup-v1-memory",
            settings: vec![
                (
                    "memory.limit_in_bytes",
                    limits.memory_bytes.to_string(),
                    Setting::Required,
                ),
                (
                    "memory.memsw.limit_in_bytes",
                    limits.memory_bytes.to_string(),
                    Setting::WhereKnown,
                ),
            ],
        });
    }
    if let Some(own) = own_group(&text, "pids") {
        found.push(Controller {
            own,
            version: Version::One,
            mechanism: "cgroup-v1-pids",
            settings: vec![("pids.max", processes.to_string(), Setting::Required)],
        });
    }
    if let (Some(quota), Some(own)) = (quota(limits), own_group(&text, "cpu")) {
        found.push(Controller {
            own,
            version: Version::One,
            mechanism: "cgroup-v1-cpu",
            settings: vec![
                (
                    "cpu.cfs_period_us",
                    CPU_PERIOD.to_string(),
                    Setting::Required,
                ),
                ("cpu.cfs_quota_us", quota.to_string(), Setting::Required),
            ],
        });
    }
    if found.is_empty()
        && let Some(own) = own_group(&text, "")
        && enables(&own.directory, &["memory", "pids"])
    {
        found.push(version_two(own, limits, processes));
    }
    found
}

fn version_two(own: OwnGroup, limits: &Limits, processes: u64) -> Controller {
    let memory = limits.memory_bytes.to_string();
    let mut settings = vec![
        ("memory.max", memory, Setting::Required),
        ("memory.swap.max", "0".to_owned(), Setting::WhereKnown),
        ("pids.max", processes.to_string(), Setting::Required),
    ];
    let mut mechanism = "cgroup-v2-memory-pids";
    if let Some(quota) = quota(limits)
        && enables(&own.directory, &["cpu"])
    {
        let most = format!("{quota} {CPU_PERIOD}");
        settings.push(("cpu.max", most, Setting::Required));
        mechanism = "cgroup-v2-memory-pids-cpu";
    }
    Controller {
        own,
        version: Version::Two,
        mechanism,
        settings,
    }
}

/// Microseconds of processor time in each period; none when the machine has no more than the limit,
/// so that nothing needs to be enforced.
fn quota(limits: &Limits) -> Option<u64> {
    let machine = std::thread::available_parallelism().map_or(1, usize::from);
    let enough = u64::try_from(machine).is_ok_and(|machine| machine <= limits.cpus);
    (!enough).then(|| limits.cpus.saturating_mul(CPU_PERIOD))
}

/// A group that this process is in.
#[derive(Debug, PartialEq, Eq)]
struct OwnGroup {
    directory: PathBuf,
    /// `<controllers>:<path>`, as `/proc/self/cgroup` says it.
    line: String,
}

/// This process's own group in the hierarchy of `controller` (empty: version 2), out of its
/// `/proc/self/cgroup`.
fn own_group(text: &str, controller: &str) -> Option<OwnGroup> {
    let (names, path) = text.lines().find_map(|line| {
        let (names, path) = line.split_once(':')?.1.split_once(':')?;
        let named = names.split(',').any(|name| name == controller);
        named.then_some((names, path))
    })?;
    let mounted: &[&str] = match controller {
        "memory" => &["/sys/fs/cgroup/memory"],
        "pids" => &["/sys/fs/cgroup/pids"],
        "cpu" => &["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"],
        "freezer" => &["/sys/fs/cgroup/freezer"],
        _ => &["/sys/fs/cgroup", "/sys/fs/cgroup/unified"],
    };
    let probe = if controller.is_empty() {
        "cgroup.controllers"
    } else {
        "tasks"
    };
    let directory = mounted
        .iter()
        .map(|root| Path::new(root).join(path.trim_start_matches('/')))
        .find(|group| group.join(probe).exists())?;
    Some(OwnGroup {
        directory,
        line: format!("{names}:{path}"),
    })
}

/// Whether children of a version 2 group get these controllers; tries to turn them on.
fn enables(root: &Path, controllers: &[&str]) -> bool {
    let file = root.join("cgroup.subtree_control");
    for controller in controllers {
        let on = |text: String| text.split_whitespace().any(|name| name == *controller);
        if !fs::read_to_string(&file).is_ok_and(on)
            && fs::write(&file, format!("+{controller}")).is_err()
        {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Groups, Made, Version, is_in, own_group};
    use crate::RoomError;

    #[test]
    fn a_member_is_told_by_the_whole_line_and_not_by_a_part_of_it() {
        let wanted = "memory:/a/proofroom-x";
        assert!(is_in("4:memory:/a/proofroom-x", wanted));
        for line in [
            "4:memory:/a/proofroom-xy",
            "4:memory:/a",
            "4:pids:/a/proofroom-x",
            "memory:/a/proofroom-x",
            "",
        ] {
            assert!(!is_in(line, wanted), "{line}");
        }
    }

    #[test]
    fn a_process_outside_of_a_group_is_an_error() {
        let groups = Groups {
            made: vec![Made {
                directory: "/nowhere".into(),
                version: Version::One,
                entrance: "",
                line: "memory:/proofroom-of-nobody".to_owned(),
            }],
            mechanisms: Vec::new(),
        };
        let own = std::process::id().cast_signed();
        let error = groups.hold(own).unwrap_err();
        assert!(
            matches!(&error, RoomError::NotInGroup { group } if group == Path::new("/nowhere"))
        );
        assert_eq!(error.code(), "not-in-its-group");
        std::mem::forget(groups);
    }

    #[test]
    fn members_of_other_namespaces_are_nobody() {
        assert_eq!(super::members("12\n0\n7\n\n"), [12, 7]);
        assert_eq!(super::members(""), [0; 0]);
    }

    #[test]
    fn a_controller_that_is_not_listed_has_no_group() {
        assert_eq!(own_group("9:name=systemd:/\n0::/\n", "memory"), None);
        assert_eq!(own_group("garbage", "memory"), None);
    }
}
