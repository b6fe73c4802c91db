//! What a wiped text or list held is gone from its memory, and so is what lay in the room beyond.

#![expect(unsafe_code, reason = "reads the memory that a list no longer shows")]

use proofroom_canonical::Wipe as _;

/// The memory of an emptied list that was full before.
fn memory(list: &mut Vec<u8>) -> Vec<u8> {
    assert!(list.is_empty());
    let room = list.spare_capacity_mut().iter();
    // SAFETY: the list was filled up to its capacity before, so every byte of its room has a value.
    room.map(|byte| unsafe { byte.assume_init_read() })
        .collect()
}

/// A list with half of what it held once; the other half lies beyond its end.
fn filled(length: usize) -> Vec<u8> {
    let mut list = vec![b'x'; length];
    list.resize(list.capacity(), b'x');
    list.truncate(length / 2);
    list
}

#[test]
fn nothing_is_left_of_what_was_held_or_lay_beyond_it() {
    for length in [0, 1, 7, 64, 100_000] {
        let mut list = filled(length);
        list.wipe();
        let mut text = String::from_utf8(filled(length)).unwrap();
        text.wipe();
        for mut list in [list, text.into_bytes()] {
            assert!(list.capacity() >= length);
            assert!(memory(&mut list).iter().all(|byte| *byte == 0), "{length}");
        }
    }
}

#[test]
fn without_wiping_it_would_be_there() {
    let mut list = filled(100);
    list.clear();
    assert!(memory(&mut list).iter().all(|byte| *byte == b'x'));
}

#[test]
fn an_array_is_overwritten() {
    let mut key = [7; 32];
    key.wipe();
    assert_eq!(key, [0; 32]);
}
