//! Records on disk, and their leaves in the log. What a crash finds half written was acknowledged to
//! nobody. What was acknowledged as [strict](LogMode::Strict) is in a record line whose leaf is durable;
//! what was acknowledged as [prompt](LogMode::Prompt) is written, and durable a moment later.

mod disk;
mod line;
mod recover;
mod segment;
mod syncer;
mod writer;

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use proofroom_canonical::{Digest, RunId, SessionId, Timestamp};
use proofroom_ledger::{LeafStatus, Ledger, LedgerError, LedgerOptions};
use proofroom_record::statement::LogMode;
use proofroom_tlog::{LeafIndex, LeafKind, NoteSigner};
use tokio::sync::oneshot;

use disk::{Disk, SyncData};
pub(crate) use line::{Kind, Line};
pub(crate) use recover::Recovered;
use segment::{Location, Segment};
use writer::{Work, Writer};

/// How long a receipt is waited for, and how often it is looked for meanwhile.
const RECEIPT_PATIENCE: Duration = Duration::from_secs(30);
const RECEIPT_PAUSE: Duration = Duration::from_millis(2);
/// Lines that may wait to be written.
const QUEUED: usize = 4096;
/// What may wait between the threads.
const PASSED_ON: usize = 1024;

/// Why records cannot be kept or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file cannot be read or written.
    #[error("cannot use the record file `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A line is not what was written, and it is not the torn end.
    #[error("`{path}` is damaged at byte {offset}; restore the state directory from a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged line begins.
        offset: u64,
    },
    /// The log has leaves for which there is no record.
    #[error(
        "the log has {leaves} leaves and there are {records} records; the gateway needs a state directory of its own, or one that was restored as a whole"
    )]
    BehindLog {
        /// Leaves of the log.
        leaves: u64,
        /// Records found.
        records: u64,
    },
    /// A leaf is about another record.
    #[error("leaf {0} of the log is not the one of its record")]
    Disagree(u64),
    /// The log.
    #[error("the log cannot be used")]
    Log(#[from] LedgerError),
    /// Too many wait for the disk.
    #[error("too many records wait for the disk")]
    Busy,
    /// An earlier write failed: nothing more is taken.
    #[error(
        "an earlier record could not be kept; nothing more is taken until the gateway is started again"
    )]
    Failed,
}

impl StoreError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "records-file",
            Self::Damaged { .. } => "records-damaged",
            Self::BehindLog { .. } => "records-behind-log",
            Self::Disagree(_) => "records-and-log-disagree",
            Self::Log(_) => "records-log",
            Self::Busy => "records-busy",
            Self::Failed => "records-failed",
        }
    }
}

/// Every record of a gateway, and the log that holds their leaves. A record's place among the records
/// is its leaf's index.
#[derive(Debug)]
pub struct RecordStore {
    shared: Arc<Shared>,
    work: Mutex<Option<SyncSender<Work>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    ledger: Ledger,
    disk: Disk,
    index: Mutex<HashMap<[u8; 16], Location>>,
    failed: AtomicBool,
}

/// A record with the proof that the log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) envelope: Vec<u8>,
    pub(crate) digest: Digest,
    pub(crate) index: LeafIndex,
}

impl RecordStore {
    /// Opens the records in `dir` and the log in `log`, and finishes what a crash left half done: a
    /// torn last line is dropped, a record without a leaf gets one. `seen` is shown every line.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) fn open(
        dir: &Path,
        log: &Path,
        signer: NoteSigner,
        clock: fn() -> Timestamp,
        seen: &mut dyn FnMut(&Line<'_>),
    ) -> Result<(Self, Recovered), StoreError> {
        let sync = Box::new(File::sync_data);
        Self::open_on(dir, log, signer, clock, seen, sync)
    }

