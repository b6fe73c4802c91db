//! `proofroom gateway check-records`: reads all that a stopped gateway keeps.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use proofroom_clock::wall;
use proofroom_gateway_server::check_records;

use super::{
    super::{Failure, UNAVAILABLE, say},
    configuration,
    serve::{self, Kept},
};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The gateway's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let config = configuration(&options.config)?;
    let Kept {
        state, log, prices, ..
    } = serve::kept(&config)?;
    let checked = check_records(state.path(), log, wall, prices, &mut serve::tell)
        .map_err(|error| Failure::new(UNAVAILABLE, error.code(), error))?;
    say(&format!(
        "{} records and {} leaves are as they were written; the index is made anew\n",
        checked.records, checked.leaves
    ))?;
    if checked.leaves_added > 0 || checked.torn_bytes > 0 {
        say(&format!(
            "a crash had left {} records without a leaf, which have theirs now, and {} bytes of a line, which are dropped\n",
            checked.leaves_added, checked.torn_bytes
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
