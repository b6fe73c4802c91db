//! Cases of `dsse`: a signed record, and what is not one.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use p256::{
    ecdsa::{
        DerSignature, Signature, SigningKey,
        signature::{SignatureEncoding as _, Signer as _},
    },
    pkcs8::{EncodePublicKey as _, LineEnding},
};
use proofroom_canonical::Digest;
use proofroom_record::dsse::{Envelope, PAYLOAD_TYPE, pre_authentication_encoding};

use super::Case;
use crate::{Answer, vector::RawRequest};

const PAYLOAD: &[u8] = br#"{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"https://proofroom.dev/vector/v1","predicate":{}}"#;
const RULE: &str = "records.md, Records";

type Row = (
    &'static str,
    &'static str,
    &'static str,
    Vec<u8>,
    Option<&'static str>,
);

pub(super) fn cases() -> Vec<Case> {
    let (Some(ours), Some(other)) = (key(1), key(2)) else {
        return Vec::new();
    };
    let pem = ours.verifying_key().to_public_key_pem(LineEnding::LF);
    let pem = pem.unwrap_or_default().into_bytes();
    let case = |(name, title, change, envelope, code): Row| Case {
        stage: "dsse",
        name: name.to_owned(),
        title: title.to_owned(),
        clauses: vec![RULE.to_owned()],
        provenance: format!("made: P-256 key of scalar 0x0101..01; {change}"),
        request: RawRequest::Dsse {
            key: "key.pem".to_owned(),
            envelope: "envelope.json".to_owned(),
        },
        files: vec![("key.pem", pem.clone()), ("envelope.json", envelope)],
        expected: code.map_or_else(
            || Answer::accept(Digest::of(PAYLOAD).to_string()),
            Answer::reject,
        ),
    };
    let rows = [signed(&ours, &other), shaped(&ours), encoded(&ours)];
    rows.into_iter().flatten().map(case).collect()
}

fn key(byte: u8) -> Option<SigningKey> {
    SigningKey::from_slice(&[byte; 32]).ok()
}

fn bytes(envelope: &Envelope) -> Vec<u8> {
    envelope.to_bytes().unwrap_or_default()
}

fn text(envelope: &Envelope, edit: impl FnOnce(String) -> String) -> Vec<u8> {
    edit(String::from_utf8(bytes(envelope)).unwrap_or_default()).into_bytes()
}

fn with(envelope: &Envelope, edit: impl FnOnce(&mut Envelope)) -> Vec<u8> {
    let mut changed = envelope.clone();
    edit(&mut changed);
    bytes(&changed)
}

#[rustfmt::skip]
fn signed(ours: &SigningKey, other: &SigningKey) -> Vec<Row> {
    let envelope = Envelope::sign(PAYLOAD, ours);
    let foreign = Envelope::sign(PAYLOAD, other);
    let mut claimed = foreign.clone();
    claimed.signatures.clone_from(&envelope.signatures);
    if let (Some(mine), Some(theirs)) = (claimed.signatures.first_mut(), foreign.signatures.first()) {
        mine.sig.clone_from(&theirs.sig);
    }
    let wrong = Some("envelope-bad-signature");
    vec![
        ("accepted", "A signed record", "as signed", bytes(&envelope), None),
        ("other-key", "Signed by another key", "signed by the key of scalar 0x0202..02", bytes(&foreign), Some("envelope-wrong-key")),
        ("other-key-under-our-id", "Signed by another key that names ours", "key id replaced", bytes(&claimed), wrong),
        ("payload-changed", "A payload that was not signed", "payload `[]`", with(&envelope, |e| e.payload = "W10=".to_owned()), wrong),
        ("signed-without-encoding", "A signature over the payload itself, without DSSE's encoding", "signed the payload alone", with(&envelope, |e| resign(e, ours, PAYLOAD)), wrong),
        ("signed-under-other-type", "A signature under another payload type", "signed as application/json", with(&envelope, |e| resign(e, ours, &pre_authentication_encoding("application/json", PAYLOAD))), wrong),
        ("signature-other-half", "The other spelling of the signature: s and n - s both verify", "s replaced by n - s", with(&envelope, |e| other_half(e, ours)), None),
    ]
}

