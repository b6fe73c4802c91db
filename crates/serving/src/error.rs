//! Why bytes are refused.

use proofroom_canonical::json::JsonError;

/// Why bytes are no statement, report or receipt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServingError {
    /// Not strict JSON with exactly the known members.
    #[error("the enclave's {what} is refused")]
    Malformed {
        /// `report`, `statement`, `receipt`.
        what: &'static str,
        /// What is wrong with it.
        source: JsonError,
    },
    /// Made for another protocol.
    #[error("the enclave's {what} is for the purpose `{found}`")]
    Purpose {
        /// `report`, `statement`, `receipt`.
        what: &'static str,
        /// The purpose that it names, its beginning.
        found: String,
    },
    /// Another spelling than the one that there is.
    #[error("the enclave's {0} is not in its one spelling")]
    NotCanonical(&'static str),
    /// A member cannot be used.
    #[error("member `{member}` of the enclave's {what} {problem}")]
    Member {
        /// `report`, `statement`, `receipt`.
        what: &'static str,
        /// The member's name.
        member: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl ServingError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "serving-malformed",
            Self::Purpose { .. } => "serving-purpose",
            Self::NotCanonical(_) => "serving-not-canonical",
            Self::Member { .. } => "serving-member",
        }
    }

    pub(crate) fn purpose(what: &'static str, found: &str) -> Self {
        Self::Purpose {
            what,
            found: found.chars().take(80).collect(),
        }
    }
}
