//! The answer on its way to the client: every chunk goes out at once, and is hashed and metered as
//! it passes. Nothing is changed, but for placeholders that are put back, and nothing is kept.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode, header, response::Parts};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use proofroom_canonical::{Hasher, Wiped};
use proofroom_llm::{Ending, Framing, Metered, ResponseMeter, Restorer, error_event};
use proofroom_record::{
    event::RunStatus,
    statement::{AnsweredBy, Assurance, ModelResponse},
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use crate::{
    answer::{AnswerBody, AnswerError, AnswerPart, FRAMES_AHEAD, trailers},
    draft::{Draft, End, tokens},
    headers,
    receipt::{self, Tap},
    refusal::UpstreamFault,
    run::Reply,
    sealed::{BodyFault, UpstreamBody},
    trace::FinishReason,
    transport::UpstreamResponse,
    whole,
};

/// Why the flow of chunks ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The upstream ended its body.
    End,
    ClientGone,
    Fault(UpstreamFault),
}

/// Everything that went to the client, or came from the upstream, so far.
pub(crate) struct Passed {
    pub(crate) hasher: Hasher,
    /// Reads what the upstream sent.
    pub(crate) meter: ResponseMeter,
    pub(crate) bytes: u64,
}

impl Passed {
    pub(crate) fn new(meter: ResponseMeter) -> Self {
        Self {
            hasher: Hasher::new(),
            meter,
            bytes: 0,
        }
    }

    /// Whether `more` bytes would make it more than an answer may have.
    pub(crate) const fn exceeds(&self, more: usize, limits: Limits) -> bool {
        self.bytes.saturating_add(more as u64) > limits.bytes
    }

    pub(crate) fn take(&mut self, chunk: &[u8]) {
        self.meter.push(chunk);
        self.gave(chunk);
    }

    /// Takes all that is left of an answer.
    pub(crate) fn take_last(&mut self, rest: &[u8]) {
        self.meter.push_last(rest);
        self.gave(rest);
    }

    fn gave(&mut self, chunk: &[u8]) {
        self.hasher.update(chunk);
        self.bytes = self.bytes.saturating_add(chunk.len() as u64);
    }
}

/// What is kept back of a stream that needs a receipt: all from the event on that says it is complete.
/// Clients read no further than that, so whatever is wrong has to come before it.
#[derive(Default)]
pub(crate) struct EndMark {
    wanted: bool,
    held: Wiped<Vec<u8>>,
}

impl EndMark {
    pub(crate) fn of(draft: &Draft) -> Self {
        Self {
            wanted: draft.signed.is_some(),
            held: Wiped::default(),
        }
    }

