//! What a policy file must say, and that leaving any of it open gives no policy.

use super::{PRODUCTION_SNP, SnpAppraisalPolicy};
use crate::Assurance;

fn problems(text: &str) -> Vec<&'static str> {
    match SnpAppraisalPolicy::parse(text, "test.toml") {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(crate::PolicyProblem::code).collect(),
    }
}

/// The shipped policy with one change, which must be refused with `code`.
#[track_caller]
fn refused(from: &str, to: &str, code: &str) {
    assert!(PRODUCTION_SNP.contains(from), "{from}");
    let found = problems(&PRODUCTION_SNP.replacen(from, to, 1));
    assert!(found.contains(&code), "{from}: {found:?}");
}

#[test]
fn the_shipped_policy_is_one_and_is_about_hardware() {
    let policy = SnpAppraisalPolicy::parse(PRODUCTION_SNP, "production-snp.toml").unwrap();
    assert_eq!(policy.name(), "production-snp");
    assert_eq!(policy.assurance(), Assurance::Hardware);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn whatever_is_left_open_is_a_problem() {
    let roots = "roots = [\"amd-ark-milan\", \"amd-ark-genoa\", \"amd-ark-turin\"]";
    refused(roots, "roots = []", "policy-roots");
    refused(roots, "roots = [\"amd\"]", "policy-roots");
    let foreign = format!("roots = [\"sha256:{}\"]", "11".repeat(32));
    refused(roots, &foreign, "policy-root-simulated");
    refused("vmpl = [0]", "vmpl = []", "policy-vmpl");
    refused("vmpl = [0]", "vmpl = [4]", "policy-vmpl");
    refused(
        "max_age_seconds = 3600",
        "max_age_seconds = 0",
        "policy-freshness",
    );
    refused("keys = [\"vcek\"]", "keys = []", "policy-signing");
    refused("keys = [\"vcek\"]", "keys = [\"none\"]", "policy-signing");
    refused("keys = [\"vcek\"]", "keys = [\"vlek\"]", "policy-signing");
    refused("csp_ids = []", "csp_ids = [\"x\"]", "policy-signing");
    refused("chip_ids = \"any\"", "chip_ids = []", "policy-unpinned");
    refused(
        "chip_ids = \"any\"",
        "chip_ids = \"some\"",
        "policy-unpinned",
    );
    refused(
        "chip_ids = \"any\"",
        "chip_ids = [\"00\"]",
        "policy-measurement",
    );
    let hidden = format!("chip_ids = [\"{}\"]", "00".repeat(64));
    refused("chip_ids = \"any\"", &hidden, "policy-placeholder");
    refused("min_guest_svn = 0", "min_guest_svn = 1", "policy-unpinned");
    refused("microcode = 219", "microcode = 0", "policy-tcb");
    refused(
        "host_data = \"not-compared\"",
        "host_data = []",
        "policy-unpinned",
    );
    refused("id_key = \"absent\"", "id_key = \"any\"", "policy-unpinned");
    refused(
        "author_key = \"absent\"",
        "author_key = []",
        "policy-unpinned",
    );
    refused("allow = [\"SMT\"]", "allow = [\"DEBUG\"]", "policy-guest");
    refused(
        "allow = [\"SMT\"]",
        "allow = [\"MIGRATE_MA\"]",
        "policy-guest",
    );
    refused(
        "allow = [\"SMT\"]",
        "allow = [\"RAPL_DIS\"]",
        "policy-guest",
    );
    refused("require = []", "require = [\"SMT\"]", "policy-guest");
    refused(
        "name = \"production-snp\"",
        "name = \"Production\"",
        "policy-name",
    );
    refused(
        "revocation_list = \"required\"",
        "revocation_list = \"optional\"",
        "policy-syntax",
    );
    refused("report_data = \"required\"", "", "policy-syntax");
    let unrelated = "report_data = \"not-required\"";
    refused("report_data = \"required\"", unrelated, "policy-syntax");
    refused("[tcb.", "[other.", "policy-syntax");
    refused("[platform]", "[platform]\nunknown = 1", "policy-syntax");
    refused("fmc = 1\n", "", "policy-syntax");
}

#[test]
fn a_policy_says_what_it_is_for_and_its_name_does_not_say_otherwise() {
    let purpose = "purpose = \"production-upstream\"";
    refused(purpose, "", "policy-syntax");
    refused(purpose, "purpose = \"anything\"", "policy-syntax");
    let session = "purpose = \"production-session\"";
    refused(purpose, session, "policy-purpose");
    refused(purpose, "purpose = \"simulated\"", "policy-purpose");
    refused("\"production-snp\"", "\"simulated\"", "policy-purpose");
}

#[test]
fn reference_values_are_pinned_to_real_measurements() {
    let line = PRODUCTION_SNP
        .lines()
        .find(|line| line.starts_with("measurement"))
        .unwrap();
    refused(line, "measurement = []", "policy-unpinned");
    let zero = format!("measurement = [\"{}\"]", "00".repeat(48));
    refused(line, &zero, "policy-placeholder");
    refused(line, "measurement = [\"AB\"]", "policy-measurement");
    let (head, _) = PRODUCTION_SNP.split_once("[[reference]]").unwrap();
    assert!(problems(head).contains(&"policy-unpinned"));
}

#[test]
fn examples_are_run() {
    refused("microcode = 218", "microcode = 219", "policy-example");
    refused("vmpl = 3", "vmpl = 0", "policy-example");
    refused(
        "key = { kind = \"vcek\" }",
        "key = { kind = \"vlek\" }",
        "policy-example",
    );
    refused("[[not_match]]\nvmpl = 3", "[[not_match]]", "policy-example");
    refused(
        "guest_policy = [\"DEBUG\"]",
        "guest_policy = []",
        "policy-example",
    );
}

#[test]
fn a_policy_file_has_a_size() {
    let large = "#".repeat(crate::policy::MAX_POLICY_BYTES + 1);
    assert_eq!(problems(&large), ["policy-too-large"]);
}
