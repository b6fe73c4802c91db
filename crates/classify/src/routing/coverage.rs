//! Which labels can still reach a rule: finds rules that never decide and labels that would leave
//! the attested tiers. Looks only at what is certain from the written conditions.

use std::collections::BTreeMap;

use super::{Assurance, Outcome, Rule, When, decide::DEFAULT_RULE};
use crate::{Label, Levels, problem::Problems};

/// Reports unreachable and contradictory rules, and any way for the highest label to an
/// unattested tier.
pub(super) fn report(
    levels: &Levels,
    tiers: &BTreeMap<String, Assurance>,
    rules: &[(String, Rule)],
    default: &Outcome,
    problems: &mut Problems,
) {
    for (index, (at, rule)) in rules.iter().enumerate() {
        let earlier = rules.get(..index).unwrap_or_default();
        let reach = |label: &Label| !is_covered(earlier, *label, &rule.when);
        let reached: Vec<Label> = levels
            .labels()
            .filter(|label| (rule.when.at_least..=rule.when.at_most).contains(label))
            .filter(reach)
            .collect();
        if reached.is_empty() {
            report_unreachable(at, rule, earlier, problems);
        } else if reached.contains(&levels.highest()) {
            report_unattested(at, &rule.id, &rule.outcome, levels, tiers, problems);
        }
    }
    let all = |rule: &When| {
        rule.repositories.any()
            && rule.persons.any()
            && rule.purposes.any()
            && rule.models.any()
            && (rule.at_least..=rule.at_most).contains(&levels.highest())
    };
    if !rules.iter().any(|(_, rule)| all(&rule.when)) {
        report_unattested(DEFAULT_RULE, DEFAULT_RULE, default, levels, tiers, problems);
    }
}

fn is_covered(earlier: &[(String, Rule)], label: Label, when: &When) -> bool {
    earlier.iter().any(|(_, rule)| {
        (rule.when.at_least..=rule.when.at_most).contains(&label)
            && rule.when.repositories.covers(&when.repositories)
            && rule.when.persons.covers(&when.persons)
            && rule.when.purposes.covers(&when.purposes)
            && rule.when.models.covers(&when.models)
    })
}

fn report_unreachable(at: &str, rule: &Rule, earlier: &[(String, Rule)], problems: &mut Problems) {
    let shadow = earlier.iter().find(|(_, first)| {
        first.when.at_least <= rule.when.at_least
            && first.when.at_most >= rule.when.at_most
            && first.when.repositories.covers(&rule.when.repositories)
            && first.when.persons.covers(&rule.when.persons)
            && first.when.purposes.covers(&rule.when.purposes)
            && first.when.models.covers(&rule.when.models)
    });
    match shadow {
        Some((_, first))
            if std::mem::discriminant(&first.outcome) != std::mem::discriminant(&rule.outcome) =>
        {
            problems.add(
                at,
                "contradictory-rules",
                format!(
                    "rule `{}` can never decide and contradicts rule `{}`, which comes first: one \
                     sends and the other refuses",
                    rule.id, first.id
                ),
            );
        }
        _ => problems.add(
            at,
            "unreachable-rule",
            format!(
                "rule `{}` can never decide: earlier rules take every request it is for",
                rule.id
            ),
        ),
    }
}

fn report_unattested(
    at: &str,
    id: &str,
    outcome: &Outcome,
    levels: &Levels,
    tiers: &BTreeMap<String, Assurance>,
    problems: &mut Problems,
) {
    let Outcome::Send { tiers: named, .. } = outcome else {
        return;
    };
    for tier in named {
        if tiers.get(tier) != Some(&Assurance::Attested) {
            problems.add(
                at,
                "highest-label-unattested",
                format!(
                    "rule `{id}` would send `{}` to tier `{tier}`, which proves nothing about \
                     itself; name attested tiers only, or bound the rule with `label_at_most`",
                    levels.name(levels.highest())
                ),
            );
        }
    }
}
