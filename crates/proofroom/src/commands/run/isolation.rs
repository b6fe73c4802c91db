//! `--isolation` and what belongs to it: the choice of a backend for one session.

use std::path::Path;

use clap::ValueEnum;
use proofroom::{
    isolation::{Canary, Chosen, IsolationRequest, Processors, Wanted, choose},
    policies::PolicySet,
    session,
};
use proofroom_canonical::IsolationLevel;
use proofroom_layer::Stored;
use proofroom_room::{Layer, LayerFile, Shape};

use super::Options;
use crate::commands::{Failure, UNAVAILABLE, USAGE, deployment::image};

/// `--isolation`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Isolation {
    /// The strongest that this machine has.
    Auto,
    /// Namespaces, seccomp and Landlock on the host's kernel.
    Process,
    /// A virtual machine with its own kernel.
    Vm,
    /// An Intel TDX machine.
    Tdx,
    /// An AMD SEV-SNP machine.
    SevSnp,
}

/// `--min-isolation`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Level {
    /// Any room.
    Process,
    /// A virtual machine at least.
    Vm,
    /// A confidential machine.
    Hardware,
}

/// `--accel`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Accel {
    /// The processor.
    Kvm,
    /// QEMU's emulator.
    Tcg,
}

/// The backend for this session, and why.
pub(super) fn chosen(
    options: &Options,
    policies: &PolicySet,
    state: &Path,
) -> Result<Chosen, Failure> {
    let image = image(options.image.as_deref());
    let layers = layers(options, &image)?;
    let request = IsolationRequest {
        wanted: match options.isolation {
            Isolation::Auto => Wanted::Auto,
            Isolation::Process => Wanted::Process,
            Isolation::Vm => Wanted::Vm,
            Isolation::Tdx => Wanted::Tdx,
            Isolation::SevSnp => Wanted::SevSnp,
        },
        minimum: match options.min_isolation {
            Level::Process => IsolationLevel::Process,
            Level::Vm => IsolationLevel::Vm,
            Level::Hardware => IsolationLevel::Hardware,
        },
        processors: match options.accel {
            None => Processors::Real,
            Some(accel) => Processors::Only(accel.into()),
        },
        image,
        layers,
        shape: Shape {
            vcpus: options.vm_cpus,
            memory_mib: options.vm_memory,
        },
        quote_service: options.quote_service.clone(),
        disk_directory: state.to_owned(),
    };
    let programs =
        session::programs().map_err(|error| Failure::new(UNAVAILABLE, "programs", error))?;
    choose(
        &request,
        policies.room.minimum_isolation,
        &Canary::new(state, programs),
    )
    .map_err(|error| Failure::new(UNAVAILABLE, error.code(), error))
}

fn layers(options: &Options, image: &Path) -> Result<Vec<LayerFile>, Failure> {
    let base = image.join("layers/base");
    let directories = if options.layer.is_empty() && base.is_dir() {
        std::slice::from_ref(&base)
    } else {
        &options.layer
    };
    directories
        .iter()
        .map(|directory| layer(directory))
        .collect()
}

/// The files of a layer; the guest proves its content when it is read.
fn layer(directory: &Path) -> Result<LayerFile, Failure> {
    let stored =
        Stored::open(directory).map_err(|error| Failure::new(USAGE, error.code(), error))?;
    let descriptor = &stored.descriptor;
    Ok(LayerFile {
        file: stored.image(),
        layer: Layer {
            name: descriptor.name().as_str().to_owned(),
            root: descriptor.root(),
            salt: descriptor.salt(),
            data_blocks: descriptor.data_blocks(),
            hash_offset: descriptor.hash_offset(),
        },
    })
}
