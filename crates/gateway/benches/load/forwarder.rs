//! The floor: the HTTP library with which the gateway is built, one worker thread, in a process of its own, that passes
//! bodies on and does nothing else. Like the gateway it has a request whole before it sends it, and an answer. Or it hashes
//! both and signs as well, which no record can do without, and then lets all that can write do so together, as the
//! gateway does.

use std::{convert::Infallible, hint::black_box, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, Uri, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use p256::ecdsa::SigningKey;
use proofroom_canonical::Digest;
use proofroom_record::dsse::EnvelopeSigner as _;
use proofroom_signer::FastSigner;
use tokio::{
    net::{TcpListener, TcpStream},
    task::yield_now,
};

/// Bytes of a statement about a run, and of its envelope.
const STATEMENT: [u8; 2048] = [b'a'; 2048];
const ENVELOPE: [u8; 3072] = [b'a'; 3072];

/// Where to, and what is done on the way.
struct Way {
    upstream: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    signer: Option<FastSigner>,
}

/// What it does besides passing on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Besides {
    Nothing,
    Signing,
}

/// Passes on until it is killed; says its address on standard output.
pub(crate) async fn serve(upstream: SocketAddr, besides: Besides) {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let key = SigningKey::from_slice(&[7; 32]).unwrap();
    let way = Arc::new(Way {
        upstream,
        client: Client::builder(TokioExecutor::new()).build(connector),
        signer: (besides == Besides::Signing).then(|| FastSigner::new(&key).unwrap()),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(serve_connection(tcp, Arc::clone(&way)));
        }
    })
    .await
    .unwrap();
}

async fn serve_connection(tcp: TcpStream, way: Arc<Way>) {
    tcp.set_nodelay(true).unwrap();
    let service = service_fn(move |request| pass(request, Arc::clone(&way)));
    let served = http1::Builder::new().serve_connection(TokioIo::new(tcp), service);
    drop(served.await);
}

async fn pass(
    request: Request<Incoming>,
    way: Arc<Way>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let uri: Uri = format!("http://{}{}", way.upstream, request.uri().path())
        .parse()
        .unwrap();
    let kind = request.headers()[CONTENT_TYPE].clone();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let request = Request::post(uri).header(CONTENT_TYPE, kind);
    if way.signer.is_some() {
        black_box(Digest::of(&body));
        yield_now().await;
    }
    let answer = way
        .client
        .request(request.body(Full::new(body)).unwrap())
        .await;
    let answer = answer.unwrap();
    let kind = answer.headers()[CONTENT_TYPE].clone();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    if let Some(signer) = &way.signer {
        black_box(Digest::of(&body));
        black_box(signer.sign(&STATEMENT).unwrap());
        black_box(Digest::of(ENVELOPE));
        yield_now().await;
    }
    let response = Response::builder().header(CONTENT_TYPE, kind);
    Ok(response.body(Full::new(body)).unwrap())
}
