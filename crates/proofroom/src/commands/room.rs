//! `proofroom room`: living rooms and what a crash left of others, from any terminal of their owner.

mod end;
mod exec;
mod list;
mod logs;
mod pause;
mod sweep;

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use proofroom::{
    control::{Ask, ControlError},
    state::StateDir,
};
use proofroom_canonical::SessionId;

use super::{Failure, INCOMPLETE, INTERNAL, UNAVAILABLE, USAGE, deployment::open_state};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List living sessions, and those that a crash left open.
    List(list::Options),
    /// Ask a living session to close, as an interrupt would; wait until it is over.
    End(end::Options),
    /// Run a command in a living room, as the agent's user and confined like the agent's own.
    Exec(exec::Options),
    /// Stop a room in memory.
    Pause(pause::Options),
    /// Let a paused room go on.
    Resume(pause::Options),
    /// Show a session's events.
    Logs(logs::Options),
    /// End what a crash left: rooms without an owner, their files, their open records.
    Sweep(sweep::Options),
}

/// Where the deployment is.
#[derive(Args, Debug)]
struct Of {
    /// Where keys, log and sessions are kept.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl Of {
    fn open(&self) -> Result<StateDir, Failure> {
        open_state(self.state.as_deref())
    }
}

/// A session of a deployment.
#[derive(Args, Debug)]
struct Session {
    /// The session, such as `ses_…`; its first characters are enough when no other has them.
    #[arg(value_name = "SESSION")]
    session: String,
    #[command(flatten)]
    of: Of,
}

impl Session {
    /// The session that is meant, and its folder.
    fn find(&self) -> Result<(SessionId, PathBuf), Failure> {
        let all = self
            .of
            .open()?
            .sessions()
            .map_err(|error| Failure::new(UNAVAILABLE, error.code(), error))?;
        let named = |(id, _): &(SessionId, PathBuf)| id.to_string().starts_with(&self.session);
        let mut fitting = all.into_iter().filter(named);
        let shown = self.session.escape_debug();
        match (fitting.next(), fitting.next()) {
            (Some(found), None) => Ok(found),
            (None, _) => {
                let error = anyhow::anyhow!(
                    "there is no session `{shown}`; `proofroom room list` shows those that live, the folder `sessions` of the state directory all of them"
                );
                Err(Failure::new(USAGE, "no-such-session", error))
            }
            (Some(_), Some(_)) => {
                let error =
                    anyhow::anyhow!("several sessions begin with `{shown}`; name more of it");
                Err(Failure::new(USAGE, "session-ambiguous", error))
            }
        }
    }
}

pub(crate) fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::List(options) => list::run(options),
        Command::End(options) => end::run(options),
        Command::Exec(options) => exec::run(options),
        Command::Pause(options) => pause::run(options, &Ask::Pause),
        Command::Resume(options) => pause::run(options, &Ask::Resume),
        Command::Logs(options) => logs::run(options),
        Command::Sweep(options) => sweep::run(options),
    }
}

fn failed(error: ControlError) -> Failure {
    let (exit, code) = match &error {
        ControlError::Refused { .. } => (INCOMPLETE, error.code()),
        ControlError::NotListening(_) => (USAGE, error.code()),
        _ => (UNAVAILABLE, error.code()),
    };
    Failure::new(exit, code, error)
}

/// Writes a line; a reader that went away has seen enough.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(INTERNAL, "output", error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether the session's record is closed and its bundle written.
fn is_done(dir: &Path) -> bool {
    dir.join("done").exists()
}
