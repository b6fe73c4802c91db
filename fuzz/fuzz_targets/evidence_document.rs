//! Any bytes as an evidence document: no panic, and what is accepted can be written and read again.

#![no_main]

use proofroom_evidence::EvidenceDocument;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(document) = EvidenceDocument::parse(bytes) else {
        return;
    };
    let _ = document.quote();
    let Ok(statement) = document.statement().and_then(|s| s.to_bytes()) else {
        return;
    };
    let again = EvidenceDocument::write(&statement, document.quote_bytes(), document.collateral())
        .expect("what was read can be written");
    let again = EvidenceDocument::parse(&again).expect("what was written can be read");
    assert_eq!(again.bound_report_data(), document.bound_report_data());
    assert_eq!(again.quote_bytes(), document.quote_bytes());
    assert_eq!(again.collateral(), document.collateral());
});
