//! Routing: what a policy file may say, and where requests go.

use super::{Refusal, RouteDecision, RouteRequest, RoutingPolicy, UpstreamOffer, Why};
use crate::{ClassificationPolicy, Levels};

const CLASSIFICATION: &str = "version = 1\nlevels = [\"public\", \"internal\", \"confidential\", \"restricted\"]\ndefault = \"internal\"\nunreadable = \"restricted\"\n";

const HEAD: &str = r#"
version = 1
[tiers]
standard = "unattested"
tee = "attested"
"#;

const TEE_ABOVE: &str = r#"
[[rules]]
id = "high"
when = { label_at_least = "confidential" }
send = { tiers = ["tee"], upstreams = ["*"], models = ["*"], regions = ["eu-*"] }
[[rules]]
id = "low"
when = { label_at_most = "internal" }
send = { tiers = ["standard", "tee"], upstreams = ["*"], models = ["*"], regions = ["*"] }
[default]
refuse = { message = "no rule" }
"#;

fn parse(text: &str) -> Result<RoutingPolicy, Vec<String>> {
    let classification = ClassificationPolicy::parse(CLASSIFICATION, "c.toml").unwrap();
    RoutingPolicy::parse(text, "routing.toml", &classification)
        .map_err(|list| list.iter().map(|p| format!("{}: {p}", p.code())).collect())
}

fn codes(rest: &str) -> Vec<String> {
    let list = parse(&format!("{HEAD}{rest}")).unwrap_err();
    let code = |text: &String| text.split(':').next().unwrap().to_owned();
    list.iter().map(code).collect()
}

fn policy(rest: &str) -> RoutingPolicy {
    parse(&format!("{HEAD}{rest}")).unwrap()
}

fn offer(name: &str, tier: &str, models: &[&str], region: &str) -> UpstreamOffer {
    UpstreamOffer {
        name: name.to_owned(),
        tier: tier.to_owned(),
        models: models.iter().map(|m| (*m).to_owned()).collect(),
        region: region.to_owned(),
    }
}

fn offers() -> Vec<UpstreamOffer> {
    vec![
        offer("plain", "standard", &["shared", "gpt-x"], "us-east"),
        offer("enclave", "tee", &["shared", "oss"], "eu-west"),
        offer("far", "tee", &["shared"], "us-east"),
    ]
}

fn route(policy: &RoutingPolicy, level: &str, model: &str) -> RouteDecision {
    let label = Levels::default().label(level).unwrap();
    let request = RouteRequest {
        label,
        model,
        repository: "acme/web",
        person: "ada",
        purpose: "",
    };
    policy.route(&request, &offers())
}

fn sent_to(decision: &RouteDecision) -> (String, Vec<String>) {
    match decision {
        RouteDecision::Send {
            tier, candidates, ..
        } => (
            tier.clone(),
            candidates
                .iter()
                .map(|c| format!("{}/{}", c.upstream, c.model))
                .collect(),
        ),
        RouteDecision::Refuse { message, .. } => panic!("{message}"),
    }
}

fn refused(decision: &RouteDecision) -> Refusal {
    match decision {
        RouteDecision::Refuse { code, .. } => *code,
        RouteDecision::Send { tier, .. } => panic!("sent to {tier}"),
    }
}

#[test]
fn a_model_served_by_several_is_moved_up_with_the_label() {
    let policy = policy(TEE_ABOVE);
    assert_eq!(
        sent_to(&route(&policy, "public", "shared")),
        ("standard".into(), vec!["plain/shared".into()])
    );
    let high = route(&policy, "restricted", "shared");
    assert_eq!(
        sent_to(&high),
        ("tee".into(), vec!["enclave/shared".into()])
    );
    let RouteDecision::Send { rejected, rule, .. } = high else {
        panic!()
    };
    assert_eq!(rule, "high");
    let why: Vec<_> = rejected
        .iter()
        .map(|r| (r.upstream.as_str(), r.code.code()))
        .collect();
    assert_eq!(
        why,
        [("plain", "tier-not-allowed"), ("far", "region-not-allowed")]
    );
}

#[test]
fn a_pin_that_the_label_does_not_allow_is_refused_and_not_moved() {
    let policy = policy(TEE_ABOVE);
    for pinned in ["standard/shared", "plain/shared", "standard/gpt-x", "gpt-x"] {
        let decision = route(&policy, "confidential", pinned);
        assert_eq!(refused(&decision), Refusal::LabelRequiresTier, "{pinned}");
        let RouteDecision::Refuse { message, code, .. } = decision else {
            panic!()
        };
        assert_eq!(code.code(), "label-requires-tier");
        assert!(
            message.contains("`confidential`") && message.contains("`tee`"),
            "{message}"
        );
    }
    assert_eq!(sent_to(&route(&policy, "public", "tee/shared")).0, "tee");
    assert_eq!(
        sent_to(&route(&policy, "public", "far/shared")).1,
        ["far/shared"]
    );
    assert_eq!(
        sent_to(&route(&policy, "public", "standard/gpt-x")).1,
        ["plain/gpt-x"]
    );
}

