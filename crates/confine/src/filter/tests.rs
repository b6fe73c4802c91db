//! The filter, run by a small interpreter of classic BPF: no kernel needed.

use libc::sock_filter;

use super::{ALLOW, ERRNO_ENOSYS, NATIVE_ARCH, NOTIFY, handed_over, jail, program, table};
use crate::{FileAudit, NameService};

fn run(audit: FileAudit, arch: u32, number: libc::c_long, args: [u64; 6]) -> u32 {
    run_with(&NameService::Absent, audit, arch, number, args)
}

fn run_with(
    names: &NameService,
    audit: FileAudit,
    arch: u32,
    number: libc::c_long,
    args: [u64; 6],
) -> u32 {
    interpret(&program(audit, names).unwrap(), arch, number, args)
}

fn interpret(program: &[sock_filter], arch: u32, number: libc::c_long, args: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
    data.extend_from_slice(&arch.to_le_bytes());
    data.extend_from_slice(&0_u64.to_le_bytes());
    for argument in args {
        data.extend_from_slice(&argument.to_le_bytes());
    }
    let (mut pc, mut a) = (0, 0_u32);
    loop {
        let step = program[pc];
        pc += 1;
        let hit = match step.code {
            0x20 => {
                let at = step.k as usize;
                a = u32::from_le_bytes(data[at..at + 4].try_into().unwrap());
                continue;
            }
            0x54 => {
                a &= step.k;
                continue;
            }
            0x06 => return step.k,
            0x15 => a == step.k,
            0x25 => a > step.k,
            0x45 => a & step.k != 0,
            other => panic!("unknown instruction {other:#x}"),
        };
        pc += usize::from(if hit { step.jt } else { step.jf });
    }
}

fn native(number: libc::c_long, args: [u64; 6]) -> u32 {
    run(FileAudit::EveryOpen, NATIVE_ARCH, number, args)
}

#[test]
fn every_call_of_another_abi_goes_to_the_supervisor() {
    for number in 0..500 {
        assert_eq!(
            run(FileAudit::EveryOpen, 0x4000_0003, number, [0; 6]),
            NOTIFY
        );
        assert_eq!(native(number | 0x4000_0000, [0; 6]), NOTIFY, "x32 {number}");
    }
}

#[test]
fn every_call_outside_the_tables_goes_to_the_supervisor() {
    for number in 0..600 {
        let listed = table::ALLOWED
            .iter()
            .chain(table::ALLOWED_NATIVE)
            .any(|(n, _)| *n == number);
        let judged = table::JUDGED.iter().any(|(n, _)| *n == number) || number == libc::SYS_sendto;
        if !judged {
            assert_eq!(native(number, [0; 6]) == ALLOW, listed, "{number}");
        }
    }
}

#[test]
fn the_tables_do_not_overlap() {
    let all = [
        table::ALLOWED,
        table::ALLOWED_NATIVE,
        table::AUDITED,
        table::AUDITED_NATIVE,
        table::JUDGED,
        table::REFUSED,
        table::REFUSED_NATIVE,
    ];
    let mut numbers: Vec<_> = all.iter().flat_map(|t| t.iter().map(|(n, _)| *n)).collect();
    let before = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), before);
}

#[test]
fn sockets_of_refused_families_go_to_the_supervisor() {
    let socket =
        |family, kind, protocol| native(libc::SYS_socket, [family, kind, protocol, 0, 0, 0]);
    assert_eq!(socket(1, 2, 0), ALLOW);
    assert_eq!(socket(2, 1 | 0o2_000_000, 0), ALLOW);
    assert_eq!(socket(10, 1, 6), ALLOW);
    for (family, kind, protocol) in [
        (2, 2, 0),
        (2, 3, 1),
        (2, 1, 262),
        (2, 1, 132),
        (10, 2, 17),
        (16, 3, 0),
        (17, 3, 0),
        (40, 1, 0),
        (38, 5, 0),
        (15, 2, 2),
        (44, 1, 0),
        (0, 1, 0),
    ] {
        assert_eq!(
            socket(family, kind, protocol),
            NOTIFY,
            "{family} {kind} {protocol}"
        );
    }
}

