//! A model upstream in this process, with or without TLS, that answers by script and shows what it
//! was sent.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// What the upstream was sent.
#[derive(Debug)]
pub struct Seen {
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

pub type Chunks = mpsc::Receiver<io::Result<Bytes>>;

/// How the upstream answers one request.
pub enum Reply {
    Whole(u16, &'static str, Bytes),
    /// This status, an error in the format, and `retry-after` if it is not empty.
    Busy(u16, &'static str),
    Stream(&'static str, Chunks),
    /// The usual answer, whose head names its receipt.
    Receipt(&'static str),
    /// Never. The sender is dropped when the gateway lets go.
    Hang(oneshot::Sender<()>),
}

pub type Evidence = Arc<Mutex<Box<dyn Fn(&str) -> (u16, Vec<u8>) + Send + Sync>>>;
/// Answers what else the upstream is asked for, by target and headers.
pub type Gets = Arc<Mutex<Box<dyn Fn(&str, &HeaderMap) -> Option<(u16, Vec<u8>)> + Send + Sync>>>;
pub type Tls = Arc<Mutex<Arc<ServerConfig>>>;

pub struct FakeUpstream {
    pub address: SocketAddr,
    pub seen: mpsc::UnboundedReceiver<Seen>,
    pub replies: Arc<Mutex<VecDeque<Reply>>>,
    pub evidence: Evidence,
    pub gets: Gets,
    drop_connections: mpsc::Sender<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

const BUSY: &[u8] = br#"{"error":{"message":"busy","type":"rate_limit_error"}}"#;
pub const JSON_ANSWER: &str = r#"{"id":"x","object":"chat.completion","model":"std-model","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}"#;

impl FakeUpstream {
    pub async fn plain() -> Self {
        Self::start(None).await
    }

    pub async fn start(tls: Option<Tls>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, seen) = mpsc::unbounded_channel();
        let replies = Arc::new(Mutex::new(VecDeque::new()));
        let evidence: Evidence = Arc::new(Mutex::new(Box::new(|_| (404, Vec::new()))));
        let gets: Gets = Arc::new(Mutex::new(Box::new(|_, _| None)));
        let state = State {
            tell,
            replies: Arc::clone(&replies),
            evidence: Arc::clone(&evidence),
            gets: Arc::clone(&gets),
        };
        let (drop_connections, asked) = mpsc::channel(1);
        Self {
            address,
            seen,
            replies,
            evidence,
            gets,
            drop_connections,
            serving: tokio::spawn(serve(listener, tls, state, asked)),
        }
    }

    pub fn reply(&self, reply: Reply) {
        self.replies.lock().unwrap().push_back(reply);
    }

    /// Answers the next request with chunks that the returned sender gives.
    pub fn stream(&self, content_type: &'static str) -> mpsc::Sender<io::Result<Bytes>> {
        let (chunks, receiver) = mpsc::channel(16);
        self.reply(Reply::Stream(content_type, receiver));
        chunks
    }

    pub fn nothing_was_sent(&mut self) {
        assert!(
            self.seen.try_recv().is_err(),
            "the upstream was sent something"
        );
    }

    /// Closes every open connection; new ones are still accepted.
    pub async fn close_connections(&self) {
        let (done, is_done) = oneshot::channel();
        self.drop_connections.send(done).await.unwrap();
        is_done.await.unwrap();
    }

    /// Stops listening; open connections end too.
    pub async fn stop(self) {
        self.serving.abort();
        drop(self.serving.await);
    }
}

#[derive(Clone)]
struct State {
    tell: mpsc::UnboundedSender<Seen>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    evidence: Evidence,
    gets: Gets,
}

async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    state: State,
    mut asked: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let tcp = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            Some(done) = asked.recv() => {
                connections.shutdown().await;
                done.send(()).unwrap();
                continue;
            }
        };
        let config = tls.as_ref().map(|tls| Arc::clone(&tls.lock().unwrap()));
        connections.spawn(connection(tcp, config, state.clone()));
    }
}

async fn connection(tcp: TcpStream, tls: Option<Arc<ServerConfig>>, state: State) {
    let service = service_fn(move |request| answer(request, state.clone()));
    match tls {
        None => drop(
            http1::Builder::new()
                .serve_connection(TokioIo::new(tcp), service)
                .await,
        ),
        Some(config) => {
            if let Ok(tls) = tokio_rustls::TlsAcceptor::from(config).accept(tcp).await {
                drop(
                    http1::Builder::new()
                        .serve_connection(TokioIo::new(tls), service)
                        .await,
                );
            }
        }
    }
}

async fn answer(request: Request<Incoming>, state: State) -> Result<Response<Script>, Infallible> {
    let target = request.uri().to_string();
    let (parts, body) = request.into_parts();
    if let Some(nonce) = target.strip_prefix("/.well-known/proofroom-attestation?nonce=") {
        assert!(body.collect().await.unwrap().to_bytes().is_empty());
        assert!(!parts.headers.contains_key("authorization"));
        let (status, document) = state.evidence.lock().unwrap()(nonce);
        return Ok(whole(status, "application/json", document.into()));
    }
    let asked = state.gets.lock().unwrap()(&target, &parts.headers);
    if let Some(answer) = asked {
        assert!(body.collect().await.unwrap().to_bytes().is_empty());
        return Ok(whole(answer.0, "application/json", answer.1.into()));
    }
    // a broken-off request tells nothing
    let Ok(body) = body.collect().await else {
        return Ok(whole(400, "application/json", Bytes::new()));
    };
    let seen = Seen {
        target,
        headers: parts.headers,
        body: body.to_bytes(),
    };
    let said = answer_of(&seen.body);
    state.tell.send(seen).unwrap();
    let reply = state.replies.lock().unwrap().pop_front();
    Ok(match reply {
        None => whole(200, "application/json", said),
        Some(Reply::Whole(status, kind, body)) => whole(status, kind, body),
        Some(Reply::Busy(status, after)) => {
            let mut response = whole(status, "application/json", Bytes::from_static(BUSY));
            if !after.is_empty() {
                let after = after.parse().unwrap();
                response.headers_mut().insert("retry-after", after);
            }
            response
        }
        Some(Reply::Receipt(id)) => {
            let mut response = whole(200, "application/json", said);
            let id = id.parse().unwrap();
            response.headers_mut().insert("x-receipt-id", id);
            response
        }
        Some(Reply::Stream(kind, chunks)) => {
            let mut response = Response::new(Script::Stream(chunks));
            response
                .headers_mut()
                .insert("content-type", kind.parse().unwrap());
            response
                .headers_mut()
                .insert("set-cookie", "tracking=1".parse().unwrap());
            response
        }
        Some(Reply::Hang(held)) => {
            let _held = held;
            std::future::pending().await
        }
    })
}

/// An answer by the model that was asked for.
fn answer_of(request: &[u8]) -> Bytes {
    let asked: Value = serde_json::from_slice(request).unwrap_or_default();
    let model = asked["model"].as_str().unwrap_or("std-model");
    JSON_ANSWER.replace("std-model", model).into()
}

fn whole(status: u16, kind: &'static str, body: Bytes) -> Response<Script> {
    let mut response = Response::new(Script::Whole(Some(body)));
    *response.status_mut() = status.try_into().unwrap();
    response
        .headers_mut()
        .insert("content-type", kind.parse().unwrap());
    response
}

pub enum Script {
    Whole(Option<Bytes>),
    Stream(Chunks),
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Self::Stream(chunks) => chunks
                .poll_recv(context)
                .map(|next| next.map(|chunk| chunk.map(Frame::data))),
        }
    }
}

/// A listener that answers whatever it is sent with `bytes`, and closes.
pub async fn raw(bytes: &'static [u8]) -> SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut read = [0; 4096];
            drop(tcp.read(&mut read).await);
            drop(tcp.write_all(bytes).await);
        }
    });
    address
}
