//! One agent command, confined: what to run, under which limits, and the handle of the running
//! tree. The confining itself happens in the stage process (`stages/confine.rs`).

use std::{
    ffi::OsString,
    fmt,
    io::{Seek as _, Write as _},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::PathBuf,
    process::Stdio as ProcessStdio,
};

use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use serde::{Deserialize, Serialize};

use crate::{
    ConfineError,
    control::{Control, Message, Waiting},
    error::Doing as _,
    launch::Diagnostics,
    notify::Notifications,
};

/// A command to be run as the agent, confined. Nothing is inherited: what is not said here is not
/// given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentCommand {
    /// Program and arguments; a program without `/` is looked up in the `PATH` of `env`.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Working directory, absolute, reachable by the agent.
    pub cwd: PathBuf,
    /// What the process may use up.
    pub limits: CommandLimits,
    /// Which TCP ports of the room's loopback it may use.
    pub loopback: Loopback,
    /// Whether the supervisor answers for names, and where they lead.
    pub names: NameService,
    /// Which file opens are notified.
    pub file_audit: FileAudit,
    /// Directories that the agent may write to (owned by the agent); missing ones are an error.
    pub writable: Vec<PathBuf>,
    /// What the kernel ends first when the room's memory is used up.
    pub expendable: Expendable,
}

impl AgentCommand {
    /// A command with the room's default confinement: writes in `/workspace`, `/tmp`, `/home/agent`
    /// and `/dev/shm`, connections to the channel's port alone, every open notified.
    #[must_use]
    pub fn new(argv: Vec<OsString>, env: Vec<(OsString, OsString)>, cwd: PathBuf) -> Self {
        Self {
            argv,
            env,
            cwd,
            limits: CommandLimits::default(),
            loopback: Loopback::ChannelOnly,
            names: NameService::Absent,
            file_audit: FileAudit::EveryOpen,
            writable: ["/workspace", "/tmp", "/home/agent", "/dev/shm"]
                .map(PathBuf::from)
                .to_vec(),
            expendable: Expendable::First,
        }
    }
}

/// Which commands of a room the kernel ends first when its memory is used up. The supervisor comes last in
/// any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expendable {
    /// What runs beneath the session's own command, or beside it.
    First,
    /// The session's own command, with which the session ends.
    Later,
}

impl Expendable {
    /// `oom_score_adj`: a thousandth of the room's memory each, added to what the process has itself. So a
    /// command that comes first is ended before one that comes later, unless that one has more than half of
    /// the room's memory.
    pub(crate) const fn score(self) -> &'static str {
        match self {
            Self::First => "1000",
            Self::Later => "500",
        }
    }

    /// Where its memory group is, in rooms that have one.
    pub(crate) fn group(self) -> PathBuf {
        PathBuf::from("/proofroom").join(match self {
            Self::First => crate::FURTHER_GROUP,
            Self::Later => crate::OWN_GROUP,
        })
    }
}

/// The three standard streams of a command. They are the only descriptors it inherits.
#[derive(Debug)]
pub struct Stdio {
    /// Standard input.
    pub stdin: OwnedFd,
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
}

/// Per-process limits (setrlimit), each both soft and hard. Core dumps are always off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandLimits {
    /// Open files of one process.
    pub open_files: u64,
    /// Processes and threads of the agent's user id in this room, over all commands.
    pub processes: u64,
    /// Bytes of one written file.
    pub file_bytes: u64,
    /// Virtual memory of one process.
    pub address_space: AddressSpace,
}

impl Default for CommandLimits {
    fn default() -> Self {
        Self {
            open_files: 4096,
            processes: 512,
            file_bytes: 2 << 30,
            address_space: AddressSpace::RoomLimitOnly,
        }
    }
}

/// Whether one process's virtual memory is capped. Runtimes that reserve terabytes (Node, Go)
/// cannot start under a useful cap, so the room's own memory limit is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddressSpace {
    /// Only the room's cgroup limit counts.
    RoomLimitOnly,
    /// This many bytes at most.
    Bytes(u64),
}

