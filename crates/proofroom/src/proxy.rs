//! The client's end of proofs of possession: a server on loopback that adds key or token and a proof to each request on
//! its way to a gateway, for SDKs that cannot make proofs. Bodies stream both ways and are not looked at. Where a policy
//! says what the gateway has to show, nothing goes to one whose evidence was not accepted.

mod way;

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header, request::Parts,
    uri::PathAndQuery,
};
use http_body_util::{Either, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use proofroom_authn::{HolderKey, Origin, ProofOf};
use proofroom_canonical::Digest;
use proofroom_clock::wall;
use proofroom_gateway::authorities_in;
use rustls::RootCertStore;
use tokio::{net::TcpListener, sync::Semaphore};
use zeroize::Zeroizing;

use self::way::{NotSent, Way};
use crate::{
    keys::{KeyError, random, read_secret},
    verified_gateway::{GatewayPolicy, NotVerified},
};

/// Connections at once; further ones wait.
const CONNECTIONS: usize = 256;
const HEADER_PATIENCE: Duration = Duration::from_secs(10);
/// A nonce that is older is replaced before it is used: the gateway takes each for a minute at least, and a body that
/// streams cannot be sent twice.
const NONCE_AGE: Duration = Duration::from_secs(30);
const DPOP_NONCE: &str = "dpop-nonce";

/// What one connection says to the next and nobody behind it (RFC 9110 section 7.6.1), and what the proxy says itself.
const NOT_FORWARDED: [HeaderName; 11] = [
    header::AUTHORIZATION,
    header::CONNECTION,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("dpop"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("x-api-key"),
];

/// What a proxy is made of.
#[derive(Debug)]
pub struct ProxyParts {
    /// Where the gateway is.
    pub gateway: Origin,
    /// The key by which requests are proved.
    pub key: HolderKey,
    /// The file, of mode 0600, that holds the virtual key or token; it is read for each request.
    pub token: PathBuf,
    /// The authorities of the gateway's certificate (PEM), instead of the public ones.
    pub authorities: Option<PathBuf>,
    /// What the gateway has to show besides, before anything is sent to it.
    pub evidence: Option<GatewayPolicy>,
    /// Where to listen; loopback only.
    pub listen: SocketAddr,
}

/// Why there is no proxy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// An address that others could reach.
    #[error("`{0}` is not loopback: whoever reaches the proxy speaks in your name")]
    NotLoopback(SocketAddr),
    /// It cannot be listened there.
    #[error("cannot listen at `{address}`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Files of authorities that are none.
    #[error("`{0}` does not hold certificates of authorities in PEM")]
    Authorities(PathBuf),
    /// TLS that is not built in.
    #[error("TLS cannot be spoken: {0}")]
    Tls(String),
    /// A file of secrets.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A gateway that does not show what it has to.
    #[error(transparent)]
    Gateway(#[from] NotVerified),
}

impl ProxyError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotLoopback(_) => "proxy-not-loopback",
            Self::Listen { .. } => "proxy-listen",
            Self::Authorities(_) => "proxy-authorities",
            Self::Tls(_) => "proxy-tls",
            Self::Key(_) => "proxy-file",
            Self::Gateway(error) => error.code(),
        }
    }
}

/// A proxy that listens and has not begun to answer.
#[derive(Debug)]
pub struct Proxy {
    listener: TcpListener,
    address: SocketAddr,
    secret: Zeroizing<String>,
    courier: Arc<Courier>,
}

/// Takes requests to the gateway.
#[derive(Debug)]
struct Courier {
    gateway: Origin,
    key: HolderKey,
    token: PathBuf,
    secret: Digest,
    way: Way,
    nonce: Mutex<Option<(String, Instant)>>,
}

/// An answer of the proxy's own.
struct Own(StatusCode, &'static str, &'static str);

type Body = Either<Incoming, Full<Bytes>>;

