//! Answers of `gpu`.

use proofroom_verifier::{
    Freshness,
    gpu::{DeviceAppraisal, GpuEndorsements, GpuPolicy, appraise_gpus},
};

use super::UNUSABLE;
use crate::{Answer, Bytes, GpuRequest};

pub(super) fn answer(asked: &GpuRequest) -> Answer {
    let policy = match GpuPolicy::parse(&asked.policy, "policy.toml") {
        Ok(policy) => policy,
        Err(problems) => {
            return Answer::reject(problems.first().map_or(UNUSABLE, |one| one.code()));
        }
    };
    let files = |list: &[Bytes]| list.iter().map(|file| file.0.clone()).collect::<Vec<_>>();
    let (driver_rims, bios_rims) = (files(&asked.driver_rims), files(&asked.bios_rims));
    let tokens = files(&asked.tokens);
    let endorsements = GpuEndorsements {
        driver_rims: &driver_rims,
        bios_rims: &bios_rims,
        tokens: &tokens,
        jwks: asked.jwks.as_ref().map(|jwks| jwks.0.as_slice()),
    };
    let freshness = asked
        .nonce
        .map_or(Freshness::ArchiveAudit, Freshness::Challenge);
    let appraisal = appraise_gpus(&asked.list.0, endorsements, &policy, freshness, asked.at);
    let failure = appraisal.first_failure();
    let first = appraisal.devices().first();
    Answer {
        verdict: appraisal.verdict().into(),
        check: failure.map(|(check, _)| check.to_string()),
        code: failure.map(|(_, cause)| cause.as_str().to_owned()),
        identity: first
            .and_then(DeviceAppraisal::report)
            .map(|report| report.to_string()),
        tcb: None,
    }
}
