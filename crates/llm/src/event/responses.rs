//! OpenAI Responses: typed events, each with the response so far, and whole responses.

use serde::Deserialize;
use serde_json::Value;

use super::{Kind, Step, error_kind, read, step, word};
use crate::usage::WireUsage;

/// The members of an event that matter here. An event's `delta` may be a text or an object, so it is
/// skipped.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Event {
    r#type: Value,
    response: Option<Response>,
    error: Value,
    code: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Response {
    status: Value,
    model: Value,
    usage: Option<WireUsage>,
    error: Value,
    incomplete_details: Value,
}

impl Response {
    fn step(&self, kind: Kind) -> Step {
        let usage = self.usage.as_ref().map(WireUsage::usage);
        Step {
            usage: usage.unwrap_or_default(),
            model: word(&self.model),
            stop: self.stop(),
            kind,
        }
    }

    /// Why it ended: its status, or the reason for which it is incomplete.
    fn stop(&self) -> Option<String> {
        let status = word(&self.status)?;
        match &*status {
            "incomplete" => self.incomplete_details.get("reason").and_then(word),
            "in_progress" | "queued" => None,
            _ => Some(status),
        }
    }

    fn failure(&self) -> Kind {
        Kind::Failed(error_kind(&self.error))
    }
}

/// Reads the data of one event. `response.incomplete` ends an answer that a limit cut: it is whole as
/// far as the stream goes.
pub(super) fn read_event(data: &str) -> Step {
    let event: Event = match read(data.as_bytes()) {
        Ok(event) => event,
        Err(code) => return step(Kind::Unreadable(code)),
    };
    let kind = match event.r#type.as_str() {
        Some("response.completed" | "response.incomplete") => Kind::Complete,
        Some("response.failed") => {
            let failure = event.response.as_ref().map(Response::failure);
            failure.unwrap_or(Kind::Failed(None))
        }
        Some("error") => Kind::Failed(word(&event.code).or_else(|| error_kind(&event.error))),
        Some(_) => Kind::Part,
        None if event.error.is_null() => Kind::Unreadable("answer-shape"),
        None => Kind::Failed(error_kind(&event.error)),
    };
    match event.response {
        Some(response) => response.step(kind),
        None => step(kind),
    }
}

/// Reads a whole response.
pub(super) fn read_whole(bytes: &[u8]) -> Step {
    let response: Response = match read(bytes) {
        Ok(response) => response,
        Err(code) => return step(Kind::Unreadable(code)),
    };
    let kind = match response.status.as_str() {
        _ if !response.error.is_null() => response.failure(),
        Some("completed" | "incomplete") => Kind::Complete,
        Some("failed" | "cancelled") => Kind::Failed(None),
        _ => Kind::Unreadable("answer-shape"),
    };
    response.step(kind)
}
