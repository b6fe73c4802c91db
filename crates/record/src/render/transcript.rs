//! The transcript of a verification for a terminal, and the same as JSON.

use std::fmt::Write as _;

use proofroom_verifier::RoomOutcome;
use serde_json::{Value, json};

use super::printable;
use crate::{
    ladder::{Check, Outcome, Report, Requirement, Verdict, end_words},
    statement::Signer,
};

/// The transcript: what the bundle is about, each check with what was found, the verdict, and what
/// is not proven.
#[must_use]
pub fn transcript(report: &Report) -> String {
    let mut out = String::new();
    subject(&mut out, report);
    for check in &report.checks {
        line(&mut out, &check_line(check));
    }
    room(&mut out, report);
    upstreams(&mut out, report);
    line(&mut out, "");
    for remark in &report.remarks {
        line(&mut out, remark);
    }
    line(&mut out, &format!("Verdict: {}", verdict_words(report)));
    for words in &report.not_proven {
        line(&mut out, &format!("Not proven: {}", printable(words)));
    }
    out
}

fn subject(out: &mut String, report: &Report) {
    let Some(facts) = &report.facts else {
        return;
    };
    let session = &facts.session;
    let result = session.result.as_ref();
    let result = result.map_or("nothing delivered".to_owned(), |r| {
        format!("{} at {}", r.commit, r.reference)
    });
    let (id, agent) = (session.session, printable(&session.agent));
    let (events, runs) = (&session.events, facts.runs.len());
    let (from, to) = (session.started, session.ended);
    line(out, &format!("Session {id} of agent {agent}"));
    let rows = [
        ("identity", printable(&session.spiffe_id)),
        ("commit", printable(&facts.binding.commit)),
        ("isolation", session.isolation.to_string()),
        ("time", format!("{from} to {to} (the deployment's clocks)")),
        ("end", end_words(session.end).to_owned()),
        ("result", printable(&result)),
    ];
    for (name, words) in rows {
        line(out, &format!("  {name:<10} {words}"));
    }
    let counts = format!(
        "  {} events, {runs} model runs, {} attempts stopped\n",
        events.count, events.stopped
    );
    line(out, &counts);
}

/// Every check on the room's evidence, under the rungs that they add up to.
fn room(out: &mut String, report: &Report) {
    for appraisal in &report.room {
        for check in appraisal.checks() {
            let words = match &check.outcome {
                RoomOutcome::Pass => "ok".to_owned(),
                RoomOutcome::Fail { cause, words } => {
                    format!("FAILED        {} [{cause}]", printable(words))
                }
                RoomOutcome::NotEvaluated(after) => {
                    format!("not evaluated `{after}` did not pass")
                }
            };
            let name = format!("{}: {}", appraisal.moment().as_str(), check.name);
            line(out, &format!("  {name:<28} {words}"));
        }
    }
}

/// What stood behind each run on an attested upstream.
fn upstreams(out: &mut String, report: &Report) {
    for shown in &report.upstreams {
        let (run, name) = (shown.sequence, &shown.upstream);
        let (format, policy) = (&shown.format, &shown.policy);
        let held = match shown.held {
            None => "every required check holds".to_owned(),
            Some(held) => format!("{held} checks hold"),
        };
        let (receipt, open) = (&shown.receipt, &shown.not_made);
        let signed = (receipt.iter()).map(|by| format!("; receipt by {by}"));
        let not_made = open.iter().map(|check| format!("; not made: {check}"));
        let more: String = signed.chain(not_made).collect();
        let words = format!("run {run} on {name}: {format} under `{policy}`, {held}{more}");
        line(out, &format!("  {}", printable(&words)));
    }
}

fn check_line(check: &Check) -> String {
    let (mark, words) = match &check.outcome {
        Outcome::Pass { found } => ("ok", printable(found)),
        Outcome::Fail(failure) if check.requirement == Requirement::Advisory => {
            ("no longer", printable(&failure.cause))
        }
        Outcome::Fail(failure) => (
            "FAILED",
            format!("{} [{}]", printable(&failure.cause), failure.code),
        ),
        Outcome::NotEvaluated { reason } => ("not evaluated", printable(reason)),
    };
    let optional = match check.requirement {
        Requirement::Required => "",
        Requirement::Advisory => " (advisory)",
    };
    format!("{:<14} {mark:<13} {words}{optional}", check.name)
}

fn verdict_words(report: &Report) -> String {
    let pinned = report.checks.iter().any(|check| {
        check.name == "trust-anchors" && matches!(check.outcome, Outcome::Pass { .. })
    });
    let interrupted =
        (report.facts.as_ref()).is_some_and(|facts| facts.session.signer == Signer::Gateway);
    let words = match report.verdict {
        Verdict::Accepted => {
            let what = match interrupted {
                true => "accepted as the record of an interrupted session",
                false => "accepted",
            };
            let anchors = match pinned {
                true => "with the pinned trust anchors",
                false => "with trust anchors from the bundle",
            };
            return format!("{what}, {anchors}");
        }
        Verdict::Incomplete => {
            "incomplete: nothing is refuted, but a required check could not be made"
        }
        Verdict::Unsupported => "unsupported: written in a version that this verifier cannot read",
        Verdict::Rejected => "rejected",
        Verdict::Malformed => "malformed: not a bundle",
    };
    words.to_owned()
}

fn line(out: &mut String, text: &str) {
    // writing to a string cannot fail
    let _written = writeln!(out, "{text}");
}

/// The report as JSON, for machines.
#[must_use]
pub fn json(report: &Report) -> Value {
    let session = report.facts.as_ref().map(|facts| {
        json!({
            "session": facts.session.session,
            "agent": facts.session.agent,
            "spiffe_id": facts.session.spiffe_id,
            "isolation": facts.session.isolation,
            "end": facts.session.end,
            "signer": facts.session.signer,
            "events": facts.session.events,
            "model_runs": facts.runs.len(),
            "result": facts.session.result,
            "record": facts.session_record,
        })
    });
    json!({
        "format": "proofroom.verification.v1",
        "verdict": report.verdict,
        "exit_code": report.verdict.exit_code(),
        "session": session,
        "checks": report.checks,
        "room": report.room,
        "upstreams": report.upstreams,
        "remarks": report.remarks,
        "not_proven": report.not_proven,
    })
}
