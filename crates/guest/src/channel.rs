//! The room's one channel: an HTTP/2 client (prior knowledge, RFC 9113) over a stream socket. It
//! knows nothing of what is said over it.

use std::{os::unix::net::UnixStream as StdUnixStream, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proofroom_canonical::json::{self, JsonError};
use proofroom_record::room_api::{ErrorAnswer, MAX_ANSWER_BYTES};
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, sync::watch, time::timeout};

/// Any error of a body on its way.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A body on its way through the supervisor.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// How long the host may take for an answer to anything but a model request.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// What an answer gets on top of its time.
const AFTER_PAUSE: Duration = Duration::from_secs(1);

/// The supervisor's end of the channel; clones share the connection.
#[derive(Clone, Debug)]
pub struct Channel {
    sender: http2::SendRequest<Body>,
    gone: watch::Receiver<()>,
}

/// Why the host did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The host's answer is not what the Room API says.
    #[error("the host's answer to `{path}` is malformed")]
    Answer {
        /// What was asked.
        path: String,
        /// What is wrong.
        #[source]
        source: JsonError,
    },
    /// The connection is gone, or the answer broke off.
    #[error("the channel to the host failed at `{path}`")]
    Broken {
        /// What was asked.
        path: String,
        /// What happened.
        #[source]
        source: BoxError,
    },
    /// The host refused.
    #[error("the host refused `{path}` with {status} `{code}`: {message}")]
    Refused {
        /// What was asked.
        path: String,
        /// HTTP status.
        status: StatusCode,
        /// Stable code, as the host gave it.
        code: String,
        /// Words, as the host gave them.
        message: String,
    },
    /// No answer in time.
    #[error("the host did not answer `{0}` in time")]
    TimedOut(String),
    /// The answer could not be put where it belongs.
    #[error("the answer to `{path}` could not be stored")]
    NotTaken {
        /// What was asked.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl ChannelError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Answer { .. } => "host-answer",
            Self::Broken { .. } => "channel-broken",
            Self::Refused { .. } => "host-refused",
            Self::TimedOut(_) => "host-timed-out",
            Self::NotTaken { .. } => "answer-not-stored",
        }
    }
}

/// A body that is whole.
pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

impl Channel {
    /// Speaks HTTP/2 over `stream`. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`ChannelError::Broken`].
    pub async fn over(stream: StdUnixStream) -> Result<Self, ChannelError> {
        let broken = |source: BoxError| ChannelError::Broken {
            path: "handshake".to_owned(),
            source,
        };
        stream
            .set_nonblocking(true)
            .map_err(|error| broken(error.into()))?;
        let stream = UnixStream::from_std(stream).map_err(|error| broken(error.into()))?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .adaptive_window(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(error.into()))?;
        let (alive, gone) = watch::channel(());
        drop(tokio::spawn(async move {
            // How it ended does not matter: every request on it fails from here on.
            drop(connection.await);
            drop(alive);
        }));
        Ok(Self { sender, gone })
    }

    /// Waits until the connection is gone: the host died, or let the room go.
    pub async fn gone(&self) {
        let mut gone = self.gone.clone();
        // Nothing is ever sent; the error says that the connection's task has ended.
        while gone.changed().await.is_ok() {}
    }

    /// Sends a request and hands over the answer as it begins. Dropping the answer cancels it.
    ///
    /// # Errors
    /// [`ChannelError::Broken`].
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, ChannelError> {
        let path = request.uri().path().to_owned();
        let broken = |error: hyper::Error| ChannelError::Broken {
            path: path.clone(),
            source: error.into(),
        };
        let mut sender = self.sender.clone();
        sender.ready().await.map_err(broken)?;
        sender.send_request(request).await.map_err(broken)
    }

