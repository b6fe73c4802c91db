//! Bodies of the Room API: whole ones with a cap, streamed ones with back-pressure.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use proofroom_gateway::AnswerBody;
use proofroom_record::room_api::ErrorAnswer;
use serde::Serialize;

/// Why a streamed answer broke off.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// The body of every answer.
pub(super) type Body = UnsyncBoxBody<Bytes, BodyError>;

/// An answer that is not a success: status, stable code, words for a person.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Refusal {
    /// The room asked for something that it may not have or that makes no sense.
    pub(super) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            code,
            message: message.into(),
        }
    }

    /// The host cannot do its part: the session must end.
    pub(super) fn failed(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code,
            message: message.into(),
        }
    }

    pub(super) fn answer(&self) -> Response<Body> {
        json(self.status, &ErrorAnswer::new(self.code, &self.message))
    }
}

/// Reads a whole body of at most `max` bytes.
pub(super) async fn collect(body: Incoming, max: usize) -> Result<Bytes, Refusal> {
    match Limited::new(body, max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            code: "body-too-large",
            message: format!("the body has more than {max} bytes"),
        }),
        Err(error) => Err(Refusal::bad("body-broke-off", error.to_string())),
    }
}

/// A JSON answer.
pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response<Body> {
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    let mut answer = Response::new(whole(Bytes::from(bytes)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    answer
}

/// An answer of the gateway, passed on frame by frame, trailers included; `passed` is called with
/// each.
pub(super) fn of_gateway(body: AnswerBody, passed: impl Fn() + Send + 'static) -> Body {
    body.map_frame(move |frame| {
        passed();
        frame
    })
    .map_err(BodyError::from)
    .boxed_unsync()
}

/// A body that is there already.
fn whole(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}
