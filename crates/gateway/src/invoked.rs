//! Runs at Amazon Bedrock's own API: the request says in its path what a request of Messages says in its body, and the answer
//! comes in frames of an event stream, or as an error in AWS's words. Both are what Messages has before anything else here reads
//! them; the record has the digest of the bytes that came.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use http_body::{Body, Frame};
use proofroom_canonical::{Hasher, Wiped};
use proofroom_llm::{
    Delivery,
    bedrock::{EVENT_STREAM, InvokeStream, MAX_ERROR_BYTES, error_answer},
    translate::invoke_body,
};
use proofroom_record::statement::Translated;

use crate::{
    config::invoke_operation,
    headers,
    prompt::Prompt,
    refusal::Refusal,
    sealed::{BodyFault, UpstreamBody},
    transport::UpstreamResponse,
};

/// Which values of this header become a member of the body.
const BETA: &str = "anthropic-beta";
/// What AWS says an error is.
const ERROR_TYPE: &str = "x-amzn-errortype";
/// AWS's name of a request.
const REQUEST_ID: &str = "x-amzn-requestid";

/// A request to `InvokeModel`, and what came of it.
#[derive(Clone)]
pub(crate) struct Invoked {
    delivery: Delivery,
    /// Of the answer's bytes as they came; nothing before its head.
    answer: Arc<Mutex<Option<Hasher>>>,
}

impl Invoked {
    pub(crate) fn new(delivery: Delivery) -> Self {
        Self {
            delivery,
            answer: Arc::default(),
        }
    }

    /// A request of Messages as the body of `InvokeModel`, with what `headers` say of betas.
    pub(crate) fn prompt(messages: &Prompt, headers: &HeaderMap) -> Result<Prompt, Refusal> {
        let betas = headers.get_all(BETA).into_iter();
        let betas = betas.filter_map(|value| value.to_str().ok());
        let betas = betas.flat_map(|value| value.split(',')).map(str::trim);
        let betas: Vec<&str> = betas.filter(|beta| !beta.is_empty()).collect();
        let body = invoke_body(messages.as_slice(), &betas);
        let mut body = body.map_err(|error| Refusal::untranslatable(&error))?;
        Ok(Prompt::new(std::mem::take(&mut *body)))
    }

    /// Makes headers into those of `InvokeModel`.
    pub(crate) fn adjust(&self, headers: &mut HeaderMap) {
        headers::without_apis(headers);
        let json = HeaderValue::from_static("application/json");
        let accept = match self.delivery {
            Delivery::Whole => json.clone(),
            Delivery::Stream => HeaderValue::from_static(EVENT_STREAM),
        };
        headers.insert(header::CONTENT_TYPE, json);
        headers.insert(header::ACCEPT, accept);
    }

    /// What a record says of it. The model's id stands in the record as it was asked for, and not again in the path.
    pub(crate) fn record(&self) -> Translated {
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        Translated {
            endpoint: format!("/model/{{modelId}}/{}", invoke_operation(self.delivery)),
            answer: answer.clone().map(Hasher::finish),
        }
    }

    /// The answer as Messages has it, whose bytes are hashed as they come.
    pub(crate) fn answer(&self, response: UpstreamResponse) -> UpstreamResponse {
        let (mut parts, body) = response.into_parts();
        let kind = parts.headers.get(header::CONTENT_TYPE);
        let framed = kind.is_some_and(|kind| kind.as_bytes().starts_with(EVENT_STREAM.as_bytes()));
        let (mode, kind) = if !parts.status.is_success() {
            let named = parts.headers.get(ERROR_TYPE);
            let named = named
                .and_then(|named| named.to_str().ok())
                .map(str::to_owned);
            let status = parts.status.as_u16();
            let held = Wiped::default();
            (
                Mode::Error {
                    status,
                    named,
                    held,
                },
                Some("application/json"),
            )
        } else if framed {
            (
                Mode::Events(InvokeStream::default()),
                Some("text/event-stream; charset=utf-8"),
            )
        } else {
            (Mode::Whole, None)
        };
        if let Some(kind) = kind {
            let kind = HeaderValue::from_static(kind);
            parts.headers.insert(header::CONTENT_TYPE, kind);
        }
        if let Some(id) = parts.headers.remove(REQUEST_ID) {
            parts
                .headers
                .insert(HeaderName::from_static("request-id"), id);
        }
        self.note(&[]);
        let body = Box::new(InvokedBody {
            body,
            mode,
            invoked: self.clone(),
        });
        Response::from_parts(parts, UpstreamBody::Invoked(body))
    }

    fn note(&self, bytes: &[u8]) {
        let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        answer.get_or_insert_default().update(bytes);
    }
}

/// The body of an answer of Bedrock, as Messages has it.
pub(crate) struct InvokedBody {
    body: UpstreamBody,
    mode: Mode,
    invoked: Invoked,
}

enum Mode {
    /// One document of Messages.
    Whole,
    Events(InvokeStream),
    /// An error, which is read to its end for its words.
    Error {
        status: u16,
        named: Option<String>,
        held: Wiped<Vec<u8>>,
    },
    Ended,
}

impl InvokedBody {
    /// What can be said of what came so far.
    fn said(&mut self) -> Result<Option<Bytes>, BodyFault> {
        let Mode::Events(stream) = &mut self.mode else {
            return Ok(None);
        };
        Ok(stream.next_event()?.map(Bytes::from))
    }

    fn take(&mut self, chunk: Bytes) -> Option<Bytes> {
        self.invoked.note(&chunk);
        match &mut self.mode {
            Mode::Whole => return Some(chunk),
            Mode::Events(stream) => stream.push(&chunk),
            Mode::Error { held, .. } => {
                let room = MAX_ERROR_BYTES.saturating_sub(held.len());
                held.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            }
            Mode::Ended => {}
        }
        None
    }

    /// What the end of the body says.
    fn end(&mut self) -> Result<Option<Bytes>, BodyFault> {
        match std::mem::replace(&mut self.mode, Mode::Ended) {
            Mode::Whole | Mode::Ended => Ok(None),
            Mode::Events(stream) => Ok(stream.finish().map(|()| None)?),
            Mode::Error {
                status,
                named,
                held,
            } => Ok(Some(error_answer(status, named.as_deref(), &held).into())),
        }
    }

    pub(crate) fn poll_said(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        loop {
            let said = match self.said() {
                Ok(None) if matches!(self.mode, Mode::Ended) => return Poll::Ready(None),
                Ok(None) => match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                    None => match self.end().transpose() {
                        None => return Poll::Ready(None),
                        Some(last) => last,
                    },
                    Some(Err(fault)) => Err(fault),
                    Some(Ok(frame)) => {
                        match frame.into_data().ok().and_then(|chunk| self.take(chunk)) {
                            None => continue,
                            Some(chunk) => Ok(chunk),
                        }
                    }
                },
                Ok(Some(event)) => Ok(event),
                Err(fault) => Err(fault),
            };
            if said.is_err() {
                self.mode = Mode::Ended;
            }
            return Poll::Ready(Some(said.map(Frame::data)));
        }
    }
}