    /// Gets a JSON answer of at most `max` bytes.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        max: usize,
    ) -> Result<T, ChannelError> {
        let bytes = self
            .exchange(
                Method::GET,
                path,
                &HeaderMap::new(),
                Bytes::new(),
                max,
                ANSWER_TIME,
            )
            .await?;
        read_answer(path, &bytes, max)
    }

    /// Gets an answer of at most `max` bytes as it is.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub async fn get_bytes(&self, path: &str, max: usize) -> Result<Bytes, ChannelError> {
        self.exchange(
            Method::GET,
            path,
            &HeaderMap::new(),
            Bytes::new(),
            max,
            ANSWER_TIME,
        )
        .await
    }

    /// Gets an answer of at most `max` bytes piece by piece, so that it need not fit into memory.
    /// The host may take as long as it likes for all of it, but never [`ANSWER_TIME`] for one piece.
    ///
    /// # Errors
    /// See [`ChannelError`]; what `take` says is [`ChannelError::NotTaken`].
    pub async fn get_pieces(
        &self,
        path: &str,
        max: usize,
        mut take: impl FnMut(&[u8]) -> std::io::Result<()> + Send,
    ) -> Result<(), ChannelError> {
        let request = Request::builder()
            .method(Method::GET)
            .uri(format!("http://room{path}"))
            .body(whole(Bytes::new()))
            .map_err(|error| broken(path, error.into()))?;
        let late = |_| ChannelError::TimedOut(path.to_owned());
        let answer = timeout(ANSWER_TIME, self.send(request))
            .await
            .map_err(late)??;
        let status = answer.status();
        if !status.is_success() {
            let said = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect();
            let said = timeout(ANSWER_TIME, said).await.map_err(late)?;
            let said = said.map_err(|source| broken(path, source))?.to_bytes();
            return Err(refusal(path, status, &said));
        }
        let mut body = Limited::new(answer.into_body(), max);
        while let Some(frame) = timeout(ANSWER_TIME, body.frame()).await.map_err(late)? {
            let frame = frame.map_err(|source| broken(path, source))?;
            if let Ok(piece) = frame.into_data() {
                take(&piece).map_err(|source| ChannelError::NotTaken {
                    path: path.to_owned(),
                    source,
                })?;
            }
        }
        Ok(())
    }

    /// Posts `body`, for which the host may need `patience`, and reads the JSON answer.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub async fn post_patiently<T: DeserializeOwned>(
        &self,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
        patience: Duration,
    ) -> Result<T, ChannelError> {
        let bytes = self
            .exchange(
                Method::POST,
                path,
                headers,
                body,
                MAX_ANSWER_BYTES,
                patience,
            )
            .await?;
        read_answer(path, &bytes, MAX_ANSWER_BYTES)
    }

    /// Posts `body` with `headers`, and reads the JSON answer.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<T, ChannelError> {
        self.post_patiently(path, headers, body, ANSWER_TIME).await
    }

    /// Posts `body` and wants nothing back.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub async fn tell(&self, path: &str, body: Bytes) -> Result<(), ChannelError> {
        self.exchange(
            Method::POST,
            path,
            &HeaderMap::new(),
            body,
            MAX_ANSWER_BYTES,
            ANSWER_TIME,
        )
        .await
        .map(drop)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
        max: usize,
        patience: Duration,
    ) -> Result<Bytes, ChannelError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://room{path}"))
            .body(whole(body))
            .map_err(|error| broken(path, error.into()))?;
        request.headers_mut().extend(headers.clone());
        let answer = async {
            let answer = self.send(request).await?;
            let status = answer.status();
            let bytes = Limited::new(answer.into_body(), max)
                .collect()
                .await
                .map_err(|source| broken(path, source))?
                .to_bytes();
            if status.is_success() {
                return Ok(bytes);
            }
            Err(refusal(path, status, &bytes))
        };
        let mut answer = std::pin::pin!(answer);
        if let Ok(answer) = timeout(patience, &mut answer).await {
            return answer;
        }
        // A room that was stopped in memory wakes up with every timer run out; the answer, which may
        // have waited just as long, gets a moment to be read.
        timeout(AFTER_PAUSE, answer)
            .await
            .map_err(|_| ChannelError::TimedOut(path.to_owned()))?
    }
}

fn broken(path: &str, source: BoxError) -> ChannelError {
    ChannelError::Broken {
        path: path.to_owned(),
        source,
    }
}

fn read_answer<T: DeserializeOwned>(
    path: &str,
    bytes: &Bytes,
    max: usize,
) -> Result<T, ChannelError> {
    json::parse(bytes, max).map_err(|source| ChannelError::Answer {
        path: path.to_owned(),
        source,
    })
}

fn refusal(path: &str, status: StatusCode, bytes: &Bytes) -> ChannelError {
    let (code, message) = json::parse::<ErrorAnswer>(bytes, MAX_ANSWER_BYTES).map_or_else(
        |_| ("no-code".to_owned(), String::new()),
        |answer| (answer.error.code, answer.error.message),
    );
    ChannelError::Refused {
        path: path.to_owned(),
        status,
        code,
        message,
    }
}
