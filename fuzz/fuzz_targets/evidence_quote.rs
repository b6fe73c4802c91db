//! Any bytes as a TDX quote: no panic, and what is accepted covers its signed part.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(quote) = proofroom_evidence::Quote::parse(bytes) {
        assert!(quote.signed_length() < bytes.len());
        let _ = quote.pck_facts();
    }
});
