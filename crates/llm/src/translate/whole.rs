//! An answer put together from what was said, and said again as one document.

use super::{
    json::{Json, Object, Text, typed},
    said::{Cost, Failure, Said, Start, Stop},
};
use crate::Api;

/// Everything that was said so far.
#[derive(Default)]
pub(super) struct Whole {
    pub(super) start: Start,
    pub(super) parts: Vec<Part>,
    pub(super) stop: Option<Stop>,
    pub(super) cost: Option<Cost>,
    pub(super) failure: Option<Failure>,
}

pub(super) enum Part {
    Text(Text),
    Thinking(Text),
    Refusal(Text),
    Call {
        id: Text,
        name: Text,
        arguments: Text,
    },
}

impl Whole {
    /// Adds one thing; pieces of one text are joined.
    pub(super) fn add(&mut self, said: Said) {
        match said {
            Said::Start(start) => self.start = start,
            Said::Text(text) => match self.parts.last_mut() {
                Some(Part::Text(before)) => before.push_str(&text),
                _ => self.parts.push(Part::Text(text)),
            },
            Said::Thinking(text) => match self.parts.last_mut() {
                Some(Part::Thinking(before)) => before.push_str(&text),
                _ => self.parts.push(Part::Thinking(text)),
            },
            Said::Refusal(text) => match self.parts.last_mut() {
                Some(Part::Refusal(before)) => before.push_str(&text),
                _ => self.parts.push(Part::Refusal(text)),
            },
            Said::Call { id, name } => self.parts.push(Part::Call {
                id,
                name,
                arguments: Text::default(),
            }),
            Said::Arguments { call, text } => self.add_arguments(call, &text),
            Said::Stop(stop) => self.stop = Some(stop),
            Said::Cost(cost) => self.cost.get_or_insert_default().raise(cost),
            Said::Failed(failure) => self.failure = Some(failure),
            Said::End => {}
        }
    }

    fn add_arguments(&mut self, call: usize, text: &str) {
        let calls = self.parts.iter_mut().filter_map(|part| match part {
            Part::Call { arguments, .. } => Some(arguments),
            _ => None,
        });
        if let Some(arguments) = calls.into_iter().nth(call) {
            arguments.push_str(text);
        }
    }

    /// The answer as a document of `api`. `None` if a call's arguments are no JSON object and `api`
    /// carries them as one.
    pub(super) fn write(&self, api: Api) -> Option<Json<'static>> {
        match api {
            Api::Messages => self.messages(),
            Api::Responses => Some(self.response("completed")),
            _ => Some(self.chat()),
        }
    }

    fn chat(&self) -> Json<'static> {
        let mut calls = Vec::new();
        let (mut text, mut thoughts, mut refusal) = (None, None, None);
        for part in &self.parts {
            let (room, more) = match part {
                Part::Text(more) => (&mut text, more),
                Part::Thinking(more) => (&mut thoughts, more),
                Part::Refusal(more) => (&mut refusal, more),
                Part::Call {
                    id,
                    name,
                    arguments,
                } => {
                    calls.push(chat_call(id, name, arguments));
                    continue;
                }
            };
            room.get_or_insert_with(Text::default).push_str(more);
        }
        let or_null = |text: Option<Text>| text.map_or(Json::Null, Json::Text);
        let message = Object::default()
            .with("role", Json::Word("assistant"))
            .with("content", or_null(text))
            .with("refusal", or_null(refusal))
            .maybe("reasoning_content", thoughts.map(Json::Text))
            .maybe(
                "tool_calls",
                (!calls.is_empty()).then_some(Json::Array(calls)),
            );
        let stop = self.stop.unwrap_or(Stop::End).chat();
        let choice = Object::default()
            .with("index", Json::Int(0))
            .with("message", message.json())
            .with("logprobs", Json::Null)
            .with("finish_reason", Json::Word(stop));
        self.chat_head("chat.completion")
            .with("choices", Json::Array(vec![choice.json()]))
            .maybe("usage", self.cost.map(chat_usage))
            .json()
    }

    pub(super) fn chat_head(&self, object: &'static str) -> Object<'static> {
        Object::default()
            .with("id", Json::text(self.start.id.clone()))
            .with("object", Json::Word(object))
            .with("created", Json::Int(self.start.created))
            .with("model", Json::text(self.start.model.clone()))
    }

    fn messages(&self) -> Option<Json<'static>> {
        let blocks = self.parts.iter().map(message_block);
        let blocks = blocks.collect::<Option<Vec<_>>>()?;
        let stop = self.stop.unwrap_or(Stop::End).messages();
        Some(
            self.message_head()
                .with("content", Json::Array(blocks))
                .with("stop_reason", Json::Word(stop))
                .with("stop_sequence", Json::Null)
                .with("usage", messages_usage(self.cost.unwrap_or_default()))
                .json(),
        )
    }

    pub(super) fn message_head(&self) -> Object<'static> {
        Object::default()
            .with("id", Json::text(self.start.id.clone()))
            .with("type", Json::Word("message"))
            .with("role", Json::Word("assistant"))
            .with("model", Json::text(self.start.model.clone()))
    }

    /// A response of `status`; one that something cut short is incomplete. Members that repeat the
    /// request say what its API does by itself.
    pub(super) fn response(&self, status: &'static str) -> Json<'static> {
        let cut = self.stop.and_then(Stop::incomplete);
        let (status, cut) = match (status, cut) {
            ("completed", Some(reason)) => ("incomplete", Some(reason)),
            (status, _) => (status, None),
        };
        let details = cut.map_or(Json::Null, |reason| {
            Object::default().with("reason", Json::Word(reason)).json()
        });
        let items = self.items();
        let cost = self.cost.filter(|_| status != "in_progress");
        Object::default()
            .with("id", Json::text(self.start.id.clone()))
            .with("object", Json::Word("response"))
            .with("created_at", Json::Int(self.start.created))
            .with("status", Json::Word(status))
            .with("background", Json::Bool(false))
            .with("error", Json::Null)
            .with("incomplete_details", details)
            .with("instructions", Json::Null)
            .with("metadata", Json::Object(Vec::new()))
            .with("model", Json::text(self.start.model.clone()))
            .with("output", Json::Array(items))
            .with("parallel_tool_calls", Json::Bool(true))
            .with("previous_response_id", Json::Null)
            .with("store", Json::Bool(false))
            .with("temperature", Json::Null)
            .with("tool_choice", Json::Word("auto"))
            .with("tools", Json::Array(Vec::new()))
            .with("top_p", Json::Null)
            .with("usage", cost.map_or(Json::Null, responses_usage))
            .json()
    }

    fn items(&self) -> Vec<Json<'static>> {
        let numbered = self.parts.iter().enumerate();
        numbered
            .map(|(index, part)| item(&self.start.id, index, part, "completed"))
            .collect()
    }
}

