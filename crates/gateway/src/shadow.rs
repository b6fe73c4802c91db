//! Rules that decide beside the ones in force and change nothing: what they would have said is in the
//! record of each run, as rule ids, labels and tiers.

use std::collections::{BTreeMap, BTreeSet};

use proofroom_canonical::Digest;
use proofroom_classify::{
    Classification, ClassificationPolicy, Classifier, Label, Levels, RouteDecision, RouteRequest,
    RoutingPolicy, UpstreamOffer,
};
use proofroom_record::statement::{ShadowDifference, ShadowResult};

/// Rules to try beside those in force.
#[derive(Debug)]
pub struct ShadowRules {
    /// Which findings would carry which label.
    pub classification: ClassificationPolicy,
    /// Which label could go where.
    pub routing: RoutingPolicy,
}

/// [`ShadowRules`], ready to be tried.
pub(crate) struct Shadow {
    pub(crate) classifier: Classifier,
    routing: RoutingPolicy,
    digest: Digest,
}

/// What the rules found in one request.
pub(crate) struct Shadowed {
    pub(crate) label: Label,
    differences: Vec<ShadowDifference>,
}

impl Shadow {
    pub(crate) fn new(rules: ShadowRules) -> Self {
        Self {
            classifier: Classifier::new(&rules.classification),
            digest: rules.classification.digest(),
            routing: rules.routing,
        }
    }

    pub(crate) fn levels(&self) -> &Levels {
        self.classifier.policy().levels()
    }

    /// Compares what both sets of rules found.
    pub(crate) fn compare(
        &self,
        levels: &Levels,
        found: &Classification,
        shadow: &Classification,
    ) -> Shadowed {
        let (from, to) = (by_rule(levels, found), by_rule(self.levels(), shadow));
        let rules: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
        let differences = rules
            .into_iter()
            .filter(|rule| from.get(*rule) != to.get(*rule))
            .map(|rule| ShadowDifference {
                rule: rule.clone(),
                from: from.get(rule).cloned(),
                to: to.get(rule).cloned(),
            });
        Shadowed {
            label: shadow.label,
            differences: differences.collect(),
        }
    }

    /// What a record says: `mark` is the session's under these rules.
    pub(crate) fn result(
        &self,
        shadowed: Shadowed,
        mark: Label,
        request: RouteRequest<'_>,
        offers: &[UpstreamOffer],
    ) -> ShadowResult {
        let request = RouteRequest {
            label: mark,
            ..request
        };
        let (rule, tier) = match self.routing.route(&request, offers) {
            RouteDecision::Refuse { rule, .. } => (rule, None),
            RouteDecision::Send { rule, tier, .. } => (rule, Some(tier)),
        };
        ShadowResult {
            classification: self.digest,
            routing: self.routing.digest(),
            label: self.levels().name(shadowed.label).to_owned(),
            high_water_after: self.levels().name(mark).to_owned(),
            differences: shadowed.differences,
            rule,
            tier,
        }
    }
}

/// The highest label that each rule asked for, by name.
fn by_rule(levels: &Levels, found: &Classification) -> BTreeMap<String, String> {
    let mut highest: BTreeMap<String, Label> = BTreeMap::new();
    for finding in &found.findings {
        let label = highest.entry(finding.rule.clone()).or_insert(finding.label);
        *label = (*label).max(finding.label);
    }
    let named = highest
        .into_iter()
        .map(|(rule, label)| (rule, levels.name(label).to_owned()));
    named.collect()
}
