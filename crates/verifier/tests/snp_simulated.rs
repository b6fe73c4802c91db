//! SNP evidence of the simulated vendor through the production verifier: what must be accepted in every
//! version and product, what must be refused, and with which code. Needs no genuine evidence.

#![expect(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test that panics has failed; tables of refusals are long"
)]

use std::sync::LazyLock;

use p384::ecdsa::Signature;
use proofroom_canonical::{Digest, Timestamp};
use proofroom_evidence::snp::{
    SNP_REPORT_BYTES, SNP_SIGNED_BYTES, SigningKey, SnpProduct, SnpReport,
};
use proofroom_testkit::snp::{
    ASK_SERIAL, ASVK_SERIAL, CSP_ID, SNP_SEED, SimulatedAmd, SnpEvidence, SnpPlan, VLEK_SERIAL,
};
use proofroom_verifier::{
    Assurance, PRODUCTION_SNP, SnpAppraisal, SnpAppraisalPolicy, SnpChain, SnpCheckName,
    SnpExpectation, SnpOutcome, SnpReason, Verdict, appraise_snp,
};

static AMD: LazyLock<SimulatedAmd> = LazyLock::new(|| SimulatedAmd::from_seed(SNP_SEED));
static POLICY: LazyLock<String> = LazyLock::new(policy);

const CHALLENGE: SnpExpectation = SnpExpectation::Challenge([0x77; 64]);

fn now() -> Timestamp {
    "2026-12-01T00:00:00.000Z".parse().unwrap()
}

/// The shipped policy, made to trust the simulated vendor.
fn policy() -> String {
    let roots: Vec<String> = SnpProduct::ALL
        .iter()
        .map(|product| format!("\"{}\"", AMD.root_digest(*product)))
        .collect();
    let example = PRODUCTION_SNP
        .lines()
        .find(|line| line.starts_with("measurement"))
        .unwrap();
    let measurement = proofroom_testkit::tee::simulated_measurement("snp");
    PRODUCTION_SNP
        .replace("name = \"production-snp\"", "name = \"simulated-snp\"")
        .replace("\"production-upstream\"", "\"simulated\"")
        .replace(
            "roots = [\"amd-ark-milan\", \"amd-ark-genoa\", \"amd-ark-turin\"]",
            &format!("roots = [{}]", roots.join(", ")),
        )
        .replace("keys = [\"vcek\"]", "keys = [\"vcek\", \"vlek\"]")
        .replace("csp_ids = []", &format!("csp_ids = [\"{CSP_ID}\"]"))
        .replace(example, &format!("measurement = [\"{measurement}\"]"))
        .replace(
            "require = [\"ALIAS_CHECK_COMPLETE\"]",
            "require = [\"ECC_EN\"]",
        )
        .split("\n[[match]]")
        .next()
        .unwrap()
        .to_owned()
}

fn chain(evidence: &SnpEvidence) -> SnpChain<'_> {
    SnpChain {
        leaf: &evidence.leaf,
        intermediate: &evidence.intermediate,
        root: &evidence.root,
        crl: Some(&evidence.crl),
    }
}

fn under(evidence: &SnpEvidence, policy: &str) -> SnpAppraisal {
    let policy = SnpAppraisalPolicy::parse(policy, "simulated.toml").unwrap();
    appraise_snp(&evidence.report, chain(evidence), &policy, CHALLENGE, now())
}

fn appraised(evidence: &SnpEvidence) -> SnpAppraisal {
    under(evidence, &POLICY)
}

fn plan() -> SnpPlan {
    AMD.plan(SnpProduct::Milan, 3, SigningKey::Vcek, now())
}

#[track_caller]
fn assert_refused(appraisal: &SnpAppraisal, check: &str, code: &str) {
    let found = appraisal
        .first_failure()
        .map(|(check, code, _)| (check.as_str(), code.as_str()));
    assert_eq!(found, Some((check, code)), "{:#?}", appraisal.checks());
    assert_eq!(appraisal.verdict(), Verdict::Reject);
    appraisal.clone().into_verified().unwrap_err();
}