#[test]
fn a_resolver_brings_internet_datagrams_and_nothing_else() {
    let names = NameService::Present { ports: vec![443] };
    let with = |number, args| run_with(&names, FileAudit::EveryOpen, NATIVE_ARCH, number, args);
    let socket = |family, kind, protocol| with(libc::SYS_socket, [family, kind, protocol, 0, 0, 0]);
    for kind in [2, 2 | 0o2_000_000, 2 | 0o2_004_000] {
        assert_eq!((socket(2, kind, 0), socket(2, kind, 17)), (ALLOW, ALLOW));
    }
    for family in 0..50 {
        for kind in 0..16 {
            for protocol in [0, 1, 6, 17, 132, 136, 255, 262] {
                let datagram = (family, kind) == (2, 2) && [0, 17].contains(&protocol);
                let args = [family, kind, protocol, 0, 0, 0];
                let same = socket(family, kind, protocol) == native(libc::SYS_socket, args);
                assert_eq!(same, !datagram, "{family} {kind} {protocol}");
            }
        }
    }
    // What is sent to an address in memory is looked at, which is stricter.
    let judged = [libc::SYS_socket, libc::SYS_sendmsg, libc::SYS_sendmmsg];
    for number in (0..600).filter(|number| !judged.contains(number)) {
        assert_eq!(with(number, [0; 6]), native(number, [0; 6]), "{number}");
    }
}

