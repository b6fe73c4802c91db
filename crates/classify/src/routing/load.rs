//! Reads `routing.toml`, reports everything wrong with it, and runs its examples.

use std::collections::BTreeMap;

use proofroom_canonical::Digest;

use super::{
    Assurance, Outcome, RouteRequest, RoutingPolicy, Rule, When, coverage,
    decide::{DEFAULT_RULE, Wish},
};
use crate::{
    Label, Levels,
    label::is_name,
    problem::{ExampleOutcome, Problems},
    table::{GlobKind, Globs, Reader, parse_file},
};

/// An example as read: the request it stands for and whether its rule must decide it.
struct Example {
    at: String,
    rule: String,
    expected: Expected,
    label: Label,
    repository: String,
    person: String,
    purpose: String,
    model: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Decides,
    LeavesToOthers,
}

pub(super) fn load(
    text: &str,
    levels: &Levels,
    problems: &mut Problems,
) -> Option<(RoutingPolicy, Vec<ExampleOutcome>)> {
    let mut file = parse_file(text, problems)?;
    let tiers = read_tiers(&mut file, problems);
    let aliases = read_aliases(&mut file, problems);
    let mut examples = Vec::new();
    let mut rules: Vec<(String, Rule)> = Vec::new();
    for mut table in file.children("rules", problems) {
        let rule = read_rule(&mut table, levels, &tiers, &mut examples, problems);
        let at = table.at().to_owned();
        table.finish(problems);
        let Some(rule) = rule else { continue };
        if rule.id == DEFAULT_RULE || rules.iter().any(|(_, known)| known.id == rule.id) {
            let text = format!("rule id `{}` is taken; give each rule its own", rule.id);
            problems.add(&at, "duplicate-id", text);
        }
        rules.push((at, rule));
    }
    let default = read_default(&mut file, &tiers, problems);
    file.finish(problems);
    let default = default?;
    coverage::report(levels, &tiers, &rules, &default, problems);
    let policy = RoutingPolicy {
        levels: levels.clone(),
        tiers,
        aliases,
        rules: rules.into_iter().map(|(_, rule)| rule).collect(),
        default,
        digest: Digest::of(text),
    };
    let outcomes = run_examples(&policy, &examples, problems);
    Some((policy, outcomes))
}

fn read_tiers(file: &mut Reader, problems: &mut Problems) -> BTreeMap<String, Assurance> {
    let mut tiers = BTreeMap::new();
    let Some(table) = file.child("tiers", problems) else {
        let text = "write `[tiers]` with a line per tier, such as `standard = \"unattested\"` and \
                    `tee = \"attested\"`";
        problems.add("tiers", "missing-key", text);
        return tiers;
    };
    for (name, assurance) in table.rest_texts(problems) {
        let at = format!("tiers.{name}");
        if !is_name(&name) {
            problems.add(&at, "bad-id", "must be lower-case letters, digits and `-`");
        }
        match assurance.as_str() {
            "attested" if name == "standard" => problems.add(
                &at,
                "standard-is-unattested",
                "tier `standard` is never attested; give the attested tier another name",
            ),
            "attested" => drop(tiers.insert(name, Assurance::Attested)),
            "unattested" => drop(tiers.insert(name, Assurance::Unattested)),
            _ => problems.add(&at, "wrong-value", "must be `attested` or `unattested`"),
        }
    }
    tiers
}

fn read_aliases(file: &mut Reader, problems: &mut Problems) -> BTreeMap<String, Vec<String>> {
    file.child("aliases", problems)
        .map(|table| table.rest_lists(problems).into_iter().collect())
        .unwrap_or_default()
}

fn read_rule(
    table: &mut Reader,
    levels: &Levels,
    tiers: &BTreeMap<String, Assurance>,
    examples: &mut Vec<Example>,
    problems: &mut Problems,
) -> Option<Rule> {
    let id = table.id(problems);
    let when = read_when(table, levels, problems);
    let outcome = read_outcome(table, tiers, problems);
    let rule = id.clone().unwrap_or_default();
    for (key, expected) in [
        ("match", Expected::Decides),
        ("not_match", Expected::LeavesToOthers),
    ] {
        for mut example in table.children(key, problems) {
            examples.extend(read_example(
                &mut example,
                &rule,
                expected,
                levels,
                problems,
            ));
            example.finish(problems);
        }
    }
    Some(Rule {
        id: id?,
        when: when?,
        outcome: outcome?,
    })
}

fn read_when(rule: &mut Reader, levels: &Levels, problems: &mut Problems) -> Option<When> {
    let Some(mut table) = rule.child("when", problems) else {
        let text = "`when` must be given; `when = {}` holds for every request";
        problems.add(rule.at(), "missing-key", text);
        return None;
    };
    let at_least = read_level(
        &mut table,
        "label_at_least",
        levels.lowest(),
        levels,
        problems,
    );
    let at_most = read_level(
        &mut table,
        "label_at_most",
        levels.highest(),
        levels,
        problems,
    );
    let at = table.at().to_owned();
    let mut globs = |key: &str, kind: GlobKind| {
        let mut patterns = table.texts(key, problems);
        if patterns.is_empty() {
            patterns.push("**".to_owned());
        }
        Globs::parse(kind, patterns, &at, problems)
    };
    let repositories = globs("repositories", GlobKind::Path);
    let persons = globs("persons", GlobKind::Name);
    let purposes = globs("purposes", GlobKind::Name);
    let models = globs("models", GlobKind::Name);
    table.finish(problems);
    let (at_least, at_most) = (at_least?, at_most?);
    if at_least > at_most {
        let text = format!(
            "`label_at_least` is above `label_at_most`: no label is both `{}` or more and `{}` or \
             less",
            levels.name(at_least),
            levels.name(at_most)
        );
        problems.add(&at, "contradictory-labels", text);
        return None;
    }
    Some(When {
        at_least,
        at_most,
        repositories,
        persons,
        purposes,
        models,
    })
}

