//! Everything that the gateway answers in its own voice, in the format of the client's API.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use proofroom_llm::{
    Api, RequestError, bedrock::FrameFault, error_body, translate::TranslateError,
};
use proofroom_record::statement::Failure;

use crate::answer::AnswerBody;

/// An answer in the gateway's own voice. Its text never quotes a prompt, an answer or an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: Cow<'static, str>,
    retry_after: Option<Duration>,
}

impl Refusal {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            retry_after: None,
        }
    }

    /// Says when it may be tried again.
    pub(crate) fn after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    pub(crate) fn failure(&self) -> Failure {
        Failure {
            code: self.code.to_owned(),
            reason: self.message.clone().into_owned(),
        }
    }

    pub(crate) fn body(&self, api: Api) -> Bytes {
        error_body(api, self.status.as_u16(), self.code, &self.message).into()
    }

    /// The answer without a record: for what is not a model run.
    pub(crate) fn response(&self, api: Api) -> Response<AnswerBody> {
        self.respond(HeaderMap::new(), AnswerBody::ready(self.body(api), None))
    }

    pub(crate) fn respond(&self, headers: HeaderMap, body: AnswerBody) -> Response<AnswerBody> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = headers;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        if let Some(wait) = self.retry_after {
            // whole seconds (RFC 9110 section 10.2.3), never too few
            let seconds = wait.as_millis().div_ceil(1000).to_string();
            if let Ok(value) = HeaderValue::from_str(&seconds) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
        }
        response
    }

    pub(crate) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no-such-route",
            "the gateway serves `POST` of `/v1/chat/completions`, `/v1/responses`, `/v1/messages`, `/v1/messages/count_tokens`, `/v1/embeddings` and `/v1/rerank`, and `GET /v1/models`",
        )
    }

    pub(crate) fn closed() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "record-not-durable",
            "the gateway cannot keep records, so it takes no requests; ask its operator to see to the ledger",
        )
    }

    pub(crate) fn resting(rests: Duration) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "upstream-resting",
            "the upstream failed several times in a row and is not asked for a while; nothing was sent",
        )
        .after(Some(rests))
    }

    pub(crate) fn no_entropy() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no-entropy",
            "the gateway's source of randomness failed; ask its operator",
        )
    }

    pub(crate) fn too_large(max: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request-too-large",
            format!("request is larger than the {max} bytes allowed; send less at once"),
        )
    }

    pub(crate) fn encoded() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "request-encoded",
            "request carries `content-encoding`; send it without, so that it can be classified",
        )
    }

    pub(crate) fn unknown_label(known: &[String]) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "label-unknown",
            format!(
                "`x-proofroom-label` names no level of the policy; the levels are `{}`",
                known.join("`, `")
            ),
        )
    }

    pub(crate) fn broken() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "request-broken-off",
            "the request broke off before its end",
        )
    }

    pub(crate) fn unread(error: &RequestError) -> Self {
        Self::new(
            StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST),
            error.code(),
            error.to_string(),
        )
    }

    pub(crate) fn untranslatable(error: &TranslateError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.code(), error.to_string())
    }

    pub(crate) fn unfinished() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "run-lost",
            "the gateway failed while it worked on this request; ask its operator",
        )
    }
}

/// What can go wrong with an upstream once a prompt was sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamFault {
    Unreachable,
    Broken,
    Silent,
    Stalled,
    Endless,
    NotAnApi,
    Encoded,
    CredentialsRefused,
    TooLarge,
    Incomplete,
    ReportedError,
    Unreadable,
    NotTranslatable,
    OtherModel,
    Status,
    /// No receipt for the answer, or one that does not verify; with its code.
    Receipt(&'static str),
    /// The answer to a sealed request is not sealed, or does not open; with its code.
    Sealed(&'static str),
    /// Frames of an event stream that are none, or the upstream's word for a failure within them.
    Frame(FrameFault),
}

impl UpstreamFault {
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Unreachable => "upstream-unreachable",
            Self::Broken => "upstream-broke-off",
            Self::Silent => "upstream-silent",
            Self::Stalled => "upstream-stalled",
            Self::Endless => "upstream-endless",
            Self::NotAnApi => "upstream-not-an-api",
            Self::Encoded => "upstream-encoded",
            Self::CredentialsRefused => "upstream-credentials-refused",
            Self::TooLarge => "upstream-answer-too-large",
            Self::Incomplete => "upstream-answer-incomplete",
            Self::ReportedError => "upstream-reported-error",
            Self::Unreadable => "upstream-answer-unreadable",
            Self::NotTranslatable => "upstream-answer-not-translatable",
            Self::OtherModel => "upstream-answered-another-model",
            Self::Status => "upstream-status",
            Self::Receipt(code) | Self::Sealed(code) => code,
            Self::Frame(fault) => fault.code(),
        }
    }

    fn message(self) -> Cow<'static, str> {
        let words = match self {
            Self::Unreachable => "the upstream cannot be reached; try again later",
            Self::Broken => "the upstream broke off; try again",
            Self::Silent => "the upstream did not begin to answer in time; try again",
            Self::Stalled => "the upstream stopped in the middle of its answer; try again",
            Self::Endless => {
                "the upstream did not come to the end of its answer in time; ask for fewer tokens"
            }
            Self::NotAnApi => {
                "the upstream's answer is not one of a model API; ask the operator to check its address"
            }
            Self::Encoded => {
                "the upstream compressed its answer without being asked to; ask the operator to switch that off"
            }
            Self::CredentialsRefused => {
                "the upstream refused the gateway's key; ask the operator to renew it"
            }
            Self::TooLarge => {
                "the upstream's answer is larger than the gateway passes on; ask for fewer tokens"
            }
            Self::Incomplete => "the upstream's answer ended before it was complete",
            Self::ReportedError => "the upstream reported an error inside its answer",
            Self::Unreadable => "the upstream's answer cannot be read",
            Self::NotTranslatable => {
                "the upstream's answer cannot be said in the format of the client's api"
            }
            Self::OtherModel => {
                "the attested upstream says that another model answered than the one whose evidence was verified"
            }
            Self::Status => "the upstream answered with an error status",
            Self::Receipt(_) => {
                "the provider's receipt for this answer is missing or does not verify; the answer is nobody's word"
            }
            Self::Sealed(_) => {
                "the answer is not, or not all of it, what the attested upstream sealed for this request: it was cut or changed on its way"
            }
            Self::Frame(fault) => return fault.to_string().into(),
        };
        words.into()
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Frame(fault) => {
                StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::BAD_GATEWAY)
            }
            Self::Silent | Self::Stalled | Self::Endless => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    pub(crate) fn refusal(self) -> Refusal {
        Refusal::new(self.status(), self.code(), self.message())
    }
}
