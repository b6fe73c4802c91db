//! Cases of `tlog-proof`: receipts of a small log, and what is none.

use proofroom_tlog::{
    Checkpoint, KeyName, LeafHash, LeafIndex, LogProof, MemoryTree, NoteSigner, TreeSize,
    prove_inclusion, tree_root,
};

use super::Case;
use crate::{Answer, vector::RawRequest};

const ORIGIN: &str = "log.example/vectors";
const RULE: &str = "log.md LOG-2, LOG-3";

/// Name, title, change, key, receipt, leaf, code.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    String,
    String,
    Vec<u8>,
    Option<&'static str>,
);

struct Log {
    signer: NoteSigner,
    tree: MemoryTree,
}

impl Log {
    /// A log of `leaves` leaves under the key of a seed of `seed` bytes.
    fn new(name: &str, seed: u8, leaves: u64) -> Option<Self> {
        let name = KeyName::parse(name).ok()?;
        let signer = NoteSigner::from_seed(name, &[seed; 32]).ok()?;
        let mut tree = MemoryTree::new();
        (0..leaves).for_each(|index| tree.append(LeafHash::of(&leaf(index))));
        Some(Self { signer, tree })
    }

    fn key(&self) -> String {
        self.signer.verifier_key().to_string()
    }

    /// The receipt for leaf `index` in the tree's first `size` leaves, whose head names `origin`.
    fn receipt(&self, index: u64, size: u64, origin: &str) -> Option<String> {
        let size = TreeSize::new(size);
        let root = tree_root(&self.tree, size).ok()?;
        let text = Checkpoint::new(&KeyName::parse(origin).ok()?, size, root).to_string();
        self.signed(index, size, text)
    }

    fn signed(&self, index: u64, size: TreeSize, text: String) -> Option<String> {
        let index = LeafIndex::new(index);
        let inclusion = prove_inclusion(&self.tree, index, size).ok()?;
        let note = self.signer.sign(text).ok()?;
        Some(LogProof::new(index, inclusion, note).ok()?.to_string())
    }
}

fn leaf(index: u64) -> Vec<u8> {
    format!("leaf {index}").into_bytes()
}

pub(super) fn cases() -> Vec<Case> {
    let rows = [good(), proofs(), heads(), spellings()];
    let rows = rows.into_iter().flatten().flatten();
    rows.map(|(name, title, change, key, proof, leaf, code)| Case {
        stage: "tlog-proof",
        name: name.to_owned(),
        title: title.to_owned(),
        clauses: vec![RULE.to_owned()],
        provenance: format!("made: a log of eleven leaves, `leaf 0` to `leaf 10`; {change}"),
        request: RawRequest::TlogProof {
            key: "key.vkey".to_owned(),
            proof: "receipt.tlog-proof".to_owned(),
            leaf: "leaf.txt".to_owned(),
        },
        expected: code.map_or_else(
            || Answer::accept(LeafHash::of(&leaf).node().to_base64()),
            Answer::reject,
        ),
        files: vec![
            ("key.vkey", format!("{key}\n").into_bytes()),
            ("receipt.tlog-proof", proof.into_bytes()),
            ("leaf.txt", leaf),
        ],
    })
    .collect()
}

fn good() -> Option<Vec<Row>> {
    let log = Log::new(ORIGIN, 1, 11)?;
    let mut rows = Vec::new();
    for (name, index, size) in [
        ("accepted", 5, 11),
        ("accepted-alone", 0, 1),
        ("accepted-last", 10, 11),
        ("accepted-full-tree", 7, 8),
        ("accepted-first", 0, 11),
    ] {
        let proof = log.receipt(index, size, ORIGIN)?;
        let title = "A leaf of the log";
        rows.push((
            name,
            title,
            "as signed",
            log.key(),
            proof,
            leaf(index),
            None,
        ));
    }
    let proof = log.receipt(5, 11, ORIGIN)?;
    let extra = proof.replacen("\nindex", "\nextra aGVsbG8=\nindex", 1);
    rows.push((
        "accepted-extra",
        "Extra data, which nobody signs",
        "extra line added",
        log.key(),
        extra,
        leaf(5),
        None,
    ));
    Some(rows)
}

#[rustfmt::skip]
fn proofs() -> Option<Vec<Row>> {
    let log = Log::new(ORIGIN, 1, 11)?;
    let proof = log.receipt(5, 11, ORIGIN)?;
    let lines: Vec<&str> = proof.split('\n').collect();
    let hash = *lines.get(2)?;
    let row = |name, title, change, proof: String, code| (name, title, change, log.key(), proof, leaf(5), Some(code));
    Some(vec![
        ("other-leaf", "The receipt of another leaf", "leaf 6", log.key(), proof.clone(), leaf(6), Some("tlog-root-mismatch")),
        row("other-index", "The place of another leaf", "index 4", proof.replacen("index 5", "index 4", 1), "tlog-root-mismatch"),
        row("index-beyond-tree", "A place behind the tree", "index 11", proof.replacen("index 5", "index 11", 1), "tlog-index-beyond-tree"),
        row("hash-missing", "A path that ends too early", "first hash removed", proof.replacen(&format!("{hash}\n"), "", 1), "tlog-proof-length"),
        row("hash-added", "A path that goes on behind the root", "first hash doubled", proof.replacen(&format!("{hash}\n"), &format!("{hash}\n{hash}\n"), 1), "tlog-proof-length"),
        row("hash-changed", "Another hash in the path", "one digit changed", proof.replacen(hash, &changed(hash), 1), "tlog-root-mismatch"),
    ])
}

