//! Any file is read as both policies without a panic, and a refusal always names a problem.
#![no_main]

use proofroom_classify::{ClassificationPolicy, RoutingPolicy};

const SMALLEST: &str =
    "version = 1\nlevels = [\"low\", \"high\"]\ndefault = \"low\"\nunreadable = \"high\"\n";

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Err(problems) = ClassificationPolicy::parse(text, "classification.toml") {
        assert!(!problems.is_empty());
    }
    let base = ClassificationPolicy::parse(SMALLEST, "classification.toml");
    let base = base.expect("the smallest policy loads");
    if let Err(problems) = RoutingPolicy::parse(text, "routing.toml", &base) {
        assert!(!problems.is_empty());
    }
});
