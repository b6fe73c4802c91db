//! The room inside the machine: exactly the room that the `process` level has on a host, made of
//! the layers instead of the host's directories.

use std::{
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use proofroom_canonical::IsolationLevel;
use proofroom_confine::{FURTHER_GROUP, FileAudit, Loopback, OWN_GROUP};
use proofroom_room::{
    CommandGroups, Diagnostics, Limits, Programs, Room, RoomConfig, WorkspaceStore,
};
use proofroom_vmm::boot::RoomLimits;

use crate::{InitError, error::On as _};

/// The name of the room inside.
const NAME: &str = "inner";
/// Where the control groups are.
const GROUPS: &str = "/sys/fs/cgroup";

/// What a room shows of `/etc`, where the layers have it.
const ETC: [&str; 7] = [
    "/etc/ssl/certs",
    "/etc/ca-certificates.conf",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
];

/// Starts it.
pub(crate) fn start(
    limits: &RoomLimits,
    system: Vec<PathBuf>,
    workspace: Option<OwnedFd>,
    socket_directory: &Path,
) -> Result<Room, InitError> {
    let config = RoomConfig {
        minimum_isolation: IsolationLevel::Process,
        system,
        etc: ETC
            .iter()
            .map(PathBuf::from)
            .filter(|path| path.exists())
            .collect(),
        extra: Vec::new(),
        loopback: Loopback::ChannelOnly,
        file_audit: FileAudit::EveryOpen,
        workspace: match workspace {
            None => WorkspaceStore::Memory,
            Some(_) => WorkspaceStore::EncryptedDisk,
        },
        limits: Limits {
            memory_bytes: limits.memory_bytes,
            processes: limits.processes,
            workspace_bytes: limits.workspace_bytes,
            tmp_bytes: limits.tmp_bytes,
            shm_bytes: limits.shm_bytes,
            inodes: limits.inodes,
            seconds: u64::from(u32::MAX),
            open_files: limits.open_files,
            file_bytes: limits.file_bytes,
            // These are judged by the host, which sees what counts for them.
            cpus: u64::from(u16::MAX),
            idle_seconds: u64::from(u32::MAX),
            output_bytes: u64::MAX,
        },
        command_groups: CommandGroups::OfTheirOwn,
    };
    let group = Path::new(GROUPS).join(format!("proofroom-{NAME}"));
    let programs = Programs {
        guest: "/proofroom/proofroom-guest".into(),
        others: vec![
            "/proofroom/proofroom-agent".into(),
            socket_directory.join("attest.sock"),
            // The kernel's count of those that it killed for lack of memory, for the supervisor.
            group.join("memory.events"),
            // Where it puts commands.
            group.join(OWN_GROUP),
            group.join(FURTHER_GROUP),
        ],
        supervisor_arguments: vec!["supervise".into()],
        environment: Vec::new(),
        diagnostics: Diagnostics::HostStderr,
    };
    match workspace {
        None => Room::start(NAME, &config, &programs),
        Some(mount) => Room::start_with_workspace(NAME, &config, &programs, mount),
    }
    .map_err(InitError::Room)
}

/// Exempts the supervisor from being killed for lack of memory: it is the agent who has used it up,
/// and whose commands are marked to go first.
///
/// The kernel would let its commands lower their own value as far again (`oom_score_adj_min`): that
/// they cannot is Landlock's doing, to which all of `/proc` is read-only.
pub(crate) fn spare_supervisor(room: &Room) -> Result<&'static str, InitError> {
    let path = format!("/proc/{}/oom_score_adj", room.pid());
    fs::write(&path, "-1000").on("write", path)?;
    Ok("guest-supervisor-outlives-lack-of-memory")
}
