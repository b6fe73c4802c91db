//! The file behind a workspace's disk: its space is reserved and not written, and it has no name at any time. It is
//! therefore gone with its last opening, also when the host process is killed. What is on it is the guest's, under a
//! key that the host never has.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use proofroom_confine::launch::is_open_elsewhere;
use rustix::{
    fs::{FallocateFlags, Mode, OFlags, SeekFrom, fallocate, fstat, fstatvfs, open, seek},
    io::{Errno, retry_on_intr},
};

use crate::{Fact, Limits, Observed, RoomError};

const BLOCK_BYTES: u64 = 4096;
/// ext4 in the image's template: what one group's bits count, the inodes of a group, and the blocks of their
/// table, 256 bytes each.
const GROUP_BLOCKS: u64 = 8 * BLOCK_BYTES;
const GROUP_INODES: u64 = 32_768;
const GROUP_TABLE_BLOCKS: u64 = GROUP_INODES * 256 / BLOCK_BYTES;
/// Two maps of bits, and in some groups copies of the superblock and of descriptors.
const GROUP_OTHER_BLOCKS: u64 = 8;
/// dm-integrity: a tag of 48 bytes for each block, in a run of 192 KiB before each run of 16 MiB of blocks.
const RUN_BYTES: u64 = 16 << 20;
const RUN_TAG_BYTES: u64 = RUN_BYTES / BLOCK_BYTES * 48;
/// Its superblock and the smallest journal, rounded up.
const HEAD_BYTES: u64 = 4 << 20;
/// Blocks that ext4 keeps for itself (16 MiB at most), those of the quota's own file, and the room's root.
const KEPT_BYTES: u64 = 32 << 20;
/// What a disk leaves of its file system, where the records of this session and of others may be.
const LEFT_TO_RECORDS: u64 = 256 << 20;

/// How large the disk is on which a room may store what `limits` say.
pub(super) const fn bytes(limits: &Limits) -> u64 {
    let blocks = limits
        .workspace_bytes
        .saturating_add(KEPT_BYTES)
        .div_ceil(BLOCK_BYTES);
    let for_bytes = blocks.div_ceil(GROUP_BLOCKS - GROUP_TABLE_BLOCKS - GROUP_OTHER_BLOCKS);
    // Of the first group's inodes ext4 keeps eleven for itself.
    let for_inodes = limits.inodes.saturating_add(16).div_ceil(GROUP_INODES);
    let groups = if for_bytes > for_inodes {
        for_bytes
    } else {
        for_inodes
    };
    let runs = (groups * GROUP_BLOCKS * BLOCK_BYTES).div_ceil(RUN_BYTES);
    HEAD_BYTES + runs * (RUN_BYTES + RUN_TAG_BYTES)
}

/// This process's opening of the file, by which it sees whether anybody else still has one.
#[derive(Debug)]
pub(super) struct DiskFile {
    opened: File,
    directory: PathBuf,
}

impl DiskFile {
    /// Makes the file in `directory` and reserves its space; what is returned beside it is the opening for QEMU.
    pub(super) fn make(directory: &Path, bytes: u64) -> Result<(Self, OwnedFd), RoomError> {
        let failed = |step| {
            move |source: io::Error| RoomError::WorkspaceDisk {
                step,
                directory: directory.to_owned(),
                source,
            }
        };
        // Without `O_EXCL` it could be given a name later.
        let flags = OFlags::TMPFILE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let given = open(directory, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| failed("make a file without a name")(error.into()))?;
        let space = || -> Result<u64, RoomError> {
            let left = fstatvfs(&given)
                .map_err(|error| failed("ask for the space that is left")(error.into()))?;
            Ok(left.f_bavail.saturating_mul(left.f_frsize))
        };
        let need = bytes.saturating_add(LEFT_TO_RECORDS);
        let too_large = |have| RoomError::WorkspaceDiskSpace {
            directory: directory.to_owned(),
            need,
            have,
        };
        // What root may still take is not for rooms.
        let have = space()?;
        if have < need {
            return Err(too_large(have));
        }
        // Others may take what was left a moment ago, and would while the room runs.
        match retry_on_intr(|| fallocate(&given, FallocateFlags::empty(), 0, bytes)) {
            Ok(()) => {}
            Err(Errno::NOSPC | Errno::DQUOT) => return Err(too_large(space()?)),
            Err(error) => return Err(failed("reserve its space")(error.into())),
        }
        let given = File::from(given);
        let opened = File::options()
            .read(true)
            .write(true)
            .open(format!("/proc/self/fd/{}", given.as_raw_fd()))
            .map_err(failed("open the file a second time"))?;
        let directory = directory.to_owned();
        Ok((Self { opened, directory }, given.into()))
    }