#[rustfmt::skip]
fn shaped(ours: &SigningKey) -> Vec<Row> {
    let envelope = Envelope::sign(PAYLOAD, ours);
    let malformed = Some("envelope-malformed");
    let count = Some("envelope-signature-count");
    let double = |e: &mut Envelope| e.signatures.extend(e.signatures.clone());
    vec![
        ("no-signature", "No signature", "signature removed", with(&envelope, |e| e.signatures.clear()), count),
        ("two-signatures", "Two signatures", "signature doubled", with(&envelope, double), count),
        ("other-payload-type", "Another payload type", "type application/json", with(&envelope, |e| e.payload_type = "application/json".to_owned()), Some("envelope-payload-type")),
        ("unknown-member", "A member that no envelope has", "member added", text(&envelope, |t| t.replacen('{', "{\"x\":1,", 1)), malformed),
        ("duplicate-member", "A member twice", "`payloadType` twice", text(&envelope, |t| t.replacen('{', &format!("{{\"payloadType\":\"{PAYLOAD_TYPE}\","), 1)), malformed),
        ("trailing", "Something behind the envelope", "`{}` added", text(&envelope, |t| t + "{}"), malformed),
        ("no-json", "No JSON", "replaced", b"record".to_vec(), malformed),
        ("payload-a-number", "A number where a string must be", "payload 1", text(&envelope, |_| format!("{{\"payload\":1,\"payloadType\":\"{PAYLOAD_TYPE}\",\"signatures\":[]}}")), malformed),
    ]
}

#[rustfmt::skip]
fn encoded(ours: &SigningKey) -> Vec<Row> {
    let envelope = Envelope::sign(PAYLOAD, ours);
    let base64 = Some("envelope-base64");
    let wrong = Some("envelope-bad-signature");
    vec![
        ("payload-url-base64", "The payload in another alphabet", "an underscore added", with(&envelope, |e| e.payload.push('_')), base64),
        ("payload-unpadded", "A payload without its padding", "payload `W10`", with(&envelope, |e| e.payload = "W10".to_owned()), base64),
        ("payload-trailing-bits", "A second spelling of a payload", "payload `W11=`", with(&envelope, |e| e.payload = "W11=".to_owned()), base64),
        ("signature-trailing-byte", "A byte behind the signature", "one byte added", with(&envelope, |e| edit_signature(e, |der| der.push(0))), wrong),
        ("signature-truncated", "A signature without its last byte", "one byte removed", with(&envelope, |e| edit_signature(e, |der| { der.pop(); })), wrong),
        ("signature-empty", "An empty signature", "removed", with(&envelope, |e| edit_signature(e, Vec::clear)), wrong),
    ]
}

fn edit_signature(envelope: &mut Envelope, edit: impl FnOnce(&mut Vec<u8>)) {
    if let Some(signature) = envelope.signatures.first_mut() {
        let mut der = STANDARD.decode(&signature.sig).unwrap_or_default();
        edit(&mut der);
        signature.sig = STANDARD.encode(der);
    }
}

fn resign(envelope: &mut Envelope, key: &SigningKey, message: &[u8]) {
    let signature: DerSignature = key.sign(message);
    edit_signature(envelope, |der| *der = signature.to_vec());
}

fn other_half(envelope: &mut Envelope, key: &SigningKey) {
    let signature: Signature = key.sign(&pre_authentication_encoding(PAYLOAD_TYPE, PAYLOAD));
    let (r, s) = signature.split_scalars();
    let other = Signature::from_scalars(r.to_bytes(), (-*s).to_bytes());
    if let Ok(other) = other {
        edit_signature(envelope, |der| *der = other.to_der().to_vec());
    }
}
