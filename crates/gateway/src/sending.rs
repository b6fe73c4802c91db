//! From the routing decision to the head of an upstream's answer: the candidates of one tier, in
//! order, for as long as nothing was sent or they are busy.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::Full;
use proofroom_canonical::Digest;
use proofroom_classify::{Assurance, Candidate};
use proofroom_llm::{Api, RequestFacts};
use proofroom_record::{event::RunStatus, statement::RejectedUpstream};
use proofroom_sealing::SealError;

use crate::{
    channel::{Channel, ChannelError, OpenChannel},
    config::{Paths, Upstream},
    control::{Patience, is_busy},
    credential::Access,
    draft::Draft,
    gateway::Core,
    headers,
    invoked::Invoked,
    observe::RunEvent,
    prompt::Prompt,
    pump,
    receipt::Signed,
    refusal::{Refusal, UpstreamFault},
    run::{Reply, answer_alone},
    translated::{self, Translating},
    transport::{RequestFault, UpstreamResponse},
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

/// Tries the candidates of the one tier chosen, in order: the next where one got not one byte of the prompt or
/// was busy, and all again after a pause while the run has patience. There is no other tier to fall back to.
pub(crate) async fn try_candidates(
    mut draft: Box<Draft>,
    outgoing: Box<Outgoing>,
    chosen: Chosen,
    mut reply: Reply,
) {
    let core = Arc::clone(&draft.core);
    let mut patience = Patience::of(&core.upstreams.control);
    let mut last = Attempt::refused(Refusal::unfinished());
    loop {
        let mut after = None;
        let mut busy_head = None;
        for (place, candidate) in chosen.candidates.iter().enumerate() {
            let sent = attempt(&core, &mut draft, &outgoing, &chosen, candidate, &mut reply).await;
            let sent = match sent {
                Ok(sent) => sent,
                Err(failed) => {
                    last = failed;
                    not_reached(&mut draft, candidate, &last.refusal);
                    continue;
                }
            };
            let others = place.saturating_add(1) < chosen.candidates.len();
            after = match again(&core, &mut patience, &sent, others) {
                None => {
                    // the prompt is wiped here, not at the end of a long answer
                    drop((outgoing, chosen));
                    return finish_sent(draft, sent, reply).await;
                }
                Some(Again::AtTheNext(head)) => {
                    busy_head = Some(head);
                    None
                }
                Some(Again::After(pause)) => Some(pause),
            };
            busy(&core, &mut draft, candidate, sent);
        }
        let waited_for = || pause(&core, &mut patience, &busy_head?);
        let Some(pause) = after.or_else(waited_for) else {
            break;
        };
        tokio::select! {
            biased;
            () = reply.closed() => return finish_sent(draft, Sent::ClientGone, reply).await,
            () = tokio::time::sleep(pause) => {}
        }
    }
    let status = match last.status {
        RunStatus::Refused if !draft.earlier.is_empty() => RunStatus::UpstreamError,
        status => status,
    };
    answer_alone(draft, &last.refusal, status, None, reply).await;
}

/// How a request is sent again.
enum Again {
    /// To another candidate, at once, and after a pause as this head says where none of those can be asked.
    AtTheNext(HeaderMap),
    /// To the first, after a pause.
    After(Duration),
}

/// How a request that was `sent` is sent again; `None` where what came of it is the answer.
fn again(core: &Core, patience: &mut Patience, sent: &Sent, others: bool) -> Option<Again> {
    let Sent::Answered(response) = sent else {
        return None;
    };
    let left = patience.attempted();
    if !left || !is_busy(response.status()) {
        return None;
    }
    if others {
        return Some(Again::AtTheNext(response.headers().clone()));
    }
    pause(core, patience, response.headers()).map(Again::After)
}

/// How long the run waits before it asks an upstream again that was busy with `head`; `None` where it may not.
fn pause(core: &Core, patience: &mut Patience, head: &HeaderMap) -> Option<Duration> {
    let random = u32::from_le_bytes(core.random()?);
    patience.pause(head, random)
}

/// What a trace says of a sending whose upstream was busy.
const BUSY: &str = "upstream-busy";

/// Writes down that `candidate` was busy, and lets go of what it answered.
fn busy(core: &Core, draft: &mut Draft, candidate: &Candidate, sent: Sent) {
    let Sent::Answered(response) = sent else {
        return;
    };
    let status = response.status().as_u16();
    draft.note_busy(status);
    if let Some(tracked) = &mut draft.opening.tracked {
        tracked.given_up(BUSY);
    }
    core.observer.observe(&RunEvent::SentAgain {
        session: draft.caller.identity().session,
        run: draft.opening.run,
        upstream: candidate.upstream.clone(),
        status,
    });
}

/// Writes down, once, why `candidate` was not sent the request.
fn not_reached(draft: &mut Draft, candidate: &Candidate, refusal: &Refusal) {
    let rejected = RejectedUpstream {
        upstream: candidate.upstream.clone(),
        code: refusal.code.to_owned(),
    };
    if !draft.routing.rejected.contains(&rejected) {
        draft.routing.rejected.push(rejected);
    }
    draft.forget_upstream();
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

/// The way to a candidate, unless it rests.
fn way_to<'a>(core: &'a Core, candidate: &Candidate) -> Result<&'a Channel, Attempt> {
    let unreachable = || Attempt::refused(UpstreamFault::Unreachable.refusal());
    let channel = core.channel(&candidate.upstream).ok_or_else(unreachable)?;
    let (control, now) = (&core.upstreams.control, core.clock.now());
    match core.healths.permits(&candidate.upstream, control, now) {
        Ok(()) => Ok(channel),
        Err(rests) => Err(Attempt::refused(Refusal::resting(rests))),
    }
}

