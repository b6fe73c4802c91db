//! What a start goes on from: which record files have tables, what they say of sessions, and by what to know
//! that they are still the same files. A checkpoint that does not fit is no checkpoint: everything is read.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
    sync::Arc,
};

use proofroom_canonical::{Digest, json};
use proofroom_ledger::{Ledger, Storage};
use proofroom_tlog::LeafIndex;
use serde::{Deserialize, Serialize};

use super::{
    StoreError, segment,
    table::{Listed, Table, UNFINISHED},
};
use crate::sessions::History;

const NAME: &str = "checkpoint";
const VERSION: u32 = 1;
/// A longer file is none. A session takes about 1 KiB.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Everything before one record file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Checkpoint {
    version: u32,
    /// Records, which is the name of the first record file that is not covered.
    pub(super) records: u64,
    /// Record files that are covered, and their bytes.
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// SHA-256 of the last covered record's leaf.
    pub(super) leaf: Digest,
    pub(super) tables: Vec<Listed>,
    pub(super) history: History,
}

impl Checkpoint {
    pub(super) const fn new(
        records: u64,
        (files, bytes): (u64, u64),
        leaf: Digest,
        tables: Vec<Listed>,
        history: History,
    ) -> Self {
        Self {
            version: VERSION,
            records,
            files,
            bytes,
            leaf,
            tables,
            history,
        }
    }

    /// Replaces the checkpoint on disk. Everything that it names is durable before.
    pub(super) fn write(&self, storage: &dyn Storage, dir: &Path) -> Result<(), StoreError> {
        let path = dir.join(NAME);
        let body = json::to_bytes(self).map_err(|_| StoreError::Failed)?;
        let mut text = format!("{}\n", Digest::of(&body)).into_bytes();
        text.extend_from_slice(&body);
        let written = replace(storage, dir, &text);
        written.map_err(|source| StoreError::File { path, source })
    }

    /// The checkpoint in `dir` with its tables, if there is one, whole, and of these record files and this log.
    pub(super) fn read(
        dir: &Path,
        records: &Path,
        names: &[u64],
        ledger: &Ledger,
    ) -> Option<(Self, Vec<Arc<Table>>)> {
        let found = Self::parse(&bytes(&dir.join(NAME)).ok()?)?;
        if !found.fits(records, names) || !found.is_of(ledger) {
            return None;
        }
        let open = |listed: &Listed| Table::open(dir, *listed).ok().map(Arc::new);
        let tables = found.tables.iter().map(open).collect::<Option<_>>()?;
        Some((found, tables))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (digest, body) = bytes.split_at_checked(end)?;
        let body = body.strip_prefix(b"\n")?;
        let digest: Digest = std::str::from_utf8(digest).ok()?.parse().ok()?;
        if Digest::of(body) != digest {
            return None;
        }
        let found: Self = json::parse(body, body.len()).ok()?;
        (found.version == VERSION && found.covers_all()).then_some(found)
    }

    /// Whether its tables follow each other from the first record to the last.
    fn covers_all(&self) -> bool {
        let end = self.tables.iter().try_fold(0, |end, table| {
            (table.covered.first == end).then_some(table.covered.end)
        });
        end == Some(self.records)
    }

    /// Whether the record files before it are as many and as long as they were, and the next one is there.
    fn fits(&self, records: &Path, names: &[u64]) -> bool {
        let covered: Vec<u64> = names
            .iter()
            .copied()
            .take_while(|n| *n < self.records)
            .collect();
        let sizes = covered.iter().map(|name| {
            let file = fs::metadata(segment::path(records, *name));
            file.map(|file| file.len())
        });
        let bytes = sizes.sum::<io::Result<u64>>().ok();
        covered.len() as u64 == self.files
            && bytes == Some(self.bytes)
            && names.contains(&self.records)
    }

    /// Whether the log has the leaf of its last record.
    fn is_of(&self, ledger: &Ledger) -> bool {
        let last = self.records.checked_sub(1).map(LeafIndex::new);
        let leaf = last.and_then(|last| ledger.entry(last).ok());
        leaf.is_some_and(|leaf| Digest::of(leaf) == self.leaf)
    }
}

/// Removes what no checkpoint names: tables of an earlier one, and what a crash left half written.
pub(super) fn tidy(
    storage: &dyn Storage,
    dir: &Path,
    tables: &[Arc<Table>],
    keep_checkpoint: bool,
) -> io::Result<()> {
    let mut kept: Vec<String> = tables
        .iter()
        .map(|table| table.listed.covered.name())
        .collect();
    kept.extend(keep_checkpoint.then(|| NAME.to_owned()));
    for name in storage.list(dir)? {
        if !kept.contains(&name) {
            storage.remove(&dir.join(name))?;
        }
    }
    Ok(())
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path)?;
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn replace(storage: &dyn Storage, dir: &Path, text: &[u8]) -> io::Result<()> {
    // the names of its tables first
    storage.sync_directory(dir)?;
    let temporary = dir.join(format!("{NAME}{UNFINISHED}"));
    let mut file = storage.create(&temporary)?;
    file.append(text)?;
    file.sync()?;
    storage.rename(&temporary, &dir.join(NAME))?;
    storage.sync_directory(dir)
}
