//! Reports on bare TDX quotes.

use proofroom_canonical::Timestamp;
use proofroom_evidence::{Collateral, Quote, Register};
use proofroom_verifier::{
    AppraisalPolicy, PRODUCTION_UPSTREAM, QuoteAppraisal, QuoteExpectation, appraise_quote,
};

use crate::{Beside, Kind, Policy, Proof, Report, Row, row::PolicyWords};

/// What of an appraisal of a TD is its policy's own word.
pub(crate) const WORDS: PolicyWords = PolicyWords {
    checks: &[
        "tcb-status",
        "td-attributes",
        "reference-values",
        "keyset-expiry",
        "model",
    ],
    codes: &[
        "tcb-status-refused",
        "tolerance-ended",
        "advisory-refused",
        "evaluation-too-old",
        "ppid-not-listed",
        "fmspc-not-listed",
        "attribute-not-allowed",
        "reference-mismatch",
        "keyset-lifetime",
        "model-not-allowed",
    ],
};

pub(crate) fn report(
    evidence: &[u8],
    beside: &Beside,
    policy: Option<&Policy>,
    at: Timestamp,
) -> Report {
    let expected = beside.expected.of_quote();
    let collateral = beside.collateral.as_ref();
    let report = match policy {
        Some(named @ Policy::Upstream(policy)) => {
            let appraisal = appraise_quote(evidence, collateral, policy, expected, at);
            let report = Report::unproved(Kind::TdxQuote, evidence, at, rows(&appraisal))
                .with_facts("", &appraisal);
            let verified = appraisal.into_verified().ok();
            report.under(named.facts(), verified.map(|v| Proof::Quote(Box::new(v))))
        }
        _ => {
            let (rows, appraisal) = survey(evidence, collateral, expected, at);
            let report = Report::unproved(Kind::TdxQuote, evidence, at, rows);
            match &appraisal {
                Some(appraisal) => report.with_facts("", appraisal),
                None => report,
            }
        }
    };
    match Quote::parse(evidence) {
        Ok(quote) => quoted(report, &quote),
        Err(_) => report,
    }
}

/// What the checks on a quote come to without a policy: those of the shipped policy for genuine
/// hardware, less everything that is its own word. The vendor's root stays pinned.
pub(crate) fn survey(
    quote: &[u8],
    collateral: Option<&Collateral>,
    expected: QuoteExpectation,
    at: Timestamp,
) -> (Vec<Row>, Option<QuoteAppraisal>) {
    let Ok(shipped) = AppraisalPolicy::parse(PRODUCTION_UPSTREAM, "production-upstream.toml")
    else {
        return (Vec::new(), None);
    };
    let appraisal = appraise_quote(quote, collateral, &shipped, expected, at);
    (WORDS.withdraw(rows(&appraisal)), Some(appraisal))
}

fn rows(appraisal: &QuoteAppraisal) -> Vec<Row> {
    let checks = appraisal.checks().iter();
    checks
        .map(|check| Row::of(check.name.as_str(), &check.outcome))
        .collect()
}

/// Adds what a quote says of its TD.
pub(crate) fn quoted(mut report: Report, quote: &Quote) -> Report {
    let claims = quote.claims();
    for register in Register::ALL {
        report = report.with_fact(register.as_str(), claims.register(register).to_string());
    }
    if let Ok(pck) = quote.pck_facts() {
        report = report.with_fact("fmspc", pck.fmspc.to_string());
    }
    report
        .with_fact("quote", quote.identity().to_string())
        .with_fact("report_data", hex::encode(claims.report_data))
        .with_fact(
            "td_attributes",
            format!("{:#018x}", claims.td_attributes.bits()),
        )
}
