//! Signals to processes that are known by number. Each is held by a handle before it is looked at again, so
//! that a process which got the number meanwhile is never sent anything.

use std::{io, os::fd::OwnedFd};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How many handles are held at once.
const AT_ONCE: usize = 256;

/// Sends a signal to every process that `look` finds twice, before and after it is held; returns those
/// that got it. A process that has ended meanwhile is not an error.
///
/// # Errors
/// Those of `look`.
pub(crate) fn send(
    signal: Signal,
    look: impl Fn() -> io::Result<Vec<i32>>,
) -> io::Result<Vec<i32>> {
    let mut sent = Vec::new();
    for some in look()?.chunks(AT_ONCE) {
        let held: Vec<(i32, OwnedFd)> = some.iter().copied().filter_map(hold).collect();
        let still = look()?;
        let meant = held.into_iter().filter(|(pid, _)| still.contains(pid));
        sent.extend(
            meant
                .filter(|(_, handle)| pidfd_send_signal(handle, signal).is_ok())
                .map(|(pid, _)| pid),
        );
    }
    Ok(sent)
}

fn hold(pid: i32) -> Option<(i32, OwnedFd)> {
    let number = Pid::from_raw(pid)?;
    let handle = pidfd_open(number, PidfdFlags::empty()).ok()?;
    Some((pid, handle))
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, os::unix::process::ExitStatusExt as _, process::Command};

    use rustix::process::Signal;

    use super::send;

    #[test]
    fn only_a_process_that_is_found_again_once_it_is_held_gets_the_signal() {
        let start = || Command::new("sleep").arg("60").spawn().unwrap();
        let (mut meant, mut other) = (start(), start());
        let pid = |child: &std::process::Child| child.id().cast_signed();
        let looks = Cell::new(0);
        // The second look does not find the other one: its number could be another's by then.
        let look = || {
            looks.set(looks.get() + 1);
            let both = vec![pid(&meant), pid(&other)];
            Ok(both.into_iter().take(3 - looks.get()).collect())
        };
        assert_eq!(send(Signal::KILL, look).unwrap(), [pid(&meant)]);
        assert_eq!(meant.wait().unwrap().signal(), Some(9));
        assert_eq!(other.try_wait().unwrap(), None);
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn a_process_that_is_gone_is_no_error_and_a_look_that_fails_is() {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let gone = child.id().cast_signed();
        assert_eq!(send(Signal::KILL, || Ok(vec![gone, 0])).unwrap(), [0; 0]);
        let fails = || Err(std::io::ErrorKind::NotFound.into());
        assert!(send(Signal::KILL, fails).is_err());
    }
}
