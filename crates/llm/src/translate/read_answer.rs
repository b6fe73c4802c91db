//! Reads whole answers. What is content and cannot be said again is refused; what describes the
//! answer (`system_fingerprint`, `service_tier` and the like) is left out.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    TranslateError,
    json::Text,
    said::{Cost, Failure, Said, Start, Stop},
};
use crate::{Api, usage::WireUsage};

type Result<T> = std::result::Result<T, TranslateError>;

/// Reads `bytes` as a whole answer of `api`.
pub(super) fn read(api: Api, bytes: &[u8]) -> Result<Vec<Said>> {
    match api {
        Api::Messages => read_messages(parsed(bytes)?),
        Api::Responses => read_responses(parsed(bytes)?),
        _ => read_chat(parsed(bytes)?),
    }
}

pub(super) fn parsed<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|_| TranslateError::shape("the answer".to_owned()))
}

fn unsayable<T>(what: &'static str) -> Result<T> {
    Err(TranslateError::not_sayable(what.to_owned()))
}

#[derive(Deserialize)]
struct Chat {
    #[serde(default)]
    id: String,
    #[serde(default)]
    created: u64,
    #[serde(default)]
    model: String,
    choices: Vec<ChatChoice>,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct ChatChoice {
    message: ChatMessage,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ChatMessage {
    content: Option<Text>,
    reasoning_content: Option<Text>,
    reasoning: Option<Text>,
    refusal: Option<Text>,
    tool_calls: Option<Vec<ChatCall>>,
    audio: Option<serde::de::IgnoredAny>,
    function_call: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct ChatCall {
    id: Text,
    function: ChatFunction,
}

#[derive(Deserialize)]
struct ChatFunction {
    name: Text,
    arguments: Text,
}

fn read_chat(answer: Chat) -> Result<Vec<Said>> {
    let mut choices = answer.choices.into_iter();
    let (Some(choice), None) = (choices.next(), choices.next()) else {
        return unsayable("choices");
    };
    let message = choice.message;
    if message.audio.is_some() || message.function_call.is_some() {
        return unsayable("choices[0].message");
    }
    let mut said = vec![Said::Start(Start {
        id: answer.id,
        model: answer.model,
        created: answer.created,
    })];
    let filled = |text: Option<Text>| text.filter(|text| !text.is_empty());
    let thought = filled(message.reasoning_content).or(filled(message.reasoning));
    said.extend(thought.map(Said::Thinking));
    said.extend(filled(message.content).map(Said::Text));
    said.extend(filled(message.refusal).map(Said::Refusal));
    for (index, call) in message.tool_calls.into_iter().flatten().enumerate() {
        let function = call.function;
        said.extend(called(index, call.id, function.name, function.arguments));
    }
    let reason = choice.finish_reason.unwrap_or_default();
    said.push(Said::Stop(Stop::of_chat(&reason)));
    said.extend(cost(Api::ChatCompletions, answer.usage.as_ref()).map(Said::Cost));
    said.push(Said::End);
    Ok(said)
}

fn called(call: usize, id: Text, name: Text, text: Text) -> [Said; 2] {
    [Said::Call { id, name }, Said::Arguments { call, text }]
}

pub(super) fn cost(api: Api, usage: Option<&WireUsage>) -> Option<Cost> {
    usage.and_then(|usage| Cost::of(api, usage.usage()))
}

#[derive(Deserialize)]
struct Messages<'a> {
    #[serde(default)]
    id: String,
    #[serde(default)]
    model: String,
    #[serde(borrow)]
    content: Vec<Block<'a>>,
    stop_reason: Option<String>,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
pub(super) struct Block<'a> {
    pub(super) r#type: String,
    pub(super) text: Option<Text>,
    pub(super) thinking: Option<Text>,
    pub(super) id: Option<Text>,
    pub(super) name: Option<Text>,
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) citations: Option<&'a RawValue>,
}

/// What a block of Messages begins with, and its arguments if it is a call.
pub(super) fn begun(block: Block<'_>) -> Result<(Option<Said>, Option<Text>)> {
    if block
        .citations
        .is_some_and(|raw| !matches!(raw.get(), "null" | "[]"))
    {
        return unsayable("content[].citations");
    }
    let filled = |text: Option<Text>| text.filter(|text| !text.is_empty());
    Ok(match block.r#type.as_str() {
        "text" => (filled(block.text).map(Said::Text), None),
        "thinking" => (filled(block.thinking).map(Said::Thinking), None),
        // only the one that made it can read it
        "redacted_thinking" => (None, None),
        "tool_use" => {
            let (Some(id), Some(name)) = (block.id, block.name) else {
                return Err(TranslateError::shape("content[].tool_use".to_owned()));
            };
            let input = block.input.map_or("{}", RawValue::get);
            let input = Text::from(input.to_owned());
            (Some(Said::Call { id, name }), Some(input))
        }
        _ => return unsayable("content[].type"),
    })
}

