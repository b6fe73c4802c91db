//! Contradictions between policies and upstreams, found before the first request.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use proofroom_classify::{Assurance, RoutingPolicy};

use crate::{
    attested::AttestedRoute,
    channel::Channel,
    config::{AttestationRequirement, Upstream, UpstreamsConfig},
    gateway::Config,
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
            Self::NotAttested { .. } => "tier-not-attested",
            Self::NoAppraisalPolicy { .. } => "appraisal-policy-missing",
            Self::RecordKey => "record-key-refused",
            Self::Tls => "tls-setup",
        }
    }
}

/// Everything in which a routing policy and an upstreams file contradict each other, when the
/// appraisal policies of these names are loaded.
#[must_use]
pub fn contradictions(
    routing: &RoutingPolicy,
    upstreams: &UpstreamsConfig,
    appraisal: &[&Path],
) -> Vec<SetupProblem> {
    let tiers: BTreeMap<&str, Assurance> = routing.tiers().collect();
    let mut problems = Vec::new();
    for upstream in &upstreams.upstreams {
        problems.extend(check_tier(upstream, &tiers));
        if let AttestationRequirement::ProofroomUpstream { appraisal_policy } =
            &upstream.attestation
            && !appraisal.contains(&appraisal_policy.as_path())
        {
            problems.push(SetupProblem::NoAppraisalPolicy {
                upstream: upstream.name.clone(),
                policy: appraisal_policy.display().to_string(),
            });
        }
    }
    problems
}

/// A way to every upstream.
pub(crate) fn channels(config: &Config) -> Result<BTreeMap<String, Channel>, Vec<SetupProblem>> {
    let Ok(standard) = transport::standard_client() else {
        return Err(vec![SetupProblem::Tls]);
    };
    let standard = Arc::new(standard);
    let loaded: Vec<&Path> = config.appraisal.keys().map(PathBuf::as_path).collect();
    let problems = contradictions(&config.routing, &config.upstreams, &loaded);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut channels = BTreeMap::new();
    for upstream in &config.upstreams.upstreams {
        let channel = match &upstream.attestation {
            AttestationRequirement::None => {
                Channel::Standard(Arc::clone(upstream), Arc::clone(&standard))
            }
            AttestationRequirement::ProofroomUpstream { appraisal_policy } => {
                // A missing one is a contradiction, found above.
                let Some(policy) = config.appraisal.get(appraisal_policy) else {
                    continue;
                };
                let route = AttestedRoute::new(Arc::clone(upstream), policy.clone());
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
