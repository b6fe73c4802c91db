//! Opening what an earlier process left: every line is read and checked, the torn end is dropped,
//! records without a leaf get one.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
};

use proofroom_ledger::Ledger;
use proofroom_record::{predicate::read_unverified, statement::ModelRun};
use proofroom_tlog::{LeafIndex, LeafKind};

use super::{
    StoreError,
    line::{self, Kind, Line},
    segment::{self, Location, MAX_LINE_BYTES, Segment},
};

/// Leaves at the log's end that are compared with their records when it is opened.
const COMPARED: u64 = 256;

/// What opening found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// Records.
    pub(crate) records: u64,
    /// Records that had no leaf and got one.
    pub(crate) leaves_added: u64,
    /// Bytes of the torn last line.
    pub(crate) torn_bytes: u64,
}

type Index = HashMap<[u8; 16], Location>;

/// Reads every line in `dir` and brings the log level with it.
pub(super) fn recover(
    dir: &Path,
    ledger: &Ledger,
    seen: &mut dyn FnMut(&Line<'_>),
) -> Result<(Recovered, Index, (Segment, u64)), StoreError> {
    let failed = |source| StoreError::File {
        path: dir.to_owned(),
        source,
    };
    let names = segment::list(dir).map_err(failed)?;
    let mut reader = Reader {
        dir,
        leaves: ledger.durable_size().get(),
        ledger,
        index: Index::new(),
        recovered: Recovered::default(),
        seen,
        missing: Vec::new(),
    };
    let mut last = (0, 0);
    for (place, name) in names.iter().enumerate() {
        let end = reader.segment(*name, place + 1 == names.len())?;
        last = (*name, end);
    }
    let Reader {
        index,
        mut recovered,
        leaves,
        missing,
        ..
    } = reader;
    if recovered.records < leaves {
        return Err(StoreError::BehindLog {
            leaves,
            records: recovered.records,
        });
    }
    recovered.leaves_added = missing.len() as u64;
    // opening it makes its lines durable: no leaf may be on disk before what it is about
    let segment = Segment::open(dir, last.0, last.1)?;
    for leaf in missing {
        ledger.append(leaf)?.wait()?;
    }
    Ok((recovered, index, (segment, recovered.records)))
}

struct Reader<'a> {
    dir: &'a Path,
    leaves: u64,
    ledger: &'a Ledger,
    index: Index,
    recovered: Recovered,
    seen: &'a mut dyn FnMut(&Line<'_>),
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
            let whole = bytes.strip_suffix(b"\n").and_then(Line::parse);
            let Some(line) = whole else {
                let damaged = StoreError::Damaged {
                    path: path.clone(),
                    offset,
                };
                if !is_last || holds_a_whole_line(&mut file).map_err(failed)? {
                    return Err(damaged);
                }
                let length = file.get_ref().metadata().map_err(failed)?.len();
                self.recovered.torn_bytes = length.saturating_sub(offset);
                return Ok(offset);
            };
            self.take(&line, name, offset, read)?;
            offset = offset.saturating_add(read as u64);
        }
    }

    fn take(
        &mut self,
        line: &Line<'_>,
        segment: u64,
        offset: u64,
        read: usize,
    ) -> Result<(), StoreError> {
        if let Some(leaf) = line.leaf() {
            let record = self.recovered.records;
            self.compare(record, leaf)?;
            let location = Location {
                segment,
                offset,
                length: u32::try_from(read.saturating_sub(1)).unwrap_or(u32::MAX),
                record,
            };
            self.index.insert(line::digest_key(line.digest), location);
            if line.kind == Kind::Record(LeafKind::ModelRun)
                && let Ok(run) = read_unverified::<ModelRun>(line.body)
            {
                self.index.insert(line::run_key(run.run), location);
            }
            self.recovered.records = record.saturating_add(1);
        }
        (self.seen)(line);
        Ok(())
    }

    fn compare(&mut self, record: u64, leaf: Vec<u8>) -> Result<(), StoreError> {
        if record >= self.leaves {
            self.missing.push(leaf);
            return Ok(());
        }
        if record.saturating_add(COMPARED) < self.leaves {
            return Ok(());
        }
        let index = LeafIndex::new(record);
        self.ledger.wait_integrated(index)?;
        if self.ledger.entry(index)? == leaf {
            Ok(())
        } else {
            Err(StoreError::Disagree(record))
        }
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
