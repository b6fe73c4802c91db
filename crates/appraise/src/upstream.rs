//! Reports on the evidence documents of upstreams.

use proofroom_canonical::Timestamp;
use proofroom_evidence::EvidenceDocument;
use proofroom_verifier::{Appraisal, AppraisalPolicy, PRODUCTION_UPSTREAM, appraise};

use crate::{
    Beside, Kind, Policy, Proof, Report, Row,
    quote::{WORDS, quoted},
};

pub(crate) fn report(
    evidence: &[u8],
    beside: &Beside,
    policy: Option<&Policy>,
    at: Timestamp,
) -> Report {
    let freshness = beside.expected.freshness();
    let judge = |policy: &AppraisalPolicy| appraise(evidence, policy, freshness, at);
    let report = match policy {
        Some(named @ Policy::Upstream(policy)) => {
            let appraisal = judge(policy);
            let report = plain(evidence, &appraisal, rows(&appraisal), at);
            let verified = appraisal.into_verified().ok();
            report.under(
                named.facts(),
                verified.map(|v| Proof::Upstream(Box::new(v))),
            )
        }
        _ => match AppraisalPolicy::parse(PRODUCTION_UPSTREAM, "production-upstream.toml") {
            Ok(shipped) => {
                let appraisal = judge(&shipped);
                plain(evidence, &appraisal, WORDS.withdraw(rows(&appraisal)), at)
            }
            Err(_) => Report::unproved(Kind::Upstream, evidence, at, Vec::new()),
        },
    };
    let document = EvidenceDocument::parse(evidence).ok();
    match document.as_ref().and_then(|document| document.quote().ok()) {
        Some(quote) => quoted(report, &quote),
        None => report,
    }
}

fn rows(appraisal: &Appraisal) -> Vec<Row> {
    let checks = appraisal.checks().iter();
    checks
        .map(|check| Row::of(check.name.as_str(), &check.outcome))
        .collect()
}

fn plain(evidence: &[u8], appraisal: &Appraisal, rows: Vec<Row>, at: Timestamp) -> Report {
    let mut report = Report::unproved(Kind::Upstream, evidence, at, rows).with_facts("", appraisal);
    if let Some(statement) = appraisal.statement() {
        report = report.with_facts("statement.", statement);
    }
    report
}
