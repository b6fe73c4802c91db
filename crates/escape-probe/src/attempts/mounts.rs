//! Mounts, owners, handles and device nodes: making more of the machine visible, or writable.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
};

use super::{by, each, failed, refused, row};
use crate::{
    attempt::{Attempt, Trace, Tried},
    sys::{HERE, at, call, minus, name},
};

const MS_REMOUNT_BIND: usize = 32 | 4096;
const MS_BIND: usize = 4096;

const fn mount(call: &'static str) -> Trace {
    Trace::File(call, "mount")
}

macro_rules! with {
    ($id:literal, $name:literal, $call:ident, $trace:expr, [$($argument:expr),*]) => {
        row($id, $name, by::SECCOMP, &[$trace], || {
            refused(call(libc::$call, &[$($argument),*]))
        })
    };
}

pub(super) const ATTEMPTS: &[Attempt] = &[
    with!(
        "A8",
        "remount-usr-writable",
        SYS_mount,
        mount("mount"),
        [0, name(c"/usr"), 0, MS_REMOUNT_BIND, 0]
    ),
    with!(
        "A8",
        "remount-the-root-writable",
        SYS_mount,
        mount("mount"),
        [0, name(c"/"), 0, MS_REMOUNT_BIND, 0]
    ),
    with!(
        "A8",
        "clear-read-only",
        SYS_mount_setattr,
        mount("mount_setattr"),
        [HERE, name(c"/usr"), 0x8000, at(&[0_u64, 1, 0, 0]), 32]
    ),
    with!(
        "A13",
        "bind-the-root",
        SYS_mount,
        mount("mount"),
        [name(c"/"), name(c"/workspace"), 0, MS_BIND, 0]
    ),
    with!(
        "A13",
        "clone-a-tree",
        SYS_open_tree,
        mount("open_tree"),
        [HERE, name(c"/usr"), 1]
    ),
    with!(
        "A13",
        "move-a-tree",
        SYS_move_mount,
        mount("move_mount"),
        [minus(1), name(c""), HERE, name(c"/workspace"), 4]
    ),
    with!(
        "A13",
        "handle-of-a-name",
        SYS_name_to_handle_at,
        Trace::Syscall("name_to_handle_at"),
        [HERE, name(c"/usr"), at(&[0_u8; 128]), at(&[0_u8; 8]), 0]
    ),
    with!(
        "A13",
        "open-by-handle",
        SYS_open_by_handle_at,
        Trace::Syscall("open_by_handle_at"),
        [HERE, at(&[0_u8; 128]), 0]
    ),
    with!(
        "A44",
        "mount-a-proc",
        SYS_mount,
        mount("mount"),
        [name(c"proc"), name(c"/tmp"), name(c"proc"), 0, 0]
    ),
    with!(
        "A44",
        "mount-a-cgroup",
        SYS_mount,
        mount("mount"),
        [
            name(c"cgroup"),
            name(c"/tmp"),
            name(c"cgroup"),
            0,
            name(c"memory")
        ]
    ),
    with!(
        "A44",
        "mount-a-sysfs",
        SYS_mount,
        mount("mount"),
        [name(c"sysfs"), name(c"/tmp"), name(c"sysfs"), 0, 0]
    ),
    with!(
        "A44",
        "mount-an-overlay",
        SYS_mount,
        mount("mount"),
        [
            name(c"overlay"),
            name(c"/tmp"),
            name(c"overlay"),
            0,
            name(c"lowerdir=/")
        ]
    ),
    with!(
        "A44",
        "mount-a-disk",
        SYS_mount,
        mount("mount"),
        [name(c"/dev/vda1"), name(c"/tmp"), name(c"ext4"), 1, 0]
    ),
    with!(
        "A44",
        "unmount-what-covers",
        SYS_umount2,
        mount("umount2"),
        [name(c"/proc"), 0x1000]
    ),
    with!(
        "own",
        "fsopen",
        SYS_fsopen,
        mount("fsopen"),
        [name(c"tmpfs"), 0]
    ),
    with!(
        "own",
        "fsconfig",
        SYS_fsconfig,
        mount("fsconfig"),
        [minus(1), 6, 0, 0, 0]
    ),
    with!(
        "own",
        "fsmount",
        SYS_fsmount,
        mount("fsmount"),
        [minus(1), 0, 0]
    ),
    with!(
        "own",
        "fspick",
        SYS_fspick,
        mount("fspick"),
        [HERE, name(c"/"), 0]
    ),
    with!(
        "own",
        "pivot-root",
        SYS_pivot_root,
        mount("pivot_root"),
        [name(c"/workspace"), name(c"/workspace")]
    ),
    with!(
        "own",
        "chroot",
        SYS_chroot,
        mount("chroot"),
        [name(c"/workspace")]
    ),
    row(
        "A9",
        "give-a-file-to-root",
        by::SECCOMP,
        &[Trace::Syscall("chown")],
        || {
            drop(fs::write("/workspace/a9", "x"));
            failed(chown("/workspace/a9", Some(0), Some(0)))
        },
    ),
    row(
        "A9",
        "set-user-id-on-a-program",
        by::FILES,
        &[Trace::File("/usr/bin/env", "chmod")],
        || {
            failed(fs::set_permissions(
                "/usr/bin/env",
                fs::Permissions::from_mode(0o4755),
            ))
        },
    ),
    row(
        "A9",
        "attribute-on-a-program",
        by::FILES,
        &[Trace::File("/usr/bin/env", "xattr")],
        || {
            let arguments = [name(c"/usr/bin/env"), name(c"user.x"), name(c"1"), 1, 0];
            super::failed_call(call(libc::SYS_setxattr, &arguments))
        },
    ),
    row(
        "A9",
        "capability-on-an-own-file",
        by::KERNEL,
        &[Trace::Untold("own-file")],
        file_capability,
    ),
    row(
        "A9",
        "set-user-id-on-an-own-file",
        by::KERNEL,
        &[Trace::Untold("own-file")],
        set_user_id,
    ),
    row(
        "own",
        "make-a-block-device",
        by::SECCOMP,
        &[Trace::File("/workspace/disk", "make device")],
        || device(c"/workspace/disk", 0o060_666, 8 << 8),
    ),
    row(
        "own",
        "make-kernel-memory",
        by::SECCOMP,
        &[Trace::File("/tmp/mem", "make device")],
        || device(c"/tmp/mem", 0o020_666, (1 << 8) | 1),
    ),
    row(
        "own",
        "make-a-verity-device",
        by::SECCOMP,
        &[Trace::File("/tmp/verity", "make device")],
        || device(c"/tmp/verity", 0o060_666, 253 << 8),
    ),
    row(
        "own",
        "make-a-tpm",
        by::SECCOMP,
        &[Trace::File("/tmp/tpm", "make device")],
        || device(c"/tmp/tpm", 0o020_666, (10 << 8) | 224),
    ),
    row(
        "own",
        "make-a-console-of-the-hypervisor",
        by::SECCOMP,
        &[Trace::File("/tmp/hvc", "make device")],
        || device(c"/tmp/hvc", 0o020_666, 229 << 8),
    ),
    row(
        "own",
        "make-a-file-beside-the-devices",
        by::FILES,
        &[Trace::File("/dev/sda", "write")],
        || failed(fs::write("/dev/sda", "")),
    ),
    row(
        "A44",
        "replace-a-device",
        by::FILES,
        &[Trace::File("/dev/null", "remove")],
        replace_device,
    ),
];

