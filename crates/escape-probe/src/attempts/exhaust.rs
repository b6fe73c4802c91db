//! Using everything up. Each ends at a cap of the room's; each stops by itself where there is none,
//! so that a machine without caps is not brought down. Made in a room whose caps are low.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    time::Duration,
};

use super::{failed_call, held, row};
use crate::{
    attempt::{Attempt, Trace, Tried},
    sys::{self, Ended, at, call, name},
};

/// How long a limit stays reached: the supervisor looks every quarter of a second, when it gets a
/// processor.
const HOLD: Duration = Duration::from_millis(1500);
/// Where an attempt gives up and calls itself an escape.
const MOST_PROCESSES: usize = 3_000;
const MOST_BYTES: u64 = 1 << 30;
const MOST_INODES: u32 = 100_000;
const PIECE: usize = 16 << 20;
/// The key of a segment.
const OUTLIVING: usize = 0x5052_4f43;

/// Using up the memory, each in a command of its own: on a slow machine the kernel may end the whole
/// command before the first process that it chose has given its memory back.
pub(super) const MEMORY: &[Attempt] = &[row(
    "A47",
    "memory",
    GROUPS,
    &[Trace::Limit("memory")],
    memory,
)];

/// The same in mappings that a process shares with its children.
pub(super) const SHARED: &[Attempt] = &[row(
    "A47",
    "memory-in-shared-mappings",
    GROUPS,
    &[Trace::Limit("memory")],
    shared,
)];

/// The same in a file of no file system: it is no process's own, so the kernel has nobody to name.
pub(super) const NAMELESS: &[Attempt] = &[row(
    "A47",
    "memory-in-a-nameless-file",
    GROUPS,
    &[Trace::Limit("memory")],
    nameless,
)];

const GROUPS: &str = "resource group of the room";
const SIZES: &str = "size limits of its file systems";
const LIMITS: &str = "resource limits of the process";

pub(super) const ATTEMPTS: &[Attempt] = &[
    row(
        "A47",
        "fork-bomb",
        GROUPS,
        &[Trace::Limit("processes")],
        fork_bomb,
    ),
    row(
        "A47",
        "thread-bomb",
        GROUPS,
        &[Trace::Limit("processes")],
        thread_bomb,
    ),
    row(
        "A47",
        "fill-the-temporary-directory",
        SIZES,
        &[Trace::Limit("disk")],
        || fill("/tmp/fill", 0),
    ),
    row(
        "A47",
        "fill-the-shared-memory",
        SIZES,
        &[Trace::Limit("disk")],
        || fill("/dev/shm/fill", 0),
    ),
    row(
        "A47",
        "fill-by-reserving",
        SIZES,
        &[Trace::Untold("own-limit")],
        reserve,
    ),
    row(
        "A47",
        "fill-the-inodes",
        SIZES,
        &[Trace::Limit("disk")],
        inodes,
    ),
    row(
        "A47",
        "one-endless-file",
        LIMITS,
        &[Trace::Untold("own-limit")],
        endless_file,
    ),
    row(
        "A47",
        "every-descriptor",
        LIMITS,
        &[Trace::Untold("own-limit")],
        descriptors,
    ),
    row(
        "A47",
        "message-queues-without-end",
        "limits of the room's own IPC namespace",
        &[Trace::Untold("own-limit")],
        queues,
    ),
    row(
        "A47",
        "memory-in-segments",
        "limits of the room's own IPC namespace",
        &[Trace::Untold("own-limit")],
        segments,
    ),
    row(
        "A47",
        "one-large-segment",
        "limits of the room's own IPC namespace",
        &[Trace::Untold("own-limit")],
        || failed_call(call(libc::SYS_shmget, &[0, 1 << 30, 0o1600])),
    ),
    row(
        "A47",
        "segments-that-outlive-their-process",
        "limits of the room's own IPC namespace",
        &[Trace::Untold("own-limit")],
        outliving,
    ),
    row(
        "A47",
        "locked-memory",
        LIMITS,
        &[Trace::Untold("own-limit")],
        locked,
    ),
    row(
        "A47",
        "flood-of-attempts",
        "supervisor: a bounded number is written, then a count",
        &[Trace::Limit("events")],
        flood,
    ),
];

