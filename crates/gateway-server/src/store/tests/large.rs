//! Stores of many record files: what is held in memory, what a start reads, and what becomes of an index
//! that is gone, damaged, or of another day.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use super::faulty::CrashAt;
use super::{super::keeper::MERGED, *};

/// Four records.
const SMALL: u64 = 512;

fn small(dir: &Path) -> Opening {
    Opening {
        segment_bytes: SMALL,
        sync: Box::new(|_| Ok(())),
        storage: Arc::new(CrashAt::never()),
        ..opening(dir)
    }
}

fn open_small(dir: &Path) -> Opened {
    open_as(small(dir)).unwrap()
}

fn close((store, recovered): Opened) -> Recovered {
    store.stop();
    recovered
}

fn body(number: usize) -> String {
    format!("{{\"number\":{number}}}")
}

/// Keeps records until there are `end`, a group at a time.
fn fill(store: &RecordStore, numbers: std::ops::Range<usize>) {
    let numbers: Vec<usize> = numbers.collect();
    for group in numbers.chunks(4) {
        let bodies: Vec<String> = group.iter().map(|number| body(*number)).collect();
        let (last, others) = bodies.split_last().unwrap();
        block_on(async {
            for body in others {
                record(store, body, LogMode::Prompt).await.unwrap();
            }
            record(store, last, LogMode::Strict).await.unwrap();
        });
    }
}

/// Each record and its place.
fn every(store: &RecordStore, records: usize) -> Vec<(Vec<u8>, u64)> {
    (0..records)
        .map(|number| {
            let digest = Digest::of(body(number));
            let found = store.of_digest(digest).unwrap().unwrap();
            assert_eq!(
                (&found.envelope, found.digest),
                (&body(number).into_bytes(), digest)
            );
            (found.envelope, found.index.get())
        })
        .collect()
}

/// The receipts under the head that holds them all.
fn receipts(store: &RecordStore, records: usize) -> Vec<String> {
    let receipt = |number| {
        let found = store.of_digest(Digest::of(body(number))).unwrap().unwrap();
        store.receipt(&found).unwrap()
    };
    let last = records.checked_sub(1).map(receipt);
    assert_eq!(last.is_some(), records > 0);
    (0..records).map(receipt).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::remove_dir_all(to).ok();
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn files(dir: &Path) -> usize {
    fs::read_dir(dir.join("records")).unwrap().count()
}

#[test]
fn memory_and_starts_do_not_grow_with_records_and_every_receipt_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (mut held, mut read, mut tables) = (0, 0, 0);
    let records = 800;
    for part in 0..8 {
        let (store, recovered) = open_small(dir.path());
        assert_eq!(recovered.records, part as u64 * 100);
        fill(&store, part * 100..part * 100 + 100);
        store.stop();
        let (entries, on_disk) = store.shared.index.size();
        held = held.max(entries);
        tables = tables.max(on_disk);
        read = read.max(recovered.read);
    }
    let files = files(dir.path());
    assert!(files > 2 * MERGED * MERGED, "{files}");
    // one entry a record here, and a group more than fills a file; after a stop no file waits for its table
    assert!(held <= 8, "{held} entries in memory");
    assert!(read <= 8, "{read} records read");
    assert!(tables < 3 * MERGED, "{tables} tables");
    let (store, _) = open_small(dir.path());
    let (before, proofs) = (every(&store, records), receipts(&store, records));
    assert!(
        before
            .iter()
            .enumerate()
            .all(|(number, (_, index))| number as u64 == *index)
    );
    store.stop();
    drop(store);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let mut told = Vec::new();
    let opened = RecordStore::open(small(dir.path()), signer(), &mut |progress| {
        told.push(progress)
    });
    let (store, recovered, _) = opened.unwrap();
    assert_eq!(recovered.read, records as u64);
    assert_eq!(told.len(), files - 1);
    assert!(
        told.iter()
            .all(|told| told.of == files as u64 && told.files < told.of)
    );
    assert_eq!(
        (every(&store, records), receipts(&store, records)),
        (before, proofs)
    );
}

