//! Starting a command as the agent: what to run, what comes back, and who watches it. How it is
//! confined is the business of a [`Spawner`]; the one for real rooms is in `confined.rs`.

use std::{ffi::OsString, fmt, os::fd::OwnedFd, path::PathBuf, sync::Arc};

use proofroom_confine::Expendable;
use proofroom_record::room_api::CommandRules;

use crate::{names::Directory, observe::Watch};

/// A command to be run as the agent. Nothing is inherited.
#[derive(Clone, Debug)]
pub struct AgentCommand {
    /// Program and arguments.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Working directory.
    pub cwd: PathBuf,
    /// How it is confined.
    pub rules: CommandRules,
    /// Where names lead that it looks up; none where nobody answers for them.
    pub names: Option<Arc<Directory>>,
    /// Whether it is ended first when the room's memory is used up.
    pub expendable: Expendable,
}

/// Standard streams of a command.
#[derive(Debug)]
pub struct Streams {
    /// Standard input.
    pub stdin: OwnedFd,
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
}

/// Why a command was not started.
#[derive(Debug, thiserror::Error)]
#[error("command could not be confined and was not started: {reason}")]
pub struct SpawnError {
    /// Stable code of the confinement.
    pub code: String,
    /// For a person.
    pub reason: String,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It returned this code.
    Exited(i32),
    /// This signal killed it.
    Killed(i32),
    /// The program could not be executed.
    NotStarted(String),
}

/// A running command with everything that it started.
pub trait Running: Send + Sync {
    /// Kills the whole tree.
    fn kill(&self);
    /// Waits until the whole tree is gone. Blocking; called once.
    ///
    /// # Errors
    /// [`SpawnError`] when nothing is known of its end.
    fn wait(&self) -> Result<Ended, SpawnError>;
}

/// Starts commands as the agent.
pub trait Spawner: Send + Sync + fmt::Debug {
    /// Starts a command whose system calls `watch` decides. Blocking.
    ///
    /// # Errors
    /// [`SpawnError`]: nothing runs then.
    fn spawn(
        &self,
        command: &AgentCommand,
        streams: Streams,
        watch: Arc<dyn Watch>,
    ) -> Result<Box<dyn Running>, SpawnError>;

    /// Mechanisms that were in force on the commands so far, for the session record.
    fn mechanisms(&self) -> Vec<String>;
}
