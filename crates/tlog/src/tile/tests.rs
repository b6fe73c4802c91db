//! Tile paths have one spelling; tiles have exactly the bytes that their width says.

use proptest::prelude::*;

use super::*;

#[test]
fn published_paths_parse_and_come_back() {
    for (path, kind, index, width) in [
        (
            "tile/0/x001/x234/067",
            TileKind::Hashes { level: 0 },
            1_234_067,
            256,
        ),
        ("tile/0/000", TileKind::Hashes { level: 0 }, 0, 256),
        ("tile/63/999.p/1", TileKind::Hashes { level: 63 }, 999, 1),
        ("tile/entries/x001/000.p/255", TileKind::Entries, 1000, 255),
        (
            "tile/1/x018/x446/x744/x073/x709/x551/615",
            TileKind::Hashes { level: 1 },
            u64::MAX,
            256,
        ),
    ] {
        let parsed: TilePath = path.parse().unwrap();
        assert_eq!((parsed.kind(), parsed.index()), (kind, index));
        assert_eq!(parsed.width().get(), width);
        assert_eq!(parsed.to_string(), path);
    }
}

#[test]
fn other_spellings_are_refused() {
    for path in [
        "",
        "tile",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/00/000",
        "tile/+1/000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/x1/001",
        "tile/0/+01",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/01",
        "tile/0/000.p/+1",
        "tile/0/000.p/256",
        "tile/0/000.p/1/",
        "tile/0/000.p/1.p/1",
        "tile/entries",
        "tile/Entries/000",
        "tile/256/000",
        "/tile/0/000",
        "tile/0/../000",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
        "tile/0/x001/x018/x446/x744/x073/x709/x551/615",
    ] {
        assert_eq!(
            path.parse::<TilePath>().unwrap_err().code(),
            "tile-path",
            "{path}"
        );
    }
    assert_eq!(
        "tile/64/000".parse::<TilePath>().unwrap_err().code(),
        "tile-level"
    );
    for width in ["0", "257", "65536"] {
        let path = format!("tile/0/000.p/{width}");
        assert_eq!(path.parse::<TilePath>().unwrap_err().code(), "tile-width");
    }
    let long = format!("tile/0/{}000", "x000/".repeat(1000));
    assert_eq!(long.parse::<TilePath>().unwrap_err().code(), "tile-path");
}

#[test]
fn a_tile_of_the_wrong_length_is_refused() {
    let width = TileWidth::new(3).unwrap();
    assert_eq!(
        TileHashes::parse(&[5; 96], width).unwrap().to_bytes(),
        [5; 96]
    );
    for length in [0, 32, 95, 97, 128] {
        let refused = TileHashes::parse(&vec![5; length], width).unwrap_err();
        assert_eq!(refused.code(), "tile-length");
    }
    assert_eq!(TileHashes::new(vec![]).unwrap_err().code(), "tile-width");
    let hash = NodeHash::from_bytes([0; 32]);
    assert_eq!(
        TileHashes::new(vec![hash; 257]).unwrap_err().code(),
        "tile-width"
    );
}

#[test]
fn a_tile_gives_only_subtrees_that_it_holds() {
    let tile = TileHashes::new(vec![NodeHash::from_bytes([1; 32]); 6]).unwrap();
    for (height, index) in [(0, 5), (1, 2), (2, 0)] {
        tile.subtree(height, index).unwrap();
    }
    for (height, index) in [
        (0, 6),
        (1, 3),
        (2, 1),
        (3, 0),
        (9, 0),
        (64, 0),
        (8, usize::MAX),
    ] {
        assert_eq!(
            tile.subtree(height, index).unwrap_err().code(),
            "tlog-no-subtree"
        );
    }
}

proptest! {
    #[test]
    fn any_path_comes_back(level in 0_u8..=63, index: u64, width in 1_u64..=256, entries: bool) {
        let kind = if entries { TileKind::Entries } else { TileKind::Hashes { level } };
        let path = TilePath::new(kind, index, TileWidth::new(width).unwrap()).unwrap();
        prop_assert_eq!(path.to_string().parse(), Ok(path));
    }

    #[test]
    fn accepted_paths_have_one_spelling(text in "tile/(0|1|entries|63)/(x?[0-9]{0,4}/?){1,4}(\\.p/[0-9]{0,3})?") {
        if let Ok(path) = text.parse::<TilePath>() {
            prop_assert_eq!(path.to_string(), text);
        }
    }
}
