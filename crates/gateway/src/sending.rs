//! From the routing decision to the head of an upstream's answer: the candidates of one tier, in
//! order, for as long as nothing was sent.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::Full;
use proofroom_canonical::Digest;
use proofroom_classify::{Assurance, Candidate};
use proofroom_llm::{Api, RequestFacts};
use proofroom_record::{event::RunStatus, statement::RejectedUpstream};

use crate::{
    channel::{Channel, OpenChannel},
    config::Upstream,
    draft::Draft,
    gateway::Core,
    headers,
    observe::RunEvent,
    prompt::Prompt,
    pump,
    refusal::{Refusal, UpstreamFault},
    run::{Reply, answer_alone},
    translated::{self, Translating},
    transport::UpstreamResponse,
};

/// A request on its way to an upstream.
pub(crate) struct Outgoing {
    pub(crate) facts: RequestFacts,
    pub(crate) prompt: Prompt,
    /// Of the prompt.
    pub(crate) digest: Digest,
    pub(crate) headers: HeaderMap,
    pub(crate) query: &'static str,
}

/// What the routing policy allows: one tier, and its upstreams in order.
pub(crate) struct Chosen {
    pub(crate) tier: String,
    pub(crate) assurance: Assurance,
    pub(crate) candidates: Vec<Candidate>,
}

/// Tries the candidates of the one tier chosen, in order, for as long as not one byte of the prompt
/// was sent. There is no other tier to fall back to.
pub(crate) async fn try_candidates(
    mut draft: Box<Draft>,
    outgoing: Box<Outgoing>,
    chosen: Chosen,
    mut reply: Reply,
) {
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
                draft.signed = None;
                draft.translating = None;
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
    let spoken = upstream
        .spoken(draft.opening.api)
        .ok_or_else(|| Attempt::refused(UpstreamFault::Unreachable.refusal()))?;
    let translating = Translating::between(draft.opening.api, spoken, outgoing.facts.usage);
    let prompt = if let Some(translating) = &translating {
        translating
            .prompt(&outgoing.prompt, model)
            .map_err(Attempt::refused)?
    } else if model == outgoing.facts.model {
        outgoing.prompt.clone()
    } else {
        let spliced = outgoing
            .facts
            .with_model(outgoing.prompt.as_slice(), model)
            .map_err(|error| Attempt::refused(Refusal::unread(&error)))?;
        Prompt::new(spliced)
    };
    let request = build(draft, outgoing, &upstream, (spoken, model), &prompt)?;
    core.sink
        .ready()
        .map_err(|_| Attempt::refused(Refusal::closed()))?;
    let forwarded = if prompt.is(&outgoing.prompt) {
        outgoing.digest
    } else {
        Digest::of(prompt.as_slice())
    };
    draft.routing.tier = Some(chosen.tier.clone());
    draft.routing.upstream = Some(upstream.name.clone());
    draft.request.forwarded = Some(forwarded);
    draft.translating = translating;
    model.clone_into(&mut draft.asked_model);
    draft.upstream = Some(open.facts(&upstream, core.clock.now()));
    draft.signed = open.signed(channel);
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
    (spoken, model): (Api, &str),
    prompt: &Prompt,
) -> Result<Request<Full<Bytes>>, Attempt> {
    let unsendable = || Attempt::refused(UpstreamFault::Unreachable.refusal());
    let same = spoken == draft.opening.api;
    let query = if same { outgoing.query } else { "" };
    let path = upstream.paths.path(spoken, model, query);
    let path = path.ok_or_else(unsendable)?;
    let uri = upstream.base_url.join(&path).map_err(|_| unsendable())?;
    let mut forwarded =
        headers::to_upstream(&outgoing.headers, &upstream.credential).map_err(|_| unsendable())?;
    if !same {
        translated::adjust(&mut forwarded, spoken);
    }
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
    request: Request<Full<Bytes>>,
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

async fn finish_sent(draft: Box<Draft>, sent: Sent, reply: Reply) {
    match sent {
        Sent::ClientGone => {
            let status = RunStatus::Cancelled;
            answer_alone(draft, &Refusal::broken(), status, None, reply).await;
        }
        Sent::Failed(fault) => {
            let status = RunStatus::UpstreamError;
            answer_alone(draft, &fault.refusal(), status, None, reply).await;
        }
        Sent::Answered(response) => match (unusable(&response), draft.translating) {
            (Some(fault), _) => {
                let http_status = response.status().as_u16();
                drop(response);
                let status = RunStatus::UpstreamError;
                answer_alone(draft, &fault.refusal(), status, Some(http_status), reply).await;
            }
            (None, Some(translating)) => {
                Box::pin(translated::stream(draft, translating, response, reply)).await;
            }
            (None, None) => pump::answer(draft, response, reply).await,
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
