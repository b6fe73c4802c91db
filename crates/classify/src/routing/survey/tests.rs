//! No way from the highest label to an unattested tier: in the shipped tables by trying everything
//! they can tell apart, in any other table by trying tables made at random.

use proptest::prelude::*;

use super::example;
use crate::{ClassificationPolicy, DEFAULT_CLASSIFICATION, DEFAULT_ROUTING, RoutingPolicy};

fn classification() -> ClassificationPolicy {
    ClassificationPolicy::parse(DEFAULT_CLASSIFICATION, "c.toml").unwrap()
}

#[test]
fn the_shipped_table_has_no_way_out_for_the_highest_label() {
    let classification = classification();
    let policy = RoutingPolicy::parse(DEFAULT_ROUTING, "r.toml", &classification).unwrap();
    let survey = policy.survey();
    assert!(survey.complete && survey.without_example.is_empty());
    assert_eq!(survey.highest_unattested, 0);
    let highest = classification.levels().highest();
    let of = |tier: Option<&str>, least: bool| {
        let ways = survey.ways.iter();
        ways.filter(|way| way.tier.as_deref() == tier && (way.label == highest) == least)
            .count()
    };
    assert_eq!(of(Some("standard"), true), 0);
    // the survey sees what there is to see
    assert!(of(Some("tee"), true) > 0 && of(Some("standard"), false) > 0);
    let label = |name| classification.levels().label(name).unwrap();
    let standard = survey
        .ways
        .iter()
        .filter(|way| way.tier.as_deref() == Some("standard"));
    for way in standard {
        assert!(way.label <= label("internal"), "{way:?}");
    }
}

#[test]
fn the_commented_out_rule_for_a_purpose_loads_and_is_surveyed() {
    let rule = |line: &str| {
        let rest = line.strip_prefix("# ").unwrap_or(line);
        let starts = [
            "[[rules]]",
            "id =",
            "when =",
            "refuse =",
            "match =",
            "not_match =",
        ];
        let known = starts.iter().any(|start| rest.starts_with(start));
        if known { rest } else { line }.to_owned()
    };
    let text: Vec<String> = DEFAULT_ROUTING.lines().map(rule).collect();
    let policy = RoutingPolicy::parse(&text.join("\n"), "r.toml", &classification()).unwrap();
    let survey = policy.survey();
    assert!(survey.complete && survey.without_example.is_empty());
    assert_eq!(survey.highest_unattested, 0);
    let decided = |rule: &str| survey.ways.iter().any(|way| way.rule == rule);
    assert!(decided("no-models-for-experiments") && decided("standard-first"));
}

#[test]
fn a_survey_would_see_a_way_out() {
    let classification = classification();
    let policy = RoutingPolicy::parse(DEFAULT_ROUTING, "r.toml", &classification).unwrap();
    let mut broken = policy.clone();
    // the check at load and the second lock both hold on `Attested`: declare the tier so
    broken.rules.remove(0);
    broken.rules[0].when.at_most = classification.levels().highest();
    assert!(broken.survey().highest_unattested > 0);
}

#[test]
fn usual_globs_have_an_example() {
    for (pattern, name) in [
        ("**", "x"),
        ("acme/*", "acme/x"),
        ("gpt-?", "gpt-x"),
        ("[ab]c", "ac"),
        ("{eu,us}-*", "eu-x"),
        ("plain", "plain"),
    ] {
        assert_eq!(example(pattern), name);
    }
}

const LEVELS: [&str; 4] = ["public", "internal", "confidential", "restricted"];
const TIERS: [&str; 3] = ["standard", "cheap", "tee"];
const GLOBS: [&str; 5] = ["*", "a*", "a", "{a,b}", "c/?"];

/// One rule at random: bounds, conditions and outcome.
fn rule() -> impl Strategy<Value = String> {
    let glob = || prop::option::weighted(0.4, prop::sample::subsequence(GLOBS.to_vec(), 1..3));
    let tiers = prop::option::weighted(
        0.8,
        prop::sample::subsequence(TIERS.to_vec(), 1..=3).prop_shuffle(),
    );
    (
        0_usize..4,
        0_usize..4,
        [glob(), glob(), glob(), glob()],
        tiers,
    )
        .prop_map(
            |(low, high, [repositories, persons, purposes, models], tiers)| {
                let (low, high) = (LEVELS[low.min(high)], LEVELS[low.max(high)]);
                let mut when = format!("label_at_least = {low:?}, label_at_most = {high:?}");
                for (key, globs) in [
                    ("repositories", repositories),
                    ("persons", persons),
                    ("purposes", purposes),
                    ("models", models),
                ] {
                    if let Some(globs) = globs {
                        when += &format!(", {key} = {globs:?}");
                    }
                }
                format!("when = {{ {when} }}\n{}", outcome(tiers.as_deref()))
            },
        )
}

fn outcome(tiers: Option<&[&str]>) -> String {
    tiers.map_or("refuse = { message = \"no\" }".to_owned(), |tiers| {
        format!("send = {{ tiers = {tiers:?}, upstreams = [\"*\"], models = [\"*\"], regions = [\"*\"] }}")
    })
}

fn table() -> impl Strategy<Value = String> {
    let default = prop::option::of(prop::sample::subsequence(TIERS.to_vec(), 1..3));
    (prop::collection::vec(rule(), 0..5), default).prop_map(|(rules, default)| {
        let mut text = "version = 1\n[tiers]\nstandard = \"unattested\"\ncheap = \"unattested\"\ntee = \"attested\"\n[aliases]\nfast = [\"a\", \"d\"]\n".to_owned();
        for (index, rule) in rules.iter().enumerate() {
            text += &format!("[[rules]]\nid = \"r{index}\"\n{rule}\n");
        }
        text + &format!("[default]\n{}\n", outcome(default.as_deref()))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// A table that loads lets nothing out, even where the rules alone decide; a table that is
    /// refused for that reason has a request which shows it, or a rule that cannot be reached for
    /// certain.
    #[test]
    fn no_table_that_loads_has_a_way_out(text in table()) {
        let classification = classification();
        if let Ok(policy) = RoutingPolicy::parse(&text, "r.toml", &classification) {
            let survey = policy.survey();
            prop_assert!(survey.complete, "{}", text);
            prop_assert_eq!(survey.highest_unattested, 0, "{}", text);
        }
    }
}
