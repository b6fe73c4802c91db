//! Signed notes and verifier keys: whatever is accepted is written back byte for byte.
#![no_main]

use proofroom_tlog::{SignedNote, VerifierKey};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(note) = SignedNote::parse(bytes) {
        assert_eq!(note.to_string().as_bytes(), bytes);
    }
    if let Some(key) = std::str::from_utf8(bytes)
        .ok()
        .and_then(|t| VerifierKey::parse(t).ok())
    {
        assert_eq!(key.to_string().as_bytes(), bytes);
    }
});
