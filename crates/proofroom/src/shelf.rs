//! Where a session's records go: first a file of their own, then a leaf in the deployment's log.
//! A record counts as kept only when both are on disk.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use proofroom_canonical::{Digest, SessionId};
use proofroom_gateway::{BoxFuture, RecordSink, SinkError, Submission};
use proofroom_record::{bundle::LoggedRecord, room_api::RunRecorded};
use proofroom_tlog::{LeafIndex, LeafKind, RecordLeaf};

use crate::{
    files,
    log::{LogAccess, LogError},
};

/// Why a record was not kept.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// Its file could not be written.
    #[error("cannot write the record `{path}`; nothing more is taken")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The log did not take its leaf.
    #[error("the log did not take the record; nothing more is taken")]
    Log(#[from] LogError),
    /// An earlier record was lost.
    #[error("an earlier record could not be kept; nothing more is taken")]
    Failed,
}

impl ShelfError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "record-file",
            Self::Log(_) => "record-log",
            Self::Failed => "record-earlier-failure",
        }
    }
}

/// The records of one session.
#[derive(Debug)]
pub struct Shelf {
    dir: PathBuf,
    session: SessionId,
    log: Arc<LogAccess>,
    kept: Mutex<Vec<Kept>>,
    runs: Mutex<Vec<(Digest, RunRecorded)>>,
    failed: AtomicBool,
}

#[derive(Clone, Debug)]
struct Kept {
    kind: LeafKind,
    name: String,
    index: LeafIndex,
}

/// A session's records, each with its receipt under one checkpoint.
#[derive(Debug)]
pub struct Receipted {
    /// Model-run records in order.
    pub model_runs: Vec<LoggedRecord>,
    /// The session record.
    pub session: LoggedRecord,
    /// The destruction record.
    pub destruction: Option<LoggedRecord>,
    /// The receipt of the leaf that was asked for besides.
    pub beside: Option<Vec<u8>>,
    /// The checkpoint.
    pub checkpoint: Vec<u8>,
}

impl Shelf {
    /// An empty shelf in `dir`, which is made.
    ///
    /// # Errors
    /// [`ShelfError::File`].
    pub fn new(dir: PathBuf, session: SessionId, log: Arc<LogAccess>) -> Result<Self, ShelfError> {
        fs::create_dir_all(&dir).map_err(|source| ShelfError::File {
            path: dir.clone(),
            source,
        })?;
        Ok(Self {
            dir,
            session,
            log,
            kept: Mutex::default(),
            runs: Mutex::default(),
            failed: AtomicBool::new(false),
        })
    }

    /// Keeps a record under `name`; returns the digest of its file once file and leaf are durable.
    ///
    /// # Errors
    /// See [`ShelfError`]. After the first failure nothing more is taken.
    pub async fn keep(
        &self,
        kind: LeafKind,
        name: &str,
        envelope: Vec<u8>,
    ) -> Result<Digest, ShelfError> {
        let digest = Digest::of(&envelope);
        let path = self.path(name);
        self.guarded(async {
            let write = tokio::task::spawn_blocking({
                let path = path.clone();
                move || files::replace(&path, &envelope)
            });
            write
                .await
                .map_err(io::Error::other)
                .and_then(|written| written)
                .map_err(|source| ShelfError::File { path, source })?;
            self.index(kind, name, digest).await?;
            Ok(digest)
        })
        .await
    }

    /// Gives a record that is on disk its leaf, and notes the leaf's index beside it.
    async fn index(&self, kind: LeafKind, name: &str, digest: Digest) -> Result<(), ShelfError> {
        let index = self.append(kind, digest).await?;
        let path = self.leaf_path(name);
        files::replace(&path, index.get().to_string().as_bytes())
            .map_err(|source| ShelfError::File { path, source })?;
        self.kept().push(Kept {
            kind,
            name: name.to_owned(),
            index,
        });
        Ok(())
    }

