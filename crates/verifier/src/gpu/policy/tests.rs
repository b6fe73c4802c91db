//! What a policy for NVIDIA devices must not leave open.

use super::{GpuPolicy, NVIDIA_DEVICE_ROOT, NVIDIA_RIM_ROOT, PRODUCTION_GPU, SIMULATED_GPU};

fn problems(text: &str) -> Vec<&'static str> {
    GpuPolicy::parse(text, "gpu.toml")
        .unwrap_err()
        .iter()
        .map(crate::PolicyProblem::code)
        .collect()
}

#[track_caller]
fn refused(from: &str, to: &str, code: &str) {
    assert!(PRODUCTION_GPU.contains(from), "{from}");
    let found = problems(&PRODUCTION_GPU.replace(from, to));
    assert!(found.contains(&code), "{from} -> {to}: {found:?}");
}

#[test]
fn the_shipped_policies_can_be_read() {
    let production = GpuPolicy::parse(PRODUCTION_GPU, "production-gpu.toml").unwrap();
    assert_eq!(production.name(), "production-gpu");
    assert!(production.trusts_root(NVIDIA_DEVICE_ROOT));
    assert!(!production.trusts_root(NVIDIA_RIM_ROOT));
    assert!(production.trusts_rim_root(NVIDIA_RIM_ROOT));
    let simulated = GpuPolicy::parse(SIMULATED_GPU, "simulated-gpu.toml").unwrap();
    assert!(!simulated.trusts_root(NVIDIA_DEVICE_ROOT));
}

#[test]
fn a_policy_says_what_it_is_for_and_its_name_does_not_say_otherwise() {
    let purpose = "purpose = \"production-upstream\"";
    refused(purpose, "", "policy-syntax");
    refused(purpose, "purpose = \"anything\"", "policy-syntax");
    let session = "purpose = \"production-session\"";
    refused(purpose, session, "policy-purpose");
    refused(purpose, "purpose = \"simulated\"", "policy-purpose");
    refused("\"production-gpu\"", "\"simulated\"", "policy-purpose");
}

#[test]
fn an_unpinned_policy_can_not_be_built() {
    let version = "[\"example, replace me\"]";
    refused(
        "roots = [\"nvidia-device-identity-ca\"]",
        "roots = []",
        "policy-roots",
    );
    refused(
        "roots = [\"nvidia-corim-root-ca\"]",
        "roots = []",
        "policy-roots",
    );
    refused(
        &format!("driver = {version}"),
        "driver = []",
        "policy-unpinned",
    );
    refused(&format!("bios = {version}"), "bios = []", "policy-unpinned");
    refused(
        "mode = [\"protected-pcie\"]",
        "mode = []",
        "policy-unpinned",
    );
    refused("count = 8", "count = 0", "policy-unpinned");
    refused("chip = \"GH100\"", "chip = \"\"", "policy-unpinned");
}

#[test]
fn tokens_measurements_and_times_are_pinned_too() {
    refused(
        "debug_status = [\"disabled\"]",
        "debug_status = []",
        "policy-unpinned",
    );
    refused(
        "token = \"not-required\"",
        "token = \"required\"",
        "policy-unpinned",
    );
    refused(
        "revocation = \"not-required\"",
        "revocation = \"required\"",
        "policy-unpinned",
    );
    refused(
        "compare_with = \"rim\"\nroots = [\"nvidia-corim-root-ca\"]",
        "compare_with = \"pinned\"\ndigests = []",
        "policy-unpinned",
    );
    refused(
        "max_age_seconds = 3600",
        "max_age_seconds = 0",
        "policy-freshness",
    );
    refused(
        "max_age_seconds = 3600",
        "max_age_seconds = 86401",
        "policy-freshness",
    );
    refused(
        "[[device]]\nkind = \"gpu\"",
        "[[device]]\nkind = \"switch\"",
        "policy-unpinned",
    );
}

#[test]
fn rules_that_do_not_exist_are_no_rules() {
    for (from, to) in [
        ("nonce = \"required\"", "nonce = \"not-required\""),
        (
            "secure_boot = \"required\"",
            "secure_boot = \"not-required\"",
        ),
        ("nonce = \"required\"\n", ""),
        ("refuse_certificates = []\n", ""),
        ("compare_with = \"rim\"", "compare_with = \"nothing\""),
        ("count = 8", "count = 8\ncc_mode = \"on\""),
        ("token = \"not-required\"\n", ""),
        ("[measurements]", "[other]"),
        ("[token]", "[other]"),
    ] {
        refused(from, to, "policy-syntax");
    }
    let huge = "#".repeat(64 * 1024 + 1);
    assert_eq!(problems(&huge), ["policy-too-large"]);
}

#[test]
fn a_root_that_is_not_nvidias_needs_a_name_that_says_so() {
    let root = format!("sha256:{}", "11".repeat(32));
    refused("nvidia-device-identity-ca", &root, "policy-root-simulated");
    refused("nvidia-corim-root-ca", &root, "policy-root-simulated");
    refused(
        "nvidia-device-identity-ca",
        "intel-sgx-root",
        "policy-roots",
    );
    // a root of manifests is no root of devices
    let rim = NVIDIA_RIM_ROOT.to_string();
    refused("nvidia-device-identity-ca", &rim, "policy-root-simulated");
}

#[test]
fn examples_that_do_not_hold_refuse_the_policy() {
    let disabled = "issuer = \"https://nras.attestation.nvidia.com\"\ndebug_status = \"disabled\"";
    refused(disabled, "debug_status = \"enabled\"", "policy-example");
    refused(
        "debug_status = \"enabled\"",
        "debug_status = \"disabled\"",
        "policy-example",
    );
    refused(
        "[[not_match]]\nchips = [\"GH100\"]",
        "[[not_match]]",
        "policy-example",
    );
    refused(
        "name = \"production-gpu\"",
        "name = \"Production\"",
        "policy-name",
    );
}
