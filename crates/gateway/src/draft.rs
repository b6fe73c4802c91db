//! A run's record in the making: filled in as the run goes, signed and handed to the sink at its
//! end. Every way through the gateway ends here.

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use proofroom_canonical::{Digest, Nonce, RunId, Timestamp};
use proofroom_classify::{Classification, Label};
use proofroom_llm::{Api, Placeholder, RequestFacts, Usage};
use proofroom_record::{
    event::RunStatus,
    predicate::seal,
    statement::{
        Assurance, ClassificationResult, EarlierAttempt, FindingCount, ModelRequest, ModelResponse,
        ModelRun, Receipt, RedactionResult, RoutingResult, ShadowResult, TokenCount, UpstreamFacts,
    },
};

use crate::{
    caller::{Caller, Position},
    commitment::{CommitmentKey, Commitments},
    gate::{Admission, Finished},
    gateway::Core,
    headers,
    invoked::Invoked,
    prompt::Arrival,
    receipt::Signed,
    refusal::Refusal,
    sink::{MODEL_RUN, Said, SinkError, Submission},
    trace::{FinishReason, Outcome, RunFacts, Tracked, Unkept},
    translated::Translating,
};

/// What a record says about a request that could not be read: it has no label of its own.
pub const UNCLASSIFIED: &str = "unclassified";
/// What a record gives as routing rule where none was asked.
pub const NOT_ROUTED: &str = "not-routed";

/// What is known of a run before its request is read.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) api: Api,
    pub(crate) run: RunId,
    pub(crate) blinding: Nonce,
    pub(crate) started: Timestamp,
    /// Where the run is traced.
    pub(crate) tracked: Option<Box<Tracked>>,
}

/// A record in the making. Boxed from the beginning: it is handed on from step to step of a run, and each
/// step's future would hold a copy of it.
pub(crate) struct Draft {
    pub(crate) core: Arc<Core>,
    pub(crate) caller: Arc<Caller>,
    pub(crate) opening: Opening,
    pub(crate) position: Position,
    pub(crate) request: ModelRequest,
    label: String,
    findings: Vec<FindingCount>,
    pub(crate) routing: RoutingResult,
    pub(crate) upstream: Option<UpstreamFacts>,
    /// Upstreams that were sent the request and were busy.
    pub(crate) earlier: Vec<EarlierAttempt>,
    pub(crate) translating: Option<Translating>,
    /// What was sent to Bedrock's own API, and what came of it.
    pub(crate) invoked: Option<Invoked>,
    /// The model's name as the upstream was asked for it.
    pub(crate) asked_model: String,
    /// What the caller's gate holds until the run has ended.
    pub(crate) admission: Admission,
    pub(crate) shadow: Option<ShadowResult>,
    pub(crate) redaction: Option<RedactionResult>,
    /// What is needed to get a receipt for the answer, where one is required.
    pub(crate) signed: Option<Signed>,
    /// The receipt, once it was verified.
    pub(crate) receipt: Option<Receipt>,
    /// What stands in what was forwarded, until the answer is there.
    pub(crate) placeholders: Vec<Placeholder>,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) status: RunStatus,
    pub(crate) failure: Option<Refusal>,
    pub(crate) response: Option<ModelResponse>,
    /// Status of the client's answer, as far as it got one.
    pub(crate) answered: Option<StatusCode>,
    /// Why the model stopped.
    pub(crate) finish: Option<FinishReason>,
}

impl Draft {
    /// A run whose request could not be read.
    pub(crate) fn unread(
        core: Arc<Core>,
        caller: Arc<Caller>,
        opening: Opening,
        arrival: &Arrival,
    ) -> Box<Self> {
        let position = caller.begin_unclassified();
        let request = request_of(opening.api, arrival, "", Streaming::No);
        let label = UNCLASSIFIED.to_owned();
        Self::new(core, caller, opening, position, request, label, Vec::new())
    }

    /// A run whose request was read and classified: takes its place in the session and raises the
    /// high-water mark.
    pub(crate) fn classified(
        core: Arc<Core>,
        caller: Arc<Caller>,
        opening: Opening,
        arrival: &Arrival,
        facts: &RequestFacts,
        (classification, commitments): (&Classification, &Commitments),
        forwarded: Label,
    ) -> Box<Self> {
        let position = caller.begin(classification.label, forwarded);
        let streaming = match facts.delivery {
            proofroom_llm::Delivery::Stream => Streaming::Yes,
            proofroom_llm::Delivery::Whole => Streaming::No,
        };
        let request = request_of(opening.api, arrival, &facts.model, streaming);
        let label = core.levels().name(classification.label).to_owned();
        let findings = count(&core, classification, commitments);
        Self::new(core, caller, opening, position, request, label, findings)
    }

