//! Any bytes as a boot log, an image list, an ACPI loader script and a reference manifest: no panic,
//! and an accepted manifest has exactly these bytes.

#![no_main]

use proofroom_measure::{AcpiTables, BootLog, ImageList, first_difference};
use proofroom_verifier::ReferenceManifest;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(log) = BootLog::parse(bytes) {
        assert_eq!(
            first_difference(&[], &log).is_none(),
            log.events().is_empty()
        );
    }
    let _ = ImageList::parse(bytes);
    let files = ["rsdp", "tables", "tpm-log"].map(|name| (name.to_owned(), vec![0; 8]));
    let script = ("table-loader".to_owned(), bytes.to_vec());
    let _ = AcpiTables::new(files.into_iter().chain([script]).collect());
    if let Ok(manifest) = ReferenceManifest::parse(bytes) {
        assert_eq!(manifest.bytes(), bytes);
    }
});
