//! The proxy of the room: `CONNECT` and absolute URLs on the agent's port. An intent before, the
//! host's broker in between, an outcome after. What the policy denies does not reach the host. The same
//! for connections that programs make to names themselves.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use proofroom_authz::Operation;
use proofroom_canonical::Digest;
use proofroom_egress::{Denial, Endpoint, Target, Way};
use proofroom_record::{
    event::{Action, Outcome},
    room_api::{
        ACCOUNT_TRAILER, EGRESS, EGRESS_ACCOUNTS, EGRESS_HEADER, EgressAccount, EgressAccounted,
        EgressAsk, MAX_ANSWER_BYTES, ProgressKind,
    },
};
use tokio::sync::OwnedRwLockReadGuard;

use crate::{
    channel::Body,
    journal::JournalError,
    redact::{REDACTED, holds_credential},
    serve::error_response,
    session::Session,
    tools,
};

pub mod authority;
mod direct;
mod request;
mod terminate;
mod tunnel;

pub(crate) use direct::{direct, is_allowed};

/// The most attempts of one session. At the next one it ends: every attempt is an event, and events
/// must not fill the disk.
const MAX_ATTEMPTS: u64 = 10_000;
/// How often the host is asked for an account that did not come, and how long apart.
const ACCOUNT_TRIES: u32 = 100;
const ACCOUNT_RETRY: Duration = Duration::from_millis(50);
/// The most characters of a host that an event carries.
const MAX_HOST: usize = 300;
/// The most characters of a path that an event carries.
const MAX_PATH: usize = 1024;
/// The most characters of a method that an event carries.
const MAX_METHOD: usize = 20;

/// Whether a request is for the proxy, and not for the supervisor itself.
pub(crate) fn is_meant(request: &Request<Incoming>) -> bool {
    let here = ["127.0.0.1:8377", "localhost:8377"];
    request.method() == Method::CONNECT
        || request
            .uri()
            .authority()
            .is_some_and(|authority| !here.contains(&authority.as_str()))
}

/// Answers a request that is for the proxy.
pub(crate) async fn proxy(session: Arc<Session>, request: Request<Incoming>) -> Response<Body> {
    // In a task of its own: an agent that goes away must not cut an intent from its outcome.
    let work = if request.method() == Method::CONNECT {
        tokio::spawn(connect(session, request))
    } else {
        let asked = asked(&request);
        tokio::spawn(request::forward(session, request, asked))
    };
    work.await.unwrap_or_else(|_| {
        let words = "the request was dropped";
        error_response(StatusCode::INTERNAL_SERVER_ERROR, "internal", words)
    })
}

/// What a request is for: its endpoint where that much is clear, and its target or what is wrong.
struct Asked {
    endpoint: Option<Endpoint>,
    target: Result<Target, Denial>,
}

fn asked(request: &Request<Incoming>) -> Asked {
    let uri = request.uri();
    let authority = uri.authority().map_or("", http::uri::Authority::as_str);
    let bare = format!("{}://{authority}/", uri.scheme_str().unwrap_or("http"));
    Asked {
        endpoint: Target::of_url(&bare).map(|bare| bare.endpoint).ok(),
        target: target(request),
    }
}

/// What an absolute URL asks for, if its `Host` agrees.
fn target(request: &Request<Incoming>) -> Result<Target, Denial> {
    let target = Target::of_url(&request.uri().to_string())?;
    let default = match request.uri().scheme_str() {
        Some("https") => 443,
        _ => 80,
    };
    host_agrees(request, &target.endpoint, default)?;
    Ok(target)
}

/// Refuses a request whose `Host` names another endpoint than `endpoint`, or that has two.
fn host_agrees(
    request: &Request<Incoming>,
    endpoint: &Endpoint,
    default: u16,
) -> Result<(), Denial> {
    let hosts = request.headers().get_all(header::HOST).iter();
    let texts: Vec<&str> = hosts.map(|host| host.to_str().unwrap_or("")).collect();
    match *texts {
        [] => Ok(()),
        [one] if endpoint.is_named_by(one, default) => Ok(()),
        _ => Err(Denial::HostDiffers {
            asked: endpoint.clone(),
        }),
    }
}