/// A change to a plan, and the check and code that must refuse what it makes.
type Refusal = (fn(&mut SnpPlan), &'static str, &'static str);

#[track_caller]
fn assert_all_refused(refusals: &[Refusal]) {
    for (change, check, code) in refusals {
        let mut plan = plan();
        change(&mut plan);
        assert_refused(&appraised(&AMD.make(&plan)), check, code);
    }
}

#[test]
fn every_version_of_every_product_is_accepted_with_either_key() {
    for product in SnpProduct::ALL {
        for version in 2..=5 {
            for key in [SigningKey::Vcek, SigningKey::Vlek] {
                let evidence = AMD.make(&AMD.plan(product, version, key, now()));
                let verified = appraised(&evidence).into_verified().unwrap();
                assert_eq!(verified.platform().product, product);
                assert_eq!(verified.platform().signing_key, key);
                assert_eq!(
                    verified.platform().csp_id.is_some(),
                    key == SigningKey::Vlek
                );
                assert_eq!(verified.assurance(), Assurance::Simulated);
                assert_eq!(
                    verified.report(),
                    Digest::of(&evidence.report[..SNP_SIGNED_BYTES])
                );
                assert_eq!(
                    verified.expires().unix_seconds(),
                    now().unix_seconds() + 3600
                );
                assert!(verified.holds_at(now()) && !verified.holds_at(verified.expires()));
            }
        }
    }
}

#[test]
fn an_acceptance_ends_with_what_it_rests_on() {
    let soon = Timestamp::from_unix_seconds(now().unix_seconds() + 60);
    let mut early = plan();
    early.crl.next_update = Some(soon);
    let verified = appraised(&AMD.make(&early)).into_verified().unwrap();
    assert_eq!(verified.expires(), soon);
    let mut early = plan();
    early.vek.not_after = soon;
    let verified = appraised(&AMD.make(&early)).into_verified().unwrap();
    assert_eq!(verified.expires(), soon);
}

#[test]
fn the_production_policy_accepts_nobody() {
    let appraisal = under(&AMD.make(&plan()), PRODUCTION_SNP);
    assert_refused(&appraisal, "chain-root", "root-not-trusted");
    let outcome = |name| appraisal.outcome(name).clone();
    assert_eq!(
        outcome(SnpCheckName::ReportSignature),
        SnpOutcome::NotEvaluated(SnpReason::Unproved(SnpCheckName::ChainRoot))
    );
    assert_eq!(
        outcome(SnpCheckName::Vmpl),
        SnpOutcome::NotEvaluated(SnpReason::Unproved(SnpCheckName::ReportSignature))
    );
    assert!(matches!(
        outcome(SnpCheckName::ReferenceValues),
        SnpOutcome::Fail { .. }
    ));
    assert_eq!(appraisal.platform(), None);
}

#[test]
fn without_a_revocation_list_nothing_is_accepted() {
    let evidence = AMD.make(&plan());
    let policy = SnpAppraisalPolicy::parse(&POLICY, "simulated.toml").unwrap();
    let chain = SnpChain {
        crl: None,
        ..chain(&evidence)
    };
    let appraisal = appraise_snp(&evidence.report, chain, &policy, CHALLENGE, now());
    assert_eq!(
        appraisal.outcome(SnpCheckName::Revocation),
        &SnpOutcome::NotEvaluated(SnpReason::NoRevocationList)
    );
    assert_eq!(appraisal.verdict(), Verdict::Incomplete);
    appraisal.into_verified().unwrap_err();
}