/// What an index became, and whether it is made anew.
#[test]
fn an_index_that_is_gone_damaged_or_of_another_day_is_made_anew_or_gone_on_from() {
    let dir = tempfile::tempdir().unwrap();
    let aside = tempfile::tempdir().unwrap();
    let (index, whole) = (dir.path().join("index"), aside.path().join("whole"));
    let older = aside.path().join("older");
    let records = 130;
    let (store, _) = open_small(dir.path());
    fill(&store, 0..60);
    store.stop();
    drop(store);
    copy(&index, &older);
    let (store, _) = open_small(dir.path());
    fill(&store, 60..records);
    let before = receipts(&store, records);
    store.stop();
    drop(store);
    copy(&index, &whole);
    let check = |what: &str| {
        let (store, recovered) = open_small(dir.path());
        assert!(receipts(&store, records) == before, "{what}");
        store.stop();
        recovered.read
    };
    let all = records as u64;
    assert!(check("untouched") < 24);
    fs::remove_dir_all(&index).unwrap();
    assert_eq!(check("gone"), all);
    let names: Vec<_> = fs::read_dir(&whole)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(names.len() > 3, "{names:?}");
    for name in &names {
        let path = index.join(name);
        copy(&whole, &index);
        fs::remove_file(&path).unwrap();
        assert_eq!(check("a file is gone"), all);
        copy(&whole, &index);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert_eq!(check("a file is cut"), all);
    }
    copy(&whole, &index);
    let mut checkpoint = fs::read(index.join("checkpoint")).unwrap();
    let middle = checkpoint.len() / 2;
    checkpoint[middle] ^= 1;
    fs::write(index.join("checkpoint"), checkpoint).unwrap();
    assert_eq!(check("a changed checkpoint"), all);
    copy(&older, &index);
    let read = check("an older index");
    assert!((70..all).contains(&read), "{read}");
    copy(&whole, &index);
    fs::copy(older.join("checkpoint"), index.join("checkpoint")).unwrap();
    // tables that it names may have been merged away
    check("an older checkpoint");
    copy(&whole, &index);
    fs::write(index.join("stray.new"), "half").unwrap();
    assert!(check("what a crash left") < 24);
    assert!(!index.join("stray.new").exists());
}

#[test]
fn an_index_ahead_of_its_records_or_of_other_records_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let aside = tempfile::tempdir().unwrap();
    let (store, _) = open_small(dir.path());
    fill(&store, 0..60);
    store.stop();
    drop(store);
    let parts = ["records", "log"];
    for part in parts {
        copy(&dir.path().join(part), &aside.path().join(part));
    }
    let (store, _) = open_small(dir.path());
    fill(&store, 60..130);
    store.stop();
    drop(store);
    // a state directory put back from a copy that left out the index
    for part in parts {
        copy(&aside.path().join(part), &dir.path().join(part));
    }
    let (store, recovered) = open_small(dir.path());
    assert_eq!((recovered.records, recovered.read), (60, 60));
    every(&store, 60);
    assert!(store.of_digest(Digest::of(body(60))).unwrap().is_none());
    fill(&store, 200..270);
    store.stop();
    drop(store);
    // the index of other records, as many and as long
    let other = tempfile::tempdir().unwrap();
    let (store, _) = open_small(other.path());
    fill(&store, 300..430);
    store.stop();
    drop(store);
    copy(&other.path().join("index"), &dir.path().join("index"));
    let (store, recovered) = open_small(dir.path());
    assert_eq!((recovered.records, recovered.read), (130, 130));
    assert!(store.of_digest(Digest::of(body(300))).unwrap().is_none());
    every(&store, 60);
}

