//! What the scorer says: only what its weights say, the same on every machine, and never the value.

use super::{FEATURES, Least, Place, Score, because, features, score, weights::WEIGHTS};
use crate::{
    Classification, ClassificationPolicy, Classifier, Context, Origin, Segment,
    detect::value::NameKind,
};
use proofroom_canonical::Timestamp;

const RULES: &str = "version = 1\nlevels = [\"low\", \"middle\", \"high\"]\ndefault = \"low\"\nunreadable = \"high\"\n";
/// A value without a digit: the rules leave it.
const DOUBTFUL: &str = "let sessionToken = \"zmqyaliaehwbpqjx\";";

fn classify(more: &str, text: &str) -> Classification {
    let rules = format!("{RULES}{more}");
    let policy = ClassificationPolicy::parse(&rules, "c.toml").unwrap();
    let segment = Segment {
        text,
        origin: Origin::User,
        path: None,
    };
    let context = Context {
        repository: "",
        now: Timestamp::from_unix_seconds(0),
    };
    Classifier::new(&policy).classify(&[segment], &context)
}

fn place(value: &str) -> Place<'_> {
    Place {
        name: "sessionToken",
        kind: NameKind::Token,
        value,
        before: "let ",
        around: DOUBTFUL,
        quoted: true,
    }
}

#[test]
fn a_value_is_scored_only_where_the_policy_says_how_sure() {
    assert_eq!(classify("", DOUBTFUL).findings, []);
    let found = classify("[scorer]\nsure_percent = 60\n", DOUBTFUL).findings;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].rule, "credential-scored");
    let value = DOUBTFUL.get(found[0].span.clone());
    assert_eq!(value, Some("zmqyaliaehwbpqjx"));
    assert_eq!(
        classify("[scorer]\nsure_percent = 99\n", DOUBTFUL).findings,
        []
    );
}

#[test]
fn a_finding_says_which_features_and_never_the_value() {
    let found = classify("[scorer]\nsure_percent = 60\n", DOUBTFUL).findings;
    let reason = found[0].reason;
    assert!(
        reason.contains("its letters stand as in no word"),
        "{reason}"
    );
    assert!(!reason.contains("zmq") && !reason.contains("sessionToken"));
}

#[test]
fn how_sure_is_a_number_from_50_to_99() {
    for wrong in ["49", "100", "-1", "5000000000", "\"90\""] {
        let rules = format!("{RULES}[scorer]\nsure_percent = {wrong}\n");
        let problems = ClassificationPolicy::parse(&rules, "c.toml").unwrap_err();
        assert!(
            problems
                .iter()
                .all(|p| ["wrong-value", "wrong-type"].contains(&p.code()))
        );
    }
    let rules = format!("{RULES}[scorer]\n");
    let problems = ClassificationPolicy::parse(&rules, "c.toml").unwrap_err();
    assert_eq!(problems[0].code(), "missing-key");
    assert!(Least::percent(50).unwrap().is_reached_by(Score(0)));
    assert!(!Least::percent(51).unwrap().is_reached_by(Score(0)));
    // ln(0.9 / 0.1) = 2.1972
    let ninety = Least::percent(90).unwrap();
    assert!(ninety.is_reached_by(Score(143_997)) && !ninety.is_reached_by(Score(143_996)));
}

/// Text without and with a finding of every detector.
#[test]
fn the_scorer_only_raises() {
    let cases = include_str!("../../classifier/cases.txt").replace('~', "");
    let texts = cases.lines().chain([DOUBTFUL]);
    let all: String = texts.map(|line| line.replace("\\n", "\n") + "\n").collect();
    for text in all.split_inclusive("\n\n").chain([all.as_str()]) {
        let (without, with) = (
            classify("", text),
            classify("[scorer]\nsure_percent = 50\n", text),
        );
        assert!(with.label >= without.label);
        let left = with
            .findings
            .iter()
            .filter(|f| f.rule != "credential-scored");
        assert!(left.eq(&without.findings));
    }
}

#[test]
fn features_are_whole_numbers_of_a_fixed_scale() {
    let vector = features(&place("zmqyaliaehwbpqjx"));
    assert!(vector.iter().all(|feature| (0..=64).contains(feature)));
    let of = |name: &str| {
        let index = FEATURES.iter().position(|feature| feature.name == name);
        vector[index.unwrap()]
    };
    // 16 of 40; 12 of 15 pairs are rare
    assert_eq!(
        (of("bias"), of("length"), of("digits"), of("quoted")),
        (64, 25, 0, 64)
    );
    assert_eq!(of("rare-pairs"), 64 * 12 / 15);
    let expected: i64 = vector
        .iter()
        .zip(WEIGHTS)
        .map(|(f, (_, w))| i64::from(*f) * i64::from(w))
        .sum();
    assert_eq!(score(&vector), Score(expected));
    assert_eq!(
        because(&vector),
        because(&features(&place("zmqyaliaehwbpqjx")))
    );
}

#[test]
fn the_weights_are_those_of_the_features_in_order() {
    let names = FEATURES.iter().map(|feature| feature.name);
    assert!(names.eq(WEIGHTS.iter().map(|(name, _)| *name)));
    let mut names = WEIGHTS.map(|(name, _)| name);
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    assert!(FEATURES.iter().all(|feature| !feature.says.is_empty()));
}
