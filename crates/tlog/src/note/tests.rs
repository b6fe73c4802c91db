//! Notes have one spelling.

use proptest::prelude::*;

use super::*;

const NOTE: &str = "a\n\nb\n\n\u{2014} k AAAAAQI=\n\u{2014} l AAAAAQIC\n";

#[test]
fn text_ends_at_the_last_empty_line() {
    let note = SignedNote::parse(NOTE.as_bytes()).unwrap();
    assert_eq!(note.text(), "a\n\nb\n");
    assert_eq!(note.signatures().len(), 2);
    assert_eq!(note.signatures()[0].key_id(), 1);
    assert_eq!(note.signatures()[1].bytes(), [2, 2]);
    assert_eq!(note.to_string(), NOTE);
}

#[test]
fn other_spellings_are_refused() {
    for (from, to, code) in [
        ("AAAAAQI=", "AAAAAQI", "note-malformed"),
        ("AAAAAQI=", "AAAAAQJ=", "note-malformed"),
        ("AAAAAQI=", "AAAAAQ==", "note-malformed"),
        ("AAAAAQI=", "AAAAAQI= ", "note-malformed"),
        ("\u{2014} k", "- k", "note-malformed"),
        ("\u{2014} k", "\u{2014}  k", "note-malformed"),
        ("\u{2014} k", "\u{2014} k+", "note-malformed"),
        ("AAAAAQIC\n", "AAAAAQIC", "note-malformed"),
        ("AAAAAQIC\n", "AAAAAQIC\n\n", "note-malformed"),
        ("a\n", "a\r\n", "note-not-text"),
        ("a\n", "a\t\n", "note-not-text"),
        ("a\n", "a\0\n", "note-not-text"),
    ] {
        let bad = NOTE.replacen(from, to, 1);
        assert_eq!(
            SignedNote::parse(bad.as_bytes()).unwrap_err().code(),
            code,
            "{bad:?}"
        );
    }
    assert_eq!(
        SignedNote::parse(b"a\n\n\xff").unwrap_err().code(),
        "note-not-text"
    );
    for bad in [
        "",
        "\n",
        "\n\n",
        "a",
        "a\n",
        "a\n\n",
        "\u{2014} k AAAAAQI=\n",
    ] {
        assert_eq!(
            SignedNote::parse(bad.as_bytes()).unwrap_err().code(),
            "note-malformed",
            "{bad:?}"
        );
    }
    let large = vec![b'a'; NOTE_MAX_BYTES + 1];
    assert_eq!(
        SignedNote::parse(&large).unwrap_err().code(),
        "note-too-large"
    );
    let many = format!("a\n\n{}", "\u{2014} k AAAAAQI=\n".repeat(17));
    assert_eq!(
        SignedNote::parse(many.as_bytes()).unwrap_err().code(),
        "note-too-many-signatures"
    );
}

#[test]
fn a_text_that_hides_a_signature_line_is_refused() {
    let signature = NoteSignature::parse("\u{2014} k AAAAAQI=").unwrap();
    for text in ["", "a", "a\tb\n"] {
        assert!(
            SignedNote::new(text.to_owned(), vec![signature.clone()]).is_err(),
            "{text:?}"
        );
    }
    let unsigned = SignedNote::new("a\n".to_owned(), vec![]).unwrap_err();
    assert_eq!(unsigned.code(), "note-malformed");
}

#[test]
fn every_cut_is_refused() {
    for end in 0..NOTE.len() {
        let cut = &NOTE.as_bytes()[..end];
        // a cut after a whole signature line is a shorter note
        let whole = SignedNote::parse(cut).is_ok_and(|note| note.to_string().as_bytes() == cut);
        assert_eq!(
            whole,
            end == NOTE.len() - "\u{2014} l AAAAAQIC\n".len(),
            "{end}"
        );
    }
}

proptest! {
    #[test]
    fn accepted_notes_write_back(text in "[a\n ]{0,12}\n\n(\u{2014} [k ]{1,2} [A-D]{7}[=A]\n?){0,3}") {
        if let Ok(note) = SignedNote::parse(text.as_bytes()) {
            prop_assert_eq!(note.to_string(), text);
        }
    }
}
