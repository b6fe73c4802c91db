//! Bytes of the write-ahead log: a segment header, then one frame for each group commit. Pure.
//!
//! Segment: `proofroom-wal/v1` and a newline, 32 bytes SHA-256 of the log's verifier key, then
//! frames. Frame: u32 body length, u32 CRC-32 (IEEE) of the body, body; body: u64 index of the
//! first leaf, u32 leaf count, then each leaf behind a u16 length. All numbers big-endian. One
//! frame is one `fdatasync`, so every frame but the last of the last segment was acknowledged.

use proofroom_tlog::{ENTRY_MAX_BYTES, LeafIndex, VerifierKey};
use sha2::{Digest as _, Sha256};

/// One group commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) first: LeafIndex,
    pub(crate) leaves: Vec<Vec<u8>>,
}

/// What stands at an offset of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    /// Nothing more.
    End,
    /// A whole frame and its length in bytes.
    Frame(Frame, usize),
    /// Bytes that are no whole frame.
    Damaged,
}

/// The first bytes of every segment of this log.
pub(crate) fn segment_header(key: &VerifierKey) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&Sha256::digest(key.to_string()));
    header
}

impl Frame {
    /// The frame's bytes. Leaves above [`ENTRY_MAX_BYTES`] were refused before.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut body = self.first.get().to_be_bytes().to_vec();
        let count = u32::try_from(self.leaves.len()).unwrap_or(u32::MAX);
        body.extend_from_slice(&count.to_be_bytes());
        for leaf in &self.leaves {
            let length = u16::try_from(leaf.len()).unwrap_or(u16::MAX);
            body.extend_from_slice(&length.to_be_bytes());
            body.extend_from_slice(leaf);
        }
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(&crc32fast::hash(&body).to_be_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    fn parse_body(body: &[u8]) -> Option<Self> {
        let (first, rest) = body.split_first_chunk::<8>()?;
        let (count, mut rest) = rest.split_first_chunk::<4>()?;
        let mut leaves = Vec::new();
        for _ in 0..u32::from_be_bytes(*count) {
            let (length, after) = rest.split_first_chunk::<2>()?;
            let (leaf, after) = after.split_at_checked(u16::from_be_bytes(*length).into())?;
            leaves.push(leaf.to_vec());
            rest = after;
        }
        let first = LeafIndex::new(u64::from_be_bytes(*first));
        (rest.is_empty() && !leaves.is_empty()).then_some(Self { first, leaves })
    }
}

/// Reads what stands at the start of `bytes`.
pub(crate) fn scan(bytes: &[u8]) -> Scan {
    if bytes.is_empty() {
        return Scan::End;
    }
    let whole = || {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let body = rest.get(..length).filter(|_| length <= FRAME_MAX_BYTES)?;
        if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
            return None;
        }
        Some(Scan::Frame(Frame::parse_body(body)?, length + 8))
    };
    whole().unwrap_or(Scan::Damaged)
}

/// Whether a whole frame that continues the log after `from` stands anywhere in `bytes`: then what
/// stands before it was acknowledged and its damage is no torn tail.
pub(crate) fn later_frame(bytes: &[u8], from: LeafIndex) -> bool {
    (1..bytes.len()).any(|at| {
        let Some(tail) = bytes.get(at..) else {
            return false;
        };
        // the index field, cheap, before the sum
        let first = tail
            .get(8..16)
            .and_then(|f| f.first_chunk::<8>())
            .map(|f| u64::from_be_bytes(*f));
        let near = first.is_some_and(|f| f >= from.get() && f - from.get() <= NEAR_LEAVES);
        near && matches!(scan(tail), Scan::Frame(..))
    })
}

/// Most leaves in a frame.
pub(crate) const FRAME_MAX_LEAVES: usize = 4096;

/// Most leaf bytes collected before a frame is closed.
pub(crate) const FRAME_FILL_BYTES: usize = 4 * 1024 * 1024;

/// Largest frame body read: the fill, one more leaf, and 2 bytes for each leaf.
pub(crate) const FRAME_MAX_BYTES: usize =
    FRAME_FILL_BYTES + ENTRY_MAX_BYTES + 2 * FRAME_MAX_LEAVES + 12;

/// A segment is closed when it is longer than this.
pub(crate) const SEGMENT_FILL_BYTES: u64 = 16 * 1024 * 1024;

/// Largest segment read: the fill and one frame more.
pub(crate) const SEGMENT_MAX_BYTES: u64 = 32 * 1024 * 1024;

/// A segment cannot hold more leaves than bytes.
const NEAR_LEAVES: u64 = SEGMENT_MAX_BYTES;

const MAGIC: &[u8; 17] = b"proofroom-wal/v1\n";

#[cfg(test)]
mod tests;
