//! Rooms whose policy names the maker of its reference values: what he signed, and what he did not.

use p256::{
    ecdsa::SigningKey,
    pkcs8::{EncodePublicKey as _, LineEnding},
};
use proofroom_canonical::Timestamp;
use proofroom_record::dsse::Envelope;
use proofroom_testkit::tee::written;
use proofroom_verifier::{ROOM_VM, ReferenceRelease};

use super::{Case, MANIFEST, NOW, Row, case, manifest, tpm2};
use crate::{Answer, vector::RawRequest};

const POLICY: &str = "../policies/tpm2-release.toml";
const DAY: i64 = 86_400;

/// `tpm2.toml` with a maker in the place of a manifest.
pub(super) fn policy() -> String {
    let pem = key(1).verifying_key().to_public_key_pem(LineEnding::LF);
    let pem = written(pem);
    let pinned = ROOM_VM
        .lines()
        .filter(|line| !line.starts_with("references"));
    let text: Vec<&str> = pinned.collect();
    format!(
        "{}\nreferences = []\n\n[[signed_reference]]\nname = \"room-image\"\nmin_version = 3\nkey = \"\"\"\n{pem}\"\"\"\n",
        text.join("\n")
    )
}

fn key(byte: u8) -> SigningKey {
    written(SigningKey::from_slice(&[byte; 32]))
}

fn after(days: i64) -> Timestamp {
    Timestamp::from_unix_seconds(NOW.unix_seconds().saturating_add(days.saturating_mul(DAY)))
}

fn release() -> ReferenceRelease {
    ReferenceRelease {
        name: "room-image".to_owned(),
        version: 3,
        issued: after(-30),
        expires: after(30),
        manifest: String::from_utf8_lossy(manifest().bytes()).into_owned(),
    }
}

fn signed(change: impl FnOnce(&mut ReferenceRelease)) -> Vec<u8> {
    let mut release = release();
    change(&mut release);
    written(release.sign(&key(1)))
}

fn envelope() -> Envelope {
    written(Envelope::parse(&signed(|_| ())))
}

fn enveloped(change: impl FnOnce(&mut Envelope)) -> Vec<u8> {
    let mut envelope = envelope();
    change(&mut envelope);
    written(envelope.to_bytes())
}

/// The maker's signature over an edited statement.
fn stated(from: &str, to: &str) -> Vec<u8> {
    let payload = written(envelope().unverified_payload());
    let text = String::from_utf8_lossy(&payload).replacen(from, to, 1);
    written(Envelope::sign(text.as_bytes(), &key(1)).to_bytes())
}

type About = (
    &'static str,
    &'static str,
    &'static str,
    Vec<u8>,
    Option<&'static str>,
);

#[rustfmt::skip]
fn rows() -> Vec<About> {
    let newer = written(Envelope::parse(&signed(|it| it.version = 4)));
    let digest = manifest().digest().to_hex();
    vec![
        ("release-accepted", "Reference values signed by the maker whom the policy names", "", signed(|_| ()), None),
        ("release-newer", "A later version than the least", "version 9", signed(|it| it.version = 9), None),
        ("release-downgrade", "An earlier version than the least", "version 2", signed(|it| it.version = 2), Some("release-downgrade")),
        ("release-of-another-line", "Signed by the maker, of another line of images", "name `demo-image`", signed(|it| it.name = "demo-image".to_owned()), Some("release-name")),
        ("release-early", "Used before it was issued", "issued a day later", signed(|it| it.issued = after(1)), Some("release-not-yet-valid")),
        ("release-expired", "Used when it had expired", "expires at the time of the appraisal", signed(|it| it.expires = NOW), Some("release-expired")),
        ("release-of-another-key", "Signed by somebody else", "signed by the key of scalar 0x0202..02", written(release().sign(&key(2))), Some("envelope-wrong-key")),
        ("release-edited", "A later version put into an old signature", "payload of version 4", enveloped(|it| it.payload = newer.payload), Some("envelope-bad-signature")),
        ("release-of-another-payload-type", "Another payload type", "type application/json", enveloped(|it| it.payload_type = "application/json".to_owned()), Some("envelope-payload-type")),
        ("release-of-another-predicate", "Another statement that the same key signed", "predicate of a model run", stated("reference-release", "model-run"), Some("release-predicate")),
        ("release-of-another-subject", "A subject that is not the manifest within", "first digit of the digest", stated(&digest, &digest.replacen(|_: char| true, if digest.starts_with('0') { "1" } else { "0" }, 1)), Some("release-subject")),
        ("release-without-end", "A release that would hold for ever", "`expires` removed", stated(",\"expires\"", ",\"until\""), Some("release-malformed")),
        ("release-not-signed", "The manifest as it is, which the policy does not pin", "not signed", manifest().bytes().to_vec(), Some("envelope-malformed")),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    rows().into_iter().map(one).collect()
}

fn one((name, title, change, file, code): About) -> Case {
    let row = Row {
        name,
        title,
        change,
        failure: None,
        document: tpm2::honest(),
    };
    let mut case = case(tpm2::MACHINE, row);
    case.clauses = vec![MANIFEST.to_owned()];
    if let RawRequest::Room {
        policy, reference, ..
    } = &mut case.request
    {
        POLICY.clone_into(policy);
        "release.json".clone_into(reference);
    }
    case.files.push(("release.json", file));
    if let Some(code) = code {
        case.expected = Answer::reject(code);
    }
    case
}
