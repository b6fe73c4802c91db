//! A `CONNECT` to a host of single requests: its TLS ends here, and each request on it is decided,
//! announced and made by itself.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade::Upgraded};
use hyper_util::rt::{TokioIo, TokioTimer};
use proofroom_egress::{Denial, Endpoint, HostName, Target, client_hello::HelloError};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Asked, connection_action, deny, host_agrees, request};
use crate::{
    channel::{Body, whole},
    serve::error_response,
    session::Session,
};

/// How long a client may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// What `Host` means without a port.
const USUAL_PORT: u16 = 443;

pub(super) fn open(
    session: Arc<Session>,
    request: Request<Incoming>,
    endpoint: Endpoint,
) -> Response<Body> {
    let config = session
        .authority
        .as_ref()
        .and_then(|authority| authority.config(&endpoint.host).ok());
    let Some(config) = config else {
        let words = "TLS could not be set up in the room";
        return error_response(StatusCode::INTERNAL_SERVER_ERROR, "egress-authority", words);
    };
    drop(tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else {
            return;
        };
        let accepting = TlsAcceptor::from(config).accept(TokioIo::new(upgraded));
        let named = match timeout(HANDSHAKE, accepting).await {
            Ok(Ok(stream)) => named(stream, &endpoint),
            Ok(Err(_)) | Err(_) => Err(HelloError::NotTls.into()),
        };
        match named {
            Ok(stream) => serve(session, stream, endpoint).await,
            Err(denial) => {
                let action = connection_action(&endpoint);
                drop(deny(&session, action, denial.into()).await);
            }
        }
    }));
    Response::new(whole(Bytes::new()))
}

type Secure = TlsStream<TokioIo<Upgraded>>;

/// The connection, if its client hello named the host that it was asked for.
fn named(stream: Secure, endpoint: &Endpoint) -> Result<Secure, Denial> {
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

async fn serve(session: Arc<Session>, stream: Secure, endpoint: Endpoint) {
    let endpoint = Arc::new(endpoint);
    let service = service_fn(move |request| {
        let (session, endpoint) = (Arc::clone(&session), Arc::clone(&endpoint));
        async move {
            let target = target(&request, &endpoint);
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
fn target(request: &Request<Incoming>, endpoint: &Endpoint) -> Result<Target, Denial> {
    host_agrees(request, endpoint, USUAL_PORT)?;
    let uri = request.uri();
    if uri.authority().is_some() {
        return Err(Denial::HostDiffers {
            asked: endpoint.clone(),
        });
    }
    Target::on(endpoint.clone(), &uri.to_string())
}
