//! The agent's system calls as they wait for an answer: read, decoded, allowed or denied. Not a
//! policy, and for calls with pointers not the boundary either (see the crate's first page).

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    ConfineError, Errno, REFUSED_ERRNO, REFUSED_FAMILY_ERRNO,
    error::Doing as _,
    sys::{self, RawAnswer},
};

mod call;
mod decode;
mod memory;
mod resolve;
mod ways;

pub use call::{ArgvRead, Call, PathArgument, SocketAddress, SocketKind};
pub use resolve::FinalLink;
pub use ways::Ways;

const CONTINUE: u32 = 1;

/// What the mechanism itself would answer; the caller's policy may only be stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suggestion {
    /// Let the kernel carry it out, under Landlock and ownership.
    Allow,
    /// Refuse it with this errno.
    Deny(Errno),
}

/// One system call of the agent that waits for an answer.
#[derive(Debug)]
pub struct Notification {
    pub(crate) id: u64,
    /// The calling thread, in the supervisor's pid namespace.
    pub pid: i32,
    /// The call's name, `syscall-<number>` if it has none here, `compat-<number>` if it came
    /// through another ABI.
    pub syscall: String,
    /// What it asks for.
    pub call: Call,
}

impl Notification {
    /// What the mechanism would answer.
    #[must_use]
    pub fn suggestion(&self) -> Suggestion {
        match &self.call {
            Call::Unreadable { .. } => Suggestion::Deny(Errno(libc::EFAULT)),
            Call::Socket { .. } => Suggestion::Deny(REFUSED_FAMILY_ERRNO),
            Call::ForeignAbi { .. } => Suggestion::Deny(Errno(libc::ENOSYS)),
            Call::Refused { .. } if self.syscall.starts_with("io_uring") => {
                Suggestion::Deny(Errno(libc::ENOSYS))
            }
            Call::Refused { .. } | Call::Identity => Suggestion::Deny(REFUSED_ERRNO),
            Call::Connect { address } | Call::Bind { address, .. } => address.suggestion(),
            Call::SendTo { addresses } => addresses
                .iter()
                .map(SocketAddress::suggestion)
                .find(|one| *one != Suggestion::Allow)
                .unwrap_or(Suggestion::Allow),
            _ => Suggestion::Allow,
        }
    }
}

impl Notification {
    /// Where a path argument leads now, as the caller sees it; what cannot be followed (a file yet
    /// to be made) stays as it is written. Not for a decision that must hold: the caller's other
    /// threads may change the way.
    #[must_use]
    pub fn resolve(&self, path: &PathArgument, last: FinalLink, ways: &Ways) -> PathBuf {
        ways.lead(&path.absolute(), last, self.pid)
    }

    /// Whether the caller sees the process with this number in its `/proc`.
    #[must_use]
    pub fn sees_process(&self, number: u32) -> bool {
        let path = format!("/proc/{}/root/proc/{number}", self.pid);
        std::fs::symlink_metadata(path).is_ok()
    }
}

/// The notification descriptor of one command. Read it on one thread of its own, or register the
/// descriptor and call [`Self::next`] when it is readable.
#[derive(Debug)]
pub struct Notifications {
    listener: OwnedFd,
    taking: Taking,
}

/// How the next notification is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taking {
    /// Taking one waits, and ends when nobody is left who could make one: Linux 6.11.
    Waits,
    /// Taking one would wait for ever when nobody is left.
    AfterPoll,
}

impl Taking {
    fn of_kernel(release: &str) -> Self {
        let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (6, 11) => Self::Waits,
            _ => Self::AfterPoll,
        }
    }
}

impl AsFd for Notifications {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Notifications {
    pub(crate) fn over(listener: OwnedFd) -> Result<Self, ConfineError> {
        sys::wake_in_turn(listener.as_fd()).doing("set the notification descriptor's flags")?;
        let kernel = rustix::system::uname();
        let taking = Taking::of_kernel(&kernel.release().to_string_lossy());
        Ok(Self { listener, taking })
    }

