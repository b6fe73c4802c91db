//! Genuine AMD SEV-SNP reports through the production code, where they are at hand. Without them these
//! tests say aloud that they were skipped.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

#[path = "support/evidence.rs"]
mod evidence;

use evidence::read;
use proofroom_canonical::{Digest, Timestamp};
use proofroom_evidence::snp::{SNP_REPORT_BYTES, SNP_SIGNED_BYTES, SnpProduct, SnpReport};
use proofroom_verifier::{
    AMD_ARK_GENOA, AMD_ARK_MILAN, AMD_ARK_TURIN, PRODUCTION_SNP, SnpAppraisal, SnpAppraisalPolicy,
    SnpChain, SnpCheckName, SnpExpectation, SnpOutcome, SnpReason, Verdict, appraise_snp,
};

/// A report with its chain and the time at which it is judged.
struct Evidence {
    report: Vec<u8>,
    leaf: Vec<u8>,
    intermediate: Vec<u8>,
    root: Vec<u8>,
    now: Timestamp,
}

impl Evidence {
    fn appraise(&self, report: &[u8], policy: &str) -> SnpAppraisal {
        let chain = SnpChain {
            leaf: &self.leaf,
            intermediate: &self.intermediate,
            root: &self.root,
            crl: None,
        };
        let policy = SnpAppraisalPolicy::parse(policy, "genuine.toml").unwrap();
        let data = self.report[0x50..0x90].try_into().unwrap();
        appraise_snp(
            report,
            chain,
            &policy,
            SnpExpectation::Challenge(data),
            self.now,
        )
    }

    /// The production policy, pinned to what the report measures and to what it runs on.
    fn policy(&self, minimum: &str) -> String {
        let claims = SnpReport::parse(&self.report).unwrap();
        let example = PRODUCTION_SNP
            .lines()
            .find(|line| line.starts_with("measurement"))
            .unwrap();
        let measurement = format!("measurement = [\"{}\"]", claims.claims().measurement);
        PRODUCTION_SNP
            .replace(example, &measurement)
            .replace("id_key = \"absent\"", "id_key = \"not-compared\"")
            .replace("require = [\"ALIAS_CHECK_COMPLETE\"]", "require = []")
            .replace(
                "[tcb.milan]\nboot_loader = 4\ntee = 0\nsnp = 24\nmicrocode = 219",
                &format!("[tcb.milan]\n{minimum}"),
            )
            .split("\n[[match]]")
            .next()
            .unwrap()
            .to_owned()
    }
}

fn certificates(pem: &[u8]) -> Vec<Vec<u8>> {
    let blocks = pem::parse_many(pem).unwrap();
    blocks.into_iter().map(pem::Pem::into_contents).collect()
}

/// ASK, ARK and ASVK of a product, in the order in which AMD publishes them.
fn roots(product: &str) -> Option<[Vec<u8>; 3]> {
    let pem = read(&format!("trustee/roots/{product}_ask_ark_asvk.pem"))?;
    Some(certificates(&pem).try_into().unwrap())
}

fn trustee() -> Option<Evidence> {
    let [intermediate, root, _] = roots("milan")?;
    Some(Evidence {
        report: read("trustee/snp/test-report.bin")?,
        leaf: read("trustee/snp/test-vcek.der")?,
        intermediate,
        root,
        now: "2024-06-01T00:00:00.000Z".parse().unwrap(),
    })
}

fn dstack() -> Option<Evidence> {
    let [_, root, _] = roots("milan")?;
    let attestation = read("dstack/dstack-attest_tests_sev_snp_attestation.bin")?;
    let one = |name: &str| Some(certificates(&read(name)?).swap_remove(0));
    Some(Evidence {
        report: attestation[4..4 + SNP_REPORT_BYTES].to_vec(),
        leaf: one("dstack/dstack-attest_tests_sev_snp_vcek.pem")?,
        intermediate: one("dstack/dstack-attest_tests_sev_snp_ask.pem")?,
        root,
        now: "2026-07-01T00:00:00.000Z".parse().unwrap(),
    })
}

const TRUSTEE_MINIMUM: &str = "boot_loader = 3\ntee = 0\nsnp = 8\nmicrocode = 115";
const DSTACK_MINIMUM: &str = "boot_loader = 4\ntee = 0\nsnp = 23\nmicrocode = 213";

#[track_caller]
fn assert_refused(appraisal: &SnpAppraisal, check: &str, code: &str) {
    let found = appraisal
        .first_failure()
        .map(|(check, code, _)| (check.as_str(), code.as_str()));
    assert_eq!(found, Some((check, code)), "{:#?}", appraisal.checks());
}

/// No genuine revocation list is at hand: everything else must pass.
#[track_caller]
fn assert_genuine(appraisal: SnpAppraisal) {
    for check in appraisal.checks() {
        let wanted = if check.name == SnpCheckName::Revocation {
            SnpOutcome::NotEvaluated(SnpReason::NoRevocationList)
        } else {
            SnpOutcome::Pass
        };
        assert_eq!(check.outcome, wanted, "{}", check.name);
    }
    let platform = appraisal.platform().unwrap();
    assert_eq!(platform.product, SnpProduct::Milan);
    assert!(platform.chip_id.is_some());
    assert_eq!(appraisal.verdict(), Verdict::Incomplete);
    appraisal.into_verified().unwrap_err();
}

#[test]
fn genuine_reports_pass_every_check_but_the_one_that_lacks_its_list() {
    for (evidence, minimum) in [(trustee(), TRUSTEE_MINIMUM), (dstack(), DSTACK_MINIMUM)] {
        let Some(evidence) = evidence else { continue };
        let policy = evidence.policy(minimum);
        assert_genuine(evidence.appraise(&evidence.report, &policy));
    }
}

