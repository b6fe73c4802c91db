//! Checkpoint texts and record leaves: whatever is accepted is written back byte for byte.
#![no_main]

use proofroom_tlog::{Checkpoint, RecordLeaf};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let text = std::str::from_utf8(bytes).ok();
    if let Some(checkpoint) = text.and_then(|text| Checkpoint::parse(text).ok()) {
        assert_eq!(checkpoint.to_string().as_bytes(), bytes);
    }
    if let Ok(leaf) = RecordLeaf::parse(bytes) {
        assert_eq!(leaf.to_bytes(), bytes);
    }
});
