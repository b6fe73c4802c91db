//! What is asked for at the server's edge: whose request it is, and which part answers it.

mod records;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use proofroom_canonical::Digest;
use proofroom_gateway::Gateway;
use proofroom_llm::{Api, error_body};
use proofroom_record::gateway::GATEWAY_ATTESTATION_PATH;
use serde_json::json;

use crate::{
    body::{Arriving, Departing},
    config::Caps,
    connection::UnderWay,
    doorkeeper::{Head, Refused},
    gate::Permission,
    held::Held,
    identity::{Identity, Unanswered},
    metrics::{FirstByte, Gauges},
    sessions::Sessions,
    store::StoreError,
    telemetry::Telemetry,
};

/// RFC 9449 section 8.1.
const DPOP_NONCE: &str = "dpop-nonce";

/// Everything that answers.
pub(crate) struct Front {
    pub(crate) gateway: Gateway,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) permission: Arc<Permission>,
    pub(crate) identity: Identity,
    pub(crate) caps: Caps,
    pub(crate) memory_locked: bool,
    pub(crate) telemetry: Option<Telemetry>,
    pub(crate) stopping: AtomicBool,
}

/// An answer of the server's own.
pub(crate) struct Own {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// What `www-authenticate` asks for.
    challenge: Option<&'static str>,
}

impl Own {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            challenge: None,
        }
    }

    fn unkept() -> Self {
        let words = "the gateway cannot keep records, so it takes no requests; ask its operator to see to its disk";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "record-not-durable", words)
    }

    /// In the format of the API that was asked.
    fn answer(&self, path: &str) -> Response<Departing> {
        let api = if path.starts_with(Api::Messages.path()) {
            Api::Messages
        } else {
            Api::ChatCompletions
        };
        let body = error_body(api, self.status.as_u16(), self.code, &self.message);
        let mut answer = typed(self.status, "application/json", body);
        if let Some(challenge) = self.challenge {
            let challenge = HeaderValue::from_static(challenge);
            answer
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        answer
    }
}

impl From<Refused> for Own {
    fn from(refused: Refused) -> Self {
        Self {
            challenge: refused.challenge(),
            ..Self::new(refused.status(), refused.code(), refused.to_string())
        }
    }
}

impl From<StoreError> for Own {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy => {
                let words = "the gateway is busy; try again in a moment";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", words)
            }
            _ => Self::unkept(),
        }
    }
}

