//! The host's end of a room's channel: HTTP/2 over one stream, one session per connection. Who is
//! calling is the connection; no key inside the room stands for anything here.

mod activity;
mod body;
mod close;
mod egress;
mod identity;
mod orders;
pub(crate) mod room;
mod workspace;

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use p256::ecdsa::VerifyingKey;
use proofroom_canonical::{Digest, Timestamp, json as strict};
use proofroom_egress_broker::Broker;
use proofroom_gateway::{Caller, Gateway};
use proofroom_record::{
    room_api::{
        ASSIGNMENT, Assignment, CLOSE, EGRESS, EGRESS_ACCOUNTS, EVENTS, EventsDurable, IDENTITY,
        LimitEffect, MAX_ANSWER_BYTES, MAX_ATTESTED_REQUEST_BYTES, MAX_EVENTS_POST_BYTES, ORDERS,
        ORDERS_DUE, ORDERS_WAIT_SECONDS, PROGRESS, Person, Progress as RoomProgress, REPORTS,
        RESULT, RUNS, ReportKind, RunsRecorded, WORKSPACE,
    },
    statement::{AgentSession, RoomEvidenceClaim},
};
use proofroom_room::Meter;
use proofroom_tlog::LeafKind;
use tokio::{
    net::UnixStream,
    sync::{Mutex, mpsc},
};

use self::{
    activity::Activity,
    body::{Body, Refusal, collect, json},
    orders::OrderBook,
};
pub use self::{activity::Liveliness, room::RoomAttestation};
use crate::{
    broker::Origin, causes::chain, journal::Journal, keys::DeploymentKeys, progress::Progress,
    session::DeliveryInspector, shelf::Shelf,
};

/// How many events may follow the last event head in the log.
const EVENTS_PER_HEAD: u64 = 64;

/// What a session is about: fixed before its room starts.
#[derive(Debug)]
pub struct SessionFacts {
    /// What the room is told.
    pub assignment: Assignment,
    /// What it was opened for, as whoever started it says.
    pub purpose: String,
    /// The reference that its commits become.
    pub reference: String,
    /// The repository.
    pub origin: Origin,
    /// The session's folder.
    pub dir: PathBuf,
    /// Judges what is delivered.
    pub inspector: DeliveryInspector,
    /// Reads what its room uses.
    pub meter: Meter,
    /// How long it may do nothing.
    pub idle: Duration,
    /// What the room must show of itself.
    pub attestation: RoomAttestation,
}

/// What serves a session.
#[derive(Debug)]
pub struct Services {
    /// The deployment's keys.
    pub keys: Arc<DeploymentKeys>,
    /// The model gateway.
    pub gateway: Gateway,
    /// The egress broker.
    pub egress: Arc<Broker>,
    /// Where the session's records go.
    pub shelf: Arc<Shelf>,
    /// What a person sees.
    pub progress: Arc<Progress>,
    /// The host's clock.
    pub clock: fn() -> Timestamp,
}

/// One session, seen from the host.
pub struct SessionService {
    facts: SessionFacts,
    services: Services,
    state: Mutex<State>,
    delivering: Arc<Mutex<()>>,
    book: OrderBook,
    activity: Arc<Activity>,
}

impl std::fmt::Debug for SessionService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionService")
            .field("session", &self.facts.assignment.session)
            .finish_non_exhaustive()
    }
}

/// How far the session has come.
enum State {
    /// The room has no identity yet: it may ask what it is for, and nothing else.
    Anonymous,
    /// The session key is known.
    Identified(Box<Identified>),
    /// The session record is in: nothing more is taken.
    Closed(Box<Closed>),
}

struct Identified {
    binding: Digest,
    room_evidence: RoomEvidenceClaim,
    key: VerifyingKey,
    journal: Arc<std::sync::Mutex<Journal>>,
    announced: Arc<std::sync::Mutex<egress::Announced>>,
    caller: Arc<Caller>,
}

/// What a session closed with.
#[derive(Clone, Debug)]
pub struct Closed {
    /// The session record's claim.
    pub record: AgentSession,
    /// Digest of its file.
    pub digest: Digest,
}

impl SessionService {
    /// A session that no room has spoken for yet.
    #[must_use]
    pub fn new(facts: SessionFacts, services: Services) -> Self {
        let activity = Activity::new(facts.idle, facts.meter.clone());
        Self {
            facts,
            services,
            state: Mutex::new(State::Anonymous),
            delivering: Arc::default(),
            book: OrderBook::new(),
            activity: Arc::new(activity),
        }
    }

