//! Any bytes as the document of a guest with a virtual TPM, and as what is in it: what is read is written again
//! as the same.

#![no_main]

use proofroom_evidence::{EventLog, HclReport, VtpmDocument, VtpmGuest, VtpmSignature};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = HclReport::parse(bytes);
    let Ok(document) = VtpmDocument::parse(bytes) else {
        return;
    };
    let written = document.write().expect("was read");
    assert_eq!(
        VtpmDocument::parse(&written).expect("was written"),
        document
    );
    let _ = VtpmSignature::parse(&document.signature.0);
    match &document.guest {
        VtpmGuest::Azure { hcl_report } => drop(HclReport::parse(&hcl_report.0)),
        VtpmGuest::Gcp { event_log, .. } => drop(EventLog::parse(&event_log.0)),
    }
});