#[test]
fn arguments_decide_where_a_call_is_judged() {
    let thread = 0x003D_0F00;
    assert_eq!(native(libc::SYS_clone, [thread, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(
        native(libc::SYS_clone, [0x1000_0011, 0, 0, 0, 0, 0]),
        NOTIFY
    );
    assert_eq!(native(libc::SYS_clone3, [0; 6]), ERRNO_ENOSYS);
    assert_eq!(native(libc::SYS_sendto, [3, 1, 1, 0, 0, 0]), ALLOW);
    assert_eq!(native(libc::SYS_sendto, [3, 1, 1, 0, 0x7f00, 16]), NOTIFY);
    assert_eq!(
        native(libc::SYS_sendto, [3, 1, 1, 0, 0x7f00_0000_0000, 16]),
        NOTIFY
    );
    assert_eq!(
        native(libc::SYS_sendto, [3, 1, 1, 0x2000_0000, 0, 0]),
        NOTIFY
    );
    assert_eq!(
        native(libc::SYS_sendmsg, [3, 1, 0x2000_0000, 0, 0, 0]),
        NOTIFY
    );
    assert_eq!(native(libc::SYS_sendmsg, [3, 1, 0x4000, 0, 0, 0]), ALLOW);
    assert_eq!(native(libc::SYS_sendmmsg, [3, 1, 1, 0x4000, 0, 0]), ALLOW);
    assert_eq!(native(libc::SYS_ioctl, [0, 0x5412, 0, 0, 0, 0]), NOTIFY);
    assert_eq!(
        native(libc::SYS_ioctl, [0, 0xffff_ffff_0000_5412, 0, 0, 0, 0]),
        NOTIFY
    );
    assert_eq!(native(libc::SYS_ioctl, [0, 0x541C, 0, 0, 0, 0]), NOTIFY);
    assert_eq!(native(libc::SYS_ioctl, [0, 0x5401, 0, 0, 0, 0]), ALLOW);
    assert_eq!(native(libc::SYS_seccomp, [1, 8, 0, 0, 0, 0]), NOTIFY);
    assert_eq!(native(libc::SYS_seccomp, [1, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(
        native(libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0, 0]),
        ALLOW
    );
    assert_eq!(
        native(libc::SYS_personality, [0x0040_0000, 0, 0, 0, 0, 0]),
        NOTIFY
    );
}

#[test]
fn where_there_are_datagrams_every_message_is_looked_at() {
    let names = NameService::Present { ports: vec![443] };
    let judged = |number, args| run_with(&names, FileAudit::Writes, NATIVE_ARCH, number, args);
    assert_eq!(judged(libc::SYS_socket, [2, 2, 17, 0, 0, 0]), ALLOW);
    assert_eq!(judged(libc::SYS_sendmsg, [3, 1, 0x4000, 0, 0, 0]), NOTIFY);
    // But for the one that hands the descriptor over, which a second filter ends.
    let marked = [3, 1, 0x5000, 0, 0, 0];
    assert_eq!(judged(libc::SYS_sendmsg, marked), ALLOW);
    let after = handed_over().unwrap();
    let then = |arch, number, args| interpret(&after, arch, number, args);
    assert_eq!(then(NATIVE_ARCH, libc::SYS_sendmsg, marked), EPERM);
    assert_eq!(
        then(NATIVE_ARCH, libc::SYS_sendmsg, [3, 1, 0x4000, 0, 0, 0]),
        ALLOW
    );
    assert_eq!(
        then(NATIVE_ARCH, libc::SYS_sendmmsg, [3, 1, 1, 0x1000, 0, 0]),
        ALLOW
    );
    assert_eq!(then(0x4000_0003, libc::SYS_sendmsg, marked), ALLOW);
    assert_eq!(judged(libc::SYS_sendmmsg, [3, 1, 1, 0, 0, 0]), NOTIFY);
    assert_eq!(native(libc::SYS_socket, [2, 2, 17, 0, 0, 0]), NOTIFY);
}

#[test]
fn asking_for_a_privilege_back_goes_to_the_supervisor() {
    let prctl = |option, argument| native(libc::SYS_prctl, [option, argument, 0, 0, 0, 0]);
    for (option, argument) in [(8, 1), (28, 0), (35, 13), (57, 1), (47, 2)] {
        assert_eq!(prctl(option, argument), NOTIFY, "{option}");
    }
    // names, parents, dumps, filters of its own, mappings with a name, and looking
    for (option, argument) in [
        (15, 0),
        (1, 9),
        (4, 0),
        (22, 2),
        (0x5356_4d41, 0),
        (47, 1),
        (23, 0),
    ] {
        assert_eq!(prctl(option, argument), ALLOW, "{option}");
    }
    let scheduler = |policy| native(libc::SYS_sched_setscheduler, [0, policy, 0, 0, 0, 0]);
    for policy in [1, 2, 6, 0x4000_0001] {
        assert_eq!(scheduler(policy), NOTIFY, "{policy}");
    }
    for policy in [0, 3, 5, 0x4000_0000] {
        assert_eq!(scheduler(policy), ALLOW, "{policy}");
    }
    let priority = |value| native(libc::SYS_setpriority, [0, 0, value, 0, 0, 0]);
    assert_eq!(priority(0xFFFF_FFFF_FFFF_FFEC), NOTIFY);
    assert_eq!(priority(0xFFFF_FFEC), NOTIFY);
    assert_eq!(priority(10), ALLOW);
}

#[test]
fn reading_opens_are_quiet_only_when_asked() {
    let open = |audit, flags| run(audit, NATIVE_ARCH, libc::SYS_openat, [0, 0, flags, 0, 0, 0]);
    assert_eq!(open(FileAudit::EveryOpen, 0), NOTIFY);
    assert_eq!(open(FileAudit::Writes, 0o2_000_000), ALLOW);
    for flags in [1, 2, 3, 0o100, 0o1000, 0o20_200_000] {
        assert_eq!(open(FileAudit::Writes, flags), NOTIFY, "{flags:o}");
    }
}

#[test]
fn calls_on_the_first_process_go_to_the_supervisor() {
    for number in table::ON_PROCESS {
        assert_eq!(native(*number, [1, 9, 0, 0, 0, 0]), NOTIFY, "{number}");
        assert_eq!(native(*number, [2, 9, 0, 0, 0, 0]), ALLOW, "{number}");
        assert_eq!(native(*number, [0, 9, 0, 0, 0, 0]), ALLOW, "{number}");
    }
}

const KILL: u32 = 0x8000_0000;
const EPERM: u32 = 0x0005_0001;

fn jailed(number: libc::c_long, args: [u64; 6]) -> u32 {
    interpret(&jail::deny_list().unwrap(), NATIVE_ARCH, number, args)
}

#[test]
fn a_jailed_program_of_another_abi_is_ended_and_of_a_newer_kernel_finds_no_call() {
    let list = jail::deny_list().unwrap();
    for number in 0..600 {
        assert_eq!(interpret(&list, 0x4000_0003, number, [0; 6]), KILL);
        assert_eq!(jailed(number | 0x4000_0000, [0; 6]), KILL, "x32 {number}");
        if number > libc::SYS_mseal {
            assert_eq!(jailed(number, [0; 6]), ERRNO_ENOSYS, "{number}");
        }
    }
}

#[test]
fn a_jailed_program_is_refused_what_is_named_and_allowed_what_is_not() {
    let tables = [
        (table::ENDS_A_PROGRAM, KILL),
        (table::ENDS_NATIVE, KILL),
        (table::DENIED, EPERM),
        (table::DENIED_NATIVE, EPERM),
    ];
    let judged = [
        libc::SYS_clone,
        libc::SYS_clone3,
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_seccomp,
        libc::SYS_ioctl,
        libc::SYS_personality,
    ];
    for number in (0..=libc::SYS_mseal).filter(|number| !judged.contains(number)) {
        let mut named = tables.iter().filter(|(table, _)| {
            let numbers = table.iter().map(|(number, _)| *number);
            numbers.filter(|one| *one == number).count() > 0
        });
        let expected = named.next().map_or(ALLOW, |(_, action)| *action);
        assert!(named.next().is_none(), "{number} is in two tables");
        assert_eq!(jailed(number, [0; 6]), expected, "{number}");
    }
    // Nothing that a command of the agent's is refused by name is left out, but what QEMU's own
    // sandbox allows as well.
    for (number, name) in table::REFUSED.iter().chain(table::REFUSED_NATIVE) {
        let allowed = ["set_thread_area"].contains(name);
        assert_eq!(jailed(*number, [0; 6]) == ALLOW, allowed, "{name}");
    }
}

#[test]
fn a_jailed_program_makes_threads_and_local_sockets_alone() {
    let clone = |flags| jailed(libc::SYS_clone, [flags, 0, 0, 0, 0, 0]);
    // What glibc asks for a thread, and for a process.
    assert_eq!(clone(0x003d_0f00), ALLOW);
    assert_eq!(clone(0x0120_0011), EPERM);
    assert_eq!(clone(0x1001_0f00), EPERM);
    assert_eq!(jailed(libc::SYS_clone3, [0; 6]), ERRNO_ENOSYS);
    for (family, action) in [
        (1, ALLOW),
        (2, 0x0005_0061),
        (16, 0x0005_0061),
        (40, 0x0005_0061),
    ] {
        for number in [libc::SYS_socket, libc::SYS_socketpair] {
            assert_eq!(jailed(number, [family, 1, 0, 0, 0, 0]), action, "{family}");
        }
    }
    assert_eq!(jailed(libc::SYS_seccomp, [1, 8, 0, 0, 0, 0]), EPERM);
    assert_eq!(jailed(libc::SYS_seccomp, [1, 1, 0, 0, 0, 0]), ALLOW);
    assert_eq!(jailed(libc::SYS_ioctl, [0, 0x5412, 0, 0, 0, 0]), EPERM);
    assert_eq!(jailed(libc::SYS_ioctl, [0, 0x541c, 0, 0, 0, 0]), EPERM);
    assert_eq!(jailed(libc::SYS_ioctl, [0, 0xae80, 0, 0, 0, 0]), ALLOW);
    let personality = |value| jailed(libc::SYS_personality, [value, 0, 0, 0, 0, 0]);
    assert_eq!((personality(0), personality(0xffff_ffff)), (ALLOW, ALLOW));
    assert_eq!(personality(0x0040_0000), EPERM);
}

#[test]
fn only_executing_waits_for_the_host() {
    let once = jail::execute_once().unwrap();
    for number in 0..600 {
        let waits = interpret(&once, NATIVE_ARCH, number, [0; 6]) == NOTIFY;
        assert_eq!(waits, number == libc::SYS_execve, "{number}");
    }
}
