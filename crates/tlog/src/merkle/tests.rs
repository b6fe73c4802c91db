//! Published roots (the reference inputs of the Certificate Transparency project), every proof of
//! small trees, and a reject for each accept.

use proptest::prelude::*;

use super::*;
use crate::{MemoryTree, tree_root};

/// Inputs of the CT project's `merkletree` tests, and its roots of the first 1 to 8 of them.
const INPUTS: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];

const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn tree(leaves: u64) -> MemoryTree {
    let mut tree = MemoryTree::new();
    (0..leaves).for_each(|i| tree.append(LeafHash::of(&i.to_be_bytes())));
    tree
}

fn head(tree: &MemoryTree, size: u64) -> (TreeSize, RootHash) {
    let size = TreeSize::new(size);
    (size, tree_root(tree, size).unwrap())
}

fn leaf(index: u64) -> LeafHash {
    LeafHash::of(&index.to_be_bytes())
}

#[test]
fn published_roots_come_out() {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(hex::encode(RootHash::empty().node().as_bytes()), empty);
    let mut tree = MemoryTree::new();
    for (input, root) in INPUTS.iter().zip(ROOTS) {
        tree.append(LeafHash::of(&hex::decode(input).unwrap()));
        let found = tree_root(&tree, tree.size()).unwrap();
        assert_eq!(hex::encode(found.node().as_bytes()), root);
    }
}

#[test]
fn every_inclusion_in_small_trees_verifies_and_its_siblings_do_not() {
    let tree = tree(70);
    for size in 1..=70 {
        let (size, root) = head(&tree, size);
        for index in 0..size.get() {
            let at = LeafIndex::new(index);
            let proof = prove_inclusion(&tree, at, size).unwrap();
            assert_eq!(proof.root(leaf(index), at, size), Ok(root));
            assert_ne!(proof.root(leaf(index + 1), at, size), Ok(root));
            let other = LeafIndex::new((index + 1) % size.get());
            if size.get() > 1 {
                assert_ne!(proof.root(leaf(index), other, size), Ok(root));
            }
            for hash in 0..proof.0.len() {
                let mut flipped = proof.clone();
                let mut bytes = *flipped.0[hash].as_bytes();
                bytes[hash % 32] ^= 1;
                flipped.0[hash] = NodeHash::from_bytes(bytes);
                assert_ne!(flipped.root(leaf(index), at, size), Ok(root));
            }
            let mut short = proof.0.clone();
            let mut long = proof.0.clone();
            long.push(root.node());
            let hashes = long.len();
            let result = InclusionProof(long).root(leaf(index), at, size);
            assert_eq!(result, Err(MerkleError::ProofLength { hashes }));
            if short.pop().is_some() {
                let hashes = short.len();
                let result = InclusionProof(short).root(leaf(index), at, size);
                assert_eq!(result, Err(MerkleError::ProofLength { hashes }));
            }
        }
        let beyond = prove_inclusion(&tree, size.next_index(), size).unwrap_err();
        assert_eq!(beyond.code(), "tlog-index-beyond-tree");
        let beyond = InclusionProof(vec![])
            .root(leaf(0), size.next_index(), size)
            .unwrap_err();
        assert_eq!(beyond.code(), "tlog-index-beyond-tree");
    }
}

#[test]
fn every_consistency_of_small_trees_verifies_and_its_siblings_do_not() {
    let tree = tree(66);
    for later in 0..=66 {
        let later = head(&tree, later);
        for earlier in 0..=later.0.get() {
            let earlier = head(&tree, earlier);
            let proof = prove_consistency(&tree, earlier.0, later.0).unwrap();
            assert_eq!(
                proof.check(earlier, later),
                Ok(()),
                "{} {}",
                earlier.0,
                later.0
            );
            let other = RootHash::from_node(leaf(999).node());
            let swapped = proof.check((earlier.0, other), later);
            assert_eq!(
                swapped,
                Err(MerkleError::RootMismatch),
                "{} {}",
                earlier.0,
                later.0
            );
            if earlier.0 > TreeSize::EMPTY {
                let swapped = proof.check(earlier, (later.0, other));
                assert_eq!(swapped, Err(MerkleError::RootMismatch));
            }
            let mut long = proof.0.clone();
            long.push(leaf(1).node());
            let refused = ConsistencyProof(long).check(earlier, later).unwrap_err();
            assert_eq!(refused.code(), "tlog-proof-length");
            let mut short = proof.0.clone();
            if short.pop().is_some() {
                let refused = ConsistencyProof(short).check(earlier, later).unwrap_err();
                assert_eq!(refused.code(), "tlog-proof-length");
            }
            if earlier.0 < later.0 {
                let refused = proof.check(later, earlier).unwrap_err();
                assert_eq!(refused.code(), "tlog-not-earlier");
                let refused = prove_consistency(&tree, later.0, earlier.0).unwrap_err();
                assert_eq!(refused.code(), "tlog-not-earlier");
            }
        }
    }
}

#[test]
fn the_largest_tree_overflows_nothing() {
    let hashes = vec![leaf(0).node(); 64];
    for size in [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) + 1] {
        for index in [0, size / 2, size - 1] {
            for take in 0..=64 {
                let proof = InclusionProof(hashes[..take].to_vec());
                let _unused = proof.root(leaf(0), LeafIndex::new(index), TreeSize::new(size));
                let proof = ConsistencyProof(hashes[..take].to_vec());
                let earlier = (TreeSize::new(index), RootHash::empty());
                let later = (TreeSize::new(size), RootHash::empty());
                assert!(proof.check(earlier, later).is_err() || index == 0);
            }
        }
    }
}

#[test]
fn a_proof_above_the_cap_is_refused() {
    let hashes = vec![leaf(0).node(); PROOF_MAX_HASHES + 1];
    assert_eq!(
        InclusionProof::new(hashes.clone()).unwrap_err().code(),
        "tlog-proof-length"
    );
    assert_eq!(
        ConsistencyProof::new(hashes).unwrap_err().code(),
        "tlog-proof-length"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn proofs_of_larger_trees_verify(size in 1_u64..3000, a in any::<u64>(), b in any::<u64>()) {
        let tree = tree(size);
        let later = head(&tree, size);
        let index = LeafIndex::new(a % size);
        let proof = prove_inclusion(&tree, index, later.0).unwrap();
        prop_assert_eq!(proof.root(leaf(index.get()), index, later.0), Ok(later.1));
        let earlier = head(&tree, b % (size + 1));
        let proof = prove_consistency(&tree, earlier.0, later.0).unwrap();
        prop_assert_eq!(proof.check(earlier, later), Ok(()));
    }
}
