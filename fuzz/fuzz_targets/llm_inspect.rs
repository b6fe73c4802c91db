//! Any bytes as a model request: never a panic, and what is accepted can be spliced and read again
//! as the same request with another model.
#![no_main]

use proofroom_llm::{Api, inspect, with_model};

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
        let back = with_model(api, &spliced, &facts.model).expect("has a model");
        assert_eq!(
            inspect(api, &back).expect("only the model changed").model,
            facts.model
        );
    }
});
