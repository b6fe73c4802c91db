//! Rungs `binding`, `policies`, `destruction` and `isolation`: that the records of a bundle speak
//! about one session, under one set of policies, in one room.

use std::collections::BTreeMap;

use proofroom_canonical::{Digest, IsolationLevel, json};
use proofroom_verifier::{Assurance, label_of, level_of};

use super::{
    Failure, Made,
    signatures::{Records, key_digest},
    version,
};
use crate::{
    bundle::{BundleParts, PROVIDER_POLICIES, ProviderFiles},
    chain::VerifiedChain,
    event::EventBody,
    predicate::VerifiedRecord,
    statement::{
        AgentSession, BINDING_PURPOSE, Binding, Destruction, ModelRun, PolicyDigests,
        RoomEvidenceClaim,
    },
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
    let pairs = session_pairs(binding, digest, records.session.predicate(), chain);
    all_equal("binding-session-record", pairs)?;
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

/// What event 0 says: commit, task, session key, and the agent's name.
fn opening(chain: &VerifiedChain) -> Option<(&str, Digest, Digest, &str)> {
    match &chain.events().first()?.body {
        EventBody::SessionOpened {
            commit,
            task,
            session_key,
            agent,
        } => Some((commit, *task, *session_key, agent)),
        _ => None,
    }
}

fn event_pairs(binding: &Binding, chain: &VerifiedChain) -> Vec<Pair<'static>> {
    let place = "event 0";
    let Some((commit, task, key, _)) = opening(chain) else {
        let (what, place) = ("first event", "events.jsonl");
        return vec![pair(what, place, "session-opened", "nothing")];
    };
    vec![
        pair("commit", place, &binding.commit, commit),
        pair("task", place, binding.task, task),
        pair("session key", place, binding.session_key, key),
    ]
}

fn session_pairs(
    binding: &Binding,
    digest: Digest,
    session: &AgentSession,
    chain: &VerifiedChain,
) -> [Pair<'static>; 5] {
    let place = "the session record";
    let (id, stated) = (&binding.spiffe_id, &session.spiffe_id);
    let agent = id.rsplit('/').next().unwrap_or_default();
    let of_event = opening(chain).map(|(.., agent)| agent);
    [
        pair("session", place, binding.session, session.session),
        pair("agent identity", place, id, stated),
        pair("agent", place, agent, &session.agent),
        pair("agent", "event 0", agent, of_event.unwrap_or_default()),
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
    let (what, place) = ("agent identity", "trust/session.pem");
    let named = pair(what, place, &binding.spiffe_id, name);
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
    verify_provider_policies(&parts.trust.policies.providers, bound)?;
    for run in &records.runs {
        let (run, place) = (run.predicate(), "a model-run record");
        let (classified, routed) = (run.classification.policy, run.routing.policy);
        let (classification, routing) = (bound.classification, bound.routing);
        let pairs = [
            pair("classification policy", place, classification, classified),
            pair("routing policy", place, routing, routed),
        ];
        all_equal("policy-of-run-differs", pairs)?;
    }
    let more = match bound.providers.len() {
        0 => String::new(),
        more => format!(" and {more} for providers"),
    };
    let version = version::verify(bound, records)?;
    let found = format!("seven policy files{more} are the ones the session was bound to{version}");
    Ok((found, ()))
}

/// The same files, each with the same digest, and no other.
fn verify_provider_policies(held: &ProviderFiles, bound: &PolicyDigests) -> Result<(), Failure> {
    let found = held.iter().map(|(name, bytes)| (name, Digest::of(bytes)));
    let (found, wanted): (BTreeMap<&String, Digest>, _) = (found.collect(), &bound.providers);
    let mut names = found.keys().copied().chain(wanted.keys());
    match names.find(|name| found.get(name) != wanted.get(*name)) {
        None => Ok(()),
        Some(name) => {
            let cause = format!("{PROVIDER_POLICIES}{name}: not the file that binding.json names");
            Err(Failure::refused("policy-differs", cause))
        }
    }
}

pub(super) fn verify_destruction(
    session: &VerifiedRecord<AgentSession>,
    destruction: &VerifiedRecord<Destruction>,
) -> Made<()> {
    let (claim, gone) = (session.predicate(), destruction.predicate());
    if gone.session != claim.session || gone.session_record != session.digest() {
        let cause = "the destruction record is about another session record";
        return Err(Failure::refused("destruction-of-another", cause));
    }
    let (destroyed, had) = (gone.isolation, claim.isolation);
    if destroyed != had {
        let cause = format!("destroyed a `{destroyed}` room, the session had `{had}`");
        return Err(Failure::refused("destruction-isolation", cause));
    }
    let seen: Vec<String> = gone.observed.iter().map(ToString::to_string).collect();
    Ok((format!("the host saw: {}", seen.join(", ")), ()))
}

/// What can be said of the level: without evidence it is a statement, and is shown as one. Goes by
/// the record alone; whether the evidence holds is `room-evidence`'s to say.
pub(super) fn appraise_isolation(session: &AgentSession) -> Result<String, Isolation> {
    let level = session.isolation;
    let shown_as = |label: &str| Ok(format!("`{level}`, {label}: {}", level.not_proven()));
    let (kind, policy) = match &session.room_evidence.start {
        RoomEvidenceClaim::None { .. } if level == IsolationLevel::Process => {
            return shown_as("as the session record states");
        }
        RoomEvidenceClaim::None { reason } => {
            let words = "needs evidence of the room, and the record names none";
            return Err(Isolation::Unshown(format!(
                "level `{level}` {words}: {reason}"
            )));
        }
        RoomEvidenceClaim::Attested {
            evidence_type,
            appraisal_policy,
            ..
        } => (*evidence_type, appraisal_policy),
    };
    let assurance = Assurance::of_policy(policy);
    if level_of(kind, assurance) == level {
        return shown_as(label_of(kind, assurance));
    }
    let kind = kind.as_str();
    let cause = format!(
        "level `{level}` is not what evidence of type `{kind}` under policy `{policy}` shows"
    );
    let failure = Failure::refused("isolation-not-shown", cause);
    Err(Isolation::Refuted(failure))
}

/// Why a level cannot be passed on.
pub(super) enum Isolation {
    /// Nothing shows it.
    Unshown(String),
    /// What is there shows another.
    Refuted(Failure),
}
