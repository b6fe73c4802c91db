//! Reads the events of a stream, each by itself, as they arrive.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    TranslateError,
    json::Text,
    read_answer::{Block, ErrorBody, Item, Response, begun, cost, parsed},
    said::{Failure, Said, Start, Stop},
};
use crate::{Api, usage::WireUsage};

type Result<T> = std::result::Result<T, TranslateError>;

/// The most tool calls of one answer: each is remembered.
const MAX_CALLS: usize = 256;

/// What one stream of an upstream has said so far.
pub(super) struct StreamReader {
    api: Api,
    started: bool,
    ended: bool,
    stopped: bool,
    /// The upstream's index of each call, in the order of their beginnings.
    calls: Vec<u64>,
    /// Arguments of a call that came with its beginning, until there are pieces.
    unsaid: Option<Text>,
    /// Which of the two forms of thoughts a Responses upstream streams.
    thoughts: Option<&'static str>,
}

impl StreamReader {
    pub(super) const fn new(api: Api) -> Self {
        Self {
            api,
            started: false,
            ended: false,
            stopped: false,
            calls: Vec::new(),
            unsaid: None,
            thoughts: None,
        }
    }

    /// What one event says. After the end nothing counts.
    pub(super) fn event(&mut self, data: &str) -> Result<Vec<Said>> {
        if self.ended {
            return Ok(Vec::new());
        }
        let said = match self.api {
            Api::Messages => self.messages(data)?,
            Api::Responses => self.responses(data)?,
            _ => self.chat(data)?,
        };
        self.stopped |= said.iter().any(|said| matches!(said, Said::Stop(_)));
        self.ended |= said
            .iter()
            .any(|said| matches!(said, Said::End | Said::Failed(_)));
        Ok(said)
    }

    /// What the end of the body says: some servers of Chat leave `[DONE]` out.
    pub(super) fn finish(&mut self) -> Vec<Said> {
        if self.ended || !self.stopped || self.api != Api::ChatCompletions {
            return Vec::new();
        }
        self.ended = true;
        vec![Said::End]
    }

    fn start(&mut self, start: impl FnOnce() -> Start) -> Option<Said> {
        let first = !std::mem::replace(&mut self.started, true);
        first.then(|| Said::Start(start()))
    }

    fn call(&self, index: u64) -> Option<usize> {
        self.calls.iter().position(|known| *known == index)
    }

    fn begin_call(&mut self, index: u64) -> Result<usize> {
        if self.calls.len() >= MAX_CALLS {
            return Err(TranslateError::shape("tool calls".to_owned()));
        }
        self.calls.push(index);
        Ok(self.calls.len() - 1)
    }

    fn chat(&mut self, data: &str) -> Result<Vec<Said>> {
        if data.trim() == "[DONE]" {
            return Ok(vec![Said::End]);
        }
        let chunk: Chunk = parsed(data.as_bytes())?;
        if let Some(error) = chunk.error {
            return Ok(vec![Said::Failed(error.failure())]);
        }
        let mut said = Vec::new();
        said.extend(self.start(|| Start {
            id: chunk.id,
            model: chunk.model,
            created: chunk.created,
        }));
        for choice in chunk.choices {
            if choice.index != 0 {
                return Err(TranslateError::not_sayable("choices[1]".to_owned()));
            }
            self.delta(choice.delta.unwrap_or_default(), &mut said)?;
            let reason = choice.finish_reason.as_deref();
            said.extend(reason.map(Stop::of_chat).map(Said::Stop));
        }
        let cost = cost(Api::ChatCompletions, chunk.usage.as_ref());
        said.extend(cost.map(Said::Cost));
        Ok(said)
    }

