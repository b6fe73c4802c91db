//! The answer on its way to the client: every chunk goes out at once, and is hashed and metered as
//! it passes. Nothing is changed and nothing is kept.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use proofroom_canonical::Hasher;
use proofroom_llm::{Ending, Framing, ResponseMeter, error_event};
use proofroom_record::{event::RunStatus, statement::ModelResponse};
use tokio::sync::mpsc;

use crate::{
    answer::{AnswerBody, AnswerError, AnswerFrame, FRAMES_AHEAD, trailers},
    draft::{Draft, End, tokens},
    headers,
    refusal::UpstreamFault,
    run::Reply,
    transport::UpstreamResponse,
};

/// Why the flow of chunks ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The upstream ended its body.
    End,
    ClientGone,
    Fault(UpstreamFault),
}

/// Everything that went to the client so far.
pub(crate) struct Passed {
    pub(crate) hasher: Hasher,
    /// Reads what the upstream sent.
    pub(crate) meter: ResponseMeter,
    pub(crate) bytes: u64,
}

impl Passed {
    fn take(&mut self, chunk: &[u8]) {
        self.hasher.update(chunk);
        self.bytes = self.bytes.saturating_add(chunk.len() as u64);
        self.meter.push(chunk);
    }
}

/// Streams `response` to the client and closes the run's record at its end.
pub(crate) async fn stream(draft: Draft, response: UpstreamResponse, reply: Reply) {
    let core = Arc::clone(&draft.core);
    let api = draft.opening.api;
    let (parts, body) = response.into_parts();
    let framing = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map_or(Framing::Json, Framing::of_content_type);
    let (frames, receiver) = mpsc::channel(FRAMES_AHEAD);
    let mut head = Response::new(AnswerBody::stream(receiver));
    *head.status_mut() = parts.status;
    *head.headers_mut() = headers::to_client(&parts.headers);
    head.headers_mut().extend(draft.headers());
    let mut passed = Passed {
        hasher: Hasher::new(),
        meter: ResponseMeter::new(api, framing),
        bytes: 0,
    };
    let stop = match reply.send(head) {
        Err(_) => Stop::ClientGone,
        Ok(()) => {
            let limits = Limits {
                idle: core.limits.idle,
                bytes: core.limits.answer_bytes,
            };
            pass(body, &frames, &mut passed, limits).await
        }
    };
    if let (Stop::Fault(fault), Framing::EventStream) = (stop, framing) {
        let refusal = fault.refusal();
        let status = refusal.status.as_u16();
        let event = error_event(api, status, &refusal.code, &refusal.message);
        let event = Bytes::from(event);
        let sent = frames.send_timeout(Ok(Frame::data(event.clone())), core.limits.idle);
        if sent.await.is_ok() {
            passed.hasher.update(&event);
            passed.bytes = passed.bytes.saturating_add(event.len() as u64);
        }
    }
    end(draft, parts.status, passed, stop, &frames).await;
}

#[derive(Clone, Copy)]
struct Limits {
    idle: Duration,
    bytes: u64,
}

/// Passes chunks on until something ends it. Dropping `body` on return closes the upstream's
/// connection (HTTP/1.1) or resets its stream (HTTP/2) at once.
async fn pass(
    mut body: Incoming,
    frames: &mpsc::Sender<AnswerFrame>,
    passed: &mut Passed,
    limits: Limits,
) -> Stop {
    loop {
        let next = tokio::select! {
            biased;
            () = frames.closed() => return Stop::ClientGone,
            next = tokio::time::timeout(limits.idle, body.frame()) => next,
        };
        let frame = match next {
            Err(_) => return Stop::Fault(UpstreamFault::Stalled),
            Ok(None) => return Stop::End,
            Ok(Some(Err(_))) => return Stop::Fault(UpstreamFault::Broken),
            Ok(Some(Ok(frame))) => frame,
        };
        // an upstream's trailers are not part of either API
        let Ok(chunk) = frame.into_data() else {
            continue;
        };
        if passed.bytes.saturating_add(chunk.len() as u64) > limits.bytes {
            return Stop::Fault(UpstreamFault::TooLarge);
        }
        // a client that takes nothing for so long counts as gone
        let sent = frames.send_timeout(Ok(Frame::data(chunk.clone())), limits.idle);
        if sent.await.is_err() {
            return Stop::ClientGone;
        }
        passed.take(&chunk);
    }
}

pub(crate) async fn end(
    draft: Draft,
    http_status: StatusCode,
    passed: Passed,
    stop: Stop,
    frames: &mpsc::Sender<AnswerFrame>,
) {
    let Passed {
        hasher,
        meter,
        bytes,
    } = passed;
    let said_complete = meter.is_complete();
    let metered = meter.finish();
    let fault = match (stop, &metered.ending) {
        // a client may hang up on `[DONE]` without waiting for the end of the body
        (Stop::ClientGone, _) if said_complete && http_status.is_success() => None,
        (Stop::ClientGone, _) => {
            let response = response(&draft, http_status, hasher, bytes, metered.usage);
            return close(draft, RunStatus::Cancelled, None, response, frames).await;
        }
        (Stop::Fault(fault), _) => Some(fault),
        (Stop::End, _) if !http_status.is_success() => Some(UpstreamFault::Status),
        (Stop::End, Ending::Complete) => None,
        (Stop::End, Ending::Truncated) => Some(UpstreamFault::Incomplete),
        (Stop::End, Ending::UpstreamError { .. }) => Some(UpstreamFault::ReportedError),
        (Stop::End, Ending::Unreadable { .. }) => Some(UpstreamFault::Unreadable),
    };
    let status = if fault.is_some() {
        RunStatus::UpstreamError
    } else {
        RunStatus::Complete
    };
    let response = response(&draft, http_status, hasher, bytes, metered.usage);
    close(draft, status, fault, response, frames).await;
}

fn response(
    draft: &Draft,
    http_status: StatusCode,
    hasher: Hasher,
    bytes: u64,
    usage: proofroom_llm::Usage,
) -> ModelResponse {
    ModelResponse {
        http_status: http_status.as_u16(),
        digest: hasher.finish(),
        bytes,
        tokens: tokens(draft.spoken(), usage),
    }
}

/// Record first; only then does the client see the end of its answer.
async fn close(
    draft: Draft,
    status: RunStatus,
    fault: Option<UpstreamFault>,
    response: ModelResponse,
    frames: &mpsc::Sender<AnswerFrame>,
) {
    let end = End {
        status,
        failure: fault.map(|fault| fault.refusal().failure()),
        response: Some(response),
    };
    let last = match draft.close(end).await {
        Ok(record) => Ok(Frame::trailers(trailers(record, status))),
        Err(_) => Err(AnswerError::RecordNotDurable),
    };
    // a client that is gone needs no trailers; the record is durable
    drop(frames.send(last).await);
}
