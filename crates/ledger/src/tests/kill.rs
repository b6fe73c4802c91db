//! A process that appends is killed with SIGKILL again and again; nothing that it acknowledged may
//! be lost, and no head that it showed may be contradicted.

use std::{
    hash::{BuildHasher as _, RandomState},
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use proofroom_tlog::SignedNote;
use tempfile::tempdir;

use super::{
    faults::{Seen, assert_nothing_lost},
    leaf, options, vkey,
};
use crate::{Ledger, fsck};

const DIRECTORY: &str = "PROOFROOM_LEDGER_KILL_TEST";

#[test]
fn thirty_kills_lose_no_acknowledged_leaf_and_no_head() {
    let directory = tempdir().unwrap();
    let mut seen = Seen::default();
    for round in 0..30_u64 {
        let micros = RandomState::new().hash_one(round) % 120_000;
        run_until_killed(directory.path(), Duration::from_micros(micros), &mut seen);
        fsck(directory.path(), &vkey()).unwrap();
        println!(
            "round {round}: killed after {micros} us, {} acknowledged",
            seen.acknowledged
        );
        // consistency with every head of every round so far
        assert_nothing_lost(directory.path(), &seen);
    }
    assert!(
        seen.acknowledged > 100,
        "only {} leaves: the test tested nothing",
        seen.acknowledged
    );
    assert!(seen.heads.len() > 30, "only {} heads", seen.heads.len());
}

fn run_until_killed(directory: &Path, delay: Duration, seen: &mut Seen) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "tests::kill::child_appends_until_it_is_killed",
            "--nocapture",
        ])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let open = lines
        .by_ref()
        .map_while(Result::ok)
        .any(|line| line.ends_with("open"));
    assert!(open, "the child did not open the ledger");
    let killer = thread::spawn(move || {
        thread::sleep(delay);
        child.kill().unwrap();
        child.wait().unwrap();
    });
    for line in lines.map_while(Result::ok) {
        match line.split_once(' ') {
            Some(("ack", index)) => {
                // a line cut off by the kill has no final full stop
                if let Some(index) = index.strip_suffix('.') {
                    seen.acknowledged = seen.acknowledged.max(index.parse::<u64>().unwrap() + 1);
                }
            }
            Some(("head", note)) => {
                if let Some(note) = note.strip_suffix('.') {
                    let note = SignedNote::parse(note.replace('|', "\n").as_bytes()).unwrap();
                    seen.heads
                        .push(Arc::new(vkey().verify_checkpoint(&note).unwrap()));
                }
            }
            _ => {}
        }
    }
    killer.join().unwrap();
}

/// Not a test by itself: without the variable it does nothing.
#[test]
fn child_appends_until_it_is_killed() {
    let Ok(directory) = std::env::var(DIRECTORY) else {
        return;
    };
    let ledger = Ledger::open(options(Path::new(&directory))).unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "\nopen").unwrap();
    let mut next = ledger.durable_size().get();
    let mut shown = ledger.head();
    loop {
        let waiting: Vec<_> = (next..next + 1 + next % 7)
            .map(|i| ledger.append(leaf(i)).unwrap())
            .collect();
        for appending in waiting {
            let durable = appending.wait().unwrap();
            assert_eq!(durable.index().get(), next);
            writeln!(out, "ack {next}.").unwrap();
            next += 1;
        }
        if ledger.head() != shown {
            shown = ledger.head();
            let note = shown.note().to_string().replace('\n', "|");
            writeln!(out, "head {note}.").unwrap();
        }
    }
}
