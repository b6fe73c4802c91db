//! Rungs `room-evidence` and `room-evidence-end`: the room's evidence, appraised again as of the time
//! at which the session record says it was made. A level that needs evidence and has none is never
//! passed over; that a process room has none is said.

use proofroom_canonical::{Digest, IsolationLevel, Timestamp, json};
use proofroom_evidence::{Moment, RoomDocument};
use proofroom_verifier::{
    PinnedRoomPolicy, RoomAppraisal, RoomAppraisalPolicy, RoomExpectation, RoomTrust, VerifiedRoom,
    appraise_room,
};

use super::{
    Anchor, Anchors, Blame, Failure, Made, Requirement, check::Rungs, seam, signatures::Records,
};
use crate::{
    bundle::{BundleParts, RoomReference},
    statement::{AgentSession, Binding, Closing, RoomEvidenceClaim, Signer},
};

/// Digests of the documents that hold the evidence which the session record names.
pub(super) fn cited(parts: &BundleParts, session: &AgentSession) -> Vec<Digest> {
    let claims = [&session.room_evidence.start, &session.room_evidence.end];
    claims
        .into_iter()
        .filter_map(|claim| document(parts, claim))
        .map(Digest::of)
        .collect()
}

/// The first document that holds the evidence of `claim`.
fn document<'a>(parts: &'a BundleParts, claim: &RoomEvidenceClaim) -> Option<&'a [u8]> {
    let RoomEvidenceClaim::Attested { evidence, .. } = claim else {
        return None;
    };
    let holds = |document: &&Vec<u8>| {
        RoomDocument::parse(document).is_ok_and(|parsed| parsed.evidence_digest() == *evidence)
    };
    parts.evidence.iter().find(holds).map(Vec::as_slice)
}

/// One of the two rungs.
struct Rung<'a> {
    name: &'static str,
    moment: Moment,
    claim: &'a RoomEvidenceClaim,
    /// The bytes that the quote must bind.
    statement: Vec<u8>,
    /// When the session record says it was made.
    at: Timestamp,
}

pub(super) fn check(
    rungs: &mut Rungs,
    parts: &BundleParts,
    anchors: &Anchors,
    binding: &Binding,
    records: &Records,
) {
    let session = records.session.predicate();
    let closing = Closing::of(session.session, Digest::of(&parts.binding), &session.events);
    let start = Rung {
        name: "room-evidence",
        moment: Moment::Start,
        claim: &session.room_evidence.start,
        statement: parts.binding.clone(),
        at: session.started,
    };
    let end = Rung {
        name: "room-evidence-end",
        moment: Moment::End,
        claim: &session.room_evidence.end,
        // a closing statement has no member that JSON cannot hold
        statement: json::to_bytes(&closing).unwrap_or_default(),
        at: session.ended,
    };
    for rung in [start, end] {
        match rung.claim {
            RoomEvidenceClaim::None { reason } => without(rungs, &rung, session, reason),
            RoomEvidenceClaim::Attested { .. } => {
                let appraised = appraise(&rung, parts, anchors, binding, session);
                let (outcome, appraisal) = match appraised {
                    Ok(appraisal) => (accept(&rung, &appraisal), Some(appraisal)),
                    Err(failure) => (Err(failure), None),
                };
                rungs.room.extend(appraisal);
                rungs.require(rung.name, || outcome);
            }
        }
    }
}

/// What a moment without evidence comes to.
fn without(rungs: &mut Rungs, rung: &Rung<'_>, session: &AgentSession, reason: &str) {
    let start = &session.room_evidence.start;
    let attested = matches!(start, RoomEvidenceClaim::Attested { .. });
    match (rung.moment, session.signer) {
        (Moment::End, Signer::Gateway) if attested => {
            let words = format!("the session was interrupted: {reason}");
            rungs.not_evaluated(rung.name, Requirement::Advisory, words);
        }
        (Moment::End, Signer::Session) if attested => {
            let cause = format!("the room attested its start and not its end: {reason}");
            let failure = Failure::refused("room-evidence-end-missing", cause);
            rungs.refuse(rung.name, failure);
        }
        _ => {
            let requirement = match session.isolation {
                IsolationLevel::Process => Requirement::Advisory,
                IsolationLevel::Vm | IsolationLevel::Hardware | IsolationLevel::Simulated => {
                    Requirement::Required
                }
            };
            rungs.not_evaluated(rung.name, requirement, reason);
        }
    }
}

