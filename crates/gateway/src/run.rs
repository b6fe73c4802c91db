//! One model run, from the arrived request to the head of its answer. Goes on when its client goes away, so
//! that there is a record and not a gap.

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode, header};
use proofroom_canonical::{Digest, Nonce};
use proofroom_classify::{
    Assurance, Classification, Confidence, Finding, Label, Levels, RAISED, RouteDecision,
    RouteRequest, Segment, Source, UpstreamOffer, asked_for,
};
use proofroom_llm::{Api, RequestFacts, inspect};
use proofroom_record::{
    event::RunStatus,
    statement::{ModelResponse, RejectedUpstream, RoutingInputs},
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    answer::{AnswerBody, trailers},
    beginnings::Beginnings,
    caller::Caller,
    commitment::Commitments,
    draft::{Draft, End, Opening},
    gate,
    gateway::Core,
    headers,
    prompt::{Arrival, Content, Prompt},
    redaction::{Redacted, Values, redact},
    refusal::Refusal,
    sending::{Chosen, Outgoing, try_candidates},
    shadow::Shadowed,
};

/// The most bytes of a request that are classified on the network's own threads. Larger ones go to
/// the blocking pool, so that they hold up no other session's stream.
const INLINE_BYTES: usize = 128 * 1024;

/// Where the head of the answer goes. Closed when the client is gone.
pub(crate) type Reply = oneshot::Sender<Response<AnswerBody>>;

/// A request as it arrived.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) opening: Opening,
    pub(crate) headers: HeaderMap,
    pub(crate) query: &'static str,
    pub(crate) arrival: Arrival,
}

/// A request that was read.
pub(crate) struct Reading {
    facts: RequestFacts,
    classification: Classification,
    commitments: Commitments,
    prompt: Prompt,
    /// The request without what was found in it, where the policy wants that and it can be done.
    redacted: Option<Box<Redacted>>,
    shadowed: Option<Shadowed>,
}

/// Closes the gateway when a run's future ends without having ended the run: its record is lost.
struct Unrecorded(Option<Arc<Core>>);

impl Drop for Unrecorded {
    fn drop(&mut self) {
        if let Some(core) = self.0.take() {
            core.close();
        }
    }
}

/// Conducts one run to the end of its record.
pub(crate) async fn conduct(
    core: Arc<Core>,
    caller: Arc<Caller>,
    incoming: Incoming,
    reply: Reply,
    permit: OwnedSemaphorePermit,
) {
    let mut unrecorded = Unrecorded(Some(Arc::clone(&core)));
    let member = core.company.join();
    let Incoming {
        opening,
        headers,
        query,
        mut arrival,
    } = incoming;
    match read(&core, &caller, &opening, &headers, &mut arrival).await {
        Err(refusal) => {
            let draft = Draft::unread(core, caller, opening, &arrival);
            let status = match arrival.content {
                Content::Broken => RunStatus::Cancelled,
                Content::Whole(_) | Content::TooLarge => RunStatus::Refused,
            };
            answer_alone(draft, &refusal, status, None, reply).await;
        }
        Ok(reading) => {
            let Reading {
                facts,
                classification,
                commitments,
                prompt,
                redacted,
                shadowed,
            } = reading;
            let forwarded = redacted
                .as_ref()
                .map_or(classification.label, |redacted| redacted.label);
            let draft = Draft::classified(
                core,
                caller,
                opening,
                &arrival,
                &facts,
                (&classification, &commitments),
                forwarded,
            );
            let outgoing = Box::new(Outgoing {
                facts,
                prompt,
                digest: arrival.digest,
                headers,
                query,
            });
            let label = classification.label;
            route(draft, outgoing, (redacted, label), shadowed, reply).await;
        }
    }
    unrecorded.0 = None;
    drop((permit, member));
}

