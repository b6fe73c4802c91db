//! Every byte of a bundle changed, one at a time: as it is, and with checksums and manifest made
//! afresh. None of them is free.

use std::{sync::Mutex, thread};

use proofroom_record::{
    bundle::{Files, MANIFEST},
    ladder::{Verdict, write_bundle},
};

use crate::{
    fixture::{Fixture, seal_files},
    good_files, verify,
};

fn small() -> Vec<u8> {
    write_bundle(
        &Fixture {
            attested: false,
            ..Fixture::default()
        }
        .parts(),
    )
    .unwrap()
}

#[test]
fn no_byte_of_the_file_can_change() {
    let mut bytes = small();
    let mut free = Vec::new();
    for at in 0..bytes.len() {
        let bit = 1 << (at % 8);
        bytes[at] ^= bit;
        if verify(&bytes).verdict != Verdict::Malformed {
            free.push(at);
        }
        bytes[at] ^= bit;
    }
    assert!(free.is_empty(), "free bytes: {free:?}");
}

/// Which bytes of which files can change when checksums and manifest are made afresh.
fn free_bytes(files: &Files, step: usize) -> Vec<(String, usize)> {
    let places: Vec<(&String, usize)> = (files.iter())
        .filter(|(name, _)| name.as_str() != MANIFEST)
        .flat_map(|(name, bytes)| (0..bytes.len()).map(move |at| (name, at)))
        .step_by(step)
        .collect();
    let free = Mutex::new(Vec::new());
    let found = &free;
    thread::scope(|scope| {
        for part in places.chunks(places.len() / 2 + 1) {
            scope.spawn(move || {
                let mut files = files.clone();
                for (name, at) in part {
                    let bit = 1 << (at % 7);
                    files.get_mut(*name).unwrap()[*at] ^= bit;
                    if verify(&seal_files(files.clone())).verdict == Verdict::Accepted {
                        found.lock().unwrap().push(((*name).clone(), *at));
                    }
                    files.get_mut(*name).unwrap()[*at] ^= bit;
                }
            });
        }
    });
    free.into_inner().unwrap()
}

#[test]
fn no_byte_of_a_sample_can_change_under_a_fresh_manifest() {
    // 61 is a prime, so that the sample meets every column of every line length
    let free = free_bytes(&good_files(), 61);
    assert!(free.is_empty(), "free bytes: {free:?}");
}

#[test]
fn no_byte_of_any_file_can_change_under_a_fresh_manifest() {
    if std::env::var_os("PROOFROOM_EXHAUSTIVE").is_none() {
        println!(
            "SKIPPED: every byte takes minutes, a sample was tried; set PROOFROOM_EXHAUSTIVE=1"
        );
        return;
    }
    let files = proofroom_record::bundle::archive::read(&small()).unwrap();
    let free = free_bytes(&files, 1);
    assert!(free.is_empty(), "free bytes: {free:?}");
}
