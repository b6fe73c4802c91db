//! Opening a store: the files, what they say, and the threads that go on from there.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::AtomicBool,
        mpsc::{Receiver, sync_channel},
    },
    thread::{self, JoinHandle},
};

use proofroom_canonical::Timestamp;
use proofroom_ledger::{DiskStorage, Ledger, LedgerOptions, Storage};
use proofroom_tlog::NoteSigner;

use super::{
    RecordStore, Shared, StoreError,
    disk::{Disk, SyncData},
    recover::{Ready, Recovered, recover},
    segment::SEGMENT_BYTES,
    syncer,
    writer::{Work, Writer},
};
use crate::{prices::Prices, sessions::History};

/// Lines that may wait to be written.
const QUEUED: usize = 4096;
/// What may wait between the threads.
const PASSED_ON: usize = 1024;
/// Full record files that may wait for their tables, beside the one that gets its table. Then lines wait.
const FULL_FILES: usize = 1;

/// How far opening has come that has to read more than the last record file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Record files that were read, and have their tables.
    pub files: u64,
    /// How many are to be read, the last one included.
    pub of: u64,
    /// Records so far.
    pub records: u64,
}

/// How a store is opened.
pub(crate) struct Opening {
    pub(crate) records: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) index: PathBuf,
    pub(crate) clock: fn() -> Timestamp,
    pub(crate) prices: Arc<Prices>,
    /// Makes record files durable.
    pub(crate) sync: SyncData,
    /// Where log and index are written.
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) segment_bytes: u64,
}

impl Opening {
    /// Of the store in `state`: its directories `records`, `log` and `index`.
    pub(crate) fn new(state: &Path, clock: fn() -> Timestamp, prices: Arc<Prices>) -> Self {
        Self {
            records: state.join("records"),
            log: state.join("log"),
            index: state.join("index"),
            clock,
            prices,
            sync: Box::new(File::sync_data),
            storage: Arc::new(DiskStorage),
            segment_bytes: SEGMENT_BYTES,
        }
    }

    fn ledger(&self, signer: NoteSigner) -> Result<Ledger, StoreError> {
        let options = LedgerOptions {
            storage: Arc::clone(&self.storage),
            ..LedgerOptions::new(&self.log, signer, Arc::new(self.clock))
        };
        Ok(Ledger::open(options)?)
    }
}

impl RecordStore {
    /// Opens records and log, and finishes what a crash left half done: a torn last line is dropped, a record
    /// without a leaf gets one. Returns what all lines say as well.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) fn open(
        opening: Opening,
        signer: NoteSigner,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Self, Recovered, History), StoreError> {
        let ledger = opening.ledger(signer)?;
        let ready = recover(&opening, &ledger, progress)?;
        let (recovered, history) = (ready.recovered, ready.history.clone());
        let (work, incoming) = sync_channel(QUEUED);
        let dir = opening.records.clone();
        let started = start(opening, ledger, ready, incoming);
        let (shared, threads) = started.map_err(|source| StoreError::File { path: dir, source })?;
        let store = Self {
            shared,
            work: Mutex::new(Some(work)),
            threads: Mutex::new(threads),
        };
        Ok((store, recovered, history))
    }
}

/// Starts the threads. They end when nobody can give them more work.
fn start(
    opening: Opening,
    ledger: Ledger,
    ready: Ready,
    incoming: Receiver<Work>,
) -> io::Result<(Arc<Shared>, Vec<JoinHandle<()>>)> {
    let shared = Arc::new(Shared {
        records: opening.records,
        ledger,
        disk: Disk::new(opening.sync),
        index: ready.index,
        failed: AtomicBool::new(false),
    });
    let (written, to_sync) = sync_channel(PASSED_ON);
    let (durable, to_answer) = sync_channel(PASSED_ON);
    let (full, to_keep) = sync_channel(FULL_FILES);
    let writer = Writer {
        shared: Arc::clone(&shared),
        segment: ready.segment,
        segment_bytes: opening.segment_bytes,
        records: ready.recovered.records,
        leaf: ready.leaf,
        history: ready.history,
        full,
        written,
    };
    let keeper = ready.keeper;
    let [syncing, answering, keeping] = std::array::from_fn(|_| Arc::clone(&shared));
    let threads = vec![
        spawn("records-write", move || writer.run(&incoming))?,
        spawn("records-sync", move || {
            syncer::sync(&syncing, &to_sync, &durable);
        })?,
        spawn("records-answer", move || {
            syncer::answer(&answering, &to_answer);
        })?,
        spawn("records-index", move || keeper.run(&keeping, &to_keep))?,
    ];
    Ok((shared, threads))
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(run)
}
