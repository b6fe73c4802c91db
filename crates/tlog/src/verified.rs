//! What verification returns. The fields are private: each value exists because its signature and
//! hashes were checked, and says under which key.

use crate::{
    checkpoint::{Checkpoint, CheckpointError},
    hash::LeafHash,
    key::VerifierKey,
    merkle::{ConsistencyProof, InclusionProof, MerkleError},
    note::{NoteError, SignedNote},
    proof::LogProof,
    size::LeafIndex,
};

/// A checkpoint that the expected key signed for the expected origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCheckpoint {
    checkpoint: Checkpoint,
    note: SignedNote,
    key: VerifierKey,
}

/// A leaf shown to be in the tree of a [`VerifiedCheckpoint`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedInclusion {
    index: LeafIndex,
    leaf: LeafHash,
    checkpoint: VerifiedCheckpoint,
}

/// Two checkpoints of one log of which the earlier is shown to be a prefix of the later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedConsistency {
    earlier: VerifiedCheckpoint,
    later: VerifiedCheckpoint,
}

/// Why something was not verified.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifyError {
    /// The note could not be read or is not signed by the key.
    #[error("the checkpoint note was refused")]
    Note(#[source] NoteError),
    /// The signed text is no checkpoint.
    #[error("the signed text is not a checkpoint")]
    Checkpoint(#[source] CheckpointError),
    /// The key signed a checkpoint of another log.
    #[error("the checkpoint is of the log `{found}`, not of `{expected}`")]
    Origin {
        /// The key's name.
        expected: String,
        /// The checkpoint's origin.
        found: String,
    },
    /// The proof does not lead from leaf to root, or not from one root to the other.
    #[error("the Merkle proof was refused")]
    Proof(#[source] MerkleError),
    /// Two checkpoints under different keys cannot be compared.
    #[error("the two checkpoints were signed by different keys")]
    OtherKey,
}

impl VerifyError {
    /// A stable code for logs and reports.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Note(cause) => cause.code(),
            Self::Checkpoint(cause) => cause.code(),
            Self::Origin { .. } => "checkpoint-origin",
            Self::Proof(cause) => cause.code(),
            Self::OtherKey => "checkpoint-other-key",
        }
    }
}

impl VerifierKey {
    /// Verifies that `note` is a checkpoint, signed by this key, of the log whose origin is this
    /// key's name.
    ///
    /// # Errors
    /// When the key did not sign it, or it is no checkpoint of that log.
    pub fn verify_checkpoint(&self, note: &SignedNote) -> Result<VerifiedCheckpoint, VerifyError> {
        let text = self.verify(note).map_err(VerifyError::Note)?;
        let checkpoint = Checkpoint::parse(text).map_err(VerifyError::Checkpoint)?;
        if checkpoint.origin() != self.name().as_str() {
            return Err(VerifyError::Origin {
                expected: self.name().to_string(),
                found: checkpoint.origin().to_owned(),
            });
        }
        Ok(VerifiedCheckpoint {
            checkpoint,
            note: note.clone(),
            key: self.clone(),
        })
    }

    /// Verifies a receipt: the checkpoint in it, and that `leaf` (the entry's bytes) is in its tree.
    ///
    /// # Errors
    /// As [`Self::verify_checkpoint`] and [`VerifiedCheckpoint::verify_inclusion`].
    pub fn verify_proof(
        &self,
        proof: &LogProof,
        leaf: &[u8],
    ) -> Result<VerifiedInclusion, VerifyError> {
        let checkpoint = self.verify_checkpoint(proof.note())?;
        checkpoint.verify_inclusion(LeafHash::of(leaf), proof.index(), proof.inclusion())
    }
}

impl VerifiedCheckpoint {
    /// What the log signed.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note as it came, with all its signatures; those of other keys are not verified.
    #[must_use]
    pub const fn note(&self) -> &SignedNote {
        &self.note
    }

    /// The key whose signature was verified.
    #[must_use]
    pub const fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Verifies that the leaf is at `index` in this checkpoint's tree (RFC 9162 section 2.1.3.2).
    ///
    /// # Errors
    /// [`VerifyError::Proof`].
    pub fn verify_inclusion(
        &self,
        leaf: LeafHash,
        index: LeafIndex,
        proof: &InclusionProof,
    ) -> Result<VerifiedInclusion, VerifyError> {
        let root = proof
            .root(leaf, index, self.checkpoint.size())
            .map_err(VerifyError::Proof)?;
        if root != self.checkpoint.root() {
            return Err(VerifyError::Proof(MerkleError::RootMismatch));
        }
        Ok(VerifiedInclusion {
            index,
            leaf,
            checkpoint: self.clone(),
        })
    }

    /// Verifies that this checkpoint's tree begins with the whole tree of `earlier` (RFC 9162
    /// section 2.1.4.2).
    ///
    /// # Errors
    /// When `earlier` is larger, under another key, or the proof does not hold.
    pub fn verify_extends(
        &self,
        earlier: &Self,
        proof: &ConsistencyProof,
    ) -> Result<VerifiedConsistency, VerifyError> {
        if self.key != earlier.key {
            return Err(VerifyError::OtherKey);
        }
        let (old, new) = (&earlier.checkpoint, &self.checkpoint);
        proof
            .check((old.size(), old.root()), (new.size(), new.root()))
            .map_err(VerifyError::Proof)?;
        Ok(VerifiedConsistency {
            earlier: earlier.clone(),
            later: self.clone(),
        })
    }
}

impl VerifiedInclusion {
    /// Where the leaf is.
    #[must_use]
    pub const fn index(&self) -> LeafIndex {
        self.index
    }

    /// The leaf's hash.
    #[must_use]
    pub const fn leaf(&self) -> LeafHash {
        self.leaf
    }

    /// The checkpoint whose tree holds it.
    #[must_use]
    pub const fn checkpoint(&self) -> &VerifiedCheckpoint {
        &self.checkpoint
    }
}

impl VerifiedConsistency {
    /// The prefix.
    #[must_use]
    pub const fn earlier(&self) -> &VerifiedCheckpoint {
        &self.earlier
    }

    /// The longer tree.
    #[must_use]
    pub const fn later(&self) -> &VerifiedCheckpoint {
        &self.later
    }
}

#[cfg(test)]
mod tests;