    pub(crate) fn open_on(
        dir: &Path,
        log: &Path,
        signer: NoteSigner,
        clock: fn() -> Timestamp,
        seen: &mut dyn FnMut(&Line<'_>),
        sync: SyncData,
    ) -> Result<(Self, Recovered), StoreError> {
        let ledger = Ledger::open(LedgerOptions::new(log, signer, Arc::new(clock)))?;
        let (recovered, index, segment) = recover::recover(dir, &ledger, seen)?;
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            ledger,
            disk: Disk::new(sync),
            index: Mutex::new(index),
            failed: AtomicBool::new(false),
        });
        let (work, incoming) = sync_channel(QUEUED);
        let threads = start(&shared, segment, incoming).map_err(|source| StoreError::File {
            path: dir.to_owned(),
            source,
        })?;
        let store = Self {
            shared,
            work: Mutex::new(Some(work)),
            threads: Mutex::new(threads),
        };
        Ok((store, recovered))
    }

    /// Keeps a record; returns the digest of its bytes once line and leaf are durable, or, in the other
    /// mode, once the line is written.
    pub(crate) async fn record(
        &self,
        kind: LeafKind,
        session: SessionId,
        run: Option<RunId>,
        envelope: Vec<u8>,
        log: LogMode,
    ) -> Result<Digest, StoreError> {
        let digest = Digest::of(&envelope);
        self.append(Kind::Record(kind), session, run, envelope, log)
            .await?;
        Ok(digest)
    }

    /// Writes down what is no record: a session's beginning, or a run that is about to be. Returns once
    /// it is durable, or, in the other mode, written.
    pub(crate) async fn note(
        &self,
        kind: Kind,
        session: SessionId,
        body: Vec<u8>,
        log: LogMode,
    ) -> Result<(), StoreError> {
        self.append(kind, session, None, body, log).await
    }

    async fn append(
        &self,
        kind: Kind,
        session: SessionId,
        run: Option<RunId>,
        body: Vec<u8>,
        log: LogMode,
    ) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        let line = line::render(kind, session, &body);
        let work = Work {
            kind,
            session,
            digest: Digest::of(&body),
            run,
            line,
            log,
            reply,
        };
        {
            let sender = self.work.lock().unwrap_or_else(PoisonError::into_inner);
            let sender = sender.as_ref().ok_or(StoreError::Failed)?;
            sender.try_send(work).map_err(|refused| match refused {
                TrySendError::Full(_) => StoreError::Busy,
                TrySendError::Disconnected(_) => StoreError::Failed,
            })?;
        }
        match answer.await {
            Ok(()) => Ok(()),
            Err(_) => {
                // before the thread that failed says so itself: nobody may be told less
                self.shared.fail();
                Err(StoreError::Failed)
            }
        }
    }

    /// Whether a record could be kept now.
    pub(crate) fn ready(&self) -> Result<(), StoreError> {
        if self.shared.failed.load(Ordering::Acquire) {
            return Err(StoreError::Failed);
        }
        Ok(())
    }

    /// Whether the disk is later than 10 ms with what was written: then nothing more may be sent before
    /// it has caught up.
    pub(crate) fn lags(&self) -> bool {
        self.shared.disk.lags()
    }

    /// The record of a run. Blocking.
    pub(crate) fn of_run(&self, run: RunId) -> Result<Option<Found>, StoreError> {
        self.find(line::run_key(run))
    }

    /// The record of this digest. Blocking.
    pub(crate) fn of_digest(&self, digest: Digest) -> Result<Option<Found>, StoreError> {
        let found = self.find(line::digest_key(digest))?;
        Ok(found.filter(|found| found.digest == digest))
    }

    fn find(&self, key: [u8; 16]) -> Result<Option<Found>, StoreError> {
        let location = self.shared.index().get(&key).copied();
        let Some(location) = location else {
            return Ok(None);
        };
        segment::read(&self.shared.dir, location).map(Some)
    }

    /// Waits until a signed head holds the record, and proves it: the text of a C2SP `tlog-proof`.
    /// Blocking.
    pub(crate) fn receipt(&self, index: LeafIndex) -> Result<String, StoreError> {
        self.wait_integrated(index)?;
        Ok(self.shared.ledger.receipt(index)?)
    }

    /// A record that is written has a place before it has a leaf, and none comes once the store failed.
    fn wait_integrated(&self, index: LeafIndex) -> Result<(), StoreError> {
        let since = Instant::now();
        while self.shared.ledger.status(index) < LeafStatus::Integrated {
            self.ready()?;
            if since.elapsed() > RECEIPT_PATIENCE {
                return Err(StoreError::Busy);
            }
            thread::sleep(RECEIPT_PAUSE);
        }
        Ok(())
    }

    /// Writes what waits, and stops. Records are refused from now on. Blocking.
    pub(crate) fn stop(&self) {
        let sender = self
            .work
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(sender);
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                self.shared.failed.store(true, Ordering::Release);
            }
        }
    }
}

/// Starts the threads. They end when nobody can give them more work.
fn start(
    shared: &Arc<Shared>,
    (segment, records): (Segment, u64),
    incoming: Receiver<Work>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let (written, to_sync) = sync_channel(PASSED_ON);
    let (durable, to_answer) = sync_channel(PASSED_ON);
    let writer = Writer {
        shared: Arc::clone(shared),
        segment,
        records,
        written,
    };
    let (syncing, answering) = (Arc::clone(shared), Arc::clone(shared));
    Ok(vec![
        spawn("records-write", move || writer.run(&incoming))?,
        spawn("records-sync", move || {
            syncer::sync(&syncing, &to_sync, &durable);
        })?,
        spawn("records-answer", move || {
            syncer::answer(&answering, &to_answer);
        })?,
    ])
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(run)
}

impl Shared {
    fn index(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 16], Location>> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
