//! Frames are read back as written, and nothing else is read.

use super::*;

fn frame() -> Frame {
    Frame {
        first: LeafIndex::new(7),
        leaves: vec![b"one".to_vec(), Vec::new(), vec![3; 300]],
    }
}

#[test]
fn a_frame_reads_back() {
    let mut bytes = frame().to_bytes();
    let length = bytes.len();
    assert_eq!(scan(&bytes), Scan::Frame(frame(), length));
    bytes.push(0);
    assert_eq!(scan(&bytes), Scan::Frame(frame(), length));
    assert_eq!(scan(&[]), Scan::End);
}

#[test]
fn any_cut_or_flipped_bit_is_damage() {
    let bytes = frame().to_bytes();
    for at in 0..bytes.len() {
        if at > 0 {
            assert_eq!(scan(&bytes[..at]), Scan::Damaged, "cut at {at}");
        }
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x40;
        assert_eq!(scan(&flipped), Scan::Damaged, "flipped at {at}");
    }
}

#[test]
fn an_empty_frame_is_damage() {
    let empty = Frame {
        first: LeafIndex::new(0),
        leaves: Vec::new(),
    };
    assert_eq!(scan(&empty.to_bytes()), Scan::Damaged);
}

#[test]
fn a_later_frame_is_seen_behind_garbage() {
    let mut bytes = vec![0xff; 33];
    assert!(!later_frame(&bytes, LeafIndex::new(5)));
    bytes.extend(frame().to_bytes());
    assert!(later_frame(&bytes, LeafIndex::new(5)));
    assert!(!later_frame(&bytes, LeafIndex::new(8)));
}