async fn attempt(
    core: &Arc<Core>,
    draft: &mut Draft,
    outgoing: &Outgoing,
    chosen: &Chosen,
    candidate: &Candidate,
    reply: &mut Reply,
) -> Result<Sent, Attempt> {
    // before anything is asked that may end meanwhile: evidence, a credential, the client's patience
    core.company.gather().await;
    let channel = way_to(core, candidate)?;
    let upstream = Arc::clone(channel.upstream());
    let model = upstream
        .served(&candidate.model)
        .unwrap_or(&candidate.model);
    let open = tokio::select! {
        biased;
        () = reply.closed() => return Ok(Sent::ClientGone),
        open = opened(core, draft, channel, (model, chosen.assurance)) => open?,
    };
    let spoken = upstream
        .spoken(draft.opening.api)
        .ok_or_else(|| Attempt::refused(UpstreamFault::Unreachable.refusal()))?;
    let access = tokio::select! {
        biased;
        () = reply.closed() => return Ok(Sent::ClientGone),
        access = upstream.credential.access(core, &upstream.name) => access,
    };
    let access = access.map_err(|error| Attempt::refused(error.refusal()))?;
    let translating = Translating::between(draft.opening.api, spoken, outgoing.facts.usage);
    let invokes = upstream.paths == Paths::Bedrock;
    let invoked = invokes.then(|| Invoked::new(outgoing.facts.delivery));
    let said = say(outgoing, model, translating.as_ref(), invoked.as_ref());
    let prompt = said.map_err(Attempt::refused)?;
    let wire = (spoken, invoked.as_ref(), &access);
    let mut request = build(draft, outgoing, &upstream, (wire, model), &prompt)?;
    let signed = challenged(core, channel, &open, &mut request)?;
    // a pause may have come before
    if core.is_closed() || core.sink.ready().is_err() {
        return Err(Attempt::refused(Refusal::closed()));
    }
    let forwarded = if prompt.is(&outgoing.prompt) {
        outgoing.digest
    } else {
        Digest::of(prompt.as_slice())
    };
    sign(core, &access, &mut request, forwarded)?;
    draft.routing.tier = Some(chosen.tier.clone());
    draft.routing.upstream = Some(upstream.name.clone());
    draft.request.forwarded = Some(forwarded);
    draft.translating = translating;
    draft.invoked.clone_from(&invoked);
    model.clone_into(&mut draft.asked_model);
    draft.upstream = Some(open.facts(&upstream, model, draft.now()));
    draft.signed = signed;
    drop(prompt);
    let open = (channel, &open);
    let sent = send_traced(core, draft, open, (request, spoken), reply).await?;
    Ok(match (sent, invoked) {
        (Sent::Answered(response), Some(invoked)) => Sent::Answered(invoked.answer(response)),
        (sent, _) => sent,
    })
}

