//! The policy files that ship with the product load and do what their comments say.

#![expect(
    clippy::unwrap_used,
    reason = "a policy that does not load is what the tests are for"
)]

use proofroom_classify::{
    ClassificationPolicy, RouteDecision, RouteRequest, RoutingPolicy, UpstreamOffer,
};

use proofroom_classify::{DEFAULT_CLASSIFICATION as CLASSIFICATION, DEFAULT_ROUTING as ROUTING};

fn policies() -> (ClassificationPolicy, RoutingPolicy) {
    let classification =
        ClassificationPolicy::parse(CLASSIFICATION, "classification.toml").unwrap();
    let routing = RoutingPolicy::parse(ROUTING, "routing.toml", &classification).unwrap();
    (classification, routing)
}

#[test]
fn default_policies_load() {
    let (classification, routing) = policies();
    assert_eq!(classification.levels().names().len(), 4);
    assert_eq!(routing.tiers().count(), 2);
}

#[test]
fn the_commented_out_samples_load_too() {
    let sample = |line: &str| {
        let rest = line.strip_prefix("# ").unwrap_or(line).to_owned();
        let known = [
            "[[",
            "id =",
            "terms =",
            "lines =",
            "label =",
            "globs =",
            "match =",
            "not_match =",
            "rule =",
            "repositories =",
            "owner =",
            "reason =",
            "expires =",
        ];
        if known.iter().any(|start| rest.starts_with(start)) {
            rest
        } else {
            line.to_owned()
        }
    };
    let text: Vec<String> = CLASSIFICATION.lines().map(sample).collect();
    let text = text.join("\n");
    assert!(text.contains("\n[[exceptions]]\n"));
    ClassificationPolicy::parse(&text, "classification.toml").unwrap();
}

#[test]
fn restricted_goes_to_the_enclave_and_public_does_not() {
    let (classification, routing) = policies();
    let offer = |name: &str, tier: &str| UpstreamOffer {
        name: name.to_owned(),
        tier: tier.to_owned(),
        models: vec!["gpt-oss-120b".to_owned()],
        region: "eu-west".to_owned(),
    };
    let offers = [offer("plain", "standard"), offer("enclave", "tee")];
    let tier_for = |level: &str| {
        let label = classification.levels().label(level).unwrap();
        let request = RouteRequest {
            label,
            model: "gpt-oss-120b",
            repository: "acme/website",
            person: "ada",
            purpose: "",
        };
        match routing.route(&request, &offers) {
            RouteDecision::Send { tier, .. } => tier,
            RouteDecision::Refuse { message, .. } => panic!("{message}"),
        }
    };
    assert_eq!(tier_for("restricted"), "tee");
    assert_eq!(tier_for("confidential"), "tee");
    assert_eq!(tier_for("internal"), "standard");
}
