//! What an earlier room left: files, segments, keys, memory. `act leave` is run in a room before.

use std::{
    fs::{self, File},
    io::Read as _,
    path::Path,
};

use super::{failed_call, held, refused, row};
use crate::{
    attempt::{Attempt, Trace, Tried},
    sys::{self, call, name},
};

const FRESH: &str = "every room has its own, made for it and gone with it";
const KERNEL: &str = "the kernel clears what it gives";
const NOTHING: &[Trace] = &[Trace::Untold("nothing-there")];
/// Written by `act leave`. Half of it is kept apart, so that this program does not find itself.
const CANARY: [&str; 2] = ["residue-canary-5b1f", "0c77d94e2a68"];
/// The key of the segments, queues and semaphores that are left.
const KEY: usize = 0x5052_4f42;
const SEARCHED: usize = 128 << 20;

pub(super) const ATTEMPTS: &[Attempt] = &[
    row(
        "A50",
        "files-in-the-temporary-directory",
        FRESH,
        NOTHING,
        || empty("/tmp"),
    ),
    row("A50", "files-in-the-home-directory", FRESH, NOTHING, || {
        empty("/home/agent")
    }),
    row("A50", "files-in-the-shared-memory", FRESH, NOTHING, || {
        empty("/dev/shm")
    }),
    row("A50", "files-in-the-workspace", FRESH, NOTHING, || {
        held(
            !Path::new("/workspace/left").exists(),
            "no `left`".to_owned(),
        )
    }),
    row("A50", "shared-segment", FRESH, NOTHING, || {
        failed_call(call(libc::SYS_shmget, &[KEY, 4096, 0]))
    }),
    row("A50", "message-queue-of-system-v", FRESH, NOTHING, || {
        failed_call(call(libc::SYS_msgget, &[KEY, 0]))
    }),
    row("A50", "semaphores", FRESH, NOTHING, || {
        failed_call(call(libc::SYS_semget, &[KEY, 1, 0]))
    }),
    row("A50", "lists-of-segments", FRESH, NOTHING, lists),
    row(
        "A50",
        "session-keyring",
        super::by::SECCOMP,
        &[Trace::Syscall("keyctl")],
        || {
            refused(call(
                libc::SYS_keyctl,
                &[10, sys::minus(3), name(c"user"), name(c"proofroom-left"), 0],
            ))
        },
    ),
    row("A50", "processes-of-before", FRESH, NOTHING, processes),
    row("A50", "fresh-memory", KERNEL, NOTHING, fresh_memory),
    row("A50", "fresh-file-blocks", KERNEL, NOTHING, fresh_blocks),
    row(
        "A50",
        "fresh-pipe-and-socket-buffers",
        KERNEL,
        NOTHING,
        fresh_buffers,
    ),
];

/// Leaves the canary wherever a command can leave something.
pub(super) fn leave() -> u8 {
    let canary = CANARY.concat();
    let places = [
        "/tmp/left",
        "/home/agent/left",
        "/dev/shm/left",
        "/workspace/left",
    ];
    let written = places.iter().all(|path| fs::write(path, &canary).is_ok());
    let large = canary.repeat((32 << 20) / canary.len().max(1));
    let filled = fs::write("/tmp/large", &large).is_ok();
    drop(fs::remove_file("/tmp/large"));
    let segment = call(libc::SYS_shmget, &[KEY, 4096, 0o1666]);
    let queue = call(libc::SYS_msgget, &[KEY, 0o1666]);
    let semaphores = call(libc::SYS_semget, &[KEY, 1, 0o1666]);
    let all = written && filled && segment.is_ok() && queue.is_ok() && semaphores.is_ok();
    u8::from(!all)
}

fn empty(directory: &str) -> Tried {
    match fs::read_dir(directory) {
        Ok(entries) => {
            let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
            held(names.is_empty(), format!("{names:?}"))
        }
        Err(error) => Tried::NotApplicable(error.to_string()),
    }
}

/// Each list begins with a line of titles.
fn lists() -> Tried {
    let lines: usize = ["shm", "msg", "sem"]
        .iter()
        .filter_map(|list| fs::read_to_string(format!("/proc/sysvipc/{list}")).ok())
        .map(|text| text.lines().count().saturating_sub(1))
        .sum();
    held(lines == 0, format!("{lines} entries"))
}

/// Numbers begin anew with every command; a large one would tell of others.
fn processes() -> Tried {
    let own = std::process::id();
    held(own < 100, format!("this is process {own}"))
}

fn finds(bytes: &[u8]) -> bool {
    let [first, second] = CANARY;
    bytes
        .windows(first.len())
        .zip(
            bytes
                .get(first.len()..)
                .unwrap_or_default()
                .windows(second.len()),
        )
        .any(|(one, other)| one == first.as_bytes() && other == second.as_bytes())
}

fn fresh_memory() -> Tried {
    // given by the kernel as it is: what is asked for as zeros would hide what was there
    let mut memory: Vec<u8> = Vec::with_capacity(SEARCHED);
    let fresh = sys::spare(&mut memory);
    held(
        fresh.iter().all(|byte| *byte == 0),
        format!("{} bytes", fresh.len()),
    )
}

fn fresh_blocks() -> Tried {
    let path = "/tmp/fresh";
    let read = File::create_new(path).and_then(|file| {
        file.set_len(32 << 20)?;
        fs::read(path)
    });
    drop(fs::remove_file(path));
    match read {
        Ok(bytes) => held(
            bytes.iter().all(|byte| *byte == 0),
            format!("{} bytes", bytes.len()),
        ),
        Err(error) => Tried::NotApplicable(error.to_string()),
    }
}

fn fresh_buffers() -> Tried {
    use std::os::unix::net::UnixStream;
    let Ok((one, mut other)) = UnixStream::pair() else {
        return Tried::NotApplicable("no pair".to_owned());
    };
    drop(one);
    let mut bytes = Vec::new();
    let read = other.read_to_end(&mut bytes);
    held(
        read.is_ok() && !finds(&bytes) && bytes.is_empty(),
        format!("{} bytes", bytes.len()),
    )
}
