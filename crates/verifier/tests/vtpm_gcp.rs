//! Guests of Google's, with a SIMULATED Google: every link from the attestation key's certificate and from the
//! hardware to nonce, registers and event log, and each of them broken.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "support/evidence.rs"]
mod evidence;

use std::sync::LazyLock;

use proofroom_canonical::{Digest, Timestamp};
use proofroom_evidence::{
    Base64, Collateral,
    snp::{SigningKey, SnpProduct},
};
use proofroom_testkit::{
    gcp::{AkKey, AkPlan, SimulatedGoogle, SimulatedGuest, SimulatedRsaKey, SimulatedVtpm},
    snp::{SNP_SEED, SimulatedAmd},
    tee::{Plan, SimulatedKey, SimulatedTee, simulated_measurement},
};
use proofroom_verifier::{
    Assurance, GOOGLE_EK_AK_ROOT, GcpAppraisal, GcpEvidence, GcpHardware, PRODUCTION_AZURE_SNP,
    PRODUCTION_AZURE_TDX, PRODUCTION_GCP_SNP, PRODUCTION_GCP_TDX, PolicyProblem, SnpChain, Verdict,
    VtpmCheckName, VtpmPolicy, appraise_gcp,
};
use rcgen::KeyUsagePurpose;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_435_200);
const NONCE: &[u8] = b"of this exchange";

static GUEST: LazyLock<SimulatedGuest> = LazyLock::new(|| SimulatedGuest::from_seed([3; 32], NOW));

fn key(label: &str) -> AkKey {
    AkKey::Ecdsa(SimulatedKey::derive(&[3; 32], label))
}

fn plan() -> Plan {
    GUEST.plan.clone()
}

/// What a TD shows.
struct Shown {
    certificates: Vec<Base64>,
    quote: Vec<u8>,
    signature: Vec<u8>,
    pcrs: [[u8; 32]; 24],
    event_log: Vec<u8>,
    td_quote: Vec<u8>,
    collateral: Collateral,
}

/// The nonce, then zeros.
fn padded(nonce: &[u8]) -> [u8; 64] {
    let mut data = [0; 64];
    let (filled, _) = data.split_at_mut(nonce.len());
    filled.copy_from_slice(nonce);
    data
}

fn certified(google: &SimulatedGoogle, key: &AkKey, plan: &AkPlan) -> Vec<Base64> {
    let chain = google.certificates(key, plan);
    chain.into_iter().map(Base64).collect()
}

fn of_tpm(tpm: &SimulatedVtpm, plan: &Plan) -> Shown {
    let tee = SimulatedTee::demo();
    let (quote, signature) = tpm.quote(NONCE);
    Shown {
        certificates: certified(&GUEST.google, &tpm.key, &AkPlan::default()),
        quote,
        signature,
        pcrs: tpm.pcrs(),
        event_log: tpm.event_log(),
        td_quote: tee.quote(&plan.td, padded(NONCE)),
        collateral: tee.collateral(plan),
    }
}

fn tpm() -> SimulatedVtpm {
    SimulatedVtpm::booted(key("ak"))
}

fn shown() -> Shown {
    of_tpm(&tpm(), &plan())
}

fn policy_that_binds(report_data: &str) -> String {
    GUEST.policy(report_data)
}

fn policy() -> String {
    policy_that_binds("nonce")
}

fn judge(shown: &Shown, policy: &str) -> GcpAppraisal {
    let policy = VtpmPolicy::parse(policy, "policy.toml").unwrap();
    let evidence = GcpEvidence {
        ak_certificates: &shown.certificates,
        quote: &shown.quote,
        signature: &shown.signature,
        pcrs: &shown.pcrs,
        event_log: &shown.event_log,
        hardware: GcpHardware::Tdx(&shown.td_quote, &shown.collateral),
    };
    appraise_gcp(evidence, &policy, NONCE, NOW)
}

#[track_caller]
fn refused(appraisal: &GcpAppraisal, check: &str, code: &str) {
    let (found, cause, words) = appraisal.first_failure().unwrap();
    assert_eq!((found.as_str(), cause.as_str()), (check, code), "{words}");
    assert!(appraisal.clone().into_verified().is_err());
}

#[track_caller]
fn broken(change: impl FnOnce(&mut Shown), check: &str, code: &str) {
    let mut shown = shown();
    change(&mut shown);
    refused(&judge(&shown, &policy()), check, code);
}

