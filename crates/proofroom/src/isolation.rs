//! Which isolation a session gets, and why: the strongest that this machine has, or the one that was
//! asked for. A level that is not to be had is an error, never a weaker room.

mod canary;

use std::path::{Path, PathBuf};

use proofroom_canonical::IsolationLevel;
use proofroom_room::{
    Accelerator, Attestation, Image, LayerFile, MachineConfig, RoomError, Shape,
    hardware::{HardwareBackend, HardwareReport, HostPaths, QuoteServiceAt},
    missing_program,
};

pub use self::canary::Canary;

/// Why no SEV-SNP room starts, in words.
pub(crate) const NO_RUNTIME_REGISTER: &str = "SEV-SNP has no register for what is measured after boot, so a room could not show its session's assignment";

/// What a person asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The strongest that the machine has.
    Auto,
    /// Namespaces, seccomp and Landlock on the host's kernel.
    Process,
    /// A virtual machine.
    Vm,
    /// An Intel TDX machine.
    Tdx,
    /// An AMD SEV-SNP machine.
    SevSnp,
}

/// Which processors count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processors {
    /// Real ones: an emulated machine is nobody's default.
    Real,
    /// These alone, because somebody said so.
    Only(Accelerator),
}

/// A choice to be made.
#[derive(Clone, Debug)]
pub struct IsolationRequest {
    /// What was asked for.
    pub wanted: Wanted,
    /// The weakest acceptable level besides the one of `room.toml`.
    pub minimum: IsolationLevel,
    /// Which processors count.
    pub processors: Processors,
    /// Where the image is.
    pub image: PathBuf,
    /// Layers for machines, lowest first.
    pub layers: Vec<LayerFile>,
    /// Processors and memory of a machine.
    pub shape: Shape,
    /// The host's quote generation service, where it is not at its usual place.
    pub quote_service: Option<PathBuf>,
    /// Where the files of machines' disks are made, without names.
    pub disk_directory: PathBuf,
}

/// A choice that was made.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// What the room will be.
    pub backend: Backend,
    /// Why this one, for people and for the record.
    pub reason: String,
}

/// What starts the room.
#[derive(Clone, Debug)]
pub enum Backend {
    /// A room on the host's kernel.
    Process,
    /// A virtual machine; its image was looked at.
    Machine(Box<MachineConfig>),
}

/// Why the asked-for isolation is not to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IsolationError {
    /// Weaker than what is demanded.
    #[error(
        "this machine offers isolation level `{offered}` ({why}), and `{required}` is demanded; `proofroom doctor` says what is missing"
    )]
    TooWeak {
        /// Level that would be used.
        offered: IsolationLevel,
        /// Level demanded.
        required: IsolationLevel,
        /// Why nothing stronger.
        why: String,
    },
    /// A backend that was asked for by name.
    #[error("isolation `{wanted}` is not to be had here: {why}")]
    Unavailable {
        /// Backend.
        wanted: &'static str,
        /// Every missing piece.
        why: String,
    },
    /// The image.
    #[error(transparent)]
    Room(#[from] RoomError),
}

impl IsolationError {
    /// The stable code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooWeak { .. } => "isolation-level-not-offered",
            Self::Unavailable { .. } => "isolation-unavailable",
            Self::Room(error) => error.code(),
        }
    }
}

/// Chooses. `required` is what `room.toml` demands. Blocking: the first choice on a machine may boot
/// a canary.
///
/// # Errors
/// See [`IsolationError`].
pub fn choose(
    request: &IsolationRequest,
    required: IsolationLevel,
    canary: &Canary,
) -> Result<Chosen, IsolationError> {
    let chosen = match request.wanted {
        Wanted::Process => Chosen {
            backend: Backend::Process,
            reason: "`process` was asked for".to_owned(),
        },
        Wanted::Vm => machine(request, canary)?,
        Wanted::Tdx => trust_domain(request)?,
        Wanted::SevSnp => return Err(no_runtime_register(&request.image)),
        Wanted::Auto => strongest(request, canary)?,
    };
    let offered = match &chosen.backend {
        Backend::Process => IsolationLevel::Process,
        Backend::Machine(machine) => machine.attestation.level(),
    };
    for required in [required, request.minimum] {
        if rank(offered) < rank(required) {
            let why = chosen.reason;
            return Err(IsolationError::TooWeak {
                offered,
                required,
                why,
            });
        }
    }
    Ok(chosen)
}

