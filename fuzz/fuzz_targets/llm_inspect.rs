//! Any bytes as a model request: never a panic, what is accepted can be spliced and read again as the same
//! request with another model, and what follows a beginning changes nothing of what it decides.
#![no_main]

use proofroom_llm::{Api, RequestFacts, inspect, with_model};

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    for api in Api::ALL {
        let Ok(facts) = inspect(api, body) else {
            continue;
        };
        let spliced = with_model(api, body, "other").expect("an accepted request has a model");
        assert_eq!(
            facts.with_model(body, "other").ok().as_ref(),
            Some(&spliced)
        );
        let again = inspect(api, &spliced).expect("only the model changed");
        assert_eq!(again.model, "other");
        assert_eq!(again.segments.len(), facts.segments.len());
        for (one, other) in facts.segments.iter().zip(&again.segments) {
            assert_eq!(one.text.expose(), other.text.expose());
        }
        other_ends(api, body, &facts);
        let back = with_model(api, &spliced, &facts.model).expect("has a model");
        assert_eq!(
            inspect(api, &back).expect("only the model changed").model,
            facts.model
        );
    }
});

/// Reads a few beginnings of `body` again with something else behind them.
fn other_ends(api: Api, body: &[u8], facts: &RequestFacts) {
    let mut ends: Vec<usize> = facts
        .segments
        .iter()
        .filter_map(|found| found.decided)
        .collect();
    ends.dedup();
    for end in ends.into_iter().rev().take(4) {
        let other = body.iter().enumerate().map(|(at, byte)| match byte {
            b'e' if at >= end => b'o',
            b'o' if at >= end => b'e',
            byte => *byte,
        });
        let Ok(other) = inspect(api, &other.collect::<Vec<u8>>()) else {
            continue;
        };
        let decided = |bytes: Option<usize>| bytes.is_some_and(|bytes| bytes <= end);
        let before = facts
            .segments
            .iter()
            .take_while(|found| decided(found.decided));
        for (place, one) in before.enumerate() {
            let same = &other.segments[place];
            assert_eq!(one.text.expose(), same.text.expose());
            assert_eq!((one.origin, &one.path), (same.origin, &same.path));
        }
    }
}
