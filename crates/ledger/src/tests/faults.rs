//! Storage faults: after the first one nothing is acknowledged, and nothing acknowledged is lost.

use std::{path::Path, sync::Arc, time::Duration};

use proofroom_tlog::{LeafIndex, TreeSize, VerifiedCheckpoint, prove_consistency};
use tempfile::tempdir;

use super::{
    code,
    faulty::{Fault, FaultyStorage},
    fill, leaf, on, options, vkey,
};
use crate::{DiskStorage, Ledger, LedgerError, fsck, layout::Layout, reader::DiskTiles};

/// What a run saw before it ended.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) acknowledged: u64,
    pub(super) heads: Vec<Arc<VerifiedCheckpoint>>,
}

/// Appends 1 leaf, 3 leaves, 300 leaves, waiting in between, until something fails.
fn workload(
    directory: &Path,
    storage: Arc<FaultyStorage>,
    seen: &mut Seen,
) -> Result<(), LedgerError> {
    let ledger = Ledger::open(on(directory, storage))?;
    seen.heads.push(ledger.head());
    for end in [1, 4, 304] {
        let waiting: Vec<_> = (seen.acknowledged..end)
            .map(|index| ledger.append(leaf(index)))
            .collect::<Result<_, _>>()?;
        for appending in waiting {
            assert_eq!(appending.wait()?.index().get(), seen.acknowledged);
            seen.acknowledged += 1;
        }
        let integrated = ledger.wait_integrated(LeafIndex::new(end - 1))?;
        seen.heads.push(Arc::new(integrated.head().clone()));
    }
    seen.heads.push(ledger.close()?);
    Ok(())
}

/// Opens with a sound disk: every acknowledged leaf is there, every head still holds.
pub(super) fn assert_nothing_lost(directory: &Path, seen: &Seen) {
    let ledger = Ledger::open(options(directory)).unwrap();
    let head = ledger.head();
    let size = head.checkpoint().size();
    assert!(
        size >= TreeSize::new(seen.acknowledged),
        "{size} < {}",
        seen.acknowledged
    );
    for index in 0..seen.acknowledged {
        assert_eq!(ledger.entry(LeafIndex::new(index)).unwrap(), leaf(index));
    }
    let layout = Layout::new(directory);
    let tiles = DiskTiles::new(&DiskStorage, &layout, size);
    for earlier in &seen.heads {
        let proof = prove_consistency(&tiles, earlier.checkpoint().size(), size).unwrap();
        head.verify_extends(earlier, &proof).unwrap();
    }
    drop(ledger);
    assert_eq!(fsck(directory, &vkey()).unwrap().durable, size);
}

#[test]
fn a_crash_at_any_operation_loses_nothing_acknowledged() {
    let mut crashed = 0;
    // about 60 operations write on this workload; every one of them is the last once
    for operation in 1..=90 {
        let directory = tempdir().unwrap();
        let storage = FaultyStorage::new(Fault::CrashAt(operation));
        let mut seen = Seen::default();
        if let Err(e) = workload(directory.path(), Arc::clone(&storage), &mut seen) {
            assert_eq!(e.code(), "ledger-storage-failed", "operation {operation}");
            crashed += 1;
        }
        assert_eq!(
            storage.counts.lock().unwrap().retries,
            0,
            "operation {operation}"
        );
        assert_nothing_lost(directory.path(), &seen);
    }
    assert!(crashed > 30, "only {crashed} crashes were reached");
}

#[test]
fn any_failed_sync_fails_the_ledger_for_good() {
    let mut failed = 0;
    for sync in 1..=40 {
        let directory = tempdir().unwrap();
        let storage = FaultyStorage::new(Fault::SyncAt(sync));
        let mut seen = Seen::default();
        let result = workload(directory.path(), Arc::clone(&storage), &mut seen);
        let counts = storage.counts.lock().unwrap();
        if counts.failed {
            assert_eq!(
                result.unwrap_err().code(),
                "ledger-storage-failed",
                "sync {sync}"
            );
            failed += 1;
        }
        assert_eq!(
            counts.retries, 0,
            "a file was used after its sync {sync} failed"
        );
        drop(counts);
        assert_nothing_lost(directory.path(), &seen);
    }
    assert!(failed > 15, "only {failed} syncs were reached");
}

