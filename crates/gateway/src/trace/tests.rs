//! Which traces are kept, and what a word of an upstream becomes.

use super::{FinishReason, Ratio};

fn ending(last: u64) -> [u8; 16] {
    let mut trace = [0xff; 16];
    trace[8..].copy_from_slice(&last.to_be_bytes());
    trace
}

#[test]
fn a_share_is_decided_by_the_last_56_bits_of_the_traces_id() {
    assert_eq!(Ratio::of_millionths(1_000_000), Some(Ratio::ALL));
    assert_eq!(Ratio::of_millionths(1_000_001), None);
    assert!(Ratio::ALL.keeps([0; 16]));
    let none = Ratio::of_millionths(0).unwrap();
    assert!(!none.keeps([0xff; 16]));
    let half = Ratio::of_millionths(500_000).unwrap();
    // the eighth byte from the end does not count
    assert!(!half.keeps(ending(0xff7f_ffff_ffff_ffff)));
    assert!(half.keeps(ending(0x0080_0000_0000_0000)));
    let kept = (0..10_000_u64)
        .map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .filter(|last| Ratio::of_millionths(250_000).unwrap().keeps(ending(*last)))
        .count();
    assert!((2_400..2_600).contains(&kept), "{kept}");
}

#[test]
fn an_upstreams_word_is_one_of_a_list_or_other() {
    assert_eq!(FinishReason::of("tool_use").as_str(), "tool_use");
    assert_eq!(FinishReason::of("call me at 555-0100"), FinishReason::Other);
    assert_eq!(FinishReason::Other.as_str(), "other");
}
