//! Opening what an earlier process left. Of the record files that have tables only that they are the same
//! is looked at; of all others every line is read and checked, against its leaf too. The torn end is dropped,
//! records without a leaf get one, and full files get their tables.

use std::{
    collections::VecDeque,
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    sync::Arc,
};

use proofroom_canonical::Digest;
use proofroom_ledger::Ledger;
use proofroom_tlog::LeafIndex;

use super::{
    Opening, Progress, StoreError,
    checkpoint::{self, Checkpoint},
    index::{Index, Recent},
    keeper::{Full, Keeper},
    line::{self, Line},
    segment::{self, MAX_LINE_BYTES, Place, Segment},
};
use crate::{
    prices::Prices,
    sessions::{Event, History},
};

/// Leaves that the log is given before one is waited for.
const LEAVES_AT_ONCE: usize = 1024;

/// What opening found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// Records.
    pub(crate) records: u64,
    /// Those of them that were read, because they came after the checkpoint.
    pub(crate) read: u64,
    /// Records that had no leaf and got one.
    pub(crate) leaves_added: u64,
    /// Bytes of the torn last line.
    pub(crate) torn_bytes: u64,
}

/// A store that is ready for more.
pub(super) struct Ready {
    pub(super) recovered: Recovered,
    pub(super) history: History,
    pub(super) index: Index,
    pub(super) keeper: Keeper,
    pub(super) segment: Segment,
    pub(super) leaf: Digest,
}

/// Reads what came after the checkpoint, and brings log and tables level with it.
pub(super) fn recover(
    opening: &Opening,
    ledger: &Ledger,
    progress: &mut dyn FnMut(Progress),
) -> Result<Ready, StoreError> {
    let names = segment::list(&opening.records).map_err(|source| StoreError::File {
        path: opening.records.clone(),
        source,
    })?;
    let (mut reader, mut keeper) = begin(opening, ledger, &names)?;
    let first = reader.recovered.records;
    let to_read: Vec<u64> = names
        .iter()
        .copied()
        .filter(|name| *name >= first)
        .collect();
    let mut end = 0;
    for (place, name) in to_read.iter().enumerate() {
        let next = to_read.get(place.saturating_add(1)).copied();
        end = reader.segment(*name, next.is_none())?;
        if let Some(next) = next {
            keeper.keep(reader.full(*name, end, next)?)?;
            progress(Progress {
                files: place as u64 + 1,
                of: to_read.len() as u64,
                records: reader.recovered.records,
            });
        }
    }
    let name = to_read.last().copied().unwrap_or(first);
    reader.finish(keeper, name, end)
}

/// A reader that goes on from the checkpoint, or from nothing.
fn begin<'a>(
    opening: &'a Opening,
    ledger: &'a Ledger,
    names: &[u64],
) -> Result<(Reader<'a>, Keeper), StoreError> {
    let (storage, dir) = (&*opening.storage, &opening.index);
    let failed = |source| StoreError::File {
        path: dir.clone(),
        source,
    };
    storage.create_directory(dir).map_err(failed)?;
    let found = Checkpoint::read(dir, &opening.records, names, ledger);
    let (checkpoint, tables) = found.map_or((None, Vec::new()), |(checkpoint, tables)| {
        (Some(checkpoint), tables)
    });
    checkpoint::tidy(storage, dir, &tables, checkpoint.is_some()).map_err(failed)?;
    let records = checkpoint.as_ref().map_or(0, |found| found.records);
    let keeper = Keeper {
        storage: Arc::clone(&opening.storage),
        dir: dir.clone(),
        tables,
        files: checkpoint.as_ref().map_or(0, |found| found.files),
        bytes: checkpoint.as_ref().map_or(0, |found| found.bytes),
    };
    let reader = Reader {
        dir: &opening.records,
        prices: &opening.prices,
        ledger,
        leaves: ledger.durable_size().get(),
        known: VecDeque::new(),
        recent: Recent::of(records),
        recovered: Recovered {
            records,
            ..Recovered::default()
        },
        leaf: checkpoint
            .as_ref()
            .map_or_else(|| Digest::of([]), |found| found.leaf),
        history: checkpoint.map_or_else(History::default, |found| found.history),
        missing: Vec::new(),
    };
    Ok((reader, keeper))
}

struct Reader<'a> {
    dir: &'a Path,
    prices: &'a Prices,
    ledger: &'a Ledger,
    /// Of the log, as it was opened.
    leaves: u64,
    /// Leaves that were read ahead.
    known: VecDeque<Vec<u8>>,
    recent: Recent,
    recovered: Recovered,
    /// SHA-256 of the last record's leaf.
    leaf: Digest,
    history: History,
    missing: Vec<Vec<u8>>,
}

