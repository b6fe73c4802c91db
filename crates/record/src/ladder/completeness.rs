//! Rung `completeness`: that nothing between the session's first and last event is missing, counted
//! three ways: by the events, by the session record, by the model-run records. Also rung `times`.

use std::{collections::BTreeMap, fmt};

use proofroom_canonical::{Digest, Timestamp};

use super::{Failure, Made, signatures::Records};
use crate::{
    chain::{ChainEnd, VerifiedChain},
    event::{Action, Event, EventBody, Outcome, SessionEnd},
    statement::{AgentSession, ModelRun, Signer},
};

/// How far the clocks of room, gateway and host may disagree, in milliseconds.
pub const MAX_SKEW_MILLIS: i64 = 60_000;

/// How the chain of a session must end, by who signed its record.
pub(super) const fn wanted_end(signer: Signer) -> ChainEnd {
    match signer {
        Signer::Session => ChainEnd::Closed,
        Signer::Gateway => ChainEnd::Interrupted,
    }
}

pub(super) fn verify(records: &Records, chain: &VerifiedChain) -> Made<()> {
    let session = records.session.predicate();
    check_summary(session, chain)?;
    check_end(session, chain)?;
    check_references(session, records)?;
    check_outcomes(session, records, chain)?;
    check_high_water(session, records)?;
    check_result(session, chain)?;
    let found = format!(
        "events 0 to {} without gap, {} model runs each cited by one event and the session record, {} attempts stopped",
        session.events.count.saturating_sub(1),
        records.runs.len(),
        session.events.stopped
    );
    Ok((found, ()))
}

fn check_summary(session: &AgentSession, chain: &VerifiedChain) -> Result<(), Failure> {
    let (stated, counted) = (&session.events, chain.summary());
    let (count, stopped) = ("number of events", "stopped attempts");
    let types = "events by type";
    same("event-count", count, &stated.count, &counted.count)?;
    same("event-head", "last event", &stated.head, &counted.head)?;
    same("event-types", types, &stated.by_type, &counted.by_type)?;
    same("stopped-count", stopped, &stated.stopped, &counted.stopped)
}

fn same<T: PartialEq + fmt::Debug>(
    code: &'static str,
    what: &str,
    stated: &T,
    counted: &T,
) -> Result<(), Failure> {
    if stated == counted {
        return Ok(());
    }
    let cause = format!("{what}: session record states {stated:?}, events give {counted:?}");
    Err(Failure::refused(code, cause))
}

fn check_end(session: &AgentSession, chain: &VerifiedChain) -> Result<(), Failure> {
    let (stated, told) = (session.end, chain.end().unwrap_or(SessionEnd::Interrupted));
    // A room that was lost after its last event had still no record of its own.
    let lost = session.signer == Signer::Gateway && stated == SessionEnd::Interrupted;
    if told == stated || lost {
        return Ok(());
    }
    let cause = format!("session record says `{stated:?}`, the last event says `{told:?}`");
    Err(Failure::refused("session-end-differs", cause))
}

fn check_references(session: &AgentSession, records: &Records) -> Result<(), Failure> {
    for (sequence, run) in (0..).zip(&records.runs) {
        let found = run.predicate().sequence;
        if found != sequence {
            let cause = format!("run {sequence} says it is number {found}");
            return Err(Failure::refused("run-sequence", cause));
        }
    }
    let cited: Vec<_> = (session.model_runs.iter())
        .map(|run| (run.run, run.record, run.status))
        .collect();
    let held: Vec<_> = (records.runs.iter())
        .map(|run| (run.predicate().run, run.digest(), run.predicate().status))
        .collect();
    if cited == held {
        return Ok(());
    }
    let cause = format!(
        "the session record cites {} model runs, the bundle holds {}, and they are not the same in order, digest and status",
        cited.len(),
        held.len()
    );
    Err(Failure::refused("runs-not-as-cited", cause))
}

fn check_outcomes(
    session: &AgentSession,
    records: &Records,
    chain: &VerifiedChain,
) -> Result<(), Failure> {
    let runs = records.runs.iter();
    let mut unseen: BTreeMap<Digest, &ModelRun> =
        runs.map(|run| (run.digest(), run.predicate())).collect();
    for event in chain.events() {
        let EventBody::Outcome {
            of,
            result: result @ Outcome::ModelRun { record, .. },
        } = &event.body
        else {
            continue;
        };
        let Some(held) = unseen.remove(record) else {
            let cause = format!(
                "event {} cites model-run record {record}, which the bundle does not hold, or cites it again",
                event.seq
            );
            return Err(Failure::refused("outcome-without-run", cause));
        };
        check_told(event.seq, result, *record, held)?;
        check_intent(event.seq, chain.action_of(*of), held)?;
    }
    // A room that was lost may have lost the outcome of a run that its intent announced.
    let excused = match session.signer {
        Signer::Session => 0,
        Signer::Gateway => unanswered_runs(chain),
    };
    if unseen.len() > excused {
        let cause = format!("{} model runs are cited by no event", unseen.len());
        return Err(Failure::refused("run-without-outcome", cause));
    }
    Ok(())
}

