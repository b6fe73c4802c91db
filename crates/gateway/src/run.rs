//! One model run, from the arrived request to the head of its answer. Runs in a task of its own, so
//! that a client that goes away leaves a record and not a gap.

use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use proofroom_canonical::Digest;
use proofroom_classify::{
    Assurance, Candidate, Classification, RouteDecision, RouteRequest, Segment,
};
use proofroom_llm::{RequestFacts, inspect};
use proofroom_record::{
    event::RunStatus,
    statement::{ModelResponse, RejectedUpstream},
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    answer::{AnswerBody, trailers},
    caller::Caller,
    channel::{Channel, OpenChannel},
    config::{Upstream, UpstreamApi},
    draft::{Draft, End, Opening},
    gateway::Core,
    headers,
    observe::RunEvent,
    prompt::{Arrival, Content, Prompt},
    pump,
    refusal::{Refusal, UpstreamFault},
    transport::UpstreamResponse,
};

/// The most bytes of a request that are classified on the network's own threads. Larger ones go to
/// the blocking pool: 64 KiB take about a millisecond.
const INLINE_BYTES: usize = 64 * 1024;

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
    prompt: Prompt,
}

/// A request on its way to an upstream.
struct Outgoing {
    facts: RequestFacts,
    prompt: Prompt,
    headers: HeaderMap,
    query: &'static str,
}

/// Closes the gateway when a run's task ends without having ended the run: its record is lost.
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
                prompt,
            } = reading;
            let draft = Draft::classified(core, caller, opening, &arrival, &facts, &classification);
            let outgoing = Outgoing {
                facts,
                prompt,
                headers,
                query,
            };
            route(draft, outgoing, reply).await;
        }
    }
    unrecorded.0 = None;
    drop(permit);
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
    let beside = headers::forwarded_texts(headers);
    if prompt.as_slice().len() <= INLINE_BYTES {
        return inspect_and_classify(core, caller, opening.api, prompt, &beside);
    }
    let (core, caller, api) = (Arc::clone(core), Arc::clone(caller), opening.api);
    tokio::task::spawn_blocking(move || inspect_and_classify(&core, &caller, api, prompt, &beside))
        .await
        .unwrap_or_else(|_| Err(Refusal::unfinished()))
}