impl Front {
    /// Answers a request over a connection whose client showed `client_key`.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        client_key: Option<Digest>,
        under_way: UnderWay,
    ) -> Response<Departing> {
        let path = request.uri().path().to_owned();
        let answer = match self.open_to_all(&request).await {
            Some(answer) => answer,
            None => match self.keyed(request, client_key).await {
                Ok(answer) => answer,
                Err(own) => own.answer(&path),
            },
        };
        let mut answer = answer.map(|body| body.during(under_way));
        if let Some(nonce) = self.permission.doorkeeper.nonce() {
            answer.headers_mut().insert(DPOP_NONCE, nonce);
        }
        answer
    }

    /// What needs no key.
    async fn open_to_all(&self, request: &Request<Incoming>) -> Option<Response<Departing>> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/healthz") => Some(text(StatusCode::OK, "alive\n")),
            (&Method::GET, "/readyz") => Some(self.readiness()),
            (&Method::HEAD, "/") => Some(text(StatusCode::OK, "")),
            (&Method::GET, GATEWAY_ATTESTATION_PATH) => Some(self.who(request).await),
            _ => None,
        }
    }

    /// What the gateway is, over the nonce of whoever asks.
    async fn who(&self, request: &Request<Incoming>) -> Response<Departing> {
        let query = request.uri().query().unwrap_or_default();
        let nonce = query
            .strip_prefix("nonce=")
            .and_then(|text| text.parse().ok());
        let Some(nonce) = nonce else {
            return text(StatusCode::BAD_REQUEST, "nonce-malformed\n");
        };
        match self.identity.answer(nonce).await {
            Ok(answer) => typed(StatusCode::OK, "application/json", answer),
            Err(Unanswered::Busy) => text(StatusCode::SERVICE_UNAVAILABLE, "attester-busy\n"),
            Err(Unanswered::Failed) => text(StatusCode::SERVICE_UNAVAILABLE, "attester-failed\n"),
        }
    }

    async fn keyed(
        &self,
        request: Request<Incoming>,
        client_key: Option<Digest>,
    ) -> Result<Response<Departing>, Own> {
        if self.stopping.load(Ordering::Acquire) {
            let words = "the gateway is stopping; try again in a moment";
            return Err(Own::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", words));
        }
        let held = Arc::new(self.whose(&request, client_key).await?);
        let path = request.uri().path();
        if let (&Method::GET, Some(id)) = (request.method(), path.strip_prefix("/v1/records/")) {
            return self.record(id.to_owned(), &held).await;
        }
        if let (&Method::GET, Some(id)) = (request.method(), path.strip_prefix("/v1/evidence/")) {
            return self.evidence(id);
        }
        self.permission.store.ready()?;
        let caller = self.sessions.of(&held).await?;
        let first = FirstByte::since_now(&self.permission.metrics);
        let (stall, whole) = (self.caps.body_stall_seconds, self.caps.body_seconds);
        let request = request.map(|body| {
            Arriving::new(body, Duration::from_secs(stall), Duration::from_secs(whole))
        });
        let answer = self.gateway.handle(request, caller).await;
        Ok(answer.map(|body| Departing::run(body, held, first)))
    }

    async fn whose(
        &self,
        request: &Request<Incoming>,
        client_key: Option<Digest>,
    ) -> Result<Held, Refused> {
        let permission = &self.permission;
        let head = Head {
            method: request.method(),
            path: request.uri().path(),
            headers: request.headers(),
            client_key,
        };
        let held = permission.doorkeeper.let_in(&head, permission.now()).await;
        if let Err(refused) = &held {
            permission.metrics.unauthenticated(refused.code());
        }
        held
    }

    fn readiness(&self) -> Response<Departing> {
        match self.unready() {
            None => text(StatusCode::OK, "ready\n"),
            Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, why),
        }
    }

    /// Why no request would be taken now.
    fn unready(&self) -> Option<&'static str> {
        if self.stopping.load(Ordering::Acquire) {
            return Some("stopping\n");
        }
        if self.gateway.is_closed() || self.permission.store.ready().is_err() {
            return Some("record-not-durable\n");
        }
        self.permission.doorkeeper.unreadable()
    }

    /// What is served to the machine's own operators.
    pub(crate) async fn operations(&self, request: &Request<Incoming>) -> Response<Departing> {
        if let Some(answer) = self.open_to_all(request).await {
            return answer;
        }
        if request.method() == Method::GET && request.uri().path() == "/metrics" {
            let gauges = Gauges {
                ready: self.unready().is_none(),
                sessions: self.sessions.count().await,
                memory_locked: self.memory_locked,
            };
            let mut text = self.permission.metrics.render(gauges);
            if let Some(telemetry) = &self.telemetry {
                text.push_str(&telemetry.render());
            }
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            return typed(StatusCode::OK, kind, text);
        }
        text(StatusCode::NOT_FOUND, "no-such-route\n")
    }
}

fn text(status: StatusCode, words: &'static str) -> Response<Departing> {
    typed(status, "text/plain; charset=utf-8", words)
}

fn typed(
    status: StatusCode,
    kind: &'static str,
    body: impl Into<bytes::Bytes>,
) -> Response<Departing> {
    let mut answer = Response::new(Departing::own(body));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

fn json_answer(value: &serde_json::Value) -> Response<Departing> {
    typed(StatusCode::OK, "application/json", value.to_string())
}

/// The JSON of a record with its receipt: both as text, because both are signed as bytes.
fn record_answer(digest: Digest, envelope: &[u8], receipt: &str) -> Response<Departing> {
    json_answer(&json!({
        "digest": digest,
        "record": String::from_utf8_lossy(envelope),
        "receipt": receipt,
    }))
}
