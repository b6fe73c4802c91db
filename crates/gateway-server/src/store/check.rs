//! The full check: every line against its digest, every record against its leaf, every leaf against the signed
//! head; and the index made anew from what was read.

use std::{fs, io, path::Path, sync::Arc};

use proofroom_canonical::Timestamp;
use proofroom_ledger::fsck;
use proofroom_tlog::NoteSigner;

use super::{Opening, Progress, RecordStore, StoreError};
use crate::prices::Prices;

/// What a full check found to be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckedRecords {
    /// Records, each as its digest and its leaf say.
    pub records: u64,
    /// Records without a leaf, as a crash leaves them, that got one.
    pub leaves_added: u64,
    /// Bytes of a torn last line, which was acknowledged to nobody and is dropped.
    pub torn_bytes: u64,
    /// Leaves under the log's signed head, each hashed again.
    pub leaves: u64,
}

/// Reads every record in the state directory of a gateway that does not run, and makes its index anew. What
/// was spent is counted at `prices`.
///
/// # Errors
/// The first thing that is not as it was written; see [`StoreError`].
pub fn check_records(
    state: &Path,
    log: NoteSigner,
    clock: fn() -> Timestamp,
    prices: Prices,
    progress: &mut dyn FnMut(Progress),
) -> Result<CheckedRecords, StoreError> {
    let key = log.verifier_key().clone();
    let opening = Opening::new(state, clock, Arc::new(prices));
    let (files, index, made) = (opening.log.clone(), opening.index.clone(), state.join(MADE));
    // the index stays as it is until all was found right: a gateway that can start can do so still
    remove(&made)?;
    let opening = Opening {
        index: made.clone(),
        ..opening
    };
    let (store, recovered, _) = RecordStore::open(opening, log, progress)?;
    store.stop();
    drop(store);
    let report = fsck(&files, &key)?;
    remove(&index)?;
    fs::rename(&made, &index).map_err(|source| StoreError::File {
        path: index,
        source,
    })?;
    Ok(CheckedRecords {
        records: recovered.records,
        leaves_added: recovered.leaves_added,
        torn_bytes: recovered.torn_bytes,
        leaves: report.head.checkpoint().size().get(),
    })
}

/// The index that a check makes, until it is done.
const MADE: &str = "index.made";

fn remove(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            let path = dir.to_owned();
            Err(StoreError::File { path, source })
        }
        _ => Ok(()),
    }
}
