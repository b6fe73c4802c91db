//! Files and paths: links, working directories, names that do not resolve, races, aliases.

use std::{
    ffi::CString,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering},
    time::{Duration, Instant},
};

use super::{by, each, failed, failed_call, held, row};
use crate::{
    attempt::{Attempt, Trace, Tried},
    sys::{HERE, call, name},
};

const fn file(path: &'static str, access: &'static str) -> Trace {
    Trace::File(path, access)
}

pub(super) const ATTEMPTS: &[Attempt] = &[
    row(
        "A1",
        "read-through-a-link",
        by::ROOT,
        &[file("/etc/shadow", "read")],
        || through("a1-file", "/etc/shadow", read),
    ),
    row(
        "A1",
        "read-through-a-link-to-the-root",
        by::ROOT,
        &[file("/root/.ssh/id_rsa", "read")],
        || {
            through("a1-root", "/", |path| {
                read(&format!("{path}/root/.ssh/id_rsa"))
            })
        },
    ),
    row(
        "A1",
        "write-through-a-link",
        by::FILES,
        &[file("/etc/passwd", "write")],
        || through("a1-write", "/etc/passwd", write),
    ),
    row(
        "A1",
        "create-through-a-link",
        by::FILES,
        &[file("/usr/a1-owned", "write")],
        || through("a1-usr", "/usr", |path| write(&format!("{path}/a1-owned"))),
    ),
    row(
        "A1",
        "write-through-links-in-a-row",
        by::FILES,
        &[file("/usr/a1-chained", "write")],
        chained,
    ),
    row(
        "A1",
        "read-through-a-magic-link",
        by::ROOT,
        &[file("/etc/gshadow", "read")],
        || read("/proc/self/root/etc/gshadow"),
    ),
    row(
        "A2",
        "write-from-another-working-directory",
        by::FILES,
        &[file("/usr/a2-owned", "write")],
        || from("/usr", || write("a2-owned")),
    ),
    row(
        "A2",
        "climb-above-the-root",
        by::ROOT,
        &[file("/etc/shadow", "read")],
        || from("/", || read("../../../etc/shadow")),
    ),
    row(
        "A2",
        "change-to-directories-of-the-host",
        by::ROOT,
        &[Trace::Untold("looking")],
        host_directories,
    ),
    row(
        "A3",
        "climb-over-a-missing-directory",
        by::FILES,
        &[file("/etc/shadow-", "read")],
        || read("/workspace/missing/../../etc/shadow-"),
    ),
    row(
        "A3",
        "create-over-a-missing-directory",
        by::FILES,
        &[file("/a3-owned", "write")],
        || write("/workspace/missing/../../a3-owned"),
    ),
    row(
        "A3",
        "create-in-a-directory-that-is-not-there",
        by::FILES,
        &[file("/var/lib/a3-owned", "write")],
        || write("/var/lib/a3-owned"),
    ),
    row(
        "A4",
        "create-configuration-of-the-machine",
        by::FILES,
        CONFIGURATION,
        configuration,
    ),
    row(
        "A5",
        "other-spellings-of-a-path",
        by::FILES,
        &[file("/etc/shadow", "read")],
        spellings,
    ),
    row(
        "A6",
        "link-swapped-between-check-and-open",
        by::FILES,
        &[file("/etc/passwd", "write")],
        swapped_link,
    ),
    row(
        "A6",
        "path-bytes-swapped-between-check-and-open",
        by::FILES,
        &[file("/etc/passwd", "write")],
        swapped_bytes,
    ),
    row(
        "A6",
        "link-swapped-between-check-and-hard-link",
        by::FILES,
        &[file("/etc/passwd", "link")],
        linked,
    ),
    row(
        "A6",
        "link-swapped-between-check-and-change",
        by::FILES,
        &[file("/etc/hosts", "chmod")],
        changed,
    ),
    row(
        "A6",
        "directory-swapped-below-a-walk",
        by::FILES,
        &[file("/usr/a6-owned", "write")],
        swapped_directory,
    ),
    row(
        "A7",
        "tree-that-a-copy-would-follow",
        by::ROOT,
        &[Trace::Untold("own")],
        climbing_tree,
    ),
    row(
        "A10",
        "planted-link-at-a-temporary-name",
        by::FILES,
        &[file("/usr/a10-owned", "write")],
        planted,
    ),
    row(
        "A13",
        "hard-link-to-a-program",
        by::FILES,
        &[file("/usr/bin/env", "link")],
        || failed(fs::hard_link("/usr/bin/env", "/workspace/a13")),
    ),
    row(
        "A13",
        "hard-link-to-passwd",
        by::FILES,
        &[file("/etc/passwd", "link")],
        || failed(fs::hard_link("/etc/passwd", "/workspace/a13-passwd")),
    ),
    row(
        "own",
        "rename-a-file-of-the-system",
        by::FILES,
        &[file("/etc/passwd", "rename")],
        || failed(fs::rename("/etc/passwd", "/workspace/moved")),
    ),
    row(
        "own",
        "rename-over-a-file-of-the-system",
        by::FILES,
        &[file("/etc/hosts", "rename")],
        || {
            drop(fs::write("/workspace/over", "127.0.0.1 evil\n"));
            failed(fs::rename("/workspace/over", "/etc/hosts"))
        },
    ),
    row(
        "own",
        "change-the-times-of-a-file",
        by::FILES,
        &[file("/etc/passwd", "times")],
        || {
            failed_call(call(
                libc::SYS_utimensat,
                &[HERE, name(c"/etc/passwd"), 0, 0],
            ))
        },
    ),
    row(
        "own",
        "remove-a-file-of-the-system",
        by::FILES,
        &[file("/etc/hosts", "remove")],
        || failed(fs::remove_file("/etc/hosts")),
    ),
    row(
        "own",
        "truncate-a-file-of-the-system",
        by::FILES,
        &[file("/etc/group", "truncate")],
        || failed_call(call(libc::SYS_truncate, &[name(c"/etc/group"), 0])),
    ),
    row(
        "own",
        "replace-the-programs-of-the-room",
        by::FILES,
        &[file("/proofroom/proofroom-guest", "write")],
        || write("/proofroom/proofroom-guest"),
    ),
];

