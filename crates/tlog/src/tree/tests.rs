//! The edge agrees with the whole tree at every size, and resumes from its own tiles.

use super::*;
use crate::tree_root;

fn leaf(index: u64) -> LeafHash {
    LeafHash::of(&index.to_be_bytes())
}

#[test]
fn edge_and_whole_tree_have_the_same_root() {
    let (mut edge, mut tree) = (TileEdge::new(), MemoryTree::new());
    let mut filled = Vec::new();
    for index in 0..70_000 {
        filled.extend(
            edge.append(leaf(index))
                .unwrap()
                .into_iter()
                .map(|(path, _)| path),
        );
        tree.append(leaf(index));
        if index < 1100 || index % 997 == 0 || index > 69_990 {
            let root = tree_root(&tree, tree.size()).unwrap();
            assert_eq!(edge.root().unwrap(), root, "{index}");
            let tiles = edge.partials().unwrap();
            let paths: Vec<_> = tiles.iter().map(|(path, _)| *path).collect();
            assert_eq!(paths, TileEdge::partial_tiles(edge.size()).unwrap());
            let tiles = tiles.into_iter().map(|(_, tile)| tile).collect();
            let resumed = TileEdge::resume(edge.size(), tiles).unwrap();
            assert_eq!(resumed.root().unwrap(), root, "{index}");
        }
    }
    // the example of tlog-tiles, "Partial Tiles"
    assert_eq!(filled.len(), 273 + 1);
    let partials: Vec<_> = TileEdge::partial_tiles(edge.size())
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        partials,
        ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]
    );
}

#[test]
fn an_edge_does_not_resume_from_too_few_hashes() {
    let mut edge = TileEdge::new();
    (0..300).for_each(|i| drop(edge.append(leaf(i)).unwrap()));
    let mut tiles: Vec<_> = edge
        .partials()
        .unwrap()
        .into_iter()
        .map(|(_, tile)| tile)
        .collect();
    tiles.pop();
    let refused = TileEdge::resume(edge.size(), tiles.clone()).unwrap_err();
    assert_eq!(refused.code(), "tlog-no-subtree");
    let refused = TileEdge::resume(TreeSize::new(299), tiles).unwrap_err();
    assert_eq!(refused.code(), "tlog-no-subtree");
}
