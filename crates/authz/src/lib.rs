//! May this agent do this action on this resource? Three answers must all be yes: no name on the way
//! is protected, the access policy (Cedar) permits it, and the task's grant covers it. Pure: no I/O
//! and no clock. It decides what mediated tools do; it is not the boundary that holds commands.

#![forbid(unsafe_code)]

mod examples;
mod grant;
mod operation;
mod path;
mod policy;

pub use grant::{GrantError, TaskGrant};
pub use operation::{Operation, PathAction};
pub use path::{MAX_PATH_BYTES, PathError, RunsLater, WorkspacePath};
pub use policy::{AccessPolicy, DEFAULT_POLICY, MAX_POLICY_BYTES, PolicyProblem};

/// What was decided, by which policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may happen.
    Allow {
        /// Ids of the permits that allowed it.
        policies: Vec<String>,
    },
    /// It must not happen.
    Deny {
        /// Why.
        code: DenyCode,
        /// For a person: which rule, and what it says.
        reason: String,
        /// Ids of the policies that forbade it; empty when no policy permits it.
        policies: Vec<String>,
    },
}

/// Why something was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenyCode {
    /// A policy forbids it, or none permits it.
    AccessPolicy,
    /// The task's grant does not cover it.
    NotGranted,
    /// The policy could not be evaluated for it.
    PolicyError,
    /// A protected name is on the way.
    ProtectedPath,
}

impl DenyCode {
    /// The stable code, as outcome events carry it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessPolicy => "access-policy",
            Self::NotGranted => "not-granted",
            Self::PolicyError => "policy-error",
            Self::ProtectedPath => "protected-path",
        }
    }
}

/// One agent's access for one task: the policy, narrowed by the grant.
#[derive(Debug)]
pub struct Access {
    policy: AccessPolicy,
    grant: TaskGrant,
    agent: String,
}

impl Access {
    /// What `agent` may do under `policy`, for a task with this grant.
    #[must_use]
    pub const fn new(policy: AccessPolicy, grant: TaskGrant, agent: String) -> Self {
        Self {
            policy,
            grant,
            agent,
        }
    }

    /// Decides one operation. An error on the way is a denial.
    #[must_use]
    pub fn decide(&self, operation: &Operation) -> Decision {
        let decision = self.policy.decide(&self.agent, operation);
        if matches!(decision, Decision::Allow { .. }) && !self.grant.covers(operation) {
            return Decision::Deny {
                code: DenyCode::NotGranted,
                reason: format!("the task's grant does not cover `{operation}`"),
                policies: Vec::new(),
            };
        }
        decision
    }
}

#[cfg(test)]
mod tests;
