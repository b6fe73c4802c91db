//! The seccomp program of a command: an allow-list for the native ABI, everything else to the supervisor.
//! Not a deny-list: a call that nobody thought of, or of another ABI, is refused and recorded. The jails
//! around programs that somebody else wrote have another, see [`jail`].

use libc::sock_filter;

use crate::{ConfineError, FileAudit, NameService};

pub(crate) mod jail;
pub(crate) mod table;

/// An errno given to the agent, a small positive number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

/// What a refused call answers.
pub const REFUSED_ERRNO: Errno = Errno(libc::EPERM);
/// What a socket of a refused family answers.
pub const REFUSED_FAMILY_ERRNO: Errno = Errno(libc::EAFNOSUPPORT);

#[cfg(target_arch = "x86_64")]
pub(crate) const NATIVE_ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
pub(crate) const NATIVE_ARCH: u32 = 0xC000_00B7;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the system call tables exist for x86_64 and aarch64 only");

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
pub(crate) const NEW_LISTENER: u32 = 1 << 3;
/// Every `CLONE_NEW*` flag that `clone` takes.
const NAMESPACE_FLAGS: u32 = 0x7E02_0000;
const FASTOPEN: u32 = 0x2000_0000;
/// `MSG_RST`, which no protocol looks at: the mark of the one message with which the notification descriptor
/// itself is handed over, when nobody can answer a notification yet.
pub(crate) const HANDING_OVER: u32 = 0x1000;
const WRITING_OPEN: u32 = 0o3 /* access mode */ | 0o100 /* O_CREAT */ | 0o1000 /* O_TRUNC */ | 0o20_000_000 /* O_TMPFILE */;
const SOCKET_TYPE_MASK: u32 = 0xF;
/// The confinement's own process in the command's pid namespace.
const FIRST_PROCESS: u32 = 1;
/// The sign of a priority above the usual one.
const NEGATIVE: u32 = 0x8000_0000;
const SCHED_RESET_ON_FORK: u32 = 0x4000_0000;
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541C;

const ALLOW: u32 = 0x7FFF_0000;
const NOTIFY: u32 = 0x7FC0_0000;
const ERRNO_ENOSYS: u32 = 0x0005_0000 | 38;
const ERRNO_EPERM: u32 = 0x0005_0000 | 1;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const EQUAL: u16 = 0x15;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const NUMBER_AT: u32 = 0;
const ARCH_AT: u32 = 4;

/// Where the low word of an argument lies in `seccomp_data` (little endian).
const fn low(argument: u32) -> u32 {
    16 + 8 * argument
}

const fn high(argument: u32) -> u32 {
    low(argument) + 4
}

