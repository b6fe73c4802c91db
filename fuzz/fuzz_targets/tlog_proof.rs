//! Receipts: whatever is accepted is written back byte for byte, and its hashes never overflow.
#![no_main]

use proofroom_tlog::{LeafHash, LogProof};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(proof) = LogProof::parse(bytes) {
        assert_eq!(proof.to_string().as_bytes(), bytes);
        let size = proof.checkpoint().size();
        drop(
            proof
                .inclusion()
                .root(LeafHash::of(bytes), proof.index(), size),
        );
    }
});