#[test]
fn an_archive_shows_no_freshness() {
    let evidence = AMD.make(&plan());
    let policy = SnpAppraisalPolicy::parse(&POLICY, "simulated.toml").unwrap();
    let archive = SnpExpectation::ArchiveAudit([0x77; 64]);
    let appraisal = appraise_snp(&evidence.report, chain(&evidence), &policy, archive, now());
    assert_eq!(
        appraisal.outcome(SnpCheckName::Freshness),
        &SnpOutcome::NotEvaluated(SnpReason::ArchiveAudit)
    );
    assert_eq!(appraisal.verdict(), Verdict::Incomplete);
    appraisal.into_verified().unwrap_err();
}

#[test]
fn broken_chains_are_refused() {
    assert_all_refused(&[
        (
            |p| p.intermediate_ca = false,
            "chain-signatures",
            "chain-broken",
        ),
        (|p| p.vek.ca = true, "chain-signatures", "chain-broken"),
        (
            |p| p.vek.unknown_critical = true,
            "chain-signatures",
            "chain-broken",
        ),
        (
            |p| "SEV-VLEK".clone_into(&mut p.vek.common_name),
            "chain-signatures",
            "chain-broken",
        ),
        (
            |p| "Genoa-B0".clone_into(&mut p.vek.product_name),
            "chain-signatures",
            "chain-broken",
        ),
        (
            |p| "Rome-B0".clone_into(&mut p.vek.product_name),
            "chain-parse",
            "vek-extension-malformed",
        ),
        (
            |p| p.vek.hardware_id = None,
            "chain-parse",
            "vek-extension-malformed",
        ),
        (
            |p| p.vek.hardware_id = Some(vec![1; 63]),
            "chain-parse",
            "vek-extension-malformed",
        ),
        (
            |p| p.vek.csp_id = Some("x".to_owned()),
            "chain-parse",
            "vek-extension-malformed",
        ),
        (
            |p| p.vek.not_before = days(1),
            "chain-time",
            "certificate-not-yet-valid",
        ),
        (
            |p| p.vek.not_after = days(-1),
            "chain-time",
            "certificate-expired",
        ),
    ]);
    let good = AMD.make(&plan());
    let vlek = AMD.make(&AMD.plan(SnpProduct::Milan, 3, SigningKey::Vlek, now()));
    let genoa = AMD.make(&AMD.plan(SnpProduct::Genoa, 3, SigningKey::Vcek, now()));
    for intermediate in [
        &vlek.intermediate,
        &genoa.intermediate,
        &good.root,
        &good.leaf,
    ] {
        let mut mixed = good.clone();
        mixed.intermediate.clone_from(intermediate);
        assert_refused(&appraised(&mixed), "chain-signatures", "chain-broken");
    }
    let mut mixed = good.clone();
    mixed.leaf = vlek.leaf;
    assert_eq!(appraised(&mixed).verdict(), Verdict::Reject);
    let mut mixed = good;
    mixed.root = genoa.root;
    assert_refused(&appraised(&mixed), "chain-signatures", "chain-broken");
}

fn days(count: i64) -> Timestamp {
    Timestamp::from_unix_seconds(now().unix_seconds() + count * 86_400)
}

#[test]
fn revocation_lists_are_looked_at() {
    assert_all_refused(&[
        (
            |p| p.crl.revoked = vec![ASK_SERIAL.to_vec()],
            "revocation",
            "certificate-revoked",
        ),
        (|p| p.crl.foreign = true, "revocation", "crl-invalid"),
        (|p| p.crl.this_update = days(1), "revocation", "crl-expired"),
        (
            |p| p.crl.next_update = Some(days(-1)),
            "revocation",
            "crl-expired",
        ),
        (|p| p.crl.next_update = None, "revocation", "crl-expired"),
    ]);
    for serial in [ASVK_SERIAL, VLEK_SERIAL] {
        let mut loaded = AMD.plan(SnpProduct::Genoa, 5, SigningKey::Vlek, now());
        loaded.crl.revoked = vec![serial.to_vec()];
        let appraisal = appraised(&AMD.make(&loaded));
        assert_refused(&appraisal, "revocation", "certificate-revoked");
    }
    // someone else's certificate, and the serial number that every VCEK has
    let mut other = plan();
    other.crl.revoked = vec![vec![99], vec![0]];
    appraised(&AMD.make(&other)).into_verified().unwrap();
    let mut garbage = AMD.make(&plan());
    garbage.crl = vec![0x30, 0x03, 0x02, 0x01, 0x01];
    assert_refused(&appraised(&garbage), "revocation", "crl-invalid");
    let genoa = AMD.plan(SnpProduct::Genoa, 5, SigningKey::Vcek, now());
    garbage.crl = AMD.make(&genoa).crl;
    assert_refused(&appraised(&garbage), "revocation", "crl-invalid");
}