#[test]
fn a_lost_or_shorter_log_or_record_file_is_refused_or_repaired_as_without_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_small(dir.path());
    fill(&store, 0..60);
    let before = receipts(&store, 60);
    store.stop();
    drop(store);
    let names: Vec<_> = {
        let mut names: Vec<_> = fs::read_dir(dir.path().join("records"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        names.sort();
        names
    };
    let middle = &names[names.len() / 2];
    let whole = fs::read(middle).unwrap();
    fs::remove_file(middle).unwrap();
    assert_eq!(
        open_as(small(dir.path())).unwrap_err().code(),
        "records-damaged"
    );
    fs::write(middle, &whole[..whole.len() - 20]).unwrap();
    assert_eq!(
        open_as(small(dir.path())).unwrap_err().code(),
        "records-damaged"
    );
    fs::write(middle, whole).unwrap();
    // leaves are of their records alone, so that a log that is gone comes back as it was
    fs::remove_dir_all(dir.path().join("log")).unwrap();
    let (store, recovered) = open_small(dir.path());
    assert_eq!(recovered.leaves_added, 60);
    assert!(receipts(&store, 60) == before);
}

#[test]
fn damage_that_a_start_does_not_read_is_named_when_it_is_read_and_by_a_check() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_small(dir.path());
    fill(&store, 0..60);
    store.stop();
    drop(store);
    let path = segment(dir.path());
    let whole = fs::read(&path).unwrap();
    let place = whole
        .windows(12)
        .position(|bytes| bytes == b"{\"number\":0}")
        .unwrap();
    let index = dir.path().join("index");
    let names = || fs::read_dir(&index).unwrap().count();
    let before = names();
    // in a body; in the session's id, of which only the leaf knows better
    for (place, code) in [
        (place + 2, "records-damaged"),
        (30, "records-and-log-disagree"),
    ] {
        let mut broken = whole.clone();
        broken[place] ^= 1;
        fs::write(&path, &broken).unwrap();
        let (store, recovered) = open_small(dir.path());
        assert!(recovered.read < 24);
        let found = store.of_digest(Digest::of(body(0)));
        let read = found.and_then(|found| store.receipt(&found.unwrap()));
        assert_eq!(read.unwrap_err().code(), code);
        let intact = store.of_digest(Digest::of(body(1))).unwrap().unwrap();
        store.receipt(&intact).unwrap();
        store.stop();
        drop(store);
        let clock = || Timestamp::from_unix_seconds(1);
        let checked = check_records(dir.path(), signer(), clock, Prices::default(), &mut |_| ());
        assert_eq!(checked.unwrap_err().code(), code);
        assert_eq!(names(), before);
    }
    // two lines of one length in each other's place
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    let swapped: Vec<u8> = [&[lines[1], lines[0]][..], &lines[2..]].concat().concat();
    fs::write(&path, swapped).unwrap();
    let (store, _) = open_small(dir.path());
    for number in [0, 1] {
        let found = store.of_digest(Digest::of(body(number)));
        assert_eq!(found.unwrap_err().code(), "records-damaged");
    }
    store.stop();
    drop(store);
    fs::write(&path, whole).unwrap();
    let clock = || Timestamp::from_unix_seconds(1);
    let checked = check_records(dir.path(), signer(), clock, Prices::default(), &mut |_| ());
    let checked = checked.unwrap();
    assert_eq!(
        (checked.records, checked.leaves, checked.leaves_added),
        (60, 60, 0)
    );
    close(open_small(dir.path()));
}

/// Opens a store whose disk ends at that operation, keeps what it can, and looks what is there afterwards.
/// Returns whether it came to that.
fn crash_at(operation: u64) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let disk = CrashAt::new(operation);
    // a record a file, so that tables are merged
    let opened = open_as(Opening {
        segment_bytes: 1,
        storage: Arc::new(disk.clone()),
        ..opening(dir.path())
    });
    let mut kept = 0;
    if let Ok((store, _)) = opened {
        while kept < MERGED + 3 && block_on(record(&store, &body(kept), LogMode::Strict)).is_ok() {
            kept += 1;
        }
        store.stop();
    }
    let (store, recovered) = open_small(dir.path());
    assert!(recovered.records >= kept as u64, "operation {operation}");
    receipts(&store, kept);
    store.stop();
    disk.crashed()
}

#[test]
fn a_crash_at_any_operation_on_log_or_index_loses_nothing_acknowledged() {
    let next = AtomicU64::new(0);
    let crashes = AtomicU64::new(0);
    // nearly all of the time is waiting
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while crash_at(next.fetch_add(1, Ordering::SeqCst)) {
                    crashes.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    // three operations for each frame of the log, seven for each table with its checkpoint
    let crashes = crashes.into_inner();
    assert!(crashes > 100, "{crashes}");
}
