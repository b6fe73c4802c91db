//! What can go wrong while confining, grouped by blame: the machine, the caller's specification,
//! or a stage that broke off. There is no error that yields a weaker room.

use std::io;

use serde::{Deserialize, Serialize};

/// A room or a command that could not be confined as asked; nothing was started, or what had been
/// started was killed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfineError {
    /// The machine lacks a mechanism that every room needs, or forbids it.
    #[error("the kernel mechanism `{mechanism}` is missing: {why}; {what_to_do}")]
    MechanismMissing {
        /// The mechanism as `proofroom doctor` names it.
        mechanism: String,
        /// What the kernel or the helper program answered.
        why: String,
        /// What the machine's owner can do.
        what_to_do: String,
    },
    /// A step inside a stage process failed.
    #[error("the room stopped at `{step}`: {message}")]
    Stage {
        /// The step that failed.
        step: String,
        /// The stage's own words.
        message: String,
    },
    /// The specification cannot be carried out.
    #[error("the specification is not usable: {reason}")]
    Specification {
        /// Which value, and what it must be.
        reason: String,
    },
    /// A system call of our own failed.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A stage process ended or spoke out of turn.
    #[error("the stage process broke the start protocol: {reason}")]
    Protocol {
        /// What was expected.
        reason: String,
    },
    /// An answer `allow` to a call that is never allowed.
    #[error("the call `{call}` can only be denied")]
    NotAllowable {
        /// The system call.
        call: String,
    },
}

impl ConfineError {
    /// The stable code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::MechanismMissing { .. } => "mechanism-missing",
            Self::Stage { .. } => "stage-failed",
            Self::Specification { .. } => "specification-unusable",
            Self::System { .. } => "system-call-failed",
            Self::Protocol { .. } => "stage-protocol-broken",
            Self::NotAllowable { .. } => "call-not-allowable",
        }
    }
}

/// The failure of a stage as it travels to the process that started it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StageFailure {
    /// The mechanism at fault, or empty when a mere step failed.
    pub(crate) mechanism: String,
    pub(crate) step: String,
    pub(crate) message: String,
    pub(crate) what_to_do: String,
}

impl StageFailure {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "errors are handed over where they arise"
    )]
    pub(crate) fn step(step: impl Into<String>, message: impl ToString) -> Self {
        Self {
            mechanism: String::new(),
            step: step.into(),
            message: message.to_string(),
            what_to_do: String::new(),
        }
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "errors are handed over where they arise"
    )]
    pub(crate) fn mechanism(mechanism: &str, message: impl ToString, what_to_do: &str) -> Self {
        Self {
            mechanism: mechanism.to_owned(),
            step: mechanism.to_owned(),
            message: message.to_string(),
            what_to_do: what_to_do.to_owned(),
        }
    }
}

impl From<StageFailure> for ConfineError {
    fn from(failure: StageFailure) -> Self {
        if failure.mechanism.is_empty() {
            return Self::Stage {
                step: failure.step,
                message: failure.message,
            };
        }
        Self::MechanismMissing {
            mechanism: failure.mechanism,
            why: failure.message,
            what_to_do: failure.what_to_do,
        }
    }
}

/// Names the step whose system call failed.
pub(crate) trait AtStep<T> {
    fn at(self, step: &str) -> Result<T, StageFailure>;
}

impl<T, E: ToString> AtStep<T> for Result<T, E> {
    fn at(self, step: &str) -> Result<T, StageFailure> {
        self.map_err(|e| StageFailure::step(step, e.to_string()))
    }
}

/// Names the action whose system call failed.
pub(crate) trait Doing<T> {
    fn doing(self, action: &str) -> Result<T, ConfineError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, action: &str) -> Result<T, ConfineError> {
        self.map_err(|e| ConfineError::System {
            action: action.to_owned(),
            source: e.into(),
        })
    }
}
