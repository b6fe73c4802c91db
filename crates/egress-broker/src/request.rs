//! Single requests, made by the broker itself: a fixed list of headers, never a credential of the
//! caller's, ours where the rule has one. Each goes over a connection of its own.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use proofroom_egress::{Endpoint, Meter, Mode, Rule, Scheme, Target, meter::CapReached};
use proofroom_record::{event::EgressEnd, room_api::EgressAccount};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::OwnedSemaphorePermit,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    Broker, Refusal, Report,
    body::{Body, Outgoing, Passed, Pieces, ending, piecewise},
    dial::dial,
};

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long an answer's head, and each piece of its body, may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the room may take for the account.
const LINGER: Duration = Duration::from_secs(3);
/// What every request of a room is sent as.
const USER_AGENT: &str = concat!("proofroom-egress/", env!("CARGO_PKG_VERSION"));

/// Request headers that go out.
const GOING_OUT: [HeaderName; 12] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::RANGE,
];
/// Response headers that do not come in: they belong to the connection, keep state, or lead around
/// the broker.
const NOT_COMING_IN: [&str; 12] = [
    "alt-svc",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-proofroom-account",
    "x-proofroom-egress",
];

impl Broker {
    /// Makes a request for the room. `headers` and `body` are the room's.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn request(
        self: &Arc<Self>,
        method: &str,
        target: &Target,
        headers: &HeaderMap,
        body: Incoming,
        report: Report,
    ) -> Result<Response<Body>, Refusal> {
        let rule = self.policy.request(method, target)?;
        let permit = self.admit()?;
        let head = self.head(method, target, rule, headers)?;
        let passed = Arc::<Passed>::default();
        let bytes = size_of_head(&head);
        self.meter(|meter, since| Meter::send(meter, since, bytes))?;
        let (stream, peer) = dial(self.resolver.as_ref(), &target.endpoint, rule).await?;
        let outgoing = Outgoing {
            body,
            broker: Arc::clone(self),
            passed: Arc::clone(&passed),
        };
        let request = head.map(|()| outgoing);
        passed.sending(bytes);
        let carried = Carried {
            broker: Arc::clone(self),
            rule: rule.name.clone(),
            peer,
            passed,
            _permit: permit,
        };
        let answer = match self.tls.get(&rule.name) {
            Some(config) => {
                let name = ServerName::try_from(target.endpoint.host.as_str().to_owned())
                    .map_err(|error| Refusal::failed("egress-tls", error.to_string()))?;
                let connecting = TlsConnector::from(Arc::clone(config)).connect(name, stream);
                let stream = timeout(HANDSHAKE, connecting)
                    .await
                    .map_err(|_| Refusal::failed("egress-tls", "no TLS handshake in time"))?
                    .map_err(|error| Refusal::failed("egress-tls", error.to_string()))?;
                exchange(stream, request).await
            }
            None => exchange(stream, request).await,
        };
        let answer = answer.map_err(|error| carried.cut(&error))?;
        let (pieces, incoming) = piecewise();
        let (mut parts, body) = answer.into_parts();
        for name in NOT_COMING_IN {
            parts.headers.remove(name);
        }
        drop(tokio::spawn(carried.carry(body, pieces, report)));
        let mut response = Response::new(incoming);
        *response.status_mut() = parts.status;
        *response.headers_mut() = parts.headers;
        Ok(response)
    }

    fn head(
        &self,
        method: &str,
        target: &Target,
        rule: &Rule,
        headers: &HeaderMap,
    ) -> Result<Request<()>, Refusal> {
        let mut request = Request::builder()
            .method(method)
            .uri(target.path_and_query())
            .body(())
            .map_err(|error| Refusal::failed("egress-request", error.to_string()))?;
        let out = request.headers_mut();
        out.insert(header::HOST, host_header(&target.endpoint, &rule.mode)?);
        out.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        for name in &GOING_OUT {
            copy(name, headers, out);
        }
        if let Mode::Http { headers: more, .. } = &rule.mode {
            for name in more.iter().filter_map(|name| name.parse().ok()) {
                copy(&name, headers, out);
            }
        }
        if let Some((name, value)) = self.credentials.get(&rule.name) {
            out.insert(name, value.clone());
        }
        Ok(request)
    }
}

