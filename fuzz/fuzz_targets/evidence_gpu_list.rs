//! Any bytes as an evidence list, and as a certificate chain: no panic.

#![no_main]

use proofroom_evidence::gpu::{DeviceFacts, EvidenceList, certificate_chain};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(list) = EvidenceList::parse(bytes) {
        assert!(!list.devices().is_empty());
    }
    for certificate in certificate_chain(bytes).unwrap_or_default() {
        let _ = DeviceFacts::parse(&certificate);
    }
});
