//! Other processes: the room's first one, the supervisor, and whoever else the kernel knows.

use std::{
    fs,
    io::Write as _,
    os::fd::AsRawFd as _,
    path::Path,
    process::{Command, Stdio},
};

use super::{by, each, failed, held, refused, row};
use crate::{
    attempt::{Attempt, Trace, Tried},
    sys::{self, at, call, name},
};

const fn of(call: &'static str) -> Trace {
    Trace::Process(call)
}

macro_rules! file_of_first {
    ($name:literal, $path:literal) => {
        row("A12", $name, by::PROCFS, &[Trace::Secret($path)], || {
            failed(fs::read($path).map(|bytes| bytes.len()))
        })
    };
}

macro_rules! on_first {
    ($id:literal, $name:literal, $call:ident, $trace:literal, [$($argument:expr),*]) => {
        row($id, $name, by::SECCOMP, &[of($trace)], || {
            refused(call(libc::$call, &[$($argument),*]))
        })
    };
}

pub(super) const ATTEMPTS: &[Attempt] = &[
    file_of_first!("environment-of-process-1", "/proc/1/environ"),
    file_of_first!("memory-of-process-1", "/proc/1/mem"),
    file_of_first!("maps-of-process-1", "/proc/1/maps"),
    file_of_first!("command-line-of-process-1", "/proc/1/cmdline"),
    file_of_first!("stack-of-process-1", "/proc/1/stack"),
    file_of_first!("limits-of-process-1", "/proc/1/limits"),
    row(
        "A12",
        "descriptors-of-process-1",
        by::PROCFS,
        &[Trace::Secret("/proc/1/fd")],
        || failed(fs::read_dir("/proc/1/fd").map(Iterator::count)),
    ),
    row(
        "A44",
        "root-of-process-1",
        by::PROCFS,
        &[Trace::Secret("/proc/1/root/etc/shadow")],
        || failed(fs::read("/proc/1/root/etc/shadow").map(|bytes| bytes.len())),
    ),
    row(
        "A44",
        "program-of-process-1-for-writing",
        by::PROCFS,
        &[Trace::Secret("/proc/1/exe")],
        || failed(fs::OpenOptions::new().write(true).open("/proc/1/exe")),
    ),
    row(
        "A12",
        "memory-of-a-process-outside",
        by::PROCFS,
        &[of("/proc/31337/mem")],
        || failed(fs::read("/proc/31337/mem").map(|bytes| bytes.len())),
    ),
    row(
        "A12",
        "every-process-by-number",
        by::PROCFS,
        &[of("/proc/2000/environ")],
        strangers,
    ),
    row(
        "A12",
        "processes-that-are-listed",
        by::PROCFS,
        &[Trace::Untold("nothing-there")],
        listed,
    ),
    on_first!("A12", "ptrace-attach", SYS_ptrace, "ptrace", [16, 1, 0, 0]),
    on_first!(
        "A12",
        "ptrace-seize",
        SYS_ptrace,
        "ptrace",
        [0x4206, 1, 0, 0]
    ),
    on_first!(
        "A12",
        "ptrace-of-an-own-child",
        SYS_ptrace,
        "ptrace",
        [0, 0, 0, 0]
    ),
    on_first!(
        "A12",
        "read-memory-of-process-1",
        SYS_process_vm_readv,
        "process_vm_readv",
        [1, 0, 0, 0, 0, 0]
    ),
    on_first!(
        "A12",
        "write-memory-of-process-1",
        SYS_process_vm_writev,
        "process_vm_writev",
        [1, 0, 0, 0, 0, 0]
    ),
    on_first!(
        "A12",
        "descriptor-of-process-1",
        SYS_pidfd_open,
        "pidfd_open",
        [1, 0]
    ),
    on_first!(
        "A12",
        "take-a-descriptor",
        SYS_pidfd_getfd,
        "pidfd_getfd",
        [0, 0, 0]
    ),
    on_first!(
        "A12",
        "compare-with-process-1",
        SYS_kcmp,
        "kcmp",
        [1, 1, 0, 0, 0]
    ),
    on_first!("own", "kill-process-1", SYS_kill, "kill", [1, 9]),
    on_first!(
        "own",
        "kill-a-thread-of-process-1",
        SYS_tgkill,
        "tgkill",
        [1, 1, 9]
    ),
    on_first!(
        "own",
        "queue-a-signal-to-process-1",
        SYS_rt_sigqueueinfo,
        "rt_sigqueueinfo",
        [1, 9, 0]
    ),
    on_first!(
        "own",
        "limits-of-process-1-by-call",
        SYS_prlimit64,
        "prlimit64",
        [1, 4, 0, at(&[0_u64; 2])]
    ),
    row(
        "own",
        "advise-memory-of-process-1",
        by::SECCOMP,
        &[Trace::Syscall("process_madvise")],
        || refused(call(libc::SYS_process_madvise, &[usize::MAX, 0, 0, 4, 0])),
    ),
    row(
        "own",
        "kill-everybody",
        by::PROCFS,
        &[Trace::Untold("own")],
        kill_everybody,
    ),
    row(
        "A39",
        "join-the-namespaces-of-process-1",
        by::SECCOMP,
        &[Trace::Secret("/proc/1/ns/net"), Trace::Syscall("setns")],
        join,
    ),
    row(
        "A12",
        "core-dump",
        by::KERNEL,
        &[Trace::Untold("own")],
        core_dump,
    ),
    row(
        "A12",
        "core-handler",
        by::FILES,
        &[Trace::File("/proc/sys/kernel/core_pattern", "write")],
        || {
            failed(
                fs::OpenOptions::new()
                    .write(true)
                    .open("/proc/sys/kernel/core_pattern"),
            )
        },
    ),
    row(
        "A11",
        "copied-program",
        by::FILES,
        &[Trace::Started("/workspace/a11-copy"), SHADOW],
        copied,
    ),
    row(
        "A11",
        "program-by-a-root-alias",
        by::FILES,
        &[Trace::Started("/workspace/escape-probe"), SHADOW],
        || as_program("/proc/self/root/workspace/escape-probe"),
    ),
    row(
        "A11",
        "program-by-its-own-alias",
        by::FILES,
        &[Trace::Started("/workspace/escape-probe"), SHADOW],
        || as_program("/proc/self/exe"),
    ),
    row("A11", "program-in-memory", by::FILES, &[SHADOW], in_memory),
    row("A38", "helper-process", by::SECCOMP, &[PACKET], || {
        helper(packet)
    }),
    row(
        "A38",
        "helper-whose-parent-is-gone",
        by::SECCOMP,
        &[PACKET],
        orphaned_helper,
    ),
    row(
        "A38",
        "helper-in-a-session-of-its-own",
        by::SECCOMP,
        &[PACKET],
        || {
            helper(|| {
                call(libc::SYS_setsid, &[]).ok();
                packet()
            })
        },
    ),
    row("A38", "helper-thread", by::SECCOMP, &[PACKET], || {
        std::thread::spawn(|| refused(call(libc::SYS_socket, &[17, 3, 0])))
            .join()
            .unwrap_or_else(|_| Tried::NotApplicable("the thread died".to_owned()))
    }),
    row(
        "A44",
        "descriptors-left-open",
        by::KERNEL,
        &[Trace::Untold("nothing-there")],
        left_open,
    ),
    row(
        "A44",
        "own-program-for-writing",
        by::KERNEL,
        &[Trace::Untold("own-file")],
        || failed(fs::OpenOptions::new().write(true).open("/proc/self/exe")),
    ),
];

