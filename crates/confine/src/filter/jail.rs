//! The seccomp programs of a jail around a program that somebody else wrote ([`crate::Rights::Program`]).
//! Which calls such a program needs changes with its version and its libraries, so this is a deny-list:
//! it lets through what it does not name. What is newer than the list is not there (`ENOSYS`), another
//! ABI than the native one ends the program, and so does a call that only an attacker makes. The rest
//! that is named is refused with `EPERM`, which programs and libraries that only try expect.

use libc::sock_filter;

use super::{
    ALLOW, ANY_BIT, ARCH_AT, EQUAL, ERRNO_ENOSYS, LOAD, NAMESPACE_FLAGS, NATIVE_ARCH, NEW_LISTENER,
    NOTIFY, NUMBER_AT, RETURN, TIOCLINUX, TIOCSTI, jump, low, rule, step, table,
};
use crate::ConfineError;

const KILL: u32 = 0x8000_0000;
const ERRNO_EPERM: u32 = 0x0005_0000 | 1;
const ERRNO_FAMILY: u32 = 0x0005_0000 | 97 /* EAFNOSUPPORT */;
const GREATER: u16 = 0x25;
/// Numbers from here on are x86_64's x32 ABI, which has the native architecture's name.
const X32: u32 = 0x4000_0000;
/// `mseal`, of Linux 6.10: the newest call that was looked at.
const NEWEST: libc::c_long = libc::SYS_mseal;
const CLONE_THREAD: u32 = 0x1_0000;
const AF_UNIX: u32 = 1;

/// What is refused, and ends the program where only an attacker would ask for it.
///
/// # Errors
/// `specification-unusable` if a system call number does not fit, which no table entry does.
pub(crate) fn deny_list() -> Result<Vec<sock_filter>, ConfineError> {
    let newest = u32::try_from(NEWEST).map_err(|_| ConfineError::Specification {
        reason: format!("system call `{NEWEST}` does not fit the filter"),
    })?;
    let mut program = vec![
        step(LOAD, ARCH_AT),
        jump(EQUAL, NATIVE_ARCH, 1, 0),
        step(RETURN, KILL),
        step(LOAD, NUMBER_AT),
        jump(GREATER, newest, 0, 3),
        jump(GREATER, X32 - 1, 0, 1),
        step(RETURN, KILL),
        step(RETURN, ERRNO_ENOSYS),
    ];
    for (number, _) in table::ENDS_A_PROGRAM.iter().chain(table::ENDS_NATIVE) {
        rule(&mut program, *number, &[step(RETURN, KILL)])?;
    }
    for (number, _) in table::DENIED.iter().chain(table::DENIED_NATIVE) {
        rule(&mut program, *number, &[step(RETURN, ERRNO_EPERM)])?;
    }
    judge_arguments(&mut program)?;
    program.push(step(RETURN, ALLOW));
    Ok(program)
}

fn judge_arguments(program: &mut Vec<sock_filter>) -> Result<(), ConfineError> {
    let threads_alone = [
        step(LOAD, low(0)),
        jump(ANY_BIT, NAMESPACE_FLAGS, 1, 0),
        jump(ANY_BIT, CLONE_THREAD, 1, 0),
        step(RETURN, ERRNO_EPERM),
        step(RETURN, ALLOW),
    ];
    rule(program, libc::SYS_clone, &threads_alone)?;
    // Its flags lie in memory, where a filter cannot look: libc falls back to clone.
    rule(program, libc::SYS_clone3, &[step(RETURN, ERRNO_ENOSYS)])?;
    for number in [libc::SYS_socket, libc::SYS_socketpair] {
        // A TDX machine finds its quote service at a unix socket of the jail, not at AF_VSOCK.
        let local_alone = [
            step(LOAD, low(0)),
            jump(EQUAL, AF_UNIX, 1, 0),
            step(RETURN, ERRNO_FAMILY),
            step(RETURN, ALLOW),
        ];
        rule(program, number, &local_alone)?;
    }
    let no_listener = [
        step(LOAD, low(1)),
        jump(ANY_BIT, NEW_LISTENER, 0, 1),
        step(RETURN, ERRNO_EPERM),
        step(RETURN, ALLOW),
    ];
    rule(program, libc::SYS_seccomp, &no_listener)?;
    let no_typing = [
        step(LOAD, low(1)),
        jump(EQUAL, TIOCSTI, 1, 0),
        jump(EQUAL, TIOCLINUX, 0, 1),
        step(RETURN, ERRNO_EPERM),
        step(RETURN, ALLOW),
    ];
    rule(program, libc::SYS_ioctl, &no_typing)?;
    let own_personality = [
        step(LOAD, low(0)),
        jump(EQUAL, 0, 2, 0),
        jump(EQUAL, u32::MAX, 1, 0),
        step(RETURN, ERRNO_EPERM),
        step(RETURN, ALLOW),
    ];
    rule(program, libc::SYS_personality, &own_personality)
}

/// `execve` waits for whoever holds the listener, and nothing else does: when it is closed, after the
/// one answer, nothing is executed any more.
///
/// # Errors
/// As of [`deny_list`].
pub(crate) fn execute_once() -> Result<Vec<sock_filter>, ConfineError> {
    let mut program = vec![step(LOAD, NUMBER_AT)];
    rule(&mut program, libc::SYS_execve, &[step(RETURN, NOTIFY)])?;
    program.push(step(RETURN, ALLOW));
    Ok(program)
}
