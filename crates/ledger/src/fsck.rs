//! Checks everything a ledger's directory holds: the signature, every entry, every hash, every
//! stray file and the write-ahead log. Changes nothing. Run it on a stopped ledger or on a copy.

use std::{path::Path, sync::Arc};

use proofroom_tlog::{
    LeafHash, LeafIndex, TILE_WIDTH, TileEdge, TileHashes, TileKind, TilePath, TreeSize,
    VerifiedCheckpoint, VerifierKey,
};

use crate::{
    error::{CorruptLedger, LedgerError},
    layout::Layout,
    reader::{all_tiles, bundle_with, read_entries, read_hashes},
    recover::{explain_tiles, read_checkpoint, uncovered},
    storage::{DiskStorage, Storage},
    wal::read_wal,
};

/// What a full check found to be right.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FsckReport {
    /// The signed head; every leaf under it was hashed again.
    pub head: Arc<VerifiedCheckpoint>,
    /// Hash tiles that were compared with the entries' hashes.
    pub tiles: u64,
    /// Partial tiles of earlier heads, all starts of the present ones.
    pub earlier_partials: u64,
    /// Leaves on disk, those in the write-ahead log alone included.
    pub durable: TreeSize,
    /// Bytes of a torn, never acknowledged tail that the next opening will drop.
    pub torn_bytes: u64,
}

/// Checks the ledger in `directory` against the log's public key.
///
/// # Errors
/// The first thing found wrong, as a code of [`CorruptLedger`], or `ledger-storage-failed`.
pub fn fsck(directory: &Path, key: &VerifierKey) -> Result<FsckReport, LedgerError> {
    let (storage, layout) = (DiskStorage, Layout::new(directory));
    let head = read_checkpoint(&storage, &layout, key)?.ok_or(CorruptLedger::CheckpointMissing)?;
    let size = head.checkpoint().size();
    let edge = rehash(&storage, &layout, size)?;
    if edge.root()? != head.checkpoint().root() {
        return Err(CorruptLedger::Forked { size }.into());
    }
    let mut tiles = edge_tiles(size)?;
    for (path, tile) in edge.partials()? {
        compare(&storage, &layout, path, &tile)?;
        tiles += 1;
    }
    let wal = read_wal(&storage, &layout, key)?;
    let replay = uncovered(&storage, &layout, size, &wal)?;
    let found = all_tiles(&storage, &layout)?;
    explain_tiles(&storage, &layout, &found, size, replay)?;
    let earlier_partials = check_partials(&storage, &layout, &found, size)?;
    let durable = size
        .get()
        .saturating_add(u64::try_from(replay.len()).unwrap_or(u64::MAX));
    Ok(FsckReport {
        head: Arc::new(head),
        tiles,
        earlier_partials,
        durable: TreeSize::new(durable),
        torn_bytes: wal.torn_bytes,
    })
}

/// Hashes every entry and compares every full tile.
fn rehash(storage: &dyn Storage, layout: &Layout, size: TreeSize) -> Result<TileEdge, LedgerError> {
    let mut edge = TileEdge::new();
    while edge.size() < size {
        let bundle = bundle_with(LeafIndex::new(edge.size().get()), size)?;
        for entry in read_entries(storage, layout, bundle)? {
            for (path, tile) in edge.append(LeafHash::of(&entry))? {
                compare(storage, layout, path, &tile)?;
            }
        }
    }
    Ok(edge)
}

fn compare(
    storage: &dyn Storage,
    layout: &Layout,
    path: TilePath,
    expected: &TileHashes,
) -> Result<(), LedgerError> {
    if read_hashes(storage, layout, path)? == *expected {
        Ok(())
    } else {
        Err(CorruptLedger::Tile {
            path: path.to_string(),
        }
        .into())
    }
}

/// Partial tiles and bundles that the head no longer needs must be starts of those that it does.
fn check_partials(
    storage: &dyn Storage,
    layout: &Layout,
    found: &[TilePath],
    size: TreeSize,
) -> Result<u64, LedgerError> {
    let mut earlier = 0;
    for path in found.iter().filter(|path| path.width().is_partial()) {
        let now = current(*path, size)?.filter(|now| now.width() > path.width());
        let Some(now) = now else { continue };
        let start = usize::from(path.width().get());
        let same = if path.kind() == TileKind::Entries {
            let now = read_entries(storage, layout, now)?;
            now.get(..start) == Some(read_entries(storage, layout, *path)?.as_slice())
        } else {
            let now = read_hashes(storage, layout, now)?;
            now.hashes().get(..start) == Some(read_hashes(storage, layout, *path)?.hashes())
        };
        if !same {
            return Err(CorruptLedger::Tile {
                path: path.to_string(),
            }
            .into());
        }
        earlier += 1;
    }
    Ok(earlier)
}

/// The same tile as wide as `size` makes it; `None` if the tree does not reach it.
fn current(path: TilePath, size: TreeSize) -> Result<Option<TilePath>, LedgerError> {
    let level = match path.kind() {
        TileKind::Entries => 0,
        TileKind::Hashes { level } => u32::from(level),
    };
    let wide = u64::from(TILE_WIDTH);
    let hashes = size.get().checked_shr(8 * level).unwrap_or(0);
    let width = hashes
        .saturating_sub(path.index().saturating_mul(wide))
        .min(wide);
    if width == 0 {
        return Ok(None);
    }
    let width = proofroom_tlog::TileWidth::new(width)?;
    Ok(Some(TilePath::new(path.kind(), path.index(), width)?))
}

/// How many full tiles a tree of `size` has.
fn edge_tiles(size: TreeSize) -> Result<u64, LedgerError> {
    let (mut rest, mut tiles) = (size.get() / u64::from(TILE_WIDTH), 0_u64);
    while rest > 0 {
        tiles = tiles.saturating_add(rest);
        rest /= u64::from(TILE_WIDTH);
    }
    Ok(tiles)
}
