//! Connections to upstreams: pooled HTTP clients, and the one bare request that fetches evidence.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::Body;
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use proofroom_canonical::Digest;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{
    config::BaseUrl,
    sealed::{BodyFault, UpstreamBody},
    tls,
};

/// How long a connection may take to open.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long fetching evidence may take in all. Producing a quote takes seconds.
pub const EVIDENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an idle connection is kept.
const IDLE_CONNECTION: Duration = Duration::from_secs(60);

/// A pool of connections, for requests with bodies of one type.
pub type HttpClient<B = Full<Bytes>> = Client<HttpsConnector<HttpConnector>, B>;
pub(crate) type UpstreamResponse = Response<UpstreamBody>;

/// A client for standard upstreams: plain to loopback, TLS by these authorities elsewhere, or by the public ones.
///
/// # Errors
/// When TLS cannot be set up.
pub fn standard_client<B>(
    authorities: Option<RootCertStore>,
) -> Result<HttpClient<B>, rustls::Error>
where
    B: Body + Send,
    B::Data: Send,
{
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls::standard_config(authorities)?)
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(tcp());
    Ok(pooled(connector))
}

/// A client that speaks TLS 1.3 alone, to servers that show the key whose SubjectPublicKeyInfo has this SHA-256 and for
/// whose names these authorities, or public ones where none are named, certify it.
///
/// # Errors
/// When TLS cannot be set up.
pub fn client_of_key<B>(
    key: Digest,
    authorities: Option<RootCertStore>,
) -> Result<HttpClient<B>, rustls::Error>
where
    B: Body + Send,
    B::Data: Send,
{
    let verifier = tls::KeyVerifier::exactly_and_certified(key, authorities)
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    pinned_client(verifier)
}

/// A client whose every connection is judged by `verifier`, and which speaks TLS only.
pub(crate) fn pinned_client<B>(
    verifier: Arc<tls::KeyVerifier>,
) -> Result<HttpClient<B>, rustls::Error>
where
    B: Body + Send,
    B::Data: Send,
{
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls::attested_config(verifier)?)
        .https_only()
        .enable_http1()
        .wrap_connector(tcp());
    Ok(pooled(connector))
}

/// Why a request has no answer.
pub(crate) enum RequestFault {
    Client(hyper_util::client::legacy::Error),
    /// It is sealed, and its answer does not open; or it cannot be sealed.
    Sealed(BodyFault),
}

/// Sends a request as it is.
pub(crate) async fn plain(
    client: &HttpClient,
    request: Request<Full<Bytes>>,
) -> Result<UpstreamResponse, RequestFault> {
    let answer = client.request(request).await;
    let answer = answer.map_err(RequestFault::Client)?;
    Ok(answer.map(UpstreamBody::Plain))
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp
}

fn pooled<B>(connector: HttpsConnector<HttpConnector>) -> HttpClient<B>
where
    B: Body + Send,
    B::Data: Send,
{
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE_CONNECTION)
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .build(connector)
}

/// Why evidence could not be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchFailure {
    /// No connection, no answer, or not in time.
    Unreachable,
    /// Another status than 200.
    Status(u16),
    /// More bytes than evidence may have, or broken off.
    Body,
    /// No server key was seen: cannot happen over TLS.
    NoKey,
}

/// Evidence as fetched, with the key of the very connection that it came over.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) document: Bytes,
    pub(crate) tls_spki: Digest,
}

/// Fetches evidence over a connection of its own, on which nothing else is ever sent.
pub(crate) async fn fetch_evidence(
    base: &BaseUrl,
    uri: &Uri,
    max: usize,
) -> Result<Fetched, FetchFailure> {
    let verifier = tls::KeyVerifier::learn();
    let config = tls::attested_config(Arc::clone(&verifier)).map_err(|_| FetchFailure::NoKey)?;
    let work = fetch(base, uri, max, config);
    let document = tokio::time::timeout(EVIDENCE_TIMEOUT, work)
        .await
        .map_err(|_| FetchFailure::Unreachable)??;
    let tls_spki = verifier.seen().ok_or(FetchFailure::NoKey)?;
    Ok(Fetched { document, tls_spki })
}

async fn fetch(
    base: &BaseUrl,
    uri: &Uri,
    max: usize,
    config: ClientConfig,
) -> Result<Bytes, FetchFailure> {
    let connecting = TcpStream::connect((base.host.as_str(), base.port));
    let tcp = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
        .await
        .map_err(|_| FetchFailure::Unreachable)?
        .map_err(|_| FetchFailure::Unreachable)?;
    tcp.set_nodelay(true)
        .map_err(|_| FetchFailure::Unreachable)?;
    let name = ServerName::try_from(base.host.clone()).map_err(|_| FetchFailure::Unreachable)?;
    let tls = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .map_err(|_| FetchFailure::Unreachable)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls))
        .await
        .map_err(|_| FetchFailure::Unreachable)?;
    let driver = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |found| found.as_str());
    let request = Request::get(path)
        .header(http::header::HOST, base.authority.as_str())
        .header(http::header::ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchFailure::Unreachable)?;
    let answer = read_document(sender.send_request(request).await, max).await;
    driver.abort();
    answer
}

async fn read_document(
    answer: hyper::Result<Response<Incoming>>,
    max: usize,
) -> Result<Bytes, FetchFailure> {
    let answer = answer.map_err(|_| FetchFailure::Unreachable)?;
    if answer.status() != http::StatusCode::OK {
        return Err(FetchFailure::Status(answer.status().as_u16()));
    }
    let body = Limited::new(answer.into_body(), max);
    let document = body.collect().await.map_err(|_| FetchFailure::Body)?;
    Ok(document.to_bytes())
}
