//! What a room inside a machine may use of it.

use std::path::Path;

use super::{GUEST_HEADROOM_BYTES, SUPERVISOR_HEADROOM_BYTES, guest_limits};
use crate::{DEFAULT_ROOM, RoomConfig, WorkspaceStore};

fn together(limits: &proofroom_vmm::boot::RoomLimits) -> u64 {
    limits.workspace_bytes + 2 * limits.tmp_bytes + limits.shm_bytes
}

#[test]
fn full_file_systems_leave_memory_for_the_supervisor_in_every_machine() {
    let config = RoomConfig::parse(DEFAULT_ROOM, Path::new("/var/lib/proofroom")).unwrap();
    for mebibytes in [512_u64, 1024, 2048, 4096] {
        let inside = guest_limits(&config.limits, config.workspace, mebibytes << 20);
        assert_eq!(
            inside.memory_bytes,
            (mebibytes << 20) - GUEST_HEADROOM_BYTES
        );
        let left = inside.memory_bytes - together(&inside);
        assert!(
            left >= SUPERVISOR_HEADROOM_BYTES - (4 << 20),
            "{mebibytes}: {left}"
        );
    }
}

#[test]
fn a_machine_that_is_large_enough_changes_nothing() {
    let config = RoomConfig::parse(DEFAULT_ROOM, Path::new("/var/lib/proofroom")).unwrap();
    let inside = guest_limits(&config.limits, config.workspace, 64 << 30);
    assert_eq!(inside.memory_bytes, config.limits.memory_bytes);
    assert_eq!(
        together(&inside),
        config.limits.bytes_in_memory(config.workspace)
    );
    assert_eq!(inside.shm_bytes, config.limits.shm_bytes);
}

#[test]
fn no_file_system_is_without_a_limit() {
    let config = RoomConfig::parse(DEFAULT_ROOM, Path::new("/var/lib/proofroom")).unwrap();
    let inside = guest_limits(&config.limits, config.workspace, 128 << 20);
    assert!(inside.shm_bytes > 0 && inside.tmp_bytes > 0 && inside.workspace_bytes > 0);
}

#[test]
fn a_workspace_on_a_disk_takes_nothing_of_the_memory_and_is_as_large_as_asked() {
    let text = DEFAULT_ROOM.replace("workspace = \"memory\"", "workspace = \"encrypted-disk\"");
    let config = RoomConfig::parse(&text, Path::new("/var/lib/proofroom")).unwrap();
    assert_eq!(config.workspace, WorkspaceStore::EncryptedDisk);
    let inside = guest_limits(&config.limits, config.workspace, 1024 << 20);
    assert_eq!(inside.workspace_bytes, config.limits.workspace_bytes);
    let in_memory = guest_limits(&config.limits, WorkspaceStore::Memory, 1024 << 20);
    assert!(inside.tmp_bytes > in_memory.tmp_bytes);
    let left = inside.memory_bytes - (together(&inside) - inside.workspace_bytes);
    assert!(left >= SUPERVISOR_HEADROOM_BYTES - (4 << 20), "{left}");
}
