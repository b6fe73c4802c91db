//! The jail around a program that somebody else wrote, as QEMU and `swtpm` are in: what it cannot do.
//! Needs root; without it the tests say so and prove nothing.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::{
    ffi::OsString,
    io::Read as _,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use proofroom_confine::{
    IdMap, MapWriter, ReadOnlyBind, Rights, RoomLimits, RoomSpec, StageProgram,
    launch::{Launched, Launcher},
};
use proofroom_room::Diagnostics;

const PROBE: &str = "/proofroom/probe";

fn specification(names: &[&str]) -> RoomSpec {
    let own = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
    RoomSpec {
        system: ["/usr", "/bin", "/lib", "/lib64"]
            .map(PathBuf::from)
            .to_vec(),
        read_only: vec![ReadOnlyBind {
            source: env!("CARGO_BIN_EXE_confine-probe").into(),
            target: PROBE.into(),
        }],
        mounts: Vec::new(),
        devices: Vec::new(),
        rights: Rights::Program,
        etc: Vec::new(),
        supervisor: [own(&[PROBE, "jailed"]), own(names)].concat(),
        environment: Vec::new(),
        limits: RoomLimits::default(),
        diagnostics: Diagnostics::Discard,
    }
}

/// What a jailed program says of these attempts, and the jail's mechanisms; none without root.
fn jailed(names: &[&str]) -> Option<(String, Vec<String>)> {
    static NEXT: AtomicU32 = AtomicU32::new(1_990_000);
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: jails need root");
        return None;
    }
    let first = NEXT.fetch_add(2, Ordering::Relaxed);
    let ids = IdMap {
        supervisor: first,
        agent: first + 1,
        writer: MapWriter::Root,
    };
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let stage = StageProgram::at(env!("CARGO_BIN_EXE_confine-probe").into());
    let inherited = [OwnedFd::from(theirs)];
    let jail: Launched = Launcher::spawn(&stage, Diagnostics::Discard)
        .unwrap()
        .enter(&[])
        .unwrap()
        .start(&specification(names), ids, &inherited)
        .unwrap();
    drop(inherited);
    let mut said = String::new();
    ours.read_to_string(&mut said).unwrap();
    let mechanisms = jail.mechanisms().to_vec();
    jail.kill().unwrap();
    jail.wait().unwrap();
    Some((said, mechanisms))
}

#[test]
fn a_jailed_program_is_refused_what_it_has_no_use_for() {
    // What the kernel would answer without the filter is another errno, or success.
    let attempts = [
        ("fork", libc::EPERM),
        ("execve", libc::ENOSYS),
        ("clone-newuser", libc::EPERM),
        ("clone3", libc::ENOSYS),
        ("io_uring_setup", libc::EPERM),
        ("keyctl", libc::EPERM),
        ("request_key", libc::EPERM),
        ("memfd_secret", libc::EPERM),
        ("personality", libc::EPERM),
        ("name_to_handle_at", libc::EPERM),
        ("perf_event_open", libc::EPERM),
        ("userfaultfd", libc::EPERM),
        ("seccomp-listener", libc::EPERM),
        ("socket-udp", libc::EAFNOSUPPORT),
        ("socket-netlink", libc::EAFNOSUPPORT),
        ("socket-vsock", libc::EAFNOSUPPORT),
        ("socket-alg", libc::EAFNOSUPPORT),
        ("unknown-511", libc::ENOSYS),
    ];
    let names = attempts.map(|(name, _)| name);
    let Some((said, mechanisms)) = jailed(&names) else {
        return;
    };
    let expected: String = attempts
        .iter()
        .map(|(name, errno)| format!("{name}: blocked {errno}\n"))
        .collect();
    assert_eq!(said, expected);
    for mechanism in ["seccomp-deny-list", "executes-once"] {
        assert!(mechanisms.iter().any(|m| m == mechanism), "{mechanism}");
    }
}

#[test]
fn a_jailed_program_that_attacks_is_ended() {
    for name in [
        "ptrace",
        "process_vm_readv",
        "bpf",
        "unshare-user",
        "mount-bind",
        "open_tree",
        "fsopen",
        "setns",
        "pidfd_getfd",
        "kexec_load",
        "init_module",
        "execveat",
        "x32-getpid",
        "compat-getpid",
    ] {
        // It says the first and never comes to the last.
        let Some((said, _)) = jailed(&["socket-udp", name, "socket-udp"]) else {
            return;
        };
        let lines = said.lines().collect::<Vec<_>>();
        assert_eq!(lines, ["socket-udp: blocked 97"], "{name}");
    }
}
