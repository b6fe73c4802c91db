//! The two scales that are printed with everything Proofroom claims: how strongly a room is
//! isolated, and who saw an event.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How strongly a room is isolated. In every record, on every screen, never blank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IsolationLevel {
    /// Confidential VM; its quote verified to the vendor's root. The operator cannot read memory.
    Hardware,
    /// Own kernel in a virtual machine; the host operator can read its memory.
    Vm,
    /// Namespaces, seccomp and Landlock on the host's kernel; the operator can read its memory.
    Process,
    /// The hardware path with test keys; proves nothing, for development.
    Simulated,
}

impl IsolationLevel {
    /// The level's name as records spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::Vm => "vm",
            Self::Process => "process",
            Self::Simulated => "simulated",
        }
    }

    /// What the level does not protect against, in words for a person.
    #[must_use]
    pub const fn not_proven(self) -> &'static str {
        match self {
            Self::Hardware => "physical interposers on the memory bus are out of scope",
            Self::Vm => "no memory encryption: the host's operator can read the room's memory",
            Self::Process => {
                "no hardware isolation: the room shares the host's kernel, and the host's operator can read its memory"
            }
            Self::Simulated => "nothing about hardware: the evidence was signed with test keys",
        }
    }
}

impl fmt::Display for IsolationLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who saw an event. A disagreement between levels is itself an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EvidenceLevel {
    /// Claimed by the agent (its protocol or hooks); forgeable by it.
    E1,
    /// Observed by the gateway or a broker.
    E2,
    /// Observed by the room's kernel or supervisor.
    E3,
}

impl fmt::Display for EvidenceLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::E1 => "E1",
            Self::E2 => "E2",
            Self::E3 => "E3",
        })
    }
}
