//! A room's life on the host: start, wait, destroy. What happens inside is the supervisor's.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use proofroom_canonical::IsolationLevel;
use proofroom_confine::{
    ConfineError, Diagnostics, IdMap, ReadOnlyBind, Rights, RoomSpec, StageProgram, WORKSPACE,
    launch::{self, Launched, Launcher},
};

use crate::{
    CommandGroups, DestructionObserved, Fact, MachineConfig, Observed, Recall, RoomConfig,
    RoomError, WorkspaceStore,
    error::On as _,
    groups::Groups,
    janitor::{ProcessTrace, Trace, boot_id, ids},
    machine,
    pause::{FreezeGroup, Freezer, Pause, StopSignals},
    slots::Slot,
    usage::Meter,
};

/// The programs that go into a room, read-only below `/proofroom`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// `proofroom-guest` on the host: launcher, supervisor and confine stage in one.
    pub guest: PathBuf,
    /// Further programs (the built-in agent), each placed under its file name.
    pub others: Vec<PathBuf>,
    /// The supervisor's arguments, without the program; normally `["supervise"]`.
    pub supervisor_arguments: Vec<OsString>,
    /// The supervisor's whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Where the supervisor's standard error goes.
    pub diagnostics: Diagnostics,
}

/// A living room. Dropping it kills it without observing the end.
#[derive(Debug)]
pub struct Room {
    channel: Option<UnixStream>,
    launched: Launched,
    // Before the groups: they can be removed when the TPM, too, is gone.
    kind: Kind,
    groups: Groups,
    /// Where its version 1 freezer is, once it has one.
    freezer: Option<PathBuf>,
    slot: Slot,
    mechanisms: Vec<String>,
    failed_boot: Option<Observed>,
}

/// What the room's first process is.
#[derive(Debug)]
enum Kind {
    /// The supervisor.
    Process,
    /// QEMU, in whose machine the supervisor is.
    Machine(Box<machine::Parts>),
}

/// A launcher that was executed ahead of the room that it will build. It is a fresh process in no
/// namespace and no group of any room, told of no session, and it serves for one room: so nothing
/// can pass from one session to another by it. Dropping it ends it.
#[derive(Debug)]
pub struct Spare {
    launcher: Launcher,
    programs: Programs,
}

impl Spare {
    /// Executes the launcher. Blocking, half a millisecond; what the launcher then needs to be ready
    /// (a millisecond) runs beside the caller.
    ///
    /// # Errors
    /// `system-call-failed` when the guest program cannot be executed.
    pub fn new(programs: Programs) -> Result<Self, RoomError> {
        let stage = StageProgram::at(programs.guest.clone());
        let launcher = Launcher::spawn(&stage, programs.diagnostics)?;
        Ok(Self { launcher, programs })
    }

    /// As [`Room::start`], less the launcher's own start.
    ///
    /// # Errors
    /// As of [`Room::start`].
    pub fn start(self, name: &str, config: &RoomConfig) -> Result<Room, RoomError> {
        self.start_with(name, config, None)
    }

