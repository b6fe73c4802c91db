//! Transparency log formats and proofs: RFC 6962 SHA-256 trees, C2SP `tlog-tiles`, `signed-note`,
//! `tlog-checkpoint` and `tlog-proof`, and the leaf that every record becomes. Pure: no I/O, no
//! clock, no randomness. It does not store a log; that is the ledger.
//!
//! Only the verifying functions here can build [`VerifiedCheckpoint`], [`VerifiedInclusion`] and
//! [`VerifiedConsistency`], so holding one means that the signature and the hashes were checked.

#![forbid(unsafe_code)]

mod bundle;
mod checkpoint;
mod hash;
mod key;
mod leaf;
mod merkle;
mod note;
mod proof;
mod size;
mod tile;
mod tree;
mod verified;

pub use bundle::{BundleError, ENTRY_MAX_BYTES, EntryBundle};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use hash::{LeafHash, NodeHash, RootHash};
pub use key::{KEY_NAME_MAX_BYTES, KeyError, KeyName, NoteSigner, VKEY_MAX_BYTES, VerifierKey};
pub use leaf::{LEAF_MAX_BYTES, LeafError, LeafKind, RecordLeaf};
pub use merkle::{
    ConsistencyProof, InclusionProof, MerkleError, PROOF_MAX_HASHES, SubtreeHashes,
    prove_consistency, prove_inclusion, tree_root,
};
pub use note::{NOTE_MAX_BYTES, NOTE_MAX_SIGNATURES, NoteError, NoteSignature, SignedNote};
pub use proof::{EXTRA_MAX_BYTES, LogProof, PROOF_MAX_BYTES, ProofError};
pub use size::{LeafIndex, SizeError, TreeSize};
pub use tile::{TILE_HEIGHT, TILE_WIDTH, TileError, TileHashes, TileKind, TilePath, TileWidth};
pub use tree::{MemoryTree, TileEdge};
pub use verified::{VerifiedCheckpoint, VerifiedConsistency, VerifiedInclusion, VerifyError};
