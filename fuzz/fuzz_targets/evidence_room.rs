//! Any bytes as room evidence and as its document: no panic, and one spelling alone is read.

#![no_main]

use proofroom_evidence::{AssignmentEvent, RoomDocument, RoomEvidence};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(document) = RoomDocument::parse(bytes) {
        let text = document.evidence().to_text().expect("it was read");
        let again = RoomDocument::write(&text, document.endorsements());
        assert_eq!(again.expect("it was read"), bytes);
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(evidence) = RoomEvidence::parse(text) {
        assert_eq!(evidence.to_text().expect("it was read"), text);
    }
    if let Ok(event) = AssignmentEvent::parse(text) {
        assert_eq!(event.to_text().expect("it was read"), text);
    }
});
