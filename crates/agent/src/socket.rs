//! HTTP/1.1 over the supervisor's unix socket: one kept-alive connection, a deadline and a size cap
//! on every answer.

use std::{path::PathBuf, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, time::timeout};

/// Why a request had no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The supervisor's socket is not there or refuses.
    #[error("cannot connect to the supervisor at `{path}`")]
    Connect {
        /// The socket's path.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke, or what came was not HTTP.
    #[error("connection to the supervisor broke before the answer was complete")]
    Broken(#[source] hyper::Error),
    /// No complete answer in time.
    #[error("no complete answer within {seconds} s")]
    Timeout {
        /// The deadline.
        seconds: u64,
    },
    /// The answer is larger than asked for.
    #[error("answer is larger than {max} bytes")]
    TooLarge {
        /// The cap.
        max: usize,
    },
    /// The request could not be built.
    #[error("request is not valid http")]
    Request(#[source] http::Error),
}

impl SocketError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "supervisor-unreachable",
            Self::Broken(_) => "connection-broken",
            Self::Timeout { .. } => "answer-timeout",
            Self::TooLarge { .. } => "answer-too-large",
            Self::Request(_) => "request-invalid",
        }
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// What one answer may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    pub(crate) time: Duration,
    pub(crate) bytes: usize,
}

/// The supervisor's socket.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    kept: Option<SendRequest<Full<Bytes>>>,
}

impl Socket {
    /// The socket at `path`; connects at the first request.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path, kept: None }
    }

    pub(crate) async fn get(&mut self, path: &str, cost: Allowance) -> Result<Reply, SocketError> {
        self.request(Method::GET, path, Bytes::new(), cost).await
    }

    pub(crate) async fn post(
        &mut self,
        path: &str,
        body: Vec<u8>,
        cost: Allowance,
    ) -> Result<Reply, SocketError> {
        self.request(Method::POST, path, Bytes::from(body), cost)
            .await
    }

    async fn request(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        cost: Allowance,
    ) -> Result<Reply, SocketError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "room")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(SocketError::Request)?;
        let answered = timeout(cost.time, self.exchange(request, cost.bytes)).await;
        answered.unwrap_or(Err(SocketError::Timeout {
            seconds: cost.time.as_secs(),
        }))
    }

    /// A failure leaves no connection behind: what is still to come on it is of unknown meaning.
    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        max: usize,
    ) -> Result<Reply, SocketError> {
        let mut sender = self.connection().await?;
        let (parts, mut body) = sender
            .send_request(request)
            .await
            .map_err(SocketError::Broken)?
            .into_parts();
        let mut held = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(SocketError::Broken)?.into_data() else {
                continue;
            };
            if held.len().saturating_add(data.len()) > max {
                return Err(SocketError::TooLarge { max });
            }
            held.extend_from_slice(&data);
        }
        self.kept = Some(sender);
        Ok(Reply {
            status: parts.status,
            headers: parts.headers,
            body: held.freeze(),
        })
    }

    async fn connection(&mut self) -> Result<SendRequest<Full<Bytes>>, SocketError> {
        if let Some(mut kept) = self.kept.take()
            && kept.ready().await.is_ok()
        {
            return Ok(kept);
        }
        let stream =
            UnixStream::connect(&self.path)
                .await
                .map_err(|source| SocketError::Connect {
                    path: self.path.display().to_string(),
                    source,
                })?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(SocketError::Broken)?;
        // Its end shows as a failure of the next request.
        tokio::spawn(connection);
        Ok(sender)
    }
}
