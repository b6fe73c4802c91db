//! What a request says, in no API's words: what the readers fill in and the writers say again.

use serde_json::value::RawValue;

use super::{
    TranslateError,
    json::{Json, Text},
};

/// A request. Texts are JSON strings as they stood in the body.
#[derive(Default)]
pub(super) struct Talk<'a> {
    /// Instructions before the conversation.
    pub(super) system: Vec<&'a RawValue>,
    pub(super) turns: Vec<Turn<'a>>,
    pub(super) tools: Vec<Tool<'a>>,
    pub(super) choice: Option<Choice<'a>>,
    pub(super) parallel: Option<bool>,
    pub(super) max_tokens: Option<u64>,
    pub(super) temperature: Option<&'a RawValue>,
    pub(super) top_p: Option<&'a RawValue>,
    pub(super) stop: Vec<&'a RawValue>,
    pub(super) stream: bool,
    pub(super) effort: Option<Effort>,
    pub(super) format: Format<'a>,
    pub(super) user: Option<&'a RawValue>,
    /// What the client's API calls `stop`, `format` and `temperature`.
    pub(super) names: Names,
}

/// Names of members that not every API has.
#[derive(Clone, Copy, Default)]
pub(super) struct Names {
    pub(super) stop: &'static str,
    pub(super) format: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    System,
    User,
    Assistant,
}

pub(super) struct Turn<'a> {
    pub(super) at: String,
    pub(super) role: Role,
    pub(super) parts: Vec<Part<'a>>,
}

pub(super) enum Part<'a> {
    Text(&'a RawValue),
    Refusal(&'a RawValue),
    Thinking(&'a RawValue),
    Image(String, Media<'a>),
    File(String, Option<&'a RawValue>, Media<'a>),
    Call(Call<'a>),
    Result(&'a RawValue, Vec<Self>),
}

pub(super) struct Call<'a> {
    pub(super) id: &'a RawValue,
    pub(super) name: &'a RawValue,
    /// JSON of an object.
    pub(super) arguments: Arguments<'a>,
}

pub(super) enum Arguments<'a> {
    /// As an object stood.
    Object(&'a RawValue),
    /// As the text of a string.
    Text(&'a RawValue),
}

/// A picture or a file.
pub(super) enum Media<'a> {
    Url(&'a RawValue),
    Data { kind: String, base64: Text },
}

pub(super) struct Tool<'a> {
    pub(super) name: &'a RawValue,
    pub(super) description: Option<&'a RawValue>,
    /// JSON Schema of the arguments, verbatim.
    pub(super) schema: Option<&'a RawValue>,
    pub(super) strict: Option<bool>,
}

pub(super) enum Choice<'a> {
    Auto,
    None,
    Any,
    Tool(&'a RawValue),
}

#[derive(Clone, Copy)]
pub(super) enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Most,
}

#[derive(Default)]
pub(super) enum Format<'a> {
    #[default]
    Text,
    AnyObject,
    Schema {
        name: Option<&'a RawValue>,
        description: Option<&'a RawValue>,
        schema: &'a RawValue,
        strict: Option<bool>,
    },
}

impl<'a> Talk<'a> {
    /// Adds `parts` to the conversation; consecutive turns of one author are one turn.
    pub(super) fn say(&mut self, at: String, role: Role, parts: Vec<Part<'a>>) {
        match self.turns.last_mut() {
            Some(last) if last.role == role && role == Role::Assistant => last.parts.extend(parts),
            _ => self.turns.push(Turn { at, role, parts }),
        }
    }

    /// A system text: an instruction before the conversation, or a turn in it.
    pub(super) fn instruct(&mut self, at: String, texts: Vec<&'a RawValue>) {
        if self.turns.is_empty() {
            self.system.extend(texts);
        } else {
            let parts = texts.into_iter().map(Part::Text).collect();
            self.turns.push(Turn {
                at,
                role: Role::System,
                parts,
            });
        }
    }
}

impl Effort {
    pub(super) fn of(word: &str) -> Option<Self> {
        Some(match word {
            "none" => Self::None,
            "minimal" => Self::Minimal,
            "low" => Self::Low,
            "medium" => Self::Medium,
            "high" => Self::High,
            "xhigh" | "max" => Self::Most,
            _ => return None,
        })
    }

    /// The nearest effort to a budget of thinking tokens.
    pub(super) const fn of_budget(tokens: u64) -> Self {
        match tokens {
            0..=4_096 => Self::Low,
            4_097..=16_384 => Self::Medium,
            _ => Self::High,
        }
    }

    pub(super) const fn openai(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Most => "xhigh",
        }
    }

    /// Messages has no effort below `low`.
    pub(super) const fn anthropic(self) -> &'static str {
        match self {
            Self::None | Self::Minimal | Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Most => "max",
        }
    }
}

impl<'a> Arguments<'a> {
    /// As the text that Chat and Responses carry.
    pub(super) fn as_text(&self) -> Json<'a> {
        match self {
            Self::Text(raw) => Json::Raw(raw),
            Self::Object(raw) => Json::text(raw.get()),
        }
    }

    /// As the object that Messages carries.
    pub(super) fn as_object(&self, at: &str) -> Result<Json<'a>, TranslateError> {
        let text = match self {
            Self::Object(raw) => return Ok(Json::Raw(raw)),
            Self::Text(raw) => super::fields::unescaped(at, raw)?,
        };
        object_of(&text).ok_or_else(|| TranslateError::shape(at.to_owned()))
    }
}

/// The JSON object that `text` holds; an empty text is an empty object.
pub(super) fn object_of<'a>(text: &str) -> Option<Json<'a>> {
    if text.trim().is_empty() {
        return Some(Json::Object(Vec::new()));
    }
    if !text.trim_start().starts_with('{') {
        return None;
    }
    serde_json::from_str(text).ok().map(Json::Verbatim)
}

impl<'a> Media<'a> {
    /// A URL, taken apart if it carries the data itself (RFC 2397).
    pub(super) fn of_url(at: &str, raw: &'a RawValue) -> Result<Self, TranslateError> {
        let url = super::fields::unescaped(at, raw)?;
        let Some(data) = url.strip_prefix("data:") else {
            return Ok(Self::Url(raw));
        };
        match data.split_once(";base64,") {
            Some((kind, base64)) if !kind.is_empty() => Ok(Self::Data {
                kind: kind.to_owned(),
                base64: Text::from(base64.to_owned()),
            }),
            _ => Err(TranslateError::not_sayable(at.to_owned())),
        }
    }

    pub(super) fn as_url(&self) -> Json<'a> {
        match self {
            Self::Url(raw) => Json::Raw(raw),
            Self::Data { kind, base64 } => {
                Json::text(format!("data:{kind};base64,{}", base64.as_str()))
            }
        }
    }

    /// A `source` of Messages.
    pub(super) fn as_source(&self) -> Json<'a> {
        match self {
            Self::Url(raw) => super::json::typed("url").with("url", Json::Raw(raw)).json(),
            Self::Data { kind, base64 } => super::json::typed("base64")
                .with("media_type", Json::text(kind.clone()))
                .with("data", Json::Text(base64.clone()))
                .json(),
        }
    }
}