async fn connect(session: Arc<Session>, request: Request<Incoming>) -> Response<Body> {
    let text = request.uri().to_string();
    let endpoint = match Endpoint::of_connect(&text) {
        Ok(endpoint) => endpoint,
        Err(denial) => {
            let action = Action::Egress {
                host: cut(&text, MAX_HOST),
                port: 0,
                method: "CONNECT".to_owned(),
                path: None,
                query: None,
            };
            return deny(&session, action, denial.into()).await;
        }
    };
    let way = session.egress.connect(&endpoint).map_err(Denied::from);
    let way = way.and_then(|way| {
        may_connect(&session, &endpoint)?;
        Ok(way)
    });
    match way {
        Ok(Way::Through(_)) => tunnel::open(session, request, &endpoint).await,
        // Nothing goes out by this connection: each request on it is an attempt of its own.
        Ok(Way::Requests(_)) => terminate::open(Arc::clone(&session), request, endpoint),
        Err(denied) => deny(&session, connection_action(&endpoint), denied).await,
    }
}

fn connection_action(endpoint: &Endpoint) -> Action {
    Action::Egress {
        host: endpoint.host.to_string(),
        port: endpoint.port,
        method: "CONNECT".to_owned(),
        path: None,
        query: None,
    }
}

/// A denial by either policy.
struct Denied {
    code: String,
    reason: String,
}

impl From<Denial> for Denied {
    fn from(denial: Denial) -> Self {
        Self {
            code: denial.code().to_owned(),
            reason: denial.to_string(),
        }
    }
}

/// Asks the access policy, which may allow this agent less than the egress policy does.
fn may_connect(session: &Session, endpoint: &Endpoint) -> Result<(), Denied> {
    let operation = Operation::Connect {
        host: endpoint.host.to_string(),
        port: endpoint.port,
    };
    tools::decide(session, &operation).map_err(|error| Denied {
        code: error.code().to_owned(),
        reason: error.to_string(),
    })
}

fn cut(text: &str, most: usize) -> String {
    text.chars()
        .flat_map(char::escape_debug)
        .take(most)
        .collect()
}

/// A request's action. A path with a credential in it is not written.
fn action_of(method: &str, uri: &http::Uri, endpoint: Option<&Endpoint>) -> Action {
    let path = cut(uri.path(), MAX_PATH);
    let secret = holds_credential(&path);
    let authority = uri.authority().map_or("", http::uri::Authority::as_str);
    Action::Egress {
        host: endpoint.map_or_else(
            || cut(authority, MAX_HOST),
            |endpoint| endpoint.host.to_string(),
        ),
        port: endpoint.map_or(0, |endpoint| endpoint.port),
        method: cut(method, MAX_METHOD),
        path: Some(if secret { REDACTED.to_owned() } else { path }),
        query: uri.query().map(Digest::of),
    }
}

/// An attempt whose intent is durable and whose outcome is not.
struct Attempted {
    intent: u64,
    _action: OwnedRwLockReadGuard<()>,
}

/// Writes the intent, unless the session is over.
async fn announce(session: &Arc<Session>, action: Action) -> Result<Attempted, Response<Body>> {
    let over =
        |words: &str| error_response(StatusCode::SERVICE_UNAVAILABLE, "session-ended", words);
    if session.attempts.fetch_add(1, Ordering::Relaxed) >= MAX_ATTEMPTS {
        session.limit("egress", format!("{MAX_ATTEMPTS} attempts to go outside"));
    }
    if session.ended().is_some() {
        return Err(over("the session has ended"));
    }
    let guard = session.action().await;
    let lost = |error: JournalError| over(&session.lost(error).to_string());
    let intent = session.journal.intent(action).await.map_err(lost)?;
    Ok(Attempted {
        intent,
        _action: guard,
    })
}

/// Writes the outcome.
async fn conclude(session: &Session, attempted: Attempted, outcome: Outcome) {
    if let Err(error) = session.journal.outcome(attempted.intent, outcome).await {
        session.lost(error);
    }
}