    /// Whether `chunk` was kept back, given what the meter has read up to its end.
    pub(crate) fn keeps(&mut self, chunk: &[u8], meter: &ResponseMeter) -> bool {
        let keeps = self.wanted && meter.is_complete();
        if keeps {
            self.held.extend_from_slice(chunk);
        }
        keeps
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn release(mut self) -> Vec<u8> {
        std::mem::take(&mut *self.held)
    }
}

/// How an answer with this head is cut.
pub(crate) fn framing(parts: &Parts) -> Framing {
    let kind = parts.headers.get(header::CONTENT_TYPE);
    kind.and_then(|value| value.to_str().ok())
        .map_or(Framing::Json, Framing::of_content_type)
}

/// Gives `response` to the client and closes the run's record at its end.
pub(crate) async fn answer(mut draft: Box<Draft>, response: UpstreamResponse, reply: Reply) {
    let (parts, body) = response.into_parts();
    let framing = framing(&parts);
    let api = draft.opening.api;
    let passed = Passed::new(ResponseMeter::new(api, framing));
    let placeholders = std::mem::take(&mut draft.placeholders);
    let restorer = (!placeholders.is_empty()).then(|| Restorer::new(api, framing, placeholders));
    let body = Arriving::new(body, &draft, &parts);
    match framing {
        Framing::Json => whole::answer(draft, parts, (body, restorer), passed, reply).await,
        Framing::EventStream => {
            let stream = stream(draft, parts, (body, framing, restorer), passed, reply);
            Box::pin(stream).await;
        }
    }
}

/// Streams a body to the client, with what `restorer` knows put back.
pub(crate) async fn stream(
    mut draft: Box<Draft>,
    parts: Parts,
    (mut body, framing, mut restorer): (Arriving, Framing, Option<Restorer>),
    mut passed: Passed,
    reply: Reply,
) {
    let core = Arc::clone(&draft.core);
    let api = draft.opening.api;
    let (frames, receiver) = mpsc::channel(FRAMES_AHEAD);
    let head = head(&draft, &parts, AnswerBody::stream(receiver));
    let http_status = parts.status;
    // its headers are parts of the buffer into which they were read
    drop(parts);
    let limits = Limits::of(&core.limits);
    let mut out = Out {
        frames: &frames,
        passed: &mut passed,
        mark: EndMark::of(&draft),
        limits,
    };
    let stop = match reply.send(head) {
        Err(_) => Stop::ClientGone,
        Ok(()) => pass(&mut body, &mut out, restorer.as_mut()).await,
    };
    let mark = std::mem::take(&mut out.mark);
    let stop = match receipt::settle(&mut draft, body, http_status, stop).await {
        Stop::End => out
            .give(mark.release().into())
            .await
            .err()
            .unwrap_or(Stop::End),
        stop => stop,
    };
    note_restored(&mut draft, restorer.as_ref());
    if let (Stop::Fault(fault), Framing::EventStream) = (stop, framing) {
        let refusal = fault.refusal();
        let status = refusal.status.as_u16();
        let event = error_event(api, status, refusal.code, &refusal.message);
        let event = Bytes::from(event);
        let sent = frames.send_timeout(AnswerPart::Data(event.clone()), core.limits.idle);
        if sent.await.is_ok() {
            passed.hasher.update(&event);
            passed.bytes = passed.bytes.saturating_add(event.len() as u64);
        }
    }
    finish(draft, http_status, passed, stop, &frames).await;
}

/// Writes into the record how often something was put back.
pub(crate) const fn note_restored(draft: &mut Draft, restorer: Option<&Restorer>) {
    if let (Some(restored), Some(redaction)) = (restorer, &mut draft.redaction) {
        redaction.restored = restored.restored();
    }
}

/// Record first; only then does the client see the end of its answer.
pub(crate) async fn finish(
    draft: Box<Draft>,
    http_status: StatusCode,
    passed: Passed,
    stop: Stop,
    frames: &mpsc::Sender<AnswerPart>,
) {
    let (end, status) = end(&draft, http_status, passed, stop);
    let last = match draft.close(end).await {
        Ok(record) => AnswerPart::Trailers(Box::new(trailers(record, status))),
        Err(_) => AnswerPart::Broken(AnswerError::RecordNotDurable),
    };
    // a client that is gone needs no trailers; the record is kept
    drop(frames.send(last).await);
}

/// The head of the client's answer.
pub(crate) fn head(draft: &Draft, parts: &Parts, body: AnswerBody) -> Response<AnswerBody> {
    let mut head = Response::new(body);
    *head.status_mut() = parts.status;
    *head.headers_mut() = headers::to_client(&parts.headers);
    draft.put_headers(head.headers_mut());
    head
}

/// What bounds an answer whose head is there.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) idle: Duration,
    pub(crate) bytes: u64,
    until: Instant,
}

impl Limits {
    pub(crate) fn of(limits: &crate::Limits) -> Self {
        Self {
            idle: limits.idle,
            bytes: limits.answer_bytes,
            until: Instant::now() + limits.answer,
        }
    }

    /// When an upstream that says nothing from now on is given up, and as what.
    fn patience(self) -> (Instant, UpstreamFault) {
        let stalled = Instant::now() + self.idle;
        if stalled < self.until {
            (stalled, UpstreamFault::Stalled)
        } else {
            (self.until, UpstreamFault::Endless)
        }
    }
}

/// The body of an upstream's answer. Dropping it closes the upstream's connection (HTTP/1.1) or
/// resets its stream (HTTP/2) at once.
pub(crate) struct Arriving {
    body: UpstreamBody,
    /// What was read of it before.
    read: Option<Bytes>,
    /// What came of looking whether more had arrived: an end, or a fault.
    ended: Option<Option<Result<Frame<Bytes>, BodyFault>>>,
    /// Where a receipt for the answer is required; apart, so that a run without one is small.
    tap: Option<Box<Tap>>,
}

impl Arriving {
    pub(crate) fn new(body: UpstreamBody, draft: &Draft, parts: &Parts) -> Self {
        Self {
            body,
            read: None,
            ended: None,
            tap: draft.signed.is_some().then(|| Box::new(Tap::new(parts))),
        }
    }