#[test]
fn a_model_that_only_another_tier_serves_falls_to_that_tier() {
    assert_eq!(
        sent_to(&route(&policy(TEE_ABOVE), "public", "oss")).0,
        "tee"
    );
}

#[test]
fn refusals_carry_their_own_codes() {
    let policy = policy(TEE_ABOVE);
    assert_eq!(
        refused(&route(&policy, "public", "nobody-has-it")),
        Refusal::ModelNotServed
    );
    assert_eq!(
        refused(&route(&policy, "restricted", "far/shared")),
        Refusal::NoUpstreamAllowed
    );
    let closed = self::policy("[default]\nrefuse = { message = \"closed today\" }");
    let RouteDecision::Refuse {
        rule,
        code,
        message,
        ..
    } = route(&closed, "public", "shared")
    else {
        panic!()
    };
    assert_eq!(
        (rule.as_str(), code.code(), message.as_str()),
        ("default", "refused-by-rule", "closed today")
    );
}

#[test]
fn an_alias_stands_for_its_models_and_rules_see_through_it() {
    let rest = TEE_ABOVE.replace("[[rules]]\nid = \"high\"", "[[rules]]\nid = \"no-gpt\"\nwhen = { models = [\"gpt-*\"] }\nrefuse = { message = \"not gpt\" }\n[[rules]]\nid = \"high\"");
    let policy = policy(&format!(
        "[aliases]\ndefault = [\"oss\", \"shared\"]\nfast = [\"gpt-x\"]\n{rest}"
    ));
    assert_eq!(
        sent_to(&route(&policy, "restricted", "default")).1,
        ["enclave/oss"]
    );
    assert_eq!(
        refused(&route(&policy, "public", "fast")),
        Refusal::RefusedByRule
    );
}

#[test]
fn a_file_that_would_send_the_highest_label_unattested_is_refused() {
    let send = "send = { tiers = [\"tee\", \"standard\"], upstreams = [\"*\"], models = [\"*\"], regions = [\"*\"] }";
    assert_eq!(
        codes(&format!("[default]\n{send}")),
        ["highest-label-unattested"]
    );
    let bounded = format!(
        "[[rules]]\nid = \"a\"\nwhen = {{ label_at_least = \"confidential\", repositories = [\"acme/*\"] }}\n{send}\n[default]\nrefuse = {{ message = \"no\" }}"
    );
    assert_eq!(codes(&bounded), ["highest-label-unattested"]);
    let fine = bounded.replace(
        "label_at_least = \"confidential\"",
        "label_at_most = \"confidential\"",
    );
    assert!(parse(&format!("{HEAD}{fine}")).is_ok());
    let custom = format!(
        "[tiers]\ncheap = \"unattested\"\n[default]\n{}",
        send.replace("standard", "cheap")
    );
    let text = format!(
        "version = 1\n{}",
        custom.replace("[tiers]\n", "[tiers]\ntee = \"attested\"\n")
    );
    assert!(parse(&text).unwrap_err()[0].starts_with("highest-label-unattested"));
}

#[test]
fn the_highest_label_never_leaves_the_attested_tiers_whatever_the_offer_says() {
    let policy = policy(TEE_ABOVE);
    let label = Levels::default().highest();
    let request = RouteRequest {
        label,
        model: "shared",
        repository: "r",
        person: "ada",
        purpose: "",
    };
    for tier in ["standard", "unheard-of", ""] {
        let offers = [offer("a", tier, &["shared"], "eu-1")];
        assert_eq!(
            refused(&policy.route(&request, &offers)),
            Refusal::LabelRequiresTier
        );
    }
    assert_eq!(
        refused(&policy.route(&request, &[])),
        Refusal::ModelNotServed
    );
}

#[test]
fn every_mistake_of_a_file_is_reported_at_once() {
    let rest = r#"
surprise = true
[[rules]]
id = "a"
when = { label_at_least = "restricted", label_at_most = "public" }
refuse = { message = "x" }
[[rules]]
id = "b"
when = { label_at_least = "secret" }
refuse = { message = "x" }
[[rules]]
id = "c"
when = {}
send = { tiers = ["moon"], upstreams = ["*"], models = ["*"] }
refuse = { message = "x" }
[[rules]]
id = "c"
when = { label_at_most = "public" }
[[rules]]
id = "d"
when = {}
refuse = { message = "x", extra = 1 }
"#;
    let text = format!(
        "surprise = true\n{HEAD}{}",
        rest.replace("surprise = true", "")
    );
    let list = parse(&text).unwrap_err().join("\n");
    for code in [
        "unknown-key: routing.toml: file: `surprise`",
        "contradictory-labels: routing.toml: rules[1] (`a`).when",
        "unknown-level: routing.toml: rules[2] (`b`).when",
        "two-outcomes: routing.toml: rules[3] (`c`)",
        "no-outcome: routing.toml: rules[4] (`c`)",
        "unknown-key: routing.toml: rules[5] (`d`).refuse: `extra`",
        "missing-default: routing.toml: default",
    ] {
        assert!(list.contains(code), "{code} is not in\n{list}");
    }
}

