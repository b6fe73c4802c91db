//! Answers of the shim's own: evidence, receipts and refusals.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{Either, Full};

use crate::{answer::Signed, sealed::Sealed};

/// The body of an answer before it is sealed.
pub(crate) type Body = Either<Full<Bytes>, Signed>;
pub(crate) type Reply = Response<Body>;
/// An answer as it goes out.
pub(crate) type Outgoing = Response<Either<Body, Box<Sealed>>>;

/// A JSON document.
pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    let mut response = Response::new(Either::Left(Full::new(body.into())));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// An error in the form of OpenAI's API. Says nothing of what was asked.
pub(crate) fn refusal(status: StatusCode, code: &str) -> Reply {
    json(
        status,
        format!("{{\"error\":{{\"code\":\"{code}\",\"message\":\"{code}\"}}}}"),
    )
}