#[test]
fn what_the_certificate_does_not_endorse_is_refused() {
    assert_all_refused(&[
        (
            |p| p.report.flags = 1 << 2,
            "signing-key",
            "signing-key-mismatch",
        ),
        (
            |p| p.report.flags = 1 << 1,
            "signing-key",
            "chip-key-masked",
        ),
        (
            |p| p.report.flags = 7 << 2,
            "report-signature",
            "report-unsigned",
        ),
        (
            |p| p.report.cpu = [0x19, 0x11, 1],
            "product",
            "product-mismatch",
        ),
        (
            |p| p.vek.tcb[7] += 1,
            "reported-tcb",
            "reported-tcb-mismatch",
        ),
        (
            |p| p.report.chip_id = [1; 64],
            "chip-id",
            "chip-id-mismatch",
        ),
        (|p| p.report.chip_id = [0; 64], "chip-id", "chip-id-masked"),
    ]);
    // a version 2 report does not name its product: its layout is the certificate's
    let mut old = AMD.plan(SnpProduct::Milan, 2, SigningKey::Vcek, now());
    old.report.current_tcb[3] = 1;
    assert_refused(&appraised(&AMD.make(&old)), "product", "snp-reserved");
    let mut foreign = AMD.plan(SnpProduct::Milan, 3, SigningKey::Vlek, now());
    foreign.vek.csp_id = Some("another-provider".to_owned());
    assert_refused(
        &appraised(&AMD.make(&foreign)),
        "signing-key",
        "csp-refused",
    );
    // who loads a VLEK may hide its chips
    foreign = AMD.plan(SnpProduct::Milan, 3, SigningKey::Vlek, now());
    foreign.report.chip_id = [0; 64];
    let verified = appraised(&AMD.make(&foreign)).into_verified().unwrap();
    assert_eq!(verified.platform().chip_id, None);
}

#[test]
fn what_the_policy_does_not_accept_is_refused() {
    assert_all_refused(&[
        (
            |p| p.report.policy |= 1 << 19,
            "guest-policy",
            "guest-debug",
        ),
        (
            |p| p.report.policy |= 1 << 18,
            "guest-policy",
            "guest-migratable",
        ),
        (
            |p| p.report.report_id_ma = [3; 32],
            "guest-policy",
            "guest-migratable",
        ),
        (
            |p| p.report.policy |= 1 << 21,
            "guest-policy",
            "policy-bit-not-allowed",
        ),
        (
            |p| p.report.platform = 1,
            "platform",
            "platform-bit-missing",
        ),
        (|p| p.report.vmpl = 1, "vmpl", "vmpl-refused"),
        (
            |p| p.report.measurement[0] ^= 1,
            "reference-values",
            "reference-mismatch",
        ),
        (
            |p| p.report.id_key_digest[0] = 1,
            "reference-values",
            "reference-mismatch",
        ),
        (
            |p| p.report.author_key_digest[0] = 1,
            "reference-values",
            "reference-mismatch",
        ),
        (
            |p| p.report.flags = 1,
            "reference-values",
            "reference-mismatch",
        ),
        (
            |p| p.report.report_data[63] ^= 1,
            "report-data-binding",
            "report-data-mismatch",
        ),
        (
            |p| p.report.launch_tcb[6] -= 1,
            "tcb-minimum",
            "tcb-below-minimum",
        ),
        (
            |p| p.report.current_tcb[6] -= 1,
            "tcb-minimum",
            "tcb-inconsistent",
        ),
        (
            |p| p.report.committed_tcb[7] -= 1,
            "tcb-minimum",
            "tcb-inconsistent",
        ),
    ]);
    let mut low = plan();
    low.report.reported_tcb[7] -= 1;
    low.vek.tcb[7] -= 1;
    assert_refused(
        &appraised(&AMD.make(&low)),
        "tcb-minimum",
        "tcb-below-minimum",
    );
    let mut zero = plan();
    zero.report.measurement = [0; 48];
    let appraisal = appraised(&AMD.make(&zero));
    assert!(matches!(
        appraisal.outcome(SnpCheckName::PlaceholderMeasurement),
        SnpOutcome::Fail { .. }
    ));
}