#[test]
fn rules_that_can_never_decide_are_reported() {
    let refuse = "refuse = { message = \"x\" }";
    let two = |first: &str, second: &str| {
        codes(&format!(
            "[[rules]]\nid = \"a\"\n{first}\n[[rules]]\nid = \"b\"\n{second}\n[default]\n{refuse}"
        ))
    };
    let all = format!("when = {{}}\n{refuse}");
    let some = format!("when = {{ models = [\"m\"], label_at_least = \"internal\" }}\n{refuse}");
    assert_eq!(two(&all, &some), ["unreachable-rule"]);
    let send = "when = { models = [\"m\"] }\nsend = { tiers = [\"tee\"], upstreams = [\"*\"], models = [\"*\"], regions = [\"*\"] }";
    assert_eq!(two(&all, send), ["contradictory-rules"]);
    assert!(
        parse(&format!(
            "{HEAD}[[rules]]\nid = \"b\"\n{some}\n[[rules]]\nid = \"a\"\n{all}\n[default]\n{refuse}"
        ))
        .is_ok()
    );
}

#[test]
fn examples_run_when_the_file_is_loaded() {
    let with = |example: &str| {
        TEE_ABOVE.replace(
            "[[rules]]\nid = \"low\"",
            &format!("{example}\n[[rules]]\nid = \"low\""),
        )
    };
    let request =
        |label: &str| format!("[{{ label = \"{label}\", repository = \"a/b\", model = \"m\" }}]");
    assert!(
        parse(&format!(
            "{HEAD}{}",
            with(&format!("match = {}", request("restricted")))
        ))
        .is_ok()
    );
    let list = parse(&format!(
        "{HEAD}{}",
        with(&format!("match = {}", request("public")))
    ))
    .unwrap_err();
    assert_eq!(
        list,
        [
            "example-not-matched: routing.toml: rules[1] (`high`).match[1]: `public`, repository `a/b`, model `m` should be decided by rule `high` and is decided by `low`"
        ]
    );
    assert_eq!(
        codes(&with(&format!("not_match = {}", request("restricted")))),
        ["example-matched"]
    );
}

#[test]
fn a_rule_for_purposes_decides_for_them_alone() {
    let rest = TEE_ABOVE.replace(
        "when = { label_at_most = \"internal\" }",
        "when = { label_at_most = \"internal\", purposes = [\"review\", \"fix-*\"] }",
    );
    let policy = policy(&rest);
    let decided = |purpose| {
        let request = RouteRequest {
            label: Levels::default().lowest(),
            model: "shared",
            repository: "acme/web",
            person: "ada",
            purpose,
        };
        policy.route(&request, &offers())
    };
    for purpose in ["review", "fix-bugs"] {
        assert_eq!(sent_to(&decided(purpose)).0, "standard", "{purpose}");
    }
    for purpose in ["", "batch", "reviews"] {
        assert_eq!(refused(&decided(purpose)), Refusal::RefusedByRule);
    }
}

#[test]
fn a_purpose_does_not_take_all_requests_from_a_later_rule() {
    let rule = |purposes: &str, id: &str| {
        format!(
            "[[rules]]\nid = \"{id}\"\nwhen = {{ {purposes} }}\nrefuse = {{ message = \"x\" }}\n"
        )
    };
    let default = "[default]\nrefuse = { message = \"x\" }";
    let one = rule("purposes = [\"review\"]", "one");
    let fine = format!("{HEAD}{one}{}{default}", rule("", "all"));
    assert!(parse(&fine).is_ok());
    let hidden = format!("{}{one}{default}", rule("", "all"));
    assert_eq!(codes(&hidden), ["unreachable-rule"]);
}

#[test]
fn standard_cannot_be_declared_attested() {
    let list = parse(
        "version = 1\n[tiers]\nstandard = \"attested\"\n[default]\nrefuse = { message = \"x\" }",
    )
    .unwrap_err();
    assert!(list[0].starts_with("standard-is-unattested"), "{list:?}");
}

#[test]
fn reasons_have_stable_codes() {
    assert_eq!(Why::ModelNotServed.code(), "model-not-served");
    assert_eq!(Why::UpstreamNotAllowed.code(), "upstream-not-allowed");
    assert_eq!(Why::RegionNotAllowed.code(), "region-not-allowed");
    assert_eq!(Refusal::NoUpstreamAllowed.code(), "no-upstream-allowed");
}