fn fork_bomb() -> Tried {
    let mut children = Vec::new();
    let mut reached = None;
    while children.len() < MOST_PROCESSES {
        let started = sys::start_copy(|| {
            std::thread::sleep(Duration::from_secs(60));
            0
        });
        match started {
            Ok(pid) => children.push(pid),
            Err(errno) => {
                reached = Some(errno);
                break;
            }
        }
    }
    std::thread::sleep(HOLD);
    for child in &children {
        let number = usize::try_from(*child).unwrap_or(usize::MAX);
        call(libc::SYS_kill, &[number, 9]).ok();
    }
    for child in &children {
        sys::wait_for(*child);
    }
    let count = children.len();
    match reached {
        Some(errno) => Tried::Blocked(Some(errno), format!("after {count}")),
        None => Tried::Escaped(format!("{count} processes")),
    }
}

/// In a copy of the process, which ends with all its threads.
fn thread_bomb() -> Tried {
    let ended = sys::in_copy(|| {
        for _ in 0..MOST_PROCESSES {
            let thread = std::thread::Builder::new().stack_size(16 << 10);
            if thread
                .spawn(|| std::thread::sleep(Duration::from_secs(60)))
                .is_err()
            {
                std::thread::sleep(HOLD);
                return 1;
            }
        }
        0
    });
    held(ended == Ended::Code(1), format!("{ended:?}"))
}

fn fill(path: &str, from: u64) -> Tried {
    let piece = vec![b'x'; 1 << 20];
    let mut written = from;
    let filled = File::create(path).and_then(|mut file| {
        while written < MOST_BYTES {
            file.write_all(&piece)?;
            written = written.saturating_add(1 << 20);
        }
        Ok(())
    });
    std::thread::sleep(HOLD);
    drop(fs::remove_file(path));
    full(filled, &format!("after {written} bytes"))
}

/// No room, too large a file, or a limit of the user's: each is a cap.
fn full(done: io::Result<()>, detail: &str) -> Tried {
    match done {
        Ok(()) => Tried::Escaped(detail.to_owned()),
        Err(error) => Tried::Blocked(error.raw_os_error(), format!("{error} {detail}")),
    }
}

fn reserve() -> Tried {
    let path = "/tmp/reserved";
    let reserved = File::create(path).map(|file| {
        let number = usize::try_from(std::os::fd::AsRawFd::as_raw_fd(&file)).unwrap_or(usize::MAX);
        failed_call(call(libc::SYS_fallocate, &[number, 0, 0, 1 << 30]))
    });
    drop(fs::remove_file(path));
    reserved.unwrap_or_else(|error| Tried::NotApplicable(error.to_string()))
}

fn inodes() -> Tried {
    let mut made = 0;
    let filled = fs::create_dir("/tmp/many").and_then(|()| {
        while made < MOST_INODES {
            std::os::unix::fs::symlink("x", format!("/tmp/many/{made}"))?;
            made = made.saturating_add(1);
        }
        Ok(())
    });
    std::thread::sleep(HOLD);
    drop(fs::remove_dir_all("/tmp/many"));
    full(filled, &format!("after {made}"))
}

/// A file with a hole of a tebibyte. The kernel kills who goes past the limit.
fn endless_file() -> Tried {
    let path = "/tmp/endless";
    let ended = sys::in_copy(|| {
        let grown = File::create(path).and_then(|file| file.set_len(1 << 40));
        u8::from(grown.is_err())
    });
    drop(fs::remove_file(path));
    held(ended != Ended::Code(0), format!("{ended:?}"))
}

fn descriptors() -> Tried {
    let Ok(file) = File::open("/dev/null") else {
        return Tried::NotApplicable("no /dev/null".to_owned());
    };
    let mut open = Vec::new();
    while open.len() < 1 << 20 {
        match file.try_clone() {
            Ok(one) => open.push(one),
            Err(error) => {
                let count = open.len();
                return Tried::Blocked(error.raw_os_error(), format!("after {count}"));
            }
        }
    }
    Tried::Escaped(format!("{} descriptors", open.len()))
}

