//! `proofroom measure`: what the measured boot of an image must look like, computed from its files,
//! or whether a captured boot looks like that.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;
use proofroom::{
    files,
    measure::{MeasureFailure, WantedShape, read, reference},
};
use proofroom_measure::{BootLog, Difference, LoggedEvent, MAX_LOG_BYTES, first_difference};
use proofroom_verifier::{
    ReferenceManifest,
    reference::{PREDICTED_PCRS, ReferenceEvent, TdxReference},
};

use super::{DIFFERENT, Failure, USAGE, say};

mod release;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The image's directory, with its `image.json`.
    #[arg(long, value_name = "DIR", default_value = "target/image")]
    image: PathBuf,
    /// Virtual processors of the machine.
    #[arg(long, value_name = "N")]
    vcpus: Option<u32>,
    /// Memory of the machine, in MiB.
    #[arg(long, value_name = "MIB")]
    memory: Option<u32>,
    /// QEMU's version, where the image has ACPI tables of several.
    #[arg(long, value_name = "VERSION")]
    qemu: Option<String>,
    /// Description of a layer that sessions may have.
    #[arg(long, value_name = "LAYER.json")]
    layer: Vec<PathBuf>,
    /// Print the manifest instead of words.
    #[arg(long)]
    json: bool,
    /// Write the manifest here.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Compare this captured TCG log with the prediction; ends with 10 where they differ.
    #[arg(long, value_name = "FILE")]
    check_log: Option<PathBuf>,
    #[command(flatten)]
    release: release::ReleaseOptions,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let wanted = WantedShape {
        vcpus: options.vcpus,
        memory_mib: options.memory,
        qemu: options.qemu.clone(),
    };
    let manifest = reference(&options.image, &wanted, &options.layer).map_err(failure)?;
    if let Some(out) = &options.out {
        files::replace(&absolute(out)?, manifest.bytes())
            .with_context(|| format!("cannot write `{}`", out.display()))
            .map_err(|error| Failure::new(USAGE, "output", error))?;
    }
    release::write(&options.release, &manifest)?;
    if let Some(path) = &options.check_log {
        return check_log(path, &manifest);
    }
    let text = if options.json {
        let mut text = String::from_utf8_lossy(manifest.bytes()).into_owned();
        text.push('\n');
        text
    } else {
        words(&manifest)
    };
    say(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn failure(error: MeasureFailure) -> Failure {
    Failure::new(USAGE, error.code(), error)
}

/// The directory of a bare file name is this one.
fn absolute(path: &std::path::Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::new(USAGE, "output", error))
}

fn check_log(path: &std::path::Path, manifest: &ReferenceManifest) -> Result<ExitCode, Failure> {
    let bytes = read(path, "event log", MAX_LOG_BYTES).map_err(failure)?;
    let log = BootLog::parse(&bytes).map_err(|source| {
        let path = path.to_owned();
        failure(MeasureFailure::Refused { path, source })
    })?;
    let predicted = &manifest.contents().events;
    match first_difference(predicted, &log) {
        None => {
            let events = predicted.len();
            say(&format!(
                "same: all {events} events of the log are as predicted\n"
            ))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(difference) => {
            say(&told(&difference))?;
            Ok(ExitCode::from(DIFFERENT))
        }
    }
}

/// A difference in words: what differs, and both sides of it.
fn told(difference: &Difference) -> String {
    let Difference {
        number,
        predicted,
        logged,
        problem,
    } = difference;
    let predicted = predicted.as_ref().map_or_else(
        || "no further event".to_owned(),
        |event| format!("PCR {} {}\n{}", event.pcr, event.kind, event_lines(event)),
    );
    let logged = logged.as_ref().map_or_else(
        || "no further event".to_owned(),
        |event| format!("PCR {} {}\n{}", event.pcr, event.kind, logged_lines(event)),
    );
    format!(
        "different: event {number}: {problem}\n  predicted: {predicted}\n  log:       {logged}\n"
    )
}

fn event_lines(event: &ReferenceEvent) -> String {
    let ReferenceEvent {
        sha256,
        sha384,
        what,
        ..
    } = event;
    format!("    what:   {what}\n    sha256: {sha256}\n    sha384: {sha384}")
}

fn logged_lines(event: &LoggedEvent) -> String {
    let shown = |digest: Option<String>| digest.unwrap_or_else(|| "no such bank".to_owned());
    format!(
        "    sha256: {}\n    sha384: {}",
        shown(event.sha256.map(|digest| digest.to_string())),
        shown(event.sha384.map(|digest| digest.to_string()))
    )
}

/// The manifest for a person: machine, then register by register.
fn words(manifest: &ReferenceManifest) -> String {
    let contents = manifest.contents();
    let shape = &contents.shape;
    let mut text = format!(
        "image         {}\nmanifest      {}\nmachine       q35, {} vCPUs, {} MiB, ACPI tables of QEMU {}\ncommand line  {}\n",
        contents.image,
        manifest.digest(),
        shape.vcpus,
        shape.memory_mib,
        shape.qemu,
        contents.command_line
    );
    for component in &contents.components {
        let line = format!(
            "{:<13} {} ({} bytes)\n",
            component.name, component.sha256, component.bytes
        );
        text.push_str(&line);
    }
    text.push_str("\nWith a TPM (SHA-384 bank):\n");
    for pcr in PREDICTED_PCRS {
        let value = contents.tpm2.sha384.get(&pcr).map(ToString::to_string);
        let events = contents.events.iter().filter(|event| event.pcr == pcr);
        register(
            &mut text,
            &format!("PCR {pcr}"),
            &value.unwrap_or_default(),
            events,
        );
    }
    text.push_str("\nAs a TD (Intel TDX):\n");
    match &contents.tdx {
        TdxReference::NotComputed { reason } => {
            text.push_str(&format!("  not computed: {reason}\n"))
        }
        TdxReference::Computed {
            mrtd,
            rtmr0,
            rtmr1,
            rtmr2,
            events,
        } => {
            register(&mut text, "MRTD", &mrtd.to_string(), std::iter::empty());
            for (number, value) in (0u8..).zip([rtmr0, rtmr1, rtmr2]) {
                let events = events.iter().filter(|event| event.rtmr == Some(number));
                register(
                    &mut text,
                    &format!("RTMR{number}"),
                    &value.to_string(),
                    events,
                );
            }
        }
    }
    for layer in &contents.layers {
        text.push_str(&format!("layer {}: root {}\n", layer.name, layer.root));
    }
    text
}

fn register<'a>(
    text: &mut String,
    name: &str,
    value: &str,
    events: impl Iterator<Item = &'a ReferenceEvent>,
) {
    text.push_str(&format!("  {name:<6} {value}\n"));
    let mut empty = true;
    for event in events {
        empty = false;
        let digest: String = event.sha384.to_string().chars().take(16).collect();
        let line = format!("    {:<33} {digest}.. {}\n", event.kind, event.what);
        text.push_str(&line);
    }
    if empty && name != "MRTD" {
        text.push_str("    nothing is measured into it before the guest's own events\n");
    }
}
