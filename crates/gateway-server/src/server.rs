//! The server as a whole: opened, run, and stopped with every run recorded.

mod sink;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use p256::{ecdsa::SigningKey, pkcs8::EncodePublicKey as _};
use proofroom_canonical::{Digest, Timestamp};
use proofroom_classify::{ClassificationPolicy, RoutingPolicy};
use proofroom_gateway::{
    Clock, CommitmentKey, Config as GatewayConfig, Gateway, InMemoryAlone, RunObserver,
    SetupProblem, SystemEntropy, UpstreamsConfig,
};
use proofroom_record::gateway::GatewayPolicies;
use proofroom_tlog::NoteSigner;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{interval, timeout},
};
use tokio_rustls::TlsAcceptor;

use self::sink::StoreSink;
use crate::{
    config::Config,
    connection::Entrance,
    doorkeeper::{Doorkeeper, DoorkeeperProblem},
    front::Front,
    gate::{Logging, Permission},
    identity::{Identity, Standing},
    issuer_client::IssuerClientError,
    keys::KeyFileError,
    limits::Book,
    metrics::Metrics,
    people::BarFileError,
    prices::Prices,
    sessions::{Facts, History, Sessions},
    store::{Opening, Progress, RecordStore, StoreError},
    telemetry::{Telemetry, TelemetryNews, TelemetryProblem},
    tls,
};

/// How often the file of keys is looked at, also when nobody asks.
const LOOK: Duration = Duration::from_secs(1);
/// How often sessions are looked through for such as are over.
const SWEEP: Duration = Duration::from_secs(30);

