//! The kernel's surface: every call that a command has no business with. Arguments are chosen so
//! that the call would fail, or do nothing, where it were let in.

use libc::c_long;

use super::{by, failed_call, held, refused, row};
use crate::{
    attempt::{Attempt, Trace, Tried},
    sys::{self, Ended, Instruction, Vendor, at, call, minus, name},
};

/// A call that the filter refuses, with zeros as its arguments.
macro_rules! zeros {
    ($id:literal, $name:literal, $call:ident, $trace:expr) => {
        row($id, $name, by::SECCOMP, &[$trace], || {
            refused(call(libc::$call, &[]))
        })
    };
}

macro_rules! with {
    ($id:literal, $name:literal, $call:ident, $trace:expr, [$($argument:expr),*]) => {
        row($id, $name, by::SECCOMP, &[$trace], || {
            refused(call(libc::$call, &[$($argument),*]))
        })
    };
}

const fn on(name: &'static str) -> Trace {
    Trace::Syscall(name)
}

pub(super) const ATTEMPTS: &[Attempt] = &[
    with!(
        "A45",
        "io-uring-setup",
        SYS_io_uring_setup,
        on("io_uring_setup"),
        [8, at(&[0_u8; 120])]
    ),
    with!(
        "A45",
        "io-uring-enter",
        SYS_io_uring_enter,
        on("io_uring_enter"),
        [minus(1)]
    ),
    with!(
        "A45",
        "io-uring-register",
        SYS_io_uring_register,
        on("io_uring_register"),
        [minus(1)]
    ),
    with!(
        "A45",
        "userfaultfd",
        SYS_userfaultfd,
        on("userfaultfd"),
        [0]
    ),
    with!(
        "A45",
        "userfaultfd-user-mode",
        SYS_userfaultfd,
        on("userfaultfd"),
        [1]
    ),
    with!(
        "A45",
        "bpf-map-create",
        SYS_bpf,
        on("bpf"),
        [0, at(&[0_u8; 72]), 72]
    ),
    with!(
        "A45",
        "bpf-program-load",
        SYS_bpf,
        on("bpf"),
        [5, at(&[0_u8; 72]), 72]
    ),
    with!(
        "A45",
        "perf-event-open",
        SYS_perf_event_open,
        on("perf_event_open"),
        [at(&[0_u8; 128]), 0, minus(1), minus(1), 0]
    ),
    with!(
        "A45",
        "keyctl-session-keyring",
        SYS_keyctl,
        on("keyctl"),
        [0, minus(3), 1]
    ),
    with!(
        "A45",
        "keyctl-describe-all",
        SYS_keyctl,
        on("keyctl"),
        [6, 1, 0, 0]
    ),
    with!(
        "A45",
        "add-key",
        SYS_add_key,
        on("add_key"),
        [
            name(c"user"),
            name(c"proofroom-probe"),
            name(c"x"),
            1,
            minus(2)
        ]
    ),
    with!(
        "A45",
        "request-key",
        SYS_request_key,
        on("request_key"),
        [name(c"user"), name(c"proofroom-probe"), 0, minus(2)]
    ),
    with!(
        "A45",
        "init-module",
        SYS_init_module,
        on("init_module"),
        [at(&[0_u8; 4]), 4, name(c"")]
    ),
    with!(
        "A45",
        "finit-module",
        SYS_finit_module,
        on("finit_module"),
        [minus(1), name(c""), 0]
    ),
    with!(
        "A45",
        "delete-module",
        SYS_delete_module,
        on("delete_module"),
        [name(c"proofroom_none"), 0o4000]
    ),
    with!(
        "own",
        "kexec-load",
        SYS_kexec_load,
        on("kexec_load"),
        [0, 1, 0, 0x8000]
    ),
    with!(
        "own",
        "kexec-file-load",
        SYS_kexec_file_load,
        on("kexec_file_load"),
        [minus(1), minus(1), 0, 0, 0x8000]
    ),
    zeros!("own", "reboot-without-its-magic", SYS_reboot, on("reboot")),
    with!(
        "own",
        "swapon",
        SYS_swapon,
        on("swapon"),
        [name(c"/nowhere")]
    ),
    with!(
        "own",
        "swapoff",
        SYS_swapoff,
        on("swapoff"),
        [name(c"/nowhere")]
    ),
    with!(
        "own",
        "sethostname",
        SYS_sethostname,
        on("sethostname"),
        [name(c"x"), minus(1)]
    ),
    with!(
        "own",
        "setdomainname",
        SYS_setdomainname,
        on("setdomainname"),
        [name(c"x"), minus(1)]
    ),
    with!("own", "kernel-log", SYS_syslog, on("syslog"), [10]),
    with!(
        "own",
        "process-accounting",
        SYS_acct,
        on("acct"),
        [name(c"/nowhere/at/all")]
    ),
    with!("own", "quotactl", SYS_quotactl, on("quotactl"), [minus(1)]),
    with!(
        "own",
        "clock-settime",
        SYS_clock_settime,
        on("clock_settime"),
        [0, 0]
    ),
    with!(
        "own",
        "settimeofday",
        SYS_settimeofday,
        on("settimeofday"),
        [1, 0]
    ),
    with!("own", "adjtimex", SYS_adjtimex, on("adjtimex"), [0]),
    with!(
        "own",
        "clock-adjtime",
        SYS_clock_adjtime,
        on("clock_adjtime"),
        [0, 0]
    ),
    with!(
        "own",
        "fanotify-init",
        SYS_fanotify_init,
        on("fanotify_init"),
        [0, 0]
    ),
    with!(
        "own",
        "fanotify-mark",
        SYS_fanotify_mark,
        on("fanotify_mark"),
        [minus(1)]
    ),
    zeros!("own", "memfd-secret", SYS_memfd_secret, on("memfd_secret")),
    with!("own", "vmsplice", SYS_vmsplice, on("vmsplice"), [minus(1)]),
    with!(
        "own",
        "move-pages-of-process-1",
        SYS_move_pages,
        on("move_pages"),
        [1]
    ),
    with!(
        "own",
        "migrate-pages-of-process-1",
        SYS_migrate_pages,
        on("migrate_pages"),
        [1]
    ),
    zeros!("own", "mbind", SYS_mbind, on("mbind")),
    zeros!(
        "own",
        "set-mempolicy",
        SYS_set_mempolicy,
        on("set_mempolicy")
    ),
    zeros!("own", "vhangup", SYS_vhangup, on("vhangup")),
    with!(
        "own",
        "message-queue",
        SYS_mq_open,
        on("mq_open"),
        [name(c"proofroom"), 0o102, 0o600, 0]
    ),
    zeros!(
        "own",
        "remap-file-pages",
        SYS_remap_file_pages,
        on("remap_file_pages")
    ),
    with!("own", "new-listener", SYS_seccomp, on("seccomp"), [1, 8, 0]),
    with!(
        "own",
        "no-address-randomisation",
        SYS_personality,
        on("personality"),
        [0x004_0000]
    ),
    with!(
        "own",
        "read-implies-execute",
        SYS_personality,
        on("personality"),
        [0x040_0000]
    ),
    with!(
        "own",
        "terminal-input",
        SYS_ioctl,
        on("ioctl"),
        [0, 0x5412, name(c"x")]
    ),
    with!(
        "own",
        "terminal-selection",
        SYS_ioctl,
        on("ioctl"),
        [0, 0x541C, name(c"x")]
    ),
    row(
        "own",
        "calls-that-nobody-named",
        by::SECCOMP,
        UNNAMED_TRACES,
        unnamed,
    ),
    row(
        "own",
        "doors-of-kernel-probes",
        by::KERNEL,
        &[Trace::Untold("past-every-filter")],
        probe_doors,
    ),
    row("own", "ports-and-segments", by::SECCOMP, PORT_TRACES, ports),
    with!(
        "A45",
        "user-namespace-by-unshare",
        SYS_unshare,
        on("unshare"),
        [0x1000_0000]
    ),
    with!(
        "A45",
        "user-namespace-by-clone",
        SYS_clone,
        on("clone"),
        [0x1000_0011, 0, 0, 0, 0]
    ),
    row(
        "A45",
        "user-namespace-by-clone3",
        by::SECCOMP,
        &[Trace::Untold("answered-by-the-filter")],
        clone3,
    ),
    with!(
        "A39",
        "network-namespace-by-unshare",
        SYS_unshare,
        on("unshare"),
        [0x4000_0000]
    ),
    with!(
        "A39",
        "network-namespace-by-clone",
        SYS_clone,
        on("clone"),
        [0x4000_0011, 0, 0, 0, 0]
    ),
    with!(
        "A44",
        "cgroup-namespace-by-unshare",
        SYS_unshare,
        on("unshare"),
        [0x0200_0000]
    ),
    with!(
        "A44",
        "mount-namespace-by-unshare",
        SYS_unshare,
        on("unshare"),
        [0x0002_0000]
    ),
    row("own", "become-root", by::SECCOMP, IDENTITY_TRACES, identity),
    with!(
        "own",
        "all-capabilities",
        SYS_capset,
        on("capset"),
        [at(&[0x2008_0522_u32, 0]), at(&[u32::MAX; 6])]
    ),
    row(
        "own",
        "prctl-that-raises",
        by::SECCOMP,
        &[on("prctl")],
        prctl,
    ),
    row(
        "own",
        "prctl-that-undoes",
        by::KERNEL,
        &[Trace::Untold("quiet-call")],
        undo,
    ),
    row(
        "own",
        "raise-limits",
        by::KERNEL,
        &[Trace::Untold("quiet-call")],
        limits,
    ),
    with!(
        "own",
        "priority-over-everybody",
        SYS_setpriority,
        on("setpriority"),
        [0, 0, minus(20)]
    ),
    with!(
        "own",
        "real-time-scheduling",
        SYS_sched_setscheduler,
        on("sched_setscheduler"),
        [0, 1, at(&[1_u32])]
    ),
    row(
        "own",
        "privileged-instructions",
        by::PROCESSOR,
        &[Trace::Untold("instruction")],
        instructions,
    ),
    row(
        "own",
        "ports-of-the-firmware-and-the-pci-bus",
        by::PROCESSOR,
        &[Trace::Untold("instruction")],
        firmware_ports,
    ),
    row(
        "own",
        "calls-to-the-hypervisor",
        "the processor, or the hypervisor: user mode",
        &[Trace::Untold("instruction")],
        hypercalls,
    ),
];

