//! A room as a virtual machine: QEMU and, where there is no better, a software TPM, each in a jail
//! of its own. The jail is made as a `process` room is: whoever breaks out of the emulator is in
//! namespaces, a root and host ids of his own, without a capability, under a system-call filter that
//! lets nothing else be executed. QEMU and `swtpm` add filters of their own. Landlock is not in it.

mod conversation;
mod first_word;
mod quotes;
mod tpm;
mod workspace_disk;

use std::{
    collections::BTreeMap,
    fs::File,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use proofroom_canonical::{
    IsolationLevel,
    json::{self, JsonError},
};
use proofroom_clock::wall;
use proofroom_confine::{
    Diagnostics, IdMap, ReadOnlyBind, Rights, RoomLimits as Sizes, RoomSpec, launch::Launched,
};
use proofroom_vmm::{
    Accelerator, ConfidentialMachine, Disk, Inherited, Machine, MrConfigId, QuoteService, Shape,
    SimulatedMachine, Technology, Tpm, WORKSPACE_UNIT,
    boot::{BOOT_FORMAT, BootConfig, FrameError, Layer, Purpose, RoomLimits, WorkspaceDisk},
};
use rustix::rand::{GetRandomFlags, getrandom};

pub use self::conversation::Words;
use self::{
    conversation::Conversation, first_word::Speaking, quotes::QuoteRelay, tpm::SoftwareTpm,
    workspace_disk::DiskFile,
};
use crate::{
    Image, Limits, Observed, Programs, QEMU, Recall, Room, RoomConfig, RoomError, Simulated, Stock,
    WorkspaceStore, config::SUPERVISOR_HEADROOM_BYTES, error::On as _, groups::Groups,
    janitor::own_name, room::Spare, slots::Slot,
};

/// Memory of QEMU itself beside the guest's: translated code, device models, threads.
const QEMU_MEMORY_BYTES: u64 = 512 << 20;
/// Threads of QEMU and of its TPM.
const QEMU_PROCESSES: u64 = 256;
/// The number under which QEMU inherits the file of the workspace's disk.
const WORKSPACE_DISK: Inherited = Inherited(11);
/// The socket of the quote service, in QEMU's jail.
const JAILED_QUOTES: &str = "/quotes/qgs.sock";
/// What the guest's kernel and first process need beside the room inside.
const GUEST_HEADROOM_BYTES: u64 = 192 << 20;
const MIN_FILE_SYSTEM_BYTES: u64 = 1 << 20;
/// How records name that the emulator failed the first boot.
const BOOTED_AGAIN: &str = "second-boot-after-emulator-failure";

/// The machine of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineConfig {
    /// What boots.
    pub image: Image,
    /// Tool chains, lowest first.
    pub layers: Vec<LayerFile>,
    /// What executes it.
    pub accelerator: Accelerator,
    /// Processors and memory.
    pub shape: Shape,
    /// What signs the room's evidence.
    pub attestation: Attestation,
    /// Where the file of a workspace's disk is made, without a name: the state directory.
    pub disk_directory: PathBuf,
}

/// What signs a machine's evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attestation {
    /// A software TPM that this host runs beside the machine.
    SoftwareTpm,
    /// A TDX module that the image itself plays, with keys that everybody has.
    SimulatedTdx,
    /// The processor's TDX module; the service turns its reports into quotes.
    Tdx {
        /// That service's unix socket on the host.
        quote_service: PathBuf,
    },
}

impl Attestation {
    /// What an ordinary machine of `image` attests with.
    #[must_use]
    pub const fn of_image(image: &Image) -> Self {
        match image.simulated {
            None => Self::SoftwareTpm,
            Some(Simulated::Tdx) => Self::SimulatedTdx,
        }
    }

    /// The level of rooms that are shown this way.
    #[must_use]
    pub const fn level(&self) -> IsolationLevel {
        match self {
            Self::SoftwareTpm => IsolationLevel::Vm,
            Self::SimulatedTdx => IsolationLevel::Simulated,
            Self::Tdx { .. } => IsolationLevel::Hardware,
        }
    }

    /// The mechanism as session records spell it.
    const fn mechanism(&self) -> &'static str {
        match self {
            Self::SoftwareTpm => "software-tpm-of-the-host",
            Self::SimulatedTdx => "simulated-tdx-module",
            Self::Tdx { .. } => "intel-tdx",
        }
    }
}

/// A layer on the host's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerFile {
    /// Its image.
    pub file: PathBuf,
    /// What the guest is told of it, and what proves it.
    pub layer: Layer,
}