/// What the agent may do with TCP on the room's loopback. The room has no other interface and no
/// route; this is enforced by Landlock, by port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loopback {
    /// Connect to [`crate::CHANNEL_PORT`], bind nothing.
    ChannelOnly,
    /// Bind and connect to any port: for test suites that start servers. Still only inside the
    /// room, still notified.
    TestServers,
}

/// Whether the supervisor is the room's resolver. Names lead to loopback addresses that are its own,
/// so that a command needs no other way than these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NameService {
    /// It is not: there is nobody to ask.
    Absent,
    /// It answers on [`crate::RESOLVER_PORT`], over TCP and by IPv4 datagram, and takes TCP
    /// connections to these ports. Datagram sockets are judged by no port: on a loopback that is alone,
    /// they reach the supervisor and the agent's own processes.
    Present {
        /// Where names may be connected to.
        ports: Vec<u16>,
    },
}

/// Which file opens become notifications (about 15 to 40 µs each). Creating, truncating, renaming,
/// linking, removing and executing are always notified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileAudit {
    /// Every open.
    EveryOpen,
    /// Opens that can write or create.
    Writes,
}

/// The program that holds the stages (its `main` calls [`crate::stages::main`]).
#[derive(Debug, Clone)]
pub struct StageProgram(PathBuf);

impl StageProgram {
    /// The program at `path`.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// The running program.
    ///
    /// # Errors
    /// `system-call-failed` when `/proc/self/exe` cannot be resolved.
    pub fn itself() -> Result<Self, ConfineError> {
        Ok(Self(
            std::env::current_exe().doing("find the running program")?,
        ))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        &self.0
    }
}

/// How a command ended. Everything it had started is gone by then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this exit status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// The program could not be executed (not found, denied, not a program).
    NotStarted(String),
    /// Its whole tree was killed from outside ([`ConfinedCommand::kill`], or the room's memory
    /// limit struck its first process).
    TreeKilled,
}

/// A confined command: a pid namespace whose first process is a child of the caller. Dropping the
/// handle kills the tree.
pub struct ConfinedCommand {
    pid: i32,
    pidfd: OwnedFd,
    control: Control,
    notifications: Notifications,
    mechanisms: Vec<String>,
}

impl fmt::Debug for ConfinedCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfinedCommand")
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

impl ConfinedCommand {
    /// Confines and starts `command` by way of `stage`. On return every mechanism is in force and
    /// the command waits at its first notification (its own `execve`), so the caller must read
    /// [`Self::notifications`] before it waits.
    ///
    /// The caller needs uid 0 of the room's user namespace. Blocking, about 2 ms.
    ///
    /// # Errors
    /// `mechanism-missing` when the kernel refuses one of the mechanisms; `stage-failed` when the
    /// working directory or a writable directory is not usable. Nothing runs then.
    pub fn spawn(
        command: &AgentCommand,
        stdio: &Stdio,
        stage: &StageProgram,
    ) -> Result<Self, ConfineError> {
        if command.argv.is_empty() {
            return Err(ConfineError::Specification {
                reason: "`argv` is empty".to_owned(),
            });
        }
        let (control, mut child) = start_stage(stage, "confine", Diagnostics::Discard)?;
        let specification = memory_file(command)?;
        let fds = [&specification, &stdio.stdin, &stdio.stdout, &stdio.stderr];
        let confined = control
            .send(&Message::Start, &fds.map(|fd| fd.as_fd()))
            .and_then(|()| Self::follow(control));
        child.wait().doing("wait for the confine stage")?;
        confined
    }

    fn follow(control: Control) -> Result<Self, ConfineError> {
        let (Message::Init { pid }, fds) = control.expect("init")? else {
            return Err(ConfineError::Protocol {
                reason: "`init` was expected".to_owned(),
            });
        };
        let pidfd = one(fds)?;
        let confined = match control.expect("confined") {
            Ok((Message::Confined { mechanisms }, fds)) => one(fds)
                .and_then(Notifications::over)
                .map(|notifications| (mechanisms, notifications)),
            Ok(_) => Err(ConfineError::Protocol {
                reason: "`confined` was expected".to_owned(),
            }),
            Err(error) => Err(error),
        };
        match confined {
            Ok((mechanisms, notifications)) => Ok(Self {
                pid,
                pidfd,
                control,
                notifications,
                mechanisms,
            }),
            Err(error) => {
                end_tree(pidfd.as_fd())?;
                Err(error)
            }
        }
    }

