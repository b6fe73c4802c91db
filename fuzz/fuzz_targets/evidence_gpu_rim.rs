//! Any bytes as a reference manifest: no panic, and what is read has a chain and a digest.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(rim) = proofroom_evidence::gpu::Rim::parse(bytes) {
        assert!(!rim.chain().is_empty());
        assert!(rim.signed_info().starts_with(b"<"));
    }
});