/// What a server is made of.
pub struct Parts {
    /// `gateway.toml`.
    pub config: Config,
    /// Which findings carry which label.
    pub classification: ClassificationPolicy,
    /// Which label may go where.
    pub routing: RoutingPolicy,
    /// Which upstreams there are.
    pub upstreams: UpstreamsConfig,
    /// Appraisal policies by the file name that the upstreams file gives.
    pub appraisal: BTreeMap<PathBuf, proofroom_gateway::AppraisalPolicy>,
    /// What providers that attest in their own format are judged by.
    pub providers: proofroom_gateway::Providers,
    /// The digests of these files.
    pub policies: GatewayPolicies,
    /// What models cost.
    pub prices: Prices,
    /// Signs records.
    pub signing_key: SigningKey,
    /// Commits records to what was found.
    pub commitments: CommitmentKey,
    /// Signs the log's heads.
    pub log: NoteSigner,
    /// The deployment's SPIFFE trust domain.
    pub trust_domain: String,
    /// What the gateway has to show of itself.
    pub standing: Standing,
    /// Whether the process's memory is locked, for its operators.
    pub memory_locked: bool,
    /// Tells the time.
    pub clock: fn() -> Timestamp,
    /// Is told of each record file that a start has to read beside the last.
    pub progress: fn(Progress),
    /// Is told when spans cannot be delivered, and when they are again.
    pub telemetry: fn(TelemetryNews),
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Why a server does not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Records or log.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file of keys.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The file of who is barred.
    #[error(transparent)]
    Bars(#[from] BarFileError),
    /// An issuer of people's tokens.
    #[error(transparent)]
    Issuer(#[from] IssuerClientError),
    /// A configuration that no file can have.
    #[error("{0}")]
    Door(String),
    /// Certificate or key of the listener.
    #[error("tls cannot be served: {0}")]
    Tls(String),
    /// Policies and upstreams contradict each other.
    #[error("policies and upstreams contradict each other: {}", .0.join("; "))]
    Contradiction(Vec<String>),
    /// Spans cannot be delivered at all.
    #[error(transparent)]
    Telemetry(#[from] TelemetryProblem),
    /// An address cannot be listened at.
    #[error("cannot listen at `{address}`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl ServerError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Keys(error) => error.code(),
            Self::Bars(error) => error.code(),
            Self::Issuer(error) => error.code(),
            Self::Door(_) => "gateway-door",
            Self::Tls(_) => "gateway-tls",
            Self::Contradiction(_) => "gateway-contradiction",
            Self::Telemetry(problem) => problem.code(),
            Self::Listen { .. } => "gateway-listen",
        }
    }
}

/// A server that listens and has not begun to answer.
pub struct Server {
    front: Arc<Front>,
    config: Config,
    tls: Option<TlsAcceptor>,
    listener: TcpListener,
    operations: Option<TcpListener>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

struct Told(fn() -> Timestamp);

impl Clock for Told {
    fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl Server {
    /// Opens records, log and keys, accounts for what an earlier process left, and listens.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub async fn open(parts: Parts) -> Result<Self, ServerError> {
        let config = parts.config.clone();
        let (tls, tls_key) = match &config.tls {
            None => (None, None),
            Some(files) => {
                let (tls, key) = tls::server_config(files)
                    .map_err(|problem| ServerError::Tls(problem.to_string()))?;
                (Some(TlsAcceptor::from(tls)), Some(key))
            }
        };
        let doorkeeper = Doorkeeper::open(&config)?;
        let front = Arc::new(front(parts, doorkeeper, tls_key).await?);
        let listener = listen(config.address).await?;
        let operations = match config.operations {
            None => None,
            Some(address) => Some(listen(address).await?),
        };
        Ok(Self {
            front,
            config,
            tls,
            listener,
            operations,
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap_or(self.config.address)
    }

    /// Where health and metrics are served, if they are.
    #[must_use]
    pub fn operations_address(&self) -> Option<SocketAddr> {
        self.operations.as_ref()?.local_addr().ok()
    }

    /// Serves until `stop` is ready. Then no request is taken, those under way may end for
    /// `caps.stop_seconds`, the others are cancelled, and every session is accounted for.
    ///
    /// # Errors
    /// When the last records cannot be kept.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), ServerError> {
        let (stopping, stopped) = watch::channel(false);
        let tending = tokio::spawn(tend(Arc::clone(&self.front)));
        let operations = self
            .operations
            .map(|listener| tokio::spawn(operate(listener, Arc::clone(&self.front))));
        let entrance = Entrance {
            front: Arc::clone(&self.front),
            tls: self.tls,
            caps: self.config.caps,
            stop: stopped,
        };
        let mut connections = JoinSet::new();
        tokio::select! {
            () = stop => {}
            () = accept(&self.listener, &entrance, &mut connections) => {}
        }
        drop(self.listener);
        self.front.stopping.store(true, Ordering::Release);
        // nobody may listen any more
        stopping.send(true).ok();
        let patience = Duration::from_secs(self.config.caps.stop_seconds);
        let all = async { while connections.join_next().await.is_some() {} };
        if timeout(patience, all).await.is_err() {
            connections.shutdown().await;
        }
        tending.abort();
        let done = self.front.sessions.stop().await;
        if let Some(operations) = operations {
            operations.abort();
        }
        if let Some(telemetry) = &self.front.telemetry {
            telemetry.stop().await;
        }
        let store = Arc::clone(&self.front.permission.store);
        drop(self.front);
        tokio::task::spawn_blocking(move || store.stop()).await.ok();
        Ok(done?)
    }
}

async fn front(
    parts: Parts,
    doorkeeper: Doorkeeper,
    tls_key: Option<Digest>,
) -> Result<Front, ServerError> {
    let record_key = spki(&parts.signing_key);
    let levels = parts.classification.levels().clone();
    let prices = Arc::new(parts.prices);
    let opening = Opening::new(&parts.config.state, parts.clock, Arc::clone(&prices));
    let (store, mut history) = records(opening, parts.log, parts.progress).await?;
    let permission = Arc::new(Permission {
        store: Arc::clone(&store),
        signing_key: parts.signing_key.clone(),
        book: Arc::new(Book::of(history.take_spent())),
        metrics: Arc::new(Metrics::new(named_models(&parts.upstreams))),
        prices: Arc::clone(&prices),
        shared: parts.config.shared.clone(),
        doorkeeper,
        logging: Logging {
            mode: parts.config.log,
            highest: parts.classification.levels().highest(),
        },
        clock: parts.clock,
    });
    let started = |config| Telemetry::start(config, parts.telemetry);
    let telemetry = parts.config.telemetry.as_ref().map(started).transpose()?;
    let gateway = Gateway::new(GatewayConfig {
        classification: parts.classification,
        routing: parts.routing,
        shadow: None,
        upstreams: parts.upstreams,
        appraisal: parts.appraisal,
        providers: parts.providers,
        signing_key: parts.signing_key,
        commitments: Some(parts.commitments),
        clock: Arc::new(Told(parts.clock)),
        entropy: Arc::new(SystemEntropy),
        sink: Arc::new(StoreSink { store, prices }),
        evidence: Arc::new(InMemoryAlone),
        observer: Arc::clone(&permission.metrics) as Arc<dyn RunObserver>,
        limits: proofroom_gateway::Limits::default(),
        tracing: telemetry.as_ref().map(Telemetry::tracing),
    })
    .map_err(contradiction)?;
    let facts = Facts {
        trust_domain: parts.trust_domain,
        policies: parts.policies.clone(),
        attestation: parts.standing.attestation(),
        idle: parts.config.session_idle,
    };
    let (served, left) = (gateway.clone(), history.resume(&levels));
    let sessions = Sessions::resume(served, Arc::clone(&permission), facts, left).await?;
    let identity = Identity::new(parts.standing, record_key, tls_key, parts.policies);
    Ok(Front {
        gateway,
        identity,
        sessions: Arc::new(sessions),
        permission,
        caps: parts.config.caps,
        memory_locked: parts.memory_locked,
        telemetry,
        stopping: AtomicBool::new(false),
    })
}

/// The records, and what they say of sessions and spending.
async fn records(
    opening: Opening,
    signer: NoteSigner,
    mut progress: fn(Progress),
) -> Result<(Arc<RecordStore>, History), StoreError> {
    // it blocks, and waits in ways that a runtime's own threads must not
    let opening = move || RecordStore::open(opening, signer, &mut progress);
    let opened = tokio::task::spawn_blocking(opening).await;
    let (store, _, history) = opened.map_err(|_| StoreError::Failed)??;
    Ok((Arc::new(store), history))
}

impl From<DoorkeeperProblem> for ServerError {
    fn from(problem: DoorkeeperProblem) -> Self {
        match problem {
            DoorkeeperProblem::Keys(error) => Self::Keys(error),
            DoorkeeperProblem::Bars(error) => Self::Bars(error),
            DoorkeeperProblem::Issuer(error) => Self::Issuer(error),
            DoorkeeperProblem::Glob(error) => Self::Door(error.to_string()),
            DoorkeeperProblem::NoRandomness => Self::Door(problem.to_string()),
        }
    }
}

/// SHA-256 of the key's SubjectPublicKeyInfo, which is the `keyid` of what it signs.
fn spki(key: &SigningKey) -> Digest {
    let der = key.verifying_key().to_public_key_der();
    // P-256 keys have an encoding; one that had none would be known by no digest
    der.map_or_else(|_| Digest::of([]), |der| Digest::of(der.as_bytes()))
}

/// The names that the configuration gives to models: the only ones that metrics repeat.
fn named_models(upstreams: &UpstreamsConfig) -> BTreeSet<String> {
    upstreams
        .upstreams()
        .flat_map(|upstream| upstream.models.iter().chain(upstream.aliases.keys()))
        .cloned()
        .collect()
}

#[expect(clippy::needless_pass_by_value, reason = "an argument of `map_err`")]
fn contradiction(problems: Vec<SetupProblem>) -> ServerError {
    ServerError::Contradiction(problems.iter().map(SetupProblem::to_string).collect())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServerError::Listen { address, source })
}

/// Takes connections, as many at once as there may be.
async fn accept(listener: &TcpListener, entrance: &Entrance, connections: &mut JoinSet<()>) {
    let places = Arc::new(Semaphore::new(entrance.caps.connections));
    loop {
        // never closed
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(one(entrance.clone(), stream, place));
            }
            // out of file descriptors: connections that end will give some back
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn one(entrance: Entrance, stream: TcpStream, place: OwnedSemaphorePermit) {
    let metrics = Arc::clone(&entrance.front.permission.metrics);
    metrics.connections.fetch_add(1, Ordering::Relaxed);
    entrance.serve(stream).await;
    metrics.connections.fetch_sub(1, Ordering::Relaxed);
    drop(place);
}

/// Looks at keys and sessions while nobody asks.
async fn tend(front: Arc<Front>) {
    let looks = async {
        let mut look = interval(LOOK);
        loop {
            look.tick().await;
            front.permission.doorkeeper.tend();
            front.gateway.tend();
        }
    };
    // beside it, since a disk that is slow makes nobody wait for who was barred
    let sweeps = async {
        let mut sweep = interval(SWEEP);
        loop {
            sweep.tick().await;
            // a store that failed has closed the gateway already
            front.sessions.sweep().await.ok();
        }
    };
    tokio::join!(looks, sweeps);
}

/// Serves health and metrics, one connection after another's head: on loopback alone.
async fn operate(listener: TcpListener, front: Arc<Front>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let front = Arc::clone(&front);
        tokio::spawn(async move {
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let front = Arc::clone(&front);
                async move { Ok::<_, std::convert::Infallible>(front.operations(&request).await) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(LOOK * 10)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            // a scraper that hung up
            drop(served);
        });
    }
}

#[cfg(test)]
pub(crate) mod tests;
