//! The host's side of a room: what the room shall be, how it is started, and its first process. Not the policy behind it and not its resource groups; those are crate `room`'s.

use std::{
    ffi::OsString,
    fs, io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use rustix::{
    mount::{MountPropagationFlags, mount_change},
    process::{Signal, pidfd_send_signal},
};
use serde::{Deserialize, Serialize};

use crate::{
    ConfineError,
    command::{end_tree, reap},
    error::Doing as _,
    sys,
};

mod start;

pub use start::{Entering, Group, Launcher};

/// What a room is made of. Nothing that is not named here is in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RoomSpec {
    /// Host directories bound read-only at the same path (`/usr`, `/lib64`, ...). A symbolic link
    /// is remade as the same link.
    pub system: Vec<PathBuf>,
    /// Further read-only binds of directories or files, the programs below `/proofroom` among them.
    pub read_only: Vec<ReadOnlyBind>,
    /// Where file systems go that are handed over, mounted nowhere: the last of the inherited
    /// descriptors, in this order. Rooms have none but, where it is not in memory, their workspace.
    pub mounts: Vec<PathBuf>,
    /// Devices below `/dev` besides the harmless ones. Rooms have none.
    pub devices: Vec<String>,
    /// Paths below `/etc` bound read-only; the rest of the room's `/etc` is generated.
    pub etc: Vec<PathBuf>,
    /// What the first process may do.
    pub rights: Rights,
    /// The supervisor's command line, as paths of the room.
    pub supervisor: Vec<OsString>,
    /// The supervisor's whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Sizes of the room's file systems.
    pub limits: RoomLimits,
    /// Where the supervisor's standard error goes.
    pub diagnostics: Diagnostics,
}

/// What the first process of a room may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rights {
    /// It is the room's uid 0 and confines commands.
    Supervisor,
    /// It is a program that somebody else wrote and only runs: uid 1000, no capability, and a
    /// system-call filter that refuses what no such program needs and executes nothing else.
    Program,
}

/// One read-only bind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadOnlyBind {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute path in the room.
    pub target: PathBuf,
}

/// Caps of the room's memory-backed file systems, each with its own inode cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomLimits {
    /// Bytes of `/workspace`.
    pub workspace_bytes: u64,
    /// Bytes of `/tmp`, and again of `/home/agent`.
    pub tmp_bytes: u64,
    /// Bytes of `/dev/shm`.
    pub shm_bytes: u64,
    /// Files and directories of each of them.
    pub inodes: u64,
}

impl Default for RoomLimits {
    fn default() -> Self {
        Self {
            workspace_bytes: 2 << 30,
            tmp_bytes: 512 << 20,
            shm_bytes: 64 << 20,
            inodes: 400_000,
        }
    }
}

/// Where the supervisor's standard error goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Diagnostics {
    /// Nowhere: the channel is the only way out of the room.
    Discard,
    /// To the host's standard error. For development; the record names it.
    HostStderr,
}

/// The unprivileged host ids of a room; user and group ids alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// Host id of the room's uid 0.
    pub supervisor: u32,
    /// Host id of the room's uid 1000.
    pub agent: u32,
    /// Who writes the maps.
    pub writer: MapWriter,
}

/// Who may write a room's id maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapWriter {
    /// This process, as the machine's root.
    Root,
    /// `newuidmap` and `newgidmap`, from the ranges in `/etc/subuid` and `/etc/subgid`.
    Helpers,
}

/// A started room: its first process, a child of this one. Dropping it kills the room.
#[derive(Debug)]
pub struct Launched {
    pid: i32,
    pidfd: OwnedFd,
    mechanisms: Vec<String>,
}

impl Launched {
    /// The supervisor's process id on the host, for the record; signal by pidfd.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Becomes readable when the room has ended.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The mechanisms in force.
    #[must_use]
    pub fn mechanisms(&self) -> &[String] {
        &self.mechanisms
    }

    /// Kills every process of the room.
    ///
    /// # Errors
    /// `system-call-failed`; a room that has ended already is not an error.
    pub fn kill(&self) -> Result<(), ConfineError> {
        match pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).doing("kill the room"),
        }
    }

    /// Waits until the supervisor, and so every process of the room's pid namespace, is gone: the
    /// kernel lets the first process end only after it has killed and reaped all others.
    ///
    /// # Errors
    /// `system-call-failed` when it was already waited for.
    pub fn wait(&self) -> Result<(), ConfineError> {
        reap(self.pidfd.as_fd())
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        // fails when the room was waited for already, which is what is wanted
        drop(end_tree(self.pidfd.as_fd()));
    }
}

/// Whether a process of these host ids exists: `Ok(None)`, or one such process.
///
/// # Errors
/// When `/proc` cannot be listed.
pub fn process_of(ids: IdMap) -> io::Result<Option<i32>> {
    search(ids, 1).map(|found| found.first().copied())
}

/// Every process of these host ids.
///
/// # Errors
/// When `/proc` cannot be listed.
pub fn processes_of(ids: IdMap) -> io::Result<Vec<i32>> {
    search(ids, usize::MAX)
}

fn search(ids: IdMap, most: usize) -> io::Result<Vec<i32>> {
    use std::os::unix::fs::MetadataExt as _;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        if found.len() >= most {
            break;
        }
        let entry = entry?;
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A process that ends meanwhile is one fewer.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let owned = metadata.uid() == ids.supervisor || metadata.uid() == ids.agent;
        if owned || status_has(pid, ids) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Whether anybody has this file open by another opening than `file`, which is open for writing: asked of
/// the kernel by a lease, which it grants to an only opener.
///
/// # Errors
/// When the file system grants no leases.
pub fn is_open_elsewhere(file: &fs::File) -> io::Result<bool> {
    match sys::lease(file.as_fd()) {
        Ok(()) => Ok(false),
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Does `work` on a thread of its own, in a mount namespace of its own: what is mounted in it is seen by
/// nobody else, and is gone with the thread, or with this process when it is killed meanwhile, but for
/// what `work` detached and returned.
///
/// # Errors
/// Those of `work`, and when this process may not have another mount namespace.
pub fn in_own_mounts<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let apart = || {
        sys::unshare(libc::CLONE_NEWNS)?;
        let all = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", all)?;
        work()
    };
    std::thread::scope(|scope| scope.spawn(apart).join())
        .unwrap_or_else(|_| Err(io::Error::other("the thread with the mounts ended")))
}

/// Non-dumpable processes show root as the owner of their directory, so the status counts too.
fn status_has(pid: i32, ids: IdMap) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
        return false;
    };
    let Some(line) = status.lines().find_map(|line| line.strip_prefix("Uid:")) else {
        return false;
    };
    line.split_whitespace()
        .filter_map(|id| id.parse::<u32>().ok())
        .any(|id| id == ids.supervisor || id == ids.agent)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsRawFd as _};

    use super::is_open_elsewhere;

    #[test]
    fn a_file_is_open_elsewhere_for_as_long_as_somebody_else_has_it() {
        let file = tempfile::tempfile().unwrap();
        assert!(!is_open_elsewhere(&file).unwrap());
        // A copy of the descriptor is the same opening, opening it anew is another one, also to read only.
        let copy = file.try_clone().unwrap();
        assert!(!is_open_elsewhere(&file).unwrap());
        let other = File::open(format!("/proc/self/fd/{}", copy.as_raw_fd())).unwrap();
        assert!(is_open_elsewhere(&file).unwrap());
        drop(other);
        assert!(!is_open_elsewhere(&file).unwrap());
    }
}
