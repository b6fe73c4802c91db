//! The leaf of the log: four lines that name a record by kind, session and digest. It never holds
//! content.

use std::fmt;

use proofroom_canonical::{Digest, SessionId};

/// What a leaf records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeafKind {
    /// The digest of a session's agent record envelope.
    AgentSession,
    /// The digest of a destruction record envelope.
    Destruction,
    /// The digest of an event line.
    EventHead,
    /// The digest of the envelope of an account of a gateway's session.
    GatewayAccount,
    /// The digest of a model-run record envelope.
    ModelRun,
    /// The digest of a policy version's envelope. Its leaf names the session of sixteen zero bytes.
    PolicyVersion,
}

/// One leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordLeaf {
    /// What is recorded.
    pub kind: LeafKind,
    /// The session that it belongs to.
    pub session: SessionId,
    /// The digest of the envelope file, or of the event line.
    pub digest: Digest,
}

/// Why bytes are no leaf of ours.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("a leaf is `proofroom-leaf/v1`, a kind, a session id and a digest, each on its own line")]
pub struct LeafError;

impl LeafError {
    /// A stable code for logs and reports.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "leaf-malformed"
    }
}

impl LeafKind {
    /// The kind's name in leaves.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AgentSession => "agent-session",
            Self::Destruction => "destruction",
            Self::EventHead => "event-head",
            Self::GatewayAccount => "gateway-account",
            Self::ModelRun => "model-run",
            Self::PolicyVersion => "policy-version",
        }
    }

    fn parse(name: &str) -> Result<Self, LeafError> {
        [
            Self::AgentSession,
            Self::Destruction,
            Self::EventHead,
            Self::GatewayAccount,
            Self::ModelRun,
            Self::PolicyVersion,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == name)
        .ok_or(LeafError)
    }
}

impl RecordLeaf {
    /// The leaf's bytes, as they are appended and hashed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }

    /// Reads a leaf. What is accepted is written back byte for byte.
    ///
    /// # Errors
    /// When the bytes are not exactly a leaf.
    pub fn parse(bytes: &[u8]) -> Result<Self, LeafError> {
        if bytes.len() > LEAF_MAX_BYTES {
            return Err(LeafError);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| LeafError)?;
        let rest = text
            .strip_prefix(HEADER)
            .and_then(|rest| rest.strip_suffix('\n'));
        let mut lines = rest.ok_or(LeafError)?.split('\n');
        let line = (lines.next(), lines.next(), lines.next(), lines.next());
        let (Some(kind), Some(session), Some(digest), None) = line else {
            return Err(LeafError);
        };
        let leaf = Self {
            kind: LeafKind::parse(kind)?,
            session: session.parse().map_err(|_| LeafError)?,
            digest: digest.parse().map_err(|_| LeafError)?,
        };
        if leaf.to_bytes() == bytes {
            Ok(leaf)
        } else {
            Err(LeafError)
        }
    }
}

impl fmt::Display for RecordLeaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{HEADER}{}\n{}\n{}\n",
            self.kind.as_str(),
            self.session,
            self.digest
        )
    }
}

/// Longest leaf: the header, a kind, a session id and a digest are below 200 bytes.
pub const LEAF_MAX_BYTES: usize = 512;

const HEADER: &str = "proofroom-leaf/v1\n";

#[cfg(test)]
mod tests;
