//! Sorted files that say where records are: written once, read block by block, merged and then removed. A
//! block that is damaged shows it by its checksum.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use proofroom_ledger::Storage;
use serde::{Deserialize, Serialize};

use super::{
    StoreError,
    segment::{Location, Place},
};

/// What a record is looked for by: the run's id, or half of its digest.
pub(super) type Key = [u8; 16];

/// Key, record file, and the place within it: 16 + 8 + 4 + 4 + 4 bytes, big-endian.
const ENTRY_BYTES: usize = 36;
/// Entries, zeroes, and a CRC-32 at the end.
const BLOCK_BYTES: usize = 4096;
const CHECKED_BYTES: usize = BLOCK_BYTES - 4;
/// 113 * 36 = 4,068 bytes of 4,092.
const ENTRIES_A_BLOCK: usize = CHECKED_BYTES / ENTRY_BYTES;
/// Blocks that are written at once.
const WRITTEN_BLOCKS: usize = 64;

/// A key and where its record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) at: Location,
}

/// Which records a table is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Covered {
    /// The first record.
    pub(super) first: u64,
    /// The first record that it is not about.
    pub(super) end: u64,
    /// Record files.
    pub(super) files: u64,
}

impl Covered {
    /// The table's file name.
    pub(super) fn name(&self) -> String {
        format!("{:020}-{:020}", self.first, self.end)
    }
}

/// A table with its number of entries, as a checkpoint lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    pub(super) covered: Covered,
    pub(super) entries: u64,
}

/// A table on disk.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) listed: Listed,
    pub(super) path: PathBuf,
    file: File,
}