    /// Orders a command for a person in the living room. Its reports end when it has ended, or when
    /// the session has.
    #[must_use]
    pub fn execute(&self, argv: Vec<String>, by: Person) -> mpsc::Receiver<ReportKind> {
        self.book.execute(argv, by)
    }

    /// Nothing is reported to anybody any more: the room is gone.
    pub fn end_reports(&self) {
        self.book.end();
    }

    /// Orders the pause that is over to be written down; it does not count as doing nothing.
    pub fn was_paused(&self, from: Timestamp, to: Timestamp) {
        self.activity.touch();
        self.book.paused(from, to);
    }

    /// Looks at what the session's kernel says, and whether the session does anything.
    #[must_use]
    pub fn look(&self) -> Liveliness {
        self.activity.tell_kills(&self.book);
        self.activity.liveliness()
    }

    /// Orders the session to end because it did nothing for too long.
    pub fn end_idle(&self) {
        let seconds = self.activity.idle_seconds();
        let detail = format!("{seconds} s without an event or model traffic");
        self.book.limit("idle", detail, LimitEffect::Ends);
    }

    /// Waits until nothing that the room began is still under way: model runs have their records,
    /// a delivery is done or refused. No run begins afterwards. Call it when the room is gone.
    pub async fn settle(&self) {
        let caller = self.identified(|found| Arc::clone(&found.caller)).await;
        if let Ok(caller) = caller {
            caller.settle().await;
        }
        drop(self.delivering.lock().await);
    }

    /// The agent, as the access policy names it.
    #[must_use]
    pub fn agent(&self) -> &str {
        &self.facts.assignment.agent
    }

    /// How many events are durable.
    pub async fn events_durable(&self) -> u64 {
        let journal = match &*self.state.lock().await {
            State::Identified(found) => Arc::clone(&found.journal),
            State::Closed(closed) => return closed.record.events.count,
            State::Anonymous => return 0,
        };
        let counted = tokio::task::spawn_blocking(move || {
            journal
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .count()
        });
        counted.await.unwrap_or(0)
    }

    /// What the session closed with, once it has.
    pub async fn closed(&self) -> Option<Closed> {
        match &*self.state.lock().await {
            State::Closed(closed) => Some((**closed).clone()),
            State::Anonymous | State::Identified(_) => None,
        }
    }