    fn start_with(
        self,
        name: &str,
        config: &RoomConfig,
        workspace: Option<OwnedFd>,
    ) -> Result<Room, RoomError> {
        let Self { launcher, programs } = self;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.is_empty() || name.len() > 100 || !name.chars().all(plain) {
            let reason = format!("room name `{name}`");
            return Err(ConfineError::Specification { reason }.into());
        }
        if config.minimum_isolation != IsolationLevel::Process {
            let required = config.minimum_isolation.to_string();
            return Err(RoomError::LevelNotOffered { required });
        }
        if workspace.is_some() != (config.workspace == WorkspaceStore::EncryptedDisk) {
            return Err(RoomError::WorkspaceNotOffered);
        }
        let mut groups = Groups::make(name, &config.limits)?;
        let mut taken = None;
        if config.command_groups == CommandGroups::OfTheirOwn {
            let slot = taken.insert(Slot::take()?);
            groups.divide(config.limits.memory_bytes, slot.ids.supervisor)?;
        }
        let launcher = launcher.enter(&groups.entrances()?)?;
        // Beside the launcher's entering.
        let mut spec = specification(config, &programs)?;
        let slot = taken.map_or_else(Slot::take, Ok)?;
        let (ours, theirs) = UnixStream::pair().on("make the channel", Path::new("socketpair"))?;
        let mut inherited = vec![OwnedFd::from(theirs)];
        if let Some(mount) = workspace {
            give(&mount, slot.ids)?;
            spec.mounts.push(WORKSPACE.into());
            inherited.push(mount);
        }
        let launched = launcher.start(&spec, slot.ids, &inherited)?;
        groups.hold(launched.pid())?;
        let mut mechanisms = launched.mechanisms().to_vec();
        mechanisms.extend(groups.mechanisms.iter().cloned());
        Ok(Room {
            channel: Some(ours),
            launched,
            groups,
            freezer: Groups::freezer_of(name),
            slot,
            mechanisms,
            failed_boot: None,
            kind: Kind::Process,
        })
    }

    pub(crate) const fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Starts whatever `spec` says in the groups: the jails of a machine.
    pub(crate) fn launch(
        self,
        groups: &Groups,
        spec: &RoomSpec,
        ids: IdMap,
        inherited: &[OwnedFd],
    ) -> Result<Launched, RoomError> {
        let launcher = self.launcher.enter(&groups.entrances()?)?;
        Ok(launcher.start(spec, ids, inherited)?)
    }
}

impl Room {
    /// Starts a room named `name` (a session id: letters, digits, `-`, `_`). On return every
    /// mechanism is in force and the supervisor has been executed.
    ///
    /// Blocking, single-digit milliseconds; call it from a blocking thread.
    ///
    /// # Errors
    /// `isolation-level-not-offered`, `no-free-host-ids`, `mechanism-missing`, `stage-failed`,
    /// `not-in-its-group`, `workspace-not-offered`.
    /// Nothing is left running.
    pub fn start(name: &str, config: &RoomConfig, programs: &Programs) -> Result<Self, RoomError> {
        Spare::new(programs.clone())?.start(name, config)
    }

    /// As [`Self::start`], with the file system of `workspace`, which is mounted nowhere, as the room's
    /// workspace: `config` has to ask for one that is not in memory. Its root becomes the agent's.
    ///
    /// # Errors
    /// As of [`Self::start`].
    pub fn start_with_workspace(
        name: &str,
        config: &RoomConfig,
        programs: &Programs,
        workspace: OwnedFd,
    ) -> Result<Self, RoomError> {
        Spare::new(programs.clone())?.start_with(name, config, Some(workspace))
    }

    /// Starts a room named `name` in a virtual machine of its own. On return the guest has measured
    /// what it was told, every mechanism outside and inside is in force, and the supervisor has
    /// been executed.
    ///
    /// Blocking: seconds with an emulated processor. Another thread may take the start back by `recall`.
    ///
    /// # Errors
    /// As of [`Self::start`], `start-recalled`, and `guest-silent`, `guest-failed`, `tpm-*` when the machine does not
    /// become a room. Nothing is left running.
    pub fn start_machine(
        name: &str,
        config: &RoomConfig,
        programs: &Programs,
        machine: &MachineConfig,
        recall: &Recall,
    ) -> Result<Self, RoomError> {
        let spares = machine::spares(programs)?;
        let started = machine::start(spares, name, config, machine, recall)?;
        Ok(Self {
            channel: Some(started.channel),
            launched: started.launched,
            groups: started.groups,
            freezer: Groups::freezer_of(name),
            slot: started.slot,
            mechanisms: started.mechanisms,
            failed_boot: started.failed_boot,
            kind: Kind::Machine(Box::new(started.parts)),
        })
    }

