//! The doors of other ABIs: what the native door refuses must not pass through them.

use super::{by, refused, row};
use crate::{
    attempt::{Attempt, Trace, Tried},
    sys::{self, Answer, LowPage},
};

const fn on(name: &'static str) -> Trace {
    Trace::Syscall(name)
}

/// A call of i386 by its number there.
macro_rules! i386 {
    ($id:literal, $name:literal, $number:literal, $arguments:expr) => {
        row(
            $id,
            $name,
            by::SECCOMP,
            &[on(concat!("compat-", $number))],
            || foreign(sys::call_32bit($number, $arguments)),
        )
    };
}

/// A call of x32 by its number there.
macro_rules! x32 {
    ($id:literal, $name:literal, $number:literal, $arguments:expr) => {
        row(
            $id,
            $name,
            by::SECCOMP,
            &[on(concat!("compat-", $number))],
            || foreign(sys::call(0x4000_0000 | $number, $arguments)),
        )
    };
}

pub(super) const ATTEMPTS: &[Attempt] = &[
    row(
        "A39",
        "af-vsock-via-socketcall",
        by::SECCOMP,
        &[on("compat-102")],
        socketcall,
    ),
    row(
        "A39",
        "af-packet-via-socketcall",
        by::SECCOMP,
        &[on("compat-102")],
        packet,
    ),
    i386!("A39", "af-vsock-via-32-bit-socket", 359, [40, 1, 0, 0, 0]),
    i386!("A39", "setns-via-32-bit", 346, [u32::MAX, 0, 0, 0, 0]),
    i386!("A45", "unshare-via-32-bit", 310, [0x1000_0000, 0, 0, 0, 0]),
    i386!("A45", "bpf-via-32-bit", 357, [0, 0, 0, 0, 0]),
    i386!("A45", "keyctl-via-32-bit", 288, [0, 0, 0, 0, 0]),
    i386!("A45", "init-module-via-32-bit", 128, [0, 0, 0, 0, 0]),
    i386!("A45", "io-uring-via-32-bit", 425, [8, 0, 0, 0, 0]),
    i386!("A12", "ptrace-via-32-bit", 26, [16, 1, 0, 0, 0]),
    i386!("A8", "mount-via-32-bit", 21, [0, 0, 0, 0, 0]),
    i386!("own", "iopl-via-32-bit", 110, [3, 0, 0, 0, 0]),
    i386!("own", "getpid-via-32-bit", 20, [0, 0, 0, 0, 0]),
    i386!("own", "vm86-via-32-bit", 166, [0, 0, 0, 0, 0]),
    row(
        "A1",
        "open-via-32-bit",
        by::SECCOMP,
        &[on("compat-5")],
        open,
    ),
    x32!("A39", "af-vsock-via-x32", 41, &[40, 1, 0]),
    x32!("A12", "ptrace-via-x32", 521, &[16, 1, 0, 0]),
    x32!("A45", "io-uring-via-x32", 425, &[8, 0]),
    x32!("own", "getpid-via-x32", 39, &[]),
    x32!("own", "execve-via-x32", 520, &[0, 0, 0]),
];

/// A processor or a kernel without the door is no escape, and no test either.
fn foreign(answer: Answer) -> Tried {
    refused(answer)
}

/// `socketcall(SYS_SOCKET, {family, kind, 0})`.
fn socketcall_of(family: u32, kind: u32) -> Tried {
    let placed = LowPage::new().and_then(|page| {
        let words = [family, kind, 0].map(u32::to_le_bytes);
        page.put(0, words.as_flattened())
    });
    match placed {
        Ok(address) => foreign(sys::call_32bit(102, [1, address, 0, 0, 0])),
        Err(errno) => Tried::NotApplicable(super::name_of(errno)),
    }
}

fn socketcall() -> Tried {
    socketcall_of(40, 1)
}

fn packet() -> Tried {
    socketcall_of(17, 3)
}

fn open() -> Tried {
    match LowPage::new().and_then(|page| page.put(0, b"/etc/passwd\0")) {
        Ok(address) => foreign(sys::call_32bit(5, [address, 2, 0, 0, 0])),
        Err(errno) => Tried::NotApplicable(super::name_of(errno)),
    }
}