impl Reader<'_> {
    /// Reads a file's lines; returns where its whole lines end.
    fn segment(&mut self, name: u64, is_last: bool) -> Result<u64, StoreError> {
        let path = segment::path(self.dir, name);
        let failed = |source| StoreError::File {
            path: path.clone(),
            source,
        };
        let mut file = BufReader::new(File::open(&path).map_err(failed)?);
        let mut offset: u64 = 0;
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let mut limited = (&mut file).take(MAX_LINE_BYTES);
            let read = limited.read_until(b'\n', &mut bytes).map_err(failed)?;
            if read == 0 {
                return Ok(offset);
            }
            let damaged = || StoreError::Damaged {
                path: path.clone(),
                offset,
            };
            let whole = bytes.strip_suffix(b"\n").and_then(Line::parse);
            let Some(line) = whole else {
                if !is_last || holds_a_whole_line(&mut file).map_err(failed)? {
                    return Err(damaged());
                }
                let length = file.get_ref().metadata().map_err(failed)?.len();
                self.recovered.torn_bytes = length.saturating_sub(offset);
                return Ok(offset);
            };
            let nth = self.recovered.records.checked_sub(name);
            let place = nth.and_then(|nth| Place::new(offset, read.saturating_sub(1), nth));
            self.take(&line, place.ok_or_else(damaged)?)?;
            offset = offset.saturating_add(read as u64);
        }
    }

    fn take(&mut self, line: &Line<'_>, place: Place) -> Result<(), StoreError> {
        let event = Event::of(line, self.prices);
        if let Some(leaf) = line.leaf() {
            self.leaf = Digest::of(&leaf);
            self.compare(leaf)?;
            self.recent.insert(line::digest_key(line.digest), place);
            if let Some(run) = event.as_ref().and_then(line::run_of) {
                self.recent.insert(line::run_key(run), place);
            }
            self.recovered.records = self.recovered.records.saturating_add(1);
            self.recovered.read = self.recovered.read.saturating_add(1);
        }
        if let Some(event) = event {
            self.history.see(line.session, line.digest, event);
        }
        Ok(())
    }

    /// Compares the next record's leaf with the log's.
    fn compare(&mut self, leaf: Vec<u8>) -> Result<(), StoreError> {
        let record = self.recovered.records;
        if record >= self.leaves {
            self.missing.push(leaf);
            return Ok(());
        }
        if self.known.is_empty() {
            self.known = self.ledger.entries_from(LeafIndex::new(record))?.into();
        }
        if self.known.pop_front() == Some(leaf) {
            Ok(())
        } else {
            Err(StoreError::Disagree(record))
        }
    }

    /// A file that was read to its end, and after which the file `next` comes.
    fn full(&mut self, name: u64, end: u64, next: u64) -> Result<Full, StoreError> {
        if self.recovered.records != next {
            // records, or a file of them, are gone
            let path = segment::path(self.dir, name);
            return Err(StoreError::Damaged { path, offset: end });
        }
        self.add_leaves()?;
        Ok(Full {
            recent: Arc::new(std::mem::replace(&mut self.recent, Recent::of(next))),
            next,
            bytes: end,
            leaf: self.leaf,
            history: self.history.clone(),
        })
    }

    fn add_leaves(&mut self) -> Result<(), StoreError> {
        let missing = std::mem::take(&mut self.missing);
        for leaves in missing.chunks(LEAVES_AT_ONCE) {
            let appending = leaves.iter().map(|leaf| self.ledger.append(leaf.clone()));
            for leaf in appending.collect::<Result<Vec<_>, _>>()? {
                leaf.wait()?;
                self.recovered.leaves_added = self.recovered.leaves_added.saturating_add(1);
            }
        }
        Ok(())
    }

    fn finish(mut self, keeper: Keeper, name: u64, end: u64) -> Result<Ready, StoreError> {
        let (leaves, records) = (self.leaves, self.recovered.records);
        if records < leaves {
            return Err(StoreError::BehindLog { leaves, records });
        }
        // opening it makes its lines durable: no leaf may be on disk before what it is about
        let segment = Segment::open(self.dir, name, end)?;
        self.add_leaves()?;
        Ok(Ready {
            recovered: self.recovered,
            history: self.history,
            index: Index::new(keeper.tables.clone(), self.recent),
            keeper,
            segment,
            leaf: self.leaf,
        })
    }
}

/// Whether anything whole follows: then what came before was no torn end.
fn holds_a_whole_line(file: &mut BufReader<File>) -> std::io::Result<bool> {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let mut limited = file.take(MAX_LINE_BYTES);
        if limited.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(false);
        }
        if bytes
            .strip_suffix(b"\n")
            .is_some_and(|line| Line::parse(line).is_some())
        {
            return Ok(true);
        }
    }
}
