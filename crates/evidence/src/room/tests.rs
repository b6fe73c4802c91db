//! Room evidence and its document: one spelling, everything else refused.

use std::collections::BTreeMap;

use proofroom_canonical::{Digest, Nonce, SessionId};

use super::{
    AssignmentEvent, EvidenceType, MAX_ROOM_EVIDENCE_BYTES, Moment, RoomDocument, RoomEndorsements,
    RoomEvidence, RuntimeEvent,
};

fn evidence() -> RoomEvidence {
    RoomEvidence {
        kind: EvidenceType::Tpm2,
        moment: Moment::Start,
        statement: "{\"purpose\":\"x\"}".to_owned(),
        quote: vec![1; 20],
        signature: vec![2; 7],
        key: vec![3; 8],
        boot_log: vec![4; 100],
        runtime: vec![RuntimeEvent::new("boot-config", "{}").unwrap()],
    }
}

fn endorsements() -> RoomEndorsements {
    RoomEndorsements::Tpm2 {
        ak_certificate: "PEM".to_owned(),
    }
}

#[track_caller]
fn refused(text: &str, code: &str) {
    assert_eq!(RoomEvidence::parse(text).unwrap_err().code(), code);
}

#[test]
fn evidence_and_document_survive_their_text() {
    let text = evidence().to_text().unwrap();
    assert!(text.starts_with(
        "{\"format\":\"proofroom.room-evidence.v1\",\"type\":\"tpm2\",\"moment\":\"start\","
    ));
    assert_eq!(RoomEvidence::parse(&text).unwrap(), evidence());
    let bytes = RoomDocument::write(&text, &endorsements()).unwrap();
    let document = RoomDocument::parse(&bytes).unwrap();
    assert_eq!(document.evidence(), &evidence());
    assert_eq!(document.endorsements(), &endorsements());
    assert_eq!(document.evidence_digest(), Digest::of(&text));
}

#[test]
fn only_the_one_spelling_is_read() {
    let text = evidence().to_text().unwrap();
    refused(&text.replacen(',', ", ", 1), "room-evidence-not-canonical");
    refused(
        &text.replace("boot-config", "boot\\u002dconfig"),
        "room-evidence-not-canonical",
    );
    refused(
        &text.replacen('{', "{\"more\":1,", 1),
        "room-evidence-malformed",
    );
    refused(
        &text.replacen("\"moment\":\"start\"", "\"moment\":\"middle\"", 1),
        "room-evidence-malformed",
    );
    refused(
        &text.replacen("\"key\":", "\"key\":\"\",\"key\":", 1),
        "room-evidence-malformed",
    );
    refused(
        &text.replace("room-evidence.v1", "room-evidence.v2"),
        "room-evidence-member",
    );
    refused(&text.replace("\"AQE", "\"!QE"), "room-evidence-member");
    refused(
        &text.replace("\"boot-config\"", "\"boot config\""),
        "room-evidence-member",
    );
    refused(
        &" ".repeat(MAX_ROOM_EVIDENCE_BYTES + 1),
        "room-evidence-malformed",
    );
}

#[test]
fn a_document_needs_the_endorsements_of_its_type() {
    let tdx = RoomEvidence {
        kind: EvidenceType::Tdx,
        signature: Vec::new(),
        key: Vec::new(),
        ..evidence()
    };
    let bytes = RoomDocument::write(&tdx.to_text().unwrap(), &endorsements()).unwrap();
    let code = |bytes: &[u8]| RoomDocument::parse(bytes).unwrap_err().code();
    assert_eq!(code(&bytes), "room-document-malformed");
    let snp = RoomEvidence {
        kind: EvidenceType::SevSnp,
        signature: Vec::new(),
        key: Vec::new(),
        ..evidence()
    };
    let bytes = RoomDocument::write(&snp.to_text().unwrap(), &endorsements()).unwrap();
    assert_eq!(code(&bytes), "room-evidence-unsupported");
    let good = RoomDocument::write(&evidence().to_text().unwrap(), &endorsements()).unwrap();
    let spaced = String::from_utf8(good).unwrap().replacen(',', " ,", 1);
    assert_eq!(code(spaced.as_bytes()), "room-evidence-not-canonical");
}

/// `printf 'proofroom.runtime-event.v1\nboot-config\n{}' | sha256sum`, and `sha384sum`
#[test]
fn runtime_events_have_the_digests_of_the_specification() {
    let event = RuntimeEvent::new("boot-config", "{}").unwrap();
    assert_eq!(hex::encode(event.sha256()), SHA256);
    assert_eq!(hex::encode(event.sha384()), SHA384);
    let refused = RuntimeEvent::new("two\nlines", "").unwrap_err();
    assert_eq!(refused.code(), "room-evidence-member");
}

const SHA256: &str = "e6748031d0006295616c3fb1c6818150d0350c58ab025c0948f24fc2ff46dd75";
const SHA384: &str = "e234794c1e50d44146bb17d70aa5f7576aee7b45215afb782e870cb9ecc9e8ef51f9450950f91cecb9450e89d7d2cbb8";

#[test]
fn an_assignment_event_has_one_spelling() {
    let event = AssignmentEvent {
        session: SessionId::from_random([1; 16]),
        nonce: Nonce::from_random([2; 32]),
        repository: "acme".to_owned(),
        commit: "ab".repeat(20),
        agent: "builtin".to_owned(),
        policies: BTreeMap::from([("access".to_owned(), Digest::of("a"))]),
    };
    let text = event.to_text().unwrap();
    assert_eq!(AssignmentEvent::parse(&text).unwrap(), event);
    let spaced = text.replace(':', ": ");
    let refused = AssignmentEvent::parse(&spaced).unwrap_err();
    assert_eq!(refused.code(), "room-evidence-malformed");
    let spaced = text.replacen(',', ", ", 1);
    let refused = AssignmentEvent::parse(&spaced).unwrap_err();
    assert_eq!(refused.code(), "room-evidence-not-canonical");
}
