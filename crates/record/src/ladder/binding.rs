//! Rungs `binding`, `policies`, `destruction` and `isolation`: that the records of a bundle speak
//! about one session, under one set of policies, in one room.

use proofroom_canonical::{Digest, IsolationLevel, json};
use proofroom_verifier::{Assurance, label_of, level_of};

use super::{
    Failure, Made,
    signatures::{Records, key_digest},
    version,
};
use crate::{
    bundle::BundleParts,
    chain::VerifiedChain,
    event::EventBody,
    predicate::VerifiedRecord,
    statement::{AgentSession, BINDING_PURPOSE, Binding, Destruction, ModelRun, RoomEvidenceClaim},
};

/// The most bytes that `binding.json` may have.
pub const MAX_BINDING_BYTES: usize = 16 * 1024;

pub(super) fn parse(bytes: &[u8]) -> Result<Binding, Failure> {
    let binding: Binding = json::parse(bytes, MAX_BINDING_BYTES)
        .map_err(|error| Failure::at("binding.json", "binding-malformed", &error))?;
    if binding.purpose != BINDING_PURPOSE {
        let cause = format!("binding.json: purpose is `{}`", binding.purpose);
        return Err(Failure::refused("binding-purpose", cause));
    }
    Ok(binding)
}

/// Two statements that must be equal, and what it means when they are not.
struct Pair<'a>(&'static str, &'a str, String, String);

fn all_equal<'a>(
    code: &'static str,
    pairs: impl IntoIterator<Item = Pair<'a>>,
) -> Result<(), Failure> {
    let mut pairs = pairs.into_iter();
    let Some(Pair(what, place, one, other)) = pairs.find(|Pair(_, _, one, other)| one != other)
    else {
        return Ok(());
    };
    let cause = format!("{what}: binding.json says `{one}`, {place} says `{other}`");
    Err(Failure::refused(code, cause))
}

pub(super) fn verify(
    parts: &BundleParts,
    binding: &Binding,
    records: &Records,
    chain: &VerifiedChain,
) -> Made<()> {
    let digest = Digest::of(&parts.binding);
    all_equal("binding-event-0", event_pairs(binding, chain))?;
    all_equal(
        "binding-session-record",
        session_pairs(binding, digest, records.session.predicate(), chain),
    )?;
    let key = key_digest(&records.session_certificate);
    let key = pair("session key", "trust/session.pem", binding.session_key, key);
    all_equal("binding-certificate", [key])?;
    for run in &records.runs {
        let pairs = run_pairs(binding, digest, run.predicate());
        all_equal("binding-model-run", pairs)?;
    }
    let found = format!(
        "binding, event 0, session record, certificate and {} model runs name one session and one key",
        records.runs.len()
    );
    Ok((found, ()))
}

fn pair<'a>(
    what: &'static str,
    place: &'a str,
    one: impl std::fmt::Display,
    other: impl std::fmt::Display,
) -> Pair<'a> {
    Pair(what, place, one.to_string(), other.to_string())
}

fn event_pairs(binding: &Binding, chain: &VerifiedChain) -> Vec<Pair<'static>> {
    let first = chain.events().first().map(|event| &event.body);
    let Some(EventBody::SessionOpened {
        commit,
        task,
        session_key,
        ..
    }) = first
    else {
        return vec![pair(
            "first event",
            "events.jsonl",
            "session-opened",
            "nothing",
        )];
    };
    vec![
        pair("commit", "event 0", &binding.commit, commit),
        pair("task", "event 0", binding.task, task),
        pair("session key", "event 0", binding.session_key, session_key),
    ]
}

fn session_pairs(
    binding: &Binding,
    digest: Digest,
    session: &AgentSession,
    chain: &VerifiedChain,
) -> Vec<Pair<'static>> {
    let place = "the session record";
    let agent = chain.events().first().and_then(|event| match &event.body {
        EventBody::SessionOpened { agent, .. } => Some(agent.clone()),
        _ => None,
    });
    let spiffe_agent = binding.spiffe_id.rsplit('/').next().unwrap_or_default();
    vec![
        pair("session", place, binding.session, session.session),
        pair(
            "agent identity",
            place,
            &binding.spiffe_id,
            &session.spiffe_id,
        ),
        pair("agent", place, spiffe_agent, &session.agent),
        pair("agent", "event 0", spiffe_agent, agent.unwrap_or_default()),
        pair("binding digest", place, digest, session.binding),
    ]
}

