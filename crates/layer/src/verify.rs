//! Whether a layer on disk is what its descriptor says: every hash is computed again, from the root
//! down, so that the first wrong block is known.

use std::{
    fs::File,
    io::{BufReader, Read},
};

use proofroom_canonical::Hasher;

use crate::{
    build::{salt_of, uuid_of},
    descriptor::LayerDescriptor,
    error::LayerError,
    store::Stored,
    verity::{BLOCK, BLOCK_BYTES, HASHES_PER_BLOCK, Hash, level_blocks, superblock},
};

/// A layer whose every block was found right. Only [`verify`] makes one.
#[derive(Clone, Debug)]
pub struct VerifiedLayer {
    stored: Stored,
}

impl VerifiedLayer {
    /// The layer.
    #[must_use]
    pub const fn stored(&self) -> &Stored {
        &self.stored
    }
}

/// Computes everything in the image again.
///
/// # Errors
/// The group of differences of [`LayerError`], the first one found; `layer-disk`.
pub fn verify(stored: &Stored) -> Result<VerifiedLayer, LayerError> {
    let layer = &stored.descriptor;
    let path = stored.image();
    let failed = LayerError::disk("read", &path);
    let file = File::open(&path).map_err(failed)?;
    let have = file.metadata().map_err(failed)?.len();
    if have != layer.image_bytes() {
        return Err(LayerError::Length {
            want: layer.image_bytes(),
            have,
        });
    }
    // The tree is at the end: it is read first, to know what the data must be.
    let tail = read_tail(&path, layer)?;
    let (found, tree) = tail.split_at_checked(BLOCK_BYTES).unwrap_or_default();
    if found != superblock(layer.data_blocks(), &layer.salt, &uuid_of(&layer.salt)) {
        return Err(LayerError::Superblock {
            offset: layer.hash_offset(),
        });
    }
    let leaves = verified_leaves(layer, tree)?;
    let mut data = BufReader::with_capacity(1 << 20, file).take(layer.erofs_bytes());
    let mut hasher = Hasher::new();
    let mut block = vec![0; BLOCK_BYTES];
    for (number, leaf) in (0_u64..).zip(&leaves) {
        data.read_exact(&mut block).map_err(failed)?;
        if layer.salt.hash(&block) != *leaf {
            return Err(LayerError::DataBlock {
                block: number,
                offset: number * BLOCK,
            });
        }
        hasher.update(&block);
    }
    if salt_of(&hasher.clone().finish()) != layer.salt {
        return Err(LayerError::Salt);
    }
    hasher.update(&tail);
    let have = hasher.finish();
    if have != layer.image() {
        return Err(LayerError::ImageDigest {
            want: layer.image(),
            have,
        });
    }
    Ok(VerifiedLayer {
        stored: stored.clone(),
    })
}

fn read_tail(path: &std::path::Path, layer: &LayerDescriptor) -> Result<Vec<u8>, LayerError> {
    use std::os::unix::fs::FileExt as _;
    let failed = LayerError::disk("read", path);
    let length = usize::try_from(layer.image_bytes() - layer.hash_offset()).unwrap_or(usize::MAX);
    let mut tail = vec![0; length];
    let file = File::open(path).map_err(failed)?;
    file.read_exact_at(&mut tail, layer.hash_offset())
        .map_err(failed)?;
    Ok(tail)
}

/// Goes through the stored tree from the root down; the hashes of the data blocks.
fn verified_leaves(layer: &LayerDescriptor, tree: &[u8]) -> Result<Vec<Hash>, LayerError> {
    let mut want = vec![layer.root];
    let mut rest = tree;
    let mut number = 0_u64;
    let levels = level_blocks(layer.data_blocks());
    for (level, _) in levels.iter().enumerate().rev() {
        let mut below = Vec::with_capacity(want.len() * HASHES_PER_BLOCK);
        for hash in &want {
            let (block, after) = rest.split_at_checked(BLOCK_BYTES).unwrap_or_default();
            rest = after;
            if layer.salt.hash(block) != *hash {
                return Err(LayerError::HashBlock {
                    block: number,
                    level,
                    offset: layer.hash_offset() + (number + 1) * BLOCK,
                });
            }
            number += 1;
            below.extend(block.as_chunks::<32>().0);
        }
        // The last block of a level may be partly empty.
        let count = match level.checked_sub(1).and_then(|under| levels.get(under)) {
            Some(blocks) => *blocks,
            None => layer.data_blocks(),
        };
        below.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        want = below;
    }
    Ok(want)
}
