//! The start protocol with the `launch` stage, host's side.

use std::{
    fs,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    process::{Child, Command},
};

use super::{Diagnostics, IdMap, Launched, MapWriter, RoomSpec};
use crate::{
    AGENT_ID, ConfineError, SUPERVISOR_ID, StageProgram,
    command::{memory_file, one, start_stage},
    control::{Control, GroupKind, Message, Waiting},
    error::Doing as _,
    notify::Notifications,
};

/// A resource group that the room is in before its first process runs.
#[derive(Debug)]
pub enum Group {
    /// Version 1: the group's `tasks` file, opened for writing. The launcher, which has one thread,
    /// moves itself: moving another process waits for a grace period of the kernel (5 to 15 ms),
    /// moving oneself does not (0.05 ms).
    Tasks(OwnedFd),
    /// Version 2: the group's directory. The first process is born in it (`CLONE_INTO_CGROUP`),
    /// which waits for no grace period either. One per room: version 2 is one hierarchy.
    Directory(OwnedFd),
}

impl Group {
    fn kind(&self) -> GroupKind {
        match self {
            Self::Tasks(_) => GroupKind::Tasks,
            Self::Directory(_) => GroupKind::Directory,
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tasks(fd) | Self::Directory(fd) => fd.as_fd(),
        }
    }
}

/// A launcher that was executed and waits to be told of a room. It has no namespaces, no groups and
/// no part of any session yet. Dropping it ends it.
#[derive(Debug)]
pub struct Launcher {
    /// `None` once it is being ended.
    control: Option<Control>,
    child: Child,
}

impl Launcher {
    /// Executes the launcher; its program is loaded while the caller prepares the room. Safe in a
    /// threaded process, because nothing but `exec` happens between fork and the launcher's own
    /// code.
    ///
    /// # Errors
    /// `system-call-failed` when `stage` cannot be executed.
    pub fn spawn(stage: &StageProgram, diagnostics: Diagnostics) -> Result<Self, ConfineError> {
        let (control, child) = start_stage(stage, "launch", diagnostics)?;
        Ok(Self {
            control: Some(control),
            child,
        })
    }

    /// Sends the launcher into `groups` and into its namespaces. Returns before it is there.
    ///
    /// # Errors
    /// `system-call-failed` when the launcher has ended.
    pub fn enter(self, groups: &[Group]) -> Result<Entering, ConfineError> {
        let kinds = groups.iter().map(Group::kind).collect();
        let fds: Vec<_> = groups.iter().map(Group::fd).collect();
        self.control()?
            .send(&Message::Join { groups: kinds }, &fds)?;
        Ok(Entering(self))
    }

    fn control(&self) -> Result<&Control, ConfineError> {
        self.control
            .as_ref()
            .ok_or_else(|| broken("the launcher was ended"))
    }

    /// Without the other end of the control socket a launcher in whatever state ends itself.
    fn end(&mut self) -> Result<(), ConfineError> {
        drop(self.control.take());
        self.child.wait().map(drop).doing("wait for the launcher")
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // of one that was waited for, the standard library remembers the status
        drop(self.end());
    }
}

/// A launcher on its way into a room's groups and namespaces. Dropping it ends it.
#[derive(Debug)]
pub struct Entering(Launcher);

impl Entering {
    /// Starts a room whose supervisor finds `inherited` as descriptors 3, 4, … (the channel first)
    /// and whose first process is in the groups. The file systems of [`RoomSpec::mounts`] are the
    /// last of `inherited`, and no descriptor of the supervisor's. Blocking, single-digit milliseconds.
    ///
    /// # Errors
    /// `mechanism-missing` when a group, a namespace, the id maps or a mount is refused;
    /// `stage-failed` when a named path is not usable. Nothing is left running then.
    pub fn start(
        mut self,
        spec: &RoomSpec,
        ids: IdMap,
        inherited: &[OwnedFd],
    ) -> Result<Launched, ConfineError> {
        if spec.supervisor.is_empty() {
            return Err(ConfineError::Specification {
                reason: "`supervisor` is empty".to_owned(),
            });
        }
        let control = self.0.control()?;
        let specification = memory_file(spec)?;
        let mut beside = vec![specification.as_fd()];
        beside.extend(inherited.iter().map(OwnedFd::as_fd));
        let sent = control.send(&Message::Start, &beside);
        // A launcher that failed meanwhile has said why.
        let launched = follow(control, self.0.child.id(), ids).and_then(|room| sent.map(|()| room));
        self.0.end()?;
        launched
    }
}

