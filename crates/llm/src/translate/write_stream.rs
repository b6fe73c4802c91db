//! Says the pieces of an answer as the events of a stream, as they come.

use super::{
    TranslateError,
    json::{Json, Object, Text, typed},
    said::{Said, Stop},
    whole::{Part, Whole, chat_usage, content_part, item, messages_usage},
};
use crate::Api;

type Result<T> = std::result::Result<T, TranslateError>;

/// Whether a client of Chat asked for an event with usage at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageEvent {
    /// It did.
    Asked,
    /// It did not.
    NotAsked,
}

/// What one stream to a client has said so far. Keeps the whole answer for clients of Responses,
/// whose last event repeats it, and otherwise what opens and closes parts.
pub(super) struct StreamWriter {
    client: Api,
    usage: UsageEvent,
    whole: Whole,
    open: Open,
    /// Parts begun, which is the index of the next.
    parts: usize,
    calls: usize,
    sequence: u64,
}

/// The part that is being said.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    Text,
    Thinking,
    Refusal,
    Call(usize),
}

impl StreamWriter {
    pub(super) fn new(client: Api, usage: UsageEvent) -> Self {
        Self {
            client,
            usage,
            whole: Whole::default(),
            open: Open::Nothing,
            parts: 0,
            calls: 0,
            sequence: 0,
        }
    }

    /// Appends to `out` what `said` is in the client's format.
    pub(super) fn write(&mut self, said: Said, out: &mut Vec<u8>) -> Result<()> {
        match self.client {
            Api::Messages => self.messages(said, out),
            Api::Responses => self.responses(said, out),
            _ => self.chat(said, out),
        }
    }

    /// The calls' arguments come one call after another; pieces of one that has ended cannot be said.
    fn of_open_call(&self, call: usize) -> Result<()> {
        if self.open == Open::Call(call) {
            Ok(())
        } else {
            Err(TranslateError::not_sayable(
                "interleaved tool calls".to_owned(),
            ))
        }
    }

    fn chat(&mut self, said: Said, out: &mut Vec<u8>) -> Result<()> {
        let delta = match said {
            Said::Start(start) => {
                self.whole.start = start;
                Object::default()
                    .with("role", Json::Word("assistant"))
                    .with("content", Json::Word(""))
            }
            Said::Text(text) => Object::default().with("content", Json::Text(text)),
            Said::Thinking(text) => Object::default().with("reasoning_content", Json::Text(text)),
            Said::Refusal(text) => Object::default().with("refusal", Json::Text(text)),
            Said::Call { id, name } => {
                let call = self.calls;
                self.calls += 1;
                let function = Object::default()
                    .with("name", Json::Text(name))
                    .with("arguments", Json::Word(""));
                chat_call(
                    call,
                    Object::default()
                        .with("id", Json::Text(id))
                        .with("type", Json::Word("function")),
                    function,
                )
            }
            Said::Arguments { call, text } => {
                let function = Object::default().with("arguments", Json::Text(text));
                chat_call(call, Object::default(), function)
            }
            Said::End => {
                self.chat_end(out);
                return Ok(());
            }
            other => {
                self.whole.add(other);
                return Ok(());
            }
        };
        self.chat_chunk(delta.json(), Json::Null, out);
        Ok(())
    }

    fn chat_chunk(&self, delta: Json<'static>, reason: Json<'static>, out: &mut Vec<u8>) {
        let choice = Object::default()
            .with("index", Json::Int(0))
            .with("delta", delta)
            .with("logprobs", Json::Null)
            .with("finish_reason", reason);
        let chunk = self
            .whole
            .chat_head("chat.completion.chunk")
            .with("choices", Json::Array(vec![choice.json()]));
        event("", &chunk.json(), out);
    }

