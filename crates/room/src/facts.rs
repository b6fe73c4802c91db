//! What was seen of a room's end, each fact with its time: what a destruction record may say, and no
//! more than that.

use proofroom_canonical::Timestamp;
use proofroom_clock::steady;

/// One fact about a room's end that was really looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// The first process was waited for; the kernel lets it end only after every other process of
    /// its pid namespace, and the file systems, which only they held, went with them.
    PidNamespaceEnded,
    /// No process of the machine runs under the room's host ids.
    HostIdsUnused,
    /// The resource groups were removed, which the kernel permits only when they are empty.
    ResourceGroupsRemoved,
    /// There were no resource groups to remove.
    NoResourceGroups,
    /// Files that only the running session needed were unlinked.
    FilesUnlinked,
    /// Somebody else than the room's own host process ended it.
    EndedByJanitor,
    /// The room's host process is gone: the lock that it held for as long as it lived is free.
    HostProcessGone,
    /// The machine was started anew since: every process and every memory of that time is gone.
    HostRebootedSince,
    /// Processes of the room had outlived their host process and were killed.
    ProcessesKilled,
    /// The room's first process is not there any more.
    FirstProcessGone,
    /// Mounts below the session's folder were removed.
    MountsRemoved,
    /// Loop devices over files of the session's folder were removed.
    DevicesRemoved,
    /// QEMU was waited for, and the guest's memory was its own.
    VmExited,
    /// The machine's TPM was waited for, and with its jail the only holder of its state's file
    /// system, which was in memory.
    TpmStateRemoved,
    /// QEMU, which was waited for, was the last to have the file of the workspace's disk open, and the file
    /// has no name: its blocks are free. Its key was in the machine's memory alone, which went with QEMU:
    /// that is concluded, and not seen.
    WorkspaceDiskClosed,
    /// Somebody else than QEMU has the file of the workspace's disk open, or it could not be seen that
    /// nobody has. What he has is ciphertext, whose key went with the machine's memory.
    WorkspaceDiskOpenElsewhere,
    /// The guest's last words on its boot port; its claim, not this host's.
    GuestLastSaid,
    /// The room's machine had been booted before, by an emulator, and had ended before its first process
    /// spoke. It was told nothing.
    FirstBootFailed,
}

impl Fact {
    /// The fact as records spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PidNamespaceEnded => "pid-namespace-ended",
            Self::HostIdsUnused => "host-ids-unused",
            Self::ResourceGroupsRemoved => "resource-groups-removed",
            Self::NoResourceGroups => "no-resource-groups",
            Self::FilesUnlinked => "files-unlinked",
            Self::EndedByJanitor => "ended-by-janitor",
            Self::HostProcessGone => "host-process-gone",
            Self::HostRebootedSince => "host-rebooted-since",
            Self::ProcessesKilled => "processes-killed",
            Self::FirstProcessGone => "first-process-gone",
            Self::MountsRemoved => "mounts-removed",
            Self::DevicesRemoved => "devices-removed",
            Self::VmExited => "vm-exited",
            Self::TpmStateRemoved => "tpm-state-removed",
            Self::WorkspaceDiskClosed => "workspace-disk-closed",
            Self::WorkspaceDiskOpenElsewhere => "workspace-disk-open-elsewhere",
            Self::GuestLastSaid => "guest-last-said",
            Self::FirstBootFailed => "first-boot-failed",
        }
    }
}

/// A fact with the time at which it was observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// What.
    pub fact: Fact,
    /// When (host's clock).
    pub at: Timestamp,
    /// Which or how many, where that says more; otherwise empty.
    pub detail: String,
}

impl Observed {
    /// A fact that was observed just now.
    #[must_use]
    pub fn now(fact: Fact, detail: impl Into<String>) -> Self {
        Self {
            fact,
            at: steady(),
            detail: detail.into(),
        }
    }
}

/// What was observed of a room's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestructionObserved {
    /// In the order of observation.
    pub facts: Vec<Observed>,
}

impl DestructionObserved {
    /// Whether this was observed.
    #[must_use]
    pub fn has(&self, fact: Fact) -> bool {
        self.facts.iter().any(|observed| observed.fact == fact)
    }
}
