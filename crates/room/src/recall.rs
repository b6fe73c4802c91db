//! Taking a machine back while another thread still boots it: its first process is killed by its
//! handle, wherever groups can or cannot be written.

use std::{
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rustix::process::{Signal, pidfd_send_signal};

use crate::{RoomError, error::On as _};

/// A start that can be taken back from another thread. After that nothing starts under it any more.
#[derive(Clone, Debug, Default)]
pub struct Recall(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    recalled: bool,
    processes: Vec<OwnedFd>,
}

impl Recall {
    /// Kills what was started under it, and whatever will be. The thread that boots it sees the end of
    /// the machine and cleans up. Returns how many processes it ended.
    pub fn recall(&self) -> usize {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.recalled = true;
        let kill = |process: OwnedFd| pidfd_send_signal(&process, Signal::KILL);
        // One that has ended already is what is wanted.
        held.processes
            .drain(..)
            .filter_map(|process| kill(process).ok())
            .count()
    }

    /// An error when the start was taken back.
    pub(crate) fn stands(&self) -> Result<(), RoomError> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match held.recalled {
            true => Err(RoomError::Recalled),
            false => Ok(()),
        }
    }

    /// Takes note of a process that was started; an error when the start was taken back meanwhile, and
    /// the caller ends it.
    pub(crate) fn hold(&self, process: BorrowedFd<'_>) -> Result<(), RoomError> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.recalled {
            return Err(RoomError::Recalled);
        }
        let copied = process.try_clone_to_owned();
        held.processes
            .push(copied.on("copy", Path::new("a process's handle"))?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{os::fd::AsFd as _, os::unix::process::ExitStatusExt as _, process::Command};

    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::Recall;

    #[test]
    fn what_was_started_is_killed_and_nothing_starts_after_it() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let handle = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        let recall = Recall::default();
        recall.hold(handle.as_fd()).unwrap();
        assert_eq!(child.try_wait().unwrap(), None);
        assert_eq!(recall.clone().recall(), 1);
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        let refused = recall.hold(handle.as_fd()).unwrap_err();
        assert_eq!(refused.code(), "start-recalled");
    }
}
