//! Any bytes as an SNP report and as the certificate of its key: no panic, and what is accepted has its
//! one size.

#![no_main]

use proofroom_evidence::snp::{SNP_REPORT_BYTES, SNP_SIGNED_BYTES, SnpReport, VekFacts};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(report) = SnpReport::parse(bytes) {
        assert_eq!(bytes.len(), SNP_REPORT_BYTES);
        assert_eq!(report.signed(), &bytes[..SNP_SIGNED_BYTES]);
    }
    let _ = VekFacts::parse(bytes);
});
