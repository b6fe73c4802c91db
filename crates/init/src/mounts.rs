//! The machine's own file systems, its kernel modules, and the root in which the room is built.

use std::{
    ffi::CStr,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, symlink},
    path::{Path, PathBuf},
};

use rustix::{
    mount::{MountFlags, mount, mount_bind_recursive, mount_move},
    process::chroot,
};

use crate::{InitError, error::On as _};

/// Where the image keeps its modules, with the loading orders of its sets.
const MODULES: &str = "/modules";
/// Where the new root is put together.
const NEW_ROOT: &str = "/room-root";
/// What of a merged tree a room shows, as directories or as links.
const SYSTEM: [&str; 6] = ["usr", "bin", "sbin", "lib", "lib32", "lib64"];

/// Mounts what the kernel shows about itself.
pub(crate) fn kernel_views() -> Result<(), InitError> {
    let none = MountFlags::empty();
    let plain = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    unless_there(on("proc", "/proc", plain, None))?;
    unless_there(on("sysfs", "/sys", plain, None))?;
    unless_there(on("devtmpfs", "/dev", MountFlags::NOSUID, None))?;
    on("tmpfs", "/run", plain, Some(c"mode=0755,size=16m"))?;
    // Needed for the boot log; a kernel without it has no TPM log either, and attesting says so.
    drop(on("securityfs", "/sys/kernel/security", none, None));
    Ok(())
}

/// The kernel refuses to mount a view of itself where that view already lies (`EBUSY`): an earlier
/// stage of the initial file system may have mounted it.
fn unless_there(mounted: Result<(), InitError>) -> Result<(), InitError> {
    match mounted {
        Err(InitError::File { source, .. }) if source.raw_os_error() == Some(libc::EBUSY) => Ok(()),
        mounted => mounted,
    }
}

/// A set of the image's modules.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Modules {
    /// What every room needs.
    Room,
    /// What confidential machines attest through.
    Confidential,
    /// What a disk for the workspace needs.
    WorkspaceDisk,
    /// What shows the firmware's files.
    Capture,
}

impl Modules {
    const fn order(self) -> &'static str {
        match self {
            Self::Room => "order.room",
            Self::Confidential => "order.confidential",
            Self::WorkspaceDisk => "order.workspace-disk",
            Self::Capture => "order.capture",
        }
    }

    /// Loads them in the image's order. What the kernel has built in is not among them.
    pub(crate) fn load(self) -> Result<(), InitError> {
        let order = Path::new(MODULES).join(self.order());
        let names = fs::read_to_string(&order).on("read", &order)?;
        for name in names.lines() {
            let file = File::open(Path::new(MODULES).join(name));
            let loaded = file.and_then(|file| {
                rustix::system::finit_module(&file, c"", 0).map_err(io::Error::from)
            });
            match loaded {
                Ok(()) => {}
                // A driver without its device, and a module that two sets have.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EEXIST)) => {
                }
                Err(error) => return Err(InitError::Module(name.to_owned(), error)),
            }
        }
        Ok(())
    }
}

/// Where confidential machines attest: the kernel shows it once its modules are loaded.
pub(crate) fn attestation_views() {
    // A kernel without it has no such attester, and attesting says so.
    drop(on(
        "configfs",
        "/sys/kernel/config",
        MountFlags::empty(),
        None,
    ));
}

/// Mounts the version 2 control groups, on which the room's limits rest.
pub(crate) fn control_groups() -> Result<(), InitError> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    on("cgroup2", "/sys/fs/cgroup", flags, None)
}

/// Makes a new root out of `merged` (the layers) and moves into it. Afterwards nothing of the
/// initial file system has a name any more but the programs below `/proofroom`.
pub(crate) fn enter_new_root(merged: Option<&Path>) -> Result<Vec<PathBuf>, InitError> {
    let root = Path::new(NEW_ROOT);
    make(root)?;
    on(
        "tmpfs",
        NEW_ROOT,
        MountFlags::NOSUID | MountFlags::NODEV,
        Some(c"mode=0755,size=16m"),
    )?;
    let mut system = Vec::new();
    if let Some(merged) = merged {
        for name in SYSTEM {
            if show(&merged.join(name), &root.join(name))? {
                system.push(Path::new("/").join(name));
            }
        }
        show(&merged.join("etc"), &root.join("etc"))?;
    }
    show(Path::new("/proofroom"), &root.join("proofroom"))?;
    for name in ["tmp", "etc"] {
        make(&root.join(name))?;
    }
    for name in ["proc", "sys", "dev", "run"] {
        let (from, to) = (Path::new("/").join(name), root.join(name));
        make(&to)?;
        mount_move(&from, &to).on("move", from)?;
    }
    std::env::set_current_dir(root).on("enter", root)?;
    mount_move(".", "/").on("move", root)?;
    chroot(".").on("change the root to", root)?;
    std::env::set_current_dir("/").on("enter", "/")?;
    Ok(system)
}

/// Shows `from` at `to`: a link as the same link, a directory by a bind. Whether it is there.
fn show(from: &Path, to: &Path) -> Result<bool, InitError> {
    let Ok(metadata) = fs::symlink_metadata(from) else {
        return Ok(false);
    };
    if metadata.file_type().is_symlink() {
        let says = fs::read_link(from).on("read", from)?;
        symlink(says, to).on("link", to)?;
    } else {
        make(to)?;
        mount_bind_recursive(from, to).on("bind", from)?;
    }
    Ok(true)
}

fn make(path: &Path) -> Result<(), InitError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o755);
    builder.create(path).on("make", path)
}

fn on(
    kind: &'static str,
    target: &'static str,
    flags: MountFlags,
    data: Option<&CStr>,
) -> Result<(), InitError> {
    make(Path::new(target))?;
    mount(kind, target, kind, flags, data).on("mount", target)
}