/// Levels from weak to strong. Simulated evidence proves nothing, so its room counts as one without.
const fn rank(level: IsolationLevel) -> u8 {
    match level {
        IsolationLevel::Simulated | IsolationLevel::Process => 1,
        IsolationLevel::Vm => 2,
        IsolationLevel::Hardware => 3,
    }
}

fn strongest(request: &IsolationRequest, canary: &Canary) -> Result<Chosen, IsolationError> {
    match machine(request, canary) {
        Ok(chosen) => Ok(chosen),
        // Somebody named the processors, so a machine is what is wanted.
        Err(error) if matches!(request.processors, Processors::Only(_)) => Err(error),
        Err(error) => Ok(Chosen {
            backend: Backend::Process,
            reason: format!(
                "the strongest that this machine has; no virtual machine: {}",
                crate::causes::chain(&error)
            ),
        }),
    }
}

fn machine(request: &IsolationRequest, canary: &Canary) -> Result<Chosen, IsolationError> {
    let accelerator = match request.processors {
        Processors::Only(accelerator) => accelerator,
        Processors::Real => Accelerator::Kvm,
    };
    if let Some(program) = missing_program() {
        let why = format!("`{program}` is not installed");
        return Err(IsolationError::Unavailable { wanted: "vm", why });
    }
    let image = Image::open(&request.image)?;
    let attestation = Attestation::of_image(&image);
    let reason = match accelerator {
        Accelerator::Tcg => "an emulated processor was asked for".to_owned(),
        Accelerator::Kvm => canary
            .boots(&image, request.shape)
            .map_err(|why| IsolationError::Unavailable { wanted: "vm", why })?,
    };
    Ok(Chosen {
        backend: Backend::Machine(Box::new(MachineConfig {
            image,
            layers: request.layers.clone(),
            accelerator,
            shape: request.shape,
            attestation,
            disk_directory: request.disk_directory.clone(),
        })),
        reason,
    })
}

/// A machine that the processor keeps from its host. Whether it does is not known before its room has
/// shown a quote; without one that is verified the session does not begin.
fn trust_domain(request: &IsolationRequest) -> Result<Chosen, IsolationError> {
    let refuse = |why: String| IsolationError::Unavailable { wanted: "tdx", why };
    if request.processors == Processors::Only(Accelerator::Tcg) {
        return Err(refuse("an emulated processor has no TDX".to_owned()));
    }
    let mut paths = HostPaths::of_image(&request.image);
    if let Some(service) = &request.quote_service {
        paths.quote_service = QuoteServiceAt::Unix(service.clone());
    }
    HardwareReport::of(HardwareBackend::Tdx, &paths)
        .require()
        .map_err(|missing| refuse(missing.to_string()))?;
    let QuoteServiceAt::Unix(quote_service) = paths.quote_service else {
        return Err(refuse("QEMU's jail reaches a unix socket alone".to_owned()));
    };
    let image = Image::open(&request.image)?;
    if image.simulated.is_some() {
        return Err(refuse("the image only plays TDX".to_owned()));
    }
    Ok(Chosen {
        backend: Backend::Machine(Box::new(MachineConfig {
            image,
            layers: request.layers.clone(),
            accelerator: Accelerator::Kvm,
            shape: request.shape,
            attestation: Attestation::Tdx { quote_service },
            disk_directory: request.disk_directory.clone(),
        })),
        reason: "`tdx` was asked for; the room's first quote has to show it".to_owned(),
    })
}

/// What measures a session's assignment is missing in SEV-SNP itself, whatever the machine has.
fn no_runtime_register(image: &Path) -> IsolationError {
    let report = HardwareReport::of(HardwareBackend::SevSnp, &HostPaths::of_image(image));
    let mut why = NO_RUNTIME_REGISTER.to_owned();
    if let Err(missing) = report.require() {
        why = format!("{why}; besides, {missing}");
    }
    let wanted = "sev-snp";
    IsolationError::Unavailable { wanted, why }
}