    /// The public part (`TPMT_PUBLIC`) of the attestation key of the machine's TPM, which this host
    /// runs and saw before the guest did; none for a room that is no machine.
    #[must_use]
    pub fn attestation_key(&self) -> Option<&[u8]> {
        match &self.kind {
            Kind::Process => None,
            Kind::Machine(parts) => parts.attestation_key(),
        }
    }

    /// The host's end of the channel; once.
    pub fn take_channel(&mut self) -> Option<UnixStream> {
        self.channel.take()
    }

    /// Becomes readable when the room has ended.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.launched.pidfd()
    }

    /// The supervisor's process id on the host.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.launched.pid()
    }

    /// The room's host ids.
    #[must_use]
    pub fn ids(&self) -> IdMap {
        self.slot.ids
    }

    /// The isolation level that this room has.
    #[must_use]
    pub fn isolation(&self) -> IsolationLevel {
        match &self.kind {
            Kind::Process => IsolationLevel::Process,
            Kind::Machine(parts) => parts.level(),
        }
    }

    /// The mechanisms in force, as they enter the session record. The confine stage's own come
    /// from the supervisor.
    #[must_use]
    pub fn mechanisms(&self) -> &[String] {
        &self.mechanisms
    }

    /// What was seen of a first boot of its machine that the emulator failed, before the machine was told
    /// anything. The record of its destruction has it too.
    #[must_use]
    pub fn failed_boot(&self) -> Option<&Observed> {
        self.failed_boot.as_ref()
    }

    /// What it has outside of itself, to be kept for [`crate::sweep`].
    #[must_use]
    pub fn trace(&self) -> Trace {
        let pid = self.launched.pid();
        Trace {
            boot: boot_id(),
            // A first process that ended already has no beginning any more, and is no other's.
            first: ProcessTrace::of(pid).unwrap_or(ProcessTrace { pid, started: 0 }),
            ids: self.slot.ids,
            tpm: match &self.kind {
                Kind::Process => None,
                Kind::Machine(parts) => parts.tpm_ids(),
            },
            groups: [
                self.groups.directories(),
                self.freezer.iter().cloned().collect(),
            ]
            .concat(),
            isolation: self.isolation(),
            mechanisms: self.mechanisms.clone(),
        }
    }

    /// Reads what it uses, from any thread.
    #[must_use]
    pub fn meter(&self) -> Meter {
        Meter::new(self.slot.ids, self.groups.directories())
    }

    /// Stops it in memory, from any thread: by a group where this process may write one.
    #[must_use]
    pub fn pause(&self) -> Arc<dyn Pause> {
        let ids = self.slot.ids;
        match (self.groups.version_two(), &self.freezer) {
            (Some(group), _) => Arc::new(FreezeGroup(group)),
            (None, Some(directory)) if Freezer::may_be_made(directory) => Arc::new(Freezer {
                directory: directory.clone(),
                ids,
            }),
            _ => Arc::new(StopSignals(ids)),
        }
    }

    /// Asks the supervisor to close its session (SIGTERM). What comes of it is seen on the channel.
    ///
    /// # Errors
    /// `system-call-failed`; a room that has ended already is not an error.
    pub fn ask_to_close(&self) -> Result<(), RoomError> {
        use rustix::process::{Signal, pidfd_send_signal};
        if let Kind::Machine(parts) = &self.kind {
            return parts.ask_to_close();
        }
        match pidfd_send_signal(self.launched.pidfd(), Signal::TERM) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(e) => Err(io::Error::from(e)).on("signal", Path::new("the supervisor")),
        }
    }

    /// Waits until the supervisor has ended by itself, and its room with it; then [`Self::destroy`]
    /// observes the rest. Blocking.
    ///
    /// # Errors
    /// `system-call-failed`.
    pub fn wait(&self) -> Result<(), RoomError> {
        use rustix::event::{PollFd, PollFlags, poll};
        let pidfd = self.launched.pidfd();
        loop {
            match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None) {
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(io::Error::from(e)).on("wait for", Path::new("the room")),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Kills whatever of the room still runs and looks that nothing remains. Blocking.
    ///
    /// # Errors
    /// `room-remains` or `file-operation-failed` when something does; its host ids then stay
    /// unused.
    pub fn destroy(self) -> Result<DestructionObserved, RoomError> {
        let Self {
            channel,
            launched,
            mut groups,
            freezer,
            slot,
            kind,
            failed_boot,
            ..
        } = self;
        drop(channel);
        if let Some(freezer) = freezer {
            groups.adopt(freezer);
        }
        groups.thaw();
        launched.kill()?;
        launched.wait()?;
        let first = format!("process {}", launched.pid());
        let mut facts = Vec::from_iter(failed_boot);
        facts.push(Observed::now(Fact::PidNamespaceEnded, first));
        if let Kind::Machine(mut parts) = kind {
            facts.push(Observed::now(Fact::VmExited, ""));
            if let Some(tpm) = parts.tpm_ids()
                && parts.end_tpm()?
            {
                facts.push(Observed::now(Fact::TpmStateRemoved, ""));
                facts.push(Observed::now(Fact::HostIdsUnused, ids(tpm)));
            }
            facts.extend(parts.end_workspace()?);
            let said = parts
                .last_words()
                .map(|words| format!("{}: {}", words.code, words.message));
            facts.extend(said.map(|said| Observed::now(Fact::GuestLastSaid, said)));
        }
        if let Some(pid) = launch::process_of(slot.ids).on("list", Path::new("/proc"))? {
            let remains = format!("process {pid} runs under its ids");
            return Err(RoomError::Remains { remains });
        }
        facts.push(Observed::now(Fact::HostIdsUnused, ids(slot.ids)));
        let removed = groups.remove()?;
        facts.push(if removed > 0 {
            Observed::now(Fact::ResourceGroupsRemoved, removed.to_string())
        } else {
            Observed::now(Fact::NoResourceGroups, "")
        });
        slot.give_back()?;
        Ok(DestructionObserved { facts })
    }
}

/// The workspace's root is the agent's, as one in memory is from its beginning.
fn give(mount: &OwnedFd, ids: IdMap) -> Result<(), RoomError> {
    use rustix::fs::{AtFlags, Gid, Uid, chownat};
    let (user, group) = (Uid::from_raw(ids.agent), Gid::from_raw(ids.agent));
    chownat(mount, "", Some(user), Some(group), AtFlags::EMPTY_PATH)
        .on("give away", Path::new(WORKSPACE))
}

fn specification(config: &RoomConfig, programs: &Programs) -> Result<RoomSpec, RoomError> {
    let place = |path: &Path| {
        let source = path.canonicalize().on("find", path)?;
        let name = path
            .file_name()
            .ok_or_else(|| ConfineError::Specification {
                reason: format!("`{}` is not a program", path.display()),
            })?;
        Ok::<_, RoomError>(ReadOnlyBind {
            source,
            target: Path::new("/proofroom").join(name),
        })
    };
    let guest = place(&programs.guest)?;
    let mut supervisor = vec![guest.target.clone().into_os_string()];
    supervisor.extend(programs.supervisor_arguments.iter().cloned());
    let mut read_only = vec![guest];
    for program in &programs.others {
        read_only.push(place(program)?);
    }
    let same = |path: &PathBuf| ReadOnlyBind {
        source: path.clone(),
        target: path.clone(),
    };
    read_only.extend(config.extra.iter().map(same));
    Ok(RoomSpec {
        system: config.system.clone(),
        read_only,
        mounts: Vec::new(),
        devices: Vec::new(),
        rights: Rights::Supervisor,
        etc: config.etc.clone(),
        supervisor,
        environment: programs.environment.clone(),
        limits: config.limits.room(),
        diagnostics: programs.diagnostics,
    })
}
