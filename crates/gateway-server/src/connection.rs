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
    pub(crate) async fn serve(self, stream: TcpStream) {
        // an answer's last event must not wait for the acknowledgement of the one before
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let Some(acceptor) = self.tls.clone() else {
            return self.speak(stream, None).await;
        };
        let patience = Duration::from_secs(self.caps.header_seconds);
        if let Ok(Ok(stream)) = timeout(patience, acceptor.accept(stream)).await {
            let client_key = tls::client_key(stream.get_ref().1.peer_certificates());
            self.speak(stream, client_key).await;
        }
    }

    async fn speak<S>(mut self, stream: S, client_key: Option<Digest>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = Arc::new(Activity::new());
        let front = Arc::clone(&self.front);
        let seen = Arc::clone(&activity);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let front = Arc::clone(&front);
            let under_way = UnderWay::begin(&seen);
            async move { Ok::<_, Infallible>(front.answer(request, client_key, under_way).await) }
        });
        let builder = builder(&self.caps);
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

fn builder(caps: &Caps) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
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
