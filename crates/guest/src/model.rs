//! Model requests: from the agent's connection to the gateway over the channel and back, streaming,
//! with an intent before and an outcome after. The end of the answer is held back until the outcome
//! is durable. Prompts and answers pass through; nothing of them is kept but a digest.

use std::{
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use proofroom_authz::Operation;
use proofroom_canonical::{Digest, RunId};
use proofroom_record::{
    event::{Action, Outcome, RunStatus},
    room_api::{
        LABEL_HEADER, MAX_ANSWER_BYTES, MAX_MODEL_REQUEST_BYTES, RECORD_TRAILER, RUN_HEADER, RUNS,
        RunRecorded, RunsRecorded, SEQUENCE_HEADER, STATUS_TRAILER, TIER_HEADER, TOKENS_TRAILER,
    },
};
use tokio::sync::{OwnedRwLockReadGuard, mpsc};

use crate::{
    channel::{Body, BoxError, whole},
    serve::error_response,
    session::Session,
    tools::{self, ToolError},
};

/// Request headers that go to the gateway. No credential is among them.
const FORWARDED: [&str; 4] = [
    "accept",
    "content-type",
    "anthropic-version",
    "anthropic-beta",
];
/// Response headers that belong to one connection alone (RFC 9110 §7.6.1).
const HOP_BY_HOP: [&str; 5] = [
    "connection",
    "keep-alive",
    "transfer-encoding",
    "upgrade",
    "trailer",
];
/// Pieces of an answer that wait for the agent before the gateway has to.
const PIECES: usize = 8;

/// How often the host is asked for the record of a run that was cut short, and how long apart.
const RECORD_TRIES: u32 = 100;
const RECORD_RETRY: Duration = Duration::from_millis(50);

/// Passes one request on.
pub async fn forward(session: Arc<Session>, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let endpoint = parts.uri.path().to_owned();
    if parts.method == Method::GET {
        return forward_listing(&session, &endpoint).await;
    }
    let limited = Limited::new(body, MAX_MODEL_REQUEST_BYTES);
    let Ok(body) = limited
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
    else {
        let message = "the request broke off or is larger than 32 MiB";
        return error_response(StatusCode::PAYLOAD_TOO_LARGE, "request-too-large", message);
    };
    // In a task of its own: an agent that goes away must not cut an event in half.
    let work = tokio::spawn(ask(session, endpoint, parts.headers, body));
    work.await.unwrap_or_else(|_| {
        error_response(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the request was dropped",
        )
    })
}

async fn forward_listing(session: &Session, endpoint: &str) -> Response<Body> {
    let operation = Operation::ModelRun {
        endpoint: endpoint.to_owned(),
    };
    if let Err(error) = tools::decide(session, &operation) {
        session.astray(&Method::GET, endpoint);
        return error_response(error.status(), error.code(), &error.to_string());
    }
    match session.channel.get_bytes(endpoint, MAX_ANSWER_BYTES).await {
        Ok(bytes) => {
            let mut response = Response::new(whole(bytes));
            let json = header::HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
        Err(error) => error_response(StatusCode::BAD_GATEWAY, error.code(), &error.to_string()),
    }
}

async fn ask(
    session: Arc<Session>,
    endpoint: String,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let request = Digest::of(&body);
    let action = session.action().await;
    match begin(&session, &endpoint, headers, body).await {
        Ok((intent, answer)) => {
            let asked = Asked {
                intent,
                request,
                _action: action,
            };
            stream(session, asked, answer)
        }
        Err(error) => error_response(error.status(), error.code(), &error.to_string()),
    }
}

async fn begin(
    session: &Session,
    endpoint: &str,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(u64, Response<Incoming>), ToolError> {
    if let Some(end) = session.ended() {
        return Err(ToolError::Ended(format!("{end:?}")));
    }
    let ended = |error| ToolError::Ended(session.lost(error).to_string());
    let request = Digest::of(&body);
    let action = Action::ModelRun {
        endpoint: endpoint.chars().take(200).collect(),
        request,
    };
    let intent = session.journal.intent(action).await.map_err(ended)?;
    let operation = Operation::ModelRun {
        endpoint: endpoint.to_owned(),
    };
    let sent = match tools::decide(session, &operation) {
        Ok(()) => tokio::select! {
            sent = send(session, endpoint, headers, body) => sent,
            // Dropping the request cancels the run at the gateway.
            _ = session.until_ended() => Err(ToolError::Ended("before the model answered".to_owned())),
        },
        Err(denied) => Err(denied),
    };
    match sent {
        Ok(answer) => Ok((intent, answer)),
        Err(error) => {
            let (code, reason) = (error.code().to_owned(), error.to_string());
            let outcome = match error {
                ToolError::Denied { .. } => Outcome::Denied { code, reason },
                _ => match recorded(session, request).await {
                    Some(run) => cite(session, run),
                    None => Outcome::Failed { code, reason },
                },
            };
            session
                .journal
                .outcome(intent, outcome)
                .await
                .map_err(ended)?;
            Err(error)
        }
    }
}

async fn send(
    session: &Session,
    endpoint: &str,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response<Incoming>, ToolError> {
    let failed = |reason: String| ToolError::Failed {
        code: "gateway-unreachable",
        reason,
    };
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://room{endpoint}"))
        .body(whole(body))
        .map_err(|error| failed(error.to_string()))?;
    for name in FORWARDED.map(HeaderName::from_static) {
        if let Some(value) = headers.get(&name) {
            request.headers_mut().insert(name, value.clone());
        }
    }
    let sent = session.channel.send(request).await;
    sent.map_err(|error| failed(error.to_string()))
}

/// A request under way: its intent is durable, its outcome is not.
struct Asked {
    intent: u64,
    request: Digest,
    _action: OwnedRwLockReadGuard<()>,
}

/// The answer as the agent gets it, fed by a task that also writes the outcome.
fn stream(session: Arc<Session>, asked: Asked, answer: Response<Incoming>) -> Response<Body> {
    let (mut parts, body) = answer.into_parts();
    let (pieces, receiver) = mpsc::channel(PIECES);
    let run = Run::of(&parts.headers);
    for name in HOP_BY_HOP {
        parts.headers.remove(name);
    }
    parts.version = http::Version::HTTP_11;
    drop(tokio::spawn(pump(session, asked, run, body, pieces)));
    Response::from_parts(parts, Pumped(receiver).boxed_unsync())
}

/// What the gateway says of a run, in headers and trailers.
#[derive(Debug, Default)]
struct Run {
    id: Option<RunId>,
    record: Option<Digest>,
    status: Option<RunStatus>,
    tier: Option<String>,
    label: Option<String>,
    sequence: Option<u64>,
    tokens: u64,
}

impl Run {
    fn of(headers: &HeaderMap) -> Self {
        let mut run = Self::default();
        run.read(headers);
        run
    }

    fn read(&mut self, headers: &HeaderMap) {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        self.id = text(RUN_HEADER).and_then(|id| id.parse().ok()).or(self.id);
        let record = text(RECORD_TRAILER).and_then(|digest| digest.parse().ok());
        self.record = record.or(self.record);
        let status = text(STATUS_TRAILER)
            .and_then(|status| serde_json::from_value(serde_json::json!(status)).ok());
        self.status = status.or(self.status);
        if let Some(tier) = text(TIER_HEADER) {
            self.tier = Some(tier.to_owned());
        }
        if let Some(label) = text(LABEL_HEADER) {
            self.label = Some(label.to_owned());
        }
        let sequence = text(SEQUENCE_HEADER).and_then(|place| place.parse().ok());
        self.sequence = sequence.or(self.sequence);
        let tokens = text(TOKENS_TRAILER).and_then(|count| count.parse().ok());
        self.tokens = tokens.unwrap_or(self.tokens);
    }
}

async fn pump(
    session: Arc<Session>,
    asked: Asked,
    mut run: Run,
    mut body: Incoming,
    pieces: mpsc::Sender<Result<Frame<Bytes>, BoxError>>,
) {
    let mut broke = None;
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            // The agent went away: dropping the body cancels the run at the gateway.
            () = pieces.closed() => break,
        };
        match frame {
            None => break,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    if pieces.send(Ok(Frame::data(data))).await.is_err() {
                        break;
                    }
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        run.read(&trailers);
                    }
                }
            },
            Some(Err(error)) => {
                broke = Some(error);
                break;
            }
        }
    }
    drop(body);
    conclude(&session, asked, run).await;
    if let Some(error) = broke {
        // Nobody may be left to read it.
        drop(pieces.send(Err(error.into())).await);
    }
}