impl Table {
    /// Opens a table; an error of kind `InvalidData` where its length is not that of its entries.
    pub(super) fn open(dir: &Path, listed: Listed) -> io::Result<Self> {
        let path = dir.join(listed.covered.name());
        let file = File::open(&path)?;
        let table = Self { listed, path, file };
        let expected = table.blocks().checked_mul(BLOCK_BYTES as u64);
        if Some(table.file.metadata()?.len()) == expected {
            Ok(table)
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }

    /// The entry of this key.
    pub(super) fn find(&self, key: Key) -> Result<Option<Location>, StoreError> {
        let (mut low, mut high) = (0, self.blocks());
        // the last block that does not begin after the key is the one that can hold it
        let mut found = Vec::new();
        while low < high {
            let middle = low.midpoint(high);
            let block = self.block(middle)?;
            if block.first().is_some_and(|entry| entry.key <= key) {
                found = block;
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        let place = found.binary_search_by_key(&key, |entry| entry.key).ok();
        let entry = place.and_then(|place| found.get(place));
        Ok(entry.map(|entry| entry.at))
    }

    /// Every entry, in order.
    fn entries(&self) -> impl Iterator<Item = Result<Entry, StoreError>> {
        (0..self.blocks()).flat_map(|number| match self.block(number) {
            Ok(entries) => entries.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        })
    }

    fn blocks(&self) -> u64 {
        self.listed.entries.div_ceil(ENTRIES_A_BLOCK as u64)
    }

    fn block(&self, number: u64) -> Result<Vec<Entry>, StoreError> {
        let offset = number.saturating_mul(BLOCK_BYTES as u64);
        let mut bytes = [0; BLOCK_BYTES];
        self.file
            .read_exact_at(&mut bytes, offset)
            .map_err(|source| self.failed(source))?;
        let before = number.saturating_mul(ENTRIES_A_BLOCK as u64);
        let rest = usize::try_from(self.listed.entries.saturating_sub(before));
        let entries = rest.unwrap_or(usize::MAX).min(ENTRIES_A_BLOCK);
        let parsed = parse(&bytes, &self.listed.covered, number, entries);
        parsed.ok_or_else(|| StoreError::IndexDamaged {
            path: self.path.clone(),
            offset,
        })
    }

    fn failed(&self, source: io::Error) -> StoreError {
        let path = self.path.clone();
        StoreError::File { path, source }
    }
}

/// Writes a table of `entries`, which come in ascending order; of equal keys the last one stays. The
/// file is durable, its name is so once its directory is synced.
pub(super) fn write(
    storage: &dyn Storage,
    dir: &Path,
    covered: Covered,
    entries: impl Iterator<Item = Result<Entry, StoreError>>,
) -> Result<Table, StoreError> {
    let path = dir.join(covered.name());
    let temporary = dir.join(format!("{}{UNFINISHED}", covered.name()));
    let failed = |source| StoreError::File {
        path: path.clone(),
        source,
    };
    let mut file = storage.create(&temporary).map_err(failed)?;
    let (mut block, mut bytes) = (Vec::new(), Vec::new());
    let (mut blocks, mut count) = (0, 0);
    let mut entries = entries.peekable();
    while let Some(entry) = entries.next().transpose()? {
        if matches!(entries.peek(), Some(Ok(next)) if next.key == entry.key) {
            continue;
        }
        block.push(entry);
        count += 1;
        if block.len() < ENTRIES_A_BLOCK && entries.peek().is_some() {
            continue;
        }
        bytes.extend_from_slice(&render(&block, &covered, blocks));
        block.clear();
        blocks += 1;
        if bytes.len() >= WRITTEN_BLOCKS * BLOCK_BYTES || entries.peek().is_none() {
            file.append(&bytes).map_err(failed)?;
            bytes.clear();
        }
    }
    file.sync().map_err(failed)?;
    storage.rename(&temporary, &path).map_err(failed)?;
    let listed = Listed {
        covered,
        entries: count,
    };
    Table::open(dir, listed).map_err(failed)
}

/// Makes one table of several that follow each other.
pub(super) fn merge(
    storage: &dyn Storage,
    dir: &Path,
    tables: &[Arc<Table>],
) -> Result<Table, StoreError> {
    let covered = tables.iter().map(|table| table.listed.covered);
    let all = covered.reduce(|all, next| Covered {
        end: next.end,
        files: all.files.saturating_add(next.files),
        ..all
    });
    let all = all.ok_or(StoreError::Failed)?;
    let entries = tables.iter().map(|table| table.entries().peekable());
    write(storage, dir, all, Merged(entries.collect()))
}

/// The entries of several tables in order; of equal keys that of the earlier table first.
struct Merged<I: Iterator>(Vec<std::iter::Peekable<I>>);

impl<I: Iterator<Item = Result<Entry, StoreError>>> Iterator for Merged<I> {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        // an error comes before every key
        let key = |next: &Self::Item| next.as_ref().ok().map(|entry| entry.key);
        let next = self.0.iter_mut().enumerate().filter_map(|(at, entries)| {
            let found = key(entries.peek()?);
            Some((found, at))
        });
        let (_, at) = next.min()?;
        self.0.get_mut(at)?.next()
    }
}

/// Ending of a file that is being written.
pub(super) const UNFINISHED: &str = ".new";

fn render(entries: &[Entry], covered: &Covered, number: u64) -> [u8; BLOCK_BYTES] {
    let mut bytes = Vec::with_capacity(BLOCK_BYTES);
    for Entry { key, at } in entries {
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(&at.segment.to_be_bytes());
        for part in [at.place.offset, at.place.length, at.place.nth] {
            bytes.extend_from_slice(&part.to_be_bytes());
        }
    }
    bytes.resize(CHECKED_BYTES, 0);
    bytes.extend_from_slice(&checksum(&bytes, covered, number).to_be_bytes());
    let mut block = [0; BLOCK_BYTES];
    block.copy_from_slice(&bytes);
    block
}

fn parse(
    bytes: &[u8; BLOCK_BYTES],
    covered: &Covered,
    number: u64,
    entries: usize,
) -> Option<Vec<Entry>> {
    let (checked, sum) = bytes.split_last_chunk::<4>()?;
    if checksum(checked, covered, number) != u32::from_be_bytes(*sum) {
        return None;
    }
    let (parts, _) = checked.as_chunks::<ENTRY_BYTES>();
    parts.iter().take(entries).map(entry).collect()
}

fn entry(bytes: &[u8; ENTRY_BYTES]) -> Option<Entry> {
    let (key, rest) = bytes.split_first_chunk::<16>()?;
    let (segment, rest) = rest.split_first_chunk::<8>()?;
    let (parts, _) = rest.as_chunks::<4>();
    let [offset, length, nth] = parts else {
        return None;
    };
    Some(Entry {
        key: *key,
        at: Location {
            segment: u64::from_be_bytes(*segment),
            place: Place {
                offset: u32::from_be_bytes(*offset),
                length: u32::from_be_bytes(*length),
                nth: u32::from_be_bytes(*nth),
            },
        },
    })
}

/// Of a block's bytes and of where they belong: a block of another place or table is damage.
fn checksum(bytes: &[u8], covered: &Covered, number: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in [covered.first, covered.end, number] {
        hasher.update(&part.to_be_bytes());
    }
    hasher.update(bytes);
    hasher.finalize()
}
