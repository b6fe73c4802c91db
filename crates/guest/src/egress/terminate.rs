//! A connection to a host of single requests: it ends here, its TLS too, and each request on it is
//! decided, announced and made by itself.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use proofroom_egress::{Denial, Endpoint, HostName, Target, client_hello::HelloError};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Asked, Denied, connection_action, deny, host_agrees, request};
use crate::{
    channel::{Body, whole},
    serve::error_response,
    session::Session,
};

/// How long a client may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// What `Host` means without a port.
const USUAL_SECURE: u16 = 443;
const USUAL_IN_CLEAR: u16 = 80;

pub(super) fn open(
    session: Arc<Session>,
    request: Request<Incoming>,
    endpoint: Endpoint,
) -> Response<Body> {
    let Some(config) = config(&session, &endpoint) else {
        let words = "TLS could not be set up in the room";
        return error_response(StatusCode::INTERNAL_SERVER_ERROR, "egress-authority", words);
    };
    drop(tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            secure(session, TokioIo::new(upgraded), config, endpoint).await;
        }
    }));
    Response::new(whole(Bytes::new()))
}

/// The same for a client that connected by itself.
pub(super) async fn over(session: Arc<Session>, stream: TcpStream, endpoint: Endpoint) {
    if let Some(config) = config(&session, &endpoint) {
        secure(session, stream, config, endpoint).await;
        return;
    }
    let denied = Denied {
        code: "egress-authority".to_owned(),
        reason: "TLS could not be set up in the room".to_owned(),
    };
    drop(deny(&session, connection_action(&endpoint), denied).await);
}

/// The same for a client that speaks in clear to a host whose rule does.
pub(super) async fn in_clear(session: Arc<Session>, stream: TcpStream, endpoint: Endpoint) {
    serve(session, stream, endpoint, USUAL_IN_CLEAR).await;
}

fn config(session: &Session, endpoint: &Endpoint) -> Option<Arc<ServerConfig>> {
    let authority = session.authority.as_ref()?;
    authority.config(&endpoint.host).ok()
}

async fn secure<S>(session: Arc<Session>, stream: S, config: Arc<ServerConfig>, endpoint: Endpoint)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let accepting = TlsAcceptor::from(config).accept(stream);
    let named = match timeout(HANDSHAKE, accepting).await {
        Ok(Ok(stream)) => named(stream, &endpoint),
        Ok(Err(_)) | Err(_) => Err(HelloError::NotTls.into()),
    };
    match named {
        Ok(stream) => serve(session, stream, endpoint, USUAL_SECURE).await,
        Err(denial) => {
            let action = connection_action(&endpoint);
            drop(deny(&session, action, denial.into()).await);
        }
    }
}

/// The connection, if its client hello named the host that it was asked for.
fn named<S>(stream: TlsStream<S>, endpoint: &Endpoint) -> Result<TlsStream<S>, Denial> {
    let name = stream.get_ref().1.server_name();
    let name = HostName::parse(name.ok_or(HelloError::NoName)?).map_err(HelloError::Name)?;
    if name == endpoint.host {
        return Ok(stream);
    }
    Err(Denial::SniDiffers {
        asked: endpoint.host.clone(),
        named: name,
    })
}

async fn serve<S>(session: Arc<Session>, stream: S, endpoint: Endpoint, usual_port: u16)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let endpoint = Arc::new(endpoint);
    let service = service_fn(move |request| {
        let (session, endpoint) = (Arc::clone(&session), Arc::clone(&endpoint));
        async move {
            let target = target(&request, &endpoint, usual_port);
            let asked = Asked {
                endpoint: Some((*endpoint).clone()),
                target,
            };
            // In a task of its own: a client that goes away must not cut an intent from its outcome.
            let work = tokio::spawn(request::forward(session, request, asked));
            Ok::<_, Infallible>(work.await.unwrap_or_else(|_| {
                let words = "the request was dropped";
                error_response(StatusCode::INTERNAL_SERVER_ERROR, "internal", words)
            }))
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
    // How a client's connection ends is its own business.
    drop(served);
}

/// A request on a connection is for the connection's endpoint and for no other.
fn target(
    request: &Request<Incoming>,
    endpoint: &Endpoint,
    usual_port: u16,
) -> Result<Target, Denial> {
    host_agrees(request, endpoint, usual_port)?;
    let uri = request.uri();
    if uri.authority().is_some() {
        return Err(Denial::HostDiffers {
            asked: endpoint.clone(),
        });
    }
    Target::on(endpoint.clone(), &uri.to_string())
}
