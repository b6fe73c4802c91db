//! What is acknowledged comes back, at whatever byte a crash tore the end.

mod faulty;
mod large;
mod tables;

use std::{
    fs, io,
    path::Path,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use proofroom_canonical::{Digest, SessionId, Timestamp};
use proofroom_record::{gateway::AccountOccasion, predicate::SealedRecord, statement::LogMode};
use proofroom_tlog::{KeyName, LeafKind, NoteSigner};

use super::{
    Kind, Line, Opening, RecordStore, StoreError, check_records,
    disk::{Disk, SyncData},
    recover::Recovered,
};
use crate::{
    prices::Prices,
    sessions::{Accounted, Event},
};

fn signer() -> NoteSigner {
    NoteSigner::from_seed(KeyName::parse("test.example/log").unwrap(), &[3; 32]).unwrap()
}

fn opening(dir: &Path) -> Opening {
    let clock = || Timestamp::from_unix_seconds(1);
    Opening::new(dir, clock, Arc::new(Prices::default()))
}

type Opened = (RecordStore, Recovered);

fn open_as(opening: Opening) -> Result<Opened, StoreError> {
    let (store, recovered, _) = RecordStore::open(opening, signer(), &mut |_| ())?;
    Ok((store, recovered))
}

fn open(dir: &Path) -> Result<Opened, StoreError> {
    open_as(opening(dir))
}

fn open_on(dir: &Path, sync: SyncData) -> Result<Opened, StoreError> {
    open_as(Opening {
        sync,
        ..opening(dir)
    })
}

fn session() -> SessionId {
    SessionId::from_random([9; 16])
}

/// Says nothing new of the session.
fn event() -> Event {
    Event::Account(Accounted {
        key: String::new(),
        occasion: AccountOccasion::Stopped,
        high_water: String::new(),
    })
}

fn keep(store: &RecordStore, bodies: &[&str]) {
    block_on(async {
        for body in bodies {
            record(store, body, LogMode::Strict).await.unwrap();
        }
    });
}

/// The lines of the first record file.
fn lines(dir: &Path) -> usize {
    let bytes = fs::read(segment(dir)).unwrap();
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| Line::parse(line).is_some())
        .count()
}

fn segment(dir: &Path) -> std::path::PathBuf {
    dir.join("records").join(format!("{:020}", 0))
}

#[test]
fn records_come_back_with_receipts_after_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path()).unwrap();
    keep(&store, &["{\"a\":1}", "{\"b\":2}"]);
    store.stop();
    drop(store);
    let (store, recovered) = open(dir.path()).unwrap();
    assert_eq!((recovered.records, recovered.leaves_added), (2, 0));
    assert_eq!(lines(dir.path()), 2);
    let found = store.of_digest(Digest::of("{\"b\":2}")).unwrap().unwrap();
    assert_eq!(found.envelope, b"{\"b\":2}");
    let receipt = store.receipt(&found).unwrap();
    assert!(receipt.starts_with("c2sp.org/tlog-proof@v1\n"), "{receipt}");
    assert!(store.of_digest(Digest::of("other")).unwrap().is_none());
}

#[test]
fn an_end_torn_at_any_byte_is_dropped_and_a_record_without_a_leaf_gets_one() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path()).unwrap();
    keep(&store, &["{\"a\":1}"]);
    store.stop();
    drop(store);
    let first = fs::read(segment(dir.path())).unwrap();
    let body = b"{\"b\":2}";
    let kind = Kind::Record(LeafKind::GatewayAccount);
    let line = super::line::render(kind, session(), Digest::of(body), body);
    for end in 0..line.len() {
        let torn = [first.as_slice(), &line[..end]].concat();
        fs::write(segment(dir.path()), torn).unwrap();
        let (store, recovered) = open(dir.path()).unwrap();
        assert_eq!((recovered.records, recovered.torn_bytes), (1, end as u64));
        assert_eq!(lines(dir.path()), 1);
        store.stop();
        drop(store);
        assert_eq!(fs::read(segment(dir.path())).unwrap(), first, "{end}");
    }
    fs::write(segment(dir.path()), [first, line].concat()).unwrap();
    let (store, recovered) = open(dir.path()).unwrap();
    assert_eq!((recovered.records, recovered.leaves_added), (2, 1));
    let found = store.of_digest(Digest::of("{\"b\":2}")).unwrap().unwrap();
    store.receipt(&found).unwrap();
}