fn read_messages(answer: Messages<'_>) -> Result<Vec<Said>> {
    let mut said = vec![Said::Start(Start {
        id: answer.id,
        model: answer.model,
        created: 0,
    })];
    let mut calls = 0;
    for block in answer.content {
        let (begun, arguments) = begun(block)?;
        said.extend(begun);
        if let Some(text) = arguments {
            said.push(Said::Arguments { call: calls, text });
            calls += 1;
        }
    }
    let reason = answer.stop_reason.unwrap_or_default();
    said.push(Said::Stop(Stop::of_messages(&reason)));
    said.extend(cost(Api::Messages, answer.usage.as_ref()).map(Said::Cost));
    said.push(Said::End);
    Ok(said)
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Response {
    id: String,
    created_at: f64,
    model: String,
    status: String,
    output: Vec<Item>,
    usage: Option<WireUsage>,
    error: Option<ErrorBody>,
    incomplete_details: Option<Incomplete>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Incomplete {
    reason: Option<String>,
}

/// An error as any of the APIs words it.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ErrorBody {
    code: serde_json::Value,
    r#type: serde_json::Value,
    message: serde_json::Value,
}

impl ErrorBody {
    pub(super) fn failure(&self) -> Failure {
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        Failure {
            code: text(&self.code).or_else(|| text(&self.r#type)),
            message: text(&self.message),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Item {
    pub(super) r#type: String,
    pub(super) call_id: Option<Text>,
    pub(super) name: Option<Text>,
    arguments: Option<Text>,
    content: Option<Vec<ItemPart>>,
    summary: Option<Vec<ItemPart>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ItemPart {
    r#type: String,
    text: Option<Text>,
    refusal: Option<Text>,
    annotations: Option<Vec<serde::de::IgnoredAny>>,
}

impl Response {
    pub(super) fn start(&self) -> Start {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a time in whole seconds; one that does not fit saturates"
        )]
        Start {
            id: self.id.clone(),
            model: self.model.clone(),
            created: self.created_at as u64,
        }
    }

    /// How it ended: why, what it cost, and that nothing follows.
    pub(super) fn end(&self, calls: usize) -> Vec<Said> {
        if self.status == "failed" || self.error.is_some() {
            let failure = self.error.as_ref().map(ErrorBody::failure);
            return vec![Said::Failed(failure.unwrap_or_default())];
        }
        let reason = self.incomplete_details.as_ref();
        let stop = match reason.and_then(|details| details.reason.as_deref()) {
            Some("content_filter") => Stop::Filter,
            Some(_) => Stop::Length,
            None if calls > 0 => Stop::Calls,
            None => Stop::End,
        };
        let mut said = vec![Said::Stop(stop)];
        said.extend(cost(Api::Responses, self.usage.as_ref()).map(Said::Cost));
        said.push(Said::End);
        said
    }
}

fn read_responses(mut answer: Response) -> Result<Vec<Said>> {
    if !matches!(&*answer.status, "completed" | "incomplete" | "failed") {
        return Err(TranslateError::shape("status".to_owned()));
    }
    let mut said = vec![Said::Start(answer.start())];
    let mut calls = 0;
    for item in std::mem::take(&mut answer.output) {
        match item.r#type.as_str() {
            "message" => {
                for part in item.content.into_iter().flatten() {
                    said.extend(read_part(part)?);
                }
            }
            "reasoning" => {
                let shown = item.content.filter(|parts| !parts.is_empty());
                let shown = shown.or(item.summary).into_iter().flatten();
                said.extend(shown.filter_map(|part| part.text).map(Said::Thinking));
            }
            "function_call" => {
                let (Some(id), Some(name)) = (item.call_id, item.name) else {
                    return Err(TranslateError::shape("output[].function_call".to_owned()));
                };
                said.extend(called(calls, id, name, item.arguments.unwrap_or_default()));
                calls += 1;
            }
            _ => return unsayable("output[].type"),
        }
    }
    said.extend(answer.end(calls));
    Ok(said)
}

fn read_part(part: ItemPart) -> Result<Option<Said>> {
    if part.annotations.is_some_and(|all| !all.is_empty()) {
        return unsayable("output[].content[].annotations");
    }
    Ok(match part.r#type.as_str() {
        "output_text" => part.text.map(Said::Text),
        "refusal" => part.refusal.map(Said::Refusal),
        _ => return unsayable("output[].content[].type"),
    })
}
