//! Bundles read back exactly; cut, padded or overlong ones are refused.

use proptest::prelude::*;

use super::*;

fn width(entries: usize) -> TileWidth {
    TileWidth::new(u64::try_from(entries).unwrap()).unwrap()
}

#[test]
fn lengths_are_big_endian_u16() {
    let bundle = EntryBundle::new(vec![b"ab".to_vec(), vec![], vec![7; 258]]).unwrap();
    let bytes = bundle.to_bytes();
    assert_eq!(&bytes[..8], b"\x00\x02ab\x00\x00\x01\x02");
    assert_eq!(EntryBundle::parse(&bytes, width(3)), Ok(bundle));
}

#[test]
fn cut_or_padded_bundles_are_refused() {
    let bytes = EntryBundle::new(vec![vec![1; 5], vec![2; 5]])
        .unwrap()
        .to_bytes();
    for end in 0..bytes.len() {
        let refused = EntryBundle::parse(&bytes[..end], width(2)).unwrap_err();
        assert_eq!(refused.code(), "bundle-truncated", "{end}");
    }
    assert_eq!(
        EntryBundle::parse(&bytes, width(1)).unwrap_err().code(),
        "bundle-trailing"
    );
    assert_eq!(
        EntryBundle::parse(&bytes, width(3)).unwrap_err().code(),
        "bundle-truncated"
    );
}

#[test]
fn an_entry_beyond_u16_and_a_wrong_count_are_refused() {
    EntryBundle::new(vec![vec![0; ENTRY_MAX_BYTES]]).unwrap();
    let large = EntryBundle::new(vec![vec![0; ENTRY_MAX_BYTES + 1]]).unwrap_err();
    assert_eq!(large.code(), "bundle-entry-too-large");
    assert_eq!(EntryBundle::new(vec![]).unwrap_err().code(), "bundle-width");
    assert_eq!(
        EntryBundle::new(vec![vec![]; 257]).unwrap_err().code(),
        "bundle-width"
    );
}

proptest! {
    #[test]
    fn any_bundle_reads_back(entries in proptest::collection::vec(any::<Vec<u8>>(), 1..=20)) {
        let bundle = EntryBundle::new(entries).unwrap();
        let parsed = EntryBundle::parse(&bundle.to_bytes(), width(bundle.entries().len()));
        prop_assert_eq!(parsed, Ok(bundle));
    }

    #[test]
    fn accepted_bundles_write_back(bytes: Vec<u8>, entries in 1_usize..=4) {
        if let Ok(bundle) = EntryBundle::parse(&bytes, width(entries)) {
            prop_assert_eq!(bundle.to_bytes(), bytes);
        }
    }
}
