//! Stopping a whole room in memory and letting it go on. Nothing of it is written to a disk.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use proofroom_confine::{IdMap, launch};
use rustix::process::Signal;

use crate::{RoomError, error::On as _, signals};

/// How often the processes of a room are looked for, 1 ms apart.
const TRIES: u32 = 5000;
/// How often a room is tried to be stopped, each time waiting twice as long as before.
const ATTEMPTS: u32 = 8;
/// How long the first attempt waits, and the longest that any waits.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Stops a room in memory. Each kind of room has its own way.
pub trait Pause: Send + Sync + fmt::Debug {
    /// Stops every process of the room. Returns when all of them are stopped. Blocking.
    ///
    /// # Errors
    /// `room-not-stopped`: then the room goes on.
    fn pause(&self) -> Result<(), RoomError>;

    /// Lets the room go on. Blocking.
    ///
    /// # Errors
    /// `file-operation-failed`.
    fn resume(&self) -> Result<(), RoomError>;

    /// By what it is stopped, for a person.
    fn mechanism(&self) -> &'static str;
}

/// The room's version 2 group is frozen.
#[derive(Debug)]
pub(crate) struct FreezeGroup(pub(crate) PathBuf);

impl Pause for FreezeGroup {
    fn pause(&self) -> Result<(), RoomError> {
        let file = self.0.join("cgroup.freeze");
        let events = self.0.join("cgroup.events");
        let frozen = || {
            let text = fs::read_to_string(&events).unwrap_or_default();
            Ok(text.lines().any(|line| line == "frozen 1"))
        };
        let freeze = || fs::write(&file, "1").on("write", &file);
        attempt(freeze, frozen, || self.resume())
    }

    fn resume(&self) -> Result<(), RoomError> {
        let file = self.0.join("cgroup.freeze");
        fs::write(&file, "0").on("write", &file)
    }

    fn mechanism(&self) -> &'static str {
        "cgroup-v2-freeze"
    }
}

/// A version 1 freezer, into which the room's processes are moved when it is first stopped: moving
/// them at the start would cost every room what few rooms need.
#[derive(Debug)]
pub(crate) struct Freezer {
    pub(crate) directory: PathBuf,
    pub(crate) ids: IdMap,
}

impl Freezer {
    /// Whether this process may make the group.
    pub(crate) fn may_be_made(directory: &Path) -> bool {
        let above = directory.parent().unwrap_or(directory);
        rustix::fs::access(above, rustix::fs::Access::WRITE_OK).is_ok()
    }

    /// Every process of the room is a member afterwards: children of members are born as members, so
    /// the ones outside become fewer.
    fn gather(&self) -> Result<(), RoomError> {
        let file = self.directory.join("cgroup.procs");
        for _ in 0..TRIES {
            let members = fs::read_to_string(&file).on("read", &file)?;
            let member = |pid: &i32| members.lines().any(|line| line == pid.to_string());
            let all = launch::processes_of(self.ids).on("list", Path::new("/proc"))?;
            let mut outside = all.iter().filter(|pid| !member(pid)).peekable();
            if outside.peek().is_none() {
                return Ok(());
            }
            for pid in outside {
                // One that has ended meanwhile cannot be moved, and need not be.
                drop(fs::write(&file, pid.to_string()));
            }
        }
        Err(not_stopped("its processes keep leaving its group"))
    }
}

impl Pause for Freezer {
    fn pause(&self) -> Result<(), RoomError> {
        match fs::create_dir(&self.directory) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error).on("create", &self.directory);
            }
            Ok(()) | Err(_) => {}
        }
        self.gather()?;
        let file = self.directory.join("freezer.state");
        let frozen = || Ok(fs::read_to_string(&file).is_ok_and(|text| text.trim() == "FROZEN"));
        let freeze = || fs::write(&file, "FROZEN").on("write", &file);
        attempt(freeze, frozen, || self.resume())
    }

    fn resume(&self) -> Result<(), RoomError> {
        let file = self.directory.join("freezer.state");
        fs::write(&file, "THAWED").on("write", &file)
    }

    fn mechanism(&self) -> &'static str {
        "cgroup-v1-freezer"
    }
}

/// Every process gets SIGSTOP, for machines without writable groups.
#[derive(Debug)]
pub(crate) struct StopSignals(pub(crate) IdMap);

impl StopSignals {
    fn all(&self) -> Result<Vec<i32>, RoomError> {
        launch::processes_of(self.0).on("list", Path::new("/proc"))
    }

    fn send(&self, signal: Signal) -> Result<(), RoomError> {
        let look = || launch::processes_of(self.0);
        signals::send(signal, look)
            .map(drop)
            .on("list", Path::new("/proc"))
    }
}

impl Pause for StopSignals {
    fn pause(&self) -> Result<(), RoomError> {
        // A child that was made while its parent was not stopped yet is seen in the next look.
        let stopped = || {
            self.send(Signal::STOP)?;
            Ok(self.all()?.into_iter().all(is_stopped))
        };
        attempt(|| Ok(()), stopped, || self.resume())
    }

    fn resume(&self) -> Result<(), RoomError> {
        self.send(Signal::CONT)
    }

    fn mechanism(&self) -> &'static str {
        "stop-signals"
    }
}

fn is_stopped(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|rest| rest.starts_with(['T', 't', 'Z', 'X']))
}

/// Stops until it is stopped. A process that waits for its supervisor to answer a system call does not
/// stop, and a supervisor that was stopped before it does not answer: then all go on for a moment, and
/// it is tried again.
fn attempt(
    stop: impl Fn() -> Result<(), RoomError>,
    stopped: impl Fn() -> Result<bool, RoomError>,
    resume: impl Fn() -> Result<(), RoomError>,
) -> Result<(), RoomError> {
    let mut wait = FIRST_WAIT;
    for _ in 0..ATTEMPTS {
        stop()?;
        let began = Instant::now();
        while began.elapsed() < wait {
            if stopped()? {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        resume()?;
        std::thread::sleep(FIRST_WAIT);
        wait = (wait * 2).min(LONGEST_WAIT);
    }
    Err(not_stopped("the kernel did not stop all of it in time"))
}

fn not_stopped(why: &str) -> RoomError {
    RoomError::NotStopped {
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, process::Command};

    use super::{attempt, is_stopped};

    #[test]
    fn a_room_that_does_not_stop_at_once_goes_on_and_is_stopped_again() {
        let (stops, resumes) = (Cell::new(0), Cell::new(0));
        let count = |cell: &Cell<u32>| {
            cell.set(cell.get() + 1);
            Ok(())
        };
        let stopped = || Ok(stops.get() == 3);
        attempt(|| count(&stops), stopped, || count(&resumes)).unwrap();
        assert_eq!((stops.get(), resumes.get()), (3, 2));
    }

    #[test]
    fn a_process_counts_as_stopped_when_the_kernel_says_so() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id().cast_signed();
        assert!(!is_stopped(pid));
        let signal = |name: &str| {
            let sent = Command::new("kill").args([name, &pid.to_string()]).status();
            assert!(sent.unwrap().success());
        };
        signal("-STOP");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while !is_stopped(pid) {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        signal("-KILL");
        child.wait().unwrap();
    }
}