    /// What is to be seen when QEMU is gone. The file itself is gone with the return, unless somebody else
    /// has it.
    pub(super) fn end(self) -> Result<Observed, RoomError> {
        let state = fstat(&self.opened).map_err(|error| RoomError::WorkspaceDisk {
            step: "look at the file's end",
            directory: self.directory.clone(),
            source: error.into(),
        })?;
        let held = written(&self.opened).map_err(|error| RoomError::WorkspaceDisk {
            step: "ask what was written to the file",
            directory: self.directory.clone(),
            source: error.into(),
        })?;
        let (fact, why) = match (state.st_nlink, is_open_elsewhere(&self.opened)) {
            (0, Ok(false)) => (
                Fact::WorkspaceDiskClosed,
                "it had no name, and its last opening was closed".to_owned(),
            ),
            (0, Ok(true)) => (
                Fact::WorkspaceDiskOpenElsewhere,
                "it has no name, and somebody else has it open".to_owned(),
            ),
            (0, Err(error)) => (
                Fact::WorkspaceDiskOpenElsewhere,
                format!(
                    "it has no name, and its file system does not say who has it open: {error}"
                ),
            ),
            (names, _) => (
                Fact::WorkspaceDiskOpenElsewhere,
                format!("it has {names} names"),
            ),
        };
        drop(self);
        Ok(Observed::now(
            fact,
            format!("{why}; {held} bytes of ciphertext; the key was in the machine's memory alone"),
        ))
    }
}

/// Bytes of the file that were written, by its file system's blocks: what is reserved alone counts as a hole.
fn written(file: &File) -> Result<u64, Errno> {
    let mut at = 0;
    let mut bytes = 0_u64;
    loop {
        let begin = match seek(file, SeekFrom::Data(at)) {
            Ok(begin) => begin,
            // Nothing but holes follows.
            Err(Errno::NXIO) => return Ok(bytes),
            Err(error) => return Err(error),
        };
        at = seek(file, SeekFrom::Hole(begin))?;
        bytes = bytes.saturating_add(at.saturating_sub(begin));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
        path::Path,
    };

    use rustix::mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
        fsopen,
    };

    use super::{DiskFile, GROUP_BLOCKS, bytes};
    use crate::{DEFAULT_ROOM, Fact, RoomConfig};

    #[test]
    fn a_disk_is_as_large_as_its_bytes_and_its_inodes_ask_for() {
        let limits = RoomConfig::parse(DEFAULT_ROOM, Path::new("/var/lib/proofroom"))
            .unwrap()
            .limits;
        let asked = limits.workspace_bytes;
        let disk = bytes(&limits);
        assert!(
            disk > asked && disk < asked + asked / 8 + (128 << 20),
            "{disk}"
        );
        let many_files = crate::Limits {
            inodes: 10_000_000,
            ..limits
        };
        // 306 groups have so many inodes.
        assert!(bytes(&many_files) > 306 * GROUP_BLOCKS * 4096);
        let most = crate::Limits {
            workspace_bytes: 1 << 40,
            ..limits
        };
        assert!(bytes(&most) > 1 << 40);
    }

    #[test]
    fn the_file_has_no_name_has_its_space_and_is_seen_to_end() {
        let directory = tempfile::tempdir().unwrap();
        let (kept, given) = DiskFile::make(directory.path(), 64 << 20).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        let given = File::from(given);
        let state = given.metadata().unwrap();
        use std::os::unix::fs::{FileExt as _, MetadataExt as _};
        assert_eq!(
            (state.len(), state.nlink(), state.mode() & 0o777),
            (64 << 20, 0, 0o600)
        );
        assert!(state.blocks() * 512 >= 64 << 20, "{}", state.blocks());
        for at in [0, 32 << 20] {
            given.write_all_at(&[7; 65_536], at).unwrap();
        }
        drop(given);
        let seen = kept.end().unwrap();
        assert_eq!(seen.fact, Fact::WorkspaceDiskClosed);
        assert!(seen.detail.contains("no name"), "{}", seen.detail);
        let held = "; 131072 bytes of ciphertext;";
        assert!(seen.detail.contains(held), "{}", seen.detail);
    }

    /// A file system of its own, without a place in any tree.
    fn small(bytes: &str) -> Option<OwnedFd> {
        let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).ok()?;
        fsconfig_set_string(context.as_fd(), "size", bytes).unwrap();
        fsconfig_create(context.as_fd()).unwrap();
        let attributes = MountAttrFlags::empty();
        Some(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).unwrap())
    }

    #[test]
    fn a_second_disk_cannot_have_the_space_of_the_first() {
        let Some(system) = small("270m") else {
            eprintln!("SKIPPED a_second_disk_cannot_have_the_space_of_the_first: not root");
            return;
        };
        let directory = format!("/proc/self/fd/{}", system.as_raw_fd());
        let make = || DiskFile::make(Path::new(&directory), 10 << 20);
        let first = make().unwrap();
        let refused = make().unwrap_err();
        assert_eq!(refused.code(), "workspace-disk-space");
        drop(first);
        drop(make().unwrap());
    }

    #[test]
    fn who_else_has_the_file_open_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let (kept, given) = DiskFile::make(directory.path(), 1 << 20).unwrap();
        let other = File::open(format!("/proc/self/fd/{}", given.as_raw_fd())).unwrap();
        drop(given);
        assert_eq!(kept.end().unwrap().fact, Fact::WorkspaceDiskOpenElsewhere);
        drop(other);
    }

    #[test]
    fn what_cannot_be_made_is_said_with_its_place() {
        let nowhere = DiskFile::make(Path::new("/proc/self"), 1 << 20).unwrap_err();
        assert_eq!(nowhere.code(), "workspace-disk-not-made");
        let directory = tempfile::tempdir().unwrap();
        let refused = DiskFile::make(directory.path(), 1 << 60).unwrap_err();
        assert_eq!(refused.code(), "workspace-disk-space");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
