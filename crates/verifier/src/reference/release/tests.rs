//! Releases: what a policy that names a maker accepts, and what it refuses, each by its own code.

use p256::{
    ecdsa::SigningKey,
    pkcs8::{EncodePublicKey as _, LineEnding},
};
use proofroom_canonical::{Timestamp, json};
use proofroom_dsse::Envelope;

use super::{
    super::tests::sample, REFERENCE_RELEASE_V1, ReferenceManifest, ReferenceRelease,
    ReferenceSigner, STATEMENT_V1, Statement, open,
};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_435_200);
const DAY: i64 = 86_400;

fn at(days: i64) -> Timestamp {
    Timestamp::from_unix_seconds(NOW.unix_seconds() + days * DAY)
}

fn key(byte: u8) -> SigningKey {
    SigningKey::from_slice(&[byte; 32]).unwrap()
}

fn signer(key: &SigningKey, name: &str) -> ReferenceSigner {
    let pem = key.verifying_key().to_public_key_pem(LineEnding::LF);
    ReferenceSigner::new(&pem.unwrap(), name.to_owned(), 3).unwrap()
}

fn release() -> ReferenceRelease {
    let manifest = ReferenceManifest::new(sample()).unwrap();
    ReferenceRelease {
        name: "room".to_owned(),
        version: 3,
        issued: at(-1),
        expires: at(1),
        manifest: String::from_utf8(manifest.bytes().to_vec()).unwrap(),
    }
}

fn signed(change: impl FnOnce(&mut ReferenceRelease)) -> Vec<u8> {
    let mut release = release();
    change(&mut release);
    release.sign(&key(1)).unwrap()
}

/// A payload that no maker of ours writes, signed by the right key.
fn payload(change: impl FnOnce(&mut Statement)) -> Vec<u8> {
    let release = release();
    let mut statement = Statement {
        statement_type: STATEMENT_V1.to_owned(),
        subject: [release.subject()],
        predicate_type: REFERENCE_RELEASE_V1.to_owned(),
        predicate: release,
    };
    change(&mut statement);
    let payload = json::to_bytes(&statement).unwrap();
    Envelope::sign(&payload, &key(1)).to_bytes().unwrap()
}

#[track_caller]
fn refused(bytes: &[u8], code: &str) {
    let found = open(bytes, &[signer(&key(1), "room")], NOW).unwrap_err();
    assert_eq!(found.code(), code, "{found}");
}

#[test]
fn a_release_of_the_named_maker_is_its_manifest() {
    let signers = [
        signer(&key(2), "room"),
        signer(&key(1), "other"),
        signer(&key(1), "room"),
    ];
    let (manifest, found) = open(&signed(|_| ()), &signers, NOW).unwrap();
    assert_eq!(manifest, ReferenceManifest::new(sample()).unwrap());
    assert_eq!(found, release());
    let (_, newer) = open(&signed(|release| release.version = 9), &signers, NOW).unwrap();
    assert_eq!(newer.version, 9);
}

#[test]
fn versions_names_and_times_are_those_of_the_policy() {
    refused(&signed(|release| release.version = 2), "release-downgrade");
    refused(
        &signed(|release| release.name = "demo".to_owned()),
        "release-name",
    );
    refused(
        &signed(|release| release.issued = at(1)),
        "release-not-yet-valid",
    );
    refused(&signed(|release| release.expires = NOW), "release-expired");
}

#[test]
fn others_and_other_things_that_were_signed_are_refused() {
    let foreign = release().sign(&key(2)).unwrap();
    refused(&foreign, "envelope-wrong-key");
    let mut changed = Envelope::parse(&signed(|_| ())).unwrap();
    changed.payload = Envelope::parse(&signed(|release| release.version = 4))
        .unwrap()
        .payload;
    refused(&changed.to_bytes().unwrap(), "envelope-bad-signature");
    let mut retyped = Envelope::parse(&signed(|_| ())).unwrap();
    retyped.payload_type = "application/json".to_owned();
    refused(&retyped.to_bytes().unwrap(), "envelope-payload-type");
    refused(release().manifest.as_bytes(), "envelope-malformed");
    refused(
        &payload(|it| it.predicate_type = "https://proofroom.dev/model-run/v1".to_owned()),
        "release-predicate",
    );
    refused(
        &payload(|it| it.statement_type = "x".to_owned()),
        "release-predicate",
    );
    refused(
        &payload(|it| {
            it.subject = [ReferenceRelease {
                manifest: "{}".to_owned(),
                ..release()
            }
            .subject()]
        }),
        "release-subject",
    );
    refused(
        &payload(|it| {
            it.predicate.manifest.push(' ');
            it.subject = [it.predicate.subject()];
        }),
        "reference-not-canonical",
    );
    let nothing = Envelope::sign(b"{}", &key(1)).to_bytes().unwrap();
    refused(&nothing, "release-malformed");
}

#[test]
fn nothing_but_a_manifest_is_signed_and_no_key_is_no_signer() {
    let broken = ReferenceRelease {
        manifest: "{}".to_owned(),
        ..release()
    };
    let refused = broken.sign(&key(1)).unwrap_err();
    assert_eq!(refused.code(), "reference-malformed");
    assert!(ReferenceSigner::new("nonsense", "room".to_owned(), 1).is_none());
    assert!(open(&signed(|_| ()), &[], NOW).is_err());
}

#[test]
fn a_release_that_is_cut_anywhere_is_refused() {
    let whole = signed(|_| ());
    let signers = [signer(&key(1), "room")];
    for end in 0..whole.len() {
        assert!(open(&whole[..end], &signers, NOW).is_err());
    }
}