async fn read(
    core: &Arc<Core>,
    caller: &Arc<Caller>,
    opening: &Opening,
    headers: &HeaderMap,
    arrival: &mut Arrival,
) -> Result<Reading, Refusal> {
    let placeholder = Content::Whole(Prompt::new(Vec::new()));
    let prompt = match std::mem::replace(&mut arrival.content, placeholder) {
        Content::Whole(prompt) => prompt,
        other => {
            let refusal = match other {
                Content::TooLarge => Refusal::too_large(core.limits.request_bytes),
                Content::Broken | Content::Whole(_) => Refusal::broken(),
            };
            arrival.content = other;
            return Err(refusal);
        }
    };
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Refusal::encoded());
    }
    let beside = Beside {
        texts: headers::forwarded_texts(headers),
        asked: asked_in_headers(core.levels(), headers)?,
    };
    let about = (opening.api, opening.blinding);
    let body = (prompt, std::mem::take(&mut arrival.beginnings));
    if body.0.as_slice().len() <= INLINE_BYTES {
        return inspect_and_classify(core, caller, about, body, &beside);
    }
    let (core, caller) = (Arc::clone(core), Arc::clone(caller));
    tokio::task::spawn_blocking(move || inspect_and_classify(&core, &caller, about, body, &beside))
        .await
        .unwrap_or_else(|_| Err(Refusal::unfinished()))
}

/// What a request says outside of its body.
struct Beside {
    /// The values of headers that are forwarded.
    texts: Vec<String>,
    /// The label that a header asks for.
    asked: Option<Label>,
}

/// The highest label that the header asks for.
fn asked_in_headers(levels: &Levels, headers: &HeaderMap) -> Result<Option<Label>, Refusal> {
    let mut highest = None;
    for name in headers::asked_labels(headers) {
        let label = std::str::from_utf8(name)
            .ok()
            .and_then(|name| levels.label(name));
        let label = label.ok_or_else(|| Refusal::unknown_label(levels.names()))?;
        highest = highest.max(Some(label));
    }
    Ok(highest)
}

/// The highest label that a user's turn asks for.
fn asked_in_texts(levels: &Levels, facts: &RequestFacts) -> Option<Label> {
    let users = facts
        .segments
        .iter()
        .filter(|segment| segment.origin == proofroom_llm::Origin::User);
    users
        .filter_map(|segment| asked_for(levels, segment.text.expose()))
        .max()
}

/// Developers raise and never lower: a label asked for is one more finding.
fn raise(classification: &mut Classification, label: Label) {
    classification.label = classification.label.max(label);
    classification.findings.push(Finding {
        rule: RAISED.to_owned(),
        reason: "the developer asked for this label",
        label,
        segment: 0,
        span: 0..0,
        confidence: Confidence::High,
    });
}

fn inspect_and_classify(
    core: &Core,
    caller: &Caller,
    (api, blinding): (Api, Nonce),
    (prompt, beginnings): (Prompt, Beginnings),
    beside: &Beside,
) -> Result<Reading, Refusal> {
    let mut facts = inspect(api, prompt.as_slice()).map_err(|error| Refusal::unread(&error))?;
    let source = Source {
        reading: api.path(),
        beginning: &|place| beginnings.holding(facts.segments.get(place)?.decided?),
    };
    let (classification, commitments, shadowed) = with_segments(&facts, beside, |segments| {
        let mut found = core.classify(segments, Some(&source), caller);
        let key = core.commitments.as_ref();
        let commitments = key.map(|key| key.commit_to(&blinding, &found, segments));
        let shadow = core.classify_beside(segments, caller);
        let asked = asked_in_texts(core.levels(), &facts).max(beside.asked);
        if let Some(label) = asked {
            raise(&mut found, label);
        }
        let shadowed = shadow.zip(core.shadow.as_ref()).map(|(mut other, shadow)| {
            if let Some(label) = asked.and_then(|label| same(core, shadow.levels(), label)) {
                raise(&mut other, label);
            }
            shadow.compare(core.levels(), &found, &other)
        });
        (found, commitments.unwrap_or_default(), shadowed)
    });
    let redacted = redacted(core, caller, (&prompt, &facts), &classification, beside);
    // the texts are wiped here, not at the end of a long answer
    facts.segments = Vec::new();
    Ok(Reading {
        facts,
        classification,
        commitments,
        prompt,
        redacted,
        shadowed,
    })
}

/// The level of the same name among others.
fn same(core: &Core, levels: &Levels, label: Label) -> Option<Label> {
    levels.label(core.levels().name(label))
}

