//! Checkpoint texts have one spelling.

use proptest::prelude::*;

use super::*;

/// The example of `tlog-checkpoint`.
const TEXT: &str =
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

#[test]
fn the_published_example_parses_and_comes_back() {
    let checkpoint = Checkpoint::parse(TEXT).unwrap();
    assert_eq!(checkpoint.origin(), "example.com/behind-the-sofa");
    assert_eq!(checkpoint.size(), TreeSize::new(20_852_163));
    assert_eq!(checkpoint.to_string(), TEXT);
    let extended = format!("{TEXT}an extension\n");
    let checkpoint = Checkpoint::parse(&extended).unwrap();
    assert_eq!(checkpoint.extensions(), ["an extension"]);
    assert_eq!(checkpoint.to_string(), extended);
}

#[test]
fn other_spellings_are_refused() {
    for (from, to, code) in [
        ("example.com/behind-the-sofa", "", "checkpoint-lines"),
        ("q2I=\n", "q2I=", "checkpoint-lines"),
        ("q2I=\n", "q2I=\n\n", "checkpoint-lines"),
        ("q2I=\n", "q2I=\n\nx\n", "checkpoint-lines"),
        (
            "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
            "",
            "checkpoint-lines",
        ),
        ("20852163", "020852163", "checkpoint-size"),
        ("20852163", "+20852163", "checkpoint-size"),
        ("20852163", "", "checkpoint-size"),
        ("20852163", "18446744073709551616", "checkpoint-size"),
        ("q2I=", "q2I", "checkpoint-root"),
        ("q2I=", "q2J=", "checkpoint-root"),
        ("CsUY", "", "checkpoint-root"),
        ("CsUY", "CsU-", "checkpoint-root"),
    ] {
        let bad = TEXT.replacen(from, to, 1);
        assert_eq!(Checkpoint::parse(&bad).unwrap_err().code(), code, "{bad:?}");
    }
}

proptest! {
    #[test]
    fn accepted_checkpoints_write_back(origin in "[a-c \n]{0,4}", size in "[0-2]{0,3}", end in "[x\n]{0,4}") {
        let text = format!("{origin}\n{size}\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n{end}");
        if let Ok(checkpoint) = Checkpoint::parse(&text) {
            prop_assert_eq!(checkpoint.to_string(), text);
        }
    }
}