fn broken(reason: &str) -> ConfineError {
    ConfineError::Protocol {
        reason: reason.to_owned(),
    }
}

fn follow(control: &Control, launcher: u32, ids: IdMap) -> Result<Launched, ConfineError> {
    let (Message::MapMe, _) = control.expect("map-me")? else {
        return Err(broken("`map-me` was expected"));
    };
    write_maps(launcher, ids)
        .and_then(|()| control.send(&Message::Mapped, &[]))
        .map_err(|error| match control.receive(Waiting::No) {
            // A launcher that failed meanwhile has said why.
            Ok(Some((Message::Failed(failure), _))) => failure.into(),
            _ => error,
        })?;
    let (Message::Init { pid }, fds) = control.expect("init")? else {
        return Err(broken("`init` was expected"));
    };
    let mut launched = Launched {
        pid,
        pidfd: one(fds)?,
        mechanisms: Vec::new(),
    };
    let (Message::Built { mechanisms }, listener) = control.expect("built")? else {
        return Err(broken("`built` was expected"));
    };
    launched.mechanisms = mechanisms;
    if !listener.is_empty() {
        let_execute(&Notifications::over(one(listener)?)?)?;
    }
    // The socket closes when the supervisor is executed; a failure to do so still speaks.
    match control.receive(Waiting::Yes)? {
        None => Ok(launched),
        Some((Message::Failed(failure), _)) => Err(failure.into()),
        Some(_) => Err(broken("too many messages")),
    }
}

/// Lets a jail's program be executed. Its listener is closed with that, and without a listener the
/// kernel executes nothing any more (`ENOSYS`).
fn let_execute(once: &Notifications) -> Result<(), ConfineError> {
    match once.next()? {
        Some(call) => once.allow(&call),
        // It ended before, and the control socket says why.
        None => Ok(()),
    }
}

fn write_maps(launcher: u32, ids: IdMap) -> Result<(), ConfineError> {
    let IdMap {
        supervisor,
        agent,
        writer,
    } = ids;
    if supervisor == 0 || agent == 0 || supervisor == agent {
        return Err(ConfineError::Specification {
            reason: format!("the host ids `{supervisor}` and `{agent}` must differ and not be 0"),
        });
    }
    let missing = |why: String| ConfineError::MechanismMissing {
        mechanism: "subordinate-uids".to_owned(),
        why,
        what_to_do: "run as root, or install `uidmap` and give this user a range in /etc/subuid \
                     and /etc/subgid"
            .to_owned(),
    };
    for (file, helper) in [("uid_map", "newuidmap"), ("gid_map", "newgidmap")] {
        match writer {
            MapWriter::Root => {
                let map = format!("{SUPERVISOR_ID} {supervisor} 1\n{AGENT_ID} {agent} 1\n");
                fs::write(format!("/proc/{launcher}/{file}"), map)
                    .map_err(|e| missing(format!("{file}: {e}")))?;
            }
            MapWriter::Helpers => {
                let numbers = [launcher, SUPERVISOR_ID, supervisor, 1, AGENT_ID, agent, 1];
                let output = Command::new(helper)
                    .args(numbers.map(|n| n.to_string()))
                    .output();
                let output = output.map_err(|e| missing(format!("`{helper}`: {e}")))?;
                if !output.status.success() {
                    let said = String::from_utf8_lossy(&output.stderr);
                    return Err(missing(format!("`{helper}`: {}", said.trim())));
                }
            }
        }
    }
    Ok(())
}
