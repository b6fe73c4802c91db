//! The room's resource groups: cgroup v1 or v2, whichever this process may write. Where neither is
//! writable the room still has its rlimits and file system sizes, and its mechanisms say so.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{Limits, RoomError, error::On as _};

/// Processes of the supervisor's side on top of the agent's.
const SUPERVISOR_PROCESSES: u64 = 64;
/// How often an ended group is tried to be removed, 1 ms apart: the kernel lets go of the last
/// process a little after it was reaped.
const REMOVE_TRIES: u32 = 2000;

/// The groups of one room.
#[derive(Debug)]
pub(crate) struct Groups {
    directories: Vec<PathBuf>,
    pub(crate) mechanisms: Vec<String>,
}

struct Controller {
    root: PathBuf,
    mechanism: &'static str,
    settings: Vec<(&'static str, u64, Setting)>,
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
            directories: Vec::new(),
            mechanisms: Vec::new(),
        };
        for controller in controllers(limits) {
            let directory = controller.root.join(format!("proofroom-{name}"));
            match fs::create_dir(&directory) {
                Ok(()) => {}
                Err(e) if is_not_ours(&e) => continue,
                Err(e) => return Err(e).on("create", &directory),
            }
            groups.directories.push(directory.clone());
            for (file, value, setting) in &controller.settings {
                let path = directory.join(file);
                if *setting == Setting::WhereKnown && !path.exists() {
                    continue;
                }
                fs::write(&path, value.to_string()).on("write", &path)?;
            }
            groups.mechanisms.push(controller.mechanism.to_owned());
        }
        for (kind, absent) in [
            ("memory", "no-room-memory-limit"),
            ("pids", "no-room-pids-limit"),
        ] {
            let there = |m: &String| m.starts_with("cgroup") && m.contains(kind);
            if !groups.mechanisms.iter().any(there) {
                groups.mechanisms.push(absent.to_owned());
            }
        }
        Ok(groups)
    }

    pub(crate) fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    pub(crate) fn join(&self, pid: u32) -> io::Result<()> {
        for directory in &self.directories {
            fs::write(directory.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }

    /// The groups that a room named `name` left behind when its owner died: those that it noted, and
    /// those where this process would make them.
    pub(crate) fn left_by(name: &str, noted: &[PathBuf]) -> Self {
        let own = format!("proofroom-{name}");
        let roots = ["memory", "pids", ""].into_iter().filter_map(own_group);
        let mut directories: Vec<PathBuf> = roots.map(|root| root.join(&own)).collect();
        directories.extend(noted.iter().cloned());
        directories.sort();
        directories.dedup();
        directories.retain(|directory| directory.ends_with(&own) && directory.is_dir());
        Self {
            directories,
            mechanisms: Vec::new(),
        }
    }

    /// Kills every process in the groups.
    pub(crate) fn kill(&self) -> Result<(), RoomError> {
        for directory in &self.directories {
            let path = directory.join("cgroup.procs");
            let members = fs::read_to_string(&path).on("read", &path)?;
            for pid in members.lines().filter_map(|line| line.parse().ok()) {
                if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                    // One that has ended meanwhile is what is wanted; one that stays is seen below,
                    // because its group cannot be removed.
                    rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
                }
            }
        }
        Ok(())
    }

    /// Removes the groups, which the kernel permits only when no process is in them; returns how
    /// many there were.
    pub(crate) fn remove(&mut self) -> Result<usize, RoomError> {
        let count = self.directories.len();
        for directory in self.directories.drain(..) {
            let mut tries = 0;
            while let Err(error) = fs::remove_dir(&directory) {
                tries += 1;
                if error.raw_os_error() != Some(EBUSY) || tries > REMOVE_TRIES {
                    return Err(error).on("remove", &directory);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(count)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        // a room that failed to start: nothing is in them
        drop(self.remove());
    }
}

const EBUSY: i32 = 16;

fn is_not_ours(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotFound
            | io::ErrorKind::ReadOnlyFilesystem
    )
}

fn controllers(limits: &Limits) -> Vec<Controller> {
    let processes = limits.processes.saturating_add(SUPERVISOR_PROCESSES);
    let mut found = Vec::new();
    if let Some(root) = own_group("memory") {
        found.push(Controller {
            root,
            mechanism: "cgroup-v1-memory",
            settings: vec![
                (
                    "memory.limit_in_bytes",
                    limits.memory_bytes,
                    Setting::Required,
                ),
                (
                    "memory.memsw.limit_in_bytes",
                    limits.memory_bytes,
                    Setting::WhereKnown,
                ),
            ],
        });
    }
    if let Some(root) = own_group("pids") {
        found.push(Controller {
            root,
            mechanism: "cgroup-v1-pids",
            settings: vec![("pids.max", processes, Setting::Required)],
        });
    }
    if found.is_empty()
        && let Some(root) = own_group("")
        && enables(&root, &["memory", "pids"])
    {
        found.push(Controller {
            root,
            mechanism: "cgroup-v2-memory-pids",
            settings: vec![
                ("memory.max", limits.memory_bytes, Setting::Required),
                ("memory.swap.max", 0, Setting::WhereKnown),
                ("pids.max", processes, Setting::Required),
            ],
        });
    }
    found
}

/// This process's own group in the hierarchy of `controller` (empty: version 2).
fn own_group(controller: &str) -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, names, path) = (parts.next()?, parts.next()?, parts.next()?);
        let named = names.split(',').any(|name| name == controller);
        named.then(|| path.trim_start_matches('/').to_owned())
    })?;
    let mounted: &[&str] = match controller {
        "memory" => &["/sys/fs/cgroup/memory"],
        "pids" => &["/sys/fs/cgroup/pids"],
        _ => &["/sys/fs/cgroup", "/sys/fs/cgroup/unified"],
    };
    let probe = if controller.is_empty() {
        "cgroup.controllers"
    } else {
        "cgroup.procs"
    };
    mounted
        .iter()
        .map(|root| Path::new(root).join(&path))
        .find(|group| group.join(probe).exists())
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
