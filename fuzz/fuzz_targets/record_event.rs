//! Any bytes as an event's line and as a whole chain: no panic, and one encoding for what is read.

#![no_main]

use proofroom_canonical::{Digest, SessionId, json};
use proofroom_record::chain::{ChainEnd, parse_event, verify_chain};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(event) = parse_event(1, bytes) {
        assert_eq!(json::to_bytes(&event).unwrap(), bytes);
    }
    let session = SessionId::from_random([7; 16]);
    let _ = verify_chain(bytes, session, Digest::of("binding"), ChainEnd::Interrupted);
});
