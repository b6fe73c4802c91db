//! Genuine Intel quotes through the production code, where they are at hand. They are third-party
//! evidence that is not part of the repository: `PROOFROOM_EVIDENCE_DIR`, or `../shared/evidence`
//! beside the repository. Without them these tests say aloud that they were skipped.

#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test that panics has failed"
)]

#[path = "support/evidence.rs"]
mod evidence;

use evidence::read;
use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_evidence::{Collateral, EvidenceDocument, KeysetStatement, PURPOSE, Quote, Register};
use proofroom_verifier::{
    Appraisal, AppraisalPolicy, CheckName, Freshness, Outcome, PRODUCTION_UPSTREAM as PRODUCTION,
    TcbStatus, appraise,
};

const NONCE: Nonce = Nonce::from_random([1; 32]);

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The production policy, pinned to what `quote` measures.
fn policy_for(quote: &Quote) -> AppraisalPolicy {
    let mut text = PRODUCTION
        .replace("example/replace-by-your-model", "*")
        .replace("[[not_match]]\nmodel = \"example/another-model\"\n", "");
    for register in [
        Register::MrTd,
        Register::Rtmr0,
        Register::Rtmr1,
        Register::Rtmr2,
    ] {
        if quote.claims().register(register).repeated_byte().is_some() {
            continue; // no policy pins a placeholder
        }
        let start = text.find(&format!("{register} = [")).unwrap();
        let end = start + text[start..].find('\n').unwrap();
        let pinned = format!("{register} = [\"{}\"]", quote.claims().register(register));
        text.replace_range(start..end, &pinned);
    }
    AppraisalPolicy::parse(&text, "genuine.toml").unwrap()
}

/// Puts a genuine quote beside a statement that it cannot bind, and appraises that.
fn appraised(quote: &str, collateral: &str, now: &str) -> Option<Appraisal> {
    let quote = read(quote)?;
    let collateral: Collateral = serde_json::from_slice(&read(collateral)?).unwrap();
    let now = time(now);
    let statement = KeysetStatement {
        purpose: PURPOSE.to_owned(),
        nonce: NONCE,
        tls_spki_sha256: Digest::of(""),
        model: "genuine".to_owned(),
        not_after: Timestamp::from_unix_seconds(now.unix_seconds() + 60),
    };
    let document =
        EvidenceDocument::write(&statement.to_bytes().unwrap(), &quote, &collateral).unwrap();
    let policy = policy_for(&Quote::parse(&quote).unwrap());
    Some(appraise(
        &document,
        &policy,
        Freshness::Challenge(NONCE),
        now,
    ))
}

/// Asserts everything about genuine hardware passes, and that the foreign report data does not.
fn assert_genuine(quote: &str, collateral: &str, now: &str, fmspc: &str) {
    let Some(appraisal) = appraised(quote, collateral, now) else {
        return;
    };
    for name in [
        CheckName::QuoteParse,
        CheckName::PckChainRoot,
        CheckName::CollateralTime,
        CheckName::CollateralSignature,
        CheckName::QuoteSignature,
        CheckName::TcbStatus,
        CheckName::TdAttributes,
        CheckName::ReferenceValues,
        CheckName::PlaceholderRegisters,
    ] {
        assert_eq!(appraisal.outcome(name), &Outcome::Pass, "{quote}: {name}");
    }
    assert_refused(&appraisal, "report-data-binding", "report-data-mismatch");
    let tcb = appraisal.tcb().unwrap();
    assert_eq!(tcb.status, TcbStatus::UpToDate);
    assert_eq!(tcb.fmspc.to_string(), fmspc);
}

#[track_caller]
fn assert_refused(appraisal: &Appraisal, check: &str, code: &str) {
    let found = appraisal
        .first_failure()
        .map(|(check, code)| (check.as_str(), code.as_str()));
    assert_eq!(found, Some((check, code)), "{:#?}", appraisal.checks());
}

fn assert_genuine_refused(quote: &str, collateral: &str, now: &str, check: &str, code: &str) {
    if let Some(appraisal) = appraised(quote, collateral, now) {
        assert_refused(&appraisal, check, code);
    }
}

const TDX: &str = "dcap-qvl/tdx_quote";
const TDX_COLLATERAL: &str = "dcap-qvl/tdx_quote_collateral.json";
const OUTDATED_COLLATERAL: &str = "dcap-qvl/tdx_quote_outdated_collateral.json";