const fn step(code: u16, k: u32) -> sock_filter {
    sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// The program for one command.
///
/// # Errors
/// `specification-unusable` if a system call number does not fit, which no table entry does.
pub(crate) fn program(
    audit: FileAudit,
    names: &NameService,
) -> Result<Vec<sock_filter>, ConfineError> {
    let mut program = vec![
        step(LOAD, ARCH_AT),
        jump(EQUAL, NATIVE_ARCH, 1, 0),
        step(RETURN, NOTIFY),
        step(LOAD, NUMBER_AT),
    ];
    for (number, _) in table::ALLOWED.iter().chain(table::ALLOWED_NATIVE) {
        rule(&mut program, *number, &[step(RETURN, ALLOW)])?;
    }
    rule(&mut program, libc::SYS_socket, &sockets(names))?;
    messages(&mut program, names)?;
    judge_arguments(&mut program)?;
    if audit == FileAudit::Writes {
        rule(
            &mut program,
            libc::SYS_openat,
            &allow_without_bits(2, WRITING_OPEN),
        )?;
        #[cfg(target_arch = "x86_64")]
        rule(
            &mut program,
            libc::SYS_open,
            &allow_without_bits(1, WRITING_OPEN),
        )?;
    }
    program.push(step(RETURN, NOTIFY));
    Ok(program)
}

/// `if number == this call { body }`; every path of the body returns.
fn rule(
    program: &mut Vec<sock_filter>,
    number: libc::c_long,
    body: &[sock_filter],
) -> Result<(), ConfineError> {
    let unusable = || ConfineError::Specification {
        reason: format!("system call `{number}` does not fit the filter"),
    };
    let number = u32::try_from(number).map_err(|_| unusable())?;
    let skip = u8::try_from(body.len()).map_err(|_| unusable())?;
    program.push(jump(EQUAL, number, 0, skip));
    program.extend_from_slice(body);
    Ok(())
}

fn allow_without_bits(argument: u32, bits: u32) -> [sock_filter; 4] {
    [
        step(LOAD, low(argument)),
        jump(ANY_BIT, bits, 0, 1),
        step(RETURN, NOTIFY),
        step(RETURN, ALLOW),
    ]
}

fn judge_arguments(program: &mut Vec<sock_filter>) -> Result<(), ConfineError> {
    rule(
        program,
        libc::SYS_clone,
        &allow_without_bits(0, NAMESPACE_FLAGS),
    )?;
    // Its flags lie in memory, where a filter cannot look: libc falls back to clone.
    rule(program, libc::SYS_clone3, &[step(RETURN, ERRNO_ENOSYS)])?;
    rule(
        program,
        libc::SYS_socketpair,
        &[
            step(LOAD, low(0)),
            jump(EQUAL, 1, 0, 1),
            step(RETURN, ALLOW),
            step(RETURN, NOTIFY),
        ],
    )?;
    rule(
        program,
        libc::SYS_sendto,
        &[
            step(LOAD, low(3)),
            jump(ANY_BIT, FASTOPEN, 4, 0),
            step(LOAD, low(4)),
            jump(EQUAL, 0, 0, 2),
            step(LOAD, high(4)),
            jump(EQUAL, 0, 1, 0),
            step(RETURN, NOTIFY),
            step(RETURN, ALLOW),
        ],
    )?;
    judge_the_rest(program)
}

fn judge_the_rest(program: &mut Vec<sock_filter>) -> Result<(), ConfineError> {
    rule(
        program,
        libc::SYS_ioctl,
        &[
            step(LOAD, low(1)),
            jump(EQUAL, TIOCSTI, 1, 0),
            jump(EQUAL, TIOCLINUX, 0, 1),
            step(RETURN, NOTIFY),
            step(RETURN, ALLOW),
        ],
    )?;
    for number in table::ON_PROCESS {
        rule(
            program,
            *number,
            &[
                step(LOAD, low(0)),
                jump(EQUAL, FIRST_PROCESS, 0, 1),
                step(RETURN, NOTIFY),
                step(RETURN, ALLOW),
            ],
        )?;
    }
    // A listener of the agent's own could answer in the supervisor's place.
    rule(
        program,
        libc::SYS_seccomp,
        &allow_without_bits(1, NEW_LISTENER),
    )?;
    rule(program, libc::SYS_prctl, &options())?;
    rule(program, libc::SYS_sched_setscheduler, &schedulers())?;
    rule(
        program,
        libc::SYS_setpriority,
        &allow_without_bits(2, NEGATIVE),
    )?;
    rule(
        program,
        libc::SYS_personality,
        &[
            step(LOAD, low(0)),
            jump(EQUAL, 0, 1, 0),
            jump(EQUAL, u32::MAX, 0, 1),
            step(RETURN, ALLOW),
            step(RETURN, NOTIFY),
        ],
    )
}

/// Messages whose addresses lie in memory, where a filter cannot look. Where there are datagram sockets
/// the supervisor looks at each; streams have no use for an address but with TCP fast open, which connects
/// without the check on connect.
fn messages(program: &mut Vec<sock_filter>, names: &NameService) -> Result<(), ConfineError> {
    if *names != NameService::Absent {
        let handing_over = [
            step(LOAD, low(2)),
            jump(ANY_BIT, HANDING_OVER, 0, 1),
            step(RETURN, ALLOW),
            step(RETURN, NOTIFY),
        ];
        return rule(program, libc::SYS_sendmsg, &handing_over);
    }
    rule(program, libc::SYS_sendmsg, &allow_without_bits(2, FASTOPEN))?;
    rule(
        program,
        libc::SYS_sendmmsg,
        &allow_without_bits(3, FASTOPEN),
    )
}

/// Refuses the mark from now on; whatever else is left to the program before it. Of two answers the kernel
/// takes the stricter one.
///
/// # Errors
/// As of [`program`].
pub(crate) fn handed_over() -> Result<Vec<sock_filter>, ConfineError> {
    let mut program = vec![
        step(LOAD, ARCH_AT),
        jump(EQUAL, NATIVE_ARCH, 1, 0),
        step(RETURN, ALLOW),
        step(LOAD, NUMBER_AT),
    ];
    let marked = [
        step(LOAD, low(2)),
        jump(ANY_BIT, HANDING_OVER, 0, 1),
        step(RETURN, ERRNO_EPERM),
        step(RETURN, ALLOW),
    ];
    rule(&mut program, libc::SYS_sendmsg, &marked)?;
    program.push(step(RETURN, ALLOW));
    Ok(program)
}

/// With a resolver in the room, datagram sockets of AF_INET (protocol 0 or 17) before all others.
fn sockets(names: &NameService) -> Vec<sock_filter> {
    let datagrams = [
        step(LOAD, low(0)),
        jump(EQUAL, 2, 0, 7), // AF_INET
        step(LOAD, low(1)),
        step(AND, SOCKET_TYPE_MASK),
        jump(EQUAL, 2, 0, 4), // SOCK_DGRAM
        step(LOAD, low(2)),
        jump(EQUAL, 0, 1, 0),
        jump(EQUAL, 17, 0, 1), // IPPROTO_UDP
        step(RETURN, ALLOW),
    ];
    let mut body = match names {
        NameService::Absent => Vec::new(),
        NameService::Present { .. } => datagrams.to_vec(),
    };
    body.extend(streams());
    body
}

/// `prctl` without the options that ask for a privilege back: `PR_SET_KEEPCAPS`, `PR_SET_SECUREBITS`,
/// `PR_SET_MM`, `PR_SET_IO_FLUSHER`, and `PR_CAP_AMBIENT_RAISE`. The kernel would refuse them too, and
/// tell nobody.
fn options() -> [sock_filter; 10] {
    [
        step(LOAD, low(0)),
        jump(EQUAL, 8, 7, 0),
        jump(EQUAL, 28, 6, 0),
        jump(EQUAL, 35, 5, 0),
        jump(EQUAL, 57, 4, 0),
        jump(EQUAL, 47, 0, 2),
        step(LOAD, low(1)),
        jump(EQUAL, 2, 1, 0),
        step(RETURN, ALLOW),
        step(RETURN, NOTIFY),
    ]
}

/// Not before everybody: `SCHED_FIFO`, `SCHED_RR`, `SCHED_DEADLINE`.
fn schedulers() -> [sock_filter; 7] {
    [
        step(LOAD, low(1)),
        step(AND, !SCHED_RESET_ON_FORK),
        jump(EQUAL, 1, 3, 0),
        jump(EQUAL, 2, 2, 0),
        jump(EQUAL, 6, 1, 0),
        step(RETURN, ALLOW),
        step(RETURN, NOTIFY),
    ]
}

/// AF_UNIX of any kind; AF_INET and AF_INET6 only as TCP (protocol 0 or 6: Landlock does not judge
/// MPTCP or SCTP).
fn streams() -> [sock_filter; 12] {
    [
        step(LOAD, low(0)),
        jump(EQUAL, 1, 8, 0),  // AF_UNIX
        jump(EQUAL, 2, 1, 0),  // AF_INET
        jump(EQUAL, 10, 0, 7), // AF_INET6
        step(LOAD, low(1)),
        step(AND, SOCKET_TYPE_MASK),
        jump(EQUAL, 1, 0, 4), // SOCK_STREAM
        step(LOAD, low(2)),
        jump(EQUAL, 0, 1, 0),
        jump(EQUAL, 6, 0, 1), // IPPROTO_TCP
        step(RETURN, ALLOW),
        step(RETURN, NOTIFY),
    ]
}

#[cfg(test)]
mod tests;
