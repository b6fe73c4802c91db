//! What a session knows of requests whose beginnings it has met.

use proofroom_canonical::{Digest, Timestamp};
use proptest::prelude::*;

use super::{super::tests::github_token, SessionVerdicts, Source};
use crate::{
    Classification, ClassificationPolicy, Classifier, Context, DEFAULT_CLASSIFICATION, Origin,
    Segment,
};

const NOW: Context<'static> = Context {
    repository: "acme/web",
    now: Timestamp::from_unix_seconds(1_800_000_000),
};

fn classifier(more: &str) -> Classifier {
    let policy = DEFAULT_CLASSIFICATION.to_owned() + more;
    Classifier::new(&ClassificationPolicy::parse(&policy, "c.toml").unwrap())
}

fn shared() -> &'static Classifier {
    static SHARED: std::sync::LazyLock<Classifier> = std::sync::LazyLock::new(|| classifier(""));
    &SHARED
}

fn segments(texts: &[String]) -> Vec<Segment<'_>> {
    let texts = texts.iter().map(String::as_str);
    let segment = |text| Segment {
        text,
        origin: Origin::User,
        path: None,
    };
    texts.map(segment).collect()
}

/// As if the texts stood behind each other in what was read, of which every beginning that ends
/// with a text has its digest; the last `open` texts are in none.
fn classified(texts: &[String], open: usize, verdicts: &SessionVerdicts) -> Classification {
    let decided = texts.len().saturating_sub(open);
    let source = Source {
        reading: "lines",
        beginning: &|place| {
            let texts = texts.get(..decided)?.get(..=place)?;
            Some(Digest::of(texts.join("\n")))
        },
    };
    shared().classify_from(&source, &segments(texts), &NOW, verdicts)
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z ]{0,12}",
        1 => Just(github_token()),
        1 => Just("the password is hunter2x9Q".to_owned()),
        // two neighbours that hold a token together
        1 => Just(github_token().split_at(20).0.to_owned()),
        1 => Just(github_token().split_at(20).1.to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    /// Whatever of a conversation was met before, is changed, or is met for the first time.
    #[test]
    fn what_begins_as_something_known_is_judged_as_if_it_were_read_anew(
        mut texts in proptest::collection::vec(text(), 0..90),
        turns in proptest::collection::vec((0_usize..90, text(), 0_usize..40), 1..6),
        most in prop_oneof![Just(60_usize), Just(30_000)],
    ) {
        let verdicts = SessionVerdicts::with_most([7; 32], most);
        for (at, text, open) in turns {
            let anew = shared().classify(&segments(&texts), &NOW);
            prop_assert_eq!(classified(&texts, open, &verdicts), anew);
            match texts.get_mut(at) {
                Some(old) => *old = text,
                None => texts.push(text),
            }
        }
    }
}

/// A source that says so of another text is believed: so nothing is hashed where the beginning is known.
#[test]
fn texts_from_a_known_beginning_are_not_looked_at() {
    let verdicts = SessionVerdicts::new([7; 32]);
    let harmless: Vec<String> = (0..32).map(|turn| format!("turn {turn}")).collect();
    let telling = vec![github_token(); 32];
    let found = |reading: &str, context: &Context<'_>, classifier: &Classifier, begins: &str| {
        let beginning = |place| Some(Digest::of(format!("{begins} {place}")));
        let source = Source {
            reading,
            beginning: &beginning,
        };
        let texts = segments(&telling);
        let found = classifier.classify_from(&source, &texts, context, &verdicts);
        found.findings.len()
    };
    let beginning = |place| Some(Digest::of(format!("a {place}")));
    let source = Source {
        reading: "chat",
        beginning: &beginning,
    };
    let first = shared().classify_from(&source, &segments(&harmless), &NOW, &verdicts);
    assert!(first.findings.is_empty());
    assert_eq!(found("chat", &NOW, shared(), "a"), 0);
    // whatever the judgement depends on beside it makes it another one
    let elsewhere = Context {
        repository: "acme/other",
        ..NOW
    };
    let other = classifier("\n[[terms]]\nid = \"t\"\nlabel = \"restricted\"\nterms = [\"zzz\"]\n");
    assert_eq!(found("chat", &NOW, shared(), "b"), 32);
    assert_eq!(found("responses", &NOW, shared(), "a"), 32);
    assert_eq!(found("chat", &elsewhere, shared(), "a"), 32);
    assert_eq!(found("chat", &NOW, &other, "a"), 32);
    verdicts.forget();
    assert_eq!(found("chat", &NOW, shared(), "a"), 32);
}
