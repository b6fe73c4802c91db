//! Turns durable leaves into tiles, bundles and a signed checkpoint. The checkpoint is replaced only
//! after everything under it is on disk.

use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use proofroom_canonical::Timestamp;
use proofroom_tlog::{
    Checkpoint, EntryBundle, LeafHash, LeafIndex, NoteSigner, RootHash, TILE_WIDTH, TileEdge,
    TileKind, TilePath, TileWidth, TreeSize, VerifiedCheckpoint,
};

use crate::{
    error::{CorruptLedger, LedgerError},
    layout::{Layout, TEMPORARY},
    storage::{Storage, fault},
};

/// A leaf that a signed head on disk holds. Only the ledger makes one. No witness has seen it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Integrated {
    pub(crate) index: LeafIndex,
    pub(crate) head: Arc<VerifiedCheckpoint>,
    pub(crate) at: Timestamp,
}

impl Integrated {
    /// The leaf's place.
    #[must_use]
    pub const fn index(&self) -> LeafIndex {
        self.index
    }

    /// A signed head that holds the leaf.
    #[must_use]
    pub fn head(&self) -> &VerifiedCheckpoint {
        &self.head
    }

    /// When the ledger's clock saw that head on disk.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }
}

/// The integrated part of a ledger: its right edge in memory, everything else on disk.
#[derive(Debug)]
pub(crate) struct Tree {
    storage: Arc<dyn Storage>,
    layout: Layout,
    signer: Arc<NoteSigner>,
    edge: TileEdge,
    /// Entries of the partial bundle, at most 255.
    bundle: Vec<Vec<u8>>,
    known_directories: HashSet<PathBuf>,
    unsynced_directories: BTreeSet<PathBuf>,
}

impl Tree {
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        layout: Layout,
        signer: Arc<NoteSigner>,
        edge: TileEdge,
        bundle: Vec<Vec<u8>>,
    ) -> Self {
        let (known_directories, unsynced_directories) = Default::default();
        Self {
            storage,
            layout,
            signer,
            edge,
            bundle,
            known_directories,
            unsynced_directories,
        }
    }

    pub(crate) const fn size(&self) -> TreeSize {
        self.edge.size()
    }

    /// Adds `leaves`, writes every tile that they changed, and replaces the checkpoint.
    pub(crate) fn integrate(
        &mut self,
        leaves: &[Vec<u8>],
    ) -> Result<VerifiedCheckpoint, LedgerError> {
        let before: HashSet<TilePath> = TileEdge::partial_tiles(self.size())?.into_iter().collect();
        let mut filled = Vec::new();
        for leaf in leaves {
            for (path, tile) in self.edge.append(LeafHash::of(leaf))? {
                self.publish(&self.layout.tile(&path), &tile.to_bytes())?;
                filled.push(path);
            }
            self.bundle.push(leaf.clone());
            if self.bundle.len() == usize::from(TILE_WIDTH) {
                filled.push(self.write_bundle()?);
                self.bundle.clear();
            }
        }
        for (path, tile) in self.edge.partials()? {
            if !before.contains(&path) {
                self.publish(&self.layout.tile(&path), &tile.to_bytes())?;
            }
        }
        if !self.bundle.is_empty() && !leaves.is_empty() {
            self.write_bundle()?;
        }
        self.sync_directories()?;
        let root = self.edge.root()?;
        let head = self.sign(root)?;
        self.remove_partials(&filled)?;
        Ok(head)
    }

    /// Signs and publishes the checkpoint at the present size. `root` must be that of the edge.
    fn sign(&mut self, root: RootHash) -> Result<VerifiedCheckpoint, LedgerError> {
        let key = self.signer.verifier_key();
        let text = Checkpoint::new(key.name(), self.size(), root).to_string();
        let note = self.signer.sign(text).map_err(CorruptLedger::Note)?;
        let head = key
            .verify_checkpoint(&note)
            .map_err(CorruptLedger::Checkpoint)?;
        self.publish(&self.layout.checkpoint(), note.to_string().as_bytes())?;
        self.sync_directories()?;
        Ok(head)
    }

    fn write_bundle(&mut self) -> Result<TilePath, LedgerError> {
        let last = self.size().get().saturating_sub(1);
        let width = TileWidth::new(u64::try_from(self.bundle.len()).unwrap_or(u64::MAX))?;
        // the leaf that fills a bundle is already counted in the edge, so the last leaf names it
        let index = match width.is_partial() {
            true => self.size().get() / u64::from(TILE_WIDTH),
            false => last / u64::from(TILE_WIDTH),
        };
        let path = TilePath::new(TileKind::Entries, index, width)?;
        let bytes = EntryBundle::new(self.bundle.clone())?.to_bytes();
        self.publish(&self.layout.tile(&path), &bytes)?;
        Ok(path)
    }

    /// Temporary file, `fdatasync`, rename. The directory is synced by [`Self::sync_directories`].
    fn publish(&mut self, path: &Path, bytes: &[u8]) -> Result<(), LedgerError> {
        let directory = path.parent().unwrap_or(self.layout.root()).to_owned();
        if !self.known_directories.contains(&directory) {
            fault(
                "create",
                &directory,
                self.storage.create_directory(&directory),
            )?;
            let ours = directory
                .ancestors()
                .take_while(|d| d.starts_with(self.layout.root()));
            self.unsynced_directories.extend(ours.map(Path::to_owned));
            self.known_directories.insert(directory.clone());
        }
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(TEMPORARY);
        let temporary = PathBuf::from(temporary);
        let mut file = fault("create", &temporary, self.storage.create(&temporary))?;
        fault("write", &temporary, file.append(bytes))?;
        fault("sync", &temporary, file.sync())?;
        fault("rename", path, self.storage.rename(&temporary, path))?;
        self.unsynced_directories.insert(directory);
        Ok(())
    }

    fn sync_directories(&mut self) -> Result<(), LedgerError> {
        // deepest first, so that a name never becomes durable before what it names
        for directory in std::mem::take(&mut self.unsynced_directories).iter().rev() {
            fault("sync", directory, self.storage.sync_directory(directory))?;
        }
        Ok(())
    }

    /// The partial tiles of full ones are of no more use once a checkpoint needs the full ones.
    fn remove_partials(&mut self, filled: &[TilePath]) -> Result<(), LedgerError> {
        for path in filled {
            let directory = self.layout.partial_directory(path);
            self.known_directories.remove(&directory);
            match self.storage.remove_directory(&directory) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                result => fault("remove", &directory, result)?,
            }
        }
        Ok(())
    }
}
