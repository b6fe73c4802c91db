//! Where finished records go. The gateway does not know the ledger; it knows that `Ok` means kept.

use std::{future::Future, pin::Pin};

use proofroom_canonical::{Digest, SessionId};
use proofroom_record::{predicate::SealedRecord, statement::LogMode};

use crate::gate::Finished;

/// Kind of every record that the gateway writes, as log leaves spell it.
pub const MODEL_RUN: &str = "model-run";

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One signed record on its way to the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Kind of the log leaf: [`MODEL_RUN`].
    pub kind: &'static str,
    /// The session that the record belongs to.
    pub session: SessionId,
    /// When it has to be on disk: what the record says of itself.
    pub log: LogMode,
    /// The record.
    pub record: SealedRecord,
    /// What the record says, for whoever does not read it.
    pub said: Said,
}

/// What a record says of its run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The run's place in its session.
    pub sequence: u64,
    /// The session's label with it.
    pub high_water: String,
    /// What became of the run.
    pub finished: Finished,
}

/// Takes signed records.
pub trait RecordSink: Send + Sync {
    /// Whether a record could be taken now. Asked before a prompt is sent: a run whose record
    /// cannot be kept must not happen.
    ///
    /// # Errors
    /// Why not.
    fn ready(&self) -> Result<(), SinkError>;

    /// Keeps a record and returns the digest of its bytes. Returns `Ok` only when a crash of the
    /// machine can no longer lose it; for [`LogMode::Prompt`], when a crash of the process cannot and the
    /// disk is about to be asked.
    fn submit(&self, submission: Submission) -> BoxFuture<'_, Result<Digest, SinkError>>;
}

/// Why a record could not be kept.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("records cannot be kept: {reason}; see to the ledger's disk and start the gateway again")]
pub struct SinkError {
    /// What the ledger says, without the record's content.
    pub reason: String,
}

impl SinkError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "record-not-durable"
    }
}