    fn chat_end(&self, out: &mut Vec<u8>) {
        let stop = self.whole.stop.unwrap_or(Stop::End).chat();
        self.chat_chunk(Json::Object(Vec::new()), Json::Word(stop), out);
        if let (UsageEvent::Asked, Some(cost)) = (self.usage, self.whole.cost) {
            let chunk = self
                .whole
                .chat_head("chat.completion.chunk")
                .with("choices", Json::Array(Vec::new()))
                .with("usage", chat_usage(cost));
            event("", &chunk.json(), out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn messages(&mut self, said: Said, out: &mut Vec<u8>) -> Result<()> {
        let delta = match said {
            Said::Start(start) => {
                self.whole.start = start;
                self.message_start(out);
                return Ok(());
            }
            Said::Text(text) => {
                self.open_block(Open::Text, || empty("text", "text"), out);
                typed("text_delta").with("text", Json::Text(text))
            }
            Said::Refusal(text) => {
                self.open_block(Open::Text, || empty("text", "text"), out);
                typed("text_delta").with("text", Json::Text(text))
            }
            Said::Thinking(text) => {
                let block = || empty("thinking", "thinking").with("signature", Json::Word(""));
                self.open_block(Open::Thinking, block, out);
                typed("thinking_delta").with("thinking", Json::Text(text))
            }
            Said::Call { id, name } => {
                let call = Open::Call(self.calls);
                self.calls += 1;
                let block = || {
                    typed("tool_use")
                        .with("id", Json::Text(id))
                        .with("name", Json::Text(name))
                        .with("input", Json::Object(Vec::new()))
                };
                self.open_block(call, block, out);
                return Ok(());
            }
            Said::Arguments { call, text } => {
                self.of_open_call(call)?;
                typed("input_json_delta").with("partial_json", Json::Text(text))
            }
            Said::End => {
                self.message_end(out);
                return Ok(());
            }
            other => {
                self.whole.add(other);
                return Ok(());
            }
        };
        let delta = typed("content_block_delta")
            .with("index", int(self.parts.saturating_sub(1)))
            .with("delta", delta.json());
        named(delta, out);
        Ok(())
    }

    fn message_start(&self, out: &mut Vec<u8>) {
        let message = self
            .whole
            .message_head()
            .with("content", Json::Array(Vec::new()))
            .with("stop_reason", Json::Null)
            .with("stop_sequence", Json::Null)
            .with("usage", messages_usage(self.whole.cost.unwrap_or_default()));
        named(typed("message_start").with("message", message.json()), out);
    }

    fn open_block(
        &mut self,
        open: Open,
        block: impl FnOnce() -> Object<'static>,
        out: &mut Vec<u8>,
    ) {
        if self.open == open {
            return;
        }
        self.close_block(out);
        let start = typed("content_block_start")
            .with("index", int(self.parts))
            .with("content_block", block().json());
        named(start, out);
        self.open = open;
        self.parts += 1;
    }

    fn close_block(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.open, Open::Nothing) != Open::Nothing {
            let index = int(self.parts.saturating_sub(1));
            named(typed("content_block_stop").with("index", index), out);
        }
    }

    fn message_end(&mut self, out: &mut Vec<u8>) {
        self.close_block(out);
        let stop = self.whole.stop.unwrap_or(Stop::End).messages();
        let delta = Object::default()
            .with("stop_reason", Json::Word(stop))
            .with("stop_sequence", Json::Null);
        let delta = typed("message_delta")
            .with("delta", delta.json())
            .with("usage", messages_usage(self.whole.cost.unwrap_or_default()));
        named(delta, out);
        named(typed("message_stop"), out);
    }

    fn responses(&mut self, said: Said, out: &mut Vec<u8>) -> Result<()> {
        match said {
            Said::Start(start) => {
                self.whole.start = start;
                for kind in ["response.created", "response.in_progress"] {
                    let response = self.whole.response("in_progress");
                    self.numbered(typed(kind).with("response", response), out);
                }
            }
            Said::Text(text) => self.words(Open::Text, Part::Text(text), out),
            Said::Thinking(text) => self.words(Open::Thinking, Part::Thinking(text), out),
            Said::Refusal(text) => self.words(Open::Refusal, Part::Refusal(text), out),
            Said::Call { id, name } => {
                let call = Open::Call(self.calls);
                self.calls += 1;
                let arguments = Text::default();
                let begun = Part::Call {
                    id,
                    name,
                    arguments,
                };
                self.open_item(call, begun, out);
            }
            Said::Arguments { call, text } => {
                self.of_open_call(call)?;
                let delta = self.of_item("response.function_call_arguments.delta");
                let delta = delta.with("delta", Json::Text(text.clone()));
                self.numbered(delta, out);
                self.whole.add(Said::Arguments { call, text });
            }
            Said::End => {
                self.close_item(out);
                let cut = self.whole.stop.and_then(Stop::incomplete).is_some();
                let kind = if cut {
                    "response.incomplete"
                } else {
                    "response.completed"
                };
                let response = self.whole.response("completed");
                self.numbered(typed(kind).with("response", response), out);
            }
            other => self.whole.add(other),
        }
        Ok(())
    }

    /// A piece of an item that is words: `piece` opens it if another one is open.
    fn words(&mut self, open: Open, piece: Part, out: &mut Vec<u8>) {
        let (kind, member, text) = match piece {
            Part::Text(text) => (
                "response.output_text.delta",
                Said::Text as fn(Text) -> Said,
                text,
            ),
            Part::Thinking(text) => ("response.reasoning_text.delta", Said::Thinking as _, text),
            Part::Refusal(text) => ("response.refusal.delta", Said::Refusal as _, text),
            Part::Call { .. } => return,
        };
        if self.open != open {
            let mut begun = Whole::default();
            begun.add(member(Text::default()));
            if let Some(part) = begun.parts.pop() {
                self.open_item(open, part, out);
            }
        }
        let mut delta = self.of_item(kind).with("content_index", Json::Int(0));
        delta = delta.with("delta", Json::Text(text.clone()));
        if open == Open::Text {
            delta = delta.with("logprobs", Json::Array(Vec::new()));
        }
        self.numbered(delta, out);
        self.whole.add(member(text));
    }

    fn open_item(&mut self, open: Open, part: Part, out: &mut Vec<u8>) {
        self.close_item(out);
        let index = self.parts;
        self.parts += 1;
        self.open = open;
        let begun = begun_item(item(&self.whole.start.id, index, &part, "in_progress"));
        let added = typed("response.output_item.added")
            .with("output_index", int(index))
            .with("item", begun);
        self.numbered(added, out);
        if !matches!(part, Part::Call { .. }) {
            let added = self
                .of_item("response.content_part.added")
                .with("content_index", Json::Int(0))
                .with("part", content_part(&part));
            self.numbered(added, out);
        }
        self.whole.parts.push(part);
    }

    /// The last events of the open item, each of which repeats all of it.
    fn close_item(&mut self, out: &mut Vec<u8>) {
        if self.open == Open::Nothing {
            return;
        }
        let Some(part) = self.whole.parts.pop() else {
            return;
        };
        let index = self.parts.saturating_sub(1);
        let whole = content_part(&part);
        let (kind, name, text) = match &part {
            Part::Text(text) => ("response.output_text.done", "text", text),
            Part::Thinking(text) => ("response.reasoning_text.done", "text", text),
            Part::Refusal(text) => ("response.refusal.done", "refusal", text),
            Part::Call { arguments, .. } => (
                "response.function_call_arguments.done",
                "arguments",
                arguments,
            ),
        };
        let mut done = self.of_item(kind).with(name, Json::Text(text.clone()));
        match &part {
            Part::Call { name, .. } => done = done.with("name", Json::Text(name.clone())),
            _ => done = done.with("content_index", Json::Int(0)),
        }
        if matches!(part, Part::Text(_)) {
            done = done.with("logprobs", Json::Array(Vec::new()));
        }
        self.numbered(done, out);
        if !matches!(part, Part::Call { .. }) {
            let done = self
                .of_item("response.content_part.done")
                .with("content_index", Json::Int(0))
                .with("part", whole);
            self.numbered(done, out);
        }
        let done = typed("response.output_item.done")
            .with("output_index", int(index))
            .with(
                "item",
                item(&self.whole.start.id, index, &part, "completed"),
            );
        self.numbered(done, out);
        self.whole.parts.push(part);
        self.open = Open::Nothing;
    }

    /// An event about the open item.
    fn of_item(&self, kind: &'static str) -> Object<'static> {
        let index = self.parts.saturating_sub(1);
        let prefix = match self.open {
            Open::Call(_) => "fc",
            Open::Thinking => "rs",
            Open::Text | Open::Refusal | Open::Nothing => "msg",
        };
        typed(kind)
            .with(
                "item_id",
                Json::text(format!("{prefix}_{}_{index}", self.whole.start.id)),
            )
            .with("output_index", int(index))
    }

    fn numbered(&mut self, data: Object<'static>, out: &mut Vec<u8>) {
        let data = data.with("sequence_number", Json::Int(self.sequence));
        self.sequence += 1;
        named(data, out);
    }
}

/// An item of which nothing is said yet.
fn begun_item(item: Json<'static>) -> Json<'static> {
    let Json::Object(mut members) = item else {
        return item;
    };
    for (name, value) in &mut members {
        if *name == "content" {
            *value = Json::Array(Vec::new());
        }
    }
    Json::Object(members)
}

fn chat_call(call: usize, head: Object<'static>, function: Object<'static>) -> Object<'static> {
    let mut members = vec![("index", int(call))];
    if let Json::Object(head) = head.json() {
        members.extend(head);
    }
    members.push(("function", function.json()));
    Object::default().with("tool_calls", Json::Array(vec![Json::Object(members)]))
}

fn empty(kind: &'static str, member: &'static str) -> Object<'static> {
    typed(kind).with(member, Json::Word(""))
}

fn int(number: usize) -> Json<'static> {
    Json::Int(u64::try_from(number).unwrap_or(u64::MAX))
}

/// An event whose name is its data's type.
fn named(data: Object<'static>, out: &mut Vec<u8>) {
    let data = data.json();
    let kind = match &data {
        Json::Object(members) => match members.first() {
            Some((_, Json::Word(kind))) => *kind,
            _ => "",
        },
        _ => "",
    };
    event(kind, &data, out);
}

fn event(name: &str, data: &Json<'_>, out: &mut Vec<u8>) {
    if !name.is_empty() {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(&data.to_bytes());
    out.extend_from_slice(b"\n\n");
}
