//! Requests on their way to the model's server, byte for byte, and back.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use proofroom_canonical::{Digest, Nonce};
use proofroom_serving::RECEIPT_HEADER;
use serde::Deserialize;
use tokio::time::timeout;

use crate::{
    answer::Signed,
    keys::random,
    receipts::{Pending, Receipts},
    reply::{Reply, refusal},
};

/// The most bytes of a request.
pub(crate) const MAX_REQUEST_BYTES: usize = 32 * 1024 * 1024;
/// How long a request may take to arrive, and its answer to begin.
pub(crate) const ARRIVING: Duration = Duration::from_secs(120);
const FIRST_BYTE: Duration = Duration::from_secs(900);
const CONNECTING: Duration = Duration::from_secs(5);

/// What is passed on.
const POSTS: [&str; 6] = [
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/rerank",
];
const MODELS: &str = "/v1/models";

/// Of a request's headers the server gets these, and of an answer's the client.
const TO_SERVER: [&str; 7] = [
    "content-type",
    "accept",
    "authorization",
    "x-api-key",
    "anthropic-version",
    "anthropic-beta",
    "openai-beta",
];
const TO_CLIENT: [HeaderName; 3] = [
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    header::RETRY_AFTER,
];

/// The way to the model's server.
pub(crate) struct Proxy {
    server: SocketAddr,
    model: String,
    receipts: Arc<Receipts>,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// Why a request is not passed on.
pub(crate) type Refused = (StatusCode, &'static str);

#[derive(Deserialize)]
struct Asked {
    model: String,
}

impl Proxy {
    pub(crate) fn new(server: SocketAddr, model: String, receipts: Arc<Receipts>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECTING));
        Self {
            server,
            model,
            receipts,
            client: Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .build(connector),
        }
    }

    /// Whether requests of this kind are passed on.
    pub(crate) fn takes(method: &Method, path: &str) -> bool {
        match *method {
            Method::POST => POSTS.contains(&path),
            Method::GET => path == MODELS,
            _ => false,
        }
    }

    pub(crate) async fn pass(&self, request: Request<Bytes>) -> Reply {
        self.passed(request)
            .await
            .unwrap_or_else(|(status, code)| refusal(status, code))
    }

    async fn passed(&self, request: Request<Bytes>) -> Result<Reply, Refused> {
        let (parts, body) = request.into_parts();
        if parts.method == Method::POST {
            self.check_model(&body)?;
        }
        let run = self.begin(&parts.headers, Digest::of(&body))?;
        let mut forwarded = Request::new(Full::new(body));
        *forwarded.method_mut() = parts.method;
        *forwarded.uri_mut() = self.uri(parts.uri.path())?;
        *forwarded.headers_mut() = chosen(&parts.headers);
        match timeout(FIRST_BYTE, self.client.request(forwarded)).await {
            Ok(Ok(answer)) if is_framed(&answer) => Ok(signed(answer, run)),
            Ok(Ok(_)) => Err((StatusCode::BAD_GATEWAY, "answer-unframed")),
            Ok(Err(_)) => Err((StatusCode::BAD_GATEWAY, "model-server-unreachable")),
            Err(_) => Err((StatusCode::GATEWAY_TIMEOUT, "model-server-silent")),
        }
    }

    /// The statement names one model, and a server may have others.
    fn check_model(&self, body: &[u8]) -> Result<(), Refused> {
        let unreadable = (StatusCode::BAD_REQUEST, "request-unreadable");
        // serde reads a list of one string as well
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(unreadable);
        }
        let asked: Asked = serde_json::from_slice(body).map_err(|_| unreadable)?;
        match asked.model == self.model {
            true => Ok(()),
            false => Err((StatusCode::NOT_FOUND, "model-not-served")),
        }
    }

    /// A run under the client's challenge, or under one of the shim's.
    fn begin(&self, headers: &HeaderMap, request: Digest) -> Result<Pending, Refused> {
        let mut values = headers.get_all(RECEIPT_HEADER).iter();
        let challenge = match (values.next(), values.next()) {
            (None, _) => random().ok().map(|bytes| Nonce::from_random(*bytes)),
            (Some(one), None) => one.to_str().ok().and_then(|text| text.parse().ok()),
            (Some(_), Some(_)) => None,
        };
        let malformed = (StatusCode::BAD_REQUEST, "challenge-malformed");
        let run = self.receipts.begin(challenge.ok_or(malformed)?, request);
        run.ok_or((StatusCode::CONFLICT, "challenge-used"))
    }

    fn uri(&self, path: &str) -> Result<Uri, Refused> {
        Uri::builder()
            .scheme("http")
            .authority(self.server.to_string())
            .path_and_query(path)
            .build()
            .map_err(|_| (StatusCode::INTERNAL_SERVER_ERROR, "request-unsendable"))
    }
}

/// The whole of a body.
pub(crate) async fn arrived(body: Incoming) -> Result<Bytes, Refused> {
    let whole = Limited::new(body, MAX_REQUEST_BYTES).collect();
    match timeout(ARRIVING, whole).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err((StatusCode::PAYLOAD_TOO_LARGE, "request-too-large"))
        }
        Ok(Err(_)) => Err((StatusCode::BAD_REQUEST, "request-broken")),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "request-late")),
    }
}

fn chosen(client: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in TO_SERVER {
        for value in client.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    headers
}

/// Whether the answer says where it ends. One that ends with its connection may have broken off (RFC 9112
/// section 8).
fn is_framed(answer: &Response<Incoming>) -> bool {
    let known = answer.body().size_hint().exact().is_some();
    // any other last coding ends with the connection (RFC 9112 section 6.3)
    let codings = answer.headers().get_all(header::TRANSFER_ENCODING);
    let last = codings.iter().next_back();
    let last = last.and_then(|codings| codings.to_str().ok()?.rsplit(',').next());
    known || last.is_some_and(|coding| coding.trim().eq_ignore_ascii_case("chunked"))
}

fn signed(answer: Response<Incoming>, run: Pending) -> Reply {
    let (parts, body) = answer.into_parts();
    let challenge = HeaderValue::from_str(&run.challenge().to_string());
    let mut response = Response::new(Either::Right(Signed::new(body, run)));
    *response.status_mut() = parts.status;
    let headers = response.headers_mut();
    for name in TO_CLIENT {
        let value = parts.headers.get(&name).cloned();
        headers.extend(value.map(|value| (name, value)));
    }
    headers.extend(
        challenge
            .ok()
            .map(|value| (HeaderName::from_static(RECEIPT_HEADER), value)),
    );
    response
}
