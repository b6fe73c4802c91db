//! The client's side of Chat Completions for the built-in agent: a conversation, tool schemas, and a
//! strict reading of whatever a model answers.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The largest answer that is read.
pub const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// The most tool calls that one answer may ask for.
pub const MAX_TOOL_CALLS: usize = 32;
/// The largest arguments of one tool call.
pub const MAX_ARGUMENT_BYTES: usize = 1024 * 1024;
/// The longest tool name or call id.
pub const MAX_NAME_BYTES: usize = 128;

/// One message of a conversation.
#[derive(Clone, Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub enum Message {
    /// Instructions of the operator.
    System {
        /// The text.
        content: String,
    },
    /// The task, or a reminder.
    User {
        /// The text.
        content: String,
    },
    /// An earlier answer of the model.
    Assistant {
        /// Its text; null when it only called tools.
        content: Option<String>,
        /// The tools it called.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall>,
    },
    /// What a tool call returned.
    Tool {
        /// The call that this answers.
        tool_call_id: String,
        /// The result, as JSON or an error.
        content: String,
    },
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Message(<redacted>)")
    }
}

/// A tool that the model may call.
#[derive(Clone, Debug, Serialize)]
pub struct ToolSpec {
    r#type: &'static str,
    function: FunctionSpec,
}

#[derive(Clone, Debug, Serialize)]
struct FunctionSpec {
    name: &'static str,
    description: &'static str,
    parameters: Value,
}

impl ToolSpec {
    /// A tool with the JSON Schema of its arguments.
    #[must_use]
    pub const fn new(name: &'static str, description: &'static str, parameters: Value) -> Self {
        Self {
            r#type: "function",
            function: FunctionSpec {
                name,
                description,
                parameters,
            },
        }
    }

    /// The tool's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.function.name
    }
}

/// A tool call that the model asks for.
#[derive(Clone, Debug, Serialize)]
pub struct ToolCall {
    /// Made up by the model's server; the result must repeat it.
    pub id: String,
    r#type: &'static str,
    /// What is called.
    pub function: FunctionCall,
}

/// A tool's name and its arguments as the model wrote them: JSON, one hopes.
#[derive(Clone, Serialize)]
pub struct FunctionCall {
    /// The tool.
    pub name: String,
    /// The arguments, unparsed.
    pub arguments: String,
}

impl fmt::Debug for FunctionCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FunctionCall(<redacted>)")
    }
}

/// The JSON body of a request for the next answer.
#[must_use]
pub fn request_body(model: &str, messages: &[Message], tools: &[ToolSpec]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        model: &'a str,
        messages: &'a [Message],
        tools: &'a [ToolSpec],
    }
    serde_json::to_vec(&Body {
        model,
        messages,
        tools,
    })
    .unwrap_or_default()
}

/// What a model answered.
pub struct Answer {
    /// Its text, if any.
    pub text: Option<String>,
    /// The tools it wants called, in order.
    pub tool_calls: Vec<ToolCall>,
    /// Tokens of request and answer together, if reported.
    pub total_tokens: Option<u64>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Answer(<redacted>, {} tool calls)",
            self.tool_calls.len()
        )
    }
}

/// Why an answer could not be used. All of it is the model server's doing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// Larger than [`MAX_ANSWER_BYTES`].
    #[error("answer of {have} bytes is larger than the {MAX_ANSWER_BYTES} allowed")]
    TooLarge {
        /// The answer's size.
        have: usize,
    },
    /// Not UTF-8.
    #[error("answer is not utf-8: the first bad byte is at offset {at}")]
    NotUtf8 {
        /// Offset of the first bad byte.
        at: usize,
    },
    /// Not JSON.
    #[error("answer is not json")]
    NotJson(#[source] serde_json::Error),
    /// JSON, but not a chat completion.
    #[error("answer is not a chat completion: {0}")]
    Shape(&'static str),
    /// A tool call over one of this module's limits.
    #[error("answer asks for a tool call over a limit: {0}")]
    Limit(&'static str),
}

impl AnswerError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "answer-too-large",
            Self::NotUtf8 { .. } => "answer-not-utf8",
            Self::NotJson(_) => "answer-not-json",
            Self::Shape(_) => "answer-shape",
            Self::Limit(_) => "answer-over-limit",
        }
    }
}

#[derive(Deserialize)]
struct Wire {
    choices: Vec<WireChoice>,
    #[serde(default)]
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct WireChoice {
    message: WireMessage,
}

#[derive(Deserialize)]
struct WireMessage {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<WireCall>>,
}

#[derive(Deserialize)]
struct WireCall {
    id: String,
    function: WireFunction,
}

#[derive(Deserialize)]
struct WireFunction {
    name: String,
    arguments: Value,
}

/// Reads a whole (not streamed) chat completion; the first choice counts.
///
/// # Errors
/// [`AnswerError`]; its source never holds the answer's text.
pub fn read_answer(bytes: &[u8]) -> Result<Answer, AnswerError> {
    if bytes.len() > MAX_ANSWER_BYTES {
        return Err(AnswerError::TooLarge { have: bytes.len() });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| AnswerError::NotUtf8 {
        at: error.valid_up_to(),
    })?;
    // A type mismatch is reported without its source, which would quote the answer.
    let wire: Wire = serde_json::from_str(text).map_err(|error| {
        if error.is_data() {
            AnswerError::Shape("a member is missing or has the wrong type")
        } else {
            AnswerError::NotJson(error)
        }
    })?;
    let choice = wire
        .choices
        .into_iter()
        .next()
        .ok_or(AnswerError::Shape("no choices"))?;
    let calls = choice.message.tool_calls.unwrap_or_default();
    if calls.len() > MAX_TOOL_CALLS {
        return Err(AnswerError::Limit("too many calls at once"));
    }
    Ok(Answer {
        text: choice.message.content,
        tool_calls: calls.into_iter().map(read_call).collect::<Result<_, _>>()?,
        total_tokens: wire
            .usage
            .and_then(|usage| usage.get("total_tokens").and_then(Value::as_u64)),
    })
}

fn read_call(call: WireCall) -> Result<ToolCall, AnswerError> {
    let arguments = match call.function.arguments {
        Value::String(text) => text,
        object @ Value::Object(_) => object.to_string(),
        _ => return Err(AnswerError::Shape("tool arguments are no json object")),
    };
    if arguments.len() > MAX_ARGUMENT_BYTES {
        return Err(AnswerError::Limit("arguments too large"));
    }
    if call.function.name.len() > MAX_NAME_BYTES || call.id.len() > MAX_NAME_BYTES {
        return Err(AnswerError::Limit("tool name or call id too long"));
    }
    Ok(ToolCall {
        id: call.id,
        r#type: "function",
        function: FunctionCall {
            name: call.function.name,
            arguments,
        },
    })
}

#[cfg(test)]
mod tests;
