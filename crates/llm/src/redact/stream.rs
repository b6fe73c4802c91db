//! Server-sent events of both APIs, as far as texts stand in them: where each piece belongs, and when
//! a text has ended. An event that need not change passes byte for byte.

use serde_json::{Value, json};

use crate::{Api, MAX_EVENT_BYTES};

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// As it is.
    Plain,
    /// As JSON: the text is a document, or a piece of one.
    Arguments,
}

impl Kind {
    pub(super) fn of_member(name: &str) -> Self {
        match name {
            "arguments" | "partial_json" => Self::Arguments,
            _ => Self::Plain,
        }
    }
}

/// A text of an answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Choice (Chat Completions) or content block (Messages).
    block: u64,
    /// Member that its pieces stand in.
    member: String,
    /// Tool call within a choice.
    call: Option<u64>,
    pub(super) kind: Kind,
}

/// Texts that have ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ended {
    Block(u64),
    All,
}

impl Ended {
    pub(super) const fn covers(self, place: &Place) -> bool {
        match self {
            Self::All => true,
            Self::Block(block) => place.block == block,
        }
    }
}

/// What an event means for the texts.
pub(super) enum Step {
    /// A piece of a text, and where it stands in the event (RFC 6901).
    Text {
        /// The text.
        place: Place,
        /// The piece.
        pointer: String,
    },
    /// Texts end with this event.
    End(Ended),
}

/// Splits a stream into events, and reads and writes them.
#[derive(Debug)]
pub(super) struct Events {
    api: Api,
    held: Vec<u8>,
    /// The last event of a chat stream without its choices: later pieces look like it.
    envelope: Value,
}

const PLAIN: [&str; 4] = ["content", "reasoning_content", "reasoning", "refusal"];

impl Events {
    pub(super) const fn new(api: Api) -> Self {
        Self {
            api,
            held: Vec::new(),
            envelope: Value::Null,
        }
    }

    /// The events that are complete now, each with its empty line.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Vec<Vec<u8>> {
        self.held.extend_from_slice(chunk);
        let mut events = Vec::new();
        let mut from = 0;
        while let Some(end) = end_of_event(&self.held, from) {
            events.push(self.held.get(from..end).unwrap_or_default().to_vec());
            from = end;
        }
        self.held.drain(..from);
        if self.held.len() > MAX_EVENT_BYTES {
            events.push(std::mem::take(&mut self.held));
        }
        events
    }

    pub(super) fn finish(&mut self) -> Vec<Vec<u8>> {
        let rest = std::mem::take(&mut self.held);
        if rest.is_empty() {
            Vec::new()
        } else {
            vec![rest]
        }
    }

    pub(super) fn is_done(raw: &[u8]) -> bool {
        data(raw).is_some_and(|data| data.trim() == "[DONE]")
    }

    /// The event's JSON and what it means; nothing for one that is no JSON.
    pub(super) fn read(&mut self, raw: &[u8]) -> Option<(Value, Vec<Step>)> {
        let value: Value = serde_json::from_str(&data(raw)?).ok()?;
        let steps = match self.api {
            Api::ChatCompletions => {
                self.remember(&value);
                chat(&value)
            }
            Api::Messages => messages(&value),
            Api::Responses | Api::Embeddings | Api::Rerank | Api::CountTokens => Vec::new(),
        };
        Some((value, steps))
    }

    /// The event with another document in it.
    pub(super) fn write(&self, raw: &[u8], value: &Value) -> Vec<u8> {
        let text = String::from_utf8_lossy(raw);
        let mut out = String::new();
        for line in text.lines() {
            if !line.is_empty() && !line.starts_with("data") {
                out.push_str(line);
                out.push('\n');
            }
        }
        out.push_str(&format!("data: {value}\n\n"));
        out.into_bytes()
    }

    /// An event of its own with a piece of a text.
    pub(super) fn piece(&self, place: &Place, text: &str) -> Vec<u8> {
        match self.api {
            Api::Responses | Api::Embeddings | Api::Rerank | Api::CountTokens => Vec::new(),
            Api::ChatCompletions => {
                let mut value = self.envelope.clone();
                if !value.is_object() {
                    value = json!({"object": "chat.completion.chunk"});
                }
                let delta = chat_delta(place, text);
                let choice = json!({"index": place.block, "delta": delta, "finish_reason": null});
                if let Some(members) = value.as_object_mut() {
                    members.insert("choices".to_owned(), json!([choice]));
                }
                format!("data: {value}\n\n").into_bytes()
            }
            Api::Messages => {
                let kind = match place.member.as_str() {
                    "partial_json" => "input_json_delta",
                    "thinking" => "thinking_delta",
                    _ => "text_delta",
                };
                let member = place.member.as_str();
                let value = json!({"type": "content_block_delta", "index": place.block,
                    "delta": {"type": kind, member: text}});
                format!("event: content_block_delta\ndata: {value}\n\n").into_bytes()
            }
        }
    }

    fn remember(&mut self, value: &Value) {
        let Some(members) = value.as_object() else {
            return;
        };
        let kept = members
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "choices" | "usage"));
        self.envelope = Value::Object(kept.map(|(n, v)| (n.clone(), v.clone())).collect());
    }
}