fn read_level(
    table: &mut Reader,
    key: &str,
    absent: Label,
    levels: &Levels,
    problems: &mut Problems,
) -> Option<Label> {
    let Some(name) = table.text(key, problems) else {
        return Some(absent);
    };
    let label = levels.label(&name);
    if label.is_none() {
        let known = levels.names().join("`, `");
        problems.add(
            table.at(),
            "unknown-level",
            format!("`{key}`: `{name}` is not a level; the levels are `{known}`"),
        );
    }
    label
}

fn read_outcome(
    table: &mut Reader,
    tiers: &BTreeMap<String, Assurance>,
    problems: &mut Problems,
) -> Option<Outcome> {
    let send = table.child("send", problems);
    let refuse = table.child("refuse", problems);
    match (send, refuse) {
        (Some(send), None) => Some(read_send(send, tiers, problems)),
        (None, Some(mut refuse)) => {
            let message = refuse.required_text("message", problems);
            refuse.finish(problems);
            message.map(|message| Outcome::Refuse { message })
        }
        (None, None) => {
            problems.add(table.at(), "no-outcome", "write either `send` or `refuse`");
            None
        }
        (Some(_), Some(_)) => {
            problems.add(
                table.at(),
                "two-outcomes",
                "write either `send` or `refuse`, not both",
            );
            None
        }
    }
}

fn read_send(
    mut table: Reader,
    tiers: &BTreeMap<String, Assurance>,
    problems: &mut Problems,
) -> Outcome {
    let named = table.required_texts("tiers", problems);
    let at = table.at().to_owned();
    for tier in named.iter().filter(|tier| !tiers.contains_key(*tier)) {
        let text = format!("tier `{tier}` is not in `[tiers]`");
        problems.add(&at, "unknown-tier", text);
    }
    let mut globs = |key: &str| {
        let patterns = table.required_texts(key, problems);
        Globs::parse(GlobKind::Name, patterns, &at, problems)
    };
    let upstreams = globs("upstreams");
    let models = globs("models");
    let regions = globs("regions");
    table.finish(problems);
    Outcome::Send {
        tiers: named,
        upstreams,
        models,
        regions,
    }
}

fn read_default(
    file: &mut Reader,
    tiers: &BTreeMap<String, Assurance>,
    problems: &mut Problems,
) -> Option<Outcome> {
    let Some(mut table) = file.child(DEFAULT_RULE, problems) else {
        let text = "write `[default]` with `send` or `refuse`: it decides whatever no rule does";
        problems.add(DEFAULT_RULE, "missing-default", text);
        return None;
    };
    let outcome = read_outcome(&mut table, tiers, problems);
    table.finish(problems);
    outcome
}

fn read_example(
    table: &mut Reader,
    rule: &str,
    expected: Expected,
    levels: &Levels,
    problems: &mut Problems,
) -> Option<Example> {
    let at = table.at().to_owned();
    let named = table.required_text("label", problems);
    let repository = table.required_text("repository", problems);
    let person = table.text("person", problems).unwrap_or_default();
    let purpose = table.text("purpose", problems).unwrap_or_default();
    let model = table.required_text("model", problems);
    let named = named?;
    let Some(label) = levels.label(&named) else {
        problems.add(&at, "unknown-level", format!("`{named}` is not a level"));
        return None;
    };
    Some(Example {
        at,
        rule: rule.to_owned(),
        expected,
        label,
        repository: repository?,
        person,
        purpose,
        model: model?,
    })
}

fn run_examples(
    policy: &RoutingPolicy,
    examples: &[Example],
    problems: &mut Problems,
) -> Vec<ExampleOutcome> {
    let mut outcomes = Vec::new();
    for example in examples {
        let request = RouteRequest {
            label: example.label,
            model: &example.model,
            repository: &example.repository,
            person: &example.person,
            purpose: &example.purpose,
        };
        let wish = Wish::read(policy, &example.model, &[]);
        let (decided, _) = policy.select(&request, &wish.names());
        let label = policy.levels.name(example.label);
        let (model, repository) = (&example.model, &example.repository);
        let what = format!("`{label}`, repository `{repository}`, model `{model}`");
        let wanted = example.expected == Expected::Decides;
        outcomes.push(ExampleOutcome {
            location: example.at.clone(),
            rule: example.rule.clone(),
            wanted,
            holds: (decided == example.rule) == wanted,
        });
        match (example.expected, decided == example.rule) {
            (Expected::Decides, false) => problems.add(
                &example.at,
                "example-not-matched",
                format!(
                    "{what} should be decided by rule `{}` and is decided by `{decided}`",
                    example.rule
                ),
            ),
            (Expected::LeavesToOthers, true) => problems.add(
                &example.at,
                "example-matched",
                format!("{what} should not be decided by rule `{decided}` and is"),
            ),
            _ => {}
        }
    }
    outcomes
}
