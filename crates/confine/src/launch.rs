//! The host's side of starting a room: what the room shall be, and the start protocol with the
//! `launch` stage. Not the policy behind it and not its resource groups; those are crate `room`'s.

use std::{
    ffi::OsString,
    fs, io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::PathBuf,
    process::Command,
};

use rustix::process::{Signal, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::{
    AGENT_ID, ConfineError, SUPERVISOR_ID, StageProgram,
    command::{end_tree, memory_file, one, reap, start_stage},
    control::{Control, Message, Waiting},
    error::Doing as _,
};

/// What a room is made of. Nothing that is not named here is in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RoomSpec {
    /// Host directories bound read-only at the same path (`/usr`, `/lib64`, ...). A symbolic link
    /// is remade as the same link.
    pub system: Vec<PathBuf>,
    /// Further read-only binds of directories or files, the programs below `/proofroom` among them.
    pub read_only: Vec<ReadOnlyBind>,
    /// Paths below `/etc` bound read-only; the rest of the room's `/etc` is generated.
    pub etc: Vec<PathBuf>,
    /// The supervisor's command line, as paths of the room.
    pub supervisor: Vec<OsString>,
    /// The supervisor's whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Sizes of the room's file systems.
    pub limits: RoomLimits,
    /// Where the supervisor's standard error goes.
    pub diagnostics: Diagnostics,
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

/// Starts a room whose supervisor finds `channel` as descriptor 3.
///
/// `join` is called with the launcher's process id to put it into resource groups, on a thread of
/// its own (moving a process between groups can wait for a grace period of the kernel); the room's
/// first process is not made before it has returned. Blocking, single-digit milliseconds; safe in a threaded process, because
/// nothing but `exec` happens between fork and the launcher's own code.
///
/// # Errors
/// `mechanism-missing` when a namespace, the id maps or a mount is refused; `stage-failed` when a
/// named path is not usable. Nothing is left running then.
pub fn start(
    spec: &RoomSpec,
    ids: IdMap,
    channel: &OwnedFd,
    stage: &StageProgram,
    join: &(dyn Fn(u32) -> Result<(), ConfineError> + Sync),
) -> Result<Launched, ConfineError> {
    if spec.supervisor.is_empty() {
        return Err(ConfineError::Specification {
            reason: "`supervisor` is empty".to_owned(),
        });
    }
    let (control, mut launcher) = start_stage(stage, "launch", spec.diagnostics)?;
    let pid = launcher.id();
    let specification = memory_file(spec)?;
    let launched = std::thread::scope(|scope| {
        let joining = scope.spawn(|| join(pid));
        let joined = || {
            joining.join().unwrap_or_else(|_| {
                Err(ConfineError::Protocol {
                    reason: "`join` panicked".to_owned(),
                })
            })
        };
        control.send(&Message::Start, &[specification.as_fd(), channel.as_fd()])?;
        follow(&control, pid, ids, joined)
    });
    // Without the other end of the control socket a launcher in whatever state ends itself.
    drop(control);
    launcher.wait().doing("wait for the launcher")?;
    launched
}

fn follow(
    control: &Control,
    launcher: u32,
    ids: IdMap,
    joined: impl FnOnce() -> Result<(), ConfineError>,
) -> Result<Launched, ConfineError> {
    let (Message::MapMe, _) = control.expect("map-me")? else {
        return Err(ConfineError::Protocol {
            reason: "`map-me` was expected".to_owned(),
        });
    };
    write_maps(launcher, ids)?;
    joined()?;
    control.send(&Message::Mapped, &[])?;
    let (Message::Init { pid }, fds) = control.expect("init")? else {
        return Err(ConfineError::Protocol {
            reason: "`init` was expected".to_owned(),
        });
    };
    let mut launched = Launched {
        pid,
        pidfd: one(fds)?,
        mechanisms: Vec::new(),
    };
    let (Message::Built { mechanisms }, _) = control.expect("built")? else {
        return Err(ConfineError::Protocol {
            reason: "`built` was expected".to_owned(),
        });
    };
    launched.mechanisms = mechanisms;
    // The socket closes when the supervisor is executed; a failure to do so still speaks.
    match control.receive(Waiting::Yes)? {
        None => Ok(launched),
        Some((Message::Failed(failure), _)) => Err(failure.into()),
        Some(_) => Err(ConfineError::Protocol {
            reason: "too many messages".to_owned(),
        }),
    }
}

fn write_maps(launcher: u32, ids: IdMap) -> Result<(), ConfineError> {
    let IdMap {
        supervisor,
        agent,
        writer,
    } = ids;
    if supervisor == 0 || agent == 0 || supervisor == agent {
        return Err(ConfineError::Specification {
            reason: format!("the host ids `{supervisor}` and `{agent}` must differ and not be 0"),
        });
    }
    let missing = |why: String| ConfineError::MechanismMissing {
        mechanism: "subordinate-uids".to_owned(),
        why,
        what_to_do: "run as root, or install `uidmap` and give this user a range in /etc/subuid \
                     and /etc/subgid"
            .to_owned(),
    };
    for (file, helper) in [("uid_map", "newuidmap"), ("gid_map", "newgidmap")] {
        match writer {
            MapWriter::Root => {
                let map = format!("{SUPERVISOR_ID} {supervisor} 1\n{AGENT_ID} {agent} 1\n");
                fs::write(format!("/proc/{launcher}/{file}"), map)
                    .map_err(|e| missing(format!("{file}: {e}")))?;
            }
            MapWriter::Helpers => {
                let numbers = [launcher, SUPERVISOR_ID, supervisor, 1, AGENT_ID, agent, 1];
                let output = Command::new(helper)
                    .args(numbers.map(|n| n.to_string()))
                    .output();
                let output = output.map_err(|e| missing(format!("`{helper}`: {e}")))?;
                if !output.status.success() {
                    let said = String::from_utf8_lossy(&output.stderr);
                    return Err(missing(format!("`{helper}`: {}", said.trim())));
                }
            }
        }
    }
    Ok(())
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
    use std::os::unix::fs::MetadataExt as _;
    for entry in fs::read_dir("/proc")? {
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
            return Ok(Some(pid));
        }
    }
    Ok(None)
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
