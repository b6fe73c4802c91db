//! RFC 6962 section 2.1 hashing. Leaf, inner and root hashes are three types, so that one cannot
//! stand where another is meant.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

/// The hash of a subtree.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeHash([u8; Self::BYTES]);

/// The hash of one leaf: SHA-256(0x00 || leaf).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeafHash(NodeHash);

/// The hash of a whole tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RootHash(NodeHash);

impl NodeHash {
    /// Bytes of a hash.
    pub const BYTES: usize = 32;

    /// Takes 32 bytes that already are a hash.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The 32 raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The parent of two nodes: SHA-256(0x01 || left || right).
    #[must_use]
    pub fn parent(left: Self, right: Self) -> Self {
        let mut hasher = Sha256::new();
        hasher.update([0x01]);
        hasher.update(left.0);
        hasher.update(right.0);
        Self(hasher.finalize().into())
    }

    /// Standard padded base64, as notes and proofs write hashes.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// Reads the one base64 spelling of a hash.
    pub(crate) fn from_base64(text: &str) -> Option<Self> {
        // 44 = 4 * ceil(32 / 3)
        if text.len() != 44 {
            return None;
        }
        STANDARD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl LeafHash {
    /// The hash of the leaf with these bytes.
    #[must_use]
    pub fn of(leaf: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update([0x00]);
        hasher.update(leaf);
        Self(NodeHash(hasher.finalize().into()))
    }

    /// Takes the node at level 0 of a tile as the leaf hash that it is.
    #[must_use]
    pub const fn from_node(node: NodeHash) -> Self {
        Self(node)
    }

    /// The leaf as a subtree of one.
    #[must_use]
    pub const fn node(self) -> NodeHash {
        self.0
    }
}

impl RootHash {
    /// The root of the empty tree: SHA-256 of no bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self(NodeHash(Sha256::digest([]).into()))
    }

    /// Takes the node that spans a whole tree as its root.
    #[must_use]
    pub const fn from_node(node: NodeHash) -> Self {
        Self(node)
    }

    /// The root as a subtree.
    #[must_use]
    pub const fn node(self) -> NodeHash {
        self.0
    }
}

impl fmt::Debug for NodeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

impl fmt::Debug for LeafHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "leaf {:?}", self.0)
    }
}

impl fmt::Debug for RootHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "root {:?}", self.0)
    }
}