async fn conclude(session: &Session, asked: Asked, run: Run) {
    let told = match (run.sequence, run.id, run.record, run.status) {
        (Some(sequence), Some(id), Some(record), Some(status)) => Some(RunRecorded {
            sequence,
            run: id,
            record,
            status,
            tier: run.tier,
            label: run.label.unwrap_or_default(),
        }),
        _ => None,
    };
    let known = match told {
        Some(told) => Some(told),
        None => recorded(session, asked.request).await,
    };
    let outcome = known.map_or_else(
        || Outcome::Failed {
            code: "record-missing".to_owned(),
            reason: "the gateway did not name the run's record".to_owned(),
        },
        |known| cite(session, known),
    );
    session.spend(run.tokens);
    if let Err(error) = session.journal.outcome(asked.intent, outcome).await {
        session.lost(error);
    }
}

/// Names the run in the session's own record, and makes it an outcome.
fn cite(session: &Session, known: RunRecorded) -> Outcome {
    let mut runs = session.runs.lock().unwrap_or_else(PoisonError::into_inner);
    runs.insert(known.sequence, known.clone());
    drop(runs);
    let RunRecorded {
        run,
        record,
        status,
        tier,
        label,
        ..
    } = known;
    Outcome::ModelRun {
        run,
        record,
        tier,
        label,
        run_status: status,
    }
}

/// Asks the host what it recorded of a request whose answer did not come to its end: the first run
/// that no event cites yet. The gateway may still be writing the record.
async fn recorded(session: &Session, request: Digest) -> Option<RunRecorded> {
    let path = format!("{RUNS}{request}");
    for _ in 0..RECORD_TRIES {
        let known: RunsRecorded = session.channel.get(&path, MAX_ANSWER_BYTES).await.ok()?;
        let found = {
            let cited = session.runs.lock().unwrap_or_else(PoisonError::into_inner);
            let mut known = known.runs.into_iter();
            known.find(|known| !cited.contains_key(&known.sequence))
        };
        if found.is_some() {
            return found;
        }
        tokio::time::sleep(RECORD_RETRY).await;
    }
    None
}

struct Pumped(mpsc::Receiver<Result<Frame<Bytes>, BoxError>>);

impl http_body::Body for Pumped {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(context)
    }
}
