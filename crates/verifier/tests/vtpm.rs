//! Guests behind Azure's paravisor, with a SIMULATED one and with the genuine evidence of one: every link
//! from the hardware to the boot's registers, and each of them broken.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "support/evidence.rs"]
mod evidence;

use std::sync::LazyLock;

use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_evidence::{
    Collateral,
    snp::{SigningKey, SnpProduct},
};
use proofroom_testkit::{
    azure::SimulatedParavisor,
    snp::{SNP_SEED, SimulatedAmd, SnpEvidence},
    tee::{Plan, SimulatedTee},
};
use proofroom_verifier::{
    Assurance, PRODUCTION_SNP, PolicyProblem, SnpChain, VTPM_REGISTERS, Verdict, VtpmAppraisal,
    VtpmEvidence, VtpmHardware, VtpmPolicy, appraise_vtpm,
};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_435_200);
const NONCE: &[u8] = b"of this exchange";
const TDX: u32 = 4;
const SNP: u32 = 2;

static PARAVISOR: LazyLock<SimulatedParavisor> =
    LazyLock::new(|| SimulatedParavisor::from_seed([3; 32]));

fn plan() -> Plan {
    let tee = SimulatedTee::demo();
    tee.plan(Nonce::from_random([7; 32]), Digest::of("k"), "any", NOW)
}

/// What a TD shows.
struct Shown {
    hcl: Vec<u8>,
    td_quote: Vec<u8>,
    collateral: Collateral,
    quote: Vec<u8>,
    signature: Vec<u8>,
    pcrs: [[u8; 32]; VTPM_REGISTERS],
}

fn shown(plan: &Plan) -> Shown {
    let tee = SimulatedTee::demo();
    let (quote, signature) = PARAVISOR.quote(NONCE);
    Shown {
        hcl: PARAVISOR.hcl_report(TDX, &[]),
        td_quote: tee.quote(&plan.td, PARAVISOR.report_data()),
        collateral: tee.collateral(plan),
        quote,
        signature,
        pcrs: PARAVISOR.pcrs,
    }
}

fn policy() -> String {
    let plan = plan();
    format!(
        r#"
name = "simulated-azure"
purpose = "simulated"
accept = "azure-tdx"
roots = ["{}"]
mr_seam = "not-compared"
mr_td = ["{}"]
[tcb]
accept = ["UpToDate"]
min_evaluation_data_number = 1
refuse_advisories = []
[attributes]
allow = ["SEPT_VE_DISABLE"]
[freshness]
nonce = "required"
[pcrs]
4 = ["{}"]
7 = ["{}"]
"#,
        SimulatedTee::demo().root_digest(),
        plan.td.mr_td,
        hex::encode(PARAVISOR.pcrs[4]),
        hex::encode(PARAVISOR.pcrs[7])
    )
}

fn judge(shown: &Shown, policy: &str) -> VtpmAppraisal {
    let policy = VtpmPolicy::parse(policy, "policy.toml").unwrap();
    let evidence = VtpmEvidence {
        hcl_report: &shown.hcl,
        quote: &shown.quote,
        signature: &shown.signature,
        pcrs: &shown.pcrs,
        hardware: VtpmHardware::Tdx(&shown.td_quote, &shown.collateral),
    };
    appraise_vtpm(evidence, &policy, NONCE, NOW)
}

#[track_caller]
fn refused(appraisal: &VtpmAppraisal, check: &str, code: &str) {
    let (found, cause, words) = appraisal.first_failure().unwrap();
    assert_eq!((found.as_str(), cause.as_str()), (check, code), "{words}");
    assert!(appraisal.clone().into_verified().is_err());
}

#[test]
fn a_td_behind_a_paravisor_is_accepted_and_called_simulated() {
    let appraisal = judge(&shown(&plan()), &policy());
    assert_eq!(
        appraisal.verdict(),
        Verdict::Accept,
        "{:#?}",
        appraisal.checks()
    );
    let verified = appraisal.into_verified().unwrap();
    assert_eq!(verified.assurance(), Assurance::Simulated);
    assert_eq!(verified.policy_name(), "simulated-azure");
}

#[track_caller]
fn broken(change: impl FnOnce(&mut Shown), check: &str, code: &str) {
    let mut shown = shown(&plan());
    change(&mut shown);
    refused(&judge(&shown, &policy()), check, code);
}

/// The machine of somebody else.
fn another() -> SimulatedParavisor {
    SimulatedParavisor::from_seed([4; 32])
}

#[test]
fn a_broken_link_to_the_hardware_is_refused_by_its_own_code() {
    broken(|it| it.hcl[0] = 0, "hcl-parse", "hcl-malformed");
    let unknown = PARAVISOR.hcl_report(3, &[]);
    broken(|it| it.hcl = unknown, "hcl-parse", "hcl-unsupported");
    let snp = PARAVISOR.hcl_report(SNP, &[]);
    broken(|it| it.hcl = snp, "tee", "tee-refused");
    let shorter = |it: &mut Shown| {
        it.td_quote.pop();
        it.td_quote[700] ^= 1;
    };
    broken(shorter, "hardware", "hardware-refused");
    let other = another().hcl_report(TDX, &[]);
    broken(|it| it.hcl = other, "runtime-data", "runtime-data-mismatch");
}