    /// How many bytes there are at least, as far as is known.
    pub(crate) fn expected(&self) -> usize {
        let read = self.read.as_ref().map_or(0, Bytes::len) as u64;
        let all = read.saturating_add(self.body.size_hint().lower());
        usize::try_from(all).unwrap_or(usize::MAX)
    }

    /// What came of the upstream, for its receipt; closes the connection unless it is at its end.
    pub(crate) fn into_tap(self) -> Option<Box<Tap>> {
        self.tap
    }

    fn note(&mut self, chunk: &[u8]) {
        if let Some(tap) = &mut self.tap {
            tap.take(chunk);
        }
    }

    /// This body with `read`, which was taken out of it, in front.
    pub(crate) fn with(self, read: Bytes) -> Self {
        Self {
            read: Some(read),
            ..self
        }
    }

    /// The next chunk, or why there is none.
    pub(crate) async fn next(&mut self, limits: Limits) -> Result<Bytes, Stop> {
        if let Some(read) = self.read.take() {
            return Ok(read);
        }
        loop {
            let (until, late) = limits.patience();
            let next = match self.ended.take() {
                Some(ended) => Ok(ended),
                None => timeout_at(until, self.body.frame()).await,
            };
            let frame = match next {
                Err(_) => return Err(Stop::Fault(late)),
                Ok(None) => return Err(Stop::End),
                Ok(Some(Err(error))) => return Err(Stop::Fault(error.fault())),
                Ok(Some(Ok(frame))) => frame,
            };
            // an upstream's trailers are not part of either API
            if let Ok(chunk) = frame.into_data() {
                self.note(&chunk);
                return Ok(chunk);
            }
        }
    }

    /// A chunk that has arrived already. The connection hands over one chunk a turn, so it is given a
    /// turn.
    async fn arrived(&mut self) -> Option<Bytes> {
        if self.ended.is_some() {
            return None;
        }
        for turn in 0..2 {
            if turn > 0 {
                tokio::task::yield_now().await;
            }
            let body = &mut self.body;
            let polled = poll_fn(|context| {
                Poll::Ready(match Pin::new(&mut *body).poll_frame(context) {
                    Poll::Ready(frame) => Some(frame),
                    Poll::Pending => None,
                })
            });
            match polled.await {
                None => {}
                Some(Some(Ok(frame))) => {
                    let chunk = frame.into_data().ok()?;
                    self.note(&chunk);
                    return Some(chunk);
                }
                Some(ended) => {
                    self.ended = Some(ended);
                    return None;
                }
            }
        }
        None
    }
}

/// Chunks that have arrived go out together, up to so many bytes: a write to a socket costs more than
/// an event.
const TOGETHER_BYTES: usize = 16 * 1024;

/// The way to the client.
struct Out<'a> {
    frames: &'a mpsc::Sender<AnswerPart>,
    passed: &'a mut Passed,
    mark: EndMark,
    limits: Limits,
}

impl Out<'_> {
    /// Meters a chunk, and gives it unless it is kept back.
    async fn hand_on(&mut self, chunk: Bytes) -> Result<(), Stop> {
        self.passed.meter.push(&chunk);
        if self.mark.keeps(&chunk, &self.passed.meter) {
            return Ok(());
        }
        self.give(chunk).await
    }

    /// Gives a chunk that was metered.
    async fn give(&mut self, chunk: Bytes) -> Result<(), Stop> {
        if chunk.is_empty() {
            return Ok(());
        }
        // a client that takes nothing for so long counts as gone
        let part = AnswerPart::Data(chunk.clone());
        let sent = self.frames.send_timeout(part, self.limits.idle);
        if sent.await.is_err() {
            return Err(Stop::ClientGone);
        }
        self.passed.gave(&chunk);
        Ok(())
    }
}

