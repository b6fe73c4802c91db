//! Any bytes as a measurement report: no panic, and what is accepted covers its signed part.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(report) = proofroom_evidence::gpu::DeviceReport::parse(bytes) {
        assert!(bytes.starts_with(report.signed()));
        let behind = &bytes[report.signed().len()..];
        assert!(behind.starts_with(report.signature()));
        assert!(!report.measurements().is_empty());
    }
});
