//! What a request says: the plain structs that [`crate::inspect`] returns.

use std::ops::Range;

use proofroom_canonical::Sensitive;

use crate::Api;

/// Who put a text into the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// System or developer prompt, tool definitions, and members whose purpose is unknown.
    System,
    /// The user's turns.
    User,
    /// The model's earlier answers.
    Assistant,
    /// Arguments with which the model called a tool.
    ToolArguments,
    /// What a tool returned.
    ToolResult,
    /// Content that cannot be read as text (image, sound, file); its `text` names the kind only.
    Unreadable,
}

/// One text that the model would see.
#[derive(Debug)]
pub struct Segment {
    /// Who put it there.
    pub origin: Origin,
    /// The text, unescaped. Wiped when dropped.
    pub text: Sensitive<String>,
    /// The file that the text belongs to, when a tool call named one.
    pub path: Option<String>,
    /// So many bytes from the body's start on decide what this segment and all before it are: an
    /// accepted request that begins with the same bytes has the same ones in the same places. Nothing
    /// where no such beginning is known.
    pub decided: Option<usize>,
}

/// How the client wants the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// As server-sent events.
    Stream,
    /// As one JSON document.
    Whole,
}

/// Whether the answer will say what it cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageReport {
    /// The API always reports it, or the client asked for it.
    Expected,
    /// An OpenAI stream without `stream_options.include_usage`: upstreams may stay silent.
    NotRequested,
}

/// What a request says, with every text that a model would see.
#[derive(Debug)]
pub struct RequestFacts {
    /// The API that the request speaks.
    pub api: Api,
    /// The model asked for: 1 to [`crate::MAX_MODEL_BYTES`] printable ASCII characters.
    pub model: String,
    /// Where the model's JSON string, quotes included, lies in the body.
    pub model_span: Range<usize>,
    /// How the client wants the answer.
    pub delivery: Delivery,
    /// Whether the answer will say what it cost.
    pub usage: UsageReport,
    /// The most tokens the client wants back, if it said so.
    pub max_tokens: Option<u64>,
    /// How many messages the conversation has.
    pub messages: usize,
    /// How many tools are defined.
    pub tools: usize,
    /// Every text, in the order of the document.
    pub segments: Vec<Segment>,
}
