//! Tries every request that a routing table can tell apart. A condition is a set of globs, so one
//! name per glob, and one that no glob matches, stand for all names. Each upstream is offered alone:
//! whatever fails or is missing, a request goes nowhere that it does not go then.

use std::collections::{BTreeMap, BTreeSet};

use super::{Assurance, Outcome, RouteDecision, RouteRequest, RoutingPolicy, Rule, UpstreamOffer};
use crate::{Label, table::Globs};

/// Most requests that a survey tries; a table of fifty rules needs fewer.
pub const MAX_SURVEYED: u64 = 1 << 21;

/// What a survey of a routing table found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// How many pairs of a request and an upstream were tried.
    pub tried: u64,
    /// Whether those are all: false where they would be more than [`MAX_SURVEYED`].
    pub complete: bool,
    /// Globs for which no name could be made up, so that requests they match were not tried.
    pub without_example: Vec<String>,
    /// Where requests went, sorted.
    pub ways: Vec<WayOut>,
    /// How many requests with the highest label reached a tier that proves nothing about itself,
    /// or met a rule that names one. Anything but zero is a defect of this product: such a file is
    /// refused when it is loaded.
    pub highest_unattested: u64,
}

/// Requests of one label that went one way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WayOut {
    /// Their label.
    pub label: Label,
    /// The rule that decided.
    pub rule: String,
    /// The tier; absent where the upstream was refused.
    pub tier: Option<String>,
    /// How many.
    pub requests: u64,
}

/// Names that stand for all names.
struct Classes {
    repositories: Vec<String>,
    persons: Vec<String>,
    purposes: Vec<String>,
    models: Vec<String>,
    offers: Vec<UpstreamOffer>,
    without_example: Vec<String>,
}

/// A name that no sensible glob matches.
const NOBODY: &str = "proofroom survey\u{1}nobody";

pub(super) fn survey(policy: &RoutingPolicy) -> Survey {
    let classes = Classes::of(policy);
    let mut found = Found::default();
    let mut complete = true;
    'all: for label in policy.levels.labels() {
        for (repository, person, purpose) in classes.sessions() {
            for model in &classes.models {
                if found.tried >= MAX_SURVEYED {
                    complete = false;
                    break 'all;
                }
                let request = RouteRequest {
                    label,
                    model,
                    repository,
                    person,
                    purpose,
                };
                found.request(policy, &request, &classes.offers);
            }
        }
    }
    Survey {
        tried: found.tried,
        complete,
        without_example: classes.without_example,
        highest_unattested: found.highest_unattested,
        ways: found.ways(),
    }
}

#[derive(Default)]
struct Found {
    tried: u64,
    ways: BTreeMap<(Label, String, Option<String>), u64>,
    highest_unattested: u64,
}

impl Found {
    fn request(
        &mut self,
        policy: &RoutingPolicy,
        request: &RouteRequest<'_>,
        offers: &[UpstreamOffer],
    ) {
        let highest = request.label == policy.levels.highest();
        if highest && may_leave(policy, request) {
            self.highest_unattested = self.highest_unattested.saturating_add(1);
        }
        for offer in offers {
            let decision = policy.route(request, std::slice::from_ref(offer));
            let (rule, tier, bare) = match decision {
                RouteDecision::Refuse { rule, .. } => (rule, None, false),
                RouteDecision::Send {
                    rule,
                    tier,
                    assurance,
                    ..
                } => (rule, Some(tier), assurance == Assurance::Unattested),
            };
            self.tried = self.tried.saturating_add(1);
            if highest && bare {
                self.highest_unattested = self.highest_unattested.saturating_add(1);
            }
            let count = self.ways.entry((request.label, rule, tier)).or_default();
            *count = count.saturating_add(1);
        }
    }

    fn ways(self) -> Vec<WayOut> {
        let way = |((label, rule, tier), requests)| WayOut {
            label,
            rule,
            tier,
            requests,
        };
        self.ways.into_iter().map(way).collect()
    }
}

/// Whether the rule alone, without the second lock in `decide`, would let `request` out unattested.
fn may_leave(policy: &RoutingPolicy, request: &RouteRequest<'_>) -> bool {
    let wish = super::decide::Wish::read(policy, request.model, &[]);
    match policy.select(request, &wish.names()).1 {
        Outcome::Refuse { .. } => false,
        Outcome::Send { tiers, .. } => tiers
            .iter()
            .any(|tier| policy.tiers.get(tier) != Some(&Assurance::Attested)),
    }
}