/// What a machine has on the host besides the jail that QEMU is in.
#[derive(Debug)]
pub(crate) struct Parts {
    conversation: Conversation,
    tpm: Option<SoftwareTpm>,
    workspace: Option<DiskFile>,
    /// Serves QEMU's wish for quotes, and ends with the machine.
    _quotes: Option<QuoteRelay>,
    level: IsolationLevel,
}

/// What came of starting a machine.
pub(crate) struct Started {
    pub(crate) channel: UnixStream,
    pub(crate) launched: Launched,
    pub(crate) groups: Groups,
    pub(crate) slot: Slot,
    pub(crate) mechanisms: Vec<String>,
    /// What was seen of a first boot that the emulator failed.
    pub(crate) failed_boot: Option<Observed>,
    pub(crate) parts: Parts,
}

impl Parts {
    /// Asks the guest's first process to have the session closed.
    pub(crate) fn ask_to_close(&self) -> Result<(), RoomError> {
        self.conversation.ask_to_close()
    }

    /// The public part of the TPM's attestation key, `TPMT_PUBLIC`, seen before the guest ran.
    pub(crate) fn attestation_key(&self) -> Option<&[u8]> {
        self.tpm.as_ref().map(SoftwareTpm::attestation_key)
    }

    /// The host ids of the TPM's jail.
    pub(crate) fn tpm_ids(&self) -> Option<IdMap> {
        self.tpm.as_ref().map(SoftwareTpm::ids)
    }

    /// The level that the machine was started for. Evidence has to show it.
    pub(crate) const fn level(&self) -> IsolationLevel {
        self.level
    }

    /// Ends the TPM, if there is one, and with it its state.
    pub(crate) fn end_tpm(&mut self) -> Result<bool, RoomError> {
        self.tpm.take().map_or(Ok(false), |tpm| {
            tpm.end()?;
            Ok(true)
        })
    }

    /// What is to be seen of the end of the workspace's disk, if there is one, when QEMU is gone.
    pub(crate) fn end_workspace(&mut self) -> Result<Option<Observed>, RoomError> {
        self.workspace.take().map(DiskFile::end).transpose()
    }

    /// The guest's last words, when it had any.
    pub(crate) fn last_words(&self) -> Option<Words> {
        self.conversation.last_words()
    }
}

/// Boots a machine up to the point at which the supervisor of the room inside runs.
pub(crate) fn start(
    spares: [Spare; 3],
    name: &str,
    config: &RoomConfig,
    machine: &MachineConfig,
    recall: &Recall,
) -> Result<Started, RoomError> {
    let Speaking {
        mut raised,
        boot,
        kernel,
        until,
        failed_boot,
    } = first_word::speaking(spares, name, config, machine, recall)?;
    let inside = raised.conversation.boot(&boot, until)?;
    let mut mechanisms = vec![
        machine.accelerator.mechanism().to_owned(),
        format!("own-kernel-{kernel}"),
        machine.attestation.mechanism().to_owned(),
    ];
    mechanisms.extend(failed_boot.iter().map(|_| BOOTED_AGAIN.to_owned()));
    let jail = raised.launched.mechanisms().iter();
    let jail = jail.chain(&raised.groups.mechanisms);
    mechanisms.extend(jail.map(|mechanism| format!("jail-{mechanism}")));
    mechanisms.extend(inside);
    Ok(Started {
        channel: raised.channel,
        launched: raised.launched,
        groups: raised.groups,
        slot: raised.slot,
        mechanisms,
        failed_boot,
        parts: Parts {
            conversation: raised.conversation,
            tpm: raised.tpm,
            workspace: raised.workspace,
            _quotes: raised.quotes,
            level: machine.attestation.level(),
        },
    })
}

/// Machines of one kind, for a [`crate::Pool`]: booted, their boot configuration measured, their
/// supervisor waiting for its assignment. What makes a session unique is made after that: its nonce,
/// and in the guest its key, out of a pool of randomness that no two machines share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineShape {
    /// The room inside.
    pub config: RoomConfig,
    /// What starts the jails.
    pub programs: Programs,
    /// The machine.
    pub machine: MachineConfig,
}

impl Stock for Room {
    type Shape = MachineShape;

    fn prestart(shape: &MachineShape) -> Result<Self, RoomError> {
        let name = own_name("ahead")?;
        let recall = Recall::default();
        Self::start_machine(
            &name,
            &shape.config,
            &shape.programs,
            &shape.machine,
            &recall,
        )
    }

