//! Answers of `room`.

use proofroom_canonical::Timestamp;
use proofroom_evidence::RoomDocument;
use proofroom_verifier::{
    PinnedRoomPolicy, RoomAppraisalPolicy, RoomExpectation, RoomTrust, appraise_room,
};

use super::UNUSABLE;
use crate::{Answer, Expectation};

/// A request but for its document.
pub(super) struct Asked<'a> {
    pub(super) policy: &'a str,
    pub(super) reference: &'a [u8],
    pub(super) deployment_ca: &'a str,
    pub(super) session: &'a Expectation,
    pub(super) at: Timestamp,
}

pub(super) fn answer(asked: &Asked<'_>, document: &[u8]) -> Answer {
    let policy = match pinned(asked) {
        Ok(policy) => policy,
        Err(code) => return Answer::reject(code),
    };
    let trust = RoomTrust {
        policy: &policy,
        deployment_ca: asked.deployment_ca.as_bytes(),
    };
    let appraisal = appraise_room(document, trust, &expected(asked.session), asked.at);
    let failure = appraisal.first_failure();
    let parsed = RoomDocument::parse(document).ok();
    Answer {
        verdict: appraisal.verdict().into(),
        check: failure.map(|(check, ..)| check.to_string()),
        code: failure.map(|(_, cause, _)| cause.as_str().to_owned()),
        identity: parsed.map(|document| document.evidence_digest().to_string()),
        tcb: None,
    }
}

fn pinned(asked: &Asked<'_>) -> Result<PinnedRoomPolicy, &'static str> {
    let policy = RoomAppraisalPolicy::parse(asked.policy, "policy.toml")
        .map_err(|problems| problems.first().map_or(UNUSABLE, |one| one.code()))?;
    policy
        .with_reference(asked.reference, asked.at)
        .map_err(|error| error.code())
}

fn expected(session: &Expectation) -> RoomExpectation {
    RoomExpectation {
        moment: session.moment,
        statement: session.statement.clone().into_bytes(),
        session: session.session,
        nonce: session.nonce,
        agent: session.agent.clone(),
        commit: session.commit.clone(),
        policies: session.policies.clone(),
    }
}