    fn delta(&mut self, delta: Delta, said: &mut Vec<Said>) -> Result<()> {
        if delta.audio.is_some() || delta.function_call.is_some() {
            return Err(TranslateError::not_sayable("choices[0].delta".to_owned()));
        }
        let filled = |text: Option<Text>| text.filter(|text| !text.is_empty());
        let thought = filled(delta.reasoning_content).or(filled(delta.reasoning));
        said.extend(thought.map(Said::Thinking));
        said.extend(filled(delta.content).map(Said::Text));
        said.extend(filled(delta.refusal).map(Said::Refusal));
        for call in delta.tool_calls.into_iter().flatten() {
            let function = call.function.unwrap_or_default();
            let known = self.call(call.index);
            let place = match known {
                Some(place) => place,
                None => {
                    let place = self.begin_call(call.index)?;
                    let id = filled(call.id);
                    said.push(Said::Call {
                        id: id.unwrap_or_else(|| Text::from(format!("call_{place}"))),
                        name: function.name.unwrap_or_default(),
                    });
                    place
                }
            };
            let arguments = filled(function.arguments);
            said.extend(arguments.map(|text| Said::Arguments { call: place, text }));
        }
        Ok(())
    }

    fn messages(&mut self, data: &str) -> Result<Vec<Said>> {
        let event: MessagesEvent<'_> = parsed(data.as_bytes())?;
        let mut said = Vec::new();
        match event.r#type.as_str() {
            "message_start" => {
                let message = event.message.unwrap_or_default();
                let usage = cost(Api::Messages, message.usage.as_ref());
                said.extend(self.start(|| Start {
                    id: message.id,
                    model: message.model,
                    created: 0,
                }));
                said.extend(usage.map(Said::Cost));
            }
            "content_block_start" => {
                let Some(block) = event.content_block else {
                    return Err(TranslateError::shape("content_block".to_owned()));
                };
                let (begun, arguments) = begun(block)?;
                said.extend(begun);
                if arguments.is_some() {
                    self.begin_call(event.index)?;
                    self.unsaid = arguments;
                }
            }
            "content_block_delta" => said.extend(self.block_delta(event.index, event.delta)?),
            "content_block_stop" => {
                if let (Some(call), Some(text)) = (self.call(event.index), self.unsaid.take()) {
                    said.push(Said::Arguments { call, text });
                }
            }
            "message_delta" => {
                let delta = event.delta.unwrap_or_default();
                let reason = delta.stop_reason.as_deref();
                said.extend(reason.map(Stop::of_messages).map(Said::Stop));
                let usage = cost(Api::Messages, event.usage.as_ref());
                said.extend(usage.map(Said::Cost));
            }
            "message_stop" => said.push(Said::End),
            "error" => {
                let failure = event.error.as_ref().map(ErrorBody::failure);
                said.push(Said::Failed(failure.unwrap_or_default()));
            }
            // `ping`, and what later versions add beside the content
            _ => {}
        }
        Ok(said)
    }

    fn block_delta(&mut self, index: u64, delta: Option<BlockDelta>) -> Result<Option<Said>> {
        let delta = delta.unwrap_or_default();
        Ok(match delta.r#type.as_str() {
            "text_delta" => delta.text.map(Said::Text),
            "thinking_delta" => delta.thinking.map(Said::Thinking),
            // the provider's checksum over its own words
            "signature_delta" => None,
            "input_json_delta" => {
                let Some(call) = self.call(index) else {
                    return Err(TranslateError::shape("content_block_delta".to_owned()));
                };
                let text = delta.partial_json.filter(|text| !text.is_empty());
                if text.is_some() {
                    self.unsaid = None;
                }
                text.map(|text| Said::Arguments { call, text })
            }
            _ => {
                return Err(TranslateError::not_sayable(
                    "content_block_delta".to_owned(),
                ));
            }
        })
    }

    fn responses(&mut self, data: &str) -> Result<Vec<Said>> {
        let event: ResponsesEvent<'_> = parsed(data.as_bytes())?;
        let mut said = Vec::new();
        if let Some(response) = &event.response {
            said.extend(self.start(|| response.start()));
        }
        let delta = |raw: Option<&RawValue>| -> Result<Option<Text>> {
            raw.map(|raw| super::fields::unescaped("delta", raw))
                .transpose()
        };
        match event.r#type.as_str() {
            "response.output_item.added" => {
                said.extend(self.item(event.output_index, event.item.unwrap_or_default())?);
            }
            "response.output_text.delta" => said.extend(delta(event.delta)?.map(Said::Text)),
            "response.refusal.delta" => said.extend(delta(event.delta)?.map(Said::Refusal)),
            "response.reasoning_text.delta" if self.thinks("text") => {
                said.extend(delta(event.delta)?.map(Said::Thinking));
            }
            "response.reasoning_summary_text.delta" if self.thinks("summary") => {
                said.extend(delta(event.delta)?.map(Said::Thinking));
            }
            "response.function_call_arguments.delta" => {
                let call = self.called(event.output_index)?;
                self.unsaid = None;
                let text = delta(event.delta)?;
                said.extend(text.map(|text| Said::Arguments { call, text }));
            }
            "response.function_call_arguments.done" => {
                let call = self.called(event.output_index)?;
                // a server that sends no pieces says all of them here
                if self.unsaid.take().is_some() {
                    let text = event.arguments.unwrap_or_default();
                    said.push(Said::Arguments { call, text });
                }
            }
            "response.output_text.annotation.added" => {
                return Err(TranslateError::not_sayable("annotations".to_owned()));
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                let response = event.response.unwrap_or_default();
                said.extend(response.end(self.calls.len()));
            }
            "error" => {
                let nested = event.error.as_ref().map(ErrorBody::failure);
                said.push(Said::Failed(nested.unwrap_or(Failure {
                    code: event.code,
                    message: event.message,
                })));
            }
            _ => {}
        }
        Ok(said)
    }

    fn item(&mut self, index: u64, item: Item) -> Result<Option<Said>> {
        match item.r#type.as_str() {
            "message" | "reasoning" => Ok(None),
            "function_call" => {
                let (Some(id), Some(name)) = (item.call_id, item.name) else {
                    return Err(TranslateError::shape("output[].function_call".to_owned()));
                };
                self.begin_call(index)?;
                self.unsaid = Some(Text::from(String::new()));
                Ok(Some(Said::Call { id, name }))
            }
            _ => Err(TranslateError::not_sayable("output[].type".to_owned())),
        }
    }

    fn called(&self, index: u64) -> Result<usize> {
        let known = self.call(index);
        known.ok_or_else(|| TranslateError::shape("output_index".to_owned()))
    }

    fn thinks(&mut self, form: &'static str) -> bool {
        *self.thoughts.get_or_insert(form) == form
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Chunk {
    id: String,
    created: u64,
    model: String,
    choices: Vec<ChunkChoice>,
    usage: Option<WireUsage>,
    error: Option<ErrorBody>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ChunkChoice {
    index: u64,
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Delta {
    content: Option<Text>,
    reasoning_content: Option<Text>,
    reasoning: Option<Text>,
    refusal: Option<Text>,
    tool_calls: Option<Vec<CallDelta>>,
    audio: Option<serde::de::IgnoredAny>,
    function_call: Option<serde::de::IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CallDelta {
    index: u64,
    id: Option<Text>,
    function: Option<FunctionDelta>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FunctionDelta {
    name: Option<Text>,
    arguments: Option<Text>,
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct MessagesEvent<'a> {
    r#type: String,
    index: u64,
    message: Option<Started>,
    content_block: Option<Block<'a>>,
    delta: Option<BlockDelta>,
    usage: Option<WireUsage>,
    error: Option<ErrorBody>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Started {
    id: String,
    model: String,
    usage: Option<WireUsage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BlockDelta {
    r#type: String,
    text: Option<Text>,
    thinking: Option<Text>,
    partial_json: Option<Text>,
    stop_reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponsesEvent<'a> {
    r#type: String,
    response: Option<Response>,
    output_index: u64,
    item: Option<Item>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    arguments: Option<Text>,
    error: Option<ErrorBody>,
    code: Option<String>,
    message: Option<String>,
}
