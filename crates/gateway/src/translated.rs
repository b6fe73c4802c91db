//! Runs whose upstream does not speak the client's API: the request is said in the upstream's format,
//! and each event of the answer in the client's as soon as it is there. The record has the digests of
//! both, in both directions.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, response::Parts};
use proofroom_canonical::{Digest, Hasher, Wiped};
use proofroom_llm::{
    Api, Framing, MAX_ANSWER_BYTES, ResponseMeter, Restorer, UsageReport, error_event,
    translate::{StreamTranslator, TranslateError, Translation, UsageEvent},
};
use proofroom_record::{event::RunStatus, statement::Translated};
use tokio::sync::mpsc;

use crate::{
    answer::{AnswerBody, AnswerPart, FRAMES_AHEAD},
    draft::Draft,
    headers,
    prompt::Prompt,
    pump::{self, Arriving, EndMark, Limits, Passed, Stop},
    receipt,
    refusal::{Refusal, UpstreamFault},
    run::{Reply, answer_alone},
    transport::UpstreamResponse,
    whole,
};

/// The version of Messages that the translation speaks.
const ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// How a run is translated, and what its record says of that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Translating {
    pub(crate) translation: Translation,
    usage: UsageEvent,
    answer: Option<Digest>,
}

impl Translating {
    /// How a request in `client` is said in `spoken`, unless they are the same.
    pub(crate) fn between(client: Api, spoken: Api, usage: UsageReport) -> Option<Self> {
        Some(Self {
            translation: Translation::between(client, spoken)?,
            usage: match usage {
                UsageReport::Expected => UsageEvent::Asked,
                UsageReport::NotRequested => UsageEvent::NotAsked,
            },
            answer: None,
        })
    }

    /// The request in the upstream's format, for the model that it serves.
    pub(crate) fn prompt(&self, received: &Prompt, model: &str) -> Result<Prompt, Refusal> {
        let said = self.translation.request(received.as_slice(), model);
        let mut said = said.map_err(|error| Refusal::untranslatable(&error))?;
        Ok(Prompt::new(std::mem::take(&mut *said)))
    }

    pub(crate) fn record(self) -> Translated {
        Translated {
            endpoint: self.translation.upstream().path().to_owned(),
            answer: self.answer,
        }
    }
}

/// Makes the headers of a request into those of `spoken`.
pub(crate) fn adjust(headers: &mut HeaderMap, spoken: Api) {
    headers::without_apis(headers);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if spoken == Api::Messages {
        let name = HeaderName::from_static("anthropic-version");
        headers.insert(name, ANTHROPIC_VERSION);
    }
}

/// Says `response` in the client's format and closes the run's record at its end.
pub(crate) async fn stream(
    draft: Box<Draft>,
    translating: Translating,
    response: UpstreamResponse,
    reply: Reply,
) {
    let (parts, body) = response.into_parts();
    let framing = pump::framing(&parts);
    let body = Arriving::new(body, &draft, &parts);
    let exchange = Exchange {
        draft,
        translating,
        parts,
    };
    match framing {
        Framing::EventStream if exchange.parts.status.is_success() => {
            events(exchange, body, reply).await;
        }
        _ => whole(exchange, body, reply).await,
    }
}

/// A run that is being answered.
struct Exchange {
    draft: Box<Draft>,
    translating: Translating,
    parts: Parts,
}

impl Exchange {
    fn head(&self, kind: &'static str, body: AnswerBody) -> Response<AnswerBody> {
        let mut head = pump::head(&self.draft, &self.parts, body);
        let kind = HeaderValue::from_static(kind);
        head.headers_mut().insert(header::CONTENT_TYPE, kind);
        head
    }

    /// Notes what the upstream sent.
    fn note(&mut self, hasher: Hasher) {
        self.translating.answer = Some(hasher.finish());
        self.draft.translating = Some(self.translating);
    }
}

/// What went to the client so far.
struct Given<'a> {
    frames: &'a mpsc::Sender<AnswerPart>,
    hasher: Hasher,
    bytes: u64,
    idle: Duration,
}