fn chat_call(id: &Text, name: &Text, arguments: &Text) -> Json<'static> {
    let function = Object::default()
        .with("name", Json::Text(name.clone()))
        .with("arguments", Json::Text(arguments.clone()));
    Object::default()
        .with("id", Json::Text(id.clone()))
        .with("type", Json::Word("function"))
        .with("function", function.json())
        .json()
}

fn message_block(part: &Part) -> Option<Json<'static>> {
    Some(match part {
        Part::Text(text) | Part::Refusal(text) => {
            typed("text").with("text", Json::Text(text.clone())).json()
        }
        // nobody here can sign as the provider does
        Part::Thinking(text) => typed("thinking")
            .with("thinking", Json::Text(text.clone()))
            .with("signature", Json::Word(""))
            .json(),
        Part::Call {
            id,
            name,
            arguments,
        } => typed("tool_use")
            .with("id", Json::Text(id.clone()))
            .with("name", Json::Text(name.clone()))
            .with("input", super::talk::object_of(arguments)?)
            .json(),
    })
}

/// An item of a response. Its id is made of the response's and its place.
pub(super) fn item(id: &str, index: usize, part: &Part, status: &'static str) -> Json<'static> {
    let head = |kind, prefix| {
        typed(kind)
            .with("id", Json::text(format!("{prefix}_{id}_{index}")))
            .with("status", Json::Word(status))
    };
    match part {
        Part::Text(_) | Part::Refusal(_) => head("message", "msg")
            .with("role", Json::Word("assistant"))
            .with("content", Json::Array(vec![content_part(part)]))
            .json(),
        Part::Thinking(_) => head("reasoning", "rs")
            .with("summary", Json::Array(Vec::new()))
            .with("content", Json::Array(vec![content_part(part)]))
            .json(),
        Part::Call {
            id,
            name,
            arguments,
        } => head("function_call", "fc")
            .with("call_id", Json::Text(id.clone()))
            .with("name", Json::Text(name.clone()))
            .with("arguments", Json::Text(arguments.clone()))
            .json(),
    }
}

/// What is inside of an item that is words.
pub(super) fn content_part(part: &Part) -> Json<'static> {
    match part {
        Part::Refusal(text) => typed("refusal")
            .with("refusal", Json::Text(text.clone()))
            .json(),
        Part::Thinking(text) => typed("reasoning_text")
            .with("text", Json::Text(text.clone()))
            .json(),
        Part::Text(text)
        | Part::Call {
            arguments: text, ..
        } => typed("output_text")
            .with("text", Json::Text(text.clone()))
            .with("annotations", Json::Array(Vec::new()))
            .with("logprobs", Json::Array(Vec::new()))
            .json(),
    }
}

pub(super) fn chat_usage(cost: Cost) -> Json<'static> {
    let cached = Object::default().with("cached_tokens", Json::Int(cost.cached));
    Object::default()
        .with("prompt_tokens", Json::Int(cost.input))
        .with("completion_tokens", Json::Int(cost.output))
        .with("total_tokens", total(cost))
        .with("prompt_tokens_details", cached.json())
        .json()
}

pub(super) fn messages_usage(cost: Cost) -> Json<'static> {
    let apart = cost.cached.saturating_add(cost.written);
    Object::default()
        .with("input_tokens", Json::Int(cost.input.saturating_sub(apart)))
        .with("output_tokens", Json::Int(cost.output))
        .with("cache_read_input_tokens", Json::Int(cost.cached))
        .with("cache_creation_input_tokens", Json::Int(cost.written))
        .json()
}

fn responses_usage(cost: Cost) -> Json<'static> {
    let cached = Object::default().with("cached_tokens", Json::Int(cost.cached));
    let reasoning = Object::default().with("reasoning_tokens", Json::Int(0));
    Object::default()
        .with("input_tokens", Json::Int(cost.input))
        .with("input_tokens_details", cached.json())
        .with("output_tokens", Json::Int(cost.output))
        .with("output_tokens_details", reasoning.json())
        .with("total_tokens", total(cost))
        .json()
}

fn total(cost: Cost) -> Json<'static> {
    Json::Int(cost.input.saturating_add(cost.output))
}
