//! Tables find what was written into them, merged or not, and never anything else.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use proofroom_ledger::DiskStorage;

use super::super::{
    segment::{Location, Place},
    table::{self, Covered, Entry, Key, Table},
};

fn key(number: u64) -> Key {
    let digest = proofroom_canonical::Digest::of(number.to_be_bytes());
    super::super::line::digest_key(digest)
}

fn place(segment: u64, nth: u64) -> Location {
    let place = Place::new(nth * 10, 9, nth).unwrap();
    Location { segment, place }
}

fn write(dir: &Path, first: u64, keys: &BTreeMap<Key, Location>) -> Arc<Table> {
    let covered = Covered {
        first,
        end: first + 1000,
        files: 1,
    };
    let entries = keys
        .iter()
        .map(|(key, at)| Ok(Entry { key: *key, at: *at }));
    Arc::new(table::write(&DiskStorage, dir, covered, entries).unwrap())
}

#[test]
fn a_table_of_any_size_finds_its_keys_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    // 113 entries a block
    for size in [0, 1, 2, 112, 113, 114, 226, 227, 1000] {
        let keys = (0..size).map(|n| (key(n), place(0, n))).collect();
        let written = write(dir.path(), 0, &keys);
        let table = Table::open(dir.path(), written.listed).unwrap();
        for (key, at) in &keys {
            assert_eq!(table.find(*key).unwrap(), Some(*at));
        }
        for n in size..size + 200 {
            assert_eq!(table.find(key(n)).unwrap(), None);
        }
        for edge in [[0; 16], [0xff; 16]] {
            assert_eq!(table.find(edge).unwrap(), None);
        }
    }
}

#[test]
fn merged_tables_find_all_keys_and_of_equal_ones_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = BTreeMap::new();
    let tables: Vec<_> = (0..8)
        .map(|part| {
            // a third of the keys are in the next table too
            let keys: BTreeMap<_, _> = (part * 200..part * 200 + 300)
                .map(|n| (key(n), place(part * 1000, n - part * 200)))
                .collect();
            all.extend(keys.clone());
            write(dir.path(), part * 1000, &keys)
        })
        .collect();
    let merged = table::merge(&DiskStorage, dir.path(), &tables).unwrap();
    assert_eq!(merged.listed.entries, all.len() as u64);
    let covered = merged.listed.covered;
    assert_eq!((covered.first, covered.end, covered.files), (0, 8000, 8));
    for (key, at) in &all {
        assert_eq!(merged.find(*key).unwrap(), Some(*at));
    }
    assert_eq!(merged.find(key(5000)).unwrap(), None);
}

#[test]
fn a_table_cut_at_any_block_is_no_table_and_any_changed_byte_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let keys: BTreeMap<_, _> = (0..200).map(|n| (key(n), place(0, n))).collect();
    let table = write(dir.path(), 0, &keys);
    let whole = fs::read(&table.path).unwrap();
    assert_eq!(whole.len(), 2 * 4096);
    for length in [0, 1, 4095, 4096, 4097, 8191] {
        fs::write(&table.path, &whole[..length]).unwrap();
        Table::open(dir.path(), table.listed).unwrap_err();
    }
    for byte in (0..whole.len()).step_by(97) {
        let mut broken = whole.clone();
        broken[byte] ^= 1;
        fs::write(&table.path, broken).unwrap();
        let table = Table::open(dir.path(), table.listed).unwrap();
        let found = keys.iter().map(|(key, at)| (table.find(*key), *at));
        let mut refused = false;
        for (found, at) in found {
            match found {
                Ok(found) => assert_eq!(found, Some(at)),
                Err(error) => {
                    refused = true;
                    assert_eq!(error.code(), "records-index-damaged");
                }
            }
        }
        assert!(refused, "{byte}");
    }
    let swapped = [&whole[4096..], &whole[..4096]].concat();
    fs::write(&table.path, swapped).unwrap();
    let table = Table::open(dir.path(), table.listed).unwrap();
    table.find(key(0)).unwrap_err();
}
