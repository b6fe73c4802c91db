//! Gives full record files their tables, and writes the checkpoint that the next start goes on from. Behind
//! the answers: nobody waits for it but the writer, where it is two files ahead.

use std::{
    path::PathBuf,
    sync::{Arc, mpsc::Receiver},
    thread,
    time::Duration,
};

use proofroom_canonical::Digest;
use proofroom_ledger::Storage;

use super::{
    Shared, StoreError,
    checkpoint::Checkpoint,
    index::Recent,
    table::{self, Covered, Table},
};
use crate::sessions::History;

/// As many tables of one size become one of the next: a record is looked for in fewer than this many of
/// each size.
pub(super) const MERGED: usize = 8;

/// How often it is looked whether leaves are durable.
const LEAF_PAUSE: Duration = Duration::from_millis(5);

/// A record file that gets no more lines, and is durable.
#[derive(Debug)]
pub(super) struct Full {
    pub(super) recent: Arc<Recent>,
    /// The record that the next file begins with.
    pub(super) next: u64,
    pub(super) bytes: u64,
    /// SHA-256 of its last record's leaf.
    pub(super) leaf: Digest,
    /// What all lines to its end say.
    pub(super) history: History,
}

/// The tables, and what they cover.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) dir: PathBuf,
    pub(super) tables: Vec<Arc<Table>>,
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl Keeper {
    /// Ends when nobody can give it more, or when the disk or the log failed.
    pub(super) fn run(mut self, shared: &Shared, full: &Receiver<Full>) {
        while let Ok(full) = full.recv() {
            if wait_for_leaves(shared, full.next).is_none() || self.keep(full).is_err() {
                shared.fail();
                return;
            }
            shared.index.publish(self.tables.clone());
        }
    }

    /// Writes the table of a file whose leaves are durable, merges, and writes the checkpoint.
    pub(super) fn keep(&mut self, full: Full) -> Result<(), StoreError> {
        let covered = Covered {
            first: full.recent.segment,
            end: full.next,
            files: 1,
        };
        let entries = full.recent.sorted().into_iter().map(Ok);
        let table = table::write(&*self.storage, &self.dir, covered, entries)?;
        self.tables.push(Arc::new(table));
        let merged = self.merge()?;
        self.files = self.files.saturating_add(1);
        self.bytes = self.bytes.saturating_add(full.bytes);
        let listed = self.tables.iter().map(|table| table.listed).collect();
        let counted = (self.files, self.bytes);
        let checkpoint = Checkpoint::new(full.next, counted, full.leaf, listed, full.history);
        checkpoint.write(&*self.storage, &self.dir)?;
        for table in merged {
            let path = table.path.clone();
            let removed = self.storage.remove(&path);
            removed.map_err(|source| StoreError::File { path, source })?;
        }
        Ok(())
    }

    /// Merges the last tables for as long as enough of them are of one size; returns those that went into it.
    fn merge(&mut self) -> Result<Vec<Arc<Table>>, StoreError> {
        let mut gone = Vec::new();
        while let Some(place) = self.mergeable() {
            let parts = self.tables.split_off(place);
            let table = table::merge(&*self.storage, &self.dir, &parts)?;
            self.tables.push(Arc::new(table));
            gone.extend(parts);
        }
        Ok(gone)
    }

    /// Where the last tables begin that are to become one.
    fn mergeable(&self) -> Option<usize> {
        let place = self.tables.len().checked_sub(MERGED)?;
        let last = self.tables.get(place..)?;
        let size = |table: &Arc<Table>| table.listed.covered.files;
        let first = last.first().map(size);
        last.iter()
            .all(|table| Some(size(table)) == first)
            .then_some(place)
    }
}

/// Nothing is covered whose leaf a crash could lose.
fn wait_for_leaves(shared: &Shared, records: u64) -> Option<()> {
    while shared.ledger.durable_size().get() < records {
        if shared.failed() {
            return None;
        }
        thread::sleep(LEAF_PAUSE);
    }
    Some(())
}
