//! The workspace on a disk that the host serves and cannot read. The key is made here and is nowhere
//! else; every block is authenticated with its place (dm-crypt over dm-integrity), so that one that the
//! host changes or moves is an error for its reader. The file system begins as the image's template and
//! is grown to the disk.

mod error;
mod file_system;
mod sys;
mod table;

use std::{
    fs::{self, File},
    io::{self, Seek as _, SeekFrom},
    os::{
        fd::OwnedFd,
        unix::fs::{FileTypeExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    fs::minor,
    io::Errno,
    rand::{GetRandomFlags, getrandom},
};
use zeroize::Zeroizing;

pub use self::error::WorkspaceError;
use self::{error::During as _, file_system::Grown};
use crate::dm::{Access, Control, Table, make_node};

/// Names of the two devices.
const CHECKED: &str = "workspace-integrity";
const PLAIN: &str = "workspace";
/// How long the kernel may go on to hold a file system whose last user is gone.
const PATIENCE: Duration = Duration::from_secs(5);
const GLANCE: Duration = Duration::from_millis(5);

/// What the workspace may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Bytes of files and directories.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
}

/// A mounted workspace disk.
#[derive(Debug)]
pub struct Workspace {
    control: Control,
    root: File,
    /// Below `/sys/fs/ext4`.
    kernel_name: String,
}

/// Makes the workspace on `device`, which has `bytes` bytes and nothing on it: an ext4 made of the blocks
/// in the file `template`, as large as the disk and capped by `caps`. Returns what ends it, and its mount,
/// which is nowhere yet.
///
/// # Errors
/// See [`WorkspaceError`]. What was made before the error stays: the machine ends.
pub fn make(
    device: &Path,
    bytes: u64,
    caps: Caps,
    template: &Path,
) -> Result<(Workspace, OwnedFd), WorkspaceError> {
    let control = Control::open().map_err(WorkspaceError::NoDeviceMapper)?;
    for target in ["integrity", "crypt"] {
        if !control
            .has_target(target)
            .map_err(WorkspaceError::NoDeviceMapper)?
        {
            return Err(WorkspaceError::NoTarget(target));
        }
    }
    let number = number_of(device, bytes)?;
    let (checked, sectors) = checked_device(&control, number)?;
    let (plain, node) = plain_device(&control, checked, sectors)?;
    file_system::write(template, &node, sectors)?;
    let Grown { root, mount } = file_system::grow(&node, sectors, caps)?;
    let workspace = Workspace {
        control,
        root,
        kernel_name: format!("dm-{}", minor(plain)),
    };
    Ok((workspace, mount))
}

/// The number of the host's disk, which must have the length that was promised.
fn number_of(device: &Path, bytes: u64) -> Result<u64, WorkspaceError> {
    let found = fs::metadata(device).during("look at the disk")?;
    if !found.file_type().is_block_device() {
        return Err(io::Error::other("not a block device")).during("look at the disk");
    }
    let have = File::open(device)
        .and_then(|mut file| file.seek(SeekFrom::End(0)))
        .during("look at the disk")?;
    if have != bytes {
        return Err(WorkspaceError::Size { have, need: bytes });
    }
    Ok(found.rdev())
}

/// The device that keeps a tag with every block. The kernel lays out a disk whose superblock is zero
/// when a table is loaded for the first time; how much room is left is known then.
fn checked_device(control: &Control, disk: u64) -> Result<(u64, u64), WorkspaceError> {
    let parameters = table::integrity(disk);
    let load = |sectors| {
        let words = Table {
            target: "integrity",
            sectors,
            parameters: &parameters,
        };
        let number = control.create(CHECKED, Access::ReadWrite)?;
        control.activate(CHECKED, Access::ReadWrite, &words)?;
        Ok::<_, io::Error>(number)
    };
    load(table::SECTORS_PER_BLOCK).during("lay out the disk")?;
    let status = control.status(CHECKED).during("ask for the disk's room")?;
    let sectors = table::provided_sectors(&status)
        .ok_or_else(|| io::Error::other(format!("the kernel says `{status}`")))
        .during("ask for the disk's room")?;
    control.remove(CHECKED).during("lay out the disk")?;
    let number = load(sectors).during("check the disk's blocks")?;
    Ok((number, sectors))
}

/// The device whose blocks are encrypted below it, under a new key.
fn plain_device(
    control: &Control,
    checked: u64,
    sectors: u64,
) -> Result<(u64, PathBuf), WorkspaceError> {
    let mut key = Zeroizing::new([0; table::KEY_BYTES]);
    // Waits for the kernel's pool; what the host said of randomness is only mixed into it.
    getrandom(key.as_mut_slice(), GetRandomFlags::empty()).during("make a key")?;
    let words = Table {
        target: "crypt",
        sectors,
        parameters: &table::crypt(&key, checked),
    };
    let number = control
        .create(PLAIN, Access::ReadWrite)
        .during("make the encrypted device")?;
    control
        .activate(PLAIN, Access::ReadWrite, &words)
        .during("encrypt the disk")?;
    let node = make_node(PLAIN, number, Access::ReadWrite).during("make the device's node")?;
    Ok((number, node))
}

impl Workspace {
    /// How many errors the file system has met in what it relies on. A block of a file that is not what
    /// was written is an error for its reader alone, and not among them.
    #[must_use]
    pub fn errors(&self) -> u64 {
        let path = format!("/sys/fs/ext4/{}/errors_count", self.kernel_name);
        let text = fs::read_to_string(path).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// Ends the workspace when nobody is in it any more: what was not yet written is dropped, and the
    /// kernel wipes the key with its device.
    ///
    /// # Errors
    /// [`WorkspaceError::Failed`] when somebody still holds it after [`PATIENCE`].
    pub fn erase(self) -> Result<(), WorkspaceError> {
        let Self { control, root, .. } = self;
        sys::shut_down(&root).during("stop the file system")?;
        drop(root);
        let until = Instant::now() + PATIENCE;
        for name in [PLAIN, CHECKED] {
            loop {
                match control.remove(name) {
                    Err(error)
                        if error.raw_os_error() == Some(Errno::BUSY.raw_os_error())
                            && Instant::now() < until =>
                    {
                        std::thread::sleep(GLANCE);
                    }
                    removed => break removed.during("remove the encrypted device")?,
                }
            }
        }
        Ok(())
    }
}
