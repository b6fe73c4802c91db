//! Applies a routing policy to one request. A pin is honoured or refused, never rerouted.

use super::{
    Assurance, Candidate, Outcome, Refusal, Rejection, RouteDecision, RouteRequest, RoutingPolicy,
    UpstreamOffer, Why,
};
use crate::table::Globs;

/// What the client asked for, with its pin taken apart.
pub(super) struct Wish<'a> {
    pin: Pin<'a>,
    /// The name without the pin.
    name: &'a str,
    /// The models that name stands for, best first.
    models: Vec<&'a str>,
}

enum Pin<'a> {
    Free,
    Tier(&'a str),
    Upstream(&'a str),
}

/// The parts of a sending outcome.
struct Allowed<'a> {
    tiers: &'a [String],
    upstreams: &'a Globs,
    models: &'a Globs,
    regions: &'a Globs,
}

pub(super) fn route(
    policy: &RoutingPolicy,
    request: &RouteRequest<'_>,
    offers: &[UpstreamOffer],
) -> RouteDecision {
    let wish = Wish::read(policy, request.model, offers);
    let (rule, outcome) = policy.select(request, &wish.names());
    match outcome {
        Outcome::Refuse { message } => RouteDecision::Refuse {
            rule: rule.to_owned(),
            code: Refusal::RefusedByRule,
            message: message.clone(),
            rejected: Vec::new(),
        },
        Outcome::Send {
            tiers,
            upstreams,
            models,
            regions,
        } => {
            let allowed = Allowed {
                tiers,
                upstreams,
                models,
                regions,
            };
            send(policy, request, &wish, rule, &allowed, offers)
        }
    }
}

impl RoutingPolicy {
    /// The first rule whose condition holds, or the default.
    pub(super) fn select(&self, request: &RouteRequest<'_>, names: &[&str]) -> (&str, &Outcome) {
        let first = self
            .rules
            .iter()
            .find(|rule| rule.when.holds(request, names));
        first.map_or((DEFAULT_RULE, &self.default), |rule| {
            (&rule.id, &rule.outcome)
        })
    }
}

impl<'a> Wish<'a> {
    pub(super) fn read(
        policy: &'a RoutingPolicy,
        model: &'a str,
        offers: &'a [UpstreamOffer],
    ) -> Self {
        let (pin, name) = match model.split_once('/') {
            Some((head, rest)) if policy.tiers.contains_key(head) => (Pin::Tier(head), rest),
            Some((head, rest)) if offers.iter().any(|o| o.name == head) => {
                (Pin::Upstream(head), rest)
            }
            _ => (Pin::Free, model),
        };
        let models = match policy.aliases.get(name) {
            Some(models) => models.iter().map(String::as_str).collect(),
            None => vec![name],
        };
        Self { pin, name, models }
    }

    /// Every name a rule may know this wish by.
    pub(super) fn names(&self) -> Vec<&'a str> {
        let mut names = vec![self.name];
        names.extend(self.models.iter().filter(|model| **model != self.name));
        names
    }

    fn pins_to(&self, offer: &UpstreamOffer) -> bool {
        match self.pin {
            Pin::Free => true,
            Pin::Tier(tier) => offer.tier == tier,
            Pin::Upstream(name) => offer.name == name,
        }
    }

    fn served_by(&self, offer: &UpstreamOffer) -> impl Iterator<Item = &'a str> {
        let serves = |model: &&str| offer.models.iter().any(|served| served == *model);
        self.models.iter().copied().filter(serves)
    }
}

