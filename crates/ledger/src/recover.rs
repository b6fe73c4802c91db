//! What opening a ledger does before it takes a leaf: read, compare, replay, and refuse what does
//! not fit together. Nothing is repaired except an unacknowledged torn tail.

use std::{io, sync::Arc};

use proofroom_tlog::{
    LeafHash, LeafIndex, NOTE_MAX_BYTES, NoteSigner, SignedNote, SubtreeHashes as _, TILE_WIDTH,
    TileEdge, TileKind, TilePath, TreeSize, VerifiedCheckpoint, VerifierKey, VerifyError,
    tree_root,
};

use crate::{
    error::{CorruptLedger, LedgerError},
    integrate::Tree,
    layout::Layout,
    ledger::KnownHead,
    reader::{DiskTiles, all_tiles, bundle_with, read_entries, read_hashes},
    storage::{Storage, fault},
    wal::{WalContents, WalWriter, read_wal},
};

/// What opening found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Leaves in the signed head that was found.
    pub integrated: TreeSize,
    /// Leaves in the signed head after replay.
    pub recovered: TreeSize,
    /// Bytes of a torn, never acknowledged tail that were dropped.
    pub torn_bytes: u64,
}

/// A ledger that is ready to append.
pub(crate) struct Recovered {
    pub(crate) tree: Tree,
    pub(crate) head: VerifiedCheckpoint,
    pub(crate) wal: WalWriter,
    pub(crate) recovery: Recovery,
}

/// Opens the files under `layout`, whose lock the caller holds.
pub(crate) fn recover(
    storage: &Arc<dyn Storage>,
    layout: &Layout,
    signer: &Arc<NoteSigner>,
    known: &KnownHead,
) -> Result<Recovered, LedgerError> {
    let key = signer.verifier_key();
    fault(
        "create",
        &layout.wal(),
        storage.create_directory(&layout.wal()),
    )?;
    let tiles = all_tiles(&**storage, layout)?;
    let wal = read_wal(&**storage, layout, key)?;
    let found = read_checkpoint(&**storage, layout, key)?;
    if found.is_none() && (!tiles.is_empty() || !wal.segments.is_empty()) {
        return Err(CorruptLedger::CheckpointMissing.into());
    }
    let integrated = found
        .as_ref()
        .map_or(TreeSize::EMPTY, |head| head.checkpoint().size());
    let (edge, bundle) = match &found {
        Some(head) => load_edge(&**storage, layout, head)?,
        None => (TileEdge::new(), Vec::new()),
    };
    let replay = uncovered(&**storage, layout, integrated, &wal)?;
    explain_tiles(&**storage, layout, &tiles, integrated, replay)?;
    let mut tree = Tree::new(
        Arc::clone(storage),
        layout.clone(),
        Arc::clone(signer),
        edge,
        bundle,
    );
    // always written anew: a page that an earlier, failed sync left in the cache is not trusted
    let head = tree.integrate(replay)?;
    compare_known(&**storage, layout, known, &head)?;
    let size = tree.size();
    let writer = WalWriter::create(Arc::clone(storage), layout.clone(), key, size.next_index())?;
    for old in wal
        .segments
        .iter()
        .filter(|old| **old != layout.segment(size.next_index()))
    {
        fault("remove", old, storage.remove(old))?;
    }
    let recovery = Recovery {
        integrated,
        recovered: size,
        torn_bytes: wal.torn_bytes,
    };
    Ok(Recovered {
        tree,
        head,
        wal: writer,
        recovery,
    })
}

/// The signed checkpoint; `None` if there is no file.
pub(crate) fn read_checkpoint(
    storage: &dyn Storage,
    layout: &Layout,
    key: &VerifierKey,
) -> Result<Option<VerifiedCheckpoint>, LedgerError> {
    let path = layout.checkpoint();
    let limit = u64::try_from(NOTE_MAX_BYTES).unwrap_or(u64::MAX);
    let bytes = match storage.read(&path, limit) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => fault("read", &path, result)?,
    };
    let note = SignedNote::parse(&bytes)
        .map_err(|cause| CorruptLedger::Checkpoint(VerifyError::Note(cause)))?;
    let head = key
        .verify_checkpoint(&note)
        .map_err(CorruptLedger::Checkpoint)?;
    Ok(Some(head))
}

