//! One connection: TLS, HTTP/1.1 or HTTP/2, and an end when it does nothing or the server stops.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use proofroom_canonical::Digest;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::{Instant, interval, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::{config::Caps, front::Front, tls};

/// How long a connection that is to end may take over it.
const FAREWELL: Duration = Duration::from_secs(5);

/// How HTTP/2 begins (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client speaks. Where that is known beforehand, the first bytes need no room of their own beside those that
/// follow, which would be twice as much for as long as the connection lives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Http1,
    /// HTTP/2, or what cannot be told yet.
    Either,
}

/// What every connection shares.
#[derive(Clone)]
pub(crate) struct Entrance {
    pub(crate) front: Arc<Front>,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) caps: Caps,
    pub(crate) stop: watch::Receiver<bool>,
}

/// When something was last done on a connection.
#[derive(Debug)]
struct Activity {
    since: Instant,
    under_way: AtomicUsize,
    last_millis: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            under_way: AtomicUsize::new(0),
            last_millis: AtomicU64::new(0),
        }
    }

    fn touch(&self) {
        let millis = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_millis.store(millis, Ordering::Release);
    }

    fn is_idle(&self, for_long: Duration) -> bool {
        let last = Duration::from_millis(self.last_millis.load(Ordering::Acquire));
        self.under_way.load(Ordering::Acquire) == 0
            && self.since.elapsed().saturating_sub(last) >= for_long
    }
}

/// A request that is under way on a connection, until its answer's body is gone.
pub(crate) struct UnderWay(Arc<Activity>);

impl UnderWay {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.under_way.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(activity))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.touch();
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Entrance {
    /// Serves a connection to its end.
    pub(crate) async fn serve(mut self, stream: TcpStream) {
        // an answer's last event must not wait for the acknowledgement of the one before
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let Some(acceptor) = self.tls.clone() else {
            let activity = Arc::new(Activity::new());
            if let Some(spoken) = self.begins(&stream).await {
                self.speak(stream, None, spoken, activity).await;
            }
            return;
        };
        let patience = Duration::from_secs(self.caps.header_seconds);
        if let Ok(Ok(stream)) = timeout(patience, acceptor.accept(stream)).await {
            let session = stream.get_ref().1;
            let client_key = tls::client_key(session.peer_certificates());
            let spoken = match session.alpn_protocol() {
                Some(b"h2") => Spoken::Either,
                _ => Spoken::Http1,
            };
            let activity = Arc::new(Activity::new());
            self.speak(stream, client_key, spoken, activity).await;
        }
    }

    /// What a connection without TLS begins with; nothing where it does not begin.
    async fn begins(&mut self, stream: &TcpStream) -> Option<Spoken> {
        let mut first = [0; PREFACE.len()];
        let idle = Duration::from_secs(self.caps.idle_seconds);
        let seen = tokio::select! {
            seen = timeout(idle, stream.peek(&mut first)) => seen.ok()?.ok()?,
            _ = self.stop.changed() => return None,
        };
        Some(match first.get(..seen) {
            Some(first) if !PREFACE.starts_with(first) => Spoken::Http1,
            _ => Spoken::Either,
        })
    }

    async fn speak<S>(
        mut self,
        stream: S,
        client_key: Option<Digest>,
        spoken: Spoken,
        activity: Arc<Activity>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let front = Arc::clone(&self.front);
        let seen = Arc::clone(&activity);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let front = Arc::clone(&front);
            let under_way = UnderWay::begin(&seen);
            // boxed: the connection keeps a future's room for as long as it lives
            Box::pin(async move {
                Ok::<_, Infallible>(front.answer(request, client_key, under_way).await)
            })
        });
        let builder = builder(&self.caps, spoken);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let idle = Duration::from_secs(self.caps.idle_seconds);
        let mut look = interval((idle / 4).max(Duration::from_millis(250)));
        let mut leaving: Option<Instant> = None;
        loop {
            tokio::select! {
                // its error is the client's; what mattered is in the runs' records
                _ = connection.as_mut() => return,
                stopped = self.stop.changed(), if leaving.is_none() => {
                    if stopped.is_err() || *self.stop.borrow() {
                        connection.as_mut().graceful_shutdown();
                        leaving = Some(Instant::now());
                    }
                }
                _ = look.tick() => {
                    if activity.is_idle(idle) && leaving.is_none() {
                        connection.as_mut().graceful_shutdown();
                        leaving = Some(Instant::now());
                    }
                    let over = leaving.is_some_and(|since| since.elapsed() >= FAREWELL);
                    if over && activity.under_way.load(Ordering::Acquire) == 0 {
                        return;
                    }
                }
            }
        }
    }
}

fn builder(caps: &Caps, spoken: Spoken) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    if spoken == Spoken::Http1 {
        builder = builder.http1_only();
    }
    let header = Duration::from_secs(caps.header_seconds);
    let bytes = usize::try_from(caps.header_bytes).unwrap_or(usize::MAX);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header)
        .max_headers(caps.headers)
        // hyper takes no smaller buffer
        .max_buf_size(bytes.max(8192));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(caps.header_bytes)
        .max_concurrent_streams(caps.streams_per_connection)
        .keep_alive_interval(Duration::from_secs(caps.idle_seconds))
        .keep_alive_timeout(header);
    builder
}
