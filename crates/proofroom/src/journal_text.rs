//! A session's journal as lines for a person: one line for each event, nothing left out, and nothing
//! in it steers the terminal.

use proofroom_record::event::{Event, EventBody, Observation, Outcome};

use crate::progress::{attempted, came_of, describe, ended, printable};

/// One event as a line, without the newline.
#[must_use]
pub fn line(event: &Event) -> String {
    let (kind, text) = match &event.body {
        EventBody::SessionOpened { agent, commit, .. } => {
            ("opened", format!("agent {agent}, commit {commit}"))
        }
        EventBody::Intent { action } => {
            let (verb, object) = describe(action);
            ("intent", format!("{verb} {object}"))
        }
        EventBody::Outcome { of, result } => ("outcome", format!("of {of}: {}", outcome(result))),
        EventBody::Observed { observation } => ("observed", observed(observation)),
        EventBody::SessionClosed { end } => ("closed", name(end)),
    };
    format!(
        "{} {:>6} {:<8} {}",
        event.time,
        event.seq,
        kind,
        printable(text.trim_end())
    )
}

fn outcome(result: &Outcome) -> String {
    match result {
        Outcome::Denied { code, reason } => format!("denied: {reason} ({code})"),
        Outcome::Failed { code, reason } => format!("failed: {reason} ({code})"),
        other => {
            let tail = came_of(other);
            if tail.is_empty() {
                "done".to_owned()
            } else {
                tail
            }
        }
    }
}

fn observed(observation: &Observation) -> String {
    match observation {
        Observation::ProcessStarted {
            pid, path, argv, ..
        } => format!("process {pid} started {path}: {}", argv.join(" ")),
        Observation::FileChanged { path, after, .. } => match after {
            Some(_) => format!("file changed: {path}"),
            None => format!("file removed: {path}"),
        },
        Observation::Blocked { attempt, times } => {
            format!("stopped {times} times: {}", attempted(attempt))
        }
        Observation::LimitReached { resource, detail } => {
            format!("limit reached: {resource}: {detail}")
        }
        Observation::InertConfiguration { path } => format!("configuration not used: {path}"),
        Observation::HiddenText { path, characters } => {
            format!("{characters} characters that a reader does not see: {path}")
        }
        Observation::Disagreement { detail } => format!("disagreement: {detail}"),
        Observation::Paused { from, to } => format!("the room was paused from {from} to {to}"),
        Observation::AgentOutput { exit, .. } => format!("the agent's output, {}", ended(exit)),
    }
}

/// A unit variant as JSON spells it.
fn name<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use proofroom_canonical::{Digest, EvidenceLevel, SessionId, Timestamp};
    use proofroom_record::event::{Event, EventBody, Observation, SessionEnd, VERSION};

    use super::line;

    fn event(body: EventBody) -> Event {
        Event {
            v: VERSION,
            session: SessionId::from_random([1; 16]),
            seq: 7,
            prev: Digest::of("x"),
            time: Timestamp::from_unix_seconds(1_800_000_000),
            level: EvidenceLevel::E3,
            body,
        }
    }

    #[test]
    fn an_event_is_one_line_that_steers_no_terminal() {
        let observation = Observation::ProcessStarted {
            pid: 3,
            path: "/bin/sh".to_owned(),
            executable: None,
            argv: vec!["a\u{1b}[2J\nb\u{202e}".to_owned()],
        };
        let shown = line(&event(EventBody::Observed { observation }));
        assert!(
            shown.ends_with(
                "      7 observed process 3 started /bin/sh: a\\u{1b}[2J\\u{a}b\\u{202e}"
            )
        );
        let end = SessionEnd::LimitReached;
        let shown = line(&event(EventBody::SessionClosed { end }));
        assert!(shown.ends_with("closed   limit-reached"), "{shown}");
    }
}
