//! The room's file system, built by the launcher inside the new mount namespace. After it nothing
//! of the host's tree is reachable but the named read-only binds.

use std::{
    fs,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink},
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::CWD,
    mount::{
        MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
        mount_change, move_mount, open_tree, unmount,
    },
};

use crate::{
    AGENT_ID, NAME_SWITCH, RESOLVER_FILE, ReadOnlyBind, RoomSpec, WORKSPACE,
    error::{AtStep as _, StageFailure},
    sys,
};

const READ_ONLY: u64 = 0x1;
const NO_SUID: u64 = 0x2;
const NO_DEVICES: u64 = 0x4;
const NO_EXECUTE: u64 = 0x8;

/// What `shmall` counts in: also where pages are larger this is the stricter reading.
const PAGE_BYTES: u64 = 4096;
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Where the new root is put together; hidden by the pivot, so any directory does.
const SCAFFOLD: &str = "/tmp";

const PASSWD: &str = "root:x:0:0:supervisor:/:/usr/sbin/nologin\n\
                      agent:x:1000:1000:agent:/home/agent:/bin/sh\n";
const GROUP: &str = "root:x:0:\nagent:x:1000:\n";
const HOSTS: &str = "127.0.0.1 localhost room\n::1 localhost\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files\n";
const GENERATED: [(&str, &str); 3] = [
    ("etc/passwd", PASSWD),
    ("etc/group", GROUP),
    ("etc/hosts", HOSTS),
];
/// How names are looked up is the supervisor's to say, which knows only later whether it answers.
const UNTIL_THE_SUPERVISOR_SAYS: [(&str, &str, &str); 2] = [
    ("etc/nsswitch.conf", NAME_SWITCH, NSSWITCH),
    ("etc/resolv.conf", RESOLVER_FILE, ""),
];

/// Detached copies of the host's trees, taken with the caller's own rights (so that a read-only
/// directory in the caller's home can be named) before the launcher becomes the room's root.
pub(crate) struct Sources {
    trees: Vec<(OwnedFd, PathBuf)>,
    links: Vec<(PathBuf, PathBuf)>,
    devices: Vec<(OwnedFd, String)>,
}

impl Sources {
    pub(crate) fn take(spec: &RoomSpec, mounts: Vec<OwnedFd>) -> Result<Self, StageFailure> {
        mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .at("make the mounts private")?;
        let mut sources = Self {
            trees: Vec::new(),
            links: Vec::new(),
            devices: Vec::new(),
        };
        for path in spec.system.iter().chain(&spec.etc) {
            sources.add(&ReadOnlyBind {
                source: path.clone(),
                target: path.clone(),
            })?;
        }
        for bind in &spec.read_only {
            sources.add(bind)?;
        }
        for (mount, target) in mounts.into_iter().zip(&spec.mounts) {
            sources.trees.push((mount, relative(target)?));
        }
        let more = spec.devices.iter().map(String::as_str);
        for name in DEVICES.into_iter().chain(more) {
            let tree = detached(Path::new(&format!("/dev/{name}")), NO_SUID | NO_EXECUTE)?;
            sources.devices.push((tree, name.to_owned()));
        }
        Ok(sources)
    }

    fn add(&mut self, bind: &ReadOnlyBind) -> Result<(), StageFailure> {
        let step = format!("look at `{}`", bind.source.display());
        let kind = fs::symlink_metadata(&bind.source).at(&step)?.file_type();
        let target = relative(&bind.target)?;
        if kind.is_symlink() {
            self.links
                .push((fs::read_link(&bind.source).at(&step)?, target));
        } else {
            let tree = detached(&bind.source, READ_ONLY | NO_SUID | NO_DEVICES)?;
            self.trees.push((tree, target));
        }
        Ok(())
    }
}

fn detached(path: &Path, attributes: u64) -> Result<OwnedFd, StageFailure> {
    let step = format!("bind `{}`", path.display());
    let recursive = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let tree = open_tree(CWD, path, recursive).at(&step)?;
    sys::set_mount_attributes(tree.as_fd(), attributes, libc::AT_RECURSIVE).at(&step)?;
    Ok(tree)
}

