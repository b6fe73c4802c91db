//! The deployment's log, shared by every process of the deployment: each operation holds the
//! log's one lock for as long as it takes and no longer.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use proofroom_ledger::{Ledger, LedgerError};
use proofroom_tlog::LeafIndex;

/// How long an operation waits for others before it gives up.
const PATIENCE: Duration = Duration::from_secs(20);
const RETRY: Duration = Duration::from_millis(3);

/// Why the log did not answer.
#[derive(Debug, thiserror::Error)]
#[error("the log at `{path}` cannot be used")]
pub struct LogError {
    path: PathBuf,
    #[source]
    source: LedgerError,
}

/// Receipts under one checkpoint.
#[derive(Debug)]
pub struct Receipts {
    /// The checkpoint, a C2SP signed note.
    pub checkpoint: Vec<u8>,
    /// One C2SP tlog-proof for each index asked for.
    pub receipts: Vec<Vec<u8>>,
}
