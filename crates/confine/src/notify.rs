//! The agent's system calls as they wait for an answer: read, decoded, allowed or denied. Not a
//! policy, and for calls with pointers not the boundary either (see the crate's first page).

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use rustix::event::{PollFd, PollFlags, poll};

use crate::{
    ConfineError, Errno, REFUSED_ERRNO, REFUSED_FAMILY_ERRNO,
    error::Doing as _,
    sys::{self, RawAnswer},
};

mod call;
mod decode;
mod memory;
mod resolve;

pub use call::{ArgvRead, Call, PathArgument, SocketAddress, SocketKind};
pub use resolve::FinalLink;

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
    pub fn resolve(&self, path: &PathArgument, last: FinalLink) -> PathBuf {
        resolve::resolve(&path.absolute(), last, &resolve::OfProcess(self.pid))
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
pub struct Notifications(OwnedFd);

impl AsFd for Notifications {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Notifications {
    pub(crate) fn over(listener: OwnedFd) -> Result<Self, ConfineError> {
        sys::wake_in_turn(listener.as_fd()).doing("set the notification descriptor's flags")?;
        Ok(Self(listener))
    }

    /// A second handle on the same notifications, for a thread of its own.
    ///
    /// # Errors
    /// `system-call-failed` when no descriptor is left.
    pub fn try_clone(&self) -> Result<Self, ConfineError> {
        Ok(Self(
            self.0
                .try_clone()
                .doing("duplicate the notification descriptor")?,
        ))
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
            let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
            match poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other.doing("wait for a notification")?,
            };
            let ready = fds.first().map_or(PollFlags::empty(), PollFd::revents);
            if !ready.contains(PollFlags::IN) {
                return Ok(None);
            }
            let raw = match sys::take_notification(self.0.as_fd()) {
                Ok(raw) => raw,
                // ENOENT: the caller died between poll and take.
                Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => continue,
                Err(e) => return Err(e).doing("take a notification"),
            };
            let notification = decode::decode(&raw);
            // Only now is it known that what was read belonged to the process that called.
            if sys::still_waiting(self.0.as_fd(), raw.id).is_ok() {
                return Ok(Some(notification));
            }
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
        match sys::answer(self.0.as_fd(), answer) {
            // The caller was killed while it waited: nothing is left to answer.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            other => other.doing("answer a notification"),
        }
    }
}
