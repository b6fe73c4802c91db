//! `proofroom doctor`: what this machine can do, tried and not assumed, and for each kind of room what
//! is missing.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use proofroom::backends::{BackendReport, backends, highest};
use proofroom_confine::probe::{HighestLevel, MachineReport, probe};
use proofroom_room::hardware::State;
use serde::Serialize;

use super::{Failure, INTERNAL, UNAVAILABLE};

/// Where a package puts the image that virtual machines boot.
const PACKAGED_IMAGE: &str = "/usr/share/proofroom/image";

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The image that virtual machines boot.
    #[arg(long, value_name = "DIR", default_value = PACKAGED_IMAGE)]
    image: PathBuf,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    machine: MachineReport,
    backends: Vec<BackendReport>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let mut machine = probe();
    let backends = backends(&machine, &options.image, &canary);
    machine.highest_level = highest(&backends);
    let report = Report { machine, backends };
    let text = if options.json {
        let mut text = serde_json::to_string_pretty(&report)
            .map_err(|error| Failure::new(INTERNAL, "output", error))?;
        text.push('\n');
        text
    } else {
        words(&report).map_err(|error| Failure::new(INTERNAL, "output", error))?
    };
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())
        .map_err(|error| Failure::new(INTERNAL, "output", error))?;
    Ok(if report.machine.highest_level != HighestLevel::None {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(UNAVAILABLE)
    })
}

fn words(report: &Report) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for backend in &report.backends {
        writeln!(text, "{backend}")?;
    }
    write!(text, "mechanisms\n{}", report.machine)?;
    Ok(text)
}

/// `/dev/kvm` says nothing; only a machine that boots does.
fn canary(_image: &Path) -> State {
    State::NotTried("no canary machine was booted".to_owned())
}
