//! Any bytes as a record's envelope: no panic, and nothing verifies that was not signed.

#![no_main]

use proofroom_record::{
    policy_version::PolicyHistory,
    predicate::{open, read_unverified},
    statement::{AgentSession, Destruction, ModelRun},
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let key = p256::ecdsa::SigningKey::from_slice(&[1; 32]).unwrap();
    let _ = read_unverified::<ModelRun>(bytes);
    let _ = read_unverified::<Destruction>(bytes);
    assert!(PolicyHistory::verify([bytes], key.verifying_key()).is_err());
    assert!(open::<AgentSession>(bytes, key.verifying_key()).is_err());
});
