//! Trees that grow: a whole one in memory, and the right edge of a tiled one, which is all that an
//! appending log needs to hold.

use crate::{
    hash::{LeafHash, NodeHash, RootHash},
    merkle::{MerkleError, SubtreeHashes, tree_root},
    size::TreeSize,
    tile::{
        TILE_HEIGHT, TILE_WIDTH, TileError, TileHashes, TileKind, TilePath, TileWidth, subtree_of,
    },
};

/// All hashes of a tree in memory: 64 bytes a leaf. For tests, tools and small logs.
#[derive(Clone, Debug, Default)]
pub struct MemoryTree {
    rows: Vec<Vec<NodeHash>>,
}

/// The rightmost, partial tiles of a tree, one a level: at most 255 * 8 hashes.
#[derive(Clone, Debug, Default)]
pub struct TileEdge {
    size: u64,
    levels: Vec<Vec<NodeHash>>,
}

impl MemoryTree {
    /// The empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a leaf at the right.
    pub fn append(&mut self, leaf: LeafHash) {
        let mut node = leaf.node();
        for height in 0.. {
            if self.rows.len() == height {
                self.rows.push(Vec::new());
            }
            let Some(row) = self.rows.get_mut(height) else {
                return;
            };
            row.push(node);
            let (pairs, odd) = row.as_chunks::<2>();
            match (odd, pairs.last()) {
                ([], Some(&[left, right])) => node = NodeHash::parent(left, right),
                _ => return,
            }
        }
    }

    /// The number of leaves.
    #[must_use]
    pub fn size(&self) -> TreeSize {
        let leaves = self.rows.first().map_or(0, Vec::len);
        TreeSize::new(u64::try_from(leaves).unwrap_or(u64::MAX))
    }
}

impl SubtreeHashes for MemoryTree {
    type Error = MerkleError;

    fn subtree(&self, height: u32, index: u64) -> Result<NodeHash, MerkleError> {
        let at = (usize::try_from(height).ok(), usize::try_from(index).ok());
        let (Some(row), Some(column)) = at else {
            return Err(MerkleError::NoSubtree { height, index });
        };
        let hash = self.rows.get(row).and_then(|row| row.get(column)).copied();
        hash.ok_or(MerkleError::NoSubtree { height, index })
    }
}

impl TileEdge {
    /// The edge of the empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The partial tiles that a tree of `size` has, lowest level first: what [`Self::resume`] needs.
    ///
    /// # Errors
    /// Never for a size below 2^64; the error is that of the tile types.
    pub fn partial_tiles(size: TreeSize) -> Result<Vec<TilePath>, TileError> {
        let mut tiles = Vec::new();
        let (mut rest, mut level) = (size.get(), 0_u8);
        while rest > 0 {
            let width = rest % u64::from(TILE_WIDTH);
            rest /= u64::from(TILE_WIDTH);
            if width > 0 {
                let kind = TileKind::Hashes { level };
                tiles.push(TilePath::new(kind, rest, TileWidth::new(width)?)?);
            }
            level = level.saturating_add(1);
        }
        Ok(tiles)
    }

    /// Resumes at `size` with the tiles that [`Self::partial_tiles`] names, in that order.
    ///
    /// # Errors
    /// [`MerkleError::NoSubtree`] if a tile is missing or of another width.
    pub fn resume(size: TreeSize, tiles: Vec<TileHashes>) -> Result<Self, MerkleError> {
        let mut tiles = tiles.into_iter();
        let mut levels = Vec::new();
        let (mut rest, mut height) = (size.get(), 0);
        while rest > 0 {
            let width = usize::try_from(rest % u64::from(TILE_WIDTH)).unwrap_or(0);
            rest /= u64::from(TILE_WIDTH);
            let hashes = if width == 0 {
                Vec::new()
            } else {
                tiles
                    .next()
                    .map_or_else(Vec::new, |tile| tile.hashes().to_vec())
            };
            if hashes.len() != width {
                return Err(MerkleError::NoSubtree {
                    height,
                    index: rest,
                });
            }
            levels.push(hashes);
            height += TILE_HEIGHT;
        }
        Ok(Self {
            size: size.get(),
            levels,
        })
    }

    /// Adds a leaf and returns the tiles that it filled, lowest level first. They are then no
    /// longer part of the edge.
    ///
    /// # Errors
    /// Never in a tree below 2^64 leaves; the errors are those of the tile types.
    pub fn append(&mut self, leaf: LeafHash) -> Result<Vec<(TilePath, TileHashes)>, TileError> {
        let mut filled = Vec::new();
        let (mut node, mut index) = (leaf.node(), self.size);
        self.size = self.size.saturating_add(1);
        for level in 0_u8..=u8::MAX {
            let row = usize::from(level);
            if self.levels.len() == row {
                self.levels.push(Vec::new());
            }
            let Some(hashes) = self.levels.get_mut(row) else {
                break;
            };
            hashes.push(node);
            index /= u64::from(TILE_WIDTH);
            if hashes.len() < usize::from(TILE_WIDTH) {
                break;
            }
            let tile = TileHashes::new(std::mem::take(hashes))?;
            let Ok(parent) = tile.subtree(TILE_HEIGHT, 0) else {
                break;
            };
            node = parent;
            let kind = TileKind::Hashes { level };
            filled.push((TilePath::new(kind, index, TileWidth::FULL)?, tile));
        }
        Ok(filled)
    }

    /// The partial tiles as they are now, lowest level first.
    ///
    /// # Errors
    /// Never in a tree below 2^64 leaves; the errors are those of the tile types.
    pub fn partials(&self) -> Result<Vec<(TilePath, TileHashes)>, TileError> {
        let paths = Self::partial_tiles(self.size())?;
        let rows = self.levels.iter().filter(|row| !row.is_empty());
        paths
            .into_iter()
            .zip(rows)
            .map(|(path, row)| Ok((path, TileHashes::new(row.clone())?)))
            .collect()
    }

    /// The number of leaves.
    #[must_use]
    pub const fn size(&self) -> TreeSize {
        TreeSize::new(self.size)
    }

    /// The root over all leaves appended.
    ///
    /// # Errors
    /// Never on an edge made by this type; the error is that of the reading side.
    pub fn root(&self) -> Result<RootHash, MerkleError> {
        tree_root(self, self.size())
    }
}

/// Knows the subtrees of its own, partial tiles alone: enough for the root.
impl SubtreeHashes for TileEdge {
    type Error = MerkleError;

    fn subtree(&self, height: u32, index: u64) -> Result<NodeHash, MerkleError> {
        let missing = MerkleError::NoSubtree { height, index };
        let (level, within) = (height / TILE_HEIGHT, height % TILE_HEIGHT);
        let row = usize::try_from(level)
            .ok()
            .and_then(|level| self.levels.get(level));
        let Some(row) = row else { return Err(missing) };
        // hashes of this level that went into full tiles: all but the last `row.len()`
        let full = self.size >> (TILE_HEIGHT * level) & !u64::from(TILE_WIDTH - 1);
        let first = (index << within)
            .checked_sub(full)
            .map(|first| first >> within);
        let Some(first) = first.and_then(|first| usize::try_from(first).ok()) else {
            return Err(missing);
        };
        subtree_of(row, within, first)
    }
}

#[cfg(test)]
mod tests;