#[test]
fn a_broken_link_to_the_quote_is_refused_by_its_own_code() {
    let shorter = |it: &mut Shown| it.quote.truncate(it.quote.len() - 1);
    broken(shorter, "quote-parse", "tpm-malformed");
    let (check, code) = ("quote-signature", "quote-signature-invalid");
    let other = |it: &mut Shown| (it.quote, it.signature) = another().quote(NONCE);
    broken(other, check, code);
    broken(|it| it.signature[9] ^= 1, check, code);
    let old = |it: &mut Shown| (it.quote, it.signature) = PARAVISOR.quote(b"another");
    broken(old, "qualifying-data", "qualifying-data-mismatch");
}

#[test]
fn a_broken_link_to_the_registers_is_refused_by_its_own_code() {
    let swapped = |it: &mut Shown| it.pcrs[4] = it.pcrs[5];
    broken(swapped, "pcr-digest", "pcr-digest-mismatch");
    let mut booted = SimulatedParavisor::from_seed([3; 32]);
    booted.pcrs[4] = booted.pcrs[5];
    let other = |it: &mut Shown| {
        (it.quote, it.signature) = booted.quote(NONCE);
        it.pcrs = booted.pcrs;
    };
    broken(other, "reference-pcrs", "reference-mismatch");
    let fewer = |it: &mut Shown| {
        let mut three = it.quote.windows(3);
        let place = three.position(|bytes| bytes == [0xff; 3]).unwrap();
        it.quote[place] = 0;
        it.signature = PARAVISOR.sign(&it.quote);
    };
    broken(fewer, "pcr-selection", "pcr-selection-mismatch");
}

#[test]
fn the_hardware_is_judged_by_the_policy_too() {
    let mut debug = plan();
    debug.td.attributes |= 1;
    let appraisal = judge(&shown(&debug), &policy());
    refused(&appraisal, "hardware", "hardware-refused");
    assert!(appraisal.first_failure().unwrap().2.contains("td-debug"));
    let other = format!("{}cd", "ab".repeat(47));
    let other = policy().replace(&plan().td.mr_td.to_string(), &other);
    refused(
        &judge(&shown(&plan()), &other),
        "hardware",
        "hardware-refused",
    );
}

#[test]
fn a_policy_that_leaves_something_open_does_not_load() {
    let problems = |from: &str, to: &str| {
        let text = policy();
        assert!(text.contains(from), "{from}");
        let refused = VtpmPolicy::parse(&text.replacen(from, to, 1), "policy.toml");
        let problems = refused.err().unwrap_or_default();
        problems.iter().map(PolicyProblem::code).collect::<Vec<_>>()
    };
    assert_eq!(problems("[pcrs]", "[other]"), ["policy-syntax"]);
    let unfresh = "nonce = \"not-required\"";
    assert_eq!(problems("nonce = \"required\"", unfresh), ["policy-syntax"]);
    assert_eq!(problems("[freshness]", "[other]"), ["policy-syntax"]);
    assert_eq!(problems("[tcb]", "[other]"), ["policy-syntax"]);
    assert_eq!(problems("4 = ", "24 = "), ["policy-measurement"]);
    assert_eq!(problems("4 = ", "04 = "), ["policy-measurement"]);
    assert_eq!(problems("4 = ", "16 = "), ["policy-measurement"]);
    assert_eq!(problems("4 = ", "23 = "), ["policy-measurement"]);
    let (before, _) = policy()
        .split_once("[pcrs]")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let open = VtpmPolicy::parse(&format!("{before}[pcrs]\n"), "policy.toml").unwrap_err();
    assert_eq!(open[0].code(), "policy-unpinned");
    assert_eq!(problems("mr_td = [\"", "mr_td = []#"), ["policy-unpinned"]);
    assert_eq!(
        problems("\"simulated\"", "\"production-upstream\""),
        ["policy-purpose"]
    );
    assert_eq!(
        problems("\"simulated\"", "\"production-session\""),
        ["policy-purpose"]
    );
}

/// A policy for SNP guests around one for SNP reports.
fn snp_policy(amd: &SimulatedAmd, name: &str) -> String {
    let example = PRODUCTION_SNP
        .lines()
        .find(|line| line.starts_with("measurement"))
        .unwrap();
    let measurement = proofroom_testkit::tee::simulated_measurement("snp");
    let roots = format!("roots = [\"{}\"]", amd.root_digest(SnpProduct::Milan));
    let within = PRODUCTION_SNP
        .replace("name = \"production-snp\"", "name = \"simulated-snp\"")
        .replace("\"production-upstream\"", "\"simulated\"")
        .replace(
            "roots = [\"amd-ark-milan\", \"amd-ark-genoa\", \"amd-ark-turin\"]",
            &roots,
        )
        .replace(example, &format!("measurement = [\"{measurement}\"]"))
        .replace("require = [\"ALIAS_CHECK_COMPLETE\"]", "require = []");
    let within = within.split("\n[[match]]").next().unwrap().to_owned();
    let pcr = hex::encode(PARAVISOR.pcrs[4]);
    let purpose = if name.contains("simulated") {
        "simulated"
    } else {
        "production-upstream"
    };
    format!(
        "name = \"{name}\"\npurpose = \"{purpose}\"\naccept = \"azure-snp\"\nsnp = '''\n{within}'''\n[freshness]\nnonce = \"required\"\n[pcrs]\n4 = [\"{pcr}\"]\n"
    )
}