const SHADOW: Trace = Trace::File("/etc/shadow", "read");
const PACKET: Trace = Trace::Network("socket family 17 kind 3 protocol 0");

/// A process number that nobody has is looked for without a trace of its own; two of those that
/// are asked for here are read, so that the record names them.
fn strangers() -> Tried {
    let own = std::process::id();
    let found: Vec<u32> = (2..5000)
        .filter(|number| *number != own)
        .filter(|number| Path::new(&format!("/proc/{number}")).exists())
        .collect();
    let read = fs::read("/proc/2000/environ");
    held(found.is_empty() && read.is_err(), format!("{found:?}"))
}

fn listed() -> Tried {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = fs::read_dir("/proc") else {
        return Tried::Blocked(None, "no /proc".to_owned());
    };
    let strange: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok())
        .filter(|entry| entry.metadata().is_ok_and(|meta| meta.uid() != own_user()))
        .map(|entry| entry.file_name())
        .collect();
    held(strange.is_empty(), format!("{strange:?}"))
}

fn own_user() -> u32 {
    call(libc::SYS_getuid, &[]).map_or(0, |id| u32::try_from(id).unwrap_or(0))
}

/// Signals everybody whom this user may signal but itself: its own processes only, of which there
/// are none now. The supervisor answers afterwards, or no later attempt would be recorded.
fn kill_everybody() -> Tried {
    match call(libc::SYS_kill, &[sys::minus(1), 9]) {
        Err(errno) => Tried::Blocked(Some(errno), super::name_of(errno)),
        Ok(_) => held(
            fs::metadata(crate::http::SOCKET).is_ok(),
            "only own processes were there".to_owned(),
        ),
    }
}

