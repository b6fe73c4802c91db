//! How the agent ended, as an exit code and a line for a person.

use std::process::ExitCode;

/// Why the agent stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The model finished the task, or answered without calling a tool.
    Completed,
    /// The model gave up, was refused, or made one mistake after the other.
    GaveUp,
    /// A limit on steps, time, tokens or size was reached.
    Limit,
    /// The model server or the supervisor did not keep to the protocol.
    Protocol,
}

impl Ended {
    /// 0 completed, 1 gave up, 2 limit, 3 protocol.
    #[must_use]
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::Completed => 0,
            Self::GaveUp => 1,
            Self::Limit => 2,
            Self::Protocol => 3,
        }
    }

    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(self.exit_status())
    }
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Why it stopped.
    pub ended: Ended,
    /// A stable code for the reason.
    pub code: String,
    /// The reason for a person. Holds no text of the conversation.
    pub message: String,
    /// Tool calls made.
    pub steps: u64,
}

/// A reason to stop, before the steps are counted into an [`Outcome`].
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    pub(crate) ended: Ended,
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Stop {
    pub(crate) fn new(ended: Ended, code: &str, message: impl Into<String>) -> Self {
        Self {
            ended,
            code: code.to_owned(),
            message: message.into(),
        }
    }
}