impl Proxy {
    /// Listens.
    ///
    /// # Errors
    /// See [`ProxyError`].
    pub async fn open(parts: ProxyParts) -> Result<Self, ProxyError> {
        if !parts.listen.ip().is_loopback() {
            return Err(ProxyError::NotLoopback(parts.listen));
        }
        read_secret(&parts.token)?;
        let secret = Zeroizing::new(hex::encode(random::<32>()?));
        let failed = |source| ProxyError::Listen {
            address: parts.listen,
            source,
        };
        let listener = TcpListener::bind(parts.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let authorities = authorities(parts.authorities.as_deref())?;
        let way = match parts.evidence {
            None => Way::certified(authorities)?,
            Some(policy) => Way::verified(parts.gateway.clone(), policy, authorities).await?,
        };
        let courier = Courier {
            gateway: parts.gateway,
            key: parts.key,
            token: parts.token,
            secret: Digest::of(secret.as_bytes()),
            way,
            nonce: Mutex::default(),
        };
        Ok(Self {
            listener,
            address,
            secret,
            courier: Arc::new(courier),
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its own clients have to send as their key. Made at each start, so that other users of the machine, who reach
    /// loopback too, cannot speak in this one's name.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// What the gateway showed and was accepted, in JSON, where a policy asks for it.
    #[must_use]
    pub fn verified(&self) -> Option<serde_json::Value> {
        self.courier.way.told()
    }

    /// Answers until `stop` is ready. What is under way then breaks off.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let serve = async {
            loop {
                let place = Arc::clone(&places).acquire_owned().await;
                let Ok((stream, _)) = self.listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                // an answer's last event must not wait for the acknowledgement of the one before
                stream.set_nodelay(true).ok();
                let courier = Arc::clone(&self.courier);
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let courier = Arc::clone(&courier);
                        async move { Ok::<_, Infallible>(courier.answer(request).await) }
                    });
                    let served = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(HEADER_PATIENCE)
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                    // its error is the client's
                    drop((served, place));
                });
            }
        };
        tokio::select! {
            () = serve => {}
            () = self.courier.way.keep() => {}
            () = stop => {}
        }
    }
}

fn authorities(named: Option<&Path>) -> Result<Option<RootCertStore>, ProxyError> {
    let read = |path: &Path| {
        let wrong = || ProxyError::Authorities(path.to_owned());
        authorities_in(path).ok_or_else(wrong)
    };
    named.map(read).transpose()
}

impl Own {
    fn response(&self) -> Response<Body> {
        let Self(status, code, message) = *self;
        let body = serde_json::json!({"error": {"code": code, "message": message}});
        let mut answer = Response::new(Either::Right(Full::from(body.to_string())));
        *answer.status_mut() = status;
        let json = HeaderValue::from_static("application/json");
        answer.headers_mut().insert(header::CONTENT_TYPE, json);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let second = HeaderValue::from_static("1");
            answer.headers_mut().insert(header::RETRY_AFTER, second);
        }
        answer
    }
}

