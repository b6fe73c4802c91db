//! The shim's listener: evidence, receipts, and requests that are passed on. Nothing is served before the weights
//! were read and the machine made a first quote.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Either;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_serving::{RECEIPT_HEADER, RECEIPT_PATH, REPORT_PATH, SEALED_PATH};
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    Config, MachineError, Reports,
    config::Encryption,
    evidence::Claims,
    gpu,
    keys::{KeyError, Keys, random},
    proxy::{self, Proxy},
    receipts::Receipts,
    reply::{Outgoing, Reply, json, refusal},
    sealed,
};

/// The most connections at once.
const MAX_CONNECTIONS: usize = 1024;
/// The most that wait for evidence: a quote takes its machine seconds, and they are made one by one.
const MAX_ASKING: usize = 16;
/// How long a client may leave unread what was sent to it.
const UNREAD_MILLIS: u32 = 120_000;
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEADERS: Duration = Duration::from_secs(30);

/// Why the shim does not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnclaveError {
    /// No keys.
    #[error("no keys can be made: {0}")]
    Keys(String),
    /// No port.
    #[error("cannot listen")]
    Listen(#[source] io::Error),
    /// A first report could not be made: nothing is served that cannot be proved.
    #[error("the machine cannot prove itself")]
    Machine(#[from] MachineError),
    /// The work was ended.
    #[error("the work was ended")]
    Ended,
}

impl EnclaveError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Keys(_) => "enclave-keys",
            Self::Listen(_) => "enclave-listen",
            Self::Machine(error) => error.code(),
            Self::Ended => "enclave-ended",
        }
    }
}

impl From<KeyError> for EnclaveError {
    fn from(error: KeyError) -> Self {
        Self::Keys(error.to_string())
    }
}

/// The shim.
pub struct Enclave {
    config: Config,
    keys: Arc<Keys>,
    receipts: Arc<Receipts>,
    proxy: Proxy,
    reports: Arc<dyn Reports>,
    clock: fn() -> Timestamp,
    /// What is claimed, once all of it is known.
    ready: OnceLock<Claims>,
    asking: Semaphore,
    /// One quote at a time.
    turn: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Enclave {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enclave")
            .field("ready", &self.ready)
            .finish_non_exhaustive()
    }
}

/// A listener that is bound.
#[derive(Debug)]
pub struct Listening {
    enclave: Arc<Enclave>,
    listener: TcpListener,
}

impl Enclave {
    /// Makes the keys. Everything is refused until [`Enclave::prove`] was called.
    ///
    /// # Errors
    /// `enclave-keys`.
    pub fn new(
        config: Config,
        reports: Box<dyn Reports>,
        clock: fn() -> Timestamp,
    ) -> Result<Arc<Self>, EnclaveError> {
        let keys = Arc::new(Keys::fresh()?);
        let receipts = Arc::new(Receipts::new(Arc::clone(&keys), config.model.clone()));
        let proxy = Proxy::new(config.server, config.model.clone(), Arc::clone(&receipts));
        Ok(Arc::new(Self {
            config,
            keys,
            receipts,
            proxy,
            reports: reports.into(),
            clock,
            ready: OnceLock::new(),
            asking: Semaphore::new(MAX_ASKING),
            turn: tokio::sync::Mutex::default(),
        }))
    }

    /// Makes a first report about weights of this digest, and serves from then on.
    ///
    /// # Errors
    /// [`EnclaveError`], where the machine or its GPUs cannot be shown.
    pub async fn prove(&self, weights: Digest) -> Result<(), EnclaveError> {
        let claims = Claims {
            tls_spki: self.keys.tls_spki,
            receipt_key: self.keys.receipt_key(),
            sealing_key: self.keys.sealing.config(),
            model: self.config.model.clone(),
            weights,
            image: self.config.image,
            seconds: self.config.statement_seconds,
        };
        self.report(claims.clone(), Nonce::from_random(*random()?))
            .await?;
        self.ready.set(claims).map_err(|_| EnclaveError::Ended)
    }

    async fn report(&self, claims: Claims, nonce: Nonce) -> Result<Vec<u8>, EnclaveError> {
        let _turn = self.turn.lock().await;
        let gpus = match &self.config.gpu {
            Some(helper) => Some(gpu::ask(helper, nonce).await.map_err(MachineError::Gpu)?),
            None => None,
        };
        let (reports, now) = (Arc::clone(&self.reports), (self.clock)());
        let made =
            tokio::task::spawn_blocking(move || claims.report(&*reports, nonce, gpus, now)).await;
        Ok(made.map_err(|_| EnclaveError::Ended)??)
    }

    /// Takes the port.
    ///
    /// # Errors
    /// `enclave-listen`.
    pub async fn listen(self: &Arc<Self>) -> Result<Listening, EnclaveError> {
        let listener = TcpListener::bind(self.config.listen).await;
        Ok(Listening {
            listener: listener.map_err(EnclaveError::Listen)?,
            enclave: Arc::clone(self),
        })
    }