    /// The tree's first process in the caller's pid namespace (for the record; signal by pidfd).
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Becomes readable when the whole tree has ended.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The command's system calls that wait for an answer.
    #[must_use]
    pub fn notifications(&self) -> &Notifications {
        &self.notifications
    }

    /// The mechanisms in force on this command, as they enter the session record.
    #[must_use]
    pub fn mechanisms(&self) -> &[String] {
        &self.mechanisms
    }

    /// Kills the whole tree at once (its pid namespace ends with its first process).
    ///
    /// # Errors
    /// `system-call-failed`; a tree that has ended already is not an error.
    pub fn kill(&self) -> Result<(), ConfineError> {
        match pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).doing("kill the command"),
        }
    }

    /// Waits until the tree has ended. Call once.
    ///
    /// # Errors
    /// `system-call-failed` when the process was already waited for.
    pub fn wait(&self) -> Result<Ended, ConfineError> {
        reap(self.pidfd.as_fd())?;
        let mut ended = Ended::TreeKilled;
        while let Some((message, _)) = self.control.receive(Waiting::No)? {
            ended = match message {
                Message::Failed(failure) => {
                    return Ok(Ended::NotStarted(failure.message));
                }
                Message::Exited { code } => Ended::Exited(code),
                Message::Killed { signal } => Ended::Killed(signal),
                _ => ended,
            };
        }
        Ok(ended)
    }
}

impl Drop for ConfinedCommand {
    fn drop(&mut self) {
        // both fail when the tree has ended and was waited for, which is what is wanted
        drop(end_tree(self.pidfd.as_fd()));
    }
}

pub(crate) fn start_stage(
    stage: &StageProgram,
    name: &str,
    diagnostics: Diagnostics,
) -> Result<(Control, std::process::Child), ConfineError> {
    let (control, theirs) = Control::pair()?;
    let stderr = match diagnostics {
        Diagnostics::Discard => ProcessStdio::null(),
        Diagnostics::HostStderr => ProcessStdio::inherit(),
    };
    let child = std::process::Command::new(stage.path())
        .arg(name)
        .env_clear()
        .stdin(ProcessStdio::from(theirs))
        .stdout(ProcessStdio::null())
        .stderr(stderr)
        // An interrupt at the terminal is for the host, which ends its rooms in order.
        .process_group(0)
        .spawn()
        .doing(&format!(
            "start the stage program `{}`",
            stage.path().display()
        ))?;
    Ok((control, child))
}

pub(crate) fn memory_file<T: Serialize>(value: &T) -> Result<OwnedFd, ConfineError> {
    let fd = rustix::fs::memfd_create("specification", rustix::fs::MemfdFlags::CLOEXEC)
        .doing("make a memory file")?;
    let mut file = std::fs::File::from(fd);
    let text = serde_json::to_vec(value).map_err(|e| ConfineError::Specification {
        reason: e.to_string(),
    })?;
    file.write_all(&text).doing("write the specification")?;
    file.rewind().doing("rewind the specification")?;
    Ok(file.into())
}

pub(crate) fn one(fds: Vec<OwnedFd>) -> Result<OwnedFd, ConfineError> {
    match <[OwnedFd; 1]>::try_from(fds) {
        Ok([fd]) => Ok(fd),
        Err(fds) => Err(ConfineError::Protocol {
            reason: format!("one descriptor was expected, {} came", fds.len()),
        }),
    }
}

pub(crate) fn reap(pidfd: BorrowedFd<'_>) -> Result<(), ConfineError> {
    loop {
        match waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).doing("wait for a process"),
            Ok(_) => return Ok(()),
        }
    }
}

pub(crate) fn end_tree(pidfd: BorrowedFd<'_>) -> Result<(), ConfineError> {
    match pidfd_send_signal(pidfd, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => return Err(error).doing("kill a process tree"),
    }
    reap(pidfd)
}
