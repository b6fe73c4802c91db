//! What is known of a leaf. Three statuses that are never blurred: durable, integrated, witnessed.

use proofroom_canonical::Timestamp;
use proofroom_tlog::{LeafHash, LeafIndex};

/// A leaf that is on disk. Only the ledger makes one, after `fdatasync` returned. No signed head
/// holds it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    index: LeafIndex,
    leaf: LeafHash,
    at: Timestamp,
}

/// How far a leaf has come. A ledger without witnesses never says [`Self::Witnessed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeafStatus {
    /// The log has no durable leaf at this index.
    Absent,
    /// On disk, not yet in a signed head.
    Durable,
    /// In a signed head on disk.
    Integrated,
    /// In a head that enough witnesses cosigned.
    Witnessed,
}

impl Durable {
    pub(crate) const fn new(index: LeafIndex, leaf: LeafHash, at: Timestamp) -> Self {
        Self { index, leaf, at }
    }

    /// The leaf's place, final.
    #[must_use]
    pub const fn index(&self) -> LeafIndex {
        self.index
    }

    /// The leaf's hash.
    #[must_use]
    pub const fn leaf(&self) -> LeafHash {
        self.leaf
    }

    /// When the ledger's clock saw it durable.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }
}
