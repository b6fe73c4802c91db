//! Opening: one writer, and no opening of files that contradict each other, the key or a head known
//! from before.

use std::{fs, path::Path};

use proofroom_tlog::{KeyName, NoteSigner};
use tempfile::tempdir;

use super::{clock, closed, code, copy, fill, options, signer, vkey};
use crate::{KnownHead, Ledger, LedgerOptions, fsck};

#[test]
fn a_second_opener_is_told_that_the_ledger_is_locked() {
    let directory = tempdir().unwrap();
    let first = Ledger::open(options(directory.path())).unwrap();
    let second = Ledger::open(options(directory.path())).unwrap_err();
    assert_eq!(second.code(), "ledger-locked");
    assert!(second.to_string().contains("one writer"), "{second}");
    drop(first);
    assert_eq!(code(Ledger::open(options(directory.path()))), "opened");
}

#[test]
fn reopening_keeps_leaves_and_root() {
    let directory = tempdir().unwrap();
    let mut roots = Vec::new();
    for (start, end) in [(0, 0), (0, 1), (1, 255), (255, 256), (256, 257), (257, 700)] {
        let ledger = Ledger::open(options(directory.path())).unwrap();
        assert_eq!(ledger.recovery().integrated.get(), start);
        fill(&ledger, start..end).unwrap();
        roots.push(ledger.close().unwrap());
        assert_eq!(fsck(directory.path(), &vkey()).unwrap().durable.get(), end);
    }
    assert_eq!(roots.last().unwrap().checkpoint().size().get(), 700);
}

#[test]
fn another_key_or_origin_is_refused() {
    let directory = tempdir().unwrap();
    closed(directory.path(), 3);
    for (name, seed) in [("log.example/test", 8), ("log.example/other", 7)] {
        let other = NoteSigner::from_seed(KeyName::parse(name).unwrap(), &[seed; 32]).unwrap();
        let key = other.verifier_key().clone();
        assert_eq!(
            fsck(directory.path(), &key).unwrap_err().code(),
            "ledger-checkpoint-refused"
        );
        let opened = Ledger::open(LedgerOptions::new(directory.path(), other, clock()));
        // the write-ahead log is bound to the key as well, and is read first
        assert_eq!(code(opened), "ledger-wal-damaged");
    }
}

#[test]
fn a_checkpoint_put_back_is_refused() {
    let directory = tempdir().unwrap();
    closed(directory.path(), 300);
    let old = fs::read(directory.path().join("checkpoint")).unwrap();
    let ledger = Ledger::open(options(directory.path())).unwrap();
    fill(&ledger, 300..310).unwrap();
    ledger.close().unwrap();
    // reopening drops the segment that could have explained the leaves after the old head
    drop(Ledger::open(options(directory.path())).unwrap());
    fs::write(directory.path().join("checkpoint"), old).unwrap();
    assert_eq!(
        code(Ledger::open(options(directory.path()))),
        "ledger-rolled-back"
    );
    assert_eq!(
        fsck(directory.path(), &vkey()).unwrap_err().code(),
        "ledger-rolled-back"
    );
}

#[test]
fn a_whole_directory_put_back_is_refused_against_a_known_head() {
    let (directory, old) = (tempdir().unwrap(), tempdir().unwrap());
    closed(directory.path(), 5);
    copy(directory.path(), old.path());
    let ledger = Ledger::open(options(directory.path())).unwrap();
    fill(&ledger, 5..9).unwrap();
    let known = KnownHead::Head(Box::new((*ledger.close().unwrap()).clone()));
    let at = |path: &Path| LedgerOptions {
        known_head: known.clone(),
        ..options(path)
    };
    assert_eq!(code(Ledger::open(at(directory.path()))), "opened");
    assert_eq!(code(Ledger::open(at(old.path()))), "ledger-rolled-back");
    // the copy goes its own way, past the known size
    let fork = Ledger::open(options(old.path())).unwrap();
    fill(&fork, 5..6).unwrap();
    for text in ["other"; 9] {
        fork.append(text.into()).unwrap().wait().unwrap();
    }
    fork.close().unwrap();
    assert_eq!(code(Ledger::open(at(old.path()))), "ledger-forked");
}

