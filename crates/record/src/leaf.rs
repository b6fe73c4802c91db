//! What the log holds: for each record a leaf of a pseudonymous header and one digest, never
//! content.

use proofroom_canonical::{Digest, SessionId};

/// What a leaf stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeafKind {
    /// A model-run record.
    ModelRun,
    /// A session record.
    AgentSession,
    /// A destruction record.
    Destruction,
    /// A position of the event chain.
    EventHead,
}

impl LeafKind {
    /// The kind's name as leaves spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ModelRun => "model-run",
            Self::AgentSession => "agent-session",
            Self::Destruction => "destruction",
            Self::EventHead => "event-head",
        }
    }
}

/// The bytes of a leaf. `digest` is that of the envelope's file, or of the event's line.
#[must_use]
pub fn leaf_bytes(kind: LeafKind, session: SessionId, digest: Digest) -> Vec<u8> {
    format!(
        "proofroom-leaf/v1\n{}\n{session}\n{digest}\n",
        kind.as_str()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use proofroom_canonical::{Digest, SessionId};

    use super::{LeafKind, leaf_bytes};

    #[test]
    fn a_leaf_is_four_lines() {
        let bytes = leaf_bytes(
            LeafKind::ModelRun,
            SessionId::from_random([0; 16]),
            Digest::from_bytes([0; 32]),
        );
        let wanted = format!(
            "proofroom-leaf/v1\nmodel-run\nses_{}\nsha256:{}\n",
            "0".repeat(32),
            "0".repeat(64)
        );
        assert_eq!(bytes, wanted.as_bytes());
    }
}