/// Calls that the tables of names do not hold: new ones, long dead ones, and numbers without a call.
const UNNAMED: [c_long; 20] = [
    156,
    174,
    177,
    178,
    180,
    183,
    184,
    185,
    212,
    236,
    443,
    448,
    451,
    453,
    457,
    458,
    463,
    467,
    499,
    0x3FFF_FFFF,
];
const UNNAMED_TRACES: &[Trace] = &[
    on("syscall-156"),
    on("syscall-174"),
    on("syscall-443"),
    on("syscall-448"),
    on("syscall-457"),
    on("syscall-463"),
    on("syscall-467"),
    on("syscall-499"),
    on("syscall-1073741823"),
];

fn unnamed() -> Tried {
    super::each(
        UNNAMED
            .into_iter()
            .map(|number| refused(call(number, &[minus(1), minus(1), minus(1), minus(1)]))),
    )
}

/// `uretprobe` and `uprobe`, which the kernel lets pass every filter: it makes these calls itself,
/// from a page of its own, and ends everybody else who makes them.
fn probe_doors() -> Tried {
    super::each([335, 336].map(|number| {
        let ended = sys::in_copy(|| match call(number, &[]) {
            Ok(_) => 0,
            Err(_) => 1,
        });
        held(ended != Ended::Code(0), format!("{number}: {ended:?}"))
    }))
}