#[test]
fn damage_before_the_end_and_lost_records_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path()).unwrap();
    keep(&store, &["{\"a\":1}", "{\"b\":2}"]);
    store.stop();
    drop(store);
    let whole = fs::read(segment(dir.path())).unwrap();
    // the second place is in the session's id, of which only the leaf knows better
    let places = [
        (0, "records-damaged"),
        (30, "records-and-log-disagree"),
        (whole.len() / 2 - 3, "records-damaged"),
    ];
    for (place, code) in places {
        let mut broken = whole.clone();
        broken[place] ^= 1;
        fs::write(segment(dir.path()), broken).unwrap();
        assert_eq!(open(dir.path()).unwrap_err().code(), code, "{place}");
    }
    let half = whole.len() / 2;
    fs::write(segment(dir.path()), &whole[..half]).unwrap();
    assert_eq!(open(dir.path()).unwrap_err().code(), "records-behind-log");
    let swapped = [&whole[half..], &whole[..half]].concat();
    fs::write(segment(dir.path()), swapped).unwrap();
    assert_eq!(
        open(dir.path()).unwrap_err().code(),
        "records-and-log-disagree"
    );
    fs::write(segment(dir.path()), whole).unwrap();
    open(dir.path()).unwrap();
}

#[test]
fn after_a_stop_nothing_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path()).unwrap();
    store.stop();
    let noted = store.note(
        Kind::Intent,
        session(),
        b"{}".to_vec(),
        event(),
        LogMode::Strict,
    );
    let kept = block_on(noted);
    assert_eq!(kept.unwrap_err().code(), "records-failed");
}

/// A disk that keeps nothing until it is let go.
#[derive(Default)]
struct SlowDisk {
    free: Mutex<bool>,
    freed: Condvar,
}

impl SlowDisk {
    fn sync_data(self: &Arc<Self>) -> SyncData {
        let disk = Arc::clone(self);
        Box::new(move |file| {
            let free = disk.free.lock().unwrap();
            drop(disk.freed.wait_while(free, |free| !*free).unwrap());
            file.sync_data()
        })
    }

    fn let_go(&self) {
        *self.free.lock().unwrap() = true;
        self.freed.notify_all();
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.unwrap().block_on(work)
}

fn record<'a>(
    store: &'a RecordStore,
    body: &str,
    log: LogMode,
) -> impl Future<Output = Result<Digest, StoreError>> + use<'a> {
    let record = SealedRecord {
        bytes: body.as_bytes().to_vec(),
        digest: Digest::of(body),
    };
    store.record(LeafKind::GatewayAccount, session(), record, event(), log)
}

#[test]
fn a_prompt_record_is_written_and_does_not_wait_for_the_disk_and_a_strict_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(SlowDisk::default());
    let (store, _) = open_on(dir.path(), disk.sync_data()).unwrap();
    block_on(async {
        assert!(!store.lags());
        record(&store, "{\"a\":1}", LogMode::Prompt).await.unwrap();
        // the end of the process would not lose it
        let written = fs::read(segment(dir.path())).unwrap();
        assert!(written.ends_with(b"{\"a\":1}\n"));
        let strict = record(&store, "{\"b\":2}", LogMode::Strict);
        tokio::pin!(strict);
        let waited = tokio::time::timeout(Duration::from_millis(50), &mut strict).await;
        assert!(waited.is_err(), "answered before the disk");
        assert!(store.lags(), "nobody would wait for the disk");
        disk.let_go();
        strict.await.unwrap();
        assert!(!store.lags());
    });
    for body in ["{\"a\":1}", "{\"b\":2}"] {
        let found = store.of_digest(Digest::of(body)).unwrap().unwrap();
        store.receipt(&found).unwrap();
    }
}

#[test]
fn a_prompt_record_that_nobody_waits_for_reaches_the_disk_and_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (asked, was_asked) = std::sync::mpsc::channel();
    let sync: SyncData = Box::new(move |file| {
        file.sync_data()?;
        asked.send(()).map_err(io::Error::other)
    });
    let (store, _) = open_on(dir.path(), sync).unwrap();
    block_on(record(&store, "{\"a\":1}", LogMode::Prompt)).unwrap();
    was_asked.recv().unwrap();
    let found = store.of_digest(Digest::of("{\"a\":1}")).unwrap().unwrap();
    store.receipt(&found).unwrap();
}

#[test]
fn a_disk_that_failed_once_keeps_nothing_more_whoever_asks() {
    let tries = std::sync::atomic::AtomicU32::new(0);
    let disk = Disk::new(Box::new(move |_| {
        // as the kernel does: a lost write is told of once
        match tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => Err(io::Error::other("lost")),
            _ => Ok(()),
        }
    }));
    let file = tempfile::tempfile().unwrap();
    disk.sync(&file).unwrap_err();
    disk.sync(&file).unwrap_err();
}

#[test]
fn a_disk_that_fails_behind_a_prompt_record_closes_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let full: SyncData = Box::new(|_| Err(io::ErrorKind::StorageFull.into()));
    let (store, _) = open_on(dir.path(), full).unwrap();
    block_on(record(&store, "{\"a\":1}", LogMode::Prompt)).unwrap();
    let strict = block_on(record(&store, "{\"b\":2}", LogMode::Strict));
    assert_eq!(strict.unwrap_err().code(), "records-failed");
    assert_eq!(store.ready().unwrap_err().code(), "records-failed");
    store.stop();
}
