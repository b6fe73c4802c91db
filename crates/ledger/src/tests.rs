//! What the tests of the ledger share: a key, a clock, small leaves and a storage that fails on
//! demand.

mod faults;
mod faulty;
mod kill;
mod recovery;
mod use_case;

use std::{path::Path, sync::Arc, time::Duration};

use proofroom_canonical::Timestamp;
use proofroom_tlog::{KeyName, LeafIndex, NoteSigner, VerifierKey};

use crate::{Clock, Ledger, LedgerError, LedgerOptions, Storage};

const ORIGIN: &str = "log.example/test";

fn signer() -> NoteSigner {
    NoteSigner::from_seed(KeyName::parse(ORIGIN).unwrap(), &[7; 32]).unwrap()
}

fn vkey() -> VerifierKey {
    signer().verifier_key().clone()
}

fn clock() -> Clock {
    Arc::new(|| Timestamp::from_unix_seconds(1_800_000_000))
}

fn options(directory: &Path) -> LedgerOptions {
    let integrate_every = Duration::from_millis(2);
    LedgerOptions {
        integrate_every,
        ..LedgerOptions::new(directory, signer(), clock())
    }
}

fn on(directory: &Path, storage: Arc<dyn Storage>) -> LedgerOptions {
    LedgerOptions {
        storage,
        ..options(directory)
    }
}

fn leaf(index: u64) -> Vec<u8> {
    format!("leaf {index}").into_bytes()
}

/// Appends leaves `range`, all queued at once, and waits until they are durable.
fn fill(ledger: &Ledger, range: std::ops::Range<u64>) -> Result<(), LedgerError> {
    let waiting: Vec<_> = range
        .clone()
        .map(|i| ledger.append(leaf(i)))
        .collect::<Result<_, _>>()?;
    for (index, appending) in range.zip(waiting) {
        assert_eq!(appending.wait()?.index(), LeafIndex::new(index));
    }
    Ok(())
}

/// A ledger of `leaves` leaves, closed.
fn closed(directory: &Path, leaves: u64) {
    let ledger = Ledger::open(options(directory)).unwrap();
    fill(&ledger, 0..leaves).unwrap();
    ledger.close().unwrap();
}

fn code(result: Result<Ledger, LedgerError>) -> &'static str {
    result.map_or_else(|e| e.code(), |_| "opened")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, name) = entry.map(|e| (e.path(), e.file_name())).unwrap();
        if entry.is_dir() {
            copy(&entry, &to.join(name));
        } else {
            std::fs::copy(&entry, to.join(name)).unwrap();
        }
    }
}
