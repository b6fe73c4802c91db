//! From an empty encrypted device to a mounted ext4 of its size. A block that was never written has no
//! valid tag, so nothing may read one: the template's unused inode tables are left alone for ever, and the
//! kernel does not read ahead in them.

use std::{
    ffi::CStr,
    fs::{self, File},
    io::{self, Read as _},
    os::{fd::OwnedFd, unix::fs::FileExt as _},
    path::Path,
};

use proofroom_confine::launch::in_own_mounts;
use rustix::{
    fs::{CWD, fstatvfs},
    mount::{MountFlags, OpenTreeFlags, mount, mount_remount, open_tree},
};

use super::{
    Caps, WorkspaceError,
    error::During as _,
    sys,
    table::{BLOCK_BYTES, SECTORS_PER_BLOCK},
};

/// Blocks of one of ext4's groups: those that one block's bits count.
const GROUP_BLOCKS: u64 = 8 * BLOCK_BYTES;
/// Any directory: it is covered in a mount namespace that ends with the making.
const COVERED: &str = "/tmp";
/// Files are not kept beyond the machine: no order of writing matters. The first failure in what the file
/// system relies on is the last thing that is written. With `dioread_lock` a new block counts as written before
/// it is: one that the host refuses to write is then an error for its reader, and not zeros.
const OPTIONS: &CStr =
    c"errors=remount-ro,nobarrier,noauto_da_alloc,dioread_lock,inode_readahead_blks=0,prjquota";
/// The kernel's thread that writes empty inode tables would write one sixteenth of the disk.
const WITHOUT_EMPTY_TABLES: &CStr =
    c"errors=remount-ro,nobarrier,noauto_da_alloc,dioread_lock,inode_readahead_blks=0,prjquota,noinit_itable";

/// A file system of the device's size.
pub(super) struct Grown {
    /// Its root.
    pub(super) root: File,
    /// Its mount, which is nowhere yet.
    pub(super) mount: OwnedFd,
}

/// Writes the template's blocks, each of which is preceded by its number, four bytes, big-endian. And the
/// device's last block, which the kernel reads before it grows a file system.
pub(super) fn write(template: &Path, node: &Path, sectors: u64) -> Result<(), WorkspaceError> {
    let step = "write the file system's template";
    let mut blocks = File::open(template).during(step)?;
    let device = File::options().write(true).open(node).during(step)?;
    let (mut number, mut block) = ([0; 4], [0; 4096]);
    loop {
        match blocks.read_exact(&mut number) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            read => read.during(step)?,
        }
        blocks.read_exact(&mut block).during(step)?;
        let at = u64::from(u32::from_be_bytes(number)) * BLOCK_BYTES;
        device.write_all_at(&block, at).during(step)?;
    }
    let last = usable_blocks(sectors)
        .checked_sub(1)
        .ok_or_else(|| io::Error::other("the disk has not even one group of blocks"))
        .during(step)?;
    device
        .write_all_at(&[0; 4096], last * BLOCK_BYTES)
        .during(step)?;
    device.sync_all().during(step)
}

/// Whole groups: what is left over would be a group with hardly a block for files.
const fn usable_blocks(sectors: u64) -> u64 {
    let blocks = sectors / SECTORS_PER_BLOCK;
    blocks - blocks % GROUP_BLOCKS
}

/// Mounts the template and grows it.
pub(super) fn grow(node: &Path, sectors: u64, caps: Caps) -> Result<Grown, WorkspaceError> {
    let mut made = Ok(());
    let grown =
        in_own_mounts(|| mounted(node).inspect(|grown| made = fit(&grown.root, sectors, caps)));
    made?;
    grown.during("mount the file system")
}

fn mounted(node: &Path) -> io::Result<Grown> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME;
    mount(node, COVERED, "ext4", flags, OPTIONS)?;
    let root = File::open(COVERED)?;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(CWD, COVERED, clone)?;
    Ok(Grown { root, mount })
}

/// Grows the file system and sees that it holds what the room may store; then it is capped to that.
fn fit(root: &File, sectors: u64, caps: Caps) -> Result<(), WorkspaceError> {
    fs::remove_dir(Path::new(COVERED).join("lost+found")).during("empty the file system")?;
    sys::resize(root, usable_blocks(sectors)).during("grow the file system")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME;
    mount_remount(COVERED, flags, WITHOUT_EMPTY_TABLES).during("settle the file system")?;
    let state = fstatvfs(root).during("look at the file system")?;
    for (what, have, need) in [
        (
            "bytes",
            state.f_bavail.saturating_mul(state.f_frsize),
            caps.bytes,
        ),
        ("files", state.f_ffree, caps.inodes),
    ] {
        if have < need {
            return Err(WorkspaceError::TooSmall { what, have, need });
        }
    }
    sys::cap(root, caps).during("cap the file system")
}
