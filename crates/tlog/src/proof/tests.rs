//! Receipts have one spelling.

use proptest::prelude::*;

use super::*;

const HASH: &str = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";

fn text() -> String {
    format!(
        "{HEADER}\nextra YWJj\nindex 5\n{HASH}\n{HASH}\n\no\n8\n{HASH}\n\n\u{2014} o AAAAAQI=\n"
    )
}

#[test]
fn a_receipt_parses_and_comes_back() {
    let proof = LogProof::parse(text().as_bytes()).unwrap();
    assert_eq!(proof.unauthenticated_extra(), b"abc");
    assert_eq!(proof.index(), LeafIndex::new(5));
    assert_eq!(proof.inclusion().hashes().len(), 2);
    assert_eq!(proof.checkpoint().size().get(), 8);
    assert_eq!(proof.to_string(), text());
    let bare = text()
        .replace("extra YWJj\n", "")
        .replace(&format!("5\n{HASH}\n{HASH}\n"), "0\n");
    let proof = LogProof::parse(bare.as_bytes()).unwrap();
    assert!(proof.inclusion().hashes().is_empty());
    assert_eq!(proof.to_string(), bare);
}

#[test]
fn other_spellings_are_refused() {
    for (from, to, code) in [
        ("proof@v1", "proof@v2", "tlog-proof-header"),
        ("c2sp", "\nc2sp", "tlog-proof-header"),
        ("extra YWJj", "extra ", "tlog-proof-extra"),
        ("extra YWJj", "extra YWJ", "tlog-proof-extra"),
        ("extra YWJj", "extra YWJj\nextra YWJj", "tlog-proof-index"),
        ("extra YWJj", "Extra YWJj", "tlog-proof-index"),
        ("index 5\n", "", "tlog-proof-index"),
        ("index 5", "index 05", "tlog-proof-index"),
        ("index 5", "index -5", "tlog-proof-index"),
        ("index 5", "index  5", "tlog-proof-index"),
        ("index 5\nCsUY", "index 5\nCsU", "tlog-proof-hash"),
        ("index 5\nCsUY", "index 5\nCsUYCsUY", "tlog-proof-hash"),
        ("\n\no\n8", "\no\n8", "tlog-proof-hash"),
        ("\n\no\n8", "\n\n\no\n8", "checkpoint-lines"),
        ("o\n8", "o\n08", "checkpoint-size"),
        ("AAAAAQI=\n", "AAAAAQI=", "note-malformed"),
        ("AAAAAQI=\n", "AAAAAQI=\n\n", "note-malformed"),
    ] {
        let bad = text().replacen(from, to, 1);
        assert_eq!(
            LogProof::parse(bad.as_bytes()).unwrap_err().code(),
            code,
            "{bad:?}"
        );
    }
    let many = text().replacen(
        "index 5\n",
        &format!("index 5\n{}", format!("{HASH}\n").repeat(64)),
        1,
    );
    assert_eq!(
        LogProof::parse(many.as_bytes()).unwrap_err().code(),
        "tlog-proof-hash"
    );
    let large = vec![b'a'; PROOF_MAX_BYTES + 1];
    assert_eq!(
        LogProof::parse(&large).unwrap_err().code(),
        "tlog-proof-too-large"
    );
    let extra = STANDARD.encode(vec![0; EXTRA_MAX_BYTES + 1]);
    let bad = text().replace("YWJj", &extra);
    assert_eq!(
        LogProof::parse(bad.as_bytes()).unwrap_err().code(),
        "tlog-proof-extra"
    );
    assert_eq!(
        LogProof::parse(b"").unwrap_err().code(),
        "tlog-proof-malformed"
    );
}

#[test]
fn every_cut_is_refused() {
    let text = text();
    for end in 0..text.len() {
        assert!(LogProof::parse(&text.as_bytes()[..end]).is_err(), "{end}");
    }
}

proptest! {
    #[test]
    fn a_changed_byte_is_refused_or_written_back(at in 0_usize..250, byte: u8) {
        let mut bytes = text().into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(proof) = LogProof::parse(&bytes) {
            prop_assert_eq!(proof.to_string().into_bytes(), bytes);
        }
    }
}
