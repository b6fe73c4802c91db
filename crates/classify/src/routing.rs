//! Where a request may go: ordered rules over label, repository and model. Decides; sends nothing.

mod coverage;
mod decide;
mod load;
mod survey;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use proofroom_canonical::Digest;

pub use survey::{MAX_SURVEYED, Survey, WayOut};

use crate::{
    ClassificationPolicy, ExampleOutcome, Label, Levels, PolicyProblem, problem::Problems,
    table::Globs,
};

/// A routing policy that was loaded without problems and whose examples came out as written.
#[derive(Clone, Debug)]
pub struct RoutingPolicy {
    pub(crate) levels: Levels,
    pub(crate) tiers: BTreeMap<String, Assurance>,
    pub(crate) aliases: BTreeMap<String, Vec<String>>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) default: Outcome,
    pub(crate) digest: Digest,
}

/// What a tier proves about itself before a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assurance {
    /// Nothing. The tier called `standard` is always of this kind.
    Unattested,
    /// Fresh TEE evidence must be verified before each connection.
    Attested,
}

/// What is to be routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRequest<'a> {
    /// The session's high-water label, not the label of this request alone.
    pub label: Label,
    /// The model as the client wrote it: a model, an alias of the policy, or one of these behind
    /// a pin (`<tier>/` or `<upstream>/`).
    pub model: &'a str,
    /// The repository of the session.
    pub repository: &'a str,
    /// The person for whom the session runs; empty where nobody knows.
    pub person: &'a str,
    /// What the session was opened for, as its key or whoever started it says; empty where nobody said.
    pub purpose: &'a str,
}

/// An upstream that the gateway is configured for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamOffer {
    /// Its name, unique among the offers.
    pub name: String,
    /// The tier it is configured as.
    pub tier: String,
    /// The models it serves, under the names it knows them by.
    pub models: Vec<String>,
    /// The region it is in.
    pub region: String,
}

/// What the policy decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteDecision {
    /// Send to one of `candidates`, first choice first. All are of `tier`.
    Send {
        /// Id of the deciding rule; `default` for the default.
        rule: String,
        /// The tier.
        tier: String,
        /// Whether the tier must show evidence first.
        assurance: Assurance,
        /// At least one.
        candidates: Vec<Candidate>,
        /// Every other upstream, with the reason.
        rejected: Vec<Rejection>,
    },
    /// Send nowhere.
    Refuse {
        /// Id of the deciding rule; `default` for the default.
        rule: String,
        /// Which kind of refusal.
        code: Refusal,
        /// What the person at the keyboard should know and can do.
        message: String,
        /// Every upstream that the rule looked at, with the reason.
        rejected: Vec<Rejection>,
    },
}

/// An upstream that may take the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Name of the upstream.
    pub upstream: String,
    /// The model to ask it for, with pin and alias resolved.
    pub model: String,
}

/// An upstream that may not take the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Name of the upstream.
    pub upstream: String,
    /// Why not.
    pub code: Why,
}

/// Why an upstream is not a candidate; the first that holds, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The client pinned another tier or upstream.
    NotPinned,
    /// It does not serve the model.
    ModelNotServed,
    /// The rule does not let the request go to its tier.
    TierNotAllowed,
    /// The rule does not name it.
    UpstreamNotAllowed,
    /// The rule does not name the model.
    ModelNotAllowed,
    /// The rule does not name its region.
    RegionNotAllowed,
    /// A tier that the rule prefers has a candidate.
    TierNotPreferred,
}

/// Kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The rule refuses.
    RefusedByRule,
    /// The model or pin asked for exists only on tiers that the label may not go to.
    LabelRequiresTier,
    /// No offered upstream serves the model.
    ModelNotServed,
    /// Upstreams of an allowed tier serve it, and the rule allows none of them.
    NoUpstreamAllowed,
}

impl RoutingPolicy {
    /// Reads a routing policy for the levels of `classification` and runs its examples.
    /// `file` is the name that problems carry.
    ///
    /// # Errors
    /// Every problem found, at least one.
    pub fn parse(
        text: &str,
        file: &str,
        classification: &ClassificationPolicy,
    ) -> Result<Self, Vec<PolicyProblem>> {
        let mut problems = Problems::new(file);
        let policy = load::load(text, classification.levels(), &mut problems);
        match policy {
            Some((policy, _)) if problems.is_empty() => Ok(policy),
            _ => Err(problems.into_list()),
        }
    }

