//! Reads tiles and bundles of a ledger at one size. Trusts nothing: what it returns is compared with
//! a signed root by whoever asks.

use std::{cell::RefCell, collections::HashMap, io, rc::Rc};

use proofroom_tlog::{
    ENTRY_MAX_BYTES, EntryBundle, LeafIndex, MerkleError, NodeHash, SubtreeHashes, TILE_HEIGHT,
    TILE_WIDTH, TileHashes, TileKind, TilePath, TileWidth, TreeSize,
};

use crate::{
    error::{CorruptLedger, LedgerError},
    layout::{Layout, TEMPORARY},
    storage::{Storage, fault},
};

/// The tiles of a tree of one size.
pub(crate) struct DiskTiles<'a> {
    storage: &'a dyn Storage,
    layout: &'a Layout,
    size: TreeSize,
    read: RefCell<HashMap<TilePath, Rc<TileHashes>>>,
}

impl<'a> DiskTiles<'a> {
    pub(crate) fn new(storage: &'a dyn Storage, layout: &'a Layout, size: TreeSize) -> Self {
        Self {
            storage,
            layout,
            size,
            read: RefCell::default(),
        }
    }

    /// The tile that holds hash `number` of `level`, as wide as this size makes it.
    fn tile_with(&self, level: u32, number: u64) -> Result<TilePath, LedgerError> {
        let wide = u64::from(TILE_WIDTH);
        let (index, hashes) = (number / wide, self.size.get() >> (TILE_HEIGHT * level));
        let width = hashes.saturating_sub(index * wide).min(wide);
        let level = u8::try_from(level).unwrap_or(u8::MAX);
        Ok(TilePath::new(
            TileKind::Hashes { level },
            index,
            TileWidth::new(width)?,
        )?)
    }

    fn cached(&self, path: TilePath) -> Result<Rc<TileHashes>, LedgerError> {
        if let Some(tile) = self.read.borrow().get(&path) {
            return Ok(Rc::clone(tile));
        }
        let tile = Rc::new(read_hashes(self.storage, self.layout, path)?);
        let mut read = self.read.borrow_mut();
        if read.len() >= CACHED_TILES {
            read.clear();
        }
        read.insert(path, Rc::clone(&tile));
        Ok(tile)
    }
}

impl SubtreeHashes for DiskTiles<'_> {
    type Error = LedgerError;

    fn subtree(&self, height: u32, index: u64) -> Result<NodeHash, LedgerError> {
        let (level, within) = (height / TILE_HEIGHT, height % TILE_HEIGHT);
        let missing = MerkleError::NoSubtree { height, index };
        if level >= u64::BITS / TILE_HEIGHT {
            return Err(missing.into());
        }
        let number = index << within;
        let tile = self.cached(self.tile_with(level, number)?)?;
        let offset = (number % u64::from(TILE_WIDTH)) >> within;
        let offset = usize::try_from(offset).map_err(|_| missing)?;
        Ok(tile.subtree(within, offset)?)
    }
}

/// The hashes of a tile. A partial tile that is gone is the start of the full one.
pub(crate) fn read_hashes(
    storage: &dyn Storage,
    layout: &Layout,
    path: TilePath,
) -> Result<TileHashes, LedgerError> {
    if let Some(bytes) = read_if_there(storage, layout, path)? {
        return Ok(TileHashes::parse(&bytes, path.width())?);
    }
    let bytes = read_if_there(storage, layout, path.full())?.ok_or_else(|| missing(path))?;
    let full = TileHashes::parse(&bytes, TileWidth::FULL)?;
    let start = full.hashes().iter().take(path.width().get().into());
    Ok(TileHashes::new(start.copied().collect())?)
}

/// The entries of a bundle. A partial bundle that is gone is the start of the full one.
pub(crate) fn read_entries(
    storage: &dyn Storage,
    layout: &Layout,
    path: TilePath,
) -> Result<Vec<Vec<u8>>, LedgerError> {
    if let Some(bytes) = read_if_there(storage, layout, path)? {
        return Ok(EntryBundle::parse(&bytes, path.width())?.entries().to_vec());
    }
    let bytes = read_if_there(storage, layout, path.full())?.ok_or_else(|| missing(path))?;
    let full = EntryBundle::parse(&bytes, TileWidth::FULL)?;
    Ok(full
        .entries()
        .iter()
        .take(path.width().get().into())
        .cloned()
        .collect())
}

/// The bundle with this leaf in a log of `size`.
pub(crate) fn bundle_with(index: LeafIndex, size: TreeSize) -> Result<TilePath, LedgerError> {
    let wide = u64::from(TILE_WIDTH);
    let bundle = index.get() / wide;
    let width = size.get().saturating_sub(bundle * wide).min(wide);
    Ok(TilePath::new(
        TileKind::Entries,
        bundle,
        TileWidth::new(width)?,
    )?)
}

/// Every tile and bundle on disk, in no order. Unfinished temporary files are passed over.
pub(crate) fn all_tiles(
    storage: &dyn Storage,
    layout: &Layout,
) -> Result<Vec<TilePath>, LedgerError> {
    let mut found = Vec::new();
    let mut open = vec!["tile".to_owned()];
    while let Some(directory) = open.pop() {
        let path = layout.root().join(&directory);
        for name in fault("list", &path, storage.list(&path))? {
            let below = format!("{directory}/{name}");
            let inner = directory == "tile" || name.starts_with('x') || name.ends_with(".p");
            if name.ends_with(TEMPORARY) {
                continue;
            } else if inner {
                open.push(below);
            } else {
                found.push(
                    below
                        .parse()
                        .map_err(|_| CorruptLedger::Foreign { path: below })?,
                );
            }
        }
    }
    Ok(found)
}

fn read_if_there(
    storage: &dyn Storage,
    layout: &Layout,
    path: TilePath,
) -> Result<Option<Vec<u8>>, LedgerError> {
    let file = layout.tile(&path);
    match storage.read(&file, TILE_FILE_MAX_BYTES) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        result => fault("read", &file, result).map(Some),
    }
}

fn missing(path: TilePath) -> CorruptLedger {
    CorruptLedger::Missing {
        path: path.to_string(),
    }
}

/// 256 entries of the largest size behind their lengths.
const TILE_FILE_MAX_BYTES: u64 = 256 * (2 + ENTRY_MAX_BYTES as u64);

/// At most 1,024 tiles of 8 KiB are held while one proof is made.
const CACHED_TILES: usize = 1024;
