//! The ways in which a session comes to its end.

use proofroom_e2e::{Live, Process, RoomCommand};

use crate::stage::Stage;

/// How a session comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The built-in agent finishes its task.
    Completed,
    /// The agent says that it failed.
    FailedAgent,
    /// The agent dies of a signal.
    CrashedAgent,
    OutputLimit,
    TimeLimit,
    Idle,
    /// A person at the terminal.
    Interrupt,
    /// SIGKILL to the host's process.
    HostKilled,
    PausedAndHostKilled,
    /// The host's process died with the machine's last boot, as far as its notes can tell.
    Rebooted,
    /// SIGKILL to what the host's process speaks to: the supervisor, or QEMU, whose guest is then as
    /// dead as one that crashed.
    RoomKilled,
    EndedByRequest,
    EndedAtOnce,
}

/// Those of `process` rooms.
pub(crate) const PROCESS_WAYS: [Way; 13] = [
    Way::Completed,
    Way::HostKilled,
    Way::EndedByRequest,
    Way::TimeLimit,
    Way::CrashedAgent,
    Way::Rebooted,
    Way::RoomKilled,
    Way::Idle,
    Way::FailedAgent,
    Way::OutputLimit,
    Way::Interrupt,
    Way::EndedAtOnce,
    Way::PausedAndHostKilled,
];

/// Those of virtual machines, besides the one that lives while the others are looked for, which is ended
/// by request.
pub(crate) const MACHINE_WAYS: [Way; 4] = [
    Way::HostKilled,
    Way::Completed,
    Way::TimeLimit,
    Way::RoomKilled,
];

impl Way {
    /// What the agent does after it has put its secret everywhere. A shell that starts a program every
    /// second is not idle.
    pub(crate) const fn then(self) -> &'static str {
        match self {
            Self::FailedAgent => "sleep 0.3; exit 3",
            Self::CrashedAgent => "sleep 0.3; kill -SEGV $$",
            // the shell itself: arguments of programs are in events
            Self::OutputLimit => "sleep 0.3; while :; do echo $s; done",
            Self::Idle => "sleep 600",
            _ => "while :; do sleep 1; done",
        }
    }

    /// Ends a session that is in the middle of its work, and sees that its end has this cause.
    pub(crate) fn end(self, stage: &Stage, live: Live, id: &str) {
        let Some(wanted) = self.ask(stage, &live, id) else {
            return self.kill_host(stage, live, id);
        };
        let bundle = live.finish();
        assert_eq!(bundle.end(), Some(wanted), "{self:?}: {bundle:#?}");
    }

    fn kill_host(self, stage: &Stage, live: Live, id: &str) {
        let processes = live.processes();
        drop(live.kill());
        if self == Self::Rebooted {
            // a reboot ends every process; then the note of the session is of another boot
            Process::assert_gone(&processes);
            stage.age(id);
        }
        RoomCommand::new(&stage.deployment, &["sweep"]).success();
    }

    /// Brings the end about, where it does not come by itself; the cause that the session will name, or
    /// nothing where its host is to be killed.
    fn ask(self, stage: &Stage, live: &Live, id: &str) -> Option<&'static str> {
        let room = |arguments: &[&str]| {
            RoomCommand::new(&stage.deployment, arguments).success();
        };
        Some(match self {
            Self::Completed => "completed",
            Self::FailedAgent | Self::CrashedAgent => "agent-failed",
            Self::OutputLimit | Self::TimeLimit | Self::Idle => "limit-reached",
            Self::Interrupt => {
                live.signal("INT");
                "cancelled"
            }
            Self::RoomKilled => {
                let room = live.processes().into_iter().find(is_the_room);
                kill(room.expect("a supervisor or QEMU").pid);
                "interrupted"
            }
            Self::EndedByRequest => {
                room(&["end", id]);
                "cancelled"
            }
            Self::EndedAtOnce => {
                room(&["end", "--now", id]);
                "interrupted"
            }
            Self::PausedAndHostKilled => {
                room(&["pause", id]);
                return None;
            }
            Self::HostKilled | Self::Rebooted => return None,
        })
    }
}

/// The supervisor of a `process` room, or the QEMU of a machine.
fn is_the_room(process: &Process) -> bool {
    let line = std::fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
    line.starts_with(b"/proofroom/proofroom-guest\0supervise")
        || line.starts_with(b"/usr/bin/qemu-system-x86_64\0")
}

pub(crate) fn kill(pid: u32) {
    let sent = std::process::Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .status();
    assert!(sent.expect("kill starts").success());
}
