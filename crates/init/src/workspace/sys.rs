//! What ext4 and the kernel's quotas are asked, each as one small safe function (`linux/ext4.h`,
//! `linux/fs.h`, `linux/quota.h`). The only file of this module that uses `unsafe`.

use std::{fs::File, io, os::fd::AsRawFd as _};

use super::Caps;

/// `EXT4_IOC_RESIZE_FS`, `_IOW('f', 16, __u64)`.
const RESIZE: u64 = 1 << 30 | 8 << 16 | 0x66 << 8 | 16;
/// `EXT4_IOC_SHUTDOWN`, `_IOR('X', 125, __u32)`; `EXT4_GOING_FLAGS_NOLOGFLUSH`.
const SHUT_DOWN: u64 = 2 << 30 | 4 << 16 | 0x58 << 8 | 125;
const WITHOUT_WRITING: u32 = 2;
/// `FS_IOC_FSSETXATTR`, `_IOW('X', 32, struct fsxattr)`; `FS_XFLAG_PROJINHERIT`.
const SET_ATTRIBUTES: u64 = 1 << 30 | 28 << 16 | 0x58 << 8 | 32;
const INHERIT_PROJECT: u32 = 0x200;
/// `QCMD(Q_SETQUOTA, PRJQUOTA)`; `QIF_BLIMITS | QIF_ILIMITS`.
const SET_PROJECT_QUOTA: u32 = 0x80_0008 << 8 | 2;
const LIMITS: u32 = 1 | 4;
/// `QIF_DQBLKSIZE`: what byte limits are counted in.
const QUOTA_UNIT: u64 = 1024;
/// The one project of a workspace; 0 would be no project.
const PROJECT: u32 = 1;

/// `struct fsxattr`.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    copy_size: u32,
    padding: [u8; 8],
}

/// `struct if_dqblk`.
#[repr(C)]
#[derive(Default)]
struct Quota {
    bytes_hard: u64,
    bytes_soft: u64,
    bytes_now: u64,
    inodes_hard: u64,
    inodes_soft: u64,
    inodes_now: u64,
    bytes_time: u64,
    inodes_time: u64,
    valid: u32,
}

/// Grows the mounted file system of `root` to this many blocks.
pub(super) fn resize(root: &File, mut blocks: u64) -> io::Result<()> {
    call(root, RESIZE, &mut blocks)
}

/// Lets the file system write nothing any more.
pub(super) fn shut_down(root: &File) -> io::Result<()> {
    let mut how = WITHOUT_WRITING;
    call(root, SHUT_DOWN, &mut how)
}

/// Counts the directory, and whatever is ever made in it, for one project, which may have no more than
/// `caps`. `statvfs` then shows the caps as the file system's size.
pub(super) fn cap(root: &File, caps: Caps) -> io::Result<()> {
    let mut attributes = Attributes {
        flags: INHERIT_PROJECT,
        project: PROJECT,
        ..Attributes::default()
    };
    call(root, SET_ATTRIBUTES, &mut attributes)?;
    let quota = Quota {
        bytes_hard: caps.bytes / QUOTA_UNIT,
        inodes_hard: caps.inodes,
        valid: LIMITS,
        ..Quota::default()
    };
    #[expect(unsafe_code, reason = "no safe crate has quotactl_fd(2)")]
    // SAFETY: the descriptor is open, and `quota` is a whole `struct if_dqblk` that outlives the call.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            root.as_raw_fd(),
            SET_PROJECT_QUOTA,
            PROJECT,
            &raw const quota,
        )
    };
    if returned < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// `T` is what the request's number says that it takes.
fn call<T>(file: &File, request: u64, value: &mut T) -> io::Result<()> {
    debug_assert_eq!(request >> 16 & 0x3fff, size_of::<T>() as u64);
    #[expect(unsafe_code, reason = "file systems have no other interface")]
    // SAFETY: the descriptor is open, and the kernel reads or writes as many bytes as the number of the
    // request says, which is the size of `T`; every bit pattern of them is a `T`.
    let returned = unsafe { libc::ioctl(file.as_raw_fd(), request, std::ptr::from_mut(value)) };
    if returned < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Attributes, Quota, SET_ATTRIBUTES};

    #[test]
    fn structures_are_as_large_as_the_kernels() {
        assert_eq!(size_of::<Attributes>(), 28);
        assert_eq!(SET_ATTRIBUTES, 0x401c_5820);
        assert_eq!(size_of::<Quota>(), 72);
    }
}
