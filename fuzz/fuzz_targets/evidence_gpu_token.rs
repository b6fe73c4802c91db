//! Any bytes as a detached EAT: no panic, and every token in it has claims.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(token) = proofroom_evidence::gpu::DetachedEat::parse(bytes) {
        assert!(token.overall().claims().is_object());
        assert!(!token.submodules().is_empty());
    }
});
