//! Serves a [`Player`] on a loopback TCP port, with or without TLS.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use proofroom_canonical::Digest;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::{Attested, AttestedError, Cassette, Player};

/// How the upstream is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// HTTP, as a standard upstream.
    Plain,
    /// HTTPS with simulated attestation evidence about `model`.
    Attested {
        /// The model that the evidence names.
        model: String,
    },
}

/// What to serve.
#[derive(Clone, Debug)]
pub struct Options {
    /// Port on `127.0.0.1`; 0 lets the system choose.
    pub port: u16,
    /// The recordings.
    pub cassettes: Vec<Cassette>,
    /// How it is reached.
    pub transport: Transport,
}

/// Why the upstream did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The port cannot be had.
    #[error("cannot listen on 127.0.0.1:{port}")]
    Listen {
        /// The port.
        port: u16,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No TLS identity.
    #[error("cannot attest")]
    Attested(#[source] AttestedError),
}

/// A running upstream; stops when dropped.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// Base URL.
    pub url: String,
    /// SHA-256 of the TLS key's SPKI; absent without TLS.
    pub tls_spki_sha256: Option<Digest>,
    task: JoinHandle<()>,
}

impl Running {
    /// Waits as long as the upstream serves.
    pub async fn serve(mut self) {
        drop((&mut self.task).await);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts an upstream on this thread's runtime.
///
/// # Errors
/// [`ServerError`].
pub async fn start(options: Options) -> Result<Running, ServerError> {
    let attested = match &options.transport {
        Transport::Plain => None,
        Transport::Attested { model } => Some(Attested::new(model).map_err(ServerError::Attested)?),
    };
    let listen = |source| ServerError::Listen {
        port: options.port,
        source,
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))
        .await
        .map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let acceptor = attested.as_ref().map(|a| TlsAcceptor::from(a.tls()));
    let spki = attested.as_ref().map(Attested::tls_spki_sha256);
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    let player = Player::new(options.cassettes, attested);
    Ok(Running {
        address,
        url: format!("{scheme}://{address}"),
        tls_spki_sha256: spki,
        task: tokio::spawn(accept(listener, acceptor, player)),
    })
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, player: Player) {
    let acceptor = acceptor.map(Arc::new);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        tokio::spawn(connection(stream, acceptor.clone(), player.clone()));
    }
}

async fn connection(stream: TcpStream, acceptor: Option<Arc<TlsAcceptor>>, player: Player) {
    // Small events must go out at once; a failure only costs time.
    drop(stream.set_nodelay(true));
    match acceptor {
        None => exchange(stream, player).await,
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                exchange(stream, player).await;
            }
        }
    }
}

/// A client that goes away ends its connection and nothing else.
async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin, player: Player) {
    let service = service_fn(move |request| {
        let player = player.clone();
        async move { player.respond(request).await }
    });
    drop(
        http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}