#[test]
fn the_dstack_report_carries_its_known_report_data() {
    let Some(evidence) = dstack() else { return };
    let mut expected = [0; 64];
    expected[..24].copy_from_slice(b"attest-test-fixture-2026");
    assert_eq!(evidence.report[0x50..0x90], expected);
}

#[test]
fn a_strict_minimum_refuses_both_genuine_platforms() {
    for evidence in [trustee(), dstack()].into_iter().flatten() {
        let strict = evidence.policy("boot_loader = 4\ntee = 0\nsnp = 24\nmicrocode = 219");
        let appraisal = evidence.appraise(&evidence.report, &strict);
        assert_refused(&appraisal, "tcb-minimum", "tcb-below-minimum");
    }
}

#[test]
fn genuine_reports_are_refused_outside_their_certificates_time() {
    let Some(mut evidence) = trustee() else {
        return;
    };
    let policy = evidence.policy(TRUSTEE_MINIMUM);
    for (now, code) in [
        ("2023-01-24T17:58:25.000Z", "certificate-not-yet-valid"),
        ("2030-01-24T17:58:27.000Z", "certificate-expired"),
    ] {
        evidence.now = now.parse().unwrap();
        let appraisal = evidence.appraise(&evidence.report, &policy);
        assert_refused(&appraisal, "chain-time", code);
    }
}

#[test]
fn certificates_that_amd_did_not_issue_are_refused() {
    for name in [
        "trustee/snp/test-vcek-invalid-legacy.der",
        "trustee/snp/test-vcek-invalid-new.der",
    ] {
        let (Some(mut evidence), Some(leaf)) = (trustee(), read(name)) else {
            return;
        };
        let policy = evidence.policy(TRUSTEE_MINIMUM);
        evidence.leaf = leaf;
        let appraisal = evidence.appraise(&evidence.report, &policy);
        assert!(
            matches!(
                appraisal.outcome(SnpCheckName::ChainSignatures),
                SnpOutcome::Fail { .. }
            ) || matches!(
                appraisal.outcome(SnpCheckName::ChainParse),
                SnpOutcome::Fail { .. }
            ),
            "{name}: {:#?}",
            appraisal.checks()
        );
        assert_eq!(appraisal.verdict(), Verdict::Reject);
        assert_eq!(appraisal.platform(), None);
    }
}

#[test]
fn the_chip_key_of_another_chip_signs_nothing() {
    let (Some(trustee), Some(mut dstack)) = (trustee(), dstack()) else {
        return;
    };
    let policy = dstack.policy(DSTACK_MINIMUM);
    dstack.leaf = trustee.leaf;
    let appraisal = dstack.appraise(&dstack.report, &policy);
    assert_refused(&appraisal, "report-signature", "report-signature-invalid");
}

#[test]
fn the_signing_key_of_another_kind_or_product_issued_nothing() {
    let Some(mut evidence) = trustee() else {
        return;
    };
    let policy = evidence.policy(TRUSTEE_MINIMUM);
    let (Some([_, _, asvk]), Some([genoa, ark_genoa, _])) = (roots("milan"), roots("genoa")) else {
        return;
    };
    evidence.intermediate = asvk;
    let appraisal = evidence.appraise(&evidence.report, &policy);
    assert_refused(&appraisal, "chain-signatures", "chain-broken");
    evidence.intermediate = genoa;
    evidence.root = ark_genoa;
    let appraisal = evidence.appraise(&evidence.report, &policy);
    assert_refused(&appraisal, "chain-signatures", "chain-broken");
}

#[test]
fn amds_published_roots_are_the_pinned_ones() {
    for (product, pinned) in [
        ("milan", AMD_ARK_MILAN),
        ("genoa", AMD_ARK_GENOA),
        ("turin", AMD_ARK_TURIN),
    ] {
        let Some([_, root, _]) = roots(product) else {
            return;
        };
        assert_eq!(Digest::of(&root), pinned, "{product}");
    }
    // a second source
    if let Some(pem) = read("tinfoil-verifier/attestation/genoa_cert_chain.pem") {
        assert_eq!(Digest::of(&certificates(&pem)[1]), AMD_ARK_GENOA);
    }
}

#[test]
fn every_flipped_bit_of_a_genuine_signed_part_is_refused() {
    for (evidence, minimum) in [(trustee(), TRUSTEE_MINIMUM), (dstack(), DSTACK_MINIMUM)] {
        let Some(evidence) = evidence else { continue };
        let policy = evidence.policy(minimum);
        let identity = SnpReport::parse(&evidence.report).unwrap().identity();
        for bit in 0..SNP_SIGNED_BYTES * 8 {
            let mut changed = evidence.report.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok(parsed) = SnpReport::parse(&changed) {
                assert_ne!(parsed.identity(), identity, "bit {bit}");
            } else {
                continue; // refused before anything is looked at
            }
            // one bit of each byte goes through the whole appraisal: verifying takes a while
            if bit % 8 == bit / 8 % 8 {
                let appraisal = evidence.appraise(&changed, &policy);
                assert_eq!(appraisal.verdict(), Verdict::Reject, "bit {bit}");
            }
        }
    }
}

#[test]
fn every_flipped_bit_behind_the_signed_part_is_refused() {
    let Some(evidence) = dstack() else { return };
    let policy = evidence.policy(DSTACK_MINIMUM);
    for byte in SNP_SIGNED_BYTES..SNP_REPORT_BYTES {
        let mut changed = evidence.report.clone();
        changed[byte] ^= 1 << (byte % 8);
        let appraisal = evidence.appraise(&changed, &policy);
        assert_eq!(appraisal.verdict(), Verdict::Reject, "byte {byte:#x}");
    }
}