fn run_pairs(binding: &Binding, digest: Digest, run: &ModelRun) -> [Pair<'static>; 3] {
    let place = "a model-run record";
    [
        pair("session", place, binding.session, run.session),
        pair("binding digest", place, digest, run.session_binding),
        pair("agent identity", place, &binding.spiffe_id, &run.caller),
    ]
}

pub(super) fn verify_certificate_name(binding: &Binding, name: &str) -> Result<(), Failure> {
    let named = pair(
        "agent identity",
        "trust/session.pem",
        &binding.spiffe_id,
        name,
    );
    all_equal("binding-certificate", [named])
}

pub(super) fn verify_policies(
    parts: &BundleParts,
    binding: &Binding,
    records: &Records,
) -> Made<()> {
    let bound = &binding.policies;
    let held = parts.trust.policies.each().into_iter();
    let pairs = held.zip(bound.each()).map(|(file, (_, bound))| {
        let found = Digest::of(file.bytes);
        pair(file.title, file.path, bound, found)
    });
    all_equal("policy-differs", pairs)?;
    for run in &records.runs {
        let (run, place) = (run.predicate(), "a model-run record");
        let (classified, routed) = (run.classification.policy, run.routing.policy);
        let pairs = [
            pair(
                "classification policy",
                place,
                bound.classification,
                classified,
            ),
            pair("routing policy", place, bound.routing, routed),
        ];
        all_equal("policy-of-run-differs", pairs)?;
    }
    let files = "seven policy files are the ones the session was bound to";
    let version = version::verify(bound, records)?;
    Ok((format!("{files}{version}"), ()))
}

pub(super) fn verify_destruction(
    session: &VerifiedRecord<AgentSession>,
    destruction: &VerifiedRecord<Destruction>,
) -> Made<()> {
    let (claim, gone) = (session.predicate(), destruction.predicate());
    if gone.session != claim.session || gone.session_record != session.digest() {
        return Err(Failure::refused(
            "destruction-of-another",
            "the destruction record is about another session record",
        ));
    }
    if gone.isolation != claim.isolation {
        return Err(Failure::refused(
            "destruction-isolation",
            format!(
                "destroyed a `{}` room, the session had `{}`",
                gone.isolation, claim.isolation
            ),
        ));
    }
    let seen: Vec<String> = gone.observed.iter().map(ToString::to_string).collect();
    Ok((format!("the host saw: {}", seen.join(", ")), ()))
}

/// What can be said of the level: without evidence it is a statement, and is shown as one. Goes by
/// the record alone; whether the evidence holds is `room-evidence`'s to say.
pub(super) fn appraise_isolation(session: &AgentSession) -> Result<String, Isolation> {
    let level = session.isolation;
    let shown_as = |label: &str| Ok(format!("`{level}`, {label}: {}", level.not_proven()));
    match (level, &session.room_evidence.start) {
        (IsolationLevel::Process, RoomEvidenceClaim::None { .. }) => {
            shown_as("as the session record states")
        }
        (_, RoomEvidenceClaim::None { reason }) => Err(Isolation::Unshown(format!(
            "level `{level}` needs evidence of the room, and the record names none: {reason}"
        ))),
        (
            _,
            RoomEvidenceClaim::Attested {
                evidence_type,
                appraisal_policy,
                ..
            },
        ) => {
            let assurance = Assurance::of_policy(appraisal_policy);
            if level_of(*evidence_type, assurance) == level {
                return shown_as(label_of(*evidence_type, assurance));
            }
            Err(Isolation::Refuted(Failure::refused(
                "isolation-not-shown",
                format!(
                    "level `{level}` is not what evidence of type `{}` under policy `{appraisal_policy}` shows",
                    evidence_type.as_str()
                ),
            )))
        }
    }
}

/// Why a level cannot be passed on.
pub(super) enum Isolation {
    /// Nothing shows it.
    Unshown(String),
    /// What is there shows another.
    Refuted(Failure),
}