impl<'a> Given<'a> {
    fn new(frames: &'a mpsc::Sender<AnswerPart>, idle: Duration) -> Self {
        Self {
            frames,
            hasher: Hasher::new(),
            bytes: 0,
            idle,
        }
    }

    /// Whether the client took it.
    async fn give(&mut self, bytes: Vec<u8>) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let bytes = Bytes::from(bytes);
        let part = AnswerPart::Data(bytes.clone());
        if self.frames.send_timeout(part, self.idle).await.is_err() {
            return false;
        }
        self.hasher.update(&bytes);
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        true
    }

    fn passed(self, meter: ResponseMeter) -> Passed {
        Passed {
            hasher: self.hasher,
            meter,
            bytes: self.bytes,
        }
    }
}

async fn events(mut exchange: Exchange, mut body: Arriving, reply: Reply) {
    let limits = Limits::of(&exchange.draft.core.limits);
    let (frames, receiver) = mpsc::channel(FRAMES_AHEAD);
    let body_of_answer = AnswerBody::stream(receiver);
    let head = exchange.head("text/event-stream; charset=utf-8", body_of_answer);
    // parts of the buffer into which they were read
    exchange.parts.headers = HeaderMap::new();
    let translating = exchange.translating;
    let translator = translating.translation.stream(translating.usage);
    let upstream = translating.translation.upstream();
    let mut received = Passed::new(ResponseMeter::new(upstream, Framing::EventStream));
    let mut given = Given::new(&frames, limits.idle);
    let mut restorer = restorer(&mut exchange.draft, Framing::EventStream);
    let mut mark = EndMark::of(&exchange.draft);
    let stop = match reply.send(head) {
        Err(_) => Stop::ClientGone,
        Ok(()) => {
            let out = (&mut given, &mut mark, restorer.as_mut());
            pass(&mut body, translator, &mut received, out, limits).await
        }
    };
    pump::note_restored(&mut exchange.draft, restorer.as_ref());
    let status = exchange.parts.status;
    let mut stop = receipt::settle(&mut exchange.draft, body, status, stop).await;
    if stop == Stop::End && !given.give(mark.release()).await {
        stop = Stop::ClientGone;
    }
    if let Stop::Fault(fault) = stop {
        let refusal = fault.refusal();
        let (status, api) = (refusal.status.as_u16(), exchange.draft.opening.api);
        let event = error_event(api, status, refusal.code, &refusal.message);
        given.give(event).await;
    }
    let Passed { hasher, meter, .. } = received;
    exchange.note(hasher);
    let passed = given.passed(meter);
    pump::finish(exchange.draft, status, passed, stop, &frames).await;
}

/// Puts back what was replaced in the request, in the answer as the client gets it.
fn restorer(draft: &mut Draft, framing: Framing) -> Option<Restorer> {
    let placeholders = std::mem::take(&mut draft.placeholders);
    let api = draft.opening.api;
    (!placeholders.is_empty()).then(|| Restorer::new(api, framing, placeholders))
}

