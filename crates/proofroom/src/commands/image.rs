//! `proofroom image`: what the measurement calculator must know of this machine's QEMU.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command as Program, ExitCode},
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use proofroom::{files, session};
use proofroom_canonical::Digest;
use proofroom_room::{
    Accelerator, Attestation, DEFAULT_ROOM, IMAGE_FILE, Image, MachineConfig, RoomConfig,
    RoomError, Shape, capture, own_name,
};
use serde_json::{Value, json};

use super::{Failure, UNAVAILABLE, USAGE, run::Accel};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Boot the image once and keep the ACPI tables that this QEMU gives to a machine of this shape:
    /// the firmware measures them, and `proofroom measure` computes the rest without booting.
    Capture(Options),
}

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The image's directory, with its `image.json`, which will name the tables.
    #[arg(long, value_name = "DIR", default_value = "target/image")]
    image: PathBuf,
    /// Virtual processors of the machine.
    #[arg(long, value_name = "N", default_value_t = 1)]
    vcpus: u16,
    /// Memory of the machine, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    memory: u32,
    /// Of a machine without a TPM, as a trust domain is: for the reference values of one.
    #[arg(long)]
    without_tpm: bool,
    /// What executes the machine.
    #[arg(long, value_enum, default_value_t = Accel::Tcg)]
    accel: Accel,
}

pub(crate) fn run(command: &Command) -> Result<ExitCode, Failure> {
    let Command::Capture(options) = command;
    let image = Image::open(&options.image).map_err(of_room)?;
    let version = qemu_version().map_err(|e| Failure::new(UNAVAILABLE, "qemu", e))?;
    let machine = MachineConfig {
        image,
        layers: Vec::new(),
        accelerator: options.accel.into(),
        shape: Shape {
            vcpus: options.vcpus,
            memory_mib: options.memory,
        },
        attestation: if options.without_tpm {
            Attestation::SimulatedTdx
        } else {
            Attestation::SoftwareTpm
        },
        disk_directory: options.image.clone(),
    };
    let programs = session::programs().map_err(|e| Failure::new(UNAVAILABLE, "programs", e))?;
    let config = RoomConfig::parse(DEFAULT_ROOM, &options.image).map_err(|problems| {
        Failure::new(USAGE, "room-config-unusable", RoomError::Config(problems))
    })?;
    let name = own_name("capture").map_err(of_room)?;
    let files = capture(&name, &config, &programs, &machine).map_err(of_room)?;
    keep(options, &version, &files).map_err(|e| Failure::new(USAGE, "image", e))?;
    Ok(ExitCode::SUCCESS)
}

fn of_room(error: RoomError) -> Failure {
    Failure::new(UNAVAILABLE, error.code(), error)
}

/// `7.2.22` of `QEMU emulator version 7.2.22 (Debian …)`.
fn qemu_version() -> anyhow::Result<String> {
    let output = Program::new(proofroom_room::QEMU)
        .arg("--version")
        .output()
        .context("QEMU cannot be asked for its version")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .next()
        .and_then(|line| line.strip_prefix("QEMU emulator version "))
        .and_then(|rest| rest.split(' ').next())
        .map(str::to_owned)
        .context("QEMU does not say its version")
}

/// Puts the files beside the image and names them in it; an entry of the same machine is replaced.
fn keep(
    options: &Options,
    version: &str,
    captured: &BTreeMap<String, Vec<u8>>,
) -> anyhow::Result<()> {
    let kind = if options.without_tpm { "-no-tpm" } else { "" };
    let directory = format!(
        "acpi/qemu-{version}-{}x{}{kind}",
        options.vcpus, options.memory
    );
    let place = options.image.join(&directory);
    fs::create_dir_all(&place).with_context(|| format!("cannot make `{}`", place.display()))?;
    let mut digests = serde_json::Map::new();
    for (from, to) in [
        ("table-loader", "table-loader"),
        ("acpi/rsdp", "rsdp"),
        ("acpi/tables", "tables"),
        ("tpm/log", "tpm-log"),
    ] {
        if to == "tpm-log" && options.without_tpm {
            continue;
        }
        let bytes = captured
            .get(from)
            .with_context(|| format!("QEMU gave its firmware no `etc/{from}`"))?;
        write(&place.join(to), bytes)?;
        digests.insert(to.to_owned(), Digest::of(bytes).to_hex().into());
    }
    let path = options.image.join(IMAGE_FILE);
    let text = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let mut image: Value = serde_json::from_slice(&text)?;
    let entries = image
        .get_mut("acpi")
        .and_then(Value::as_array_mut)
        .with_context(|| format!("`{}` has no list `acpi`", path.display()))?;
    entries.retain(|entry| entry.get("directory").and_then(Value::as_str) != Some(&directory));
    entries.push(json!({
        "qemu": version,
        "vcpus": options.vcpus,
        "memory_mib": options.memory,
        "directory": directory,
        "files": digests,
    }));
    write(
        &path,
        (serde_json::to_string_pretty(&image)? + "\n").as_bytes(),
    )
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let path = std::path::absolute(path)?;
    files::replace(&path, bytes).with_context(|| format!("cannot write `{}`", path.display()))
}

impl From<Accel> for Accelerator {
    fn from(accel: Accel) -> Self {
        match accel {
            Accel::Kvm => Self::Kvm,
            Accel::Tcg => Self::Tcg,
        }
    }
}
