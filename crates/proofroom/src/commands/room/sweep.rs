//! `proofroom room sweep`: what every `proofroom run` does first, by itself.

use std::{io, process::ExitCode};

use clap::Args;
use proofroom::{
    progress::{Format, Progress},
    session,
};

use super::Of;
use crate::commands::{Failure, UNAVAILABLE, deployment::open_deployment};

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    of: Of,
    /// One JSON object per line on standard output.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let format = if options.json {
        Format::Json
    } else {
        Format::Human
    };
    let out: Box<dyn io::Write + Send> = match format {
        Format::Human => Box::new(anstream::stdout()),
        Format::Json => Box::new(io::stdout()),
    };
    let progress = Progress::new(format, out);
    let deployment = open_deployment(options.of.open()?)?;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::new(UNAVAILABLE, "runtime", error))?;
    let closed = runtime
        .block_on(session::recover(&deployment, &progress))
        .map_err(|error| Failure::new(UNAVAILABLE, "sweep", error))?;
    if closed.is_empty() {
        progress.note("no session was left open");
    }
    Ok(ExitCode::SUCCESS)
}
