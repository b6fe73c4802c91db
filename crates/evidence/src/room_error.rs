//! Why bytes are not room evidence. Says nothing about trust: a refusal here is about form alone.

use proofroom_canonical::json::JsonError;

/// Why room evidence, or a part of it, could not be read. Malformed input unless said otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoomError {
    /// The room evidence is not the strict JSON that it must be.
    #[error("room evidence refused")]
    Evidence(#[source] JsonError),
    /// The document is not the strict JSON that it must be.
    #[error("room-evidence document refused")]
    Document(#[source] JsonError),
    /// A member cannot be used.
    #[error("member `{member}` {problem}")]
    Member {
        /// The member's name.
        member: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The bytes are not the one spelling of what they say.
    #[error("{0} is not written in its one canonical form")]
    NotCanonical(&'static str),
    /// Unsupported: a type of evidence that this program does not judge.
    #[error("room evidence of type `{0}` is not supported, use `tpm2` or `tdx`")]
    Unsupported(&'static str),
}

impl RoomError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Evidence(_) => "room-evidence-malformed",
            Self::Document(_) => "room-document-malformed",
            Self::Member { .. } => "room-evidence-member",
            Self::NotCanonical(_) => "room-evidence-not-canonical",
            Self::Unsupported(_) => "room-evidence-unsupported",
        }
    }
}
