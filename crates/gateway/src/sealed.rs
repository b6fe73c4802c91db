//! Requests that are sealed to the key which an upstream's evidence binds, and their answers, opened as they arrive. Whoever
//! ends TLS on the way sees ciphertext; whatever it cuts or changes is a fault with its code (docs/spec/enclave.md).

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use proofroom_llm::bedrock::FrameFault;
use proofroom_sealing::{
    ANSWER_TYPE, AnswerHead, AnswerOpener, Piece, REQUEST_TYPE, RequestHead, SealError,
    seal_request,
};
use proofroom_serving::{KeyConfig, SEALED_PATH, SEALED_TO_HEADER};

use crate::{
    config::BaseUrl, invoked::InvokedBody, refusal::UpstreamFault, transport::UpstreamResponse,
};

/// The code of an answer that came unsealed to a sealed request: anybody on the way can have written it.
const NOT_SEALED: &str = "answer-not-sealed";

/// What is sent in the place of `request`, which is for below `base`, and what opens its answer. Method, path, headers and body
/// are inside; outside are the place of sealed requests, and the digest of the key.
pub(crate) async fn seal(
    key: &KeyConfig,
    random: &[u8; 32],
    base: &BaseUrl,
    request: Request<Full<Bytes>>,
) -> Result<(Request<Full<Bytes>>, AnswerOpener), SealError> {
    let (parts, body) = request.into_parts();
    let content = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(never) => match never {},
    };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let head = RequestHead {
        method: parts.method.as_str(),
        path: path.strip_prefix(base.prefix.as_str()).unwrap_or(path),
    };
    let fields = parts.headers.iter();
    let fields = fields.map(|(name, value)| (name.as_str(), value.as_bytes()));
    let (sealed, opener) = seal_request(key, random, head, fields, &content)?;
    let mut outer = Request::new(Full::new(Bytes::from(sealed)));
    *outer.method_mut() = Method::POST;
    *outer.uri_mut() = base.join(SEALED_PATH).map_err(|_| SealError::Unsealable)?;
    let headers = outer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(REQUEST_TYPE));
    let digest = HeaderValue::from_str(&key.digest().to_string());
    let digest = digest.map_err(|_| SealError::Unsealable)?;
    headers.insert(HeaderName::from_static(SEALED_TO_HEADER), digest);
    Ok((outer, opener))
}

/// The answer that is sealed in `outer`, once its head was opened; or the code of why there is none.
pub(crate) async fn open(
    outer: Response<Incoming>,
    mut opener: AnswerOpener,
) -> Result<UpstreamResponse, BodyFault> {
    if outer.status() == StatusCode::MISDIRECTED_REQUEST {
        return Err(BodyFault::Sealed(SealError::KeyUnknown.code()));
    }
    let kind = outer.headers().get(header::CONTENT_TYPE);
    if outer.status() != StatusCode::OK || kind.is_none_or(|kind| kind != ANSWER_TYPE) {
        return Err(BodyFault::Sealed(NOT_SEALED));
    }
    let mut body = outer.into_body();
    let head = loop {
        match opener.next()? {
            Some(Piece::Head(head)) => break head,
            Some(Piece::Content(_)) => return Err(SealError::Cut.into()),
            None => {}
        }
        match body.frame().await {
            None => return Err(opener.finish().err().unwrap_or(SealError::Cut).into()),
            Some(frame) => {
                if let Ok(bytes) = frame.map_err(BodyFault::Broken)?.into_data() {
                    opener.push(&bytes);
                }
            }
        }
    };
    let opened = UpstreamBody::Opened(Box::new(Opened {
        body,
        opener: Some(opener),
    }));
    answer(&head, opened).ok_or(BodyFault::Sealed("sealed-message-malformed"))
}

fn answer(head: &AnswerHead, body: UpstreamBody) -> Option<UpstreamResponse> {
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(head.status).ok()?;
    for (name, value) in &head.fields {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        answer
            .headers_mut()
            .append(name, HeaderValue::from_bytes(value).ok()?);
    }
    Some(answer)
}

/// Why the body of an upstream's answer breaks off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyFault {
    #[error("the upstream broke off")]
    Broken(#[source] hyper::Error),
    /// It is sealed, and does not open; with its code.
    #[error("the sealed answer does not open ({0})")]
    Sealed(&'static str),
    /// It came in frames, and they do not hold or say that it failed.
    #[error("the frames of the answer do not hold")]
    Frame(#[from] FrameFault),
}

impl From<SealError> for BodyFault {
    fn from(error: SealError) -> Self {
        Self::Sealed(error.code())
    }
}

impl BodyFault {
    pub(crate) const fn fault(&self) -> UpstreamFault {
        match self {
            Self::Broken(_) => UpstreamFault::Broken,
            Self::Sealed(code) => UpstreamFault::Sealed(code),
            Self::Frame(fault) => UpstreamFault::Frame(*fault),
        }
    }
}

/// The body of an upstream's answer.
pub(crate) enum UpstreamBody {
    Plain(Incoming),
    Opened(Box<Opened>),
    Invoked(Box<InvokedBody>),
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        match &mut *self {
            Self::Plain(body) => {
                let frame = ready!(Pin::new(body).poll_frame(context));
                Poll::Ready(frame.map(|frame| frame.map_err(BodyFault::Broken)))
            }
            Self::Opened(opened) => {
                let content = ready!(opened.poll_content(context)).transpose();
                if !matches!(content, Some(Ok(_))) {
                    opened.opener = None;
                }
                Poll::Ready(content.map(|content| content.map(Frame::data)))
            }
            Self::Invoked(body) => body.poll_said(context),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Plain(body) => body.size_hint(),
            Self::Opened(_) | Self::Invoked(_) => SizeHint::default(),
        }
    }
}

/// A sealed answer whose head was opened. It ends only with the chunk that is marked as its last.
pub(crate) struct Opened {
    body: Incoming,
    /// Gone once the answer has ended, well or not.
    opener: Option<AnswerOpener>,
}

impl Opened {
    /// The next content; `None` at the answer's end.
    fn poll_content(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, BodyFault>> {
        loop {
            let Some(opener) = &mut self.opener else {
                return Poll::Ready(Ok(None));
            };
            if let Some(piece) = opener.next()? {
                return Poll::Ready(content(piece).map(Some));
            }
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else {
                let end = self.opener.take().map_or(Ok(()), AnswerOpener::finish);
                return Poll::Ready(end.map(|()| None).map_err(BodyFault::from));
            };
            if let Ok(bytes) = frame.map_err(BodyFault::Broken)?.into_data() {
                opener.push(&bytes);
            }
        }
    }
}

fn content(piece: Piece) -> Result<Bytes, BodyFault> {
    match piece {
        Piece::Content(mut content) => Ok(Bytes::from(std::mem::take(&mut *content))),
        Piece::Head(_) => Err(BodyFault::Sealed("sealed-message-malformed")),
    }
}
