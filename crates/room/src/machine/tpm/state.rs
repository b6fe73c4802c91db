//! The file system of a TPM's state: in memory, of its own size, with a name on the host for as long as
//! it takes to make it. After that only the jails hold it, so it is gone when they are, also when the
//! host process was killed.

use std::{
    ffi::CString,
    fs,
    io::ErrorKind,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt as _},
    path::{Path, PathBuf},
};

use proofroom_confine::IdMap;
use rustix::{
    fs::CWD,
    io::Errno,
    mount::{
        MountFlags, MountPropagationFlags, OpenTreeFlags, UnmountFlags, mount, mount_change,
        open_tree, unmount,
    },
};

use crate::{RoomError, error::On as _};

/// In memory: the seeds of a TPM have no business on a disk.
const PLACE: &str = "/dev/shm";
/// `swtpm` keeps some 10 KiB: the permanent state and, for a moment, its successor.
const BYTES: u64 = 4 << 20;
const INODES: u64 = 64;

fn place(ids: IdMap) -> PathBuf {
    Path::new(PLACE).join(format!("proofroom-tpm-{}", ids.agent))
}

/// Makes a file system for the TPM of these ids, as one detached mount for each of its two lives.
pub(super) fn make(ids: IdMap) -> Result<[OwnedFd; 2], RoomError> {
    // Left by a host that died: its ids were seen to be unused.
    forget(ids)?;
    let place = place(ids);
    let mut builder = fs::DirBuilder::new();
    builder.mode(0o700).create(&place).on("make", &place)?;
    let made = mounted(ids, &place).and_then(|()| Ok([detached(&place)?, detached(&place)?]));
    forget(ids)?;
    made
}

fn mounted(ids: IdMap, place: &Path) -> Result<(), RoomError> {
    let owner = ids.agent;
    let options = format!("size={BYTES},nr_inodes={INODES},mode=0700,uid={owner},gid={owner}");
    let options = CString::new(options).on("mount", place)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tmpfs", place, "tmpfs", flags, options.as_c_str()).on("mount", place)?;
    // What is mounted or removed here is no business of other mount namespaces.
    mount_change(place, MountPropagationFlags::PRIVATE).on("make private", place)
}

fn detached(place: &Path) -> Result<OwnedFd, RoomError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, place, flags).on("detach", place)
}

/// Removes the name of a TPM's file system, and what a host that died left under it. Nobody may run
/// under these ids.
pub(crate) fn forget(ids: IdMap) -> Result<(), RoomError> {
    let place = place(ids);
    // Anybody may make a file of this name here; it must not stop a room.
    let removed = match fs::symlink_metadata(&place) {
        Ok(found) if found.is_dir() => {
            match unmount(&place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
                // Nothing is mounted there.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(error) => return Err(error).on("unmount", &place),
            }
            fs::remove_dir_all(&place)
        }
        Ok(_) => fs::remove_file(&place),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).on("remove", &place),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::fd::AsRawFd as _, path::PathBuf};

    use proofroom_confine::{IdMap, MapWriter};

    use super::{BYTES, make, place};

    #[test]
    fn a_tpms_state_has_a_size_and_no_name_and_both_lives_see_the_same() {
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED: mounting needs root");
            return;
        }
        let ids = IdMap {
            supervisor: 1_980_000,
            agent: 1_980_001,
            writer: MapWriter::Root,
        };
        let [one, other] = make(ids).unwrap();
        assert!(fs::symlink_metadata(place(ids)).is_err());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains("proofroom-tpm-1980001"), "{mounts}");
        let inside = |fd: i32| PathBuf::from(format!("/proc/self/fd/{fd}/state"));
        let (one, other) = (inside(one.as_raw_fd()), inside(other.as_raw_fd()));
        fs::write(&one, "seeds").unwrap();
        assert_eq!(fs::read(&other).unwrap(), b"seeds");
        let too_much = vec![0; usize::try_from(BYTES).unwrap() + 1];
        let refused = fs::write(&one, too_much).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
        let full = (0..100).find_map(|n| fs::write(other.with_extension(n.to_string()), "").err());
        assert_eq!(full.unwrap().kind(), std::io::ErrorKind::StorageFull);
    }
}