impl Courier {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        match self.forward(request).await {
            Ok(answer) => answer,
            Err(own) => own.response(),
        }
    }

    async fn forward(&self, request: Request<Incoming>) -> Result<Response<Body>, Own> {
        if !self.is_own(request.headers()) {
            let words = "send the key that the proxy printed when it started";
            return Err(Own(StatusCode::UNAUTHORIZED, "proxy-key", words));
        }
        let token = read_secret(&self.token).map_err(|_| {
            let words = "the file with the key or token cannot be read, or others may read it";
            Own(StatusCode::BAD_GATEWAY, "proxy-token", words)
        })?;
        let nonce = self.fresh_nonce().await?;
        let (mut parts, body) = request.into_parts();
        let proof = self.prove(&parts, &token, &nonce)?;
        let target = parts.uri.path_and_query();
        parts.uri = self.address_of(target.map_or("/", PathAndQuery::as_str))?;
        let trailers = parts.headers.get(header::TE);
        let trailers = trailers.is_some_and(|te| te == "trailers");
        strip(&mut parts.headers);
        if trailers {
            let te = HeaderValue::from_static("trailers");
            parts.headers.insert(header::TE, te);
        }
        let credential = Zeroizing::new(format!("DPoP {}", token.as_str()));
        for (name, value) in [
            (header::AUTHORIZATION, credential.as_str()),
            (HeaderName::from_static("dpop"), &proof),
        ] {
            let mut value = HeaderValue::from_str(value).map_err(|_| {
                let words = "the file with the key or token does not hold one";
                Own(StatusCode::BAD_GATEWAY, "proxy-token", words)
            })?;
            value.set_sensitive(true);
            parts.headers.insert(name, value);
        }
        // the two sides of the proxy may speak different versions
        parts.version = http::Version::HTTP_11;
        self.send(Request::from_parts(parts, Either::Left(body)))
            .await
    }

    /// The proof for a request as its client wrote it.
    fn prove(&self, request: &Parts, token: &str, nonce: &str) -> Result<String, Own> {
        let address = format!("{}{}", self.gateway, request.uri.path());
        let id = random::<16>().map_err(|_| {
            let words = "the system gave no randomness";
            Own(StatusCode::INTERNAL_SERVER_ERROR, "proxy-randomness", words)
        })?;
        let of = ProofOf {
            method: request.method.as_str(),
            address: &address,
            token,
            nonce,
        };
        Ok(self.key.prove(&of, id, wall()))
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, Own> {
        let answer = self.ask(request).await?;
        let stale = answer.status() == StatusCode::UNAUTHORIZED
            && answer
                .headers()
                .get(header::WWW_AUTHENTICATE)
                .is_some_and(|asked| {
                    asked
                        .as_bytes()
                        .windows(14)
                        .any(|word| word == b"use_dpop_nonce")
                });
        if stale {
            // the gateway was started anew since; its nonce is known now, and SDKs send a 503 again by themselves
            let words = "the gateway was started anew; send the request again";
            return Err(Own(
                StatusCode::SERVICE_UNAVAILABLE,
                "proxy-nonce-renewed",
                words,
            ));
        }
        let (mut parts, body) = answer.into_parts();
        // trailers go on to clients that ask for them, and are announced to them
        let trailers = parts.headers.remove(header::TRAILER);
        strip(&mut parts.headers);
        if let Some(trailers) = trailers {
            parts.headers.insert(header::TRAILER, trailers);
        }
        parts.headers.remove(DPOP_NONCE);
        parts.version = http::Version::HTTP_11;
        Ok(Response::from_parts(parts, Either::Left(body)))
    }

    /// Asks the gateway, and learns the nonce that its answer has.
    async fn ask(&self, request: Request<Body>) -> Result<Response<Incoming>, Own> {
        let answer = self.way.send(request).await.map_err(not_sent)?;
        self.learn(answer.headers());
        Ok(answer)
    }

    /// Whether a request is of whoever started the proxy.
    fn is_own(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
            let (scheme, text) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| text.trim())
        });
        let plain = headers
            .get("x-api-key")
            .and_then(|value| value.to_str().ok());
        // digests are compared: how far they agree says nothing about the secret
        let own = |text: &str| Digest::of(text.as_bytes()) == self.secret;
        bearer.is_some_and(own) || plain.is_some_and(own)
    }

    async fn fresh_nonce(&self) -> Result<String, Own> {
        if let Some(nonce) = self.known_nonce() {
            return Ok(nonce);
        }
        let mut request = Request::new(Either::Right(Full::default()));
        *request.method_mut() = http::Method::HEAD;
        *request.uri_mut() = self.address_of("/")?;
        self.ask(request).await?;
        self.known_nonce().ok_or({
            let words = "the gateway gives no nonce: its operator has to set `listen.urls`";
            Own(StatusCode::BAD_GATEWAY, "proxy-no-nonce", words)
        })
    }

    fn known_nonce(&self) -> Option<String> {
        let nonce = self.nonce.lock().unwrap_or_else(PoisonError::into_inner);
        let (nonce, since) = nonce.as_ref()?;
        (since.elapsed() < NONCE_AGE).then(|| nonce.clone())
    }

    fn learn(&self, headers: &HeaderMap) {
        let found = headers
            .get(DPOP_NONCE)
            .and_then(|value| value.to_str().ok());
        let Some(found) = found else { return };
        let mut nonce = self.nonce.lock().unwrap_or_else(PoisonError::into_inner);
        // whatever is handed out now is taken for a minute from now on
        *nonce = Some((found.to_owned(), Instant::now()));
    }

    fn address_of(&self, target: &str) -> Result<Uri, Own> {
        address_at(&self.gateway, target)
    }
}