#[test]
fn an_snp_guest_behind_a_paravisor_is_judged_by_its_own_report() {
    let amd = SimulatedAmd::from_seed(SNP_SEED);
    let mut plan = amd.plan(SnpProduct::Milan, 2, SigningKey::Vcek, NOW);
    plan.report.report_data = PARAVISOR.report_data();
    let made: SnpEvidence = amd.make(&plan);
    let (quote, signature) = PARAVISOR.quote(NONCE);
    let hcl = PARAVISOR.hcl_report(SNP, &made.report);
    let text = snp_policy(&amd, "simulated-azure-snp");
    let policy = VtpmPolicy::parse(&text, "policy.toml").unwrap();
    let chain = SnpChain {
        leaf: &made.leaf,
        intermediate: &made.intermediate,
        root: &made.root,
        crl: Some(&made.crl),
    };
    let mut evidence = VtpmEvidence {
        hcl_report: &hcl,
        quote: &quote,
        signature: &signature,
        pcrs: &PARAVISOR.pcrs,
        hardware: VtpmHardware::Snp(chain),
    };
    let appraisal = appraise_vtpm(evidence, &policy, NONCE, NOW);
    assert_eq!(
        appraisal.verdict(),
        Verdict::Accept,
        "{:#?}",
        appraisal.checks()
    );
    evidence.hardware = VtpmHardware::Snp(SnpChain { crl: None, ..chain });
    refused(
        &appraise_vtpm(evidence, &policy, NONCE, NOW),
        "hardware",
        "hardware-refused",
    );
    evidence.hardware = VtpmHardware::Snp(chain);
    let another = SimulatedParavisor::from_seed([4; 32]);
    let hcl = another.hcl_report(SNP, &made.report);
    evidence.hcl_report = &hcl;
    refused(
        &appraise_vtpm(evidence, &policy, NONCE, NOW),
        "runtime-data",
        "runtime-data-mismatch",
    );
    let hidden = VtpmPolicy::parse(&snp_policy(&amd, "azure-snp"), "policy.toml").unwrap_err();
    assert_eq!(hidden[0].code(), "policy-purpose");
}

/// Genuine but for its platform: no collateral of that family is at hand, so that the hardware is refused,
/// and everything behind it holds without being proved.
#[test]
fn genuine_evidence_holds_up_to_the_collateral_that_is_not_at_hand() {
    let read = |name: &str| evidence::read(&format!("trustee/az-tdx-vtpm/{name}"));
    let files = (
        read("hcl-report.bin"),
        read("td-quote.bin"),
        read("tpm-quote-v1.json"),
    );
    let (Some(hcl), Some(td_quote), Some(tpm)) = files else {
        return;
    };
    let tpm: serde_json::Value = serde_json::from_slice(&tpm).unwrap();
    let bytes = |value: &serde_json::Value| hex::decode(value.as_str().unwrap()).unwrap();
    let mut pcrs = [[0; 32]; VTPM_REGISTERS];
    for (place, value) in pcrs.iter_mut().zip(tpm["pcrs"].as_array().unwrap()) {
        *place = bytes(value).try_into().unwrap();
    }
    let (quote, signature) = (bytes(&tpm["message"]), bytes(&tpm["signature"]));
    let collateral = SimulatedTee::demo().collateral(&plan());
    let shown = VtpmEvidence {
        hcl_report: &hcl,
        quote: &quote,
        signature: &signature,
        pcrs: &pcrs,
        hardware: VtpmHardware::Tdx(&td_quote, &collateral),
    };
    let text = policy()
        .replace(&hex::encode(PARAVISOR.pcrs[4]), &hex::encode(pcrs[4]))
        .replace(&hex::encode(PARAVISOR.pcrs[7]), &hex::encode(pcrs[7]));
    let policy = VtpmPolicy::parse(&text, "policy.toml").unwrap();
    let appraisal = appraise_vtpm(shown, &policy, b"challenge", NOW);
    let failed: Vec<_> = appraisal
        .checks()
        .iter()
        .filter(|check| matches!(check.outcome, proofroom_verifier::CheckOutcome::Fail { .. }))
        .map(|check| check.name.as_str())
        .collect();
    assert_eq!(failed, ["hardware"], "{:#?}", appraisal.checks());
    let other = appraise_vtpm(shown, &policy, b"another", NOW);
    let answers = other
        .checks()
        .iter()
        .find(|check| check.name.as_str() == "qualifying-data");
    assert!(matches!(
        answers.unwrap().outcome,
        proofroom_verifier::CheckOutcome::Fail { .. }
    ));
}