    /// The shelf of a session whose process died: every record file that is there. One whose leaf
    /// is not noted gets another; a second leaf for one record says nothing false.
    ///
    /// # Errors
    /// See [`ShelfError`].
    pub async fn reopen(
        dir: PathBuf,
        session: SessionId,
        log: Arc<LogAccess>,
    ) -> Result<Self, ShelfError> {
        let shelf = Self::new(dir, session, log)?;
        let unreadable = |source| ShelfError::File {
            path: shelf.dir.clone(),
            source,
        };
        for entry in fs::read_dir(&shelf.dir).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.file_name();
            let Some(name) = file.to_str().and_then(|file| file.strip_suffix(SUFFIX)) else {
                continue;
            };
            let kind = match name {
                "session" => LeafKind::AgentSession,
                "destruction" => LeafKind::Destruction,
                _ => LeafKind::ModelRun,
            };
            let noted = fs::read_to_string(shelf.leaf_path(name))
                .ok()
                .and_then(|text| text.parse().ok())
                .map(LeafIndex::new);
            match noted {
                Some(index) => shelf.kept().push(Kept {
                    kind,
                    name: name.to_owned(),
                    index,
                }),
                None => {
                    let bytes = fs::read(shelf.path(name)).map_err(unreadable)?;
                    shelf.index(kind, name, Digest::of(bytes)).await?;
                }
            }
        }
        Ok(shelf)
    }

    /// The file of a record that is kept, if it is.
    #[must_use]
    pub fn file(&self, kind: LeafKind) -> Option<PathBuf> {
        let kept = self.kept();
        let found = kept.iter().rfind(|kept| kept.kind == kind)?;
        Some(self.path(&found.name))
    }

    /// Adds a leaf that stands for something other than a record: the head of the event chain.
    ///
    /// # Errors
    /// See [`ShelfError`].
    pub async fn log(&self, kind: LeafKind, digest: Digest) -> Result<(), ShelfError> {
        self.guarded(async { self.append(kind, digest).await.map(|_| ()) })
            .await
    }

    /// Waits until every record is in a signed checkpoint and fetches the receipts, under the same
    /// checkpoint also that of the leaf `beside`.
    ///
    /// # Errors
    /// See [`ShelfError`]; [`ShelfError::Failed`] when there is no session record.
    pub async fn receipts(&self, beside: Option<LeafIndex>) -> Result<Receipted, ShelfError> {
        let kept = self.kept().clone();
        let log = Arc::clone(&self.log);
        let own = kept.iter().map(|kept| kept.index);
        let indices: Vec<LeafIndex> = own.chain(beside).collect();
        let mut proofs = tokio::task::spawn_blocking(move || log.receipts(&indices))
            .await
            .map_err(|_| ShelfError::Failed)??;
        let beside = beside.and_then(|_| proofs.receipts.pop());
        let mut found = Vec::new();
        for (kept, proof) in kept.into_iter().zip(proofs.receipts) {
            let path = self.path(&kept.name);
            let envelope = fs::read(&path).map_err(|source| ShelfError::File { path, source })?;
            found.push((kept, LoggedRecord { envelope, proof }));
        }
        let mut model_runs: Vec<_> = found
            .iter()
            .filter(|(kept, _)| kept.kind == LeafKind::ModelRun)
            .cloned()
            .collect();
        model_runs.sort_by(|(left, _), (right, _)| left.name.cmp(&right.name));
        let one = |kind| {
            found
                .iter()
                .rfind(|(kept, _)| kept.kind == kind)
                .map(|(_, record)| record.clone())
        };
        Ok(Receipted {
            model_runs: model_runs.into_iter().map(|(_, record)| record).collect(),
            session: one(LeafKind::AgentSession).ok_or(ShelfError::Failed)?,
            destruction: one(LeafKind::Destruction),
            beside,
            checkpoint: proofs.checkpoint,
        })
    }

    async fn append(&self, kind: LeafKind, digest: Digest) -> Result<LeafIndex, ShelfError> {
        let log = Arc::clone(&self.log);
        let leaf = RecordLeaf {
            kind,
            session: self.session,
            digest,
        }
        .to_bytes();
        tokio::task::spawn_blocking(move || log.append(&leaf))
            .await
            .map_err(|_| ShelfError::Failed)?
            .map_err(ShelfError::Log)
    }

    /// One failure ends the shelf: a gap in the records must never be followed by more of them.
    async fn guarded<T>(
        &self,
        work: impl Future<Output = Result<T, ShelfError>>,
    ) -> Result<T, ShelfError> {
        if self.failed.load(Ordering::SeqCst) {
            return Err(ShelfError::Failed);
        }
        let done = work.await;
        if done.is_err() {
            self.failed.store(true, Ordering::SeqCst);
        }
        done
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}{SUFFIX}"))
    }

    fn leaf_path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.leaf"))
    }

    /// The recorded runs of requests with this digest, oldest first.
    #[must_use]
    pub fn runs_of(&self, request: Digest) -> Vec<RunRecorded> {
        self.runs()
            .iter()
            .filter(|(received, _)| *received == request)
            .map(|(_, recorded)| recorded.clone())
            .collect()
    }

    fn runs(&self) -> std::sync::MutexGuard<'_, Vec<(Digest, RunRecorded)>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder of the records.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Ending of a record's file.
const SUFFIX: &str = ".dsse.json";

impl RecordSink for Shelf {
    fn ready(&self) -> Result<(), SinkError> {
        if self.failed.load(Ordering::SeqCst) {
            return Err(SinkError {
                reason: ShelfError::Failed.to_string(),
            });
        }
        Ok(())
    }

    fn submit(&self, submission: Submission) -> BoxFuture<'_, Result<Digest, SinkError>> {
        Box::pin(async move {
            let refuse = |reason: String| SinkError { reason };
            if submission.session != self.session {
                return Err(refuse("the record belongs to another session".to_owned()));
            }
            // Named by its place in the session, which the record itself carries.
            let run = proofroom_record::predicate::read_unverified::<
                proofroom_record::statement::ModelRun,
            >(&submission.record.bytes)
            .map_err(|error| refuse(error.to_string()))?;
            let name = format!("{:04}-model-run", run.sequence);
            let record = self
                .keep(LeafKind::ModelRun, &name, submission.record.bytes)
                .await
                .map_err(|error| refuse(error.to_string()))?;
            let recorded = RunRecorded {
                sequence: run.sequence,
                run: run.run,
                record,
                status: run.status,
                tier: run.routing.tier,
                label: run.classification.high_water_after,
            };
            self.runs().push((run.request.received, recorded));
            Ok(record)
        })
    }
}
