//! `proofroom policy`: the files that a security team owns.

mod simulate;
mod test;

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use clap::Subcommand;
use proofroom::{
    policies::{PolicySet, UpstreamSource, init},
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
}

pub(crate) fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Test { dir } => return test::run(dir.as_deref()),
        Command::Simulate(options) => return simulate::run(options),
        Command::Init { .. } | Command::Check { .. } => {}
    }
    let mut out = anstream::stdout().lock();
    let told = match command {
        Command::Test { .. } | Command::Simulate(_) => Ok(()),
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
