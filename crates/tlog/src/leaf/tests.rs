//! Leaves have one spelling.

use super::*;

fn leaf(kind: LeafKind) -> RecordLeaf {
    RecordLeaf {
        kind,
        session: SessionId::from_random([7; 16]),
        digest: Digest::of("record"),
    }
}

#[test]
fn every_kind_comes_back() {
    for kind in [
        LeafKind::AgentSession,
        LeafKind::Destruction,
        LeafKind::EventHead,
        LeafKind::GatewayAccount,
        LeafKind::ModelRun,
    ] {
        let leaf = leaf(kind);
        assert_eq!(RecordLeaf::parse(&leaf.to_bytes()), Ok(leaf.clone()));
        let expected = format!(
            "proofroom-leaf/v1\n{}\n{}\n{}\n",
            kind.as_str(),
            leaf.session,
            Digest::of("record")
        );
        assert_eq!(leaf.to_string(), expected);
    }
}

#[test]
fn other_spellings_are_refused() {
    let text = leaf(LeafKind::ModelRun).to_string();
    for (from, to) in [
        ("/v1", "/v2"),
        ("model-run", "Model-run"),
        ("model-run", "other"),
        ("sha256:", ""),
        ("sha256:", "SHA256:"),
        ("\nmodel-run", "\n\nmodel-run"),
        ("model-run\n", "model-run\r\n"),
    ] {
        let bad = text.replacen(from, to, 1);
        assert_eq!(RecordLeaf::parse(bad.as_bytes()), Err(LeafError), "{bad:?}");
    }
    for end in 0..text.len() {
        assert_eq!(
            RecordLeaf::parse(&text.as_bytes()[..end]),
            Err(LeafError),
            "{end}"
        );
    }
    for more in ["\n", "x", "x\n"] {
        assert_eq!(
            RecordLeaf::parse(format!("{text}{more}").as_bytes()),
            Err(LeafError)
        );
    }
    assert_eq!(
        RecordLeaf::parse(&[b'a'; LEAF_MAX_BYTES + 1])
            .unwrap_err()
            .code(),
        "leaf-malformed"
    );
}