/// Whether an outcome tells a run as its record does.
fn check_told(seq: u64, result: &Outcome, record: Digest, held: &ModelRun) -> Result<(), Failure> {
    let told = |label: &String| Outcome::ModelRun {
        run: held.run,
        record,
        tier: held.routing.tier.clone(),
        label: label.clone(),
        run_status: held.status,
    };
    let class = &held.classification;
    if [&class.label, &class.high_water_after]
        .map(told)
        .contains(result)
    {
        return Ok(());
    }
    let cause = format!(
        "event {seq} and the record of `{}` tell its run, tier, label or status differently",
        held.run
    );
    Err(Failure::refused("outcome-differs", cause))
}

fn check_intent(seq: u64, action: Option<&Action>, held: &ModelRun) -> Result<(), Failure> {
    let (endpoint, received) = (&held.request.endpoint, &held.request.received);
    let wanted = Action::ModelRun {
        endpoint: endpoint.clone(),
        request: *received,
    };
    if action == Some(&wanted) {
        return Ok(());
    }
    let cause = format!(
        "the intent that event {seq} answers is not the request that `{}` received",
        held.run
    );
    Err(Failure::refused("intent-differs", cause))
}

fn unanswered_runs(chain: &VerifiedChain) -> usize {
    let is_run = |seq: &u64| matches!(chain.action_of(*seq), Some(Action::ModelRun { .. }));
    chain.unanswered().iter().filter(|seq| is_run(seq)).count()
}

fn check_high_water(session: &AgentSession, records: &Records) -> Result<(), Failure> {
    let runs = records.runs.iter();
    let marks = runs.map(|run| &run.predicate().classification);
    let mut steps = marks.clone().zip(marks.clone().skip(1));
    let broken = steps.any(|(one, next)| next.high_water_before != one.high_water_after);
    let last = marks.clone().next_back().map(|last| &last.high_water_after);
    if broken || last.is_some_and(|last| *last != session.high_water) {
        let cause = "the high-water marks of the model runs and of the session do not join up";
        return Err(Failure::refused("high-water", cause));
    }
    Ok(())
}

fn check_result(session: &AgentSession, chain: &VerifiedChain) -> Result<(), Failure> {
    let delivered = |event: &Event| match &event.body {
        EventBody::Outcome {
            result: Outcome::Delivered { reference, commit },
            ..
        } => Some((reference.clone(), commit.clone())),
        _ => None,
    };
    let delivered = chain.events().iter().rev().find_map(delivered);
    let stated = (session.result.clone()).map(|result| (result.reference, result.commit));
    if delivered == stated {
        return Ok(());
    }
    let cause = "session record and events name different results";
    Err(Failure::refused("result-differs", cause))
}

pub(super) fn verify_times(records: &Records, now: Timestamp) -> Made<()> {
    let session = records.session.predicate();
    let runs = records.runs.iter().map(super::VerifiedRecord::predicate);
    let in_order = not_after(session.started, session.ended, 0)
        && runs.clone().all(|run| {
            let earlier = run.earlier.iter();
            let earlier = earlier.flat_map(|attempt| [attempt.upstream.sent, attempt.answered]);
            let sent = run.upstream.iter().map(|facts| facts.sent);
            let steps = [run.started].into_iter().chain(earlier).chain(sent);
            let steps = steps.chain([run.finished]);
            steps.is_sorted_by(|one, next| not_after(*one, *next, 0))
                && not_after(session.started, run.started, MAX_SKEW_MILLIS)
                && not_after(run.finished, session.ended, MAX_SKEW_MILLIS)
        });
    let gone = records.destruction.as_ref().map(|gone| gone.predicate().at);
    if !in_order || gone.is_some_and(|gone| !not_after(session.ended, gone, MAX_SKEW_MILLIS)) {
        let cause = "the records' times contradict each other";
        return Err(Failure::refused("time-order", cause));
    }
    let last = gone.map_or(session.ended, |gone| gone.max(session.ended));
    if !not_after(last, now, MAX_SKEW_MILLIS) {
        let cause = format!("records claim {last}, later than now ({now})");
        return Err(Failure::refused("time-in-future", cause));
    }
    let (from, to) = (session.started, session.ended);
    Ok((format!("the session's own clocks say {from} to {to}"), ()))
}

const fn not_after(earlier: Timestamp, later: Timestamp, skew: i64) -> bool {
    earlier.unix_millis() <= later.unix_millis().saturating_add(skew)
}
