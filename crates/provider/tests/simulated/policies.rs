//! Policies that are none, and the one that is shipped.

use proofroom_provider::{ProviderPolicy, ProviderPolicyProblem};
use proofroom_testkit::provider::{self, MODEL};
use proofroom_verifier::{Assurance, Verdict};

use crate::world::{appraise, obstacle, plan};

#[test]
fn a_policy_that_leaves_something_open_is_none() {
    let near = provider::policy("near-ai");
    let dstack = provider::policy("dstack");
    let siblings = provider::policies();
    let codes = |text: &str| -> Vec<&'static str> {
        let parsed = ProviderPolicy::parse(text, "p.toml", &|name| siblings.get(name).cloned());
        parsed
            .unwrap_err()
            .iter()
            .map(ProviderPolicyProblem::code)
            .collect()
    };
    let os = format!("[\"{}\"]", hex::encode(provider::OS_IMAGE));
    assert_eq!(
        codes(&near.replace(&os, "[]")),
        ["policy-unpinned", "policy-unpinned"]
    );
    assert_eq!(codes(&dstack.replace(&os, "[\"*\"]")), ["policy-unpinned"]);
    assert_eq!(
        codes(&near.replace("format = \"near-ai\"", "format = \"dstack\"")),
        ["policy-gateway"]
    );
    assert_eq!(
        codes(&dstack.replace("format = \"dstack\"", "format = \"near-ai\"")),
        ["policy-gateway"]
    );
    assert_eq!(
        codes(&near.replace("simulated-provider-gpu.toml", "gone.toml")),
        ["policy-sibling"]
    );
    assert_eq!(
        codes(&near.replace("\"simulated-provider\"", "\"production\"")),
        ["policy-simulated"]
    );
    assert_eq!(codes(&near.replace(MODEL, "*")), ["policy-models"]);
    assert_eq!(codes(&(near.clone() + "surprise = 1\n")), ["policy-syntax"]);
    let silent = "\n[[tolerate]]\ncheck = \"gpu\"\nreason = \" \"\n";
    assert_eq!(codes(&(near.clone() + silent)), ["policy-tolerance"]);
    // what can never be done without
    let nonce = "\n[[tolerate]]\ncheck = \"nonce\"\nreason = \"hurry\"\n";
    assert_eq!(codes(&(near + nonce)), ["policy-syntax"]);
}

#[test]
fn the_shipped_policy_is_whole_and_accepts_nobody_who_is_simulated() {
    let sibling = |name: &str| match name {
        "production-upstream.toml" => Some(proofroom_verifier::PRODUCTION_UPSTREAM.to_owned()),
        "production-gpu.toml" => Some(proofroom_verifier::gpu::PRODUCTION_GPU.to_owned()),
        _ => None,
    };
    let text = proofroom_provider::PRODUCTION_NEAR_AI;
    let policy = ProviderPolicy::parse(text, "production-near-ai.toml", &sibling).unwrap();
    assert_eq!(policy.assurance(), Assurance::Hardware);
    let appraisal = appraise(&plan(), &policy);
    assert_eq!(appraisal.verdict(), Verdict::Reject);
    assert_eq!(obstacle(&appraisal).1, "model-other");
    let roots: Vec<_> = appraisal
        .checks()
        .iter()
        .filter_map(|check| check.outcome.code())
        .collect();
    assert!(roots.contains(&"root-not-trusted"), "{roots:?}");
}