fn chat_delta(place: &Place, text: &str) -> Value {
    let member = place.member.as_str();
    match (place.kind, place.call) {
        (Kind::Plain, None) => json!({member: text}),
        (Kind::Plain, Some(call)) => {
            json!({"tool_calls": [{"index": call, "custom": {"input": text}}]})
        }
        (Kind::Arguments, Some(call)) => {
            json!({"tool_calls": [{"index": call, "function": {"arguments": text}}]})
        }
        (Kind::Arguments, None) => json!({"function_call": {"arguments": text}}),
    }
}

/// Chat Completions: pieces in `choices[].delta`; a choice ends with its `finish_reason`.
fn chat(value: &Value) -> Vec<Step> {
    let mut steps = Vec::new();
    let choices = value.get("choices").and_then(Value::as_array);
    for (at, choice) in choices.into_iter().flatten().enumerate() {
        let block = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
        let base = format!("/choices/{at}/delta");
        let mut text = |member: &str, call: Option<u64>, kind: Kind, pointer: String| {
            let member = member.to_owned();
            let place = Place {
                block,
                member,
                call,
                kind,
            };
            steps.push(Step::Text { place, pointer });
        };
        for member in PLAIN {
            text(member, None, Kind::Plain, format!("{base}/{member}"));
        }
        let calls = choice
            .pointer("/delta/tool_calls")
            .and_then(Value::as_array);
        for (number, call) in calls.into_iter().flatten().enumerate() {
            let index = call.get("index").and_then(Value::as_u64);
            let index = Some(index.unwrap_or(number as u64));
            let pointer = format!("{base}/tool_calls/{number}/function/arguments");
            text("arguments", index, Kind::Arguments, pointer);
            let pointer = format!("{base}/tool_calls/{number}/custom/input");
            text("input", index, Kind::Plain, pointer);
        }
        let pointer = format!("{base}/function_call/arguments");
        text("arguments", None, Kind::Arguments, pointer);
        if choice
            .get("finish_reason")
            .is_some_and(|reason| !reason.is_null())
        {
            steps.push(Step::End(Ended::Block(block)));
        }
    }
    steps
}

/// Messages: pieces in deltas of content blocks; a block ends by an event of its own.
fn messages(value: &Value) -> Vec<Step> {
    let block = value.get("index").and_then(Value::as_u64).unwrap_or(0);
    let text = |member: &str, pointer: &str| Step::Text {
        place: Place {
            block,
            member: member.to_owned(),
            call: None,
            kind: Kind::of_member(member),
        },
        pointer: pointer.to_owned(),
    };
    match value.get("type").and_then(Value::as_str) {
        Some("content_block_start") => vec![
            text("text", "/content_block/text"),
            text("thinking", "/content_block/thinking"),
        ],
        Some("content_block_delta") => vec![
            text("text", "/delta/text"),
            text("thinking", "/delta/thinking"),
            text("partial_json", "/delta/partial_json"),
        ],
        Some("content_block_stop") => vec![Step::End(Ended::Block(block))],
        Some("message_stop" | "message_delta" | "error") => vec![Step::End(Ended::All)],
        _ => Vec::new(),
    }
}

/// The event's data: its lines joined, each without one blank in front.
fn data(raw: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(raw).ok()?;
    let lines = text.lines().filter_map(|line| line.strip_prefix("data:"));
    let lines: Vec<&str> = lines
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// Behind the empty line that ends the event that begins at `from`. Lines end in LF or CR LF.
fn end_of_event(held: &[u8], from: usize) -> Option<usize> {
    let mut line = from;
    loop {
        let rest = held.get(line..)?;
        let length = rest.iter().position(|byte| *byte == b'\n')?;
        let next = line.saturating_add(length).saturating_add(1);
        if matches!(rest.get(..length), Some([] | [b'\r'])) {
            return Some(next);
        }
        line = next;
    }
}