    fn new(
        core: Arc<Core>,
        caller: Arc<Caller>,
        opening: Opening,
        position: Position,
        request: ModelRequest,
        label: String,
        findings: Vec<FindingCount>,
    ) -> Box<Self> {
        let routing = RoutingResult {
            rule: NOT_ROUTED.to_owned(),
            policy: core.routing.digest(),
            tier: None,
            upstream: None,
            rejected: Vec::new(),
            inputs: None,
        };
        Box::new(Self {
            core,
            caller,
            opening,
            position,
            request,
            label,
            findings,
            routing,
            upstream: None,
            earlier: Vec::new(),
            translating: None,
            invoked: None,
            asked_model: String::new(),
            admission: Admission::free(),
            shadow: None,
            redaction: None,
            signed: None,
            receipt: None,
            placeholders: Vec::new(),
        })
    }

    /// The API in which the upstream answers.
    pub(crate) fn spoken(&self) -> Api {
        let translating = self.translating.as_ref();
        translating.map_or(self.opening.api, |found| found.translation.upstream())
    }

    /// The session's label by which this run is routed.
    pub(crate) fn high_water(&self) -> &str {
        self.core.levels().name(self.position.after)
    }

    /// Takes back that the request goes to the upstream last tried, of which nothing came.
    pub(crate) fn forget_upstream(&mut self) {
        self.routing.tier = None;
        self.routing.upstream = None;
        self.upstream = None;
        self.signed = None;
        self.translating = None;
        self.invoked = None;
        self.request.forwarded = None;
    }

    /// Writes down that the upstream last tried was sent the request and was busy.
    pub(crate) fn note_busy(&mut self, http_status: u16) {
        let answered = self.now();
        let sent = self.upstream.take().zip(self.request.forwarded);
        let attempt = sent.map(|(upstream, forwarded)| EarlierAttempt {
            upstream,
            forwarded,
            http_status,
            answered,
        });
        self.earlier.extend(attempt);
        self.forget_upstream();
    }

    /// Now, but not before what this run already did: a clock that is set back meanwhile makes no record whose times
    /// contradict each other.
    pub(crate) fn now(&self) -> Timestamp {
        let sent = self.upstream.as_ref().map(|upstream| upstream.sent);
        let answered = self.earlier.last().map(|attempt| attempt.answered);
        let latest = sent.or(answered).unwrap_or(self.opening.started);
        self.core.clock.now().max(latest)
    }

    /// Adds the headers that every answer of this run carries.
    pub(crate) fn put_headers(&self, map: &mut HeaderMap) {
        let mut set = |name: &'static HeaderName, text: String| {
            if let Ok(value) = HeaderValue::try_from(text) {
                map.insert(name, value);
            }
        };
        set(&headers::RUN, self.opening.run.to_string());
        set(&headers::LABEL, self.high_water().to_owned());
        if let Some(tier) = &self.routing.tier {
            set(&headers::TIER, tier.clone());
        }
        map.insert(&headers::SEQUENCE, self.position.sequence.into());
        let announced = HeaderValue::from_static("x-proofroom-record, x-proofroom-status");
        map.insert(header::TRAILER, announced);
    }

    /// Signs the record and makes it durable. On failure the gateway closes.
    ///
    /// The record is signed before the future is made, which so holds little.
    pub(crate) fn close(
        mut self: Box<Self>,
        end: End,
    ) -> impl Future<Output = Result<Digest, SinkError>> + Send {
        let core = Arc::clone(&self.core);
        let log = self.admission.log;
        let tracked = self.opening.tracked.take();
        let trace = tracked.map(|tracked| tracked.ends(&self.traced(&end)));
        let caller = Arc::clone(&self.caller);
        let held = self.admission.hand_over();
        let predicate = self.predicate(end);
        let sealed = seal(&predicate, &core.signer).map_err(|error| SinkError {
            reason: format!("the record cannot be written: {error}"),
        });
        let said = said(predicate);
        caller.gate.ended(&said.finished);
        drop(held);
        // boxed: a run's future holds it
        let submission = sealed.map(|record| {
            Box::new(Submission {
                kind: MODEL_RUN,
                session: caller.identity().session,
                log,
                record,
                said,
            })
        });
        keep(core, trace, submission)
    }

    /// What of this record its trace may say.
    fn traced<'a>(&'a self, end: &'a End) -> RunFacts<'a> {
        let response = end.response.as_ref();
        let forwarded = self.request.forwarded.is_some();
        let redaction = self.redaction.as_ref().filter(|_| forwarded);
        RunFacts {
            session: self.caller.identity().session,
            run: self.opening.run,
            api: self.opening.api,
            model: &self.request.model,
            label: self.high_water(),
            rule: &self.routing.rule,
            tier: self.routing.tier.as_deref(),
            upstream: self.routing.upstream.as_deref(),
            outcome: Outcome {
                status: end.status,
                code: end.failure.as_ref().map(|refusal| refusal.code),
                http_status: end.answered.map(|status| status.as_u16()),
                tokens: response.and_then(|response| response.tokens),
                answered_by: response.and_then(|response| response.answered_by),
                finish: end.finish,
                log: self.admission.log,
                evidence: self.upstream.as_ref().and_then(evidence),
                redacted: redaction.map_or(0, |redaction| {
                    redaction.replaced.iter().map(|count| count.values).sum()
                }),
                restored: redaction.map_or(0, |redaction| redaction.restored),
            },
        }
    }

    fn predicate(self: Box<Self>, end: End) -> ModelRun {
        let finished = self.now();
        let levels = self.core.levels();
        let identity = self.caller.identity();
        let forwarded = self.request.forwarded.is_some();
        ModelRun {
            run: self.opening.run,
            session: identity.session,
            sequence: self.position.sequence,
            session_binding: identity.binding,
            caller: identity.spiffe_id.clone(),
            client: self.caller.gate.client(),
            classification: ClassificationResult {
                label: self.label,
                high_water_before: levels.name(self.position.before).to_owned(),
                high_water_after: levels.name(self.position.after).to_owned(),
                commitment_key: commitment_key(&self.core, &self.findings),
                findings: self.findings,
                policy: self.core.classification_digest,
                redaction: self.redaction.filter(|_| forwarded),
            },
            request: self.request,
            routing: self.routing,
            shadow: self.shadow,
            upstream: self.upstream,
            earlier: self.earlier,
            response: end.response,
            translated: match self.invoked {
                Some(invoked) => Some(invoked.record()),
                None => self.translating.map(Translating::record),
            },
            status: end.status,
            failure: end.failure.as_ref().map(Refusal::failure),
            log: self.admission.log,
            started: self.opening.started,
            finished,
            blinding: self.opening.blinding,
        }
    }
}