/// Passes chunks on until something ends it.
async fn pass(body: &mut Arriving, out: &mut Out<'_>, mut restorer: Option<&mut Restorer>) -> Stop {
    let (frames, limits) = (out.frames, out.limits);
    let mut first = true;
    let ended = loop {
        let next = tokio::select! {
            biased;
            () = frames.closed() => return Stop::ClientGone,
            next = body.next(limits) => next,
        };
        let chunk = match next {
            Err(stop) => break stop,
            // the first is what the client waits for
            Ok(chunk) if std::mem::take(&mut first) => apart(chunk),
            Ok(chunk) => together(apart(chunk), body).await,
        };
        let more = out.mark.len().saturating_add(chunk.len());
        if out.passed.exceeds(more, limits) {
            break Stop::Fault(UpstreamFault::TooLarge);
        }
        let chunk = match &mut restorer {
            Some(restorer) => Bytes::from(restorer.push(&chunk)),
            None => chunk,
        };
        if let Err(stop) = out.hand_on(chunk).await {
            return stop;
        }
    };
    // what may have been the beginning of a placeholder
    let held = restorer.map_or_else(Vec::new, Restorer::finish);
    match out.hand_on(Bytes::from(held)).await {
        Ok(()) => ended,
        Err(stop) => stop,
    }
}

/// The most bytes that are copied.
const EVENT_BYTES: usize = 1024;

/// A chunk of the size of an event, in memory of its own: the connection can then read the next into the buffer of
/// which this was part, and needs no other.
fn apart(chunk: Bytes) -> Bytes {
    if chunk.len() <= EVENT_BYTES {
        Bytes::copy_from_slice(&chunk)
    } else {
        chunk
    }
}

/// `chunk` and those behind it that have arrived.
async fn together(chunk: Bytes, body: &mut Arriving) -> Bytes {
    let Some(second) = body.arrived().await else {
        return chunk;
    };
    let mut all = BytesMut::from(chunk);
    all.extend_from_slice(&second);
    while all.len() < TOGETHER_BYTES
        && let Some(next) = body.arrived().await
    {
        all.extend_from_slice(&next);
    }
    all.freeze()
}

/// How a run ended whose answer came so far.
pub(crate) fn end(
    draft: &Draft,
    http_status: StatusCode,
    passed: Passed,
    stop: Stop,
) -> (End, RunStatus) {
    let Passed {
        hasher,
        meter,
        bytes,
    } = passed;
    let said_complete = meter.is_complete();
    let metered = meter.finish();
    let finish = metered.stop.as_deref().map(FinishReason::of);
    let response = response(draft, http_status, (hasher, bytes), &metered);
    let (status, fault) = match (stop, &metered.ending) {
        // a client may hang up on `[DONE]` without waiting for the end of the body; where a receipt is needed, that was
        // kept back until it was there
        (Stop::ClientGone, _)
            if said_complete && http_status.is_success() && draft.signed.is_none() =>
        {
            (RunStatus::Complete, None)
        }
        (Stop::ClientGone, _) => (RunStatus::Cancelled, None),
        (Stop::Fault(fault), _) => (RunStatus::UpstreamError, Some(fault)),
        (Stop::End, ending) => {
            match fault_of(http_status, ending).or_else(|| other_model(draft, &response)) {
                None => (RunStatus::Complete, None),
                fault => (RunStatus::UpstreamError, fault),
            }
        }
    };
    let end = End {
        status,
        failure: fault.map(UpstreamFault::refusal),
        response: Some(response),
        answered: Some(http_status),
        finish,
    };
    (end, status)
}

/// What is wrong with an answer that came to its end.
fn fault_of(http_status: StatusCode, ending: &Ending) -> Option<UpstreamFault> {
    if !http_status.is_success() {
        return Some(UpstreamFault::Status);
    }
    match ending {
        Ending::Complete => None,
        Ending::Truncated => Some(UpstreamFault::Incomplete),
        Ending::UpstreamError { .. } => Some(UpstreamFault::ReportedError),
        Ending::Unreadable { .. } => Some(UpstreamFault::Unreadable),
    }
}

/// What was verified is the model that was asked for.
fn other_model(draft: &Draft, response: &ModelResponse) -> Option<UpstreamFault> {
    let facts = draft.upstream.as_ref()?;
    let attested = matches!(facts.assurance, Assurance::Attested { .. });
    (attested && response.answered_by == Some(AnsweredBy::Other))
        .then_some(UpstreamFault::OtherModel)
}

fn response(
    draft: &Draft,
    http_status: StatusCode,
    (hasher, bytes): (Hasher, u64),
    metered: &Metered,
) -> ModelResponse {
    let named = metered.model.as_deref();
    ModelResponse {
        http_status: http_status.as_u16(),
        digest: hasher.finish(),
        bytes,
        tokens: tokens(draft.spoken(), metered.usage),
        answered_by: named.map(|named| AnsweredBy::compare(&draft.asked_model, named)),
        receipt: draft.receipt.clone(),
    }
}
