//! The stage program's entry: the single-threaded processes that build a room and confine a
//! command. `main` of the stage program calls [`main`] first.

use std::{
    ffi::OsString,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    process::ExitCode,
};

use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use serde::de::DeserializeOwned;

use crate::{
    control::{Control, Message},
    error::{AtStep as _, StageFailure},
    sys::{self, Cloned},
};

mod confine;
mod launch;

/// Longest specification of a stage.
const MAX_SPECIFICATION_BYTES: u64 = 4 << 20;

/// Runs the stage that `arguments` (without the program's own name) asks for; `None` when they ask
/// for none, so that the program may go on with its own.
///
/// Call it before any thread is started: a stage copies its process.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let stage = arguments.next()?;
    let run = match stage.to_str()? {
        "launch" => launch::run,
        "confine" => confine::run,
        _ => return None,
    };
    Some(match control().and_then(|control| run(&control)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(()) => ExitCode::from(70),
    })
}

/// The supervisor's end of the channel, closed on exec from now on. Call it once, in the program
/// that the launch stage executed.
///
/// # Errors
/// When descriptor [`crate::CHANNEL_FD`] is not an open socket.
pub fn take_channel() -> std::io::Result<std::os::unix::net::UnixStream> {
    let fd = sys::adopt(crate::CHANNEL_FD)?;
    rustix::net::sockopt::socket_domain(&fd)?;
    Ok(fd.into())
}

/// Copies this process. The copy sends nothing and executes nothing before it has passed its gate,
/// which opens when the other side was told of it (`Init`): so its own messages can never come
/// first, and it can always be killed.
fn first_of_namespace(
    control: &Control,
    flags: i32,
    group: Option<BorrowedFd<'_>>,
) -> Result<Copied, StageFailure> {
    let (gate, opener) = Control::pair().at("make a gate")?;
    let cloned = sys::clone_process(flags, group).map_err(|e| {
        StageFailure::mechanism(
            "pid-namespace",
            e,
            "raise user.max_pid_namespaces and pids limits",
        )
    })?;
    match cloned {
        Cloned::Parent { pid, pidfd } => {
            control
                .send(&Message::Init { pid }, &[pidfd.as_fd()])
                .at("tell of the process")?;
            Ok(Copied::Original(Opener(Control::over(opener))))
        }
        Cloned::Child => Ok(Copied::First(Gate(gate))),
    }
}

enum Copied {
    Original(Opener),
    First(Gate),
}

/// The original's side of the gate.
#[must_use]
struct Opener(Control);

impl Opener {
    /// Lets the copy go on, with what was made for it meanwhile.
    fn open(&self, with: &[BorrowedFd<'_>]) -> Result<(), StageFailure> {
        self.0.send(&Message::GoOn, with).at("open the gate")
    }
}

/// The copy's side of the gate, see [`first_of_namespace`].
#[must_use]
struct Gate(Control);

impl Gate {
    /// Waits for the original; ends this process when it never opens the gate.
    fn pass(self) -> Vec<OwnedFd> {
        match self.0.expect("gate") {
            Ok((Message::GoOn, fds)) => fds,
            _ => sys::leave(70),
        }
    }
}

/// Removes everything but `kept` from the bounding set, capabilities of newer kernels included.
fn bound_capabilities(kept: CapabilitySet) -> Result<(), StageFailure> {
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if kept.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Past the last capability that this kernel has.
            Err(rustix::io::Errno::INVAL) => break,
            Err(e) => return Err(e).at("drop capabilities"),
        }
    }
    Ok(())
}

/// The control socket is standard input, so that nothing else has to be inherited.
fn control() -> Result<Control, ()> {
    sys::close_from(3).map_err(drop)?;
    let fd = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(drop)?;
    Ok(Control::over(fd))
}

/// The start message's specification and the descriptors that follow it.
fn start<T: DeserializeOwned>(control: &Control) -> Result<(T, Vec<OwnedFd>), StageFailure> {
    let (Message::Start, mut fds) = control.expect("start").at("start")? else {
        return Err(StageFailure::step("start", "`start` was expected"));
    };
    if fds.is_empty() {
        return Err(StageFailure::step("start", "no specification came"));
    }
    let file = std::fs::File::from(fds.remove(0));
    let text = std::io::read_to_string(std::io::Read::take(file, MAX_SPECIFICATION_BYTES))
        .at("read the specification")?;
    let specification = serde_json::from_str(&text).at("parse the specification")?;
    Ok((specification, fds))
}

fn report<T>(control: &Control, result: Result<T, StageFailure>) -> Result<T, ()> {
    result.map_err(|failure| {
        // the other side then sees the end of the stream instead
        drop(control.send(&Message::Failed(failure), &[]));
    })
}