fn address_at(gateway: &Origin, target: &str) -> Result<Uri, Own> {
    let wrong = || {
        let words = "the request's target is no path";
        Own(StatusCode::BAD_REQUEST, "proxy-target", words)
    };
    // `*` would become a part of the gateway's port
    if !target.starts_with('/') {
        return Err(wrong());
    }
    let address = format!("{gateway}{target}");
    address.parse().map_err(|_| wrong())
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of `map_err`")]
const fn not_sent(why: NotSent) -> Own {
    match why {
        NotSent::Unreachable => Own(
            StatusCode::BAD_GATEWAY,
            "proxy-gateway-unreachable",
            "the gateway does not answer, or its certificate is not of the authorities that are asked",
        ),
        NotSent::NotVerified => Own(
            StatusCode::BAD_GATEWAY,
            "proxy-gateway-not-verified",
            "the gateway's evidence is not accepted, so nothing was sent; why is on the proxy's standard error",
        ),
    }
}

fn strip(headers: &mut HeaderMap) {
    let named = headers.get_all(header::CONNECTION).iter();
    let named = named.filter_map(|value| value.to_str().ok());
    let named = named.flat_map(|value| value.split(','));
    // whoever says so of `connection` itself says nothing more
    let named: Vec<HeaderName> = named.filter_map(|name| name.trim().parse().ok()).collect();
    for name in named {
        headers.remove(name);
    }
    for name in NOT_FORWARDED {
        headers.remove(name);
    }
    headers.remove(header::TE);
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};

    use super::{address_at, strip};

    #[test]
    fn a_target_that_is_no_path_does_not_become_a_part_of_the_gateways_address() {
        let gateway = "https://gateway.test:8443".parse().unwrap();
        let address = |target: &str| {
            let made = address_at(&gateway, target);
            made.map(|uri| uri.to_string()).map_err(|own| own.1)
        };
        for bad in ["*", "", "0/v1", "@evil.test/v1", ".evil.test/"] {
            assert_eq!(address(bad), Err("proxy-target"), "{bad}");
        }
        let good = "https://gateway.test:8443/v1/messages?a=b";
        assert_eq!(address("/v1/messages?a=b").as_deref(), Ok(good));
    }

    #[test]
    fn what_a_connection_names_as_its_own_goes_no_further() {
        let mut headers = HeaderMap::new();
        let named = HeaderValue::from_static("close, X-Of-Hop ,,not a name");
        headers.append(header::CONNECTION, named);
        headers.append(header::CONNECTION, HeaderValue::from_static("x-more"));
        for name in ["x-of-hop", "x-more", "x-kept", "te", "upgrade"] {
            headers.append(name, HeaderValue::from_static("1"));
        }
        strip(&mut headers);
        let left: Vec<_> = headers.keys().map(header::HeaderName::as_str).collect();
        assert_eq!(left, ["x-kept"]);
    }
}
