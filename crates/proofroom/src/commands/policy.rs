//! `proofroom policy`: the files that a security team owns.

mod activate;
mod history;
mod replay;
mod shadow;
mod simulate;
mod test;

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use clap::Subcommand;
use proofroom::{
    policies::{PolicySet, UpstreamSource, init},
    policy_history::PolicyHistoryError,
    state::StateDir,
};

use super::{Failure, INTERNAL, USAGE, classify};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write the default policy files, commented, to a new directory.
    Init {
        /// The directory.
        dir: PathBuf,
    },
    /// Load the policy files of a directory, run their examples, and print their digests.
    Check {
        /// The directory.
        dir: PathBuf,
    },
    /// Run every example of the classification and routing files, one a line, and try every way
    /// out of the routing table.
    Test {
        /// The directory. Default: the built-in files.
        dir: Option<PathBuf>,
    },
    /// Judge every file of a directory.
    Simulate(simulate::Options),
    /// Put a version of the access, classification, routing and egress files in force: signed,
    /// logged, and used by every session from then on.
    Activate(activate::Options),
    /// Say which version was in force when, after verifying every entry.
    History(history::Options),
    /// Say which decisions of past sessions other rules would change, from what was kept of them.
    Replay(replay::Options),
    /// Try classification and routing rules beside those in force, with no effect, and count what
    /// they would change.
    Shadow(shadow::Options),
}

/// A policy history that cannot be used, as a failure of the command.
pub(super) fn history(error: PolicyHistoryError) -> Failure {
    let exit = match error {
        PolicyHistoryError::File { .. } | PolicyHistoryError::Log(_) => INTERNAL,
        _ => USAGE,
    };
    Failure::new(exit, error.code(), error)
}

pub(crate) fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Test { dir } => return test::run(dir.as_deref()),
        Command::Simulate(options) => return simulate::run(options),
        Command::Activate(options) => return activate::run(options),
        Command::History(options) => return history::run(options),
        Command::Replay(options) => return replay::run(options),
        Command::Shadow(options) => return shadow::run(options),
        Command::Init { .. } | Command::Check { .. } => {}
    }
    let mut out = anstream::stdout().lock();
    let told = match command {
        Command::Test { .. }
        | Command::Simulate(_)
        | Command::Activate(_)
        | Command::History(_)
        | Command::Replay(_)
        | Command::Shadow(_) => Ok(()),
        Command::Init { dir } => {
            let made = init(dir).map_err(|error| {
                let context = format!("cannot write policy files to `{}`", dir.display());
                Failure::new(
                    USAGE,
                    "policy-init",
                    anyhow::Error::new(error).context(context),
                )
            })?;
            made.iter()
                .try_for_each(|path| writeln!(out, "{}", path.display()))
        }
        Command::Check { dir } => {
            let state = StateDir::default_path()
                .map_err(|error| Failure::new(USAGE, error.code(), error))?;
            let policies = PolicySet::load(Some(dir), &UpstreamSource::PolicyDirectory, &state)
                .map_err(|problems| Failure::new(USAGE, "policy-refused", problems))?;
            classify::warn_of_expired(&policies.classification);
            let digests = policies.digests();
            [
                ("access.cedar", digests.access),
                ("classification.toml", digests.classification),
                ("routing.toml", digests.routing),
                ("room.toml", digests.room),
                ("appraisal.toml", digests.appraisal),
                ("egress.toml", digests.egress),
                ("room-appraisal.toml", digests.room_appraisal),
                ("upstreams.toml", policies.upstreams.digest()),
            ]
            .iter()
            .try_for_each(|(name, digest)| writeln!(out, "{name:<20} {digest}"))
        }
    };
    told.map_err(|error| Failure::new(INTERNAL, "output", error))?;
    Ok(ExitCode::SUCCESS)
}
