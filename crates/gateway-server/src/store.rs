//! Records on disk, and their leaves in the log. What a crash finds half written was acknowledged to
//! nobody. What was acknowledged as [strict](LogMode::Strict) is in a record line whose leaf is durable;
//! what was acknowledged as [prompt](LogMode::Prompt) is written, and durable a moment later.
//!
//! Memory and starts do not grow with the records: of a full record file a sorted table on disk says where
//! its records are, and a checkpoint what its lines say of sessions. Both are made of the record files and
//! made anew where they do not fit (docs/adr/0038-records-beyond-memory.md).

mod check;
mod checkpoint;
mod disk;
mod index;
mod keeper;
mod line;
mod opening;
mod recover;
mod segment;
mod syncer;
mod table;
mod writer;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, TrySendError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use proofroom_canonical::{Digest, RunId, SessionId};
use proofroom_ledger::{LeafStatus, Ledger, LedgerError};
use proofroom_record::{
    predicate::{SealedRecord, read_unverified},
    statement::{LogMode, ModelRun},
};
use proofroom_tlog::{LeafIndex, LeafKind};
use tokio::sync::oneshot;

use crate::sessions::Event;
pub use check::{CheckedRecords, check_records};
use disk::Disk;
use index::Index;
pub(crate) use line::{Kind, Line};
pub(crate) use opening::Opening;
pub use opening::Progress;
use writer::Work;

/// How long a receipt is waited for, and how often it is looked for meanwhile.
const RECEIPT_PATIENCE: Duration = Duration::from_secs(30);
const RECEIPT_PAUSE: Duration = Duration::from_millis(2);

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
    /// A block of the index is not what was written. The records may be in order.
    #[error(
        "the index `{path}` is damaged at byte {offset}; `proofroom gateway check-records` makes it anew from the records"
    )]
    IndexDamaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged block begins.
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
            Self::IndexDamaged { .. } => "records-index-damaged",
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
    records: PathBuf,
    ledger: Ledger,
    disk: Disk,
    index: Index,
    failed: AtomicBool,
}

/// A record with the proof that the log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) envelope: Vec<u8>,
    pub(crate) digest: Digest,
    pub(crate) index: LeafIndex,
    /// What the log has to hold there.
    leaf: Vec<u8>,
}

impl RecordStore {
    /// Keeps a record; returns the digest of its bytes once line and leaf are durable, or, in the other
    /// mode, once the line is written. `event` is what the record says.
    pub(crate) async fn record(
        &self,
        kind: LeafKind,
        session: SessionId,
        record: SealedRecord,
        event: Event,
        log: LogMode,
    ) -> Result<Digest, StoreError> {
        self.append(Kind::Record(kind), session, record, event, log)
            .await
    }

    /// Writes down what is no record: a session's beginning, or a run that is about to be. Returns once
    /// it is durable, or, in the other mode, written.
    pub(crate) async fn note(
        &self,
        kind: Kind,
        session: SessionId,
        body: Vec<u8>,
        event: Event,
        log: LogMode,
    ) -> Result<(), StoreError> {
        let digest = Digest::of(&body);
        let body = SealedRecord {
            bytes: body,
            digest,
        };
        self.append(kind, session, body, event, log).await?;
        Ok(())
    }

    async fn append(
        &self,
        kind: Kind,
        session: SessionId,
        body: SealedRecord,
        event: Event,
        log: LogMode,
    ) -> Result<Digest, StoreError> {
        let (reply, answer) = oneshot::channel();
        let SealedRecord { bytes, digest } = body;
        let work = Work {
            kind,
            session,
            digest,
            event,
            line: line::render(kind, session, digest, &bytes),
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
            Ok(()) => Ok(digest),
            Err(_) => {
                // before the thread that failed says so itself: nobody may be told less
                self.shared.fail();
                Err(StoreError::Failed)
            }
        }
    }

    /// Whether a record could be kept now.
    pub(crate) fn ready(&self) -> Result<(), StoreError> {
        if self.shared.failed() {
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
        let is_asked = |found: &Found| {
            read_unverified::<ModelRun>(&found.envelope).is_ok_and(|record| record.run == run)
        };
        self.find(line::run_key(run), is_asked)
    }

    /// The record of this digest. Blocking.
    pub(crate) fn of_digest(&self, digest: Digest) -> Result<Option<Found>, StoreError> {
        self.find(line::digest_key(digest), |found| found.digest == digest)
    }

    fn find(
        &self,
        key: [u8; 16],
        is_asked: impl Fn(&Found) -> bool,
    ) -> Result<Option<Found>, StoreError> {
        let Some(location) = self.shared.index.find(key)? else {
            return Ok(None);
        };
        let found = segment::read(&self.shared.records, location)?;
        if is_asked(&found) {
            return Ok(Some(found));
        }
        // a whole line, but another one
        Err(StoreError::Damaged {
            path: segment::path(&self.shared.records, location.segment),
            offset: location.place.offset.into(),
        })
    }

    /// Waits until a signed head holds the record, and proves it: the text of a C2SP `tlog-proof`.
    /// Blocking.
    pub(crate) fn receipt(&self, found: &Found) -> Result<String, StoreError> {
        self.wait_integrated(found.index)?;
        if self.shared.ledger.entry(found.index)? != found.leaf {
            return Err(StoreError::Disagree(found.index.get()));
        }
        Ok(self.shared.ledger.receipt(found.index)?)
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
                self.shared.fail();
            }
        }
    }
}

impl Shared {
    fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests;
