//! Appending, statuses and receipts as a caller sees them.

use std::{sync::Arc, time::Duration};

use proofroom_tlog::{ENTRY_MAX_BYTES, LeafIndex, LogProof};
use tempfile::tempdir;

use super::{code, fill, leaf, options, vkey};
use crate::{LeafStatus, Ledger, LedgerOptions};

#[test]
fn every_receipt_verifies_and_is_a_tlog_proof() {
    let directory = tempdir().unwrap();
    let ledger = Ledger::open(options(directory.path())).unwrap();
    fill(&ledger, 0..520).unwrap();
    ledger.wait_integrated(LeafIndex::new(519)).unwrap();
    for index in (0..520).step_by(13) {
        let receipt = ledger.receipt(LeafIndex::new(index)).unwrap();
        let proof = LogProof::parse(receipt.as_bytes()).unwrap();
        let verified = vkey().verify_proof(&proof, &leaf(index)).unwrap();
        assert_eq!(verified.index(), LeafIndex::new(index));
        let other = vkey().verify_proof(&proof, b"other").unwrap_err();
        assert_eq!(other.code(), "tlog-root-mismatch");
    }
}

#[test]
fn durable_is_not_integrated() {
    let directory = tempdir().unwrap();
    let integrate_every = Duration::from_secs(3600);
    let slow = LedgerOptions {
        integrate_every,
        ..options(directory.path())
    };
    let ledger = Ledger::open(slow).unwrap();
    let index = ledger.append(leaf(0)).unwrap().wait().unwrap().index();
    assert_eq!(ledger.status(index), LeafStatus::Durable);
    assert_eq!(ledger.status(LeafIndex::new(1)), LeafStatus::Absent);
    assert_eq!(
        ledger.receipt(index).unwrap_err().code(),
        "ledger-not-integrated"
    );
    assert_eq!(
        ledger.entry(index).unwrap_err().code(),
        "ledger-not-integrated"
    );
    ledger.close().unwrap();
    let ledger = Ledger::open(options(directory.path())).unwrap();
    assert_eq!(ledger.status(index), LeafStatus::Integrated);
    ledger.receipt(index).unwrap();
}

#[test]
fn a_leaf_beyond_u16_is_refused_and_the_largest_is_kept() {
    let directory = tempdir().unwrap();
    let ledger = Ledger::open(options(directory.path())).unwrap();
    let large = ledger.append(vec![0; ENTRY_MAX_BYTES + 1]).unwrap_err();
    assert_eq!(large.code(), "ledger-leaf-too-large");
    for leaf in [vec![9; ENTRY_MAX_BYTES], Vec::new()] {
        let index = ledger.append(leaf.clone()).unwrap().wait().unwrap().index();
        ledger.wait_integrated(index).unwrap();
        assert_eq!(ledger.entry(index).unwrap(), leaf);
    }
}

#[tokio::test]
async fn appends_and_integration_can_be_awaited() {
    let directory = tempdir().unwrap();
    let ledger = Arc::new(Ledger::open(options(directory.path())).unwrap());
    let tasks: Vec<_> = (0..50)
        .map(|i| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move {
                let durable = ledger.append(leaf(i)).unwrap().await.unwrap();
                ledger.integrated(durable.index()).await.unwrap().index()
            })
        })
        .collect();
    let mut seen = Vec::new();
    for task in tasks {
        seen.push(task.await.unwrap().get());
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..50).collect::<Vec<_>>());
}

#[test]
fn segments_are_removed_once_integrated() {
    let directory = tempdir().unwrap();
    let ledger = Ledger::open(options(directory.path())).unwrap();
    // 600 leaves of 60 kB are 36 MB: two closed segments of 16 MiB
    for _ in 0..6 {
        let waiting: Vec<_> = (0..100)
            .map(|_| ledger.append(vec![1; 60_000]).unwrap())
            .collect();
        for appending in waiting {
            appending.wait().unwrap();
        }
    }
    ledger.close().unwrap();
    assert_eq!(
        std::fs::read_dir(directory.path().join("wal"))
            .unwrap()
            .count(),
        1
    );
    assert_eq!(code(Ledger::open(options(directory.path()))), "opened");
}
