//! `proofroom policy`: the files that a security team owns.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use clap::Subcommand;
use proofroom::{
    policies::{PolicySet, UpstreamSource, init},
    state::StateDir,
};

use super::{Failure, INTERNAL, USAGE};

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
}

pub(crate) fn run(command: &Command) -> Result<ExitCode, Failure> {
    let mut out = anstream::stdout().lock();
    let told = match command {
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