fn appraise(
    rung: &Rung<'_>,
    parts: &BundleParts,
    anchors: &Anchors,
    binding: &Binding,
    session: &AgentSession,
) -> Result<RoomAppraisal, Failure> {
    let policy = policy(parts, anchors, session.started)?;
    if let RoomEvidenceClaim::Attested { policy: cited, .. } = rung.claim
        && *cited != binding.policies.room_appraisal
    {
        let cause = "the room was appraised under another policy than the session's";
        return Err(Failure::refused("room-evidence-policy-differs", cause));
    }
    let document = document(parts, rung.claim).ok_or_else(|| {
        let moment = rung.moment.as_str();
        let cause = format!("the evidence of the room's {moment} is not in the bundle");
        Failure::refused("room-evidence-missing", cause)
    })?;
    let trust = RoomTrust {
        policy: &policy,
        deployment_ca: anchors.ca.bytes(&parts.trust.ca),
    };
    let expected = RoomExpectation {
        moment: rung.moment,
        statement: rung.statement.clone(),
        session: binding.session,
        nonce: binding.nonce,
        agent: session.agent.clone(),
        commit: binding.commit.clone(),
        policies: binding.policies.by_name(),
    };
    Ok(appraise_room(document, trust, &expected, rung.at))
}

fn accept(rung: &Rung<'_>, appraisal: &RoomAppraisal) -> Made<()> {
    let moment = rung.moment.as_str();
    if let Some((check, cause, words)) = appraisal.first_failure() {
        let words = format!("{moment}: `{check}` fails: {words}");
        return Err(Failure::refused(cause.as_str(), words));
    }
    let checks = appraisal.checks().len();
    let room: VerifiedRoom = appraisal.clone().into_verified().map_err(|_| {
        let cause = format!("{moment}: not every check of the evidence could be made");
        Failure::refused("room-evidence-incomplete", cause)
    })?;
    let RoomEvidenceClaim::Attested {
        evidence_type,
        evidence,
        appraisal_policy,
        ..
    } = rung.claim
    else {
        return Err(Failure::refused("room-evidence-missing", moment));
    };
    // Whether a record speaks of a simulated room is read off this name.
    let (policy, cited) = (room.policy_name(), appraisal_policy);
    if policy != cited {
        let cause = format!("{moment}: the record calls the policy `{cited}`, which is `{policy}`");
        return Err(Failure::refused("room-evidence-policy-differs", cause));
    }
    if room.kind() != *evidence_type || room.evidence() != *evidence {
        let cause = format!("{moment}: the evidence is of another type than the record says");
        return Err(Failure::refused("room-evidence-type-differs", cause));
    }
    let (label, image) = (room.label(), room.image());
    let found = format!("{label}: all {checks} checks hold; image {image}, policy `{policy}`");
    Ok((found, ()))
}

/// The policy with its reference values, as they held when the session started.
fn policy(
    parts: &BundleParts,
    anchors: &Anchors,
    started: Timestamp,
) -> Result<PinnedRoomPolicy, Failure> {
    let own = &parts.trust.policies.room_appraisal;
    let bytes = anchors.room_appraisal_policy.bytes(own);
    let (code, title) = ("room-appraisal-policy", "the room appraisal policy");
    let policy = seam::read_policy(bytes, code, title, |text| {
        RoomAppraisalPolicy::parse(text, "room-appraisal.toml")
    })?;
    let manifest = match (&anchors.room_reference, &parts.trust.room_reference) {
        (Anchor::Pinned(own), _) => own,
        (Anchor::FromBundle, RoomReference::Manifest(held)) => held,
        (Anchor::FromBundle, RoomReference::NotUsed) => {
            let cause = "the bundle holds no reference values for the room's evidence";
            return Err(Failure::refused("room-reference-missing", cause));
        }
    };
    policy.with_reference(manifest, started).map_err(|error| {
        Failure::at("trust/room-reference.json", error.code(), &error).blamed(Blame::Refused)
    })
}