#[test]
fn stricter_policies_are_kept() {
    let evidence = AMD.make(&plan());
    let strict = |from: &str, to: &str| {
        assert!(POLICY.contains(from), "{from}");
        under(&evidence, &POLICY.replace(from, to))
    };
    let chip = format!("chip_ids = [\"{}\"]", "5a".repeat(64));
    strict("chip_ids = \"any\"", &chip).into_verified().unwrap();
    let other = format!("chip_ids = [\"{}\"]", "5b".repeat(64));
    assert_refused(
        &strict("chip_ids = \"any\"", &other),
        "chip-id",
        "chip-refused",
    );
    let keys = format!("keys = [\"vlek\"]\ncsp_ids = [\"{CSP_ID}\"]");
    let both = format!("keys = [\"vcek\", \"vlek\"]\ncsp_ids = [\"{CSP_ID}\"]");
    assert_refused(&strict(&both, &keys), "signing-key", "signing-key-refused");
    assert_refused(
        &strict("require = []", "require = [\"SINGLE_SOCKET\"]"),
        "guest-policy",
        "policy-bit-missing",
    );
    assert_refused(
        &strict("allow = [\"SMT\"]", "allow = []"),
        "guest-policy",
        "policy-bit-not-allowed",
    );
    assert_refused(
        &strict("min_abi = [0, 0]", "min_abi = [1, 51]"),
        "guest-policy",
        "abi-too-old",
    );
    let mut signed = plan();
    signed.report.id_key_digest = [3; 48];
    let signed = AMD.make(&signed);
    let at_least = |svn: u32| {
        let listed = format!("id_key = [\"{}\"]", "03".repeat(48));
        let policy = POLICY
            .replace("id_key = \"absent\"", &listed)
            .replace("min_guest_svn = 0", &format!("min_guest_svn = {svn}"));
        under(&signed, &policy)
    };
    at_least(1).into_verified().unwrap();
    assert_refused(&at_least(2), "reference-values", "reference-mismatch");
    let host_data = format!("host_data = [\"{}\"]", "11".repeat(32));
    assert_refused(
        &strict("host_data = \"not-compared\"", &host_data),
        "reference-values",
        "reference-mismatch",
    );
    let milan = "[tcb.milan]\nboot_loader = 4\ntee = 0\nsnp = 24\nmicrocode = 219\n";
    assert_refused(&strict(milan, ""), "tcb-minimum", "product-refused");
}

/// Through the whole appraisal, so for one report of the richest kind; the next test has them all.
#[test]
fn every_flipped_bit_of_the_signed_part_is_refused() {
    let policy = SnpAppraisalPolicy::parse(&POLICY, "simulated.toml").unwrap();
    let evidence = AMD.make(&AMD.plan(SnpProduct::Turin, 5, SigningKey::Vlek, now()));
    for bit in 0..SNP_SIGNED_BYTES * 8 {
        let mut changed = evidence.report.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let appraisal = appraise_snp(&changed, chain(&evidence), &policy, CHALLENGE, now());
        assert_eq!(appraisal.verdict(), Verdict::Reject, "bit {bit}");
    }
}

