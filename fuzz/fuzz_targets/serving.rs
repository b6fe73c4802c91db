//! Any bytes as what `proofroom-enclave` serves: what is read is written again as the same.

#![no_main]

use proofroom_serving::{ReceiptText, ServingReport, ServingStatement, SignedReceipt};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(statement) = ServingStatement::parse(bytes) {
        assert_eq!(statement.to_bytes().expect("was read"), bytes);
    }
    if let Ok(text) = ReceiptText::parse(bytes) {
        assert_eq!(text.to_bytes().expect("was read"), bytes);
    }
    if let Ok(receipt) = SignedReceipt::parse(bytes) {
        let written = receipt.to_bytes().expect("was read");
        assert_eq!(
            SignedReceipt::parse(&written).expect("was written"),
            receipt
        );
    }
    if let Ok(report) = ServingReport::parse(bytes) {
        let written = report.to_bytes().expect("was read");
        assert_eq!(ServingReport::parse(&written).expect("was written"), report);
    }
});