fn copy(name: &HeaderName, from: &HeaderMap, to: &mut HeaderMap) {
    // The first of several: what comes after it is read differently by different servers.
    if let Some(value) = from.get(name) {
        to.insert(name, value.clone());
    }
}

fn host_header(endpoint: &Endpoint, mode: &Mode) -> Result<HeaderValue, Refusal> {
    let usual = match mode {
        Mode::Http { scheme, .. } if *scheme == Scheme::Http => 80,
        _ => 443,
    };
    let text = if endpoint.port == usual {
        endpoint.host.to_string()
    } else {
        endpoint.to_string()
    };
    HeaderValue::from_str(&text)
        .map_err(|error| Refusal::failed("egress-request", error.to_string()))
}

/// Bytes of a request's head as HTTP/1.1 writes it.
fn size_of_head(head: &Request<()>) -> u64 {
    let fields = head.headers().iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + 4);
    let line = head.method().as_str().len() + head.uri().to_string().len() + 12;
    (line + fields.sum::<usize>() + 2) as u64
}

/// Why a request that went out has no answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("no answer in time")]
    Late,
    #[error("the server wants to leave HTTP")]
    Upgrade,
    #[error(transparent)]
    Broken(#[from] hyper::Error),
}

async fn exchange<S>(stream: S, request: Request<Outgoing>) -> Result<Response<Incoming>, NoAnswer>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    drop(tokio::spawn(connection));
    let answer = timeout(PATIENCE, sender.send_request(request))
        .await
        .map_err(|_| NoAnswer::Late)??;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(NoAnswer::Upgrade);
    }
    Ok(answer)
}

/// The cap that made a body stop, when it was one.
fn cap_in(error: &NoAnswer) -> Option<CapReached> {
    let NoAnswer::Broken(error) = error else {
        return None;
    };
    std::error::Error::source(error)?
        .downcast_ref::<CapReached>()
        .copied()
}

/// A request whose answer is on its way.
struct Carried {
    broker: Arc<Broker>,
    rule: String,
    peer: SocketAddr,
    passed: Arc<Passed>,
    _permit: OwnedSemaphorePermit,
}

impl Carried {
    fn cut(&self, error: &NoAnswer) -> Refusal {
        let (code, reason, end) = match cap_in(error) {
            Some(reached) => ("egress-cap", reached.to_string(), EgressEnd::CutAtCap),
            None => ("egress-no-answer", error.to_string(), EgressEnd::BrokeOff),
        };
        Refusal::Cut {
            code,
            reason,
            account: self.account(end),
        }
    }

    fn account(&self, end: EgressEnd) -> EgressAccount {
        EgressAccount::Passed {
            rule: self.rule.clone(),
            connected: self.peer.to_string(),
            sent: self.passed.sent(),
            received: self.passed.received(),
            end,
        }
    }

    async fn carry(self, mut body: Incoming, pieces: Pieces, report: Report) {
        let end = self.pass(&mut body, &pieces).await;
        // Closes the connection, also in the middle of an answer.
        drop(body);
        let account = self.account(end);
        drop(report.send(account.clone()));
        drop(pieces.send_timeout(Ok(ending(&account)), LINGER).await);
    }

    async fn pass(&self, body: &mut Incoming, pieces: &Pieces) -> EgressEnd {
        loop {
            let next = tokio::select! {
                () = pieces.closed() => return EgressEnd::BrokeOff,
                next = timeout(PATIENCE, body.frame()) => next,
            };
            let frame = match next {
                Ok(None) => return EgressEnd::Complete,
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(_))) | Err(_) => return EgressEnd::BrokeOff,
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let bytes = data.len() as u64;
            let counted = self
                .broker
                .meter(|meter, since| Meter::receive(meter, since, bytes));
            if counted.is_err() {
                return EgressEnd::CutAtCap;
            }
            self.passed.receiving(bytes);
            let sent = pieces.send_timeout(Ok(Frame::data(data)), PATIENCE);
            if sent.await.is_err() {
                return EgressEnd::BrokeOff;
            }
        }
    }
}