#[test]
fn no_flipped_bit_changes_a_report_but_not_its_identity_unseen() {
    for product in SnpProduct::ALL {
        for version in 2..=5 {
            let report = AMD.report(&AMD.plan(product, version, SigningKey::Vcek, now()));
            let identity = SnpReport::parse(&report).unwrap().identity();
            for bit in 0..SNP_SIGNED_BYTES * 8 {
                let mut changed = report.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                let same =
                    SnpReport::parse(&changed).is_ok_and(|parsed| parsed.identity() == identity);
                assert!(!same, "{product} version {version} bit {bit}");
            }
        }
    }
}

/// The malleable part is the signature's `s`, and nothing else behind the signed part.
#[test]
fn a_report_has_two_signatures_and_one_identity() {
    let evidence = AMD.make(&plan());
    let parsed = SnpReport::parse(&evidence.report).unwrap();
    let signature = Signature::from_slice(parsed.signature()).unwrap();
    let (r, s) = signature.split_scalars();
    let other = Signature::from_scalars(r, -s).unwrap();
    let mut twin = evidence.clone();
    let (_, other_s) = other.split_bytes();
    let little: Vec<u8> = other_s.iter().rev().copied().collect();
    twin.report[0x2e8..0x318].copy_from_slice(&little);
    assert_ne!(twin.report, evidence.report);
    let (one, two) = (appraised(&evidence), appraised(&twin));
    assert_eq!(one.report(), two.report());
    assert_eq!(two.verdict(), Verdict::Accept);
    for byte in SNP_SIGNED_BYTES..SNP_REPORT_BYTES {
        let mut changed = evidence.clone();
        changed.report[byte] ^= 0x10;
        assert_eq!(appraised(&changed).verdict(), Verdict::Reject, "{byte:#x}");
    }
}

#[test]
fn cut_and_stretched_parts_are_refused() {
    let evidence = AMD.make(&plan());
    let policy = SnpAppraisalPolicy::parse(&POLICY, "simulated.toml").unwrap();
    for end in 0..evidence.report.len() {
        let cut = &evidence.report[..end];
        let appraisal = appraise_snp(cut, chain(&evidence), &policy, CHALLENGE, now());
        assert_eq!(appraisal.verdict(), Verdict::Reject, "report {end}");
    }
    let mut longer = evidence.clone();
    longer.report.push(0);
    assert_refused(&appraised(&longer), "report-parse", "snp-trailing-bytes");
    for part in 0..4 {
        let length = |e: &SnpEvidence| {
            [
                e.leaf.len(),
                e.intermediate.len(),
                e.root.len(),
                e.crl.len(),
            ][part]
        };
        // one length in seven: the parsers' own tests try them all
        for end in (0..length(&evidence)).rev().step_by(7) {
            let mut cut = evidence.clone();
            [
                &mut cut.leaf,
                &mut cut.intermediate,
                &mut cut.root,
                &mut cut.crl,
            ][part]
                .truncate(end);
            assert_eq!(
                appraised(&cut).verdict(),
                Verdict::Reject,
                "part {part} {end}"
            );
        }
        let mut longer = evidence.clone();
        [
            &mut longer.leaf,
            &mut longer.intermediate,
            &mut longer.root,
            &mut longer.crl,
        ][part]
            .push(0);
        assert_eq!(appraised(&longer).verdict(), Verdict::Reject, "part {part}");
    }
}

#[test]
fn the_same_seed_makes_the_same_evidence() {
    let (one, two) = (AMD.make(&plan()), AMD.make(&plan()));
    assert_eq!(
        (one.report, one.leaf, one.crl),
        (two.report, two.leaf, two.crl)
    );
}
