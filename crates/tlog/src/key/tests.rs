//! Verifier keys have one spelling; a note is verified under the right key alone.

use super::*;

/// The key and note of the Go project's `sumdb/note` tests.
const GO_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const GO_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n\n\u{2014} PeterNeumann \
    x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

fn signer(name: &str, seed: u8) -> NoteSigner {
    NoteSigner::from_seed(KeyName::parse(name).unwrap(), &[seed; 32]).unwrap()
}

#[test]
fn the_published_key_verifies_the_published_note() {
    let key = VerifierKey::parse(GO_KEY).unwrap();
    assert_eq!(key.to_string(), GO_KEY);
    assert_eq!(key.id(), 0xc74f_20a3);
    let note = SignedNote::parse(GO_NOTE.as_bytes()).unwrap();
    assert_eq!(note.to_string(), GO_NOTE);
    assert!(key.verify(&note).unwrap().starts_with("If you think"));
}

#[test]
fn other_spellings_of_a_key_are_refused() {
    let (name, rest) = GO_KEY.split_at(12);
    for (vkey, code) in [
        (String::new(), "note-key-malformed"),
        ("PeterNeumann+c74f20a3".to_owned(), "note-key-malformed"),
        (rest.to_owned(), "note-key-name"),
        (format!("Peter Neumann{rest}"), "note-key-name"),
        (format!("Petra{rest}"), "note-key-id-mismatch"),
        (GO_KEY.replace("c74f20a3", "C74F20A3"), "note-key-malformed"),
        (
            GO_KEY.replace("c74f20a3", "c74f20a4"),
            "note-key-id-mismatch",
        ),
        (GO_KEY.replace("c74f20a3", "+74f20a3"), "note-key-malformed"),
        (GO_KEY.replace("10TW", "10TX"), "note-key-point"),
        (format!("{GO_KEY}="), "note-key-malformed"),
        (format!("{GO_KEY}\n"), "note-key-malformed"),
        (format!("{name}+c74f20a3+"), "note-key-malformed"),
        (GO_KEY.replace("+ARpc", "+BBpc"), "note-key-unsupported"),
        (GO_KEY.replace("10TW", ""), "note-key-malformed"),
        ("a".repeat(VKEY_MAX_BYTES + 1), "note-key-malformed"),
    ] {
        assert_eq!(
            VerifierKey::parse(&vkey).unwrap_err().code(),
            code,
            "{vkey}"
        );
    }
}

#[test]
fn a_small_order_key_is_refused() {
    for point in [[0_u8; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }] {
        let key = VerifyingKey::from_bytes(&point).unwrap();
        let name = KeyName::parse("weak").unwrap();
        assert_eq!(
            VerifierKey::new(name, key).unwrap_err().code(),
            "note-key-point"
        );
    }
}

#[test]
fn names_that_a_note_cannot_carry_are_refused() {
    for name in [
        "",
        "a b",
        "a+b",
        "a\nb",
        "a\u{a0}b",
        "a\u{2003}b",
        &"a".repeat(256),
    ] {
        assert_eq!(
            KeyName::parse(name).unwrap_err().code(),
            "note-key-name",
            "{name}"
        );
    }
    assert_eq!(
        KeyName::parse("log.example/a-1_b~").unwrap().as_str(),
        "log.example/a-1_b~"
    );
}

#[test]
fn only_the_right_key_and_the_exact_text_verify() {
    let (ours, key) = (signer("log.example", 1), signer("log.example", 1).public);
    let note = ours.sign("text\n".to_owned()).unwrap();
    assert_eq!(key.verify(&note), Ok("text\n"));
    for other in [signer("log.example", 2), signer("other.example", 1)] {
        assert_eq!(
            other.public.verify(&note).unwrap_err().code(),
            "note-not-signed"
        );
    }
    let changed = SignedNote::new("Text\n".to_owned(), note.signatures().to_vec()).unwrap();
    assert_eq!(key.verify(&changed).unwrap_err().code(), "note-signature");
    let good = note.signatures()[0].clone();
    for byte in 0..64 {
        let mut bytes = good.bytes().to_vec();
        bytes[byte] ^= 1;
        let bad = NoteSignature::new(good.name().clone(), good.key_id(), &bytes).unwrap();
        let flipped = SignedNote::new("text\n".to_owned(), vec![bad.clone()]).unwrap();
        assert_eq!(
            key.verify(&flipped).unwrap_err().code(),
            "note-signature",
            "{byte}"
        );
        // a false signature is not made good by a true one beside it
        let both = SignedNote::new("text\n".to_owned(), vec![good.clone(), bad]).unwrap();
        assert_eq!(
            key.verify(&both).unwrap_err().code(),
            "note-signature",
            "{byte}"
        );
    }
    let short =
        NoteSignature::new(good.name().clone(), good.key_id(), &good.bytes()[..63]).unwrap();
    let short = SignedNote::new("text\n".to_owned(), vec![short]).unwrap();
    assert_eq!(key.verify(&short).unwrap_err().code(), "note-signature");
}

#[test]
fn fifteen_unknown_signatures_are_tolerated() {
    let ours = signer("log.example", 1);
    let note = ours.sign("text\n".to_owned()).unwrap();
    let name = KeyName::parse("witness.example").unwrap();
    let unknown = |id| NoteSignature::new(name.clone(), id, &vec![9; 2420]).unwrap();
    let mut signatures: Vec<_> = (0..15).map(unknown).collect();
    signatures.extend_from_slice(note.signatures());
    let full = SignedNote::new("text\n".to_owned(), signatures.clone()).unwrap();
    assert_eq!(ours.public.verify(&full), Ok("text\n"));
    signatures.push(unknown(15));
    let refused = SignedNote::new("text\n".to_owned(), signatures.clone()).unwrap_err();
    assert_eq!(refused.code(), "note-too-many-signatures");
    signatures.truncate(15);
    let unsigned = SignedNote::new("text\n".to_owned(), signatures).unwrap();
    assert_eq!(
        ours.public.verify(&unsigned).unwrap_err().code(),
        "note-not-signed"
    );
}
