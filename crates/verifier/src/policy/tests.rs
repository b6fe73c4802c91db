//! Policies that must not be built, and the two that ship.

use super::{
    AppraisalPolicy, Assurance, PRODUCTION_UPSTREAM as PRODUCTION, SIMULATED_UPSTREAM as SIMULATED,
};

fn problems(text: &str) -> Vec<&'static str> {
    AppraisalPolicy::parse(text, "policy.toml")
        .err()
        .unwrap_or_default()
        .iter()
        .map(super::PolicyProblem::code)
        .collect()
}

/// Asserts that replacing `from` by `to` in the production policy gives exactly `wanted`.
#[track_caller]
fn refused(from: &str, to: &str, wanted: &[&str]) {
    assert!(PRODUCTION.contains(from), "`{from}` is not in the policy");
    assert_eq!(problems(&PRODUCTION.replacen(from, to, 1)), wanted);
}

fn line(start: &str) -> &'static str {
    PRODUCTION
        .lines()
        .find(|line| line.starts_with(start))
        .unwrap()
}

#[test]
fn the_shipped_policies_are_policies() {
    for (text, name, assurance) in [
        (PRODUCTION, "production-upstream", Assurance::Hardware),
        (SIMULATED, "simulated-upstream", Assurance::Simulated),
    ] {
        let policy = AppraisalPolicy::parse(text, "policy.toml").unwrap();
        assert_eq!(policy.name(), name);
        assert_eq!(policy.assurance(), assurance);
    }
}

#[test]
fn a_simulated_root_needs_simulated_in_the_name() {
    let text = SIMULATED.replace("simulated-upstream", "upstream").replace(
        "purpose = \"simulated\"",
        "purpose = \"production-upstream\"",
    );
    assert_eq!(problems(&text), ["policy-root-simulated"]);
}

#[test]
fn every_key_that_pins_something_is_needed() {
    for key in [
        "name",
        "purpose",
        "roots",
        "models",
        "nonce",
        "max_age",
        "max_keyset",
        "accept",
        "min_eval",
        "refuse_adv",
        "allow",
        "mr_seam",
        "mr_td",
        "rtmr0",
        "rtmr1",
        "rtmr2",
        "rtmr3",
        "mr_config",
    ] {
        refused(line(key), "", &["policy-syntax"]);
    }
}

#[test]
fn empty_lists_pin_nothing() {
    refused(
        "roots = [\"intel-sgx-root\"]",
        "roots = []",
        &["policy-roots", "policy-example"],
    );
    refused(line("models"), "models = []", &["policy-models"]);
    refused(
        "accept = [\"UpToDate\"]",
        "accept = []",
        &["policy-tcb", "policy-example"],
    );
    for register in ["mr_td", "rtmr0", "rtmr1", "rtmr2"] {
        let empty = format!("{register} = []");
        refused(line(register), &empty, &["policy-unpinned"]);
        let open = format!("{register} = \"not-compared\"");
        refused(line(register), &open, &["policy-unpinned"]);
    }
    refused(line("rtmr3"), "rtmr3 = []", &["policy-unpinned"]);
    let (before, rest) = PRODUCTION.split_once("[[reference]]").unwrap();
    let (_, after) = rest.split_once("[[match]]").unwrap();
    let without = format!("{before}[[match]]{after}");
    assert_eq!(problems(&without), ["policy-unpinned"]);
}

#[test]
fn placeholders_are_no_reference_values() {
    let zero = format!("mr_td = [\"{}\"]", "00".repeat(48));
    refused(line("mr_td"), &zero, &["policy-placeholder"]);
    let short = "mr_td = [\"00\"]";
    refused(line("mr_td"), short, &["policy-measurement"]);
}

#[test]
fn unknown_keys_and_values_are_refused() {
    refused("[tcb]", "[tcb]\nlax = true", &["policy-syntax"]);
    refused("\"required\"", "\"optional\"", &["policy-syntax"]);
    refused("\"PKS\"", "\"DEBUG\"", &["policy-syntax"]);
    refused("\"UpToDate\"]", "\"Fine\"]", &["policy-syntax"]);
    refused(
        "\"intel-sgx-root\"",
        "\"acme\"",
        &["policy-roots", "policy-example"],
    );
    refused(
        "\"production-upstream\"",
        "\"Production Upstream\"",
        &["policy-name"],
    );
    refused(line("models"), "models = [\"a*b\"]", &["policy-models"]);
    assert_eq!(problems(&" ".repeat(70_000)), ["policy-too-large"]);
}