/// What the record of a run says, for whoever does not read it.
fn said(record: ModelRun) -> Said {
    let response = record.response.as_ref();
    Said {
        sequence: record.sequence,
        high_water: record.classification.high_water_after,
        finished: Finished {
            run: record.run,
            model: record.request.model,
            tier: record.routing.tier,
            upstream: record.routing.upstream,
            status: record.status,
            code: record
                .failure
                .map(|failure| failure.code)
                .unwrap_or_default(),
            received_bytes: record.request.received_bytes,
            answered_bytes: response.map_or(0, |response| response.bytes),
            tokens: response.and_then(|response| response.tokens),
            started: record.started,
            finished: record.finished,
        },
    }
}

/// Digest of the evidence by which an upstream was verified.
pub(crate) const fn evidence(upstream: &UpstreamFacts) -> Option<Digest> {
    match &upstream.assurance {
        Assurance::Attested { evidence, .. } => Some(*evidence),
        Assurance::ContractOnly { .. } => None,
    }
}

async fn keep(
    core: Arc<Core>,
    trace: Option<Unkept>,
    submission: Result<Box<Submission>, SinkError>,
) -> Result<Digest, SinkError> {
    let kept = match submission {
        Ok(submission) => core.sink.submit(*submission).await,
        Err(error) => Err(error),
    };
    if let (Some(trace), Some(tracing)) = (trace, &core.tracing) {
        let record = kept.as_ref().ok().copied();
        tracing.sink.take(trace.kept(record));
    }
    if kept.is_err() {
        core.close();
    }
    kept
}

#[derive(Clone, Copy)]
enum Streaming {
    Yes,
    No,
}

fn request_of(api: Api, arrival: &Arrival, model: &str, streaming: Streaming) -> ModelRequest {
    ModelRequest {
        endpoint: api.path().to_owned(),
        model: model.to_owned(),
        stream: matches!(streaming, Streaming::Yes),
        received: arrival.digest,
        received_bytes: arrival.bytes,
        forwarded: None,
    }
}

/// Findings by rule: ids, reasons and counts, never places.
fn count(
    core: &Core,
    classification: &Classification,
    commitments: &Commitments,
) -> Vec<FindingCount> {
    let mut counts: BTreeMap<(&str, Label), FindingCount> = BTreeMap::new();
    for finding in &classification.findings {
        counts
            .entry((&finding.rule, finding.label))
            .or_insert_with(|| FindingCount {
                rule: finding.rule.clone(),
                reason: finding.reason.to_owned(),
                label: core.levels().name(finding.label).to_owned(),
                count: 0,
                commitments: (commitments.get(&finding.rule).into_iter().flatten())
                    .copied()
                    .collect(),
            })
            .count += 1;
    }
    counts.into_values().collect()
}

/// The name of the key with which a finding is committed to, where one is.
fn commitment_key(core: &Core, findings: &[FindingCount]) -> Option<Digest> {
    let committed = findings.iter().any(|found| !found.commitments.is_empty());
    let key = core.commitments.as_ref().filter(|_| committed);
    key.map(CommitmentKey::id)
}

/// Tokens as the upstream counted them. Anthropic counts cached input apart, OpenAI within.
pub(crate) fn tokens(api: Api, usage: Usage) -> Option<TokenCount> {
    let cached = match api {
        Api::ChatCompletions
        | Api::Responses
        | Api::Embeddings
        | Api::Rerank
        | Api::CountTokens => 0,
        Api::Messages => usage
            .cache_read_tokens
            .unwrap_or(0)
            .saturating_add(usage.cache_write_tokens.unwrap_or(0)),
    };
    // an answer that is no words has no tokens of its own
    let output = usage.output_tokens.or((!api.generates()).then_some(0));
    Some(TokenCount {
        input: usage.input_tokens?.saturating_add(cached),
        output: output?,
    })
}
