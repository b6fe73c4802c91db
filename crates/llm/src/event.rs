//! One event of a stream, or one whole answer, read for what it says about cost and end. Its text
//! is skipped, not kept.

use serde::Deserialize;
use serde_json::Value;

use crate::{Api, Usage, usage::WireUsage};

mod lists;
mod responses;

/// Longest model name, stop reason or error kind that is repeated.
const MAX_WORD_BYTES: usize = 128;

/// What one event adds.
#[derive(Default)]
pub(crate) struct Step {
    pub(crate) usage: Usage,
    pub(crate) model: Option<String>,
    pub(crate) stop: Option<String>,
    pub(crate) kind: Kind,
}

#[derive(Default)]
pub(crate) enum Kind {
    /// More follows.
    #[default]
    Part,
    /// The answer is complete; OpenAI may still send an event with usage.
    Complete,
    /// The upstream reports an error, with its kind if that is a plain word.
    Failed(Option<String>),
    /// Not readable: the stable code.
    Unreadable(&'static str),
}

/// The members of both APIs' events and answers that matter here; all others are skipped.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire {
    r#type: Value,
    model: Value,
    usage: Option<WireUsage>,
    choices: Option<Vec<Choice>>,
    message: Option<Started>,
    delta: Option<Delta>,
    stop_reason: Value,
    error: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Choice {
    finish_reason: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Started {
    model: Value,
    usage: Option<WireUsage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Delta {
    stop_reason: Value,
}

impl Wire {
    fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for wire in [
            self.usage.as_ref(),
            self.message.as_ref().and_then(|m| m.usage.as_ref()),
        ] {
            usage.update(wire.map(WireUsage::usage).unwrap_or_default());
        }
        usage
    }

    fn model(&self) -> Option<String> {
        let inner = self.message.as_ref().and_then(|m| word(&m.model));
        word(&self.model).or(inner)
    }

    fn stop(&self) -> Option<String> {
        let choice = self
            .choices
            .iter()
            .flatten()
            .find_map(|choice| word(&choice.finish_reason));
        let delta = self.delta.as_ref().and_then(|d| word(&d.stop_reason));
        choice.or(delta).or_else(|| word(&self.stop_reason))
    }

    /// The kind of a reported error: `{"error": {"type", "code"}}`, or an error that is no object.
    fn failure(&self) -> Option<Option<String>> {
        let named = self.r#type.as_str() == Some("error");
        match &self.error {
            None | Some(Value::Null) if !named => None,
            None => Some(None),
            Some(error) => Some(error_kind(error)),
        }
    }
}

/// The `code` or else the `type` of an error object, if it is a plain word.
fn error_kind(error: &Value) -> Option<String> {
    let code = error.get("code").and_then(word);
    code.or_else(|| error.get("type").and_then(word))
}

/// Reads the data of one server-sent event.
pub(crate) fn read_event(api: Api, data: &str) -> Step {
    if data.trim() == "[DONE]" {
        return step(Kind::Complete);
    }
    if api == Api::Responses {
        return responses::read_event(data);
    }
    let wire: Wire = match read(data.as_bytes()) {
        Ok(wire) => wire,
        Err(code) => return step(Kind::Unreadable(code)),
    };
    let stop = wire.stop();
    let kind = match (api, wire.failure()) {
        (_, Some(kind)) => Kind::Failed(kind),
        (Api::Messages, None) if wire.r#type.as_str() == Some("message_stop") => Kind::Complete,
        // Some upstreams leave `[DONE]` out; the finish reason says the same.
        (Api::ChatCompletions, None) if stop.is_some() => Kind::Complete,
        _ => Kind::Part,
    };
    Step {
        usage: wire.usage(),
        model: wire.model(),
        stop,
        kind,
    }
}

/// Reads a whole JSON answer. It is complete if it says why it stopped, or holds what was asked for.
pub(crate) fn read_whole(api: Api, bytes: &[u8]) -> Step {
    match api {
        Api::ChatCompletions | Api::Messages => read_said(bytes),
        Api::Responses => responses::read_whole(bytes),
        Api::Embeddings | Api::Rerank | Api::CountTokens => lists::read_whole(api, bytes),
    }
}

fn read_said(bytes: &[u8]) -> Step {
    let wire: Wire = match read(bytes) {
        Ok(wire) => wire,
        Err(code) => return step(Kind::Unreadable(code)),
    };
    let stop = wire.stop();
    let kind = match wire.failure() {
        Some(kind) => Kind::Failed(kind),
        None if stop.is_some() => Kind::Complete,
        None => Kind::Unreadable("answer-shape"),
    };
    Step {
        usage: wire.usage(),
        model: wire.model(),
        stop,
        kind,
    }
}

fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, &'static str> {
    serde_json::from_slice(bytes).map_err(|error| {
        if error.is_data() {
            "answer-shape"
        } else {
            "answer-not-json"
        }
    })
}

fn step(kind: Kind) -> Step {
    Step {
        kind,
        ..Step::default()
    }
}

/// A short name of plain characters; anything else could be text of the conversation.
fn word(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':' | b'/' | b'@')
    };
    (!text.is_empty() && text.len() <= MAX_WORD_BYTES && text.bytes().all(plain))
        .then(|| text.to_owned())
}
