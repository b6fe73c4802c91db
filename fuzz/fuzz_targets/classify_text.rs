//! Any text is classified without a panic, every span is a slice of it, redaction terminates, and
//! one more line never lowers the label.
#![no_main]

use std::sync::LazyLock;

use proofroom_canonical::Timestamp;
use proofroom_classify::{ClassificationPolicy, Classifier, Context, Origin, Segment, redact};

const POLICY: &str = include_str!("../../crates/classify/policies/classification.toml");

static CLASSIFIER: LazyLock<Classifier> = LazyLock::new(|| {
    let policy = ClassificationPolicy::parse(POLICY, "classification.toml");
    Classifier::new(&policy.expect("the default policy loads"))
});

libfuzzer_sys::fuzz_target!(|text: &str| {
    let context = Context {
        repository: "acme/web",
        now: Timestamp::from_unix_seconds(0),
    };
    let classify = |text: &str| {
        let segment = Segment {
            text,
            origin: Origin::User,
            path: None,
        };
        CLASSIFIER.classify(&[segment], &context)
    };
    let alone = classify(text);
    for finding in &alone.findings {
        assert!(text.get(finding.span.clone()).is_some());
    }
    assert!(classify(&format!("{text}\n\none more line")).label >= alone.label);
    let _ = redact(text);
});
