//! Reports on AMD SEV-SNP reports.

use proofroom_canonical::Timestamp;
use proofroom_evidence::snp::SnpReport;
use proofroom_verifier::{
    PRODUCTION_SNP, SnpAppraisal, SnpAppraisalPolicy, SnpChain, SnpExpectation, appraise_snp,
};

use crate::{
    Answer, Beside, Kind, Made, Policy, Proof, Report, Row, chain::Chain, row::PolicyWords,
};

/// What of an appraisal is its policy's own word.
pub(crate) const WORDS: PolicyWords = PolicyWords {
    checks: &[
        "signing-key",
        "chip-id",
        "tcb-minimum",
        "guest-policy",
        "platform",
        "vmpl",
        "reference-values",
    ],
    codes: &[
        "signing-key-refused",
        "csp-refused",
        "chip-refused",
        "product-refused",
        "tcb-below-minimum",
        "policy-bit-not-allowed",
        "policy-bit-missing",
        "abi-too-old",
        "platform-bit-missing",
        "vmpl-refused",
        "reference-mismatch",
    ],
};

pub(crate) fn report(
    evidence: &[u8],
    beside: &Beside,
    policy: Option<&Policy>,
    at: Timestamp,
) -> Report {
    let given = Given::of(evidence, beside);
    let report = match policy {
        Some(named @ Policy::Snp(policy)) => {
            let appraisal = given.appraise(evidence, beside, policy, at);
            let report = Report::unproved(Kind::SnpReport, evidence, at, given.rows(&appraisal))
                .with_facts("", &appraisal);
            let proof = given
                .complete()
                .then(|| appraisal.into_verified().ok())
                .flatten();
            report.under(named.facts(), proof.map(|v| Proof::Snp(Box::new(v))))
        }
        _ => match SnpAppraisalPolicy::parse(PRODUCTION_SNP, "production-snp.toml") {
            Ok(shipped) => {
                let appraisal = given.appraise(evidence, beside, &shipped, at);
                let rows = WORDS.withdraw(given.rows(&appraisal));
                Report::unproved(Kind::SnpReport, evidence, at, rows).with_facts("", &appraisal)
            }
            Err(_) => Report::unproved(Kind::SnpReport, evidence, at, Vec::new()),
        },
    };
    claimed(report, evidence)
}

/// What was supplied with a report.
struct Given {
    chain: Option<Chain>,
    expected: Option<SnpExpectation>,
    /// What the report itself says, so that the other checks can be made.
    own: [u8; 64],
}

impl Given {
    fn of(evidence: &[u8], beside: &Beside) -> Self {
        let own = SnpReport::parse(evidence).map_or([0; 64], |report| report.claims().report_data);
        let expected = beside
            .expected
            .report_data()
            .map(|data| match beside.expected.made {
                Made::ForThisExchange => SnpExpectation::Challenge(data),
                Made::Archived => SnpExpectation::ArchiveAudit(data),
            });
        Self {
            chain: Chain::sort(&beside.certificates),
            expected,
            own,
        }
    }

    const fn complete(&self) -> bool {
        self.chain.is_some() && self.expected.is_some()
    }

    fn appraise(
        &self,
        evidence: &[u8],
        beside: &Beside,
        policy: &SnpAppraisalPolicy,
        at: Timestamp,
    ) -> SnpAppraisal {
        let chain = match &self.chain {
            Some(chain) => SnpChain {
                leaf: &chain.leaf,
                intermediate: &chain.intermediate,
                root: &chain.root,
                crl: beside.crl.as_deref(),
            },
            None => SnpChain {
                leaf: &[],
                intermediate: &[],
                root: &[],
                crl: None,
            },
        };
        let expected = self
            .expected
            .unwrap_or(SnpExpectation::ArchiveAudit(self.own));
        appraise_snp(evidence, chain, policy, expected, at)
    }

    /// The rows, with nothing said about what was not supplied.
    fn rows(&self, appraisal: &SnpAppraisal) -> Vec<Row> {
        let checks = appraisal.checks().iter();
        let mut rows: Vec<Row> = checks
            .map(|check| Row::of(check.name.as_str(), &check.outcome))
            .collect();
        for row in &mut rows {
            if self.chain.is_none() && row.check == "chain-parse" {
                row.answer =
                    Answer::not_supplied("a whole chain of chip key, signing key and root");
            }
            if self.expected.is_none() && ["report-data-binding", "freshness"].contains(&row.check)
            {
                row.answer = Answer::not_supplied("what the report data should be");
            }
        }
        rows
    }
}

fn claimed(report: Report, evidence: &[u8]) -> Report {
    let Ok(parsed) = SnpReport::parse(evidence) else {
        return report;
    };
    let claims = parsed.claims();
    report
        .with_fact("measurement", claims.measurement.to_string())
        .with_fact("report_data", hex::encode(claims.report_data))
        .with_fact("host_data", hex::encode(claims.host_data))
        .with_fact("vmpl", claims.vmpl.to_string())
}
