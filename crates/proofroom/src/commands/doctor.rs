//! `proofroom doctor`: what this machine can do, tried and not assumed.

use std::{io::Write as _, process::ExitCode};

use clap::Args;
use proofroom_confine::probe::{HighestLevel, probe};

use super::{Failure, INTERNAL, UNAVAILABLE};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let report = probe();
    let text = if options.json {
        let mut text = serde_json::to_string_pretty(&report)
            .map_err(|error| Failure::new(INTERNAL, "output", error))?;
        text.push('\n');
        text
    } else {
        report.to_string()
    };
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())
        .map_err(|error| Failure::new(INTERNAL, "output", error))?;
    Ok(if report.highest_level != HighestLevel::None {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(UNAVAILABLE)
    })
}