    /// Serves the room at the other end of `channel` until it hangs up.
    ///
    /// # Errors
    /// What HTTP/2 says when the connection breaks; the caller then closes the session itself.
    pub async fn serve(self: Arc<Self>, channel: UnixStream) -> Result<(), hyper::Error> {
        let service = service_fn(move |request| {
            let session = Arc::clone(&self);
            async move { Ok::<_, std::convert::Infallible>(session.answer(request).await) }
        });
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(channel), service)
            .await
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        match Arc::clone(&self).dispatch(request).await {
            Ok(answer) => answer,
            Err(refusal) => {
                self.services.progress.note(&format!(
                    "the room's `{path}` was refused: {} ({})",
                    refusal.message, refusal.code
                ));
                refusal.answer()
            }
        }
    }

    async fn dispatch(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let path = request.uri().path().to_owned();
        let get = request.method() == Method::GET;
        if path.starts_with("/v1/") {
            let caller = self.identified(|found| Arc::clone(&found.caller)).await?;
            return self.model(request, caller).await;
        }
        if get && let Some(answer) = self.orders(&path).await {
            return answer;
        }
        if let (true, Some(request)) = (get, path.strip_prefix(RUNS)) {
            self.identified(|_| ()).await?;
            let request = request
                .parse()
                .map_err(|_| Refusal::bad("digest-malformed", "the path ends with no digest"))?;
            let runs = self.services.shelf.runs_of(request);
            return Ok(json(StatusCode::OK, &RunsRecorded { runs }));
        }
        if let (true, Some(intent)) = (get, path.strip_prefix(EGRESS_ACCOUNTS)) {
            return self.egress_account(intent).await;
        }
        match (get, path.as_str()) {
            (true, ASSIGNMENT) => Ok(json(StatusCode::OK, &self.facts.assignment)),
            (true, WORKSPACE) => {
                self.identified(|_| ()).await?;
                self.workspace()
            }
            (false, IDENTITY) => {
                let body = collect(request.into_body(), MAX_ATTESTED_REQUEST_BYTES).await?;
                self.identify(body).await
            }
            (false, EVENTS) => {
                let body = collect(request.into_body(), MAX_EVENTS_POST_BYTES).await?;
                self.events(body).await
            }
            (false, RESULT) => {
                self.identified(|_| ()).await?;
                let (parts, body) = request.into_parts();
                self.result(&parts.headers, body).await
            }
            (false, EGRESS) => self.egress(request).await,
            (false, PROGRESS) => {
                let body = collect(request.into_body(), MAX_ANSWER_BYTES).await?;
                self.show(&body)
            }
            (false, REPORTS) => {
                let body = collect(request.into_body(), MAX_ANSWER_BYTES).await?;
                self.book.report(&body).await
            }
            (false, CLOSE) => {
                let body = collect(request.into_body(), MAX_ATTESTED_REQUEST_BYTES).await?;
                self.close(body).await
            }
            _ => Err(Refusal {
                status: StatusCode::NOT_FOUND,
                code: "no-such-endpoint",
                message: format!("the room's channel has no `{}`", path.escape_debug()),
            }),
        }
    }

    /// The orders that a path asks for; none when it asks for something else.
    async fn orders(&self, path: &str) -> Option<Result<Response<Body>, Refusal>> {
        let now = path.strip_prefix(ORDERS_DUE);
        let next = now.or_else(|| path.strip_prefix(ORDERS))?;
        if let Err(refusal) = self.identified(|_| ()).await {
            return Some(Err(refusal));
        }
        if now.is_some() {
            self.activity.tell_kills(&self.book);
            return Some(self.book.answer_due(next));
        }
        let most = Duration::from_secs(ORDERS_WAIT_SECONDS);
        Some(self.book.answer(next, most).await)
    }

    async fn model(
        &self,
        request: Request<Incoming>,
        caller: Arc<Caller>,
    ) -> Result<Response<Body>, Refusal> {
        self.activity.touch();
        let activity = Arc::clone(&self.activity);
        let answer = self.services.gateway.handle(request, caller).await;
        Ok(answer.map(|answer| body::of_gateway(answer, move || activity.touch())))
    }

    /// Something of the identified session; refuses a room without identity or after its close.
    async fn identified<T>(&self, take: impl FnOnce(&Identified) -> T) -> Result<T, Refusal> {
        match &*self.state.lock().await {
            State::Identified(found) => Ok(take(found)),
            State::Anonymous => Err(Refusal::bad("no-identity", "the room has no identity yet")),
            State::Closed(_) => Err(Refusal::bad("session-closed", "the session is closed")),
        }
    }

    async fn events(&self, post: Bytes) -> Result<Response<Body>, Refusal> {
        let (journal, announced) = self
            .identified(|found| (Arc::clone(&found.journal), Arc::clone(&found.announced)))
            .await?;
        let appended = tokio::task::spawn_blocking(move || {
            let mut journal = journal
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let before = journal.count();
            let events = journal.append(&post)?;
            Ok((before, journal.count(), journal.head(), events))
        });
        let (before, count, head, events) = appended
            .await
            .map_err(|_| Refusal::failed("internal", "the journal stopped"))?
            .map_err(|error: crate::journal::JournalError| {
                Refusal::failed(error.code(), chain(&error))
            })?;
        if before == 0 || before / EVENTS_PER_HEAD != count / EVENTS_PER_HEAD {
            self.services
                .shelf
                .log(LeafKind::EventHead, head)
                .await
                .map_err(|error| Refusal::failed(error.code(), chain(&error)))?;
        }
        if !events.is_empty() {
            self.activity.touch();
        }
        let mut announced = announced
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for event in &events {
            announced.see(event);
            self.services.progress.event(event);
        }
        drop(announced);
        let durable = count.saturating_sub(1);
        Ok(json(StatusCode::OK, &EventsDurable { durable }))
    }

    fn show(&self, body: &Bytes) -> Result<Response<Body>, Refusal> {
        let progress: RoomProgress = strict::parse(body, MAX_ANSWER_BYTES)
            .map_err(|error| Refusal::bad("progress-malformed", chain(&error)))?;
        self.services
            .progress
            .from_room(progress.kind, &progress.text);
        Ok(json(StatusCode::OK, &serde_json::json!({})))
    }
}