#[test]
fn files_of_two_forks_do_not_mix() {
    let (one, two) = (tempdir().unwrap(), tempdir().unwrap());
    closed(one.path(), 5);
    copy(one.path(), two.path());
    for (directory, text) in [(&one, "a"), (&two, "b")] {
        let ledger = Ledger::open(options(directory.path())).unwrap();
        ledger.append(text.into()).unwrap().wait().unwrap();
        ledger.close().unwrap();
    }
    let mix = |path: &str| {
        let mixed = tempdir().unwrap();
        copy(one.path(), mixed.path());
        fs::copy(two.path().join(path), mixed.path().join(path)).unwrap();
        let found = fsck(mixed.path(), &vkey()).unwrap_err().code();
        (code(Ledger::open(options(mixed.path()))), found)
    };
    assert_eq!(mix("checkpoint"), ("ledger-forked", "ledger-forked"));
    assert_eq!(
        mix("tile/0/000.p/6"),
        ("ledger-forked", "ledger-tile-damaged")
    );
    assert_eq!(
        mix("tile/entries/000.p/6"),
        ("ledger-leaf-differs", "ledger-forked")
    );
    assert_eq!(
        mix("wal/00000000000000000005"),
        ("ledger-leaf-differs", "ledger-leaf-differs")
    );
}

#[test]
fn a_missing_file_is_refused() {
    let directory = tempdir().unwrap();
    closed(directory.path(), 600);
    let without = |path: &str| {
        let copied = tempdir().unwrap();
        copy(directory.path(), copied.path());
        fs::remove_file(copied.path().join(path)).unwrap();
        let found = fsck(copied.path(), &vkey()).unwrap_err().code();
        (code(Ledger::open(options(copied.path()))), found)
    };
    let missing = ("ledger-tile-missing", "ledger-tile-missing");
    assert_eq!(
        without("checkpoint"),
        ("ledger-checkpoint-missing", "ledger-checkpoint-missing")
    );
    assert_eq!(without("tile/0/002.p/88"), missing);
    assert_eq!(without("tile/1/000.p/2"), missing);
    assert_eq!(without("tile/entries/002.p/88"), missing);
    assert_eq!(
        without("wal/00000000000000000000"),
        ("ledger-wal-damaged", "ledger-wal-damaged")
    );
}

#[test]
fn one_flipped_bit_in_any_file_is_found_by_fsck() {
    let directory = tempdir().unwrap();
    closed(directory.path(), 260);
    // leaves in the write-ahead log are in the tiles as well; drop it to a bare header
    drop(Ledger::open(options(directory.path())).unwrap());
    for path in [
        "checkpoint",
        "tile/0/000",
        "tile/0/001.p/4",
        "tile/1/000.p/1",
        "tile/entries/000",
        "tile/entries/001.p/4",
    ] {
        let file = directory.path().join(path);
        let bytes = fs::read(&file).unwrap();
        for at in (0..bytes.len()).step_by(bytes.len().div_ceil(20)) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            fs::write(&file, &flipped).unwrap();
            let code = fsck(directory.path(), &vkey()).unwrap_err().code();
            let expected = match path {
                "checkpoint" => ["ledger-checkpoint-refused"; 3],
                _ => [
                    "ledger-tile-damaged",
                    "ledger-forked",
                    "ledger-leaf-differs",
                ],
            };
            assert!(expected.contains(&code), "{path} byte {at}: {code}");
        }
        fs::write(&file, &bytes).unwrap();
    }
    fsck(directory.path(), &vkey()).unwrap();
}

#[test]
fn a_foreign_file_is_refused() {
    let directory = tempdir().unwrap();
    closed(directory.path(), 2);
    fs::write(directory.path().join("tile/0/01"), "").unwrap();
    assert_eq!(
        code(Ledger::open(options(directory.path()))),
        "ledger-foreign-file"
    );
    assert_eq!(
        fsck(directory.path(), &vkey()).unwrap_err().code(),
        "ledger-foreign-file"
    );
}

#[test]
fn the_key_is_not_in_debug_output() {
    let text = format!("{:?}", signer());
    assert!(text.contains("log.example/test"), "{text}");
    assert!(!text.contains("[7, 7") && !text.contains("0707"), "{text}");
}
