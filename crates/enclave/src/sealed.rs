//! Requests that are sealed to the enclave's key, and their answers: opened and sealed as they pass.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
};
use http_body::Frame;
use http_body_util::{BodyExt as _, Either};
use hyper::body::Incoming;
use proofroom_sealing::{
    ANSWER_TYPE, AnswerSealer, AnswerSecret, KeyPair, OpenedRequest, REQUEST_TYPE, RequestOpener,
    SealError,
};
use proofroom_serving::SEALED_TO_HEADER;
use tokio::time::timeout;

use crate::{
    keys::random,
    proxy::{ARRIVING, MAX_REQUEST_BYTES, Refused},
    reply::{Body, Outgoing, Reply},
};

/// Opens a request while it arrives.
pub(crate) async fn open(
    key: &Arc<KeyPair>,
    request: Request<Incoming>,
) -> Result<OpenedRequest, Refused> {
    is_for(key, request.headers())?;
    match timeout(ARRIVING, arrived(Arc::clone(key), request.into_body())).await {
        Ok(opened) => opened,
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "request-late")),
    }
}

/// Whether the request is sealed, and to this key as far as it says.
fn is_for(key: &KeyPair, headers: &HeaderMap) -> Result<(), Refused> {
    let kind = headers.get(header::CONTENT_TYPE);
    if kind.is_none_or(|kind| kind != REQUEST_TYPE) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "sealed-media-type"));
    }
    let named = headers.get(SEALED_TO_HEADER);
    let digest = key.config().digest().to_string();
    match named.is_none_or(|named| *named == *digest) {
        true => Ok(()),
        false => Err(refused(SealError::KeyUnknown)),
    }
}

async fn arrived(key: Arc<KeyPair>, mut body: Incoming) -> Result<OpenedRequest, Refused> {
    let mut opener = RequestOpener::new(key, MAX_REQUEST_BYTES);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| (StatusCode::BAD_REQUEST, "request-broken"))?;
        if let Ok(chunk) = frame.into_data() {
            opener.push(&chunk).map_err(refused)?;
        }
    }
    opener.finish().map_err(refused)
}

const fn refused(error: SealError) -> Refused {
    match error {
        // another enclave may have that key (RFC 9110 section 15.5.20)
        SealError::KeyUnknown => (StatusCode::MISDIRECTED_REQUEST, error.code()),
        SealError::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "request-too-large"),
        _ => (StatusCode::BAD_REQUEST, error.code()),
    }
}

/// The request that was sealed; `None` where it is none of HTTP.
pub(crate) fn inner(sealed: proofroom_sealing::Request) -> Option<Request<Bytes>> {
    let uri: Uri = sealed.path.parse().ok()?;
    // a path, and neither another server's nor `*`
    let is_path = uri.authority().is_none() && uri.path().starts_with('/');
    let mut headers = HeaderMap::new();
    for (name, value) in &sealed.fields {
        let mut value = HeaderValue::from_bytes(value).ok()?;
        value.set_sensitive(true);
        headers.append(HeaderName::from_bytes(name.as_bytes()).ok()?, value);
    }
    let mut content = sealed.content;
    let mut request = Request::new(Bytes::from(std::mem::take(&mut *content)));
    *request.method_mut() = Method::from_bytes(sealed.method.as_bytes()).ok()?;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    is_path.then_some(request)
}

/// Seals an answer. Its status and headers are inside; outside every answer looks the same.
pub(crate) fn seal(secret: AnswerSecret, answer: Reply) -> Result<Outgoing, Refused> {
    let failed = (StatusCode::INTERNAL_SERVER_ERROR, "sealing-failed");
    let random = random().map_err(|_| failed)?;
    let (parts, body) = answer.into_parts();
    let fields = parts.headers.iter();
    let fields = fields.map(|(name, value)| (name.as_str(), value.as_bytes()));
    let begun = AnswerSealer::begin(secret, &random, parts.status.as_u16(), fields);
    let (sealer, first) = begun.map_err(|_| failed)?;
    let sealed = Sealed {
        body,
        first: Some(first.into()),
        sealer: Some(sealer),
    };
    let mut response = Response::new(Either::Right(Box::new(sealed)));
    let kind = HeaderValue::from_static(ANSWER_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    let stored = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, stored);
    Ok(response)
}

/// Why a sealed answer breaks off: it never gets the chunk that is marked as its last.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsealed {
    #[error("the answer broke off")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the answer cannot be sealed")]
    Sealing(#[from] SealError),
}

/// An answer that is sealed as it passes.
pub(crate) struct Sealed {
    body: Body,
    first: Option<Bytes>,
    /// Gone once the last chunk was sealed, or the answer broke off.
    sealer: Option<AnswerSealer>,
}

impl Sealed {
    fn take(&mut self, next: Option<Frame<Bytes>>) -> Result<Frame<Bytes>, Unsealed> {
        let sealed = match (next, self.sealer.take()) {
            (_, None) => Vec::new(),
            (None, Some(sealer)) => sealer.finish()?,
            (Some(frame), Some(mut sealer)) => {
                // a model's server's trailers are not passed on
                let content = frame.into_data().unwrap_or_default();
                let sealed = sealer.content(&content)?;
                self.sealer = Some(sealer);
                sealed
            }
        };
        Ok(Frame::data(sealed.into()))
    }
}

impl http_body::Body for Sealed {
    type Data = Bytes;
    type Error = Unsealed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Unsealed>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if self.sealer.is_none() {
            return Poll::Ready(None);
        }
        let next = ready!(Pin::new(&mut self.body).poll_frame(context)).transpose();
        let sealed = match next {
            Ok(next) => self.take(next),
            Err(error) => {
                self.sealer = None;
                Err(Unsealed::Answer(error))
            }
        };
        Poll::Ready(Some(sealed))
    }
}