    /// A second handle on the same notifications, for a thread of its own.
    ///
    /// # Errors
    /// `system-call-failed` when no descriptor is left.
    pub fn try_clone(&self) -> Result<Self, ConfineError> {
        let listener = self.listener.try_clone();
        Ok(Self {
            listener: listener.doing("duplicate the notification descriptor")?,
            taking: self.taking,
        })
    }

    /// Waits for the next call; `None` when no process under this filter is left.
    ///
    /// Arguments that cannot be read become [`Call::Unreadable`], never an error or a crash. A
    /// caller that dies while its arguments are read is skipped.
    ///
    /// # Errors
    /// `system-call-failed` when the descriptor itself fails; the caller must end the command.
    pub fn next(&self) -> Result<Option<Notification>, ConfineError> {
        loop {
            if self.taking == Taking::AfterPoll && !self.are_callers_left(None)? {
                return Ok(None);
            }
            let raw = match sys::take_notification(self.listener.as_fd()) {
                Ok(raw) => raw,
                Err(e) if e.raw_os_error() == Some(libc::EINTR) => continue,
                // The caller died before it was taken, or all are gone.
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
                    if self.are_callers_left(Some(&Timespec::default()))? {
                        continue;
                    }
                    return Ok(None);
                }
                Err(e) => return Err(e).doing("take a notification"),
            };
            let notification = decode::decode(&raw);
            // Only now is it known that what was read belonged to the process that called.
            if sys::still_waiting(self.listener.as_fd(), raw.id).is_ok() {
                return Ok(Some(notification));
            }
        }
    }

    /// Waits for a call or for the end of all callers, at most for `timeout`; says whether it was not the end.
    fn are_callers_left(&self, timeout: Option<&Timespec>) -> Result<bool, ConfineError> {
        loop {
            let mut fds = [PollFd::new(&self.listener, PollFlags::IN)];
            match poll(&mut fds, timeout) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other.doing("wait for a notification")?,
            };
            let found = fds.first().map_or(PollFlags::empty(), PollFd::revents);
            return Ok(found.is_empty() || found.contains(PollFlags::IN));
        }
    }

    /// Lets the kernel carry out the call.
    ///
    /// # Errors
    /// `call-not-allowable` for a call that is always refused ([`Call::Refused`],
    /// [`Call::ForeignAbi`], [`Call::Socket`], [`Call::Unreadable`]): deny it instead.
    pub fn allow(&self, notification: &Notification) -> Result<(), ConfineError> {
        if !notification.call.is_allowable() {
            return Err(ConfineError::NotAllowable {
                call: notification.syscall.clone(),
            });
        }
        self.answer(RawAnswer {
            id: notification.id,
            flags: CONTINUE,
            ..RawAnswer::default()
        })
    }

    /// Refuses the call with an errno.
    ///
    /// # Errors
    /// `system-call-failed` when the descriptor itself fails.
    pub fn deny(&self, notification: &Notification, errno: Errno) -> Result<(), ConfineError> {
        // An errno of zero would read as success.
        let error = if errno.0 > 0 {
            -errno.0
        } else {
            -REFUSED_ERRNO.0
        };
        self.answer(RawAnswer {
            id: notification.id,
            error,
            ..RawAnswer::default()
        })
    }

    fn answer(&self, answer: RawAnswer) -> Result<(), ConfineError> {
        match sys::answer(self.listener.as_fd(), answer) {
            // The caller was killed while it waited: nothing is left to answer.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            other => other.doing("answer a notification"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Taking;

    #[test]
    fn only_kernels_that_end_the_wait_are_waited_in() {
        for release in [
            "6.11",
            "6.11.0-rc1",
            "6.12.1+deb13-cloud-amd64",
            "7.3.4",
            "10.0-x",
        ] {
            assert_eq!(Taking::of_kernel(release), Taking::Waits, "{release}");
        }
        for release in [
            "6.10.99",
            "6.1.0-28-amd64",
            "5.19.0",
            "6",
            "",
            "6.x",
            "next-6.11",
        ] {
            assert_eq!(Taking::of_kernel(release), Taking::AfterPoll, "{release}");
        }
    }
}
