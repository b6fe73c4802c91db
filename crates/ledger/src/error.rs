//! Why the ledger refused or failed, grouped by blame: the caller, the disk, or what is on it.

use std::{io, path::PathBuf, sync::Arc};

use proofroom_tlog::{
    BundleError, KeyError, LeafIndex, MerkleError, NoteError, ProofError, TileError, TreeSize,
    VerifyError,
};

/// Any failure of the ledger. Cheap to clone: every waiting caller gets the same cause.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The leaf is longer than an entry may be.
    #[error("a leaf has at most 65535 bytes, not {bytes}")]
    LeafTooLarge {
        /// Length of the leaf.
        bytes: usize,
    },
    /// Too many appends wait. Nothing was written; try again later.
    #[error("too many appends wait for the disk; try again later")]
    Busy,
    /// The leaf is not in a signed head, or not in the log at all.
    #[error("leaf {index} is not integrated; the signed head has {size} leaves")]
    NotIntegrated {
        /// The leaf asked for.
        index: LeafIndex,
        /// Size of the latest signed head.
        size: TreeSize,
    },
    /// The ledger was closed.
    #[error("the ledger is closed")]
    Closed,
    /// Another process or another `Ledger` has this directory open.
    #[error("`{}` is open elsewhere; a ledger has one writer", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The disk refused. This ledger acknowledges nothing more; open it again to recover.
    #[error("storage failed; nothing more is acknowledged until the ledger is opened again")]
    StorageFailed(#[source] StorageFault),
    /// What is on disk contradicts itself, the key, or a head known from before.
    #[error("the ledger is refused")]
    Corrupt(#[source] CorruptLedger),
}

/// What the disk refused to do.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot {action} `{}`", path.display())]
pub struct StorageFault {
    /// What was being done, as a verb.
    pub action: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// The operating system's answer.
    #[source]
    pub cause: Arc<io::Error>,
}

/// What is wrong with the files of a ledger.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CorruptLedger {
    /// There are tiles or a write-ahead log, but no checkpoint.
    #[error("there are leaves but no checkpoint; restore the directory as a whole")]
    CheckpointMissing,
    /// The checkpoint cannot be read, or is not this key's for this origin.
    #[error("the checkpoint was refused")]
    Checkpoint(#[source] VerifyError),
    /// The tiles lead to another root than the signed one.
    #[error("the tiles of {size} leaves lead to another root than the signed checkpoint")]
    Forked {
        /// Size at which the roots differ.
        size: TreeSize,
    },
    /// The directory is older than leaves that it still holds, or than a head known from before.
    #[error("the log ends at {found} leaves but had {known}; an old copy was put back")]
    RolledBack {
        /// Leaves found.
        found: TreeSize,
        /// Leaves known to have been there.
        known: TreeSize,
    },
    /// The write-ahead log is damaged before its end, where leaves were acknowledged.
    #[error("the write-ahead log `{}` is damaged at byte {offset}", path.display())]
    Wal {
        /// The segment.
        path: PathBuf,
        /// Where the damaged frame starts.
        offset: u64,
    },
    /// A leaf of the write-ahead log differs from the integrated one.
    #[error("leaf {index} differs between the write-ahead log and the tiles")]
    LeafDiffers {
        /// The leaf.
        index: LeafIndex,
    },
    /// A tile or bundle that the tree needs is missing.
    #[error("`{path}` is missing")]
    Missing {
        /// Path below the ledger's directory.
        path: String,
    },
    /// A tile or bundle has the wrong bytes.
    #[error("`{path}` does not hold what the tree says")]
    Tile {
        /// Path below the ledger's directory.
        path: String,
    },
    /// A file that no ledger writes.
    #[error("`{path}` does not belong into a ledger")]
    Foreign {
        /// Path below the ledger's directory.
        path: String,
    },
    /// A hash tile cannot be read or named.
    #[error("a tile was refused")]
    TileFormat(#[source] TileError),
    /// An entry bundle cannot be read.
    #[error("an entry bundle was refused")]
    Bundle(#[source] BundleError),
    /// A proof cannot be made.
    #[error("the tree has a gap")]
    Tree(#[source] MerkleError),
    /// A note cannot be made of this key's name.
    #[error("the checkpoint cannot be signed")]
    Note(#[source] NoteError),
    /// A key cannot be used.
    #[error("the key was refused")]
    Key(#[source] KeyError),
    /// A receipt cannot be written.
    #[error("the receipt cannot be written")]
    Receipt(#[source] ProofError),
}

impl LedgerError {
    /// A stable code for logs and reports.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::LeafTooLarge { .. } => "ledger-leaf-too-large",
            Self::Busy => "ledger-busy",
            Self::NotIntegrated { .. } => "ledger-not-integrated",
            Self::Closed => "ledger-closed",
            Self::Locked { .. } => "ledger-locked",
            Self::StorageFailed(_) => "ledger-storage-failed",
            Self::Corrupt(cause) => cause.code(),
        }
    }
}

impl CorruptLedger {
    /// A stable code for logs and reports.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::CheckpointMissing => "ledger-checkpoint-missing",
            Self::Checkpoint(_) => "ledger-checkpoint-refused",
            Self::Forked { .. } => "ledger-forked",
            Self::RolledBack { .. } => "ledger-rolled-back",
            Self::Wal { .. } => "ledger-wal-damaged",
            Self::LeafDiffers { .. } => "ledger-leaf-differs",
            Self::Missing { .. } => "ledger-tile-missing",
            Self::Tile { .. } | Self::TileFormat(_) | Self::Bundle(_) => "ledger-tile-damaged",
            Self::Foreign { .. } => "ledger-foreign-file",
            Self::Tree(_) => "ledger-tree-gap",
            Self::Note(_) | Self::Key(_) => "ledger-key-refused",
            Self::Receipt(_) => "ledger-receipt",
        }
    }
}

impl From<CorruptLedger> for LedgerError {
    fn from(cause: CorruptLedger) -> Self {
        Self::Corrupt(cause)
    }
}

impl From<MerkleError> for LedgerError {
    fn from(cause: MerkleError) -> Self {
        Self::Corrupt(CorruptLedger::Tree(cause))
    }
}

impl From<TileError> for LedgerError {
    fn from(cause: TileError) -> Self {
        Self::Corrupt(CorruptLedger::TileFormat(cause))
    }
}

impl From<BundleError> for LedgerError {
    fn from(cause: BundleError) -> Self {
        Self::Corrupt(CorruptLedger::Bundle(cause))
    }
}
