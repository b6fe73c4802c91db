//! Server-sent events, as far as texts stand in them: where each piece belongs, and when a text has
//! ended. An event that need not change passes byte for byte.

mod chat;
mod messages;
mod responses;

use serde_json::Value;

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
    /// Choice (Chat Completions), content block (Messages) or item (Responses).
    block: u64,
    /// Member that its pieces stand in.
    member: String,
    /// Tool call within a choice, or part of an item.
    call: Option<u64>,
    pub(super) kind: Kind,
}

/// Texts that have ended.
#[derive(Clone, Debug)]
pub(super) enum Ended {
    Text(Place),
    Block(u64),
    All,
}

impl Ended {
    pub(super) fn covers(&self, place: &Place) -> bool {
        match self {
            Self::All => true,
            Self::Block(block) => place.block == *block,
            Self::Text(text) => place == text,
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
    /// Every string of the event is a whole text.
    Whole,
}

impl Step {
    /// The texts that end with the event.
    pub(super) const fn ended(&self) -> Option<&Ended> {
        match self {
            Self::End(ended) => Some(ended),
            Self::Text { .. } | Self::Whole => None,
        }
    }
}

/// Splits a stream into events, and reads and writes them.
#[derive(Debug)]
pub(super) struct Events {
    api: Api,
    held: Vec<u8>,
    search: Search,
    /// The last event of a chat stream without its choices: later pieces look like it.
    envelope: Value,
    numbers: responses::Numbers,
}

impl Events {
    pub(super) fn new(api: Api) -> Self {
        Self {
            api,
            held: Vec::new(),
            search: Search::default(),
            envelope: Value::Null,
            numbers: responses::Numbers::default(),
        }
    }

    /// The events that are complete now, each with its empty line.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Vec<Vec<u8>> {
        self.held.extend_from_slice(chunk);
        let mut events = Vec::new();
        let mut from = 0;
        while let Some(end) = self.search.end_of_event(&self.held) {
            events.push(self.held.get(from..end).unwrap_or_default().to_vec());
            from = end;
        }
        self.held.drain(..from);
        self.search.forget(from);
        if self.held.len() > MAX_EVENT_BYTES {
            events.extend(self.finish());
        }
        events
    }

    pub(super) fn finish(&mut self) -> Vec<Vec<u8>> {
        self.search = Search::default();
        let rest = std::mem::take(&mut self.held);
        if rest.is_empty() {
            Vec::new()
        } else {
            vec![rest]
        }
    }

    /// The stream has ended.
    pub(super) fn end(&mut self) {
        self.numbers.end();
    }

    pub(super) fn is_done(raw: &[u8]) -> bool {
        data(raw).is_some_and(|data| data.trim() == "[DONE]")
    }

    /// The event's JSON and what it means; nothing for one that is no JSON.
    pub(super) fn read(&mut self, raw: &[u8]) -> Option<(Value, Vec<Step>)> {
        let value: Value = serde_json::from_str(&data(raw)?).ok()?;
        let steps = match self.api {
            Api::ChatCompletions => {
                self.envelope = chat::envelope(&value).unwrap_or(Value::Null);
                chat::steps(&value)
            }
            Api::Messages => messages::steps(&value),
            Api::Responses => {
                self.numbers.read(&value);
                responses::steps(&value)
            }
            Api::Embeddings | Api::Rerank | Api::CountTokens => Vec::new(),
        };
        Some((value, steps))
    }

    /// Gives the event that was read last the number that it has among what goes out; says whether that is
    /// another one.
    pub(super) fn renumber(&self, value: &mut Value) -> bool {
        self.numbers.renumber(value)
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

    /// What a later piece of the text in `event` is made like.
    pub(super) fn like(&self, event: &Value) -> Value {
        match self.api {
            Api::Responses => responses::like(event),
            _ => Value::Null,
        }
    }

    /// An event of its own with a piece of a text, of which `like` was an earlier one.
    pub(super) fn piece(&mut self, place: &Place, text: &str, like: &Value) -> Vec<u8> {
        let value = match self.api {
            Api::ChatCompletions => chat::piece(&self.envelope, place, text),
            Api::Messages => messages::piece(place, text),
            Api::Responses => responses::piece(like, text, self.numbers.put_in()),
            Api::Embeddings | Api::Rerank | Api::CountTokens => return Vec::new(),
        };
        let name = value.get("type").and_then(Value::as_str);
        let name = name.map_or_else(String::new, |name| format!("event: {name}\n"));
        format!("{name}data: {value}\n\n").into_bytes()
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

/// How far the end of an event was looked for: no byte is looked at twice, however an event is cut.
#[derive(Debug, Default)]
struct Search {
    /// Where the last line begins.
    line: usize,
    /// Up to where it has no end.
    seen: usize,
}

impl Search {
    /// Behind the next empty line, which ends an event. Lines end in LF or CR LF.
    fn end_of_event(&mut self, held: &[u8]) -> Option<usize> {
        loop {
            let rest = held.get(self.seen..)?;
            let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
                self.seen = held.len();
                return None;
            };
            let end = self.seen.saturating_add(length);
            let is_empty = matches!(held.get(self.line..end), Some([] | [b'\r']));
            self.line = end.saturating_add(1);
            self.seen = self.line;
            if is_empty {
                return Some(self.line);
            }
        }
    }

    /// The first `bytes` were taken away.
    const fn forget(&mut self, bytes: usize) {
        self.line = self.line.saturating_sub(bytes);
        self.seen = self.seen.saturating_sub(bytes);
    }
}
