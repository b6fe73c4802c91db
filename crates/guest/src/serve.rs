//! What the agent can reach: HTTP/1.1 on the room's loopback and on a unix socket. Model requests go
//! to `model.rs`, tool calls to `tools.rs`; there is nothing else.

use std::{convert::Infallible, sync::Arc};

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use proofroom_canonical::Digest;
use proofroom_record::{
    event::SessionEnd,
    room_api::{ErrorAnswer, ProgressKind},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
};

use crate::{
    channel::{Body, whole},
    egress, model,
    session::Session,
    tools::{self, MAX_CALL_BYTES},
};

/// The most connections at a time.
const MAX_CONNECTIONS: usize = 128;

/// An answer in the one shape that errors have.
pub fn error_response(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let body = serde_json::to_value(ErrorAnswer::new(code, message)).unwrap_or_default();
    json_response(status, &body)
}

fn json_response(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(whole(body.to_string()));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// Serves both listeners until the future is dropped.
pub async fn serve(session: Arc<Session>, unix: UnixListener, tcp: Option<TcpListener>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let on_unix = async {
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            if let Ok((stream, _)) = unix.accept().await {
                let session = Arc::clone(&session);
                drop(tokio::spawn(async move {
                    connection(session, stream).await;
                    drop(permit);
                }));
            }
        }
    };
    let on_tcp = async {
        let Some(tcp) = tcp else {
            return std::future::pending().await;
        };
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            if let Ok((stream, _)) = tcp.accept().await {
                let session = Arc::clone(&session);
                drop(tokio::spawn(async move {
                    connection(session, stream).await;
                    drop(permit);
                }));
            }
        }
    };
    tokio::join!(on_unix, on_tcp);
}

async fn connection<S>(session: Arc<Session>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let shared = Arc::clone(&session);
    let service = service_fn(move |request| {
        let session = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(session, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    // How a connection of the agent's ends is the agent's business, unless it was an attempt.
    if served.is_err_and(|error| error.is_parse()) {
        egress::malformed(&session);
    }
}

async fn answer(session: Arc<Session>, request: Request<Incoming>) -> Response<Body> {
    if egress::is_meant(&request) {
        return egress::proxy(session, request).await;
    }
    let path = request.uri().path().to_owned();
    if path.starts_with("/v1/") && matches!(*request.method(), Method::GET | Method::POST) {
        return model::forward(session, request).await;
    }
    if let Some(tool) = path.strip_prefix("/tool/v1/") {
        if session.assignment.command.is_some() {
            let refused = tools::not_offered(&session, tool).await;
            return error_response(refused.status(), refused.code(), &refused.to_string());
        }
        return tool_call(session, tool.to_owned(), request).await;
    }
    session.astray(request.method(), &request.uri().to_string());
    error_response(
        StatusCode::NOT_FOUND,
        "not-found",
        "there is no such endpoint",
    )
}

async fn tool_call(
    session: Arc<Session>,
    tool: String,
    request: Request<Incoming>,
) -> Response<Body> {
    if tool == "task" && request.method() == Method::GET {
        return task(&session);
    }
    if request.method() != Method::POST {
        let message = "tools are called with POST";
        return error_response(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            message,
        );
    }
    let limited = Limited::new(request.into_body(), MAX_CALL_BYTES);
    let Ok(body) = limited
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
    else {
        let message = "the call broke off or is larger than 16 MiB";
        return error_response(StatusCode::PAYLOAD_TOO_LARGE, "call-too-large", message);
    };
    // In a task of its own: an agent that goes away must not cut an action from its outcome.
    let work = tokio::spawn(async move {
        let _action = session.action().await;
        if tool == "finish" {
            return finish(&session, &body).await;
        }
        match tools::call(&session, &tool, &body).await {
            Ok(answer) => json_response(StatusCode::OK, &answer),
            Err(error) => {
                if error.status() == StatusCode::FORBIDDEN {
                    let text = format!("{tool}: {error}");
                    session.progress(ProgressKind::Blocked, text).await;
                }
                error_response(error.status(), error.code(), &error.to_string())
            }
        }
    });
    work.await.unwrap_or_else(|_| {
        error_response(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the call was dropped",
        )
    })
}

fn task(session: &Session) -> Response<Body> {
    let assignment = &session.assignment;
    let Some(task) = &assignment.task else {
        return error_response(StatusCode::NOT_FOUND, "no-task", "this session has no task");
    };
    let limits = assignment.limits;
    let body = json!({
        "task": task.expose(),
        "model": assignment.model,
        "limits": {
            "steps": limits.steps,
            "seconds": limits.seconds,
            "tokens": limits.tokens,
        },
    });
    json_response(StatusCode::OK, &body)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Finish {
    summary: String,
    success: bool,
}

async fn finish(session: &Session, body: &[u8]) -> Response<Body> {
    let Ok(said) = serde_json::from_slice::<Finish>(body) else {
        let message = "`finish` takes `summary` and `success`";
        return error_response(StatusCode::UNPROCESSABLE_ENTITY, "bad-arguments", message);
    };
    let end = if said.success {
        SessionEnd::Completed
    } else {
        SessionEnd::AgentFailed
    };
    session.progress(ProgressKind::Summary, said.summary).await;
    session.finish(end);
    json_response(StatusCode::OK, &json!({}))
}

/// Digest of no bytes: what stands for output that there was none of.
#[must_use]
pub fn no_output() -> Digest {
    Digest::of([])
}