#[track_caller]
fn accepted(appraisal: GcpAppraisal) {
    let checks = appraisal.checks();
    assert_eq!(appraisal.verdict(), Verdict::Accept, "{checks:#?}");
    let names: Vec<_> = checks.iter().map(|check| check.name).collect();
    assert_eq!(names, VtpmCheckName::GCP);
    let verified = appraisal.into_verified().unwrap();
    assert_eq!(verified.assurance(), Assurance::Simulated);
    let instance = verified.instance();
    assert_eq!(instance.project, "simulated-project");
    assert_eq!((instance.project_number, instance.id), (0x123, 0x4567));
}

#[test]
fn a_td_of_google_is_accepted_and_called_simulated() {
    accepted(judge(&shown(), &policy()));
}

#[test]
fn an_rsa_attestation_key_is_as_good() {
    let key = AkKey::Rsa(SimulatedRsaKey::derive(&[3; 32], "ak"));
    let mut shown = of_tpm(&SimulatedVtpm::booted(key), &plan());
    accepted(judge(&shown, &policy()));
    shown.signature[40] ^= 1;
    let invalid = judge(&shown, &policy());
    refused(&invalid, "quote-signature", "quote-signature-invalid");
}

#[test]
fn a_broken_certificate_chain_is_refused_by_its_own_code() {
    let check = "ak-certificates";
    broken(|it| it.certificates.clear(), check, "chain-malformed");
    let cut = |it: &mut Shown| it.certificates[1].0.truncate(100);
    broken(cut, check, "chain-malformed");
    let another = SimulatedGoogle::from_seed([4; 32]);
    let other = certified(&another, &key("ak"), &AkPlan::default());
    let foreign = other.clone();
    broken(|it| it.certificates = foreign, check, "root-not-trusted");
    let under_our_root = |it: &mut Shown| {
        let root = it.certificates.pop().unwrap();
        it.certificates = other;
        it.certificates[2] = root;
    };
    broken(under_our_root, check, "chain-broken");
    let missing = |it: &mut Shown| drop(it.certificates.remove(1));
    broken(missing, check, "chain-broken");
    let flipped = |it: &mut Shown| *it.certificates[0].0.last_mut().unwrap() ^= 1;
    broken(flipped, check, "chain-broken");
    let dated = |years| AkPlan {
        years,
        ..AkPlan::default()
    };
    let of = |plan: AkPlan| {
        move |it: &mut Shown| it.certificates = certified(&GUEST.google, &key("ak"), &plan)
    };
    broken(of(dated((2020, 2026))), check, "certificate-expired");
    broken(of(dated((2048, 2049))), check, "certificate-not-yet-valid");
    let endorsement = AkPlan {
        usage: KeyUsagePurpose::KeyEncipherment,
        ..AkPlan::default()
    };
    broken(of(endorsement), check, "ak-usage");
}

#[test]
fn an_instance_that_is_not_ours_is_refused_by_its_own_code() {
    let of = |plan: AkPlan| {
        move |it: &mut Shown| it.certificates = certified(&GUEST.google, &key("ak"), &plan)
    };
    let nobody = AkPlan {
        instance: false,
        ..AkPlan::default()
    };
    broken(of(nobody), "instance", "instance-malformed");
    for production in [None, Some(false)] {
        let plan = AkPlan {
            production,
            ..AkPlan::default()
        };
        broken(of(plan), "instance", "instance-not-production");
    }
    let other = AkPlan {
        project: "another-project".to_owned(),
        ..AkPlan::default()
    };
    broken(of(other.clone()), "instance", "project-not-allowed");
    let mut shown = shown();
    of(other)(&mut shown);
    let any = policy().replace("[\"simulated-project\"]", "\"any\"");
    let appraisal = judge(&shown, &any);
    assert_eq!(appraisal.verdict(), Verdict::Accept);
}

#[test]
fn a_broken_link_to_the_quote_is_refused_by_its_own_code() {
    let shorter = |it: &mut Shown| it.quote.truncate(it.quote.len() - 1);
    broken(shorter, "quote-parse", "tpm-malformed");
    let (check, code) = ("quote-signature", "quote-signature-invalid");
    let by_another = |it: &mut Shown| {
        (it.quote, it.signature) = SimulatedVtpm::booted(key("another")).quote(NONCE);
    };
    broken(by_another, check, code);
    broken(|it| it.signature[9] ^= 1, check, code);
    broken(|it| it.signature.push(0), check, code);
    let of_another_chain = |it: &mut Shown| {
        it.certificates = certified(&GUEST.google, &key("another"), &AkPlan::default())
    };
    broken(of_another_chain, check, code);
    let old = |it: &mut Shown| (it.quote, it.signature) = tpm().quote(b"another");
    broken(old, "qualifying-data", "qualifying-data-mismatch");
}