    fn discard(self) {
        // Dropping kills it as well; what was seen of its end has no session to be recorded in.
        drop(self.destroy());
    }
}

/// Boots the image as a canary, within `patience`: whether machines run here is known only from one
/// that ran. Nothing is left of it. Blocking.
///
/// # Errors
/// As of [`crate::Room::start_machine`].
pub fn canary(
    name: &str,
    config: &RoomConfig,
    programs: &Programs,
    machine: &MachineConfig,
    patience: Duration,
) -> Result<(), RoomError> {
    let boot = boot_config(config, machine, Purpose::Canary)?;
    let mut raised = Raised::new(spares(programs)?, name, config, machine, &boot)?;
    let sang = raised.conversation.canary(&boot, Instant::now() + patience);
    raised.end()?;
    sang
}

/// Boots the image to read what this QEMU gives to its firmware (ACPI tables, rsdp, loader script,
/// by their `fw_cfg` names below `etc/`): inputs of the measurement calculator. Nothing is left of
/// the machine. Blocking.
///
/// # Errors
/// As of [`crate::Room::start_machine`].
pub fn capture(
    name: &str,
    config: &RoomConfig,
    programs: &Programs,
    machine: &MachineConfig,
) -> Result<BTreeMap<String, Vec<u8>>, RoomError> {
    let boot = boot_config(config, machine, Purpose::Capture)?;
    let mut raised = Raised::new(spares(programs)?, name, config, machine, &boot)?;
    let until = Instant::now() + patience(machine.accelerator);
    let captured = raised.conversation.capture(&boot, until);
    raised.end()?;
    captured
}

/// Launchers for QEMU, the TPM's first life and its second.
pub(crate) fn spares(programs: &Programs) -> Result<[Spare; 3], RoomError> {
    let spare = || Spare::new(programs.clone());
    Ok([spare()?, spare()?, spare()?])
}

/// From QEMU's start to a room in the machine. Emulated, on a busy machine, a boot takes half a
/// minute.
const fn patience(accelerator: Accelerator) -> Duration {
    match accelerator {
        Accelerator::Kvm => Duration::from_secs(30),
        Accelerator::Tcg => Duration::from_secs(180),
    }
}

/// A machine that runs and was told nothing yet. Dropping it kills it.
struct Raised {
    channel: UnixStream,
    launched: Launched,
    conversation: Conversation,
    tpm: Option<SoftwareTpm>,
    workspace: Option<DiskFile>,
    quotes: Option<QuoteRelay>,
    // Last: groups can be removed, and ids given back, when nothing is in them.
    groups: Groups,
    slot: Slot,
}

impl Raised {
    fn new(
        spares: [Spare; 3],
        name: &str,
        config: &RoomConfig,
        machine: &MachineConfig,
        boot_config: &BootConfig,
    ) -> Result<Self, RoomError> {
        let [for_qemu, for_key, for_tpm] = spares;
        let groups = Groups::make(name, &jail_limits(config, machine))?;
        let (channel, guest_channel) = pair()?;
        let (boot, guest_boot) = pair()?;
        let (monitor, guest_monitor) = pair()?;
        let mut inherited: Vec<OwnedFd> = vec![
            guest_channel.into(),
            guest_boot.into(),
            guest_monitor.into(),
        ];
        let tpm = match machine.attestation {
            Attestation::SoftwareTpm => {
                let (tpm, socket) = SoftwareTpm::start([for_key, for_tpm], &groups)?;
                inherited.push(socket);
                Some(tpm)
            }
            Attestation::SimulatedTdx | Attestation::Tdx { .. } => {
                inherited.push(nothing()?);
                None
            }
        };
        let image = &machine.image;
        for part in [&image.firmware, &image.kernel, &image.initrd] {
            let copied = part.as_fd().try_clone_to_owned();
            inherited.push(copied.on("copy", Path::new("a part of the image"))?);
        }
        let slot = Slot::take()?;
        let quotes = match &machine.attestation {
            Attestation::Tdx { quote_service } => {
                Some(QuoteRelay::start(quote_service.clone(), slot.ids)?)
            }
            Attestation::SoftwareTpm | Attestation::SimulatedTdx => None,
        };
        if machine.accelerator == Accelerator::Kvm {
            let device = Path::new("/dev/kvm");
            let opened = File::options().read(true).write(true).open(device);
            inherited.push(opened.on("open", device)?.into());
        } else {
            inherited.push(nothing()?);
        }
        let workspace = disk_file(machine, boot_config)?.map(|(kept, given)| {
            inherited.push(given);
            kept
        });
        let spec = specification(machine, boot_config, quotes.as_ref())?;
        let launched = for_qemu.launch(&groups, &spec, slot.ids, &inherited)?;
        // The ends of the ports are QEMU's alone: when it is gone, they are closed.
        drop(inherited);
        groups.hold(launched.pid())?;
        Ok(Self {
            channel,
            launched,
            conversation: Conversation::over(boot, monitor),
            tpm,
            workspace,
            quotes,
            groups,
            slot,
        })
    }

