//! Egress policies: whatever is accepted has rules with hosts and ports, and its digest is the text's.
#![no_main]

use proofroom_canonical::Digest;
use proofroom_egress::EgressPolicy;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(policy) = EgressPolicy::parse(text) {
        assert_eq!(policy.digest(), Digest::of(text));
        for rule in policy.rules() {
            assert!(!rule.hosts.is_empty() && !rule.ports.is_empty());
        }
    }
});
