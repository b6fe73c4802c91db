//! Any bytes as a client's `traceparent`: what is accepted is written back byte for byte.
#![no_main]

use proofroom_llm::{TRACEPARENT_BYTES, TraceParent};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(parent) = TraceParent::parse(bytes) {
        assert_eq!(parent.to_string().as_bytes(), bytes);
        assert_eq!(bytes.len(), TRACEPARENT_BYTES);
        assert_ne!(parent.trace(), [0; 16]);
        assert_ne!(parent.span(), [0; 8]);
    }
});
