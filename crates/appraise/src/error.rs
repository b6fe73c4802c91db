//! Why there is no report at all. Evidence that is wrong has one.

use proofroom_canonical::Refusal;

use crate::Kind;

/// Why evidence cannot be appraised.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppraiseError {
    /// More bytes than any evidence has.
    #[error("evidence of {have} bytes is larger than the {max} allowed")]
    TooLarge {
        /// Its size in bytes.
        have: usize,
        /// The most that is read.
        max: usize,
    },
    /// Bytes of no kind that is read.
    #[error(
        "this is no evidence that is known here ({seen}); looked for: {}",
        Kind::looked_for()
    )]
    Unknown {
        /// What the bytes look like.
        seen: &'static str,
    },
    /// A policy for another kind of evidence.
    #[error("the evidence is {kind}, which a policy for {policy} says nothing about")]
    PolicyKind {
        /// The evidence.
        kind: Kind,
        /// What the policy is for.
        policy: &'static str,
    },
    /// The policy cannot be used.
    #[error("the policy cannot be used: {0}")]
    Policy(String),
    /// The reference manifest is none that the policy accepts.
    #[error("the policy has no reference values: {0}")]
    Reference(#[from] Refusal),
}

impl AppraiseError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "evidence-too-large",
            Self::Unknown { .. } => "evidence-unknown",
            Self::PolicyKind { .. } => "policy-kind",
            Self::Policy(_) => "policy-refused",
            Self::Reference(error) => error.code(),
        }
    }
}