/// The request's body as the upstream takes it.
fn say(
    outgoing: &Outgoing,
    model: &str,
    translating: Option<&Translating>,
    invoked: Option<&Invoked>,
) -> Result<Prompt, Refusal> {
    match (translating, invoked) {
        (Some(translating), None) => translating.prompt(&outgoing.prompt, model),
        (Some(translating), Some(_)) => {
            let messages = translating.prompt(&outgoing.prompt, model)?;
            Invoked::prompt(&messages, &HeaderMap::new())
        }
        (None, Some(_)) => Invoked::prompt(&outgoing.prompt, &outgoing.headers),
        (None, None) if model == outgoing.facts.model => Ok(outgoing.prompt.clone()),
        (None, None) => {
            let spliced = outgoing.facts.with_model(outgoing.prompt.as_slice(), model);
            let spliced = spliced.map_err(|error| Refusal::unread(&error))?;
            Ok(Prompt::new(spliced))
        }
    }
}

/// Sends, as the run's trace says too.
async fn send_traced(
    core: &Arc<Core>,
    draft: &mut Draft,
    (channel, open): (&Channel, &OpenChannel),
    (request, spoken): (Request<Full<Bytes>>, Api),
    reply: &mut Reply,
) -> Result<Sent, Attempt> {
    let tracked = &mut draft.opening.tracked;
    if let Some(tracked) = tracked {
        tracked.sends(&channel.upstream().name, spoken);
    }
    let sent = send(core, channel, open, request, reply).await;
    if let Some(tracked) = tracked {
        match &sent {
            Ok(Sent::Answered(response)) => tracked.answered(response.status().as_u16()),
            Err(failed) => tracked.given_up(failed.refusal.code),
            // they end with the run
            Ok(Sent::Failed(_) | Sent::ClientGone) => {}
        }
    }
    sent
}

/// The way to a candidate, verified first where it must be.
async fn opened(
    core: &Arc<Core>,
    draft: &mut Draft,
    channel: &Channel,
    (model, tier): (&str, Assurance),
) -> Result<OpenChannel, Attempt> {
    let tracked = draft.opening.tracked.as_mut();
    let mut waiting = tracked.filter(|_| channel.waits(core));
    if let Some(tracked) = &mut waiting {
        tracked.waits(&channel.upstream().name);
    }
    let open = channel.open(core, model, tier).await;
    if let Some(tracked) = waiting {
        let outcome = open.as_ref().map(OpenChannel::evidence);
        tracked.waited(outcome.map_err(ChannelError::code));
    }
    open.map_err(|error| Attempt::refused(error.refusal()))
}

