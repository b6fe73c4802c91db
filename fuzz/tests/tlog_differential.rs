//! A ledger's files as Cloudflare's `signed_note` and `tlog_tiles` read them: signature, tile paths,
//! tile hashes, root, inclusion and consistency proofs.

use std::{cell::Cell, path::Path, sync::Arc, time::Duration};

use proofroom_canonical::Timestamp;
use proofroom_ledger::{Ledger, LedgerOptions};
use proofroom_tlog::{KeyName, LeafIndex, LogProof, NoteSigner};
use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{
    Checkpoint, Hash, HashReader, Tile, TileHashReader, TileReader, check_record, check_tree,
    prove_record, prove_tree, record_hash,
};

fn leaf(index: u64) -> Vec<u8> {
    format!("leaf {index}").into_bytes()
}

struct Files<'a> {
    root: &'a Path,
    read: Cell<u64>,
}

impl TileReader for Files<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        self.read.set(self.read.get() + 1);
        // their tiles are named `tile/8/L/N`, ours `tile/L/N` as C2SP writes them
        let path = |tile: &Tile| self.root.join(tile.path().replacen("tile/8/", "tile/", 1));
        Ok(tiles
            .iter()
            .map(|tile| std::fs::read(path(tile)).unwrap())
            .collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

#[test]
fn another_implementation_reads_the_ledger_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let name = KeyName::parse("log.example/differential").unwrap();
    let signer = NoteSigner::from_seed(name, &[3; 32]).unwrap();
    let vkey = signer.verifier_key().to_string();
    let clock = Arc::new(|| Timestamp::from_unix_seconds(0));
    let options = LedgerOptions::new(directory.path(), signer, clock);
    let options = LedgerOptions {
        integrate_every: Duration::from_millis(1),
        ..options
    };
    let ledger = Ledger::open(options).unwrap();
    let mut earlier: Option<(u64, Hash)> = None;
    for end in [1, 2, 255, 256, 257, 600, 1300] {
        for index in ledger.durable_size().get()..end {
            drop(ledger.append(leaf(index)).unwrap());
        }
        ledger.wait_integrated(LeafIndex::new(end - 1)).unwrap();
        let text = std::fs::read(directory.path().join("checkpoint")).unwrap();
        let note = Note::from_bytes(&text).unwrap();
        let verifier = StandardVerifier::new(&vkey).unwrap();
        let (signed, _) = note
            .verify(&VerifierList::new(vec![Box::new(verifier)]))
            .unwrap();
        assert_eq!(signed.len(), 1);
        let checkpoint = Checkpoint::from_bytes(note.text()).unwrap();
        assert_eq!(
            (checkpoint.origin(), checkpoint.size()),
            ("log.example/differential", end)
        );
        let (size, root) = (checkpoint.size(), *checkpoint.hash());
        let files = Files {
            root: directory.path(),
            read: Cell::new(0),
        };
        let hashes = TileHashReader::new(size, root, &files);
        for index in (0..end).step_by(37).chain([end - 1]) {
            let theirs = prove_record(size, index, &hashes).unwrap();
            check_record(&theirs, size, root, index, record_hash(&leaf(index))).unwrap();
            let receipt = ledger.receipt(LeafIndex::new(index)).unwrap();
            let ours = LogProof::parse(receipt.as_bytes()).unwrap();
            let ours: Vec<_> = ours
                .inclusion()
                .hashes()
                .iter()
                .map(|h| *h.as_bytes())
                .collect();
            assert_eq!(
                ours,
                theirs.iter().map(|h| h.0).collect::<Vec<_>>(),
                "{index} of {size}"
            );
        }
        if let Some((old, old_root)) = earlier {
            let proof = prove_tree(size, old, &hashes).unwrap();
            check_tree(&proof, size, root, old, old_root).unwrap();
        }
        assert!(hashes.read_hashes(&[0]).is_ok() && files.read.get() > 0);
        earlier = Some((size, root));
    }
}
