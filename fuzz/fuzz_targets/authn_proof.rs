//! Any text as a proof of possession: no panic, and nothing is proved to a server whose nonce it does not name.

#![no_main]

use std::time::Duration;

use proofroom_authn::{Nonces, ProofVerifier, ProvedRequest};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let nonces = Nonces::of(&[7; 32].into());
    let origin = "https://gateway.test".parse().expect("an address");
    let verifier = ProofVerifier::new(vec![origin], nonces);
    let request = ProvedRequest {
        method: "POST",
        path: "/v1/messages",
        token: "prk_0011223344556677_token",
        // the example of RFC 9449
        key: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
            .parse()
            .expect("a thumbprint"),
        holder: proofroom_canonical::Digest::of("holder"),
    };
    let now = proofroom_canonical::Timestamp::from_unix_seconds(1_795_000_000);
    assert!(
        verifier
            .verify(text, &request, now, Duration::ZERO)
            .is_err()
    );
});
