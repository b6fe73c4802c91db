//! Inclusion and consistency proofs of RFC 6962 section 2.1 / RFC 9162 section 2.1. Proving reads
//! complete subtrees from a [`SubtreeHashes`]; checking needs the proof alone.

use crate::{
    hash::{LeafHash, NodeHash, RootHash},
    size::{LeafIndex, TreeSize},
};

/// Where proofs take the hashes of complete subtrees from: an in-memory tree or tiles on disk.
pub trait SubtreeHashes {
    /// Why a hash could not be read.
    type Error: From<MerkleError>;

    /// The hash over the leaves `[index * 2^height, (index + 1) * 2^height)`.
    ///
    /// # Errors
    /// When the hash is not there or cannot be read.
    fn subtree(&self, height: u32, index: u64) -> Result<NodeHash, Self::Error>;
}

/// The siblings from the leaf's own up to the root's child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionProof(Vec<NodeHash>);

/// The nodes that show a tree to be a prefix of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsistencyProof(Vec<NodeHash>);

/// Why a proof was refused or cannot be made.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MerkleError {
    /// The leaf lies beyond the tree.
    #[error("leaf {index} is not in a tree of {size} leaves")]
    IndexBeyondTree {
        /// The leaf asked for.
        index: LeafIndex,
        /// The tree's size.
        size: TreeSize,
    },
    /// The proof has too few or too many hashes for this index and size.
    #[error("the proof has {hashes} hashes, which does not fit its index and tree size")]
    ProofLength {
        /// Hashes in the proof.
        hashes: usize,
    },
    /// The proof leads to another root.
    #[error("the proof leads to another root than the head's")]
    RootMismatch,
    /// The earlier tree is larger than the later one.
    #[error("a tree of {earlier} leaves is no earlier head of a tree of {later} leaves")]
    NotEarlier {
        /// Size claimed to be earlier.
        earlier: TreeSize,
        /// Size claimed to be later.
        later: TreeSize,
    },
    /// A source of hashes was asked for a subtree that it does not have.
    #[error("the tree has no complete subtree {index} of height {height}")]
    NoSubtree {
        /// Height of the subtree, 0 for a leaf.
        height: u32,
        /// Its index among those of that height.
        index: u64,
    },
}

impl MerkleError {
    /// A stable code for logs and reports.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::IndexBeyondTree { .. } => "tlog-index-beyond-tree",
            Self::ProofLength { .. } => "tlog-proof-length",
            Self::RootMismatch => "tlog-root-mismatch",
            Self::NotEarlier { .. } => "tlog-not-earlier",
            Self::NoSubtree { .. } => "tlog-no-subtree",
        }
    }
}

impl InclusionProof {
    /// Takes the hashes of a proof, lowest first.
    ///
    /// # Errors
    /// [`MerkleError::ProofLength`] above [`PROOF_MAX_HASHES`].
    pub fn new(hashes: Vec<NodeHash>) -> Result<Self, MerkleError> {
        bounded(hashes).map(Self)
    }

    /// The hashes, lowest first.
    #[must_use]
    pub fn hashes(&self) -> &[NodeHash] {
        &self.0
    }

    /// The root that a tree of `size` leaves has if `leaf` is at `index` (RFC 9162 section
    /// 2.1.3.2). The caller compares it with the root of a head that it trusts.
    ///
    /// # Errors
    /// When the index lies beyond the tree or the proof has the wrong length.
    pub fn root(
        &self,
        leaf: LeafHash,
        index: LeafIndex,
        size: TreeSize,
    ) -> Result<RootHash, MerkleError> {
        if !size.contains(index) {
            return Err(MerkleError::IndexBeyondTree { index, size });
        }
        let wrong_length = MerkleError::ProofLength {
            hashes: self.0.len(),
        };
        let (mut node, mut last) = (index.get(), size.get() - 1);
        let mut hash = leaf.node();
        for &sibling in &self.0 {
            if last == 0 {
                return Err(wrong_length);
            }
            if node & 1 == 1 || node == last {
                hash = NodeHash::parent(sibling, hash);
                // a node without right sibling is lifted until it is one
                let lift = if node & 1 == 1 {
                    0
                } else {
                    node.trailing_zeros().min(63)
                };
                node >>= lift;
                last >>= lift;
            } else {
                hash = NodeHash::parent(hash, sibling);
            }
            node >>= 1;
            last >>= 1;
        }
        if last == 0 {
            Ok(RootHash::from_node(hash))
        } else {
            Err(wrong_length)
        }
    }
}

impl ConsistencyProof {
    /// Takes the hashes of a proof in RFC 6962 section 2.1.2 order.
    ///
    /// # Errors
    /// [`MerkleError::ProofLength`] above [`PROOF_MAX_HASHES`].
    pub fn new(hashes: Vec<NodeHash>) -> Result<Self, MerkleError> {
        bounded(hashes).map(Self)
    }

    /// The hashes in RFC 6962 order.
    #[must_use]
    pub fn hashes(&self) -> &[NodeHash] {
        &self.0
    }

    /// Checks that the tree `earlier` is a prefix of the tree `later` (RFC 9162 section 2.1.4.2).
    ///
    /// # Errors
    /// When the sizes are the wrong way round, the length is wrong or a root differs.
    pub(crate) fn check(
        &self,
        earlier: (TreeSize, RootHash),
        later: (TreeSize, RootHash),
    ) -> Result<(), MerkleError> {
        let wrong_length = MerkleError::ProofLength {
            hashes: self.0.len(),
        };
        if earlier.0 > later.0 {
            return Err(MerkleError::NotEarlier {
                earlier: earlier.0,
                later: later.0,
            });
        }
        if earlier.0 == later.0 || earlier.0 == TreeSize::EMPTY {
            if !self.0.is_empty() {
                return Err(wrong_length);
            }
            let same = if earlier.0 == later.0 {
                later.1
            } else {
                RootHash::empty()
            };
            return if earlier.1 == same {
                Ok(())
            } else {
                Err(MerkleError::RootMismatch)
            };
        }
        let roots = self.roots(earlier, later.0)?;
        let agree = roots == (earlier.1.node(), later.1.node());
        if agree {
            Ok(())
        } else {
            Err(MerkleError::RootMismatch)
        }
    }

