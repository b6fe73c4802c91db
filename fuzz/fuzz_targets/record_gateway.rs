//! What a gateway says of itself is read without a panic, and accepted for its own nonce alone.
#![no_main]

use proofroom_canonical::Nonce;
use proofroom_record::gateway::GatewayEvidence;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let nonce = Nonce::from_random([7; 32]);
    if let Ok((answer, identity)) = GatewayEvidence::read(bytes, nonce, None) {
        assert_eq!(identity.nonce, nonce);
        assert!(!answer.identity.is_empty());
    }
});
