//! Contradictions between policies and upstreams, found before the first request.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use proofroom_classify::{Assurance, RoutingPolicy};
use proofroom_provider::ProviderPolicy;

use crate::{
    attested::AttestedRoute,
    channel::Channel,
    config::{AttestationRequirement, Upstream, UpstreamsConfig},
    gateway::Config,
    proof::RoutePolicy,
    transport,
};

/// One thing that keeps a gateway from starting.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetupProblem {
    /// The routing policy does not know an upstream's tier.
    #[error(
        "upstream `{upstream}` is of tier `{tier}`, which the routing policy does not know; name it there"
    )]
    UnknownTier {
        /// The upstream.
        upstream: String,
        /// Its tier.
        tier: String,
    },
    /// A rule of the routing policy names an upstream that is not there, so that it never matches.
    #[error(
        "rule `{rule}` of the routing policy sends to upstream `{upstream}`, which is not among the upstreams; \
         correct the name there, or add the upstream"
    )]
    UnknownUpstream {
        /// Id of the rule.
        rule: String,
        /// What it names.
        upstream: String,
    },
    /// The routing policy says that a tier is attested, and an upstream of it is not.
    #[error(
        "upstream `{upstream}` is of the attested tier `{tier}` and shows no evidence; give it an `attestation`"
    )]
    NotAttested {
        /// The upstream.
        upstream: String,
        /// Its tier.
        tier: String,
    },
    /// An appraisal policy that an upstream names was not given.
    #[error("upstream `{upstream}` names appraisal policy `{policy}`, which is not loaded")]
    NoAppraisalPolicy {
        /// The upstream.
        upstream: String,
        /// File name of the policy.
        policy: String,
    },
    /// A policy for a provider that an upstream names was not given, or is for another format.
    #[error(
        "upstream `{upstream}` names policy `{policy}` for its provider, which is not loaded, or is for another format"
    )]
    NoProviderPolicy {
        /// The upstream.
        upstream: String,
        /// File name of the policy.
        policy: String,
    },
    /// TLS cannot be set up.
    #[error("tls cannot be set up")]
    Tls,
    /// The key for records is refused.
    #[error("the key for records is refused; make the deployment's keys anew")]
    RecordKey,
}

impl SetupProblem {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownTier { .. } => "tier-unknown",
            Self::UnknownUpstream { .. } => "upstream-unknown",
            Self::NotAttested { .. } => "tier-not-attested",
            Self::NoAppraisalPolicy { .. } => "appraisal-policy-missing",
            Self::NoProviderPolicy { .. } => "provider-policy-missing",
            Self::RecordKey => "record-key-refused",
            Self::Tls => "tls-setup",
        }
    }
}

/// Everything in which a routing policy and an upstreams file contradict each other, when the
/// appraisal policies of these names and these policies for providers are loaded.
#[must_use]
pub fn contradictions(
    routing: &RoutingPolicy,
    upstreams: &UpstreamsConfig,
    appraisal: &[&Path],
    providers: &BTreeMap<PathBuf, ProviderPolicy>,
) -> Vec<SetupProblem> {
    let tiers: BTreeMap<&str, Assurance> = routing.tiers().collect();
    let mut problems = unknown_upstreams(routing, upstreams);
    for upstream in &upstreams.upstreams {
        problems.extend(check_tier(upstream, &tiers));
        problems.extend(check_policy(upstream, appraisal, providers));
    }
    problems
}

/// Whether the policy that an upstream's evidence is judged by is loaded.
fn check_policy(
    upstream: &Upstream,
    appraisal: &[&Path],
    providers: &BTreeMap<PathBuf, ProviderPolicy>,
) -> Option<SetupProblem> {
    let name = upstream.name.clone();
    match &upstream.attestation {
        AttestationRequirement::None => None,
        AttestationRequirement::ProofroomUpstream { appraisal_policy } => {
            let loaded = appraisal.contains(&appraisal_policy.as_path());
            (!loaded).then(|| SetupProblem::NoAppraisalPolicy {
                upstream: name,
                policy: appraisal_policy.display().to_string(),
            })
        }
        AttestationRequirement::Provider { format, policy } => {
            let loaded = providers
                .get(policy)
                .is_some_and(|found| found.format() == *format);
            (!loaded).then(|| SetupProblem::NoProviderPolicy {
                upstream: name,
                policy: policy.display().to_string(),
            })
        }
    }
}

fn unknown_upstreams(routing: &RoutingPolicy, upstreams: &UpstreamsConfig) -> Vec<SetupProblem> {
    let known = |name: &str| upstreams.upstreams.iter().any(|known| known.name == name);
    let unknown = routing.named_upstreams().filter(|(_, name)| !known(name));
    let problem = |(rule, upstream): (&str, &str)| SetupProblem::UnknownUpstream {
        rule: rule.to_owned(),
        upstream: upstream.to_owned(),
    };
    unknown.map(problem).collect()
}

/// A way to every upstream.
pub(crate) fn channels(config: &Config) -> Result<BTreeMap<String, Channel>, Vec<SetupProblem>> {
    let client = |authorities| {
        let client = transport::standard_client(authorities);
        client.map(Arc::new).map_err(|_| vec![SetupProblem::Tls])
    };
    let public = client(None)?;
    let loaded: Vec<&Path> = config.appraisal.keys().map(PathBuf::as_path).collect();
    let (routing, upstreams) = (&config.routing, &config.upstreams);
    let problems = contradictions(routing, upstreams, &loaded, &config.providers.policies);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut channels = BTreeMap::new();
    for upstream in &config.upstreams.upstreams {
        // A missing one is a contradiction, found above.
        let policy = match &upstream.attestation {
            AttestationRequirement::None => None,
            AttestationRequirement::ProofroomUpstream { appraisal_policy } => {
                let Some(policy) = config.appraisal.get(appraisal_policy) else {
                    continue;
                };
                Some(RoutePolicy::Upstream(Box::new(policy.clone())))
            }
            AttestationRequirement::Provider { policy, .. } => {
                let Some(policy) = config.providers.policies.get(policy) else {
                    continue;
                };
                Some(RoutePolicy::Provider(Box::new(policy.clone())))
            }
        };
        let channel = match policy {
            None => {
                let named = upstream.authorities.clone();
                let client =
                    named.map_or_else(|| Ok(Arc::clone(&public)), |own| client(Some(own)))?;
                Channel::Standard(Arc::clone(upstream), client)
            }
            Some(policy) => {
                let route = AttestedRoute::new(Arc::clone(upstream), policy);
                Channel::Attested(Arc::new(route))
            }
        };
        channels.insert(upstream.name.clone(), channel);
    }
    Ok(channels)
}

fn check_tier(upstream: &Upstream, tiers: &BTreeMap<&str, Assurance>) -> Option<SetupProblem> {
    let (name, tier) = (upstream.name.clone(), upstream.tier.clone());
    let shows_none = upstream.attestation == AttestationRequirement::None;
    match tiers.get(tier.as_str()) {
        None => Some(SetupProblem::UnknownTier {
            upstream: name,
            tier,
        }),
        Some(Assurance::Attested) if shows_none => Some(SetupProblem::NotAttested {
            upstream: name,
            tier,
        }),
        Some(_) => None,
    }
}