    async fn answer(&self, request: Request<Incoming>) -> Outgoing {
        let Some(claims) = self.ready.get() else {
            let refused = refusal(StatusCode::SERVICE_UNAVAILABLE, "enclave-not-ready");
            return refused.map(Either::Left);
        };
        let plain = match (request.method(), request.uri().path()) {
            (&Method::POST, SEALED_PATH) => return self.sealed(request).await,
            (&Method::GET, REPORT_PATH) => self.evidence(claims, request.uri().query()).await,
            _ if self.config.encryption == Encryption::Required => {
                refusal(StatusCode::FORBIDDEN, "encryption-required")
            }
            _ => self.plain(request).await,
        };
        plain.map(Either::Left)
    }

    /// A request that TLS alone protects.
    async fn plain(&self, request: Request<Incoming>) -> Reply {
        let (parts, body) = request.into_parts();
        let body = match Proxy::takes(&parts.method, parts.uri.path()) {
            true => proxy::arrived(body).await,
            false => Ok(Bytes::new()),
        };
        match body {
            Ok(body) => self.within(Request::from_parts(parts, body)).await,
            Err((status, code)) => refusal(status, code),
        }
    }

    /// A request that is sealed to the enclave's key. What is wrong before it is opened is answered in the clear, and all
    /// else is sealed.
    async fn sealed(&self, request: Request<Incoming>) -> Outgoing {
        let opened = sealed::open(&self.keys.sealing, request).await;
        let sent = match opened {
            Ok(opened) => {
                let answer = match opened.request.map(sealed::inner) {
                    Ok(Some(request)) => self.challenged(request).await,
                    Ok(None) | Err(_) => {
                        refusal(StatusCode::BAD_REQUEST, "sealed-message-malformed")
                    }
                };
                sealed::seal(opened.answer, answer)
            }
            Err(refused) => Err(refused),
        };
        sent.unwrap_or_else(|(status, code)| refusal(status, code).map(Either::Left))
    }

    /// A run whose request was sealed is its sender's own: whoever repeats the ciphertext repeats the challenge.
    async fn challenged(&self, request: Request<Bytes>) -> Reply {
        let is_run = Proxy::takes(request.method(), request.uri().path());
        match is_run && !request.headers().contains_key(RECEIPT_HEADER) {
            true => refusal(StatusCode::BAD_REQUEST, "challenge-missing"),
            false => self.within(request).await,
        }
    }

    /// What may be asked for sealed and unsealed.
    async fn within(&self, request: Request<Bytes>) -> Reply {
        let path = request.uri().path();
        if Proxy::takes(request.method(), path) {
            return self.proxy.pass(request).await;
        }
        match path.strip_prefix(RECEIPT_PATH) {
            Some(challenge) if request.method() == Method::GET => self.receipt(challenge),
            _ => no_route(),
        }
    }

    fn receipt(&self, challenge: &str) -> Reply {
        let challenge = challenge.parse().ok();
        match challenge.and_then(|challenge| self.receipts.find(challenge)) {
            Some(receipt) => json(StatusCode::OK, receipt),
            None => refusal(StatusCode::NOT_FOUND, "receipt-unknown"),
        }
    }

    async fn evidence(&self, claims: &Claims, query: Option<&str>) -> Reply {
        let nonce = query
            .and_then(|query| query.strip_prefix("nonce="))
            .and_then(|nonce| nonce.parse().ok());
        let Some(nonce) = nonce else {
            return refusal(StatusCode::BAD_REQUEST, "nonce-malformed");
        };
        let Ok(_place) = self.asking.try_acquire() else {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "enclave-busy");
        };
        match self.report(claims.clone(), nonce).await {
            Ok(report) => json(StatusCode::OK, report),
            Err(error) => refusal(StatusCode::SERVICE_UNAVAILABLE, error.code()),
        }
    }
}

fn no_route() -> Reply {
    refusal(StatusCode::NOT_FOUND, "no-such-route")
}

impl Listening {
    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the task is dropped.
    pub async fn serve(self) {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.enclave.keys.tls));
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let Ok((tcp, _)) = self.listener.accept().await else {
                // no descriptors are left, perhaps; a connection that ends gives one back
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let (acceptor, enclave) = (acceptor.clone(), Arc::clone(&self.enclave));
            tokio::spawn(async move {
                connection(tcp, acceptor, enclave).await;
                drop(place);
            });
        }
    }
}

/// A client that breaks its connection ends that and nothing else.
async fn connection(tcp: TcpStream, acceptor: TlsAcceptor, enclave: Arc<Enclave>) {
    drop(tcp.set_nodelay(true));
    // who takes nothing of an answer for so long holds no place any more (tcp(7), TCP_USER_TIMEOUT)
    if set_tcp_user_timeout(&tcp, UNREAD_MILLIS).is_err() {
        return;
    }
    let Ok(Ok(tls)) = timeout(HANDSHAKE, acceptor.accept(tcp)).await else {
        return;
    };
    let service = service_fn(move |request| {
        let enclave = Arc::clone(&enclave);
        async move { Ok::<_, Infallible>(enclave.answer(request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .serve_connection(TokioIo::new(tls), service);
    drop(served.await);
}