#[test]
fn a_full_disk_fails_the_ledger_for_good() {
    let mut failed = 0;
    for bytes in (0..12_000).step_by(397) {
        let directory = tempdir().unwrap();
        let storage = FaultyStorage::new(Fault::FullAfter(bytes));
        let mut seen = Seen::default();
        if let Err(e) = workload(directory.path(), storage, &mut seen) {
            assert_eq!(e.code(), "ledger-storage-failed", "full after {bytes}");
            failed += 1;
        }
        assert_nothing_lost(directory.path(), &seen);
    }
    assert!(failed > 15, "only {failed} runs met a full disk");
}

#[test]
fn every_call_after_a_fault_gets_the_stable_code() {
    let directory = tempdir().unwrap();
    // 49 bytes of segment header, about 240 of checkpoint; the frames do not all fit
    let storage = FaultyStorage::new(Fault::FullAfter(600));
    let ledger = Ledger::open(on(directory.path(), storage)).unwrap();
    let failure = (0..1000)
        .find_map(|index| fill(&ledger, index..index + 1).err())
        .unwrap();
    assert_eq!(failure.code(), "ledger-storage-failed");
    for _ in 0..3 {
        assert_eq!(
            ledger.append(leaf(0)).unwrap_err().code(),
            "ledger-storage-failed"
        );
    }
    let never = ledger.wait_integrated(LeafIndex::new(5000)).unwrap_err();
    assert_eq!(never.code(), "ledger-storage-failed");
    assert_eq!(ledger.close().unwrap_err().code(), "ledger-storage-failed");
}

#[test]
fn a_tail_frame_torn_at_any_byte_is_dropped_and_the_rest_kept() {
    let directory = tempdir().unwrap();
    // integration never runs by itself here, so all leaves are in the write-ahead log alone
    let slow = |path: &Path| crate::LedgerOptions {
        integrate_every: Duration::from_secs(3600),
        ..options(path)
    };
    let ledger = Ledger::open(slow(directory.path())).unwrap();
    fill(&ledger, 0..3).unwrap();
    let whole = directory.path().join("wal/00000000000000000000");
    let before = std::fs::metadata(&whole).unwrap().len();
    fill(&ledger, 3..5).unwrap();
    let bytes = std::fs::read(&whole).unwrap();
    let snapshot = tempdir().unwrap();
    super::copy(directory.path(), snapshot.path());
    std::mem::forget(ledger);
    for cut in usize::try_from(before).unwrap()..=bytes.len() {
        for zeros in [0, bytes.len() - cut] {
            let torn = tempdir().unwrap();
            super::copy(snapshot.path(), torn.path());
            let mut tail = bytes[..cut].to_vec();
            tail.resize(cut + zeros, 0);
            std::fs::write(torn.path().join("wal/00000000000000000000"), &tail).unwrap();
            assert_eq!(
                fsck(torn.path(), &vkey())
                    .unwrap()
                    .head
                    .checkpoint()
                    .size()
                    .get(),
                0
            );
            let opened = Ledger::open(options(torn.path())).unwrap();
            let recovered = opened.recovery().recovered.get();
            // the two leaves may have been committed as two frames
            assert!(
                (3..=5).contains(&recovered),
                "{cut} of {}: {recovered}",
                bytes.len()
            );
            assert_eq!(recovered == 5, tail == bytes, "{cut} of {}", bytes.len());
            drop(opened);
            assert_nothing_lost(
                torn.path(),
                &Seen {
                    acknowledged: 3,
                    heads: Vec::new(),
                },
            );
        }
    }
}

#[test]
fn damage_before_the_last_frame_is_refused() {
    let directory = tempdir().unwrap();
    let mut slow = options(directory.path());
    slow.integrate_every = Duration::from_secs(3600);
    let ledger = Ledger::open(slow).unwrap();
    for index in 0..3 {
        fill(&ledger, index..index + 1).unwrap();
    }
    let segment = "wal/00000000000000000000";
    let bytes = std::fs::read(directory.path().join(segment)).unwrap();
    let snapshot = tempdir().unwrap();
    super::copy(directory.path(), snapshot.path());
    std::mem::forget(ledger);
    // a frame here has 8 + 12 + 2 + 6 = 28 bytes, so two frames follow the 49 bytes of header
    for at in 0..49 + 2 * 28 {
        let damaged = tempdir().unwrap();
        super::copy(snapshot.path(), damaged.path());
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        std::fs::write(damaged.path().join(segment), &flipped).unwrap();
        assert_eq!(
            code(Ledger::open(options(damaged.path()))),
            "ledger-wal-damaged",
            "byte {at}"
        );
        assert_eq!(
            fsck(damaged.path(), &vkey()).unwrap_err().code(),
            "ledger-wal-damaged"
        );
    }
}