/// The same path below the new root; only plain components.
fn relative(path: &Path) -> Result<PathBuf, StageFailure> {
    let mut components = path.components();
    let rooted = components.next() == Some(Component::RootDir);
    let below = components.as_path().to_path_buf();
    let plain = below
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if rooted && plain && below.components().next().is_some() {
        return Ok(below);
    }
    let message = format!("`{}` is not an absolute path without `..`", path.display());
    Err(StageFailure::step("place a bind", message))
}

/// Builds the root and enters it. The caller is the room's uid 0 with all its capabilities.
pub(crate) fn build(sources: &Sources, spec: &RoomSpec) -> Result<(), StageFailure> {
    let root = tmpfs("size=4m,nr_inodes=4096,mode=0755");
    root.on(Path::new(SCAFFOLD), MountFlags::NODEV)?;
    std::env::set_current_dir(SCAFFOLD).at("enter the new root")?;
    skeleton(spec)?;
    devices(sources, spec)?;
    // Links first: `/lib64` may be needed to be a link for nothing, but a tree never replaces one.
    for (says, target) in &sources.links {
        make_parent(target)?;
        symlink(says, target).at(&format!("link `{}`", target.display()))?;
    }
    for (tree, target) in &sources.trees {
        attach(tree, target)?;
    }
    mount(
        "proc",
        "proc",
        "proc",
        flags() | MountFlags::NODEV | MountFlags::NOEXEC,
        None,
    )
    .map_err(|e| {
        StageFailure::mechanism(
            "private-procfs",
            e,
            "the host's /proc must not be partly covered: start proofroom outside of a \
                 container, or with an unmasked /proc",
        )
    })?;
    limit_system_v(spec.limits.shm_bytes)?;
    pivot()
}

/// Segments go with the last process that has them, and are no more together than `/dev/shm` may hold:
/// when the kernel ends a process for lack of memory, what it shared is freed after the process counts as
/// gone, and until then the kernel goes on to the next one (`exit_mmap`, `__oom_reap_task_mm` of mm/).
/// Queues and semaphores, which stay, are few: memory that is still there when its users have been killed
/// would starve the supervisor. The settings are those of the room's own IPC namespace (Linux 6.11 lets
/// its root make them).
fn limit_system_v(bytes: u64) -> Result<(), StageFailure> {
    let pages = (bytes / PAGE_BYTES).max(1);
    for (name, value) in [
        ("shm_rmid_forced", "1"),
        ("shmall", &pages.to_string()),
        ("shmmax", &bytes.to_string()),
        ("msgmni", "64"),
        ("sem", "250 16000 100 64"),
    ] {
        fs::write(Path::new("proc/sys/kernel").join(name), value)
            .at(&format!("limit System V by `{name}`"))?;
    }
    Ok(())
}

fn pivot() -> Result<(), StageFailure> {
    rustix::process::pivot_root(".", ".").at("pivot_root")?;
    unmount(".", UnmountFlags::DETACH).at("detach the host's root")?;
    std::env::set_current_dir("/").at("enter the root")?;
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, rustix::fs::Mode::empty()).at("open the root")?;
    sys::set_mount_attributes(root.as_fd(), READ_ONLY | NO_SUID | NO_DEVICES, 0)
        .at("make the root read-only")
}

