//! What is acknowledged comes back, at whatever byte a crash tore the end.

use std::{fs, path::Path};

use proofroom_canonical::{Digest, SessionId, Timestamp};
use proofroom_tlog::{KeyName, LeafKind, NoteSigner};

use super::{Kind, RecordStore, Recovered, StoreError};

fn signer() -> NoteSigner {
    NoteSigner::from_seed(KeyName::parse("test.example/log").unwrap(), &[3; 32]).unwrap()
}

type Opened = (RecordStore, Recovered, Vec<(Kind, Vec<u8>)>);

fn open(dir: &Path) -> Result<Opened, StoreError> {
    let mut lines = Vec::new();
    let clock = || Timestamp::from_unix_seconds(1);
    let (store, recovered) = RecordStore::open(
        &dir.join("records"),
        &dir.join("log"),
        signer(),
        clock,
        &mut |line| lines.push((line.kind, line.body.to_vec())),
    )?;
    Ok((store, recovered, lines))
}

fn session() -> SessionId {
    SessionId::from_random([9; 16])
}

fn keep(store: &RecordStore, bodies: &[&str]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        for body in bodies {
            let body = body.as_bytes().to_vec();
            store
                .record(LeafKind::GatewayAccount, session(), None, body)
                .await
                .unwrap();
        }
    });
}

fn segment(dir: &Path) -> std::path::PathBuf {
    dir.join("records").join(format!("{:020}", 0))
}

#[test]
fn records_come_back_with_receipts_after_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let (store, ..) = open(dir.path()).unwrap();
    keep(&store, &["{\"a\":1}", "{\"b\":2}"]);
    store.stop();
    drop(store);
    let (store, recovered, lines) = open(dir.path()).unwrap();
    assert_eq!((recovered.records, recovered.leaves_added), (2, 0));
    assert_eq!(lines.len(), 2);
    let found = store.of_digest(Digest::of("{\"b\":2}")).unwrap().unwrap();
    assert_eq!(found.envelope, b"{\"b\":2}");
    let receipt = store.receipt(found.index).unwrap();
    assert!(receipt.starts_with("c2sp.org/tlog-proof@v1\n"), "{receipt}");
    assert!(store.of_digest(Digest::of("other")).unwrap().is_none());
}

#[test]
fn an_end_torn_at_any_byte_is_dropped_and_a_record_without_a_leaf_gets_one() {
    let dir = tempfile::tempdir().unwrap();
    let (store, ..) = open(dir.path()).unwrap();
    keep(&store, &["{\"a\":1}"]);
    store.stop();
    drop(store);
    let first = fs::read(segment(dir.path())).unwrap();
    let line = super::line::render(
        Kind::Record(LeafKind::GatewayAccount),
        session(),
        b"{\"b\":2}",
    );
    for end in 0..line.len() {
        let torn = [first.as_slice(), &line[..end]].concat();
        fs::write(segment(dir.path()), torn).unwrap();
        let (store, recovered, lines) = open(dir.path()).unwrap();
        assert_eq!((recovered.records, recovered.torn_bytes), (1, end as u64));
        assert_eq!(lines.len(), 1);
        store.stop();
        drop(store);
        assert_eq!(fs::read(segment(dir.path())).unwrap(), first, "{end}");
    }
    fs::write(segment(dir.path()), [first, line].concat()).unwrap();
    let (store, recovered, _) = open(dir.path()).unwrap();
    assert_eq!((recovered.records, recovered.leaves_added), (2, 1));
    let found = store.of_digest(Digest::of("{\"b\":2}")).unwrap().unwrap();
    store.receipt(found.index).unwrap();
}

#[test]
fn damage_before_the_end_and_lost_records_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, ..) = open(dir.path()).unwrap();
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
    let (store, ..) = open(dir.path()).unwrap();
    store.stop();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let kept = runtime.block_on(store.note(Kind::Intent, session(), b"{}".to_vec()));
    assert_eq!(kept.unwrap_err().code(), "records-failed");
}