fn build(
    draft: &Draft,
    outgoing: &Outgoing,
    upstream: &Upstream,
    ((spoken, invoked, access), model): ((Api, Option<&Invoked>, &Access), &str),
    prompt: &Prompt,
) -> Result<Request<Full<Bytes>>, Attempt> {
    let unsendable = || Attempt::refused(UpstreamFault::Unreachable.refusal());
    let same = spoken == draft.opening.api;
    let query = if same { outgoing.query } else { "" };
    let asked = (model, outgoing.facts.delivery);
    let path = upstream.paths.path(spoken, asked, query);
    let path = path.ok_or_else(unsendable)?;
    let uri = upstream.base_url.join(&path).map_err(|_| unsendable())?;
    let mut forwarded = headers::to_upstream(&outgoing.headers, access);
    if !same {
        translated::adjust(&mut forwarded, spoken);
    }
    if let Some(invoked) = invoked {
        invoked.adjust(&mut forwarded);
    }
    let mut request = Request::new(Full::new(prompt.to_bytes()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    *request.headers_mut() = forwarded;
    Ok(request)
}

/// Signs a request whose body has this digest, where that proves who sends it. Nothing of it is changed afterwards.
fn sign(
    core: &Core,
    access: &Access,
    request: &mut Request<Full<Bytes>>,
    forwarded: Digest,
) -> Result<(), Attempt> {
    let Access::Signature(access) = access else {
        return Ok(());
    };
    let signed = access.sign(request, forwarded, core.clock.now());
    signed.map_err(|error| Attempt::refused(error.refusal()))
}

/// What is needed for the receipt of the answer to `request`, where one is required; `request` then carries
/// what its receipt must repeat, where that is found so.
fn challenged(
    core: &Core,
    channel: &Channel,
    open: &OpenChannel,
    request: &mut Request<Full<Bytes>>,
) -> Result<Option<Signed>, Attempt> {
    let signed = open
        .signed(channel, core)
        .map_err(|error| Attempt::refused(error.refusal()))?;
    if let Some(signed) = &signed {
        signed.mark(request.headers_mut());
    }
    Ok(signed)
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
    let base = &channel.upstream().base_url;
    let answer = tokio::time::timeout(core.limits.first_byte, open.request(core, base, request));
    let answered = tokio::select! {
        biased;
        () = reply.closed() => return Ok(Sent::ClientGone),
        answered = answer => answered,
    };
    let failed = match &answered {
        Ok(Ok(response)) => response.status().is_server_error() && !is_busy(response.status()),
        _ => true,
    };
    note_health(core, &channel.upstream().name, failed);
    match answered {
        Err(_) => Ok(Sent::Failed(UpstreamFault::Silent)),
        Ok(Ok(response)) => Ok(Sent::Answered(response)),
        Ok(Err(RequestFault::Client(error))) if error.is_connect() => {
            let (refusal, status) = channel.connect_failed(core, open);
            Err(Attempt { refusal, status })
        }
        Ok(Err(RequestFault::Client(_))) => Ok(Sent::Failed(UpstreamFault::Broken)),
        Ok(Err(RequestFault::Sealed(fault))) => {
            let fault = fault.fault();
            if fault == UpstreamFault::Sealed(SealError::KeyUnknown.code()) {
                channel.sealing_key_unknown(core, open);
            }
            Ok(Sent::Failed(fault))
        }
    }
}

/// Writes down how an upstream fared; tells when that begins or ends its rest.
fn note_health(core: &Core, upstream: &str, failed: bool) {
    let control = &core.upstreams.control;
    let named = || upstream.to_owned();
    let event = if failed {
        let until = core.healths.failed(upstream, control, core.clock.now());
        until.map(|until| RunEvent::UpstreamRests {
            upstream: named(),
            until,
        })
    } else {
        let back = core.healths.answered(upstream);
        back.then(|| RunEvent::UpstreamBack { upstream: named() })
    };
    if let Some(event) = event {
        core.observer.observe(&event);
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
        Sent::Answered(response) => match (unusable(&draft, &response), draft.translating) {
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
fn unusable(draft: &Draft, response: &UpstreamResponse) -> Option<UpstreamFault> {
    let status = response.status();
    let forbidden = status == StatusCode::FORBIDDEN && is_at_aws(draft);
    if status == StatusCode::UNAUTHORIZED || forbidden {
        // its text may repeat part of the gateway's key, and AWS's what was signed, token and all
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
        .and_then(|value| value.split(';').next());
    let of_an_api = kind.is_some_and(|kind| {
        let mut kinds = ["application/json", "text/event-stream"].into_iter();
        kinds.any(|known| kind.trim().eq_ignore_ascii_case(known))
    });
    (status.is_success() && !of_an_api).then_some(UpstreamFault::NotAnApi)
}

/// Whether the upstream that was asked is AWS, which says with 403 alone what is wrong with a key.
fn is_at_aws(draft: &Draft) -> bool {
    let upstream = draft.routing.upstream.as_ref();
    let channel = upstream.and_then(|name| draft.core.channel(name));
    draft.invoked.is_some() || channel.is_some_and(|found| found.upstream().credential.is_aws())
}
