//! C2SP `tlog-proof`: a receipt in one text file. Parsing verifies nothing; see
//! [`VerifierKey::verify_proof`](crate::VerifierKey::verify_proof).

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    checkpoint::{Checkpoint, CheckpointError},
    hash::NodeHash,
    merkle::{InclusionProof, PROOF_MAX_HASHES},
    note::{NOTE_MAX_BYTES, NoteError, SignedNote},
    size::LeafIndex,
};

/// A receipt: where a leaf is, its inclusion proof and the checkpoint that the proof leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogProof {
    extra: Vec<u8>,
    index: LeafIndex,
    inclusion: InclusionProof,
    note: SignedNote,
    checkpoint: Checkpoint,
}

/// Why a receipt was refused.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProofError {
    /// More bytes than a receipt may have.
    #[error("a tlog-proof has at most {PROOF_MAX_BYTES} bytes")]
    TooLarge,
    /// The first line names no version that is known here.
    #[error("a tlog-proof begins with the line `{HEADER}`")]
    Header,
    /// The extra line is not base64, empty, or above its limit.
    #[error("the extra line holds 1 to {EXTRA_MAX_BYTES} bytes in base64, or is left out")]
    Extra,
    /// The index line is missing or no decimal.
    #[error("the index line is `index <decimal without leading zeroes>`")]
    Index,
    /// A hash is not 32 bytes in base64, or there are too many.
    #[error("the index is followed by at most {PROOF_MAX_HASHES} lines, each a hash in base64")]
    Hash,
    /// The empty line before the checkpoint is missing.
    #[error("an empty line divides the hashes from the checkpoint")]
    Malformed,
    /// What follows the empty line is no signed note.
    #[error("the checkpoint is not a signed note")]
    Note(#[source] NoteError),
    /// The note is no checkpoint.
    #[error("the signed note is not a checkpoint")]
    Checkpoint(#[source] CheckpointError),
}

impl ProofError {
    /// A stable code for logs and reports.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge => "tlog-proof-too-large",
            Self::Header => "tlog-proof-header",
            Self::Extra => "tlog-proof-extra",
            Self::Index => "tlog-proof-index",
            Self::Hash => "tlog-proof-hash",
            Self::Malformed => "tlog-proof-malformed",
            Self::Note(cause) => cause.code(),
            Self::Checkpoint(cause) => cause.code(),
        }
    }
}

impl LogProof {
    /// The receipt for the leaf at `index`, without extra data.
    ///
    /// # Errors
    /// [`ProofError::Checkpoint`] if `note` is none.
    pub fn new(
        index: LeafIndex,
        inclusion: InclusionProof,
        note: SignedNote,
    ) -> Result<Self, ProofError> {
        let checkpoint = Checkpoint::parse(note.text()).map_err(ProofError::Checkpoint)?;
        Ok(Self {
            extra: Vec::new(),
            index,
            inclusion,
            note,
            checkpoint,
        })
    }

    /// Reads a receipt. What is accepted is written back byte for byte by `Display`.
    ///
    /// # Errors
    /// When the bytes are no receipt, or more than this crate reads.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > PROOF_MAX_BYTES {
            return Err(ProofError::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ProofError::Note(NoteError::NotText))?;
        let (head, note) = text.split_once("\n\n").ok_or(ProofError::Malformed)?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(ProofError::Header);
        }
        let extra = match lines.peek().and_then(|line| line.strip_prefix("extra ")) {
            Some(extra) => {
                lines.next();
                parse_extra(extra)?
            }
            None => Vec::new(),
        };
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index
            .and_then(|index| index.parse().ok())
            .ok_or(ProofError::Index)?;
        let hashes: Option<Vec<NodeHash>> = lines
            .take(PROOF_MAX_HASHES + 1)
            .map(NodeHash::from_base64)
            .collect();
        let inclusion = hashes.and_then(|hashes| InclusionProof::new(hashes).ok());
        let inclusion = inclusion.ok_or(ProofError::Hash)?;
        let note = SignedNote::parse(note.as_bytes()).map_err(ProofError::Note)?;
        let proof = Self::new(index, inclusion, note)?;
        Ok(Self { extra, ..proof })
    }

    /// Opaque data beside the proof. Nobody signs it.
    #[must_use]
    pub fn unauthenticated_extra(&self) -> &[u8] {
        &self.extra
    }

    /// Where the leaf is said to be.
    #[must_use]
    pub const fn index(&self) -> LeafIndex {
        self.index
    }

    /// The path from the leaf to the root.
    #[must_use]
    pub const fn inclusion(&self) -> &InclusionProof {
        &self.inclusion
    }

    /// The signed checkpoint, as it came.
    #[must_use]
    pub const fn note(&self) -> &SignedNote {
        &self.note
    }

    /// What the checkpoint claims.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }
}

impl fmt::Display for LogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if !self.extra.is_empty() {
            writeln!(f, "extra {}", STANDARD.encode(&self.extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in self.inclusion.hashes() {
            writeln!(f, "{}", hash.to_base64())?;
        }
        write!(f, "\n{}", self.note)
    }
}

fn parse_extra(text: &str) -> Result<Vec<u8>, ProofError> {
    let extra = STANDARD.decode(text).map_err(|_| ProofError::Extra)?;
    if extra.is_empty() || extra.len() > EXTRA_MAX_BYTES {
        return Err(ProofError::Extra);
    }
    Ok(extra)
}

/// Most extra data, in bytes.
pub const EXTRA_MAX_BYTES: usize = 16 * 1024;

/// Largest receipt read: a note, 65 lines of 45 bytes and 16 KiB of extra data in base64 (4/3),
/// and 8 KiB over.
pub const PROOF_MAX_BYTES: usize = NOTE_MAX_BYTES + 65 * 45 + EXTRA_MAX_BYTES / 3 * 4 + 8 * 1024;

const HEADER: &str = "c2sp.org/tlog-proof@v1";

#[cfg(test)]
mod tests;
