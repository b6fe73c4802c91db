//! Errors that Bedrock reports, in place of an answer or within one.

use serde::Deserialize;

use crate::{Api, refusal::error_body};

/// What Bedrock says went wrong.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exception {
    /// Bedrock failed.
    InternalServer,
    /// The model failed at this request.
    Model,
    /// The model is being loaded.
    ModelNotReady,
    /// The model failed within its answer.
    ModelStream,
    /// The model took too long.
    ModelTimeout,
    /// There is no such model here, or the account may not use it.
    NotFound,
    /// Over a quota of the account.
    Quota,
    /// Bedrock takes no requests.
    Unavailable,
    /// Too many requests or tokens.
    Throttling,
    /// The request is not one of the model's API.
    Validation,
    /// Anything else.
    Other,
}

/// Names as AWS writes them, without `Exception`.
const NAMES: [(&str, Exception); 10] = [
    ("InternalServer", Exception::InternalServer),
    ("ModelError", Exception::Model),
    ("ModelNotReady", Exception::ModelNotReady),
    ("ModelStreamError", Exception::ModelStream),
    ("ModelTimeout", Exception::ModelTimeout),
    ("ResourceNotFound", Exception::NotFound),
    ("ServiceQuotaExceeded", Exception::Quota),
    ("ServiceUnavailable", Exception::Unavailable),
    ("Throttling", Exception::Throttling),
    ("Validation", Exception::Validation),
];

impl Exception {
    /// The exception of a name as heads (`ThrottlingException:http://...`), bodies (`com.amazon.x#ThrottlingException`) and
    /// frames (`throttlingException`) write it.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let name = name.rsplit_once('#').map_or(name, |(_, name)| name);
        let name = name.split_once(':').map_or(name, |(name, _)| name);
        let name = name.strip_suffix("Exception").unwrap_or(name);
        let found = NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or(Self::Other, |(_, exception)| *exception)
    }

    /// The stable code of this error.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::InternalServer => "bedrock-internal-server",
            Self::Model => "bedrock-model-error",
            Self::ModelNotReady => "bedrock-model-not-ready",
            Self::ModelStream => "bedrock-model-stream-error",
            Self::ModelTimeout => "bedrock-model-timeout",
            Self::NotFound => "bedrock-not-found",
            Self::Quota => "bedrock-quota",
            Self::Unavailable => "bedrock-unavailable",
            Self::Throttling => "bedrock-throttling",
            Self::Validation => "bedrock-validation",
            Self::Other => "bedrock-error",
        }
    }

    /// The HTTP status that says it within an answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InternalServer => 500,
            Self::Model | Self::ModelStream | Self::Other => 502,
            Self::ModelNotReady | Self::Quota | Self::Throttling => 429,
            Self::ModelTimeout => 504,
            Self::NotFound => 404,
            Self::Validation => 400,
            Self::Unavailable => 503,
        }
    }
}

/// The members of an error's body. Services of AWS spell the second either way.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    #[serde(rename = "__type")]
    kind: Option<String>,
    #[serde(alias = "Message")]
    message: Option<String>,
}

/// The body of an error answer of Bedrock with this status, in the format of Messages: the exception's code, and AWS's own
/// words. `named` is the head's `x-amzn-errortype`.
#[must_use]
pub fn error_answer(status: u16, named: Option<&str>, body: &[u8]) -> Vec<u8> {
    let body: Body = serde_json::from_slice(body).unwrap_or_default();
    let exception = named.or(body.kind.as_deref());
    let exception = exception.map_or(Exception::Other, Exception::named);
    let message = body.message.as_deref();
    let message = message.unwrap_or("Bedrock reported an error without words");
    error_body(Api::Messages, status, exception.code(), message)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Exception, NAMES, error_answer};

    #[test]
    fn an_exception_is_known_in_every_spelling_of_aws() {
        for (name, exception) in NAMES {
            let mut camel = format!("{name}Exception");
            camel.get_mut(..1).unwrap().make_ascii_lowercase();
            for written in [
                camel,
                format!("{name}Exception"),
                format!("{name}Exception:http://internal.amazon.com/coral/com.amazon.bedrock/"),
                format!("com.amazon.coral.service#{name}Exception"),
            ] {
                assert_eq!(Exception::named(&written), exception, "{written}");
            }
        }
        for unknown in ["", "Exception", "Throttling Exception", "#", ":"] {
            assert_eq!(Exception::named(unknown), Exception::Other, "{unknown}");
        }
    }

    #[test]
    fn an_error_keeps_its_words_and_gets_a_code_and_the_type_of_its_status() {
        let said = |status, named, body: &str| -> Value {
            serde_json::from_slice(&error_answer(status, named, body.as_bytes())).unwrap()
        };
        assert_eq!(
            said(
                429,
                Some("ThrottlingException"),
                r#"{"message":"Too many tokens"}"#
            ),
            json!({"type": "error", "error":
                {"type": "rate_limit_error", "message": "Too many tokens", "code": "bedrock-throttling"}})
        );
        let by_body = said(
            400,
            None,
            r#"{"__type":"a.b#ValidationException","Message":"no"}"#,
        );
        assert_eq!(by_body["error"]["code"], "bedrock-validation");
        assert_eq!(by_body["error"]["message"], "no");
        for none in ["", "<html>", "[]", "{}"] {
            let said = said(503, None, none);
            assert_eq!(said["error"]["code"], "bedrock-error");
            assert_eq!(
                said["error"]["message"],
                "Bedrock reported an error without words"
            );
        }
    }
}