    fn end(mut self) -> Result<(), RoomError> {
        self.launched.kill()?;
        self.launched.wait()?;
        if let Some(tpm) = self.tpm {
            tpm.end()?;
        }
        drop(self.quotes);
        self.groups.remove()?;
        self.slot.give_back()
    }
}

/// The file behind the workspace's disk, where the machine has one, and QEMU's opening of it.
fn disk_file(
    machine: &MachineConfig,
    boot: &BootConfig,
) -> Result<Option<(DiskFile, OwnedFd)>, RoomError> {
    let disk = boot.workspace_disk.as_ref();
    disk.map(|disk| DiskFile::make(&machine.disk_directory, disk.bytes))
        .transpose()
}

/// In the place of a descriptor that this machine has none of: what follows has fixed numbers.
fn nothing() -> Result<OwnedFd, RoomError> {
    let null = Path::new("/dev/null");
    Ok(File::open(null).on("open", null)?.into())
}

/// Removes what the host of a machine of these ids left, when it died. Nobody may run under them.
pub(crate) fn forget(ids: IdMap) -> Result<(), RoomError> {
    quotes::forget(ids)
}

fn pair() -> Result<(UnixStream, UnixStream), RoomError> {
    UnixStream::pair().on("make a channel", Path::new("socketpair"))
}

/// The caps of the jail: the guest's memory is part of QEMU's.
fn jail_limits(config: &RoomConfig, machine: &MachineConfig) -> Limits {
    let guest = u64::from(machine.shape.memory_mib) << 20;
    Limits {
        memory_bytes: guest.saturating_add(QEMU_MEMORY_BYTES),
        processes: QEMU_PROCESSES,
        ..config.limits
    }
}

/// What the guest's first process is told. No two machines are told the same: each gets randomness
/// of its own for its pool.
fn boot_config(
    config: &RoomConfig,
    machine: &MachineConfig,
    purpose: Purpose,
) -> Result<BootConfig, RoomError> {
    let mut entropy = [0; 32];
    getrandom(&mut entropy, GetRandomFlags::empty()).on("read", Path::new("getrandom"))?;
    let guest = u64::from(machine.shape.memory_mib) << 20;
    Ok(BootConfig {
        format: BOOT_FORMAT.to_owned(),
        purpose,
        shape: machine.shape,
        layers: machine
            .layers
            .iter()
            .map(|file| file.layer.clone())
            .collect(),
        workspace_disk: match (purpose, config.workspace) {
            (Purpose::Room, WorkspaceStore::EncryptedDisk) => Some(WorkspaceDisk {
                unit: WORKSPACE_UNIT,
                bytes: workspace_disk::bytes(&config.limits),
            }),
            _ => None,
        },
        limits: guest_limits(&config.limits, config.workspace, guest),
        time_ms: wall().unix_millis(),
        entropy: hex::encode(entropy),
    })
}

/// The caps of the room inside a machine with this much memory. Its file systems lie in that memory, but
/// for a workspace on a disk, and what is in a file stays when its writer is killed: together they leave the supervisor its own.
fn guest_limits(limits: &Limits, workspace: WorkspaceStore, guest: u64) -> RoomLimits {
    let memory_bytes = guest
        .saturating_sub(GUEST_HEADROOM_BYTES)
        .min(limits.memory_bytes);
    let most = memory_bytes.saturating_sub(SUPERVISOR_HEADROOM_BYTES);
    let files = limits.bytes_in_memory(workspace);
    // A file system of no bytes would have no limit.
    let share = |bytes: u64| match u128::from(bytes) * u128::from(most) / u128::from(files.max(1)) {
        _ if files <= most => bytes,
        part => u64::try_from(part)
            .unwrap_or(bytes)
            .max(MIN_FILE_SYSTEM_BYTES),
    };
    RoomLimits {
        memory_bytes,
        processes: limits.processes,
        workspace_bytes: match workspace {
            WorkspaceStore::Memory => share(limits.workspace_bytes),
            WorkspaceStore::EncryptedDisk => limits.workspace_bytes,
        },
        tmp_bytes: share(limits.tmp_bytes),
        shm_bytes: share(limits.shm_bytes),
        inodes: limits.inodes,
        open_files: limits.open_files,
        file_bytes: limits.file_bytes,
    }
}

