//! Answers of `snp`.

use proofroom_verifier::{SnpAppraisalPolicy, SnpChain, SnpExpectation, appraise_snp};

use super::UNUSABLE;
use crate::{Answer, SnpRequest};

pub(super) fn answer(asked: &SnpRequest) -> Answer {
    let policy = match SnpAppraisalPolicy::parse(&asked.policy, "policy.toml") {
        Ok(policy) => policy,
        Err(problems) => {
            return Answer::reject(problems.first().map_or(UNUSABLE, |one| one.code()));
        }
    };
    let chain = SnpChain {
        leaf: &asked.leaf.0,
        intermediate: &asked.intermediate.0,
        root: &asked.root.0,
        crl: asked.crl.as_ref().map(|crl| crl.0.as_slice()),
    };
    let expected = SnpExpectation::Challenge(asked.report_data.0);
    let appraisal = appraise_snp(&asked.report.0, chain, &policy, expected, asked.at);
    let failure = appraisal.first_failure();
    Answer {
        verdict: appraisal.verdict().into(),
        check: failure.map(|(check, ..)| check.to_string()),
        code: failure.map(|(_, cause, _)| cause.as_str().to_owned()),
        identity: appraisal.report().map(|report| report.to_string()),
        tcb: None,
    }
}