/// Every text that an upstream would see.
fn with_segments<T>(
    facts: &RequestFacts,
    beside: &Beside,
    work: impl FnOnce(&[Segment<'_>]) -> T,
) -> T {
    let texts = facts.segments.iter().map(|segment| Segment {
        text: segment.text.expose(),
        origin: origin(segment.origin),
        path: segment.path.as_deref(),
    });
    // the model's name and the headers reach the upstream too
    let beside = beside
        .texts
        .iter()
        .map(String::as_str)
        .chain([&*facts.model]);
    let segments: Vec<Segment<'_>> = texts
        .chain(beside.map(|text| Segment {
            text,
            origin: proofroom_classify::Origin::User,
            path: None,
        }))
        .collect();
    work(&segments)
}

/// The request without the findings that the policy wants replaced, if that can be done exactly.
fn redacted(
    core: &Core,
    caller: &Caller,
    (prompt, facts): (&Prompt, &RequestFacts),
    found: &Classification,
    beside: &Beside,
) -> Option<Box<Redacted>> {
    let replaces = |rule: &str| core.redacts(rule);
    let values = Values::of(facts, found, replaces)?;
    let read = |api: Api, body: &[u8]| {
        let mut facts = inspect(api, body).ok()?;
        let mut left = with_segments(&facts, beside, |segments| {
            core.classify(segments, None, caller)
        });
        if let Some(label) = asked_in_texts(core.levels(), &facts).max(beside.asked) {
            raise(&mut left, label);
        }
        facts.segments = Vec::new();
        Some((facts, left))
    };
    let names = &caller.names;
    let translations = core.translations_of(facts.api);
    let redacted = redact(
        &values,
        (names, &*core.entropy),
        (prompt, facts),
        &translations,
        replaces,
        read,
    );
    redacted.map(Box::new)
}

const fn origin(origin: proofroom_llm::Origin) -> proofroom_classify::Origin {
    use proofroom_classify::Origin;
    match origin {
        proofroom_llm::Origin::System => Origin::System,
        proofroom_llm::Origin::User => Origin::User,
        proofroom_llm::Origin::Assistant => Origin::Assistant,
        proofroom_llm::Origin::ToolArguments => Origin::ToolArguments,
        proofroom_llm::Origin::ToolResult => Origin::ToolResult,
        proofroom_llm::Origin::Unreadable => Origin::Unreadable,
    }
}

async fn route(
    mut draft: Box<Draft>,
    mut outgoing: Box<Outgoing>,
    (redacted, label): (Option<Box<Redacted>>, Label),
    shadowed: Option<Shadowed>,
    reply: Reply,
) {
    if let Err(refusal) = gate::admit(&mut draft).await {
        return answer_alone(draft, &refusal, RunStatus::Refused, None, reply).await;
    }
    let core = Arc::clone(&draft.core);
    let api = draft.opening.api;
    let model = outgoing.facts.model.clone();
    let offers = core.offers.of_model(api, &model);
    let (offers, not_permitted) = gate::permitted(&*draft.caller.gate, offers, &model);
    let identity = Arc::clone(&draft.caller.identity);
    let request = RouteRequest {
        label: draft.position.after,
        model: &model,
        repository: &identity.repository,
        person: &identity.person,
        purpose: &identity.purpose,
    };
    draft.routing.inputs = Some(RoutingInputs {
        repository: identity.repository.clone(),
        person: identity.person.clone(),
        purpose: identity.purpose.clone(),
    });
    if let (Some(shadow), Some(shadowed)) = (&core.shadow, shadowed) {
        let mark = draft.caller.raise_shadow(shadowed.label);
        draft.shadow = Some(shadow.result(shadowed, mark, request, &offers));
    }
    let decision = match redacted.and_then(|found| unproven(&core, found, &draft, request, &offers))
    {
        Some((redacted, decision)) => {
            use_redacted(&mut draft, &mut outgoing, *redacted);
            decision
        }
        None => {
            draft.caller.forwards_unchanged(label);
            core.routing.route(&request, &offers)
        }
    };
    draft.routing.rejected = core.offers.silent(api).to_vec();
    draft.routing.rejected.extend(not_permitted);
    carry_out(draft, outgoing, decision, reply).await;
}

/// Where the changed request may go, if that is a tier that proves nothing: an attested one gets the
/// request as it came.
fn unproven(
    core: &Core,
    redacted: Box<Redacted>,
    draft: &Draft,
    request: RouteRequest<'_>,
    offers: &[UpstreamOffer],
) -> Option<(Box<Redacted>, RouteDecision)> {
    let request = RouteRequest {
        label: draft.position.forwarded,
        ..request
    };
    let api = draft.opening.api;
    let exact = |offer: &&UpstreamOffer| {
        let spoken = core.spoken(&offer.name, api);
        spoken.is_some_and(|spoken| redacted.is_exact_in(spoken))
    };
    let exact: Vec<UpstreamOffer> = offers.iter().filter(exact).cloned().collect();
    let decision = core.routing.route(&request, &exact);
    let unattested = matches!(
        decision,
        RouteDecision::Send {
            assurance: Assurance::Unattested,
            ..
        }
    );
    unattested.then_some((redacted, decision))
}

fn use_redacted(draft: &mut Draft, outgoing: &mut Outgoing, redacted: Redacted) {
    let levels = draft.core.levels();
    let label = levels.name(redacted.label);
    let mark = levels.name(draft.position.forwarded);
    draft.redaction = Some(redacted.result(label, mark));
    draft.placeholders = redacted.placeholders;
    outgoing.digest = Digest::of(redacted.prompt.as_slice());
    outgoing.prompt = redacted.prompt;
    outgoing.facts = redacted.facts;
}

async fn carry_out(
    mut draft: Box<Draft>,
    outgoing: Box<Outgoing>,
    decision: RouteDecision,
    reply: Reply,
) {
    match decision {
        RouteDecision::Refuse {
            rule,
            code,
            message,
            rejected,
        } => {
            draft.routing.rule = rule;
            draft
                .routing
                .rejected
                .extend(rejected.iter().map(rejection));
            let status = match code {
                proofroom_classify::Refusal::ModelNotServed => StatusCode::NOT_FOUND,
                _ => StatusCode::FORBIDDEN,
            };
            let refusal = Refusal::new(status, code.code(), message);
            answer_alone(draft, &refusal, RunStatus::Refused, None, reply).await;
        }
        RouteDecision::Send {
            rule,
            tier,
            assurance,
            candidates,
            rejected,
        } => {
            draft.routing.rule = rule;
            draft
                .routing
                .rejected
                .extend(rejected.iter().map(rejection));
            let api = draft.opening.api;
            let chosen = Chosen {
                tier,
                assurance,
                candidates: draft.core.balanced(candidates, api),
            };
            try_candidates(draft, outgoing, chosen, reply).await;
        }
    }
}

fn rejection(rejection: &proofroom_classify::Rejection) -> RejectedUpstream {
    RejectedUpstream {
        upstream: rejection.upstream.clone(),
        code: rejection.code.code().to_owned(),
    }
}

/// Ends a run whose answer is the gateway's own: record first, then the answer.
pub(crate) fn answer_alone(
    draft: Box<Draft>,
    refusal: &Refusal,
    status: RunStatus,
    http_status: Option<u16>,
    reply: Reply,
) -> impl Future<Output = ()> + Send {
    let api = draft.opening.api;
    let body = refusal.body(api);
    let gone = status == RunStatus::Cancelled;
    let response = http_status.map(|http_status| ModelResponse {
        http_status,
        digest: Digest::of(&body),
        bytes: body.len() as u64,
        tokens: None,
        answered_by: None,
        receipt: None,
    });
    let end = End {
        status,
        failure: (!gone).then(|| refusal.clone()),
        response,
        answered: (!gone).then_some(refusal.status),
        finish: None,
    };
    let mut headers = HeaderMap::new();
    draft.put_headers(&mut headers);
    let answer = refusal.respond(headers, AnswerBody::empty());
    let closing = draft.close(end);
    async move {
        let answer = match closing.await {
            Ok(record) => answer.map(|_| AnswerBody::ready(body, Some(trailers(record, status)))),
            Err(_) => Refusal::closed().response(api),
        };
        // a client that is gone needs no answer; the record is durable
        drop(reply.send(answer));
    }
}

#[cfg(test)]
mod tests {
    use super::conduct;

    const fn future_bytes<A, B, C, D, E, F>(_: &impl Fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    /// Each run allocates its future, moves it there, and wipes it at its end.
    #[test]
    fn the_future_of_a_run_is_small() {
        let bytes = future_bytes(&conduct);
        assert!(bytes < 7 * 1024, "{bytes} bytes");
    }
}
