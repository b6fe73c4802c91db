//! Why a request could not be read. Every variant is the client's doing; none repeats its text.

use crate::inspect::{MAX_DEPTH, MAX_MODEL_BYTES, MAX_REQUEST_BYTES, MAX_VALUES};

/// Why a request body was refused before anything else was done with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The body is larger than [`MAX_REQUEST_BYTES`].
    #[error(
        "request of {have} bytes is larger than the {MAX_REQUEST_BYTES} allowed; send less at once"
    )]
    TooLarge {
        /// The body's size in bytes.
        have: usize,
    },
    /// The body is not UTF-8 (RFC 8259 §8.1).
    #[error("request is not utf-8: the first bad byte is at offset {at}; encode it as utf-8")]
    NotUtf8 {
        /// Offset of the first byte that is not UTF-8.
        at: usize,
    },
    /// The body is not one JSON value.
    #[error("request is not json; send one json object")]
    NotJson(#[source] serde_json::Error),
    /// The body is JSON, but not an object.
    #[error("request is not a json object; send an object with `model` and `messages`")]
    NotAnObject,
    /// Values are nested deeper than [`MAX_DEPTH`].
    #[error("request is nested deeper than {MAX_DEPTH} levels; flatten it")]
    TooDeep,
    /// The body has more values than [`MAX_VALUES`].
    #[error("request has more than {MAX_VALUES} json values; send less at once")]
    TooManyValues,
    /// An object names one member twice, so two readers could see two requests.
    #[error(
        "an object in the request names one member twice, so that two readers could see two requests; name it once"
    )]
    DuplicateMember,
    /// A member differs from one that decides only by upper and lower case.
    #[error(
        "member `{expected}` is spelt in another case, so that two readers could see two requests; spell it as shown"
    )]
    AmbiguousMember {
        /// The member as the API spells it.
        expected: &'static str,
    },
    /// A member that decides is absent.
    #[error("member `{name}` is missing; add it")]
    Missing {
        /// The member.
        name: &'static str,
    },
    /// A member that decides has another type than the API gives it.
    #[error("member `{name}` is not {expected}; correct it")]
    WrongType {
        /// The member.
        name: &'static str,
        /// The type it must have.
        expected: &'static str,
    },
    /// A member refers to text that the provider keeps, which nobody here can classify.
    #[error(
        "member `{name}` refers to text that is kept elsewhere and cannot be classified; send the conversation itself"
    )]
    RefersToKept {
        /// The member.
        name: &'static str,
    },
    /// The model name is empty, longer than [`MAX_MODEL_BYTES`] or not plain printable ASCII.
    #[error(
        "model name is not 1 to {MAX_MODEL_BYTES} printable ascii characters without spaces; use the name that `GET /v1/models` lists"
    )]
    ModelName,
}

impl RequestError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "request-too-large",
            Self::NotUtf8 { .. } => "request-not-utf8",
            Self::NotJson(_) => "request-not-json",
            Self::NotAnObject => "request-not-an-object",
            Self::TooDeep => "request-too-deep",
            Self::TooManyValues => "request-too-many-values",
            Self::DuplicateMember => "request-duplicate-member",
            Self::AmbiguousMember { .. } => "request-ambiguous-member",
            Self::Missing { .. } => "request-member-missing",
            Self::WrongType { .. } => "request-member-type",
            Self::RefersToKept { .. } => "request-refers-to-kept",
            Self::ModelName => "request-model-name",
        }
    }

    /// The HTTP status to answer with: 413 for size, 400 for the rest.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::TooLarge { .. } => 413,
            _ => 400,
        }
    }
}