/// The right edge and the partial bundle, which must lead to the signed root.
fn load_edge(
    storage: &dyn Storage,
    layout: &Layout,
    head: &VerifiedCheckpoint,
) -> Result<(TileEdge, Vec<Vec<u8>>), LedgerError> {
    let size = head.checkpoint().size();
    let mut tiles = Vec::new();
    for path in TileEdge::partial_tiles(size)? {
        tiles.push(read_hashes(storage, layout, path)?);
    }
    let edge = TileEdge::resume(size, tiles)?;
    if edge.root()? != head.checkpoint().root() {
        return Err(CorruptLedger::Forked { size }.into());
    }
    let full = size.get() / u64::from(TILE_WIDTH) * u64::from(TILE_WIDTH);
    if full == size.get() {
        return Ok((edge, Vec::new()));
    }
    let bundle = read_entries(storage, layout, bundle_with(LeafIndex::new(full), size)?)?;
    let hashes = DiskTiles::new(storage, layout, size);
    for (index, entry) in (full..).zip(&bundle) {
        if hashes.subtree(0, index)? != LeafHash::of(entry).node() {
            let index = LeafIndex::new(index);
            return Err(CorruptLedger::LeafDiffers { index }.into());
        }
    }
    Ok((edge, bundle))
}

/// The leaves of the write-ahead log that the head does not hold; those that it holds must agree.
pub(crate) fn uncovered<'a>(
    storage: &dyn Storage,
    layout: &Layout,
    size: TreeSize,
    wal: &'a WalContents,
) -> Result<&'a [Vec<u8>], LedgerError> {
    let first = match wal.first {
        Some(first) => first.get(),
        None if size == TreeSize::EMPTY => 0,
        None => {
            return Err(CorruptLedger::Wal {
                path: layout.wal(),
                offset: 0,
            }
            .into());
        }
    };
    let covered = size
        .get()
        .checked_sub(first)
        .ok_or(CorruptLedger::RolledBack {
            found: size,
            known: TreeSize::new(first),
        })?;
    let covered = usize::try_from(covered).unwrap_or(usize::MAX);
    let Some((old, new)) = wal.leaves.split_at_checked(covered) else {
        let path = wal.segments.last().cloned().unwrap_or_else(|| layout.wal());
        return Err(CorruptLedger::Wal { path, offset: 0 }.into());
    };
    let hashes = DiskTiles::new(storage, layout, size);
    for (index, leaf) in (first..).zip(old) {
        if hashes.subtree(0, index)? != LeafHash::of(leaf).node() {
            return Err(CorruptLedger::LeafDiffers {
                index: LeafIndex::new(index),
            }
            .into());
        }
    }
    Ok(new)
}

/// Tiles beyond the head exist only if a crash came between them and their checkpoint; then the
/// write-ahead log has the same leaves.
pub(crate) fn explain_tiles(
    storage: &dyn Storage,
    layout: &Layout,
    tiles: &[TilePath],
    size: TreeSize,
    replay: &[Vec<u8>],
) -> Result<(), LedgerError> {
    let durable = size
        .get()
        .saturating_add(u64::try_from(replay.len()).unwrap_or(u64::MAX));
    let wide = u64::from(TILE_WIDTH);
    for tile in tiles {
        let unit = match tile.kind() {
            TileKind::Entries | TileKind::Hashes { level: 0 } => 1_u64,
            TileKind::Hashes { level } => wide.saturating_pow(u32::from(level)),
        };
        let start = tile.index().saturating_mul(wide);
        let end = start
            .saturating_add(tile.width().get().into())
            .saturating_mul(unit);
        if end > durable {
            let (found, known) = (TreeSize::new(durable), TreeSize::new(end));
            return Err(CorruptLedger::RolledBack { found, known }.into());
        }
        if end <= size.get() || tile.kind() != TileKind::Entries {
            continue;
        }
        for (index, entry) in (start..).zip(read_entries(storage, layout, *tile)?) {
            let at = index
                .checked_sub(size.get())
                .and_then(|at| usize::try_from(at).ok());
            if at.is_some_and(|at| replay.get(at) != Some(&entry)) {
                return Err(CorruptLedger::LeafDiffers {
                    index: LeafIndex::new(index),
                }
                .into());
            }
        }
    }
    Ok(())
}

/// A head known from before must be a prefix of this log.
fn compare_known(
    storage: &dyn Storage,
    layout: &Layout,
    known: &KnownHead,
    head: &VerifiedCheckpoint,
) -> Result<(), LedgerError> {
    let KnownHead::Head(known) = known else {
        return Ok(());
    };
    if known.key() != head.key() {
        return Err(CorruptLedger::Checkpoint(VerifyError::OtherKey).into());
    }
    let (old, size) = (known.checkpoint(), head.checkpoint().size());
    if old.size() > size {
        return Err(CorruptLedger::RolledBack {
            found: size,
            known: old.size(),
        }
        .into());
    }
    let tiles = DiskTiles::new(storage, layout, size);
    if tree_root(&tiles, old.size())? == old.root() {
        Ok(())
    } else {
        Err(CorruptLedger::Forked { size: old.size() }.into())
    }
}