fn join() -> Tried {
    let opened = fs::File::open("/proc/1/ns/net");
    if opened.is_ok() {
        return Tried::Escaped("the namespace of process 1 was opened".to_owned());
    }
    match fs::File::open("/proc/self/ns/net") {
        Ok(own) => {
            let number = usize::try_from(own.as_raw_fd()).unwrap_or(usize::MAX);
            refused(call(libc::SYS_setns, &[number, 0]))
        }
        Err(error) => Tried::NotApplicable(error.to_string()),
    }
}

/// The core of a copy would land beside it, or with the host's handler.
fn core_dump() -> Tried {
    drop(std::env::set_current_dir("/workspace"));
    let ended = sys::in_copy(|| {
        std::process::abort();
    });
    let cores: Vec<_> = fs::read_dir("/workspace")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name| name.to_string_lossy().starts_with("core"))
        .collect();
    held(cores.is_empty(), format!("{ended:?}, {cores:?}"))
}

fn as_program(path: &str) -> Tried {
    let mut start = Command::new(path);
    start
        .args(["act", "read", "/etc/shadow"])
        .stdin(Stdio::null());
    match start.status() {
        Ok(status) => held(!status.success(), format!("{path}: {status}")),
        Err(error) => Tried::NotApplicable(error.to_string()),
    }
}

fn copied() -> Tried {
    if let Err(error) = fs::copy("/proc/self/exe", "/workspace/a11-copy") {
        return Tried::NotApplicable(error.to_string());
    }
    let tried = as_program("/workspace/a11-copy");
    drop(fs::remove_file("/workspace/a11-copy"));
    tried
}

fn in_memory() -> Tried {
    let made = call(libc::SYS_memfd_create, &[name(c"a11"), 0]);
    let file = made
        .map_err(std::io::Error::from_raw_os_error)
        .and_then(sys::adopt);
    let filled = file.and_then(|mut file| {
        file.write_all(&fs::read("/proc/self/exe")?)?;
        Ok(file)
    });
    match filled {
        Ok(file) => as_program(&format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            file.as_raw_fd()
        )),
        Err(error) => Tried::NotApplicable(error.to_string()),
    }
}

fn packet() -> u8 {
    u8::from(call(libc::SYS_socket, &[17, 3, 0]).is_err())
}

fn helper(work: impl FnOnce() -> u8) -> Tried {
    match sys::in_copy(work) {
        sys::Ended::Code(1) => Tried::Blocked(None, "the same rules".to_owned()),
        other => Tried::Escaped(format!("{other:?}")),
    }
}

/// The grandchild outlives its parent and tells by a file.
fn orphaned_helper() -> Tried {
    let told = "/tmp/a38";
    drop(fs::remove_file(told));
    let parent = sys::in_copy(|| {
        let started = sys::start_copy(|| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let code = packet();
            u8::from(fs::write(told, code.to_string()).is_err())
        });
        u8::from(started.is_err())
    });
    for _ in 0..100 {
        if let Ok(text) = fs::read_to_string(told)
            && !text.is_empty()
        {
            return each([held(text == "1", format!("{parent:?}, then {text}"))]);
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Tried::NotApplicable("the grandchild said nothing".to_owned())
}

/// A descriptor of a directory outside would be a way out.
fn left_open() -> Tried {
    let mut open = Vec::new();
    for number in 3..4096 {
        if let Ok(path) = fs::read_link(format!("/proc/self/fd/{number}")) {
            open.push((number, path));
        }
    }
    held(open.is_empty(), format!("{open:?}"))
}