#[test]
fn a_broken_link_to_the_boot_is_refused_by_its_own_code() {
    let fewer = |it: &mut Shown| {
        let mut three = it.quote.windows(3);
        let place = three.position(|bytes| bytes == [0xff; 3]).unwrap();
        it.quote[place] = 0;
        it.signature = tpm().sign(&it.quote);
    };
    broken(fewer, "pcr-selection", "pcr-selection-mismatch");
    let swapped = |it: &mut Shown| it.pcrs[4] = it.pcrs[5];
    broken(swapped, "pcr-digest", "pcr-digest-mismatch");
    let cut = |it: &mut Shown| it.event_log.truncate(100);
    broken(cut, "event-log", "event-log-malformed");
    let edited = |it: &mut Shown| {
        let mut other = tpm();
        other.boot[5].data = b"another".to_vec();
        it.event_log = other.event_log();
    };
    broken(edited, "event-log", "event-log-mismatch");
    let shorter = |it: &mut Shown| {
        let mut other = tpm();
        other.boot.retain(|event| event.pcr != 4);
        it.event_log = other.event_log();
    };
    broken(shorter, "event-log", "event-log-incomplete");
    let mut other = tpm();
    other.boot[4].data = b"another boot loader".to_vec();
    let other = of_tpm(&other, &plan());
    let appraisal = judge(&other, &policy());
    refused(&appraisal, "reference-pcrs", "reference-mismatch");
}

#[test]
fn a_broken_link_to_the_hardware_is_refused_by_its_own_code() {
    let tee = SimulatedTee::demo();
    let stale = tee.quote(&plan().td, padded(b"another"));
    let (check, code) = ("report-data", "report-data-mismatch");
    broken(|it| it.td_quote = stale, check, code);
    broken(|it| it.td_quote[700] ^= 1, "hardware", "hardware-refused");
    for change in [
        |plan: &mut Plan| plan.td.attributes |= 1,
        |plan: &mut Plan| plan.td.rtmr[1] = simulated_measurement("another kernel"),
    ] {
        let mut plan = plan();
        change(&mut plan);
        let appraisal = judge(&of_tpm(&tpm(), &plan), &policy());
        refused(&appraisal, "hardware", "hardware-refused");
    }
    let shown = shown();
    let policy = VtpmPolicy::parse(&policy(), "policy.toml").unwrap();
    let evidence = GcpEvidence {
        ak_certificates: &shown.certificates,
        quote: &shown.quote,
        signature: &shown.signature,
        pcrs: &shown.pcrs,
        event_log: &shown.event_log,
        hardware: GcpHardware::NotSupplied,
    };
    let appraisal = appraise_gcp(evidence, &policy, NONCE, NOW);
    refused(&appraisal, "tee", "tee-incomplete");
}

#[test]
fn the_key_is_bound_to_the_hardware_where_the_policy_says_so() {
    let policy = policy_that_binds("nonce-and-key");
    let tee = SimulatedTee::demo();
    let mut shown = shown();
    let (check, code) = ("report-data", "report-data-mismatch");
    refused(&judge(&shown, &policy), check, code);
    shown.td_quote = tee.quote(&plan().td, GUEST.bound(NONCE));
    accepted(judge(&shown, &policy));
    // the machine of somebody else, whose TPM answers the same nonce
    let other = of_tpm(&SimulatedVtpm::booted(key("another")), &plan());
    shown.certificates = other.certificates;
    (shown.quote, shown.signature) = (other.quote, other.signature);
    refused(&judge(&shown, &policy), check, code);
}