/// How QEMU names a file that it inherits: opened anew, so that each use has a position of its own.
fn inherited_file(number: i32) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{number}"))
}

/// QEMU's jail: the machine's libraries and data, the layers, and nothing to write to but the descriptor of
/// a workspace's disk. Neither that nor the image has a name in it. A layer has: what is swapped there fails its dm-verity root when it is read.
fn specification(
    machine: &MachineConfig,
    boot: &BootConfig,
    quotes: Option<&QuoteRelay>,
) -> Result<RoomSpec, RoomError> {
    let mut read_only = Vec::new();
    let mut disks = Vec::new();
    for (number, layer) in machine.layers.iter().enumerate() {
        let path = format!("/layers/{number}.img");
        read_only.push(ReadOnlyBind {
            source: layer.file.clone(),
            target: path.clone().into(),
        });
        disks.push(Disk { path: path.into() });
    }
    if let Some(quotes) = quotes {
        read_only.push(ReadOnlyBind {
            source: quotes.socket(),
            target: JAILED_QUOTES.into(),
        });
    }
    let ordinary = Machine {
        accelerator: machine.accelerator,
        shape: machine.shape,
        firmware: inherited_file(7),
        kernel: inherited_file(8),
        initrd: inherited_file(9),
        command_line: machine.image.command_line.clone(),
        disks,
        workspace: boot.workspace_disk.map(|_| WORKSPACE_DISK),
        tpm: match machine.attestation {
            Attestation::SoftwareTpm => Tpm::Software(Inherited(6)),
            Attestation::SimulatedTdx | Attestation::Tdx { .. } => Tpm::Absent,
        },
        channel: Inherited(3),
        boot_port: Inherited(4),
        monitor: Inherited(5),
    };
    let arguments = match &machine.attestation {
        Attestation::SoftwareTpm => ordinary.arguments(),
        Attestation::SimulatedTdx => SimulatedMachine::new(ordinary, promise(boot)?)?.arguments(),
        Attestation::Tdx { .. } => {
            let technology = Technology::Tdx {
                config: promise(boot)?,
                quote_service: QuoteService::Unix(JAILED_QUOTES.into()),
            };
            ConfidentialMachine::new(ordinary, technology)?
                .arguments()
                .map_err(|error| unpromised(JsonError::Shape(error)))?
        }
    };
    let mut supervisor = vec![QEMU.into()];
    supervisor.extend(arguments);
    Ok(jail(read_only, Vec::new(), supervisor))
}

fn unpromised(source: JsonError) -> RoomError {
    RoomError::Guest {
        step: "be promised its configuration",
        source: FrameError::Malformed(source),
    }
}

/// The digest of the exact text that the first process will get on the boot port.
fn promise(boot: &BootConfig) -> Result<MrConfigId, RoomError> {
    let text = json::to_bytes(boot).map_err(unpromised)?;
    Ok(MrConfigId::of_boot_config(&text))
}

/// A jail around a program of the machine.
fn jail(
    read_only: Vec<ReadOnlyBind>,
    mounts: Vec<PathBuf>,
    supervisor: Vec<std::ffi::OsString>,
) -> RoomSpec {
    RoomSpec {
        system: ["/usr", "/bin", "/lib", "/lib64"]
            .map(PathBuf::from)
            .into_iter()
            .filter(|path| path.symlink_metadata().is_ok())
            .collect(),
        read_only,
        mounts,
        devices: Vec::new(),
        etc: ["/etc/ld.so.cache", "/etc/alternatives"]
            .map(PathBuf::from)
            .into_iter()
            .filter(|path| path.symlink_metadata().is_ok())
            .collect(),
        rights: Rights::Program,
        supervisor,
        environment: Vec::new(),
        limits: Sizes {
            workspace_bytes: 1 << 20,
            tmp_bytes: 16 << 20,
            shm_bytes: 1 << 20,
            inodes: 1000,
        },
        diagnostics: Diagnostics::Discard,
    }
}

#[cfg(test)]
mod tests;
