//! The attester behind a socket: what is asked, and which answers are refused.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixListener,
    path::PathBuf,
    thread::JoinHandle,
};

use proofroom_canonical::Digest;
use proofroom_record::{
    attest_api::{EvidenceType, Moment, RoomEvidence, RuntimeEvent},
    room_api::{RoomAppraised, RoomEvidenceOffer},
    statement::{PolicyDigests, RoomEvidenceClaim},
};

use super::{Attester as _, NO_ATTESTER, Nothing, Socket, claim};

/// Answers one question with these bytes, and returns what was asked.
fn answering(bytes: Vec<u8>) -> (tempfile::TempDir, PathBuf, JoinHandle<Vec<u8>>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("attest.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut header = [0; 4];
        stream.read_exact(&mut header).unwrap();
        let mut asked = vec![0; u32::from_be_bytes(header) as usize];
        stream.read_exact(&mut asked).unwrap();
        stream.write_all(&bytes).unwrap();
        asked
    });
    (dir, path, serving)
}

fn framed(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&length[..], text.as_bytes()].concat()
}

fn evidence(statement: &str) -> String {
    let evidence = RoomEvidence {
        kind: EvidenceType::Tpm2,
        moment: Moment::Start,
        statement: statement.to_owned(),
        quote: vec![1],
        signature: vec![2],
        key: vec![3],
        boot_log: vec![4],
        runtime: vec![],
    };
    evidence.to_text().unwrap()
}

fn event() -> RuntimeEvent {
    RuntimeEvent::new("assignment", "{}").unwrap()
}

#[test]
fn an_event_is_measured_through_the_socket() {
    let (_dir, path, serving) = answering(framed(r#"{"ok":{}}"#));
    Socket(path).measure(&event()).unwrap();
    let asked = String::from_utf8(serving.join().unwrap()).unwrap();
    assert_eq!(
        asked,
        r#"{"op":"measure","name":"assignment","content":"{}"}"#
    );
}

#[test]
fn evidence_comes_through_the_socket_as_it_is() {
    let text = evidence("s");
    let answer = serde_json::json!({"ok": {"evidence": text}}).to_string();
    let (_dir, path, serving) = answering(framed(&answer));
    let offer = Socket(path).attest(Moment::Start, "s").unwrap();
    assert_eq!(offer, RoomEvidenceOffer::Evidence { text });
    let asked = String::from_utf8(serving.join().unwrap()).unwrap();
    assert_eq!(asked, r#"{"op":"attest","moment":"start","statement":"s"}"#);
}

#[test]
fn what_is_no_answer_is_refused_by_its_code() {
    let other = serde_json::json!({"ok": {"evidence": evidence("other")}}).to_string();
    for (bytes, code) in [
        (framed("{}"), "frame-malformed"),
        (
            framed(r#"{"ok":{"evidence":"{}"}}"#),
            "room-evidence-malformed",
        ),
        (framed(&other), "attester-other-evidence"),
        (
            framed(r#"{"error":{"code":"tpm-gone","message":"m"}}"#),
            "attester-refused",
        ),
        (vec![0xff; 4], "frame-too-large"),
        (vec![0, 0, 0, 9, b'{'], "attester-unreachable"),
        (vec![], "attester-unreachable"),
    ] {
        let (_dir, path, _serving) = answering(bytes);
        let refused = Socket(path).attest(Moment::Start, "s").unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
    }
    let nobody = Socket("/nonexistent/attest.sock".into());
    let refused = nobody.measure(&event()).unwrap_err();
    assert_eq!(refused.code(), "attester-unreachable");
}

#[test]
fn a_room_without_an_attester_says_so() {
    Nothing.measure(&event()).unwrap();
    let offer = Nothing.attest(Moment::End, "s").unwrap();
    let reason = NO_ATTESTER.to_owned();
    assert_eq!(offer, RoomEvidenceOffer::None { reason });
}

#[test]
fn the_record_claims_what_was_sent_and_appraised() {
    let digest = Digest::of("policy");
    let policies = PolicyDigests {
        access: digest,
        classification: digest,
        routing: digest,
        room: digest,
        appraisal: digest,
        egress: digest,
        room_appraisal: Digest::of("room"),
        version: None,
        providers: std::collections::BTreeMap::new(),
    };
    let none = RoomEvidenceOffer::None {
        reason: "r".to_owned(),
    };
    let sent = RoomEvidenceOffer::Evidence {
        text: evidence("s"),
    };
    let accepted = RoomAppraised::Accepted {
        appraisal_policy: "room-vm".to_owned(),
    };
    let claimed = claim(&sent, &accepted, &policies).unwrap();
    let wanted = RoomEvidenceClaim::Attested {
        evidence_type: EvidenceType::Tpm2,
        evidence: Digest::of(evidence("s")),
        appraisal_policy: "room-vm".to_owned(),
        policy: Digest::of("room"),
    };
    assert_eq!(claimed, wanted);
    claim(&none, &RoomAppraised::None, &policies).unwrap();
    for (offer, appraised) in [(&none, &accepted), (&sent, &RoomAppraised::None)] {
        let refused = claim(offer, appraised, &policies).unwrap_err();
        assert_eq!(refused.code(), "attester-appraisal");
    }
}
