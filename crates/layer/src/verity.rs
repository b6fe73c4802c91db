//! The dm-verity hash tree (kernel documentation, `device-mapper/verity.rst`; cryptsetup's on-disk
//! format 1): SHA-256 over salt and block, blocks of 4096 bytes, 128 hashes to a block, the top
//! level first. Byte for byte what `veritysetup format` writes for the same parameters.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

/// Size of data and hash blocks.
pub const BLOCK_BYTES: usize = 4096;
/// The same as a sum of file offsets.
pub(crate) const BLOCK: u64 = 4096;
/// Hashes of 32 bytes in one block.
pub const HASHES_PER_BLOCK: usize = 128;

/// A salted SHA-256 hash.
pub type Hash = [u8; 32];

/// What goes into every hash before the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt(pub Hash);

impl Salt {
    /// The hash of one block.
    #[must_use]
    pub fn hash(&self, block: &[u8]) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        hasher.update(block);
        hasher.finalize().into()
    }
}

/// A hash tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashTree {
    root: Hash,
    /// From the level next to the data upwards; each is whole blocks.
    levels: Vec<Vec<u8>>,
    data_blocks: u64,
}

impl HashTree {
    /// Reads `data` to its end. The last block is taken as filled up with zero bytes.
    ///
    /// # Errors
    /// What reading says; no data at all is an error too.
    pub fn of(data: &mut dyn Read, salt: &Salt) -> io::Result<Self> {
        let mut block = vec![0; BLOCK_BYTES];
        let mut hashes = Vec::new();
        let mut data_blocks = 0_u64;
        while fill(data, &mut block)? {
            hashes.push(salt.hash(&block));
            data_blocks += 1;
        }
        let mut levels = Vec::new();
        while hashes.len() > 1 {
            let level = as_blocks(&hashes);
            hashes = level
                .chunks_exact(BLOCK_BYTES)
                .map(|block| salt.hash(block))
                .collect();
            levels.push(level);
        }
        let root = hashes
            .pop()
            .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "there is no data"))?;
        Ok(Self {
            root,
            levels,
            data_blocks,
        })
    }

    /// The root hash: the identity of the data.
    #[must_use]
    pub const fn root(&self) -> &Hash {
        &self.root
    }

    /// How many blocks the data has.
    #[must_use]
    pub const fn data_blocks(&self) -> u64 {
        self.data_blocks
    }

    /// The tree as it lies on disk: the top level first.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.levels.iter().rev().flatten().copied().collect()
    }
}

/// How many blocks each level has, from the one next to the data upwards.
#[must_use]
pub fn level_blocks(data_blocks: u64) -> Vec<u64> {
    let mut levels = Vec::new();
    let mut below = data_blocks;
    while below > 1 {
        below = below.div_ceil(128);
        levels.push(below);
    }
    levels
}

/// The superblock, filled up to one block: `struct verity_sb` of cryptsetup, little-endian.
#[must_use]
pub fn superblock(data_blocks: u64, salt: &Salt, uuid: &[u8; 16]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BLOCK_BYTES);
    bytes.extend(b"verity\0\0");
    // Version of the superblock, then the hash type: salt first.
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(uuid);
    bytes.extend(b"sha256");
    bytes.resize(64, 0);
    bytes.extend(4096_u32.to_le_bytes());
    bytes.extend(4096_u32.to_le_bytes());
    bytes.extend(data_blocks.to_le_bytes());
    bytes.extend(32_u16.to_le_bytes());
    bytes.extend([0; 6]);
    bytes.extend(salt.0);
    bytes.resize(BLOCK_BYTES, 0);
    bytes
}

fn as_blocks(hashes: &[Hash]) -> Vec<u8> {
    let mut bytes = hashes.concat();
    bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
    bytes
}

/// Fills the block, with zero bytes after the end of the data. False when there was no data left.
fn fill(data: &mut dyn Read, block: &mut [u8]) -> io::Result<bool> {
    let mut have = 0;
    while let Some(rest) = block.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match data.read(rest) {
            Ok(0) => break,
            Ok(count) => have += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if let Some(rest) = block.get_mut(have..) {
        rest.fill(0);
    }
    Ok(have > 0)
}

#[cfg(test)]
mod tests {
    use super::{BLOCK_BYTES, HashTree, Salt, level_blocks, superblock};

    #[test]
    fn one_block_is_its_own_tree() {
        let salt = Salt([7; 32]);
        let data = [1; BLOCK_BYTES];
        let tree = HashTree::of(&mut data.as_slice(), &salt).unwrap();
        assert_eq!(tree.root(), &salt.hash(&data));
        assert!(tree.to_bytes().is_empty());
        assert!(level_blocks(1).is_empty());
    }

    #[test]
    fn no_data_has_no_root() {
        let error = HashTree::of(&mut [].as_slice(), &Salt([0; 32])).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn levels_are_counted_as_they_are_made() {
        for blocks in [1_u64, 2, 127, 128, 129, 16384, 16385] {
            let data = vec![0; usize::try_from(blocks).unwrap() * BLOCK_BYTES];
            let tree = HashTree::of(&mut data.as_slice(), &Salt([0; 32])).unwrap();
            let counted: u64 = level_blocks(blocks).iter().sum();
            assert_eq!(tree.to_bytes().len() as u64, counted * 4096, "{blocks}");
            assert_eq!(tree.data_blocks(), blocks);
        }
    }

    #[test]
    fn every_bit_of_the_data_is_in_the_root() {
        let salt = Salt([9; 32]);
        let mut data = vec![0; 130 * BLOCK_BYTES];
        let root = *HashTree::of(&mut data.as_slice(), &salt).unwrap().root();
        for at in [0, 4095, 4096, 128 * BLOCK_BYTES, 130 * BLOCK_BYTES - 1] {
            data[at] ^= 1;
            let other = *HashTree::of(&mut data.as_slice(), &salt).unwrap().root();
            assert_ne!(root, other, "byte {at}");
            data[at] ^= 1;
        }
    }

    #[test]
    fn the_superblock_fills_one_block() {
        assert_eq!(superblock(1, &Salt([0; 32]), &[0; 16]).len(), BLOCK_BYTES);
    }
}