/// What is read is not told; only how much.
fn read(path: &str) -> Tried {
    failed(fs::read(path).map(|bytes| format!("{path}: {} bytes", bytes.len())))
}

/// Opens for writing, and changes nothing.
fn write(path: &str) -> Tried {
    failed(opened(path).map(|_| path.to_owned()))
}

fn opened(path: &str) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

fn through(link: &str, says: &str, then: impl FnOnce(&str) -> Tried) -> Tried {
    let link = format!("/workspace/{link}");
    if let Err(error) = symlink(says, &link) {
        return Tried::NotApplicable(format!("no link: {error}"));
    }
    let tried = then(&link);
    drop(fs::remove_file(&link));
    tried
}

fn chained() -> Tried {
    through("a1-one", "/", |_| {
        through("a1-two", "/workspace/a1-one/usr", |path| {
            write(&format!("{path}/a1-chained"))
        })
    })
}

fn from(directory: &str, then: impl FnOnce() -> Tried) -> Tried {
    if let Err(error) = std::env::set_current_dir(directory) {
        return Tried::NotApplicable(error.to_string());
    }
    let tried = then();
    drop(std::env::set_current_dir("/workspace"));
    tried
}

/// Directories that a machine has and a room has not.
fn host_directories() -> Tried {
    let tried = [
        "/root",
        "/home",
        "/var/lib",
        "/var/log",
        "/srv",
        "/boot",
        "/mnt",
        "/sys/kernel",
    ]
    .map(|path| match fs::read_dir(path) {
        Ok(entries) => {
            let names: Vec<_> = entries.flatten().map(|one| one.file_name()).collect();
            // the agent's own home is below /home
            held(
                names.iter().all(|one| one == "agent"),
                format!("{path}: {names:?}"),
            )
        }
        Err(error) => Tried::Blocked(error.raw_os_error(), error.to_string()),
    });
    let tried = each(tried);
    drop(std::env::set_current_dir("/workspace"));
    tried
}

const CONFIGURATION: &[Trace] = &[
    file("/etc/gitconfig", "write"),
    file("/etc/ld.so.preload", "write"),
    file("/etc/profile", "write"),
    file("/etc/sudoers", "write"),
    file("/root/.claude/settings.json", "write"),
    file("/proofroom/policy.toml", "write"),
    file("/usr/lib/git-core/git-proofroom", "write"),
];

