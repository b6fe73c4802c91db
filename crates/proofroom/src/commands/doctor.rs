//! `proofroom doctor`: what this machine can do, tried and not assumed, and for each kind of room what
//! is missing.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use proofroom::{
    backends::{BackendReport, backends, highest},
    isolation::Canary,
    session,
};
use proofroom_confine::probe::{HighestLevel, MachineReport, Need, probe};
use proofroom_room::{Image, Shape, hardware::State};
use serde::Serialize;

use super::{
    Failure, INTERNAL, UNAVAILABLE,
    deployment::{image, open_state},
};

/// The machine that is tried: the smallest that sessions get by default.
const SHAPE: Shape = Shape {
    vcpus: 1,
    memory_mib: 2048,
};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The image that virtual machines boot.
    #[arg(long, value_name = "DIR")]
    image: Option<PathBuf>,
    /// Where the answer of a machine that was booted to see whether KVM works is kept.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
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
    let image = image(options.image.as_deref());
    let backends = backends(&machine, &image, &|image| canary(options, image));
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
    // What every room needs stands under `process` already.
    let mut others = report.machine.clone();
    others
        .mechanisms
        .retain(|mechanism| mechanism.need != Need::EveryRoom);
    write!(text, "limits, and this machine as a guest\n{others}")?;
    Ok(text)
}

/// `/dev/kvm` says nothing; only a machine that boots does.
fn canary(options: &Options, image: &Path) -> State {
    match booted(options, image) {
        Ok(words) => State::Met(words),
        Err(why) => State::Missing {
            why,
            what_to_do: "use a machine whose KVM runs an ordinary kernel, or `--accel tcg`"
                .to_owned(),
        },
    }
}

fn booted(options: &Options, image: &Path) -> Result<String, String> {
    let image = Image::open(image).map_err(|error| format!("the image is not usable: {error}"))?;
    let programs = session::programs().map_err(|error| format!("{error:#}"))?;
    let state =
        open_state(options.state.as_deref()).map_err(|failure| format!("{:#}", failure.error))?;
    Canary::new(state.path(), programs).boots(&image, SHAPE)
}