/// Memory that is used, until the kernel ends it. Whoever is ended is this copy, not the supervisor:
/// later attempts would not be recorded.
fn memory() -> Tried {
    let ended = sys::in_copy(|| {
        let mut held_on = Vec::new();
        for _ in 0..160 {
            held_on.push(vec![b'x'; PIECE]);
        }
        u8::try_from(held_on.len() % 2).unwrap_or(0)
    });
    held(!matches!(ended, Ended::Code(_)), format!("{ended:?}"))
}

fn shared() -> Tried {
    let ended = sys::in_copy(|| {
        for _ in 0..160 {
            // readable and writable, shared and anonymous
            let mapped = call(libc::SYS_mmap, &[0, PIECE, 3, 0x21, usize::MAX, 0]);
            let Ok(address) = mapped else { return 1 };
            sys::touch(address, PIECE);
        }
        0
    });
    held(!matches!(ended, Ended::Code(_)), format!("{ended:?}"))
}

fn nameless() -> Tried {
    let ended = sys::in_copy(|| {
        let piece = vec![b'x'; PIECE];
        let Ok(file) = call(libc::SYS_memfd_create, &[at(c"x"), 0]) else {
            return 2;
        };
        for _ in 0..160 {
            if call(libc::SYS_write, &[file, at(&*piece), PIECE]).is_err() {
                return 1;
            }
        }
        0
    });
    held(ended != Ended::Code(0), format!("{ended:?}"))
}

/// The same in segments, of a size that fits by itself. They end with the copy, as all segments here.
fn segments() -> Tried {
    const ONE: usize = 1 << 20;
    let ended = sys::in_copy(|| {
        for _ in 0..MOST_BYTES / (1 << 20) {
            let made = call(libc::SYS_shmget, &[0, ONE, 0o1600]);
            let Ok(segment) = made else { return 1 };
            let Ok(address) = call(libc::SYS_shmat, &[segment, 0, 0]) else {
                return 2;
            };
            sys::touch(address, ONE);
        }
        0
    });
    held(ended == Ended::Code(1), format!("{ended:?}"))
}

/// What a message queue holds is the kernel's memory, and stays when every process has ended.
fn queues() -> Tried {
    const MANY: usize = 1_000;
    let mut made = Vec::new();
    let mut reached = None;
    while made.len() < MANY {
        match call(libc::SYS_msgget, &[0, 0o1600]) {
            Ok(queue) => made.push(queue),
            Err(errno) => {
                reached = Some(errno);
                break;
            }
        }
    }
    let count = made.len();
    for queue in made {
        call(libc::SYS_msgctl, &[queue, 0, 0]).ok();
    }
    match reached {
        Some(errno) => Tried::Blocked(Some(errno), format!("after {count} queues")),
        None => Tried::Escaped(format!("{count} queues")),
    }
}

/// A segment that nobody removed must be gone with the process that had it.
fn outliving() -> Tried {
    let ended = sys::in_copy(|| {
        let made = call(libc::SYS_shmget, &[OUTLIVING, 1 << 20, 0o1600]);
        let attached = made.and_then(|segment| call(libc::SYS_shmat, &[segment, 0, 0]));
        u8::from(attached.is_err())
    });
    let found = call(libc::SYS_shmget, &[OUTLIVING, 0, 0]);
    if let Ok(segment) = found {
        call(libc::SYS_shmctl, &[segment, 0, 0]).ok();
    }
    held(
        ended == Ended::Code(0) && found.is_err(),
        format!("{ended:?}, then {found:?}"),
    )
}

fn locked() -> Tried {
    let memory = vec![0_u8; 1 << 30];
    failed_call(call(libc::SYS_mlock, &[at(&*memory), memory.len()]))
}

/// A thousand different attempts. More than a command's record holds, so this comes last.
fn flood() -> Tried {
    let mut refused = 0_u32;
    for number in 0..1_000 {
        let Ok(path) = std::ffi::CString::new(format!("/root/{number}")) else {
            continue;
        };
        let opened = call(libc::SYS_openat, &[sys::HERE, name(&path), 0, 0]);
        refused = refused.saturating_add(u32::from(opened.is_err()));
    }
    held(refused == 1_000, format!("{refused} refused"))
}