#[test]
fn an_snp_guest_of_google_is_judged_by_its_own_report() {
    let amd = SimulatedAmd::from_seed(SNP_SEED);
    let mut plan = amd.plan(SnpProduct::Milan, 3, SigningKey::Vcek, NOW);
    plan.report.report_data = padded(NONCE);
    let made = amd.make(&plan);
    let measurement = simulated_measurement("snp");
    let text = PRODUCTION_GCP_SNP;
    let (before, _) = text.split_once("[freshness]\nnonce").unwrap();
    let example = before.lines().find(|line| line.starts_with("measurement"));
    let text = before
        .replace("\"production-gcp-snp\"", "\"simulated-gcp-snp\"")
        .replace(
            "purpose = \"production-upstream\"",
            "purpose = \"simulated\"",
        )
        .replace("\"production-snp\"", "\"simulated-snp\"")
        .replace(
            "\"amd-ark-milan\"",
            &format!("\"{}\"", amd.root_digest(SnpProduct::Milan)),
        )
        .replace(
            example.unwrap(),
            &format!("measurement = [\"{measurement}\"]"),
        );
    let text = text + &GUEST.policy_on_google("nonce");
    let policy = VtpmPolicy::parse(&text, "policy.toml").unwrap();
    let shown = shown();
    let chain = SnpChain {
        leaf: &made.leaf,
        intermediate: &made.intermediate,
        root: &made.root,
        crl: Some(&made.crl),
    };
    let mut evidence = GcpEvidence {
        ak_certificates: &shown.certificates,
        quote: &shown.quote,
        signature: &shown.signature,
        pcrs: &shown.pcrs,
        event_log: &shown.event_log,
        hardware: GcpHardware::Snp(&made.report, chain),
    };
    accepted(appraise_gcp(evidence, &policy, NONCE, NOW));
    let mut unbound = plan.clone();
    unbound.report.report_data = padded(b"another");
    let report = amd.report(&unbound);
    evidence.hardware = GcpHardware::Snp(&report, chain);
    let appraisal = appraise_gcp(evidence, &policy, NONCE, NOW);
    refused(&appraisal, "report-data", "report-data-mismatch");
    let without_crl = SnpChain { crl: None, ..chain };
    evidence.hardware = GcpHardware::Snp(&made.report, without_crl);
    let appraisal = appraise_gcp(evidence, &policy, NONCE, NOW);
    refused(&appraisal, "hardware", "hardware-refused");
    evidence.hardware = GcpHardware::Tdx(&shown.td_quote, &shown.collateral);
    let appraisal = appraise_gcp(evidence, &policy, NONCE, NOW);
    refused(&appraisal, "tee", "tee-refused");
}

#[test]
fn a_policy_for_another_cloud_accepts_nobody() {
    let azure = VtpmPolicy::parse(PRODUCTION_AZURE_TDX, "policy.toml").unwrap();
    assert_eq!(azure.assurance(), Assurance::Hardware);
    let appraisal = judge(&shown(), PRODUCTION_AZURE_TDX);
    refused(&appraisal, "ak-certificates", "root-not-trusted");
    let tee = appraisal.checks().iter();
    let mut tee = tee.filter(|check| check.name == VtpmCheckName::Tee);
    let tee = tee.next().unwrap().outcome.code_and_words();
    assert_eq!(tee.unwrap().0, "tee-refused");
}

#[test]
fn a_policy_that_leaves_something_open_does_not_load() {
    for shipped in [
        PRODUCTION_AZURE_SNP,
        PRODUCTION_AZURE_TDX,
        PRODUCTION_GCP_SNP,
        PRODUCTION_GCP_TDX,
    ] {
        VtpmPolicy::parse(shipped, "policy.toml").unwrap();
    }
    let problems = |from: &str, to: &str| {
        let text = policy();
        assert!(text.contains(from), "{from}");
        let refused = VtpmPolicy::parse(&text.replacen(from, to, 1), "policy.toml");
        let problems = refused.err().unwrap_or_default();
        problems.iter().map(PolicyProblem::code).collect::<Vec<_>>()
    };
    let root = format!("[\"{}\"]", GUEST.google.root_digest());
    assert_eq!(problems(&root, "[]"), ["policy-roots"]);
    assert_eq!(problems(&root, "[\"google\"]"), ["policy-roots"]);
    let project = "[\"simulated-project\"]";
    assert_eq!(problems(project, "[]"), ["policy-unpinned"]);
    assert_eq!(problems(project, "\"all\""), ["policy-unpinned"]);
    for left_out in ["report_data", "projects", "ak_roots"] {
        let as_comment = format!("#{left_out}");
        assert_eq!(problems(left_out, &as_comment), ["policy-syntax"]);
    }
    let unfresh = "nonce = \"not-required\"";
    assert_eq!(problems("nonce = \"required\"", unfresh), ["policy-syntax"]);
    assert_eq!(problems("[tcb]", "[other]"), ["policy-syntax"]);
    let rtmr = format!("rtmr2 = [\"{}\"]", plan().td.rtmr[2]);
    let open = "rtmr2 = \"not-compared\"";
    assert_eq!(problems(&rtmr, open), ["policy-unpinned"]);
    let foreign =
        PRODUCTION_GCP_TDX.replace("google-ek-ak-root", &GUEST.google.root_digest().to_string());
    let foreign = VtpmPolicy::parse(&foreign, "policy.toml").unwrap_err();
    assert_eq!(foreign[0].code(), "policy-root-simulated");
}

#[test]
fn the_root_that_policies_call_googles_is_the_genuine_one() {
    let Some(pem) = evidence::read("dstack/tpm-qvl_certs_gcp-root-ca.pem") else {
        return;
    };
    let root = pem::parse(pem).unwrap();
    assert_eq!(Digest::of(root.contents()), GOOGLE_EK_AK_ROOT);
}