fn inspect_and_classify(
    core: &Core,
    caller: &Caller,
    api: proofroom_llm::Api,
    prompt: Prompt,
    beside: &[String],
) -> Result<Reading, Refusal> {
    let mut facts = inspect(api, prompt.as_slice()).map_err(|error| Refusal::unread(&error))?;
    let classification = {
        let texts = facts.segments.iter().map(|segment| Segment {
            text: segment.text.expose(),
            origin: origin(segment.origin),
            path: segment.path.as_deref(),
        });
        // the model's name and the headers reach the upstream too
        let beside = beside.iter().map(String::as_str).chain([&*facts.model]);
        let segments: Vec<Segment<'_>> = texts
            .chain(beside.map(|text| Segment {
                text,
                origin: proofroom_classify::Origin::User,
                path: None,
            }))
            .collect();
        core.classify(&segments, caller)
    };
    // the texts are wiped here, not at the end of a long answer
    facts.segments = Vec::new();
    Ok(Reading {
        facts,
        classification,
        prompt,
    })
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

async fn route(mut draft: Draft, outgoing: Outgoing, reply: Reply) {
    let core = Arc::clone(&draft.core);
    let model = &outgoing.facts.model;
    let request = RouteRequest {
        label: draft.position.after,
        model,
        repository: &draft.caller.identity().repository,
    };
    let api = draft.opening.api;
    let offers = core.offers_for(api, model);
    let decision = core.routing.route(&request, &offers);
    draft.routing.rejected = core.not_speaking(api);
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
            let chosen = Chosen {
                tier,
                assurance,
                candidates,
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

/// What the routing policy allows: one tier, and its upstreams in order.
struct Chosen {
    tier: String,
    assurance: Assurance,
    candidates: Vec<Candidate>,
}

/// Tries the candidates of the one tier chosen, in order, for as long as not one byte of the prompt
/// was sent. There is no other tier to fall back to.
async fn try_candidates(mut draft: Draft, outgoing: Outgoing, chosen: Chosen, mut reply: Reply) {
    let core = Arc::clone(&draft.core);
    let mut last = Attempt::refused(Refusal::unfinished());
    for candidate in &chosen.candidates {
        let attempt = attempt(&core, &mut draft, &outgoing, &chosen, candidate, &mut reply).await;
        match attempt {
            Ok(sent) => return finish_sent(draft, sent, reply).await,
            Err(failed) => {
                draft.routing.rejected.push(RejectedUpstream {
                    upstream: candidate.upstream.clone(),
                    code: failed.refusal.code.clone().into_owned(),
                });
                draft.routing.tier = None;
                draft.routing.upstream = None;
                draft.upstream = None;
                draft.request.forwarded = None;
                last = failed;
            }
        }
    }
    answer_alone(draft, &last.refusal, last.status, None, reply).await;
}

/// A candidate that got nothing of the prompt.
struct Attempt {
    refusal: Refusal,
    status: RunStatus,
}

impl Attempt {
    const fn refused(refusal: Refusal) -> Self {
        Self {
            refusal,
            status: RunStatus::Refused,
        }
    }
}

/// What became of a request that was sent.
enum Sent {
    Answered(UpstreamResponse),
    Failed(UpstreamFault),
    ClientGone,
}

async fn attempt(
    core: &Arc<Core>,
    draft: &mut Draft,
    outgoing: &Outgoing,
    chosen: &Chosen,
    candidate: &Candidate,
    reply: &mut Reply,
) -> Result<Sent, Attempt> {
    let channel = core
        .channel(&candidate.upstream)
        .ok_or_else(|| Attempt::refused(UpstreamFault::Unreachable.refusal()))?;
    let upstream = Arc::clone(channel.upstream());
    let model = upstream
        .served(&candidate.model)
        .unwrap_or(&candidate.model);
    let open = tokio::select! {
        biased;
        () = reply.closed() => return Ok(Sent::ClientGone),
        open = channel.open(core, model, chosen.assurance) => open.map_err(|error| Attempt::refused(error.refusal()))?,
    };
    let prompt = if model == outgoing.facts.model {
        outgoing.prompt.clone()
    } else {
        let spliced = outgoing
            .facts
            .with_model(outgoing.prompt.as_slice(), model)
            .map_err(|error| Attempt::refused(Refusal::unread(&error)))?;
        Prompt::new(spliced)
    };
    let request = build(draft, outgoing, &upstream, &prompt)?;
    core.sink
        .ready()
        .map_err(|_| Attempt::refused(Refusal::closed()))?;
    draft.routing.tier = Some(chosen.tier.clone());
    draft.routing.upstream = Some(upstream.name.clone());
    draft.request.forwarded = Some(Digest::of(prompt.as_slice()));
    draft.upstream = Some(open.facts(&upstream));
    core.observer.observe(&RunEvent::Routed {
        session: draft.caller.identity().session,
        run: draft.opening.run,
        label: draft.high_water().to_owned(),
        tier: chosen.tier.clone(),
        upstream: upstream.name.clone(),
    });
    drop(prompt);
    send(core, channel, &open, request, reply).await
}

fn build(
    draft: &Draft,
    outgoing: &Outgoing,
    upstream: &Upstream,
    prompt: &Prompt,
) -> Result<Request<Full<bytes::Bytes>>, Attempt> {
    let unsendable = || Attempt::refused(UpstreamFault::Unreachable.refusal());
    let path = format!("{}{}", draft.opening.api.path(), outgoing.query);
    let uri = upstream.base_url.join(&path).map_err(|_| unsendable())?;
    let forwarded =
        headers::to_upstream(&outgoing.headers, &upstream.credential).map_err(|_| unsendable())?;
    let mut request = Request::new(Full::new(prompt.to_bytes()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    *request.headers_mut() = forwarded;
    Ok(request)
}

/// Sends, and waits for the head of the answer. A failure to connect sent nothing, so another
/// candidate may be tried; after any other failure the run is over.
async fn send(
    core: &Arc<Core>,
    channel: &Channel,
    open: &OpenChannel,
    request: Request<Full<bytes::Bytes>>,
    reply: &mut Reply,
) -> Result<Sent, Attempt> {
    let answer = tokio::time::timeout(core.limits.first_byte, open.client().request(request));
    let answered = tokio::select! {
        biased;
        () = reply.closed() => return Ok(Sent::ClientGone),
        answered = answer => answered,
    };
    match answered {
        Err(_) => Ok(Sent::Failed(UpstreamFault::Silent)),
        Ok(Ok(response)) => Ok(Sent::Answered(response)),
        Ok(Err(error)) if error.is_connect() => {
            let (refusal, status) = channel.connect_failed(core, open);
            Err(Attempt { refusal, status })
        }
        Ok(Err(_)) => Ok(Sent::Failed(UpstreamFault::Broken)),
    }
}

async fn finish_sent(draft: Draft, sent: Sent, reply: Reply) {
    match sent {
        Sent::ClientGone => {
            let status = RunStatus::Cancelled;
            answer_alone(draft, &Refusal::broken(), status, None, reply).await;
        }
        Sent::Failed(fault) => {
            let status = RunStatus::UpstreamError;
            answer_alone(draft, &fault.refusal(), status, None, reply).await;
        }
        Sent::Answered(response) => match unusable(&response) {
            Some(fault) => {
                let http_status = response.status().as_u16();
                drop(response);
                let status = RunStatus::UpstreamError;
                answer_alone(draft, &fault.refusal(), status, Some(http_status), reply).await;
            }
            None => pump::stream(draft, response, reply).await,
        },
    }
}

/// Why nothing of an answer may reach the client.
fn unusable(response: &UpstreamResponse) -> Option<UpstreamFault> {
    let status = response.status();
    if status == StatusCode::UNAUTHORIZED {
        // its text may repeat part of the gateway's key
        return Some(UpstreamFault::CredentialsRefused);
    }
    if status.is_redirection() || status.is_informational() {
        return Some(UpstreamFault::NotAnApi);
    }
    let encoding = response.headers().get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|value| value != "identity") {
        return Some(UpstreamFault::Encoded);
    }
    let kind = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase());
    let of_an_api = matches!(
        kind.as_deref(),
        Some("application/json" | "text/event-stream")
    );
    (status.is_success() && !of_an_api).then_some(UpstreamFault::NotAnApi)
}

/// Ends a run whose answer is the gateway's own: record first, then the answer.
async fn answer_alone(
    draft: Draft,
    refusal: &Refusal,
    status: RunStatus,
    http_status: Option<u16>,
    reply: Reply,
) {
    let api = draft.opening.api;
    let head = draft.headers();
    let body = refusal.body(api);
    let failure = (status != RunStatus::Cancelled).then(|| refusal.failure());
    let response = http_status.map(|http_status| ModelResponse {
        http_status,
        digest: Digest::of(&body),
        bytes: body.len() as u64,
        tokens: None,
    });
    let end = End {
        status,
        failure,
        response,
    };
    let answer = match draft.close(end).await {
        Ok(record) => {
            let body = AnswerBody::ready(body, Some(trailers(record, status)));
            refusal.respond(head, body)
        }
        Err(_) => Refusal::closed().response(api),
    };
    // a client that is gone needs no answer; the record is durable
    drop(reply.send(answer));
}

/// The wire format of an API, as upstreams are configured with it.
pub(crate) const fn upstream_api(api: proofroom_llm::Api) -> UpstreamApi {
    match api {
        proofroom_llm::Api::ChatCompletions => UpstreamApi::Chat,
        proofroom_llm::Api::Messages => UpstreamApi::Messages,
    }
}
