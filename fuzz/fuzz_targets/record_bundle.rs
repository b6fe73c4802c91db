//! Any bytes as a bundle: no panic in the ladder, and an archive that is read is written back.

#![no_main]

use proofroom_canonical::Timestamp;
use proofroom_record::{
    bundle::archive,
    ladder::{Anchors, verify_bundle},
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(files) = archive::read(bytes) {
        assert_eq!(archive::write(&files).unwrap(), bytes);
    }
    let report = verify_bundle(
        bytes,
        &Anchors::from_bundle(),
        Timestamp::from_unix_seconds(0),
    );
    assert!(!report.not_proven.is_empty());
});