#[test]
fn genuine_up_to_date_quotes_pass_every_hardware_check() {
    assert_genuine(
        TDX,
        TDX_COLLATERAL,
        "2025-06-19T10:32:28.000Z",
        "b0c06f000000",
    );
    assert_genuine(
        "near-ai/extracted/model_quote.bin",
        OUTDATED_COLLATERAL,
        "2026-03-15T00:00:00.000Z",
        "90c06f000000",
    );
    assert_genuine(
        "dstack/extracted_quote-report.bin",
        "derived/collateral_90c06f000000_platform_2026-01-12.json",
        "2026-01-12T16:03:14.000Z",
        "90c06f000000",
    );
}

#[test]
fn genuine_quotes_are_refused_outside_their_collaterals_time() {
    let refused = |now, code| {
        assert_genuine_refused(TDX, TDX_COLLATERAL, now, "collateral-time", code);
    };
    refused("2025-06-18T10:32:27.000Z", "collateral-not-yet-valid");
    refused("2025-07-20T10:00:35.000Z", "collateral-expired");
}

#[test]
fn a_genuine_debug_td_is_refused_though_intel_signed_it() {
    let quote = "trustee/tdx_quote_4.dat";
    let collateral = "derived/collateral_50806f000000_platform_2023-06.json";
    let Some(appraisal) = appraised(quote, collateral, "2023-06-18T08:42:59.000Z") else {
        return;
    };
    assert_eq!(appraisal.outcome(CheckName::QuoteSignature), &Outcome::Pass);
    assert_refused(&appraisal, "td-attributes", "td-debug");
}

#[test]
fn a_genuine_version_5_quote_without_a_tcb_level_is_refused() {
    assert_genuine_refused(
        "dcap-qvl/tdx_quote_outdated",
        OUTDATED_COLLATERAL,
        "2026-02-18T10:58:52.000Z",
        "tcb-status",
        "no-tcb-level",
    );
}

#[test]
fn a_genuine_out_of_date_platform_is_refused() {
    assert_genuine_refused(
        "near-ai/extracted/gateway_quote.bin",
        "derived/collateral_b0c06f000000_2026-10-08.json",
        "2026-10-14T17:46:40.000Z",
        "tcb-status",
        "tcb-status-refused",
    );
}

#[test]
fn collateral_with_the_sgx_identity_is_refused() {
    assert_genuine_refused(
        "dcap-qvl/history/eadf882_tdx_quote",
        "dcap-qvl/history/eadf882_tdx_quote_collateral_b0c06f_2024-09.json",
        "2024-09-02T04:44:23.000Z",
        "collateral-signature",
        "qe-identity-kind",
    );
}

#[test]
fn collateral_of_another_platform_is_refused() {
    assert_genuine_refused(
        TDX,
        "derived/collateral_50806f000000_platform_2023-06.json",
        "2023-06-18T08:42:59.000Z",
        "collateral-time",
        "certificate-not-yet-valid",
    );
}

#[test]
fn a_genuine_sgx_quote_is_no_tdx_quote() {
    if let Some(quote) = read("dcap-qvl/sgx_quote") {
        assert_eq!(
            Quote::parse(&quote).unwrap_err().code(),
            "quote-unsupported"
        );
    }
}

#[test]
fn collateral_without_revocation_lists_is_no_collateral() {
    let name = "dcap-qvl/history/3d2dc6c_tdx_quote_collateral_b0c06f_2025-03_noCRL.json";
    if let Some(collateral) = read(name) {
        let error = serde_json::from_slice::<Collateral>(&collateral).unwrap_err();
        assert!(error.to_string().contains("missing field"), "{error}");
    }
}

#[test]
fn a_changed_root_certificate_in_a_genuine_quote_is_refused() {
    let (Some(quote), Some(collateral)) = (read(TDX), read(TDX_COLLATERAL)) else {
        return;
    };
    let collateral: Collateral = serde_json::from_slice(&collateral).unwrap();
    // dcap-qvl never looks at the root inside the quote: 4,100 is inside it
    let mut changed = quote.clone();
    changed[4_100] = if changed[4_100] == b'A' { b'B' } else { b'A' };
    let now = time("2025-06-19T10:32:28.000Z");
    let document = EvidenceDocument::write(b"{}", &changed, &collateral).unwrap();
    let policy = policy_for(&Quote::parse(&quote).unwrap());
    let appraisal = appraise(&document, &policy, Freshness::ArchiveAudit, now);
    assert!(
        matches!(
            appraisal.outcome(CheckName::PckChainRoot),
            Outcome::Fail { cause, .. } if cause.as_str() == "root-not-trusted"
        ),
        "{:#?}",
        appraisal.checks()
    );
    assert_eq!(
        Quote::parse(&quote).unwrap().identity(),
        Quote::parse(&changed).unwrap().identity()
    );
}
