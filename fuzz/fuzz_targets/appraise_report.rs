//! Any bytes as evidence, without a policy: no panic, and never an acceptance.

#![no_main]

use proofroom_appraise::{Beside, End, appraise, ear};
use proofroom_canonical::Timestamp;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let at = Timestamp::from_unix_seconds(1_790_000_000);
    let beside = Beside {
        certificates: vec![bytes.to_vec()],
        ..Beside::default()
    };
    if let Ok(report) = appraise(bytes, &beside, None, at) {
        assert!(!matches!(report.end(), End::Accepted(_)));
        assert!(ear::claims_set(&report, "fuzz").is_object());
    }
});