fn skeleton(spec: &RoomSpec) -> Result<(), StageFailure> {
    for name in [
        "dev",
        "proc",
        "tmp",
        "workspace",
        "home",
        "home/agent",
        "etc",
        "run",
        "proofroom",
    ] {
        make_directory(Path::new(name))?;
    }
    for (path, text) in GENERATED {
        generate(Path::new(path), text)?;
    }
    let limits = spec.limits;
    let own = |bytes: u64, mode: &str| {
        let inodes = limits.inodes;
        tmpfs(&format!(
            "size={bytes},nr_inodes={inodes},mode={mode},uid={AGENT_ID},gid={AGENT_ID}"
        ))
    };
    if !spec
        .mounts
        .iter()
        .any(|target| target == Path::new(WORKSPACE))
    {
        own(limits.workspace_bytes, "0755").on(Path::new("workspace"), MountFlags::NODEV)?;
    }
    own(limits.tmp_bytes, "0755").on(Path::new("home/agent"), MountFlags::NODEV)?;
    own(limits.tmp_bytes, "1777").on(Path::new("tmp"), MountFlags::NODEV)?;
    tmpfs("size=1m,nr_inodes=64,mode=0755")
        .on(Path::new("run"), MountFlags::NODEV | MountFlags::NOEXEC)?;
    make_directory(Path::new("run/proofroom"))?;
    for (link, path, text) in UNTIL_THE_SUPERVISOR_SAYS {
        symlink(path, link).at(link)?;
        generate(&relative(Path::new(path))?, text)?;
    }
    Ok(())
}

fn generate(path: &Path, text: &str) -> Result<(), StageFailure> {
    let step = format!("make `{}`", path.display());
    fs::write(path, text).at(&step)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).at(&step)
}

fn devices(sources: &Sources, spec: &RoomSpec) -> Result<(), StageFailure> {
    tmpfs("size=64k,nr_inodes=64,mode=0755").on(Path::new("dev"), MountFlags::NOEXEC)?;
    for (tree, name) in &sources.devices {
        attach_file(tree, &Path::new("dev").join(name))?;
    }
    for (name, says) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(says, Path::new("dev").join(name)).at("link a standard stream")?;
    }
    make_directory(Path::new("dev/shm"))?;
    let shm = format!(
        "size={},nr_inodes=4096,mode=1777,uid={AGENT_ID},gid={AGENT_ID}",
        spec.limits.shm_bytes
    );
    tmpfs(&shm).on(Path::new("dev/shm"), MountFlags::NODEV | MountFlags::NOEXEC)
}

fn attach(tree: &OwnedFd, target: &Path) -> Result<(), StageFailure> {
    let step = format!("make `{}`", target.display());
    let kind = rustix::fs::fstat(tree).at(&step)?.st_mode;
    if rustix::fs::FileType::from_raw_mode(kind).is_dir() {
        if !target.is_dir() {
            make_parent(target)?;
            make_directory(target)?;
        }
        return move_to(tree, target);
    }
    make_parent(target)?;
    attach_file(tree, target)
}

fn attach_file(tree: &OwnedFd, target: &Path) -> Result<(), StageFailure> {
    if !target.is_file() {
        fs::write(target, "").at(&format!("make `{}`", target.display()))?;
    }
    move_to(tree, target)
}

fn move_to(tree: &OwnedFd, target: &Path) -> Result<(), StageFailure> {
    move_mount(
        tree,
        "",
        CWD,
        target,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .at(&format!("mount `{}`", target.display()))
}

fn make_parent(target: &Path) -> Result<(), StageFailure> {
    let mut path = PathBuf::new();
    for part in target.parent().into_iter().flat_map(Path::components) {
        path.push(part);
        if !path.is_dir() {
            make_directory(&path)?;
        }
    }
    Ok(())
}

fn make_directory(path: &Path) -> Result<(), StageFailure> {
    fs::DirBuilder::new()
        .mode(0o755)
        .create(path)
        .at(&format!("make `{}`", path.display()))
}

fn flags() -> MountFlags {
    MountFlags::NOSUID
}

struct Tmpfs(String);

fn tmpfs(options: &str) -> Tmpfs {
    Tmpfs(options.to_owned())
}

impl Tmpfs {
    fn on(&self, target: &Path, more: MountFlags) -> Result<(), StageFailure> {
        let step = format!("mount a tmpfs on `{}`", target.display());
        let options = std::ffi::CString::new(self.0.as_str()).at(&step)?;
        mount("tmpfs", target, "tmpfs", flags() | more, options.as_c_str()).at(&step)
    }
}