impl Classes {
    fn of(policy: &RoutingPolicy) -> Self {
        let mut missing = BTreeSet::new();
        let mut names = |globs: Vec<&Globs>| examples(&globs, &mut missing);
        let when = |part: fn(&Rule) -> &Globs| policy.rules.iter().map(part).collect::<Vec<_>>();
        let mut told_apart = |part| {
            let globs = when(part);
            let names = names(globs.clone());
            one_of_each(&globs, names)
        };
        let repositories = told_apart(|rule| &rule.when.repositories);
        let persons = told_apart(|rule| &rule.when.persons);
        let purposes = told_apart(|rule| &rule.when.purposes);
        let mut model_globs = when(|rule| &rule.when.models);
        let (mut upstream_globs, mut region_globs) = (Vec::new(), Vec::new());
        let outcomes = policy.rules.iter().map(|rule| &rule.outcome);
        for outcome in outcomes.chain([&policy.default]) {
            if let Outcome::Send {
                upstreams,
                models,
                regions,
                ..
            } = outcome
            {
                model_globs.push(models);
                upstream_globs.push(upstreams);
                region_globs.push(regions);
            }
        }
        let mut bare = names(model_globs);
        let (upstreams, regions) = (names(upstream_globs), names(region_globs));
        for (alias, stands_for) in &policy.aliases {
            bare.push(alias.clone());
            bare.extend(stands_for.iter().cloned());
        }
        bare.sort_unstable();
        bare.dedup();
        let offers = offers(policy, &upstreams, &regions, &bare);
        Self {
            repositories,
            persons,
            purposes,
            models: pinned(policy, &upstreams, bare),
            offers,
            without_example: missing.into_iter().collect(),
        }
    }

    /// Every repository with every person and every purpose.
    fn sessions(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.repositories.iter().flat_map(move |repository| {
            let of = self.persons.iter().flat_map(move |person| {
                let purposes = self.purposes.iter();
                purposes.map(move |purpose| (person.as_str(), purpose.as_str()))
            });
            of.map(move |(person, purpose)| (repository.as_str(), person, purpose))
        })
    }
}

/// Every tier, one that the file does not know among them, in every region, under every name.
fn offers(
    policy: &RoutingPolicy,
    upstreams: &[String],
    regions: &[String],
    models: &[String],
) -> Vec<UpstreamOffer> {
    let mut offers = Vec::new();
    for tier in policy.tiers.keys().map(String::as_str).chain([NOBODY]) {
        for name in upstreams {
            for region in regions {
                offers.push(UpstreamOffer {
                    name: name.clone(),
                    tier: tier.to_owned(),
                    models: models.to_vec(),
                    region: region.clone(),
                });
            }
        }
    }
    offers
}

/// Every model free, pinned to every tier and pinned to every upstream.
fn pinned(policy: &RoutingPolicy, upstreams: &[String], bare: Vec<String>) -> Vec<String> {
    let heads: Vec<&String> = policy.tiers.keys().chain(upstreams).collect();
    let pins = bare
        .iter()
        .flat_map(|model| heads.iter().map(move |head| format!("{head}/{model}")));
    let pins: Vec<String> = pins.collect();
    bare.into_iter().chain(pins).collect()
}

/// One name for each glob, and one for none of them.
fn examples(globs: &[&Globs], missing: &mut BTreeSet<String>) -> Vec<String> {
    let mut names = BTreeSet::from([NOBODY.to_owned()]);
    for set in globs {
        for pattern in set.written() {
            let name = example(pattern);
            if set.matches(&name) {
                names.insert(name);
            } else {
                missing.insert(pattern.to_owned());
            }
        }
    }
    names.into_iter().collect()
}

/// One of each group of names that the same conditions hold for.
fn one_of_each(globs: &[&Globs], names: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let held = |name: &String| {
        globs
            .iter()
            .map(|set| set.matches(name))
            .collect::<Vec<_>>()
    };
    let first = names.into_iter().filter(|name| seen.insert(held(name)));
    first.collect()
}

/// A name that `pattern` matches, if it is one of the usual patterns.
fn example(pattern: &str) -> String {
    let mut name = String::new();
    let mut rest = pattern.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '*' => {
                while rest.next_if_eq(&'*').is_some() {}
                name.push('x');
            }
            '?' => name.push('x'),
            '[' => name.extend(skip_to(&mut rest, ']')),
            '{' => name.push_str(&first_choice(&mut rest)),
            '\\' => name.extend(rest.next()),
            other => name.push(other),
        }
    }
    name
}

/// The first character of a class, whose rest is skipped. A negated class gets no example.
fn skip_to(rest: &mut impl Iterator<Item = char>, end: char) -> Option<char> {
    let first = rest.next();
    let _ = rest.find(|next| *next == end);
    first
}

fn first_choice(rest: &mut impl Iterator<Item = char>) -> String {
    let all: String = rest.take_while(|next| *next != '}').collect();
    example(all.split(',').next().unwrap_or_default())
}

#[cfg(test)]
mod tests;