/// `mknodat`, with a device number of major and minor below 256.
fn device(path: &std::ffi::CStr, mode: usize, number: usize) -> Tried {
    refused(call(libc::SYS_mknodat, &[HERE, name(path), mode, number]))
}

/// A file capability that asks for everything. The kernel takes it from a namespace's root alone.
fn file_capability() -> Tried {
    drop(fs::write("/workspace/a9-capable", "x"));
    // VFS_CAP_REVISION_2 with the effective bit, all permitted, none inheritable
    let wanted = [0x0200_0001_u32, u32::MAX, 0, u32::MAX, 0];
    let arguments = [
        name(c"/workspace/a9-capable"),
        name(c"security.capability"),
        at(&wanted),
        20,
        0,
    ];
    super::failed_call(call(libc::SYS_setxattr, &arguments))
}

/// The bit may be set on an own file, and gives nobody else's rights.
fn set_user_id() -> Tried {
    let copied = fs::copy("/proc/self/exe", "/workspace/a9-program").and_then(|_| {
        let mode = fs::Permissions::from_mode(0o6755);
        fs::set_permissions("/workspace/a9-program", mode)
    });
    if let Err(error) = copied {
        return Tried::NotApplicable(error.to_string());
    }
    let mut start = std::process::Command::new("/workspace/a9-program");
    let read = start.args(["act", "read", "/proc/1/environ"]).status();
    drop(fs::remove_file("/workspace/a9-program"));
    match read {
        Ok(status) => super::held(!status.success(), format!("{status}")),
        Err(error) => Tried::Blocked(error.raw_os_error(), error.to_string()),
    }
}

/// The race of masked paths begins by making `/dev/null` something else.
fn replace_device() -> Tried {
    each([
        failed(fs::remove_file("/dev/null")),
        failed(std::os::unix::fs::symlink(
            "/proc/sysrq-trigger",
            "/dev/null",
        )),
        failed(fs::rename("/dev/null", "/dev/zero")),
    ])
}
