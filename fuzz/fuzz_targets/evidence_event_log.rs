//! Any bytes as a boot's event log: no panic, and a log that is read can be replayed in its banks.

#![no_main]

use proofroom_evidence::{Bank, EventLog};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(log) = EventLog::parse(bytes) else {
        return;
    };
    if let Ok(registers) = log.replay_sha384() {
        assert!(log.banks().contains(&Bank::Sha384));
        assert!(registers.keys().all(|register| *register < 24));
    }
    let _ = log.replay_sha256();
});
