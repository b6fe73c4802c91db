//! A verified value exists only for the right key, origin, size, index and leaf.

use super::*;
use crate::{
    Checkpoint, KeyName, MemoryTree, NoteSigner, TreeSize, prove_consistency, prove_inclusion,
    tree_root,
};

fn signer(name: &str, seed: u8) -> NoteSigner {
    NoteSigner::from_seed(KeyName::parse(name).unwrap(), &[seed; 32]).unwrap()
}

fn leaf(index: u64) -> Vec<u8> {
    format!("leaf {index}").into_bytes()
}

fn tree(leaves: u64) -> MemoryTree {
    let mut tree = MemoryTree::new();
    (0..leaves).for_each(|i| tree.append(LeafHash::of(&leaf(i))));
    tree
}

fn head(signer: &NoteSigner, origin: &str, tree: &MemoryTree, size: u64) -> SignedNote {
    let size = TreeSize::new(size);
    let root = tree_root(tree, size).unwrap();
    let text = Checkpoint::new(&KeyName::parse(origin).unwrap(), size, root).to_string();
    signer.sign(text).unwrap()
}

#[test]
fn a_receipt_verifies_for_its_leaf_alone() {
    let (signer, tree) = (signer("log.example", 1), tree(11));
    let key = signer.verifier_key();
    for index in 0..11 {
        let at = LeafIndex::new(index);
        let inclusion = prove_inclusion(&tree, at, TreeSize::new(11)).unwrap();
        let note = head(&signer, "log.example", &tree, 11);
        let proof = LogProof::new(at, inclusion.clone(), note).unwrap();
        let verified = key.verify_proof(&proof, &leaf(index)).unwrap();
        assert_eq!(
            (verified.index(), verified.leaf()),
            (at, LeafHash::of(&leaf(index)))
        );
        assert_eq!(verified.checkpoint().checkpoint().size().get(), 11);
        let other_leaf = key.verify_proof(&proof, &leaf(index + 1)).unwrap_err();
        assert_eq!(other_leaf.code(), "tlog-root-mismatch");
        for size in 1..11 {
            let note = head(&signer, "log.example", &tree, size);
            let proof = LogProof::new(at, inclusion.clone(), note).unwrap();
            let code = key.verify_proof(&proof, &leaf(index)).unwrap_err().code();
            let expected = [
                "tlog-index-beyond-tree",
                "tlog-proof-length",
                "tlog-root-mismatch",
            ];
            assert!(
                expected.contains(&code),
                "index {index} size {size}: {code}"
            );
            assert_eq!(size <= index, code == "tlog-index-beyond-tree");
        }
    }
}

#[test]
fn wrong_key_origin_and_text_are_refused() {
    let (signer, tree) = (signer("log.example", 1), tree(3));
    let note = head(&signer, "log.example", &tree, 3);
    let key = signer.verifier_key();
    let verified = key.verify_checkpoint(&note).unwrap();
    assert_eq!((verified.note(), verified.key()), (&note, key));
    let other = self::signer("log.example", 2);
    assert_eq!(
        other
            .verifier_key()
            .verify_checkpoint(&note)
            .unwrap_err()
            .code(),
        "note-not-signed"
    );
    let elsewhere = head(&signer, "other.example", &tree, 3);
    assert_eq!(
        key.verify_checkpoint(&elsewhere).unwrap_err().code(),
        "checkpoint-origin"
    );
    let text = signer.sign("no checkpoint\n".to_owned()).unwrap();
    assert_eq!(
        key.verify_checkpoint(&text).unwrap_err().code(),
        "checkpoint-lines"
    );
    let forged = note.text().replace("\n3\n", "\n4\n");
    let forged = SignedNote::new(forged, note.signatures().to_vec()).unwrap();
    assert_eq!(
        key.verify_checkpoint(&forged).unwrap_err().code(),
        "note-signature"
    );
}

#[test]
fn a_later_head_extends_an_earlier_one_of_the_same_log_alone() {
    let (signer, tree) = (signer("log.example", 1), tree(9));
    let at = |signer: &NoteSigner, tree: &MemoryTree, size| {
        let note = head(signer, "log.example", tree, size);
        signer.verifier_key().verify_checkpoint(&note).unwrap()
    };
    let proof = prove_consistency(&tree, TreeSize::new(4), TreeSize::new(9)).unwrap();
    let (earlier, later) = (at(&signer, &tree, 4), at(&signer, &tree, 9));
    let both = later.verify_extends(&earlier, &proof).unwrap();
    assert_eq!((both.earlier(), both.later()), (&earlier, &later));
    let mut fork = MemoryTree::new();
    (0..9).for_each(|i| fork.append(LeafHash::of(&leaf(i + 1))));
    let refused = later
        .verify_extends(&at(&signer, &fork, 4), &proof)
        .unwrap_err();
    assert_eq!(refused.code(), "tlog-root-mismatch");
    let refused = earlier.verify_extends(&later, &proof).unwrap_err();
    assert_eq!(refused.code(), "tlog-not-earlier");
    let other = self::signer("log.example", 2);
    let refused = later
        .verify_extends(&at(&other, &tree, 4), &proof)
        .unwrap_err();
    assert_eq!(refused.code(), "checkpoint-other-key");
}