/// `hash` with another first digit.
fn changed(hash: &str) -> String {
    let other = if hash.starts_with('A') { 'B' } else { 'A' };
    let rest: String = hash.chars().skip(1).collect();
    format!("{other}{rest}")
}

#[rustfmt::skip]
fn heads() -> Option<Vec<Row>> {
    let (log, other) = (Log::new(ORIGIN, 1, 11)?, Log::new(ORIGIN, 2, 11)?);
    let proof = log.receipt(5, 11, ORIGIN)?;
    let size = TreeSize::new(11);
    let root = tree_root(&log.tree, size).ok()?;
    let extended = format!("{}extension\n", Checkpoint::new(&KeyName::parse(ORIGIN).ok()?, size, root));
    let foreign = other.receipt(5, 11, ORIGIN)?;
    let both = format!("{proof}{}\n", foreign.trim_end().rsplit('\n').next()?);
    let false_line = false_signature(&proof)?;
    let row = |name, title, change, proof: String, code| (name, title, change, log.key(), proof, leaf(5), Some(code));
    Some(vec![
        row("other-origin", "A head of another log under our key", "origin log.example/other", log.receipt(5, 11, "log.example/other")?, "checkpoint-origin"),
        row("other-key", "A head that another key signed", "key of another seed", foreign, "note-not-signed"),
        row("size-changed", "A head that was changed after it was signed", "size 12", proof.replacen("\n11\n", "\n12\n", 1), "note-signature"),
        row("false-signature-beside", "A true signature and a false one, both under our key's name", "false line added", format!("{proof}{false_line}"), "note-signature"),
        ("accepted-other-signature-beside", "A signature of a key that nobody asked about", "another key's line added", log.key(), both, leaf(5), None),
        ("accepted-extension", "A head with an extension line", "extension line signed", log.key(), log.signed(5, size, extended)?, leaf(5), None),
        ("key-of-small-order", "A verifier key of small order, under which anything verifies", "key of eight-torsion", small_order(), proof.clone(), leaf(5), Some("note-key-point")),
        ("key-id-wrong", "A verifier key whose id is not its own", "id 00000000", log.key().replacen(log.key().split('+').nth(1)?, "00000000", 1), proof, leaf(5), Some("note-key-id-mismatch")),
    ])
}

/// The last line of `proof`, its signature changed.
fn false_signature(proof: &str) -> Option<String> {
    let line = proof.trim_end().rsplit('\n').next()?;
    let (head, signature) = line.rsplit_once(' ')?;
    // the first six digits hold the key id; the tenth is inside the signature
    let mut digits: Vec<char> = signature.chars().collect();
    let digit = digits.get_mut(10)?;
    *digit = if *digit == 'A' { 'B' } else { 'A' };
    Some(format!(
        "{head} {}\n",
        digits.into_iter().collect::<String>()
    ))
}

/// The point of order one, y = 1, as a verifier key with its right id.
fn small_order() -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let mut typed = vec![1, 1];
    typed.extend([0; 31]);
    let mut named = format!("{ORIGIN}\n").into_bytes();
    named.extend(&typed);
    let id = proofroom_canonical::Digest::of(named).to_hex();
    let id: String = id.chars().take(8).collect();
    format!("{ORIGIN}+{id}+{}", STANDARD.encode(typed))
}

#[rustfmt::skip]
fn spellings() -> Option<Vec<Row>> {
    let log = Log::new(ORIGIN, 1, 11)?;
    let proof = log.receipt(5, 11, ORIGIN)?;
    let row = |name, title, change, proof: String, code| (name, title, change, log.key(), proof, leaf(5), Some(code));
    Some(vec![
        row("version-2", "Another version", "v2", proof.replacen("@v1", "@v2", 1), "tlog-proof-header"),
        row("index-leading-zero", "A second spelling of a number", "index 05", proof.replacen("index 5", "index 05", 1), "tlog-proof-index"),
        row("index-sign", "A number with a sign", "index +5", proof.replacen("index 5", "index +5", 1), "tlog-proof-index"),
        row("index-missing", "No index", "index line removed", proof.replacen("index 5\n", "", 1), "tlog-proof-index"),
        row("extra-empty", "An empty extra line", "empty extra line added", proof.replacen("\nindex", "\nextra \nindex", 1), "tlog-proof-extra"),
        row("no-note", "A receipt without a head", "note removed", proof.split_once("\n\n").map(|(head, _)| format!("{head}\n\n"))?, "note-malformed"),
        row("carriage-return", "Lines ended as on another system", "carriage returns added", proof.replace('\n', "\r\n"), "tlog-proof-malformed"),
        row("no-final-newline", "A last line that is not ended", "newline removed", proof.trim_end().to_owned(), "note-malformed"),
        row("empty", "Nothing", "replaced", String::new(), "tlog-proof-malformed"),
    ])
}
