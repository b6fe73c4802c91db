//! A trace in the making: the times of a run, taken while it goes.

use std::{sync::Arc, time::Instant};

use http::HeaderMap;
use proofroom_canonical::{Digest, RunId, SessionId, Timestamp};
use proofroom_llm::{Api, TraceParent};

use super::{
    IncomingTrace, Outcome, Parent, Place, RunTrace, Sending, Span, Tracing, Verification,
    Vocabulary,
};

/// The header in which a client names the trace of its request.
const TRACEPARENT: &str = "traceparent";

/// A run that is traced.
#[derive(Debug)]
pub struct Tracked {
    vocabulary: Arc<Vocabulary>,
    place: Place,
    began: u64,
    since: Instant,
    verifications: Vec<Verification>,
    sendings: Vec<Sending>,
    spans: u64,
}

/// What a run's record says that its trace may say too. Names are looked up; none is taken over.
#[derive(Clone, Copy, Debug)]
pub struct RunFacts<'a> {
    /// Its session.
    pub session: SessionId,
    /// The run.
    pub run: RunId,
    /// The API that the client spoke.
    pub api: Api,
    /// The model as the client wrote it.
    pub model: &'a str,
    /// The session's label.
    pub label: &'a str,
    /// The deciding rule.
    pub rule: &'a str,
    /// Tier that it was sent to, if it was.
    pub tier: Option<&'a str>,
    /// Upstream that it was sent to, if it was.
    pub upstream: Option<&'a str>,
    /// How it ended.
    pub outcome: Outcome,
}

/// The trace of a run whose record is being kept.
#[derive(Debug)]
pub struct Unkept {
    trace: Box<RunTrace>,
    since: Instant,
}

impl Unkept {
    /// The record was kept under this digest, or lost.
    #[must_use]
    pub fn kept(mut self, record: Option<Digest>) -> Box<RunTrace> {
        self.trace.span.ended = after(self.trace.span.began, self.since);
        self.trace.record = record;
        self.trace
    }
}

impl Tracked {
    /// Begins a trace of the run with these random bytes, if the ratio keeps it. A run's trace has the run's
    /// id, unless it goes on with its client's.
    #[must_use]
    pub fn begin(
        tracing: &Tracing,
        vocabulary: &Arc<Vocabulary>,
        (run, started): ([u8; 16], Timestamp),
        headers: &HeaderMap,
    ) -> Option<Box<Self>> {
        let place = place(tracing.incoming, run, headers);
        tracing.ratio.keeps(place.trace).then(|| {
            Box::new(Self {
                vocabulary: Arc::clone(vocabulary),
                place,
                began: nanos(started),
                since: Instant::now(),
                verifications: Vec::new(),
                sendings: Vec::new(),
                spans: 0,
            })
        })
    }

    /// The run begins to wait for the verification of `upstream`.
    pub fn waits(&mut self, upstream: &str) {
        let verification = Verification {
            place: self.child(),
            span: self.open_span(),
            upstream: self.vocabulary.upstream(upstream),
            code: None,
            evidence: None,
        };
        self.verifications.push(verification);
    }

    /// The verification that it waited for last has this outcome: the evidence accepted, or a code.
    pub fn waited(&mut self, outcome: Result<Option<Digest>, &'static str>) {
        let now = self.now();
        if let Some(last) = self.verifications.last_mut() {
            last.span.ended = now;
            match outcome {
                Ok(evidence) => last.evidence = evidence,
                Err(code) => last.code = Some(code),
            }
        }
    }

    /// The request is sent to `upstream` in `api`.
    pub fn sends(&mut self, upstream: &str, api: Api) {
        let sending = Sending {
            place: self.child(),
            span: self.open_span(),
            upstream: self.vocabulary.upstream(upstream),
            api,
            head_after: None,
            http_status: None,
            code: None,
        };
        self.sendings.push(sending);
    }

    /// The upstream's head is there.
    pub fn answered(&mut self, http_status: u16) {
        let now = self.now();
        if let Some(last) = self.sendings.last_mut() {
            last.head_after = Some(now.saturating_sub(last.span.began));
            last.http_status = Some(http_status);
        }
    }

    /// What was sent last came to its end before the run did: no connection, or a busy upstream.
    pub fn given_up(&mut self, code: &'static str) {
        let now = self.now();
        if let Some(last) = self.sendings.last_mut() {
            last.span.ended = now;
            last.code = Some(code);
        }
    }

    /// The trace of the run that ended so, before its record is kept.
    #[must_use]
    pub fn ends(mut self, facts: &RunFacts<'_>) -> Unkept {
        let now = self.now();
        self.close_spans(now, facts.outcome.code);
        let names = &self.vocabulary;
        let trace = Box::new(RunTrace {
            place: self.place,
            span: Span {
                began: self.began,
                ended: now,
            },
            session: facts.session,
            run: facts.run,
            record: None,
            api: facts.api,
            model: names.model(facts.model),
            label: names.label(facts.label),
            rule: names.rule(facts.rule),
            tier: facts.tier.map(|tier| names.tier(tier)),
            upstream: facts.upstream.map(|name| names.upstream(name).name),
            outcome: facts.outcome,
            verifications: self.verifications,
            sendings: self.sendings,
        });
        Unkept {
            trace,
            since: self.since,
        }
    }

    /// Ends what had not ended: the last sending with the run, and a verification of which its client did not
    /// wait for the end.
    fn close_spans(&mut self, now: u64, code: Option<&'static str>) {
        let sendings = self.sendings.iter_mut();
        for sending in sendings.filter(|sending| sending.span.ended == 0) {
            sending.span.ended = now;
            sending.code = code;
        }
        let verifications = self.verifications.iter_mut();
        for waited in verifications.filter(|waited| waited.span.ended == 0) {
            waited.span.ended = now;
            waited.code = Some("cancelled");
        }
    }

    fn now(&self) -> u64 {
        after(self.began, self.since)
    }

    fn open_span(&self) -> Span {
        Span {
            began: self.now(),
            ended: 0,
        }
    }

    /// A place below the run: ids count on from the run's, which is as random as any.
    fn child(&mut self) -> Place {
        self.spans = self.spans.wrapping_add(1);
        let own = u64::from_be_bytes(self.place.span).wrapping_add(self.spans);
        Place {
            span: own.max(1).to_be_bytes(),
            parent: Parent::Own(self.place.span),
            ..self.place
        }
    }
}

fn place(incoming: IncomingTrace, run: [u8; 16], headers: &HeaderMap) -> Place {
    // none of the two is all zeroes, but for one run in 2^64
    let span = run.first_chunk().copied().unwrap_or_default();
    let client = match incoming {
        IncomingTrace::Ignored => None,
        IncomingTrace::Continued => client(headers),
    };
    match client {
        None => Place {
            trace: run,
            span,
            parent: Parent::None,
        },
        Some(client) => Place {
            trace: client.trace(),
            span,
            parent: Parent::Remote(client.span()),
        },
    }
}

/// What the client names, if it names one trace and in good form.
fn client(headers: &HeaderMap) -> Option<TraceParent> {
    let mut values = headers.get_all(TRACEPARENT).into_iter();
    match (values.next(), values.next()) {
        (Some(value), None) => TraceParent::parse(value.as_bytes()),
        _ => None,
    }
}

/// `began`, and the time since then.
fn after(began: u64, since: Instant) -> u64 {
    let passed = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
    began.saturating_add(passed)
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.unix_millis())
        .unwrap_or(0)
        .saturating_mul(1_000_000)
}