fn configuration() -> Tried {
    each(CONFIGURATION.iter().filter_map(|trace| match trace {
        Trace::File(path, _) => Some(write(path)),
        _ => None,
    }))
}

fn spellings() -> Tried {
    let spelled = [
        "/etc/./shadow",
        "//etc///shadow",
        "/etc/../etc/shadow",
        "/etc/ssl/../shadow",
        "/proc/self/root/etc/shadow",
        "/proc/thread-self/root/../etc/shadow",
        "/dev/fd/../root/etc/shadow",
        "/ETC/SHADOW",
        "/etc/shadow/",
        "/etc/ſhadow",
        "/etc/shadow\u{200b}",
    ];
    each(spelled.map(read))
}

const SWAPS: u32 = 10_000;
const TRIES: u32 = 10_000;
/// Fewer of either are no race.
const FEWEST: u32 = 100;
/// An emulated processor comes less far.
const LONGEST: Duration = Duration::from_secs(3);
const MINE: &str = "/workspace/a6/mine";

/// Swaps by `swap` on another thread while `open` is tried; wins are files that are not in the
/// workspace.
fn race(swap: impl Fn() + Sync, open: impl Fn() -> io::Result<File>) -> Tried {
    race_for(swap, || {
        let file = open()?;
        let own = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        let path = fs::read_link(own).unwrap_or_default();
        Ok((!path.starts_with("/workspace")).then_some(path))
    })
}

/// The same for anything that says what it won. Goes on until both sides had their turns.
fn race_for(swap: impl Fn() + Sync, attempt: impl Fn() -> io::Result<Option<PathBuf>>) -> Tried {
    let (done, swaps) = (AtomicBool::new(false), AtomicU32::new(0));
    let (mut tries, mut came, mut wins) = (0_u32, 0_u32, Vec::new());
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                swap();
                swaps.fetch_add(1, Ordering::Relaxed);
            }
        });
        while start.elapsed() < LONGEST && (tries < TRIES || swaps.load(Ordering::Relaxed) < SWAPS)
        {
            tries = tries.saturating_add(1);
            let Ok(won) = attempt() else { continue };
            came = came.saturating_add(1);
            wins.extend(won);
        }
        done.store(true, Ordering::Release);
    });
    let swaps = swaps.into_inner();
    if swaps < FEWEST || tries < FEWEST {
        return Tried::NotApplicable(format!("no race: {swaps} swaps, {tries} tries"));
    }
    let detail = format!("{swaps} swaps, {tries} tries, {came} went through, wins: {wins:?}");
    held(wins.is_empty(), detail)
}

fn stage(links: &[(&str, &str)]) -> io::Result<()> {
    drop(fs::remove_dir_all("/workspace/a6"));
    fs::create_dir("/workspace/a6")?;
    fs::write(MINE, "mine")?;
    for (link, says) in links {
        symlink(says, link)?;
    }
    Ok(())
}

/// `renameat2` with `RENAME_EXCHANGE`.
fn exchange(one: &str, other: &str) -> impl Fn() + Sync {
    let (one, other) = (CString::new(one), CString::new(other));
    move || {
        if let (Ok(one), Ok(other)) = (&one, &other) {
            let arguments = [HERE, name(one), HERE, name(other), 2];
            // what counts is what the opener gets
            call(libc::SYS_renameat2, &arguments).ok();
        }
    }
}

fn swapped_link() -> Tried {
    let (swap, other) = ("/workspace/a6/swap", "/workspace/a6/other");
    if let Err(error) = stage(&[(swap, MINE), (other, "/etc/passwd")]) {
        return Tried::NotApplicable(error.to_string());
    }
    race(exchange(swap, other), || opened(swap))
}

fn swapped_directory() -> Tried {
    let (swap, other) = ("/workspace/a6/swap", "/workspace/a6/other");
    let staged = stage(&[(other, "/usr")]).and_then(|()| fs::create_dir(swap));
    if let Err(error) = staged {
        return Tried::NotApplicable(error.to_string());
    }
    race(exchange(swap, other), || {
        opened("/workspace/a6/swap/a6-owned")
    })
}