#[test]
fn revoked_is_never_acceptable() {
    refused(
        "accept = [\"UpToDate\"]",
        "accept = [\"UpToDate\", \"Revoked\"]",
        &["policy-tcb", "policy-example"],
    );
    let tolerant = "\n[[tcb.tolerate]]\nstatus = \"Revoked\"\nuntil = \"2026-01-01T00:00:00.000Z\"\nreason = \"x\"\n";
    assert_eq!(problems(&format!("{PRODUCTION}{tolerant}")), ["policy-tcb"]);
    let silent = tolerant
        .replace("\"Revoked\"", "\"OutOfDate\"")
        .replace("\"x\"", "\"\"");
    assert_eq!(problems(&format!("{PRODUCTION}{silent}")), ["policy-tcb"]);
}

#[test]
fn limits_have_limits() {
    refused(
        line("max_age"),
        "max_age_seconds = 0",
        &["policy-freshness"],
    );
    refused(
        line("max_age"),
        "max_age_seconds = 86401",
        &["policy-freshness"],
    );
    refused(
        line("max_keyset"),
        "max_keyset_seconds = 2592001",
        &["policy-freshness"],
    );
}

#[test]
fn examples_are_run_when_the_policy_is_read() {
    for (example, count) in [
        ("[[match]]\nmodel = \"other\"", 1),
        (
            "[[not_match]]\ntcb = { status = \"UpToDate\", at = \"2026-12-01T00:00:00.000Z\" }",
            1,
        ),
        ("[[match]]", 1),
        ("[[not_match]]\nmodel = \"other\"", 0),
    ] {
        let found = problems(&format!("{PRODUCTION}\n{example}\n"));
        assert_eq!(found, vec!["policy-example"; count], "{example}");
    }
}

#[test]
fn every_problem_is_reported_at_once() {
    let text = PRODUCTION
        .replace(line("max_age"), "max_age_seconds = 0")
        .replace(line("models"), "models = []")
        .replace(line("rtmr0"), "rtmr0 = []");
    assert_eq!(
        problems(&text),
        ["policy-models", "policy-unpinned", "policy-freshness"]
    );
}

#[test]
fn machines_are_listed_by_id_or_by_family_and_examples_of_them_are_run() {
    let with = |machines: &str| problems(&format!("{PRODUCTION}\n{machines}\n"));
    let ppid = "0123456789abcdef0123456789abcdef";
    let listed = format!("[machines]\nppids = [\"{ppid}\"]\nfmspcs = [\"b0c06f000000\"]\n");
    let example = |text: &str| with(&format!("{listed}{text}"));
    assert!(example("").is_empty());
    assert!(with("[machines]\nppids = \"any\"\nfmspcs = \"any\"").is_empty());
    assert!(
        example(&format!(
            "[[match]]\nppid = \"{ppid}\"\nfmspc = \"b0c06f000000\""
        ))
        .is_empty()
    );
    assert!(example("[[not_match]]\nfmspc = \"90c06f000000\"").is_empty());
    for broken in [
        format!("[[not_match]]\nppid = \"{ppid}\""),
        "[[match]]\nfmspc = \"90c06f000000\"".to_owned(),
        "[[match]]\nfmspc = \"b0c06f\"".to_owned(),
    ] {
        assert_eq!(example(&broken), ["policy-example"], "{broken}");
    }
    for (ppids, fmspcs, wanted) in [
        ("[]", "\"any\"", "policy-machines"),
        ("\"all\"", "\"any\"", "policy-machines"),
        ("[\"01\"]", "\"any\"", "policy-machines"),
        ("\"any\"", "[\"000000000000\"]", "policy-placeholder"),
    ] {
        let text = format!("[machines]\nppids = {ppids}\nfmspcs = {fmspcs}");
        assert_eq!(with(&text), [wanted], "{text}");
    }
    assert_eq!(with("[machines]\nppids = \"any\""), ["policy-syntax"]);
}

#[test]
fn a_policy_is_for_one_purpose_and_simulated_ones_say_so_twice() {
    let purpose = line("purpose");
    refused(
        purpose,
        "purpose = \"production-session\"",
        &["policy-purpose"],
    );
    refused(purpose, "purpose = \"simulated\"", &["policy-purpose"]);
    refused(purpose, "purpose = \"any\"", &["policy-syntax"]);
    let text = SIMULATED.replace(
        "purpose = \"simulated\"",
        "purpose = \"production-upstream\"",
    );
    assert_eq!(problems(&text), ["policy-purpose"]);
    let room = crate::RoomAppraisalPolicy::parse(PRODUCTION, "policy.toml");
    assert!(room.is_err(), "a policy for upstreams judges no room");
}