    /// The roots of both trees that the proof leads to; the sizes differ and neither is 0.
    fn roots(
        &self,
        earlier: (TreeSize, RootHash),
        later: TreeSize,
    ) -> Result<(NodeHash, NodeHash), MerkleError> {
        let wrong_length = MerkleError::ProofLength {
            hashes: self.0.len(),
        };
        let mut path = self.0.iter().copied();
        let (mut node, mut last) = (earlier.0.get() - 1, later.get() - 1);
        let lift = node.trailing_ones();
        node = node.checked_shr(lift).unwrap_or(0);
        last = last.checked_shr(lift).unwrap_or(0);
        let first = if earlier.0.get().is_power_of_two() {
            earlier.1.node()
        } else {
            path.next().ok_or(MerkleError::ProofLength { hashes: 0 })?
        };
        let (mut old, mut new) = (first, first);
        for sibling in path {
            if last == 0 {
                return Err(wrong_length);
            }
            if node & 1 == 1 || node == last {
                old = NodeHash::parent(sibling, old);
                new = NodeHash::parent(sibling, new);
                let lift = if node & 1 == 1 {
                    0
                } else {
                    node.trailing_zeros().min(63)
                };
                node >>= lift;
                last >>= lift;
            } else {
                new = NodeHash::parent(new, sibling);
            }
            node >>= 1;
            last >>= 1;
        }
        if last == 0 {
            Ok((old, new))
        } else {
            Err(wrong_length)
        }
    }
}

/// The root of the first `size` leaves.
///
/// # Errors
/// When `hashes` cannot give a subtree.
pub fn tree_root<H: SubtreeHashes>(hashes: &H, size: TreeSize) -> Result<RootHash, H::Error> {
    if size == TreeSize::EMPTY {
        return Ok(RootHash::empty());
    }
    range_hash(hashes, 0, size.get()).map(RootHash::from_node)
}

/// The proof that the tree of `size` leaves has a certain leaf at `index`.
///
/// # Errors
/// When the index lies beyond the tree or `hashes` cannot give a subtree.
pub fn prove_inclusion<H: SubtreeHashes>(
    hashes: &H,
    index: LeafIndex,
    size: TreeSize,
) -> Result<InclusionProof, H::Error> {
    if !size.contains(index) {
        return Err(MerkleError::IndexBeyondTree { index, size }.into());
    }
    let mut path = Vec::new();
    let (mut start, mut end) = (0, size.get());
    while end - start > 1 {
        let middle = start + split(end - start);
        if index.get() < middle {
            path.push(range_hash(hashes, middle, end)?);
            end = middle;
        } else {
            path.push(range_hash(hashes, start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(InclusionProof(path))
}

/// The proof that the tree of `earlier` leaves is a prefix of the tree of `later` leaves.
///
/// # Errors
/// When `earlier` is larger than `later` or `hashes` cannot give a subtree.
pub fn prove_consistency<H: SubtreeHashes>(
    hashes: &H,
    earlier: TreeSize,
    later: TreeSize,
) -> Result<ConsistencyProof, H::Error> {
    if earlier > later {
        return Err(MerkleError::NotEarlier { earlier, later }.into());
    }
    let mut path = Vec::new();
    if earlier == later || earlier == TreeSize::EMPTY {
        return Ok(ConsistencyProof(path));
    }
    // SUBPROOF(m, D[n], b): `start == 0` is b, for then the earlier root is known to the verifier
    let (mut start, mut end, cut) = (0, later.get(), earlier.get());
    while end != cut {
        let middle = start + split(end - start);
        if cut <= middle {
            path.push(range_hash(hashes, middle, end)?);
            end = middle;
        } else {
            path.push(range_hash(hashes, start, middle)?);
            start = middle;
        }
    }
    if start != 0 {
        path.push(range_hash(hashes, start, end)?);
    }
    path.reverse();
    Ok(ConsistencyProof(path))
}

/// MTH(D[start:end]) for the ranges that RFC 6962 splits a tree into; `end > start`.
fn range_hash<H: SubtreeHashes>(hashes: &H, start: u64, end: u64) -> Result<NodeHash, H::Error> {
    let width = end - start;
    if width.is_power_of_two() {
        let height = width.trailing_zeros();
        return hashes.subtree(height, start >> height);
    }
    let middle = start + split(width);
    let left = range_hash(hashes, start, middle)?;
    let right = range_hash(hashes, middle, end)?;
    Ok(NodeHash::parent(left, right))
}

/// The largest power of two below `width`; `width >= 2`.
fn split(width: u64) -> u64 {
    1 << (63 - (width - 1).leading_zeros())
}

fn bounded(hashes: Vec<NodeHash>) -> Result<Vec<NodeHash>, MerkleError> {
    if hashes.len() > PROOF_MAX_HASHES {
        return Err(MerkleError::ProofLength {
            hashes: hashes.len(),
        });
    }
    Ok(hashes)
}

/// Most hashes in a proof: a tree of 2^64 - 1 leaves is 64 levels high, and a consistency proof may
/// begin with one more node.
pub const PROOF_MAX_HASHES: usize = 65;

#[cfg(test)]
mod tests;