    /// Reads a routing policy as [`Self::parse`] does, and says how each of its examples comes
    /// out, also where one does not come out as written.
    ///
    /// # Errors
    /// Every problem found besides examples, at least one.
    pub fn try_examples(
        text: &str,
        file: &str,
        classification: &ClassificationPolicy,
    ) -> Result<Vec<ExampleOutcome>, Vec<PolicyProblem>> {
        let mut problems = Problems::new(file);
        let loaded = load::load(text, classification.levels(), &mut problems);
        let mut list = problems.into_list();
        list.retain(|problem| !problem.code().starts_with("example-"));
        match loaded {
            Some((_, outcomes)) if list.is_empty() => Ok(outcomes),
            _ => Err(list),
        }
    }

    /// Decides where `request` may go among `offers`, which are in order of preference.
    #[must_use]
    pub fn route(&self, request: &RouteRequest<'_>, offers: &[UpstreamOffer]) -> RouteDecision {
        decide::route(self, request, offers)
    }

    /// Digest of the file's bytes.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Tries every request that the file's conditions can tell apart, and says where each may go.
    #[must_use]
    pub fn survey(&self) -> Survey {
        survey::survey(self)
    }

    /// The ids of its rules, in order; `default` last.
    pub fn rules(&self) -> impl Iterator<Item = &str> {
        let ids = self.rules.iter().map(|rule| rule.id.as_str());
        ids.chain(["default"])
    }

    /// Every upstream that a rule names without a wildcard, with the rule's id; `default` for the default.
    pub fn named_upstreams(&self) -> impl Iterator<Item = (&str, &str)> {
        let rules = self
            .rules
            .iter()
            .map(|rule| (rule.id.as_str(), &rule.outcome));
        let outcomes = rules.chain([("default", &self.default)]);
        outcomes.flat_map(|(rule, outcome)| {
            let upstreams = match outcome {
                Outcome::Send { upstreams, .. } => Some(upstreams),
                Outcome::Refuse { .. } => None,
            };
            let names = upstreams.into_iter().flat_map(Globs::literals);
            names.map(move |name| (rule, name))
        })
    }

    /// The tiers that this policy knows and what each proves.
    pub fn tiers(&self) -> impl Iterator<Item = (&str, Assurance)> {
        self.tiers
            .iter()
            .map(|(name, assurance)| (name.as_str(), *assurance))
    }
}

impl Why {
    /// Stable kebab-case name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotPinned => "not-pinned",
            Self::ModelNotServed => "model-not-served",
            Self::TierNotAllowed => "tier-not-allowed",
            Self::UpstreamNotAllowed => "upstream-not-allowed",
            Self::ModelNotAllowed => "model-not-allowed",
            Self::RegionNotAllowed => "region-not-allowed",
            Self::TierNotPreferred => "tier-not-preferred",
        }
    }
}

impl Refusal {
    /// Stable kebab-case name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::RefusedByRule => "refused-by-rule",
            Self::LabelRequiresTier => "label-requires-tier",
            Self::ModelNotServed => "model-not-served",
            Self::NoUpstreamAllowed => "no-upstream-allowed",
        }
    }
}

/// One rule: the first whose `when` holds decides.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) when: When,
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Debug)]
pub(crate) struct When {
    pub(crate) at_least: Label,
    pub(crate) at_most: Label,
    pub(crate) repositories: Globs,
    pub(crate) persons: Globs,
    pub(crate) purposes: Globs,
    pub(crate) models: Globs,
}

#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Send {
        tiers: Vec<String>,
        upstreams: Globs,
        models: Globs,
        regions: Globs,
    },
    Refuse {
        message: String,
    },
}

impl When {
    /// Whether the rule is for this request; `names` are the name asked for and, behind an alias,
    /// the models it stands for. One of them in the rule's `models` is enough.
    pub(crate) fn holds(&self, request: &RouteRequest<'_>, names: &[&str]) -> bool {
        (self.at_least..=self.at_most).contains(&request.label)
            && self.repositories.matches(request.repository)
            && self.persons.matches(request.person)
            && self.purposes.matches(request.purpose)
            && names.iter().any(|name| self.models.matches(name))
    }
}