/// Writes an attempt down that the policy denies, and says so.
async fn deny(session: &Arc<Session>, action: Action, denied: Denied) -> Response<Body> {
    let attempted = match announce(session, action).await {
        Ok(attempted) => attempted,
        Err(over) => return over,
    };
    let Denied { code, reason } = denied;
    let text = format!("egress: {reason}");
    session.progress(ProgressKind::Blocked, text).await;
    let response = error_response(StatusCode::FORBIDDEN, &code, &reason);
    conclude(session, attempted, Outcome::Denied { code, reason }).await;
    response
}

/// Notes what was no request at all.
pub(crate) fn malformed(session: &Session) {
    session.malformed("malformed request to the proxy");
}

/// What the host is asked for.
fn ask(intent: u64, method: &str, target: String, body: Body) -> Option<Request<Body>> {
    let ask = EgressAsk {
        intent,
        method: method.to_owned(),
        target,
    };
    Request::builder()
        .method(Method::POST)
        .uri(format!("http://room{EGRESS}"))
        .header(EGRESS_HEADER, serde_json::to_vec(&ask).ok()?)
        .body(body)
        .ok()
}

fn account_in(headers: &http::HeaderMap) -> Option<EgressAccount> {
    let value = headers.get(ACCOUNT_TRAILER)?;
    proofroom_canonical::json::parse(value.as_bytes(), MAX_ANSWER_BYTES).ok()
}

/// The outcome of an account; without one nothing is known of what went out.
fn outcome(account: Option<EgressAccount>, http_status: Option<u16>) -> Outcome {
    match account {
        Some(EgressAccount::Denied { code, reason }) => Outcome::Denied { code, reason },
        Some(EgressAccount::Failed { code, reason }) => Outcome::Failed { code, reason },
        Some(EgressAccount::Passed {
            rule,
            connected,
            sent,
            received,
            end,
        }) => Outcome::Egress {
            rule,
            connected,
            sent,
            received,
            http_status,
            end,
        },
        None => Outcome::Failed {
            code: "egress-account-missing".to_owned(),
            reason: "the broker did not say what went out".to_owned(),
        },
    }
}

/// Writes the outcome of something that went out. When its account did not come with its end, the
/// host is asked for it: it may still be closing the connection.
async fn settle(
    session: &Session,
    attempted: Attempted,
    account: Option<EgressAccount>,
    http_status: Option<u16>,
) {
    let account = match account {
        Some(account) => Some(account),
        None => recorded(session, attempted.intent).await,
    };
    conclude(session, attempted, outcome(account, http_status)).await;
}

async fn recorded(session: &Session, intent: u64) -> Option<EgressAccount> {
    let path = format!("{EGRESS_ACCOUNTS}{intent}");
    for _ in 0..ACCOUNT_TRIES {
        let answer: EgressAccounted = session.channel.get(&path, MAX_ANSWER_BYTES).await.ok()?;
        if answer.account.is_some() {
            return answer.account;
        }
        tokio::time::sleep(ACCOUNT_RETRY).await;
    }
    None
}

/// The answer to an attempt that the host did not carry out, with its account if it gave one.
async fn not_carried_out(
    session: &Session,
    attempted: Attempted,
    account: Option<EgressAccount>,
) -> Response<Body> {
    let account = match account {
        Some(account) => Some(account),
        None => recorded(session, attempted.intent).await,
    };
    let outcome = outcome(account, None);
    let (status, code, reason) = match &outcome {
        Outcome::Denied { code, reason } => (StatusCode::FORBIDDEN, code.clone(), reason.clone()),
        Outcome::Failed { code, reason } => (StatusCode::BAD_GATEWAY, code.clone(), reason.clone()),
        _ => {
            let reason = "the connection was cut before an answer came";
            let code = "egress-no-answer";
            (StatusCode::BAD_GATEWAY, code.to_owned(), reason.to_owned())
        }
    };
    if status == StatusCode::FORBIDDEN {
        let text = format!("egress: {reason}");
        session.progress(ProgressKind::Blocked, text).await;
    }
    conclude(session, attempted, outcome).await;
    error_response(status, &code, &reason)
}
