//! The file system of a TPM's state: in memory, of its own size, and without a name on the host at any time.
//! It is made in a mount namespace that nobody else sees and that ends with its making; after that only the
//! jails hold it, so it is gone when they are, also when the host process was killed.

use std::{ffi::CString, io, os::fd::OwnedFd, path::Path};

use proofroom_confine::{IdMap, launch};
use rustix::{
    fs::CWD,
    mount::{MountFlags, OpenTreeFlags, mount, open_tree},
};

use crate::{RoomError, error::On as _};

/// Any directory: it is covered in the namespace alone in which the file system is made.
const COVERED: &str = "/tmp";
/// `swtpm` keeps some 10 KiB: the permanent state and, for a moment, its successor. In memory: the seeds
/// of a TPM have no business on a disk.
const BYTES: u64 = 4 << 20;
const INODES: u64 = 64;

/// Makes a file system for the TPM of these ids, as one detached mount for each of its two lives.
pub(super) fn make(ids: IdMap) -> Result<[OwnedFd; 2], RoomError> {
    let made = launch::in_own_mounts(|| {
        mounted(ids)?;
        Ok([detached()?, detached()?])
    });
    made.on("mount a TPM's file system over", Path::new(COVERED))
}

fn mounted(ids: IdMap) -> io::Result<()> {
    let owner = ids.agent;
    let options = format!("size={BYTES},nr_inodes={INODES},mode=0700,uid={owner},gid={owner}");
    let options = CString::new(options)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(mount("tmpfs", COVERED, "tmpfs", flags, options.as_c_str())?)
}

fn detached() -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(open_tree(CWD, COVERED, flags)?)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::fd::AsRawFd as _, path::PathBuf};

    use proofroom_confine::{IdMap, MapWriter};

    use super::{BYTES, make};

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
        let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
        let before = mounts();
        let [one, other] = make(ids).unwrap();
        assert_eq!(before, mounts());
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