/// A hard link to what the link says, which would make a file of the system one's own.
fn linked() -> Tried {
    let (swap, other) = ("/workspace/a6/swap", "/workspace/a6/other");
    if let Err(error) = stage(&[(swap, "/etc/passwd"), (other, MINE)]) {
        return Tried::NotApplicable(error.to_string());
    }
    let (from, to) = (c"/workspace/a6/swap", c"/workspace/a6/hard");
    let hard = |flags| call(libc::SYS_linkat, &[HERE, name(from), HERE, name(to), flags]);
    let original = fs::metadata("/etc/passwd").map(|meta| meta.ino()).ok();
    // the link as it is, then what it says
    let first = failed_call(call(
        libc::SYS_linkat,
        &[HERE, name(c"/etc/passwd"), HERE, name(to), 0],
    ));
    let raced = race_for(exchange(swap, other), || {
        hard(0x400).map_err(io::Error::from_raw_os_error)?;
        let made = fs::metadata("/workspace/a6/hard")?.ino();
        fs::remove_file("/workspace/a6/hard")?;
        Ok((original == Some(made)).then(|| "/etc/passwd".into()))
    });
    each([first, raced])
}

/// A change of mode of what the link says.
fn changed() -> Tried {
    let (swap, other) = ("/workspace/a6/swap", "/workspace/a6/other");
    if let Err(error) = stage(&[(swap, MINE), (other, "/etc/hosts")]) {
        return Tried::NotApplicable(error.to_string());
    }
    let mode = || fs::metadata("/etc/hosts").map(|meta| meta.mode()).ok();
    let before = mode();
    race_for(exchange(swap, other), || {
        let changed = call(
            libc::SYS_fchmodat,
            &[HERE, name(c"/workspace/a6/swap"), 0o600],
        );
        changed.map_err(io::Error::from_raw_os_error)?;
        Ok((mode() != before).then(|| "/etc/hosts".into()))
    })
}

/// The path lies in memory that another thread writes: what the supervisor reads is not what the
/// kernel reads. Both spellings have the same length.
fn swapped_bytes() -> Tried {
    const ONE: &[u8] = b"/workspace/a6/mine\0";
    const OTHER: &[u8] = b"/////////etc/passwd\0";
    static PATH: [AtomicU8; 20] = [const { AtomicU8::new(0) }; 20];
    if let Err(error) = stage(&[]) {
        return Tried::NotApplicable(error.to_string());
    }
    let spell = |bytes: &[u8]| {
        for (place, byte) in PATH.iter().zip(bytes) {
            place.store(*byte, Ordering::Relaxed);
        }
    };
    spell(ONE);
    race(
        || {
            spell(OTHER);
            std::hint::spin_loop();
            spell(ONE);
        },
        || {
            let opened = call(libc::SYS_openat, &[HERE, crate::sys::at(&PATH), 2, 0]);
            let number = opened.map_err(io::Error::from_raw_os_error)?;
            crate::sys::adopt(number)
        },
    )
}

/// What a tool that copies the workspace would follow or trip over. It is left behind: the host
/// must end the session as if it were not there.
fn climbing_tree() -> Tried {
    let made = fs::create_dir_all("/workspace/a7/deep")
        .and_then(|()| symlink("/etc/shadow", "/workspace/a7/shadow"))
        .and_then(|()| symlink("../../../../../../..", "/workspace/a7/deep/up"))
        .and_then(|()| symlink("loop", "/workspace/a7/loop"));
    let pipe = call(
        libc::SYS_mknodat,
        &[HERE, name(c"/workspace/a7/pipe"), 0o010_644, 0],
    );
    match (made, pipe) {
        (Ok(()), Ok(_)) => Tried::Blocked(None, "left for the host to step on".to_owned()),
        (Err(error), _) => Tried::NotApplicable(error.to_string()),
        (_, Err(errno)) => Tried::NotApplicable(super::name_of(errno)),
    }
}

/// A name that somebody else might open in `/tmp`, made beforehand as a link.
fn planted() -> Tried {
    let link = "/tmp/proofroom-a10";
    if let Err(error) = symlink("/usr/a10-owned", link) {
        return Tried::NotApplicable(error.to_string());
    }
    let exclusive = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(link);
    let tried = each([failed(exclusive), write(link)]);
    let reached = Path::new("/usr/a10-owned").exists();
    drop(fs::remove_file(link));
    if reached {
        return Tried::Escaped("the link was followed".to_owned());
    }
    tried
}