/// Says events on until something ends it.
async fn pass(
    body: &mut Arriving,
    translator: StreamTranslator,
    received: &mut Passed,
    (given, mark, mut restorer): (&mut Given<'_>, &mut EndMark, Option<&mut Restorer>),
    limits: Limits,
) -> Stop {
    let out = (&mut *given, mark, restorer.as_deref_mut());
    let stop = pass_events(body, translator, received, out, limits).await;
    // what may have been the beginning of a placeholder
    let held = restorer.map_or_else(Vec::new, Restorer::finish);
    match stop {
        Stop::ClientGone => Stop::ClientGone,
        _ if !given.give(held).await => Stop::ClientGone,
        stop => stop,
    }
}

async fn pass_events(
    body: &mut Arriving,
    mut translator: StreamTranslator,
    received: &mut Passed,
    (given, mark, mut restorer): (&mut Given<'_>, &mut EndMark, Option<&mut Restorer>),
    limits: Limits,
) -> Stop {
    loop {
        let next = tokio::select! {
            biased;
            () = given.frames.closed() => return Stop::ClientGone,
            next = body.next(limits) => next,
        };
        let (said, last) = match next {
            Err(Stop::End) => (translator.finish(), true),
            Err(stop) => return stop,
            Ok(chunk) if received.exceeds(chunk.len(), limits) => {
                return Stop::Fault(UpstreamFault::TooLarge);
            }
            Ok(chunk) => {
                received.take(&chunk);
                (translator.push(&chunk), false)
            }
        };
        let Ok(said) = said else {
            return Stop::Fault(UpstreamFault::NotTranslatable);
        };
        let said = match &mut restorer {
            Some(restorer) => restorer.push(&said),
            None => said,
        };
        if !mark.keeps(&said, &received.meter) && !given.give(said).await {
            return Stop::ClientGone;
        }
        if last {
            return Stop::End;
        }
    }
}

/// An answer of one document: read to its end, then said again.
async fn whole(mut exchange: Exchange, mut body: Arriving, mut reply: Reply) {
    let mut limits = Limits::of(&exchange.draft.core.limits);
    limits.bytes = limits.bytes.min(MAX_ANSWER_BYTES as u64);
    let translation = exchange.translating.translation;
    let mut received = Passed::new(ResponseMeter::new(translation.upstream(), Framing::Json));
    let collected = tokio::select! {
        biased;
        () = reply.closed() => None,
        collected = collect(&mut body, &mut received, limits) => Some(collected),
    };
    let Passed { hasher, meter, .. } = received;
    exchange.note(hasher);
    let status = exchange.parts.status;
    let collected = match collected {
        Some(Ok(held)) => {
            let proved = receipt::prove(&mut exchange.draft, body, status).await;
            Some(proved.map(|()| held))
        }
        other => other,
    };
    let said = match collected {
        None => {
            let (draft, refusal) = (exchange.draft, Refusal::broken());
            return answer_alone(draft, &refusal, RunStatus::Cancelled, None, reply).await;
        }
        Some(Err(fault)) => Err(fault),
        Some(Ok(held)) if status.is_success() => said_again(translation, &held),
        Some(Ok(held)) => Ok(translation.error(status.as_u16(), &held)),
    };
    let mut restorer = restorer(&mut exchange.draft, Framing::Json);
    let said = said.map(|said| match &mut restorer {
        Some(restorer) => whole::restored(restorer, &said),
        None => said,
    });
    pump::note_restored(&mut exchange.draft, restorer.as_ref());
    match said {
        Ok(said) => answer(exchange, meter, said, reply).await,
        Err(fault) => fail(exchange.draft, status, fault, reply).await,
    }
}

fn said_again(translation: Translation, held: &[u8]) -> Result<Vec<u8>, UpstreamFault> {
    match translation.answer(held) {
        Ok(mut said) => Ok(std::mem::take(&mut *said)),
        Err(TranslateError::Reported) => Err(UpstreamFault::ReportedError),
        Err(_) => Err(UpstreamFault::NotTranslatable),
    }
}

async fn fail(draft: Box<Draft>, status: StatusCode, fault: UpstreamFault, reply: Reply) {
    let refusal = fault.refusal();
    let status = Some(status.as_u16());
    answer_alone(draft, &refusal, RunStatus::UpstreamError, status, reply).await;
}

async fn answer(exchange: Exchange, meter: ResponseMeter, said: Vec<u8>, reply: Reply) {
    let head = exchange.head("application/json", AnswerBody::empty());
    let mut hasher = Hasher::new();
    hasher.update(&said);
    let passed = Passed {
        hasher,
        meter,
        bytes: said.len() as u64,
    };
    whole::give(exchange.draft, head, said, passed, reply).await;
}

async fn collect(
    body: &mut Arriving,
    received: &mut Passed,
    limits: Limits,
) -> Result<Wiped<Vec<u8>>, UpstreamFault> {
    let mut held = Wiped::new(Vec::new());
    loop {
        match body.next(limits).await {
            Err(Stop::Fault(fault)) => return Err(fault),
            Err(Stop::End | Stop::ClientGone) => return Ok(held),
            Ok(chunk) if received.exceeds(chunk.len(), limits) => {
                return Err(UpstreamFault::TooLarge);
            }
            Ok(chunk) => {
                received.take(&chunk);
                held.extend_from_slice(&chunk);
            }
        }
    }
}