fn send(
    policy: &RoutingPolicy,
    request: &RouteRequest<'_>,
    wish: &Wish<'_>,
    rule: &str,
    allowed: &Allowed<'_>,
    offers: &[UpstreamOffer],
) -> RouteDecision {
    let mut judged: Vec<(&UpstreamOffer, Result<&str, Why>)> = offers
        .iter()
        .map(|offer| (offer, judge(policy, request, wish, allowed, offer)))
        .collect();
    let has_candidate = |tier: &&String| {
        let of_tier = |(offer, verdict): &(&UpstreamOffer, Result<&str, Why>)| {
            verdict.is_ok() && offer.tier == **tier
        };
        judged.iter().any(of_tier)
    };
    let chosen = allowed.tiers.iter().find(has_candidate);
    for (offer, verdict) in &mut judged {
        if verdict.is_ok() && Some(&offer.tier) != chosen {
            *verdict = Err(Why::TierNotPreferred);
        }
    }
    let reject = |(offer, verdict): &(&UpstreamOffer, Result<&str, Why>)| {
        verdict.err().map(|code| Rejection {
            upstream: offer.name.clone(),
            code,
        })
    };
    let rejected: Vec<Rejection> = judged.iter().filter_map(reject).collect();
    let Some((tier, assurance)) = chosen.and_then(|t| Some((t, *policy.tiers.get(t)?))) else {
        return refuse(policy, request, rule, allowed, rejected);
    };
    let candidate = |(offer, verdict): &(&UpstreamOffer, Result<&str, Why>)| {
        verdict.ok().map(|model| Candidate {
            upstream: offer.name.clone(),
            model: model.to_owned(),
        })
    };
    RouteDecision::Send {
        rule: rule.to_owned(),
        tier: tier.clone(),
        assurance,
        candidates: judged.iter().filter_map(candidate).collect(),
        rejected,
    }
}

/// The model to ask `offer` for, or the first reason against it.
fn judge<'a>(
    policy: &RoutingPolicy,
    request: &RouteRequest<'_>,
    wish: &Wish<'a>,
    allowed: &Allowed<'_>,
    offer: &UpstreamOffer,
) -> Result<&'a str, Why> {
    if !wish.pins_to(offer) {
        return Err(Why::NotPinned);
    }
    if wish.served_by(offer).next().is_none() {
        return Err(Why::ModelNotServed);
    }
    let assurance = policy.tiers.get(&offer.tier).copied();
    // loading already refuses such a rule; the worst mistake gets a second lock
    let bare = request.label == policy.levels.highest() && assurance != Some(Assurance::Attested);
    if !allowed.tiers.contains(&offer.tier) || assurance.is_none() || bare {
        return Err(Why::TierNotAllowed);
    }
    if !allowed.upstreams.matches(&offer.name) {
        return Err(Why::UpstreamNotAllowed);
    }
    let model = wish
        .served_by(offer)
        .find(|model| allowed.models.matches(model))
        .ok_or(Why::ModelNotAllowed)?;
    if !allowed.regions.matches(&offer.region) {
        return Err(Why::RegionNotAllowed);
    }
    Ok(model)
}

fn refuse(
    policy: &RoutingPolicy,
    request: &RouteRequest<'_>,
    rule: &str,
    allowed: &Allowed<'_>,
    rejected: Vec<Rejection>,
) -> RouteDecision {
    let has = |why: Why| rejected.iter().any(|r| r.code == why);
    let label = policy.levels.name(request.label);
    let tiers = allowed.tiers.join("` or `");
    let model: String = request.model.chars().take(MAX_SHOWN_MODEL).collect();
    let (code, message) = if [
        Why::UpstreamNotAllowed,
        Why::ModelNotAllowed,
        Why::RegionNotAllowed,
    ]
    .into_iter()
    .any(has)
    {
        let text = format!(
            "rule `{rule}` allows no upstream that serves `{model}` for a `{label}` conversation; \
             ask for another model"
        );
        (Refusal::NoUpstreamAllowed, text)
    } else if has(Why::TierNotAllowed) {
        let text = format!(
            "this conversation is labelled `{label}`, and rule `{rule}` sends that to tier \
             `{tiers}` only; `{model}` is not there: ask for a model of that tier, or start a new \
             session without the labelled content"
        );
        (Refusal::LabelRequiresTier, text)
    } else {
        let text = format!("no configured upstream serves `{model}`; list the models and choose");
        (Refusal::ModelNotServed, text)
    };
    RouteDecision::Refuse {
        rule: rule.to_owned(),
        code,
        message,
        rejected,
    }
}

/// The rule id that stands for the policy's default.
pub(super) const DEFAULT_RULE: &str = "default";

/// Most characters of a client's model name that a refusal repeats.
const MAX_SHOWN_MODEL: usize = 100;