#[cfg(target_arch = "x86_64")]
const PORT_TRACES: &[Trace] = &[
    on("iopl"),
    on("ioperm"),
    on("modify_ldt"),
    on("set_thread_area"),
    on("uselib"),
    on("sysfs"),
    on("ustat"),
];
#[cfg(not(target_arch = "x86_64"))]
const PORT_TRACES: &[Trace] = &[Trace::Untold("other-processor")];

#[cfg(target_arch = "x86_64")]
fn ports() -> Tried {
    super::each([
        refused(call(libc::SYS_iopl, &[3])),
        refused(call(libc::SYS_ioperm, &[0x80, 1, 1])),
        refused(call(libc::SYS_modify_ldt, &[1, at(&[0_u8; 16]), 16])),
        refused(call(libc::SYS_set_thread_area, &[0])),
        refused(call(libc::SYS_uselib, &[name(c"/nowhere")])),
        refused(call(libc::SYS_sysfs, &[3])),
        refused(call(libc::SYS_ustat, &[0, 0])),
    ])
}

#[cfg(not(target_arch = "x86_64"))]
fn ports() -> Tried {
    Tried::NotApplicable("this processor has no ports".to_owned())
}

fn clone3() -> Tried {
    let mut arguments = [0_u64; 11];
    if let Some(flags) = arguments.first_mut() {
        *flags = 0x1000_0000;
    }
    refused(call(libc::SYS_clone3, &[at(&arguments), 88]))
}

