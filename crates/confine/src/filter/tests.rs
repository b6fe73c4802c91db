//! The filter, run by a small interpreter of classic BPF: no kernel needed.

use super::{ALLOW, ERRNO_ENOSYS, NATIVE_ARCH, NOTIFY, program, table};
use crate::FileAudit;

fn run(audit: FileAudit, arch: u32, number: libc::c_long, args: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
    data.extend_from_slice(&arch.to_le_bytes());
    data.extend_from_slice(&0_u64.to_le_bytes());
    for argument in args {
        data.extend_from_slice(&argument.to_le_bytes());
    }
    let program = program(audit).unwrap();
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