const IDENTITY_TRACES: &[Trace] = &[
    on("setuid"),
    on("setgid"),
    on("setreuid"),
    on("setresuid"),
    on("setresgid"),
    on("setfsuid"),
    on("setgroups"),
];

fn identity() -> Tried {
    super::each([
        refused(call(libc::SYS_setuid, &[0])),
        refused(call(libc::SYS_setgid, &[0])),
        refused(call(libc::SYS_setreuid, &[0, 0])),
        refused(call(libc::SYS_setresuid, &[0, 0, 0])),
        refused(call(libc::SYS_setresgid, &[0, 0, 0])),
        refused(call(libc::SYS_setfsuid, &[0])),
        refused(call(libc::SYS_setgroups, &[1, at(&[0_u32])])),
    ])
}

/// Each asks for a privilege: secure bits, kept capabilities, another program's file, an ambient
/// capability. Numbers are those of `linux/prctl.h`.
fn prctl() -> Tried {
    let attempts: [[usize; 3]; 4] = [[28, 0, 0], [8, 1, 0], [35, 13, minus(1)], [47, 2, 21]];
    super::each(attempts.map(|arguments| refused(call(libc::SYS_prctl, &arguments))))
}

/// No new privileges, but after all; no filter; dumps as root.
fn undo() -> Tried {
    let attempts: [[usize; 2]; 3] = [[38, 0], [22, 0], [4, 2]];
    super::each(attempts.map(|arguments| failed_call(call(libc::SYS_prctl, &arguments))))
}

fn limits() -> Tried {
    let everything = [u64::MAX; 2];
    super::each([
        // RLIMIT_CORE, RLIMIT_NOFILE, RLIMIT_NPROC
        failed_call(call(libc::SYS_setrlimit, &[4, at(&everything)])),
        failed_call(call(libc::SYS_setrlimit, &[7, at(&everything)])),
        failed_call(call(libc::SYS_prlimit64, &[0, 6, at(&everything), 0])),
    ])
}

fn instructions() -> Tried {
    faults([
        Instruction::ReadMsr,
        Instruction::WriteMsr,
        Instruction::InPort(0x80),
        Instruction::Halt,
        Instruction::ReadControl,
        Instruction::ClearInterrupts,
        Instruction::TrustedCall,
    ])
}

/// `fw_cfg` of QEMU, and the two ports by which a PCI device's configuration is read.
fn firmware_ports() -> Tried {
    faults([
        Instruction::OutPort(0x510),
        Instruction::InPort(0x511),
        Instruction::OutPort(0xCF8),
        Instruction::InPort(0xCFC),
    ])
}

fn faults(all: impl IntoIterator<Item = Instruction>) -> Tried {
    super::each(all.into_iter().map(|one| {
        let ended = sys::in_copy(|| {
            sys::execute(one);
            0
        });
        by_signal(&ended).unwrap_or_else(|| Tried::Escaped(format!("{one:?}: {ended:?}")))
    }))
}

/// `KVM_HC_VAPIC_POLL_IRQ`, which does nothing, by Intel's instruction and AMD's. A hypervisor that
/// gets it from user mode must answer with an error.
fn hypercalls() -> Tried {
    super::each([Vendor::Intel, Vendor::Amd].map(|vendor| {
        let ended = sys::in_copy(|| u8::from(sys::hypercall(vendor, 1) < 0));
        match ended {
            Ended::Code(1) => Tried::Blocked(None, "the hypervisor refuses".to_owned()),
            _ => by_signal(&ended).unwrap_or_else(|| Tried::Escaped(format!("{ended:?}"))),
        }
    }))
}

/// Stopped, when the processor did.
fn by_signal(ended: &Ended) -> Option<Tried> {
    match ended {
        Ended::Signal(libc::SIGSEGV | libc::SIGILL | libc::SIGBUS | libc::SIGABRT) => {
            Some(Tried::Blocked(None, format!("{ended:?}")))
        }
        Ended::NotStarted(errno) => Some(Tried::NotApplicable(super::name_of(*errno))),
        _ => None,
    }
}
