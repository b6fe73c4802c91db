//! A simulated machine, a model's server that answers by script, the shim between them, and a client.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::{body::Frame, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_enclave::{Config, Enclave, MachineError, Reports};
use proofroom_evidence::ReportData;
use proofroom_provider::{
    Exchange, Format, ProviderAppraisal, ProviderDocument, ProviderPolicy, VerifiedProvider,
    appraise_provider,
};
use proofroom_testkit::{
    enclave,
    provider::MODEL,
    tee::{SimulatedTd, SimulatedTee},
};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::TlsConnector;

pub const NOW: Timestamp = Timestamp::from_unix_seconds(1_796_083_200);
pub const CHAT: &str = "/v1/chat/completions";
pub const RECEIPT: &str = "proofroom-receipt";

pub fn now() -> Timestamp {
    NOW
}

pub fn challenge(number: u8) -> Nonce {
    Nonce::from_random([number; 32])
}

pub fn weights() -> Digest {
    enclave::weights()
}

/// A machine that quotes what it is told to.
pub struct Machine(pub fn(&ReportData) -> [u8; 64]);

impl Reports for Machine {
    fn quote(&self, data: &ReportData) -> Result<Vec<u8>, MachineError> {
        Ok(SimulatedTee::demo().quote(&SimulatedTd::default(), (self.0)(data)))
    }
}

pub fn honest(data: &ReportData) -> [u8; 64] {
    *data.as_bytes()
}

type Body = BoxBody<Bytes, std::io::Error>;
pub type Chunks = mpsc::Receiver<std::io::Result<Bytes>>;

/// What the model's server got.
#[derive(Debug)]
pub struct Seen {
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A server that answers each request with the next of these.
pub struct Server {
    pub address: SocketAddr,
    pub seen: mpsc::UnboundedReceiver<Seen>,
    replies: Arc<Mutex<Vec<Response<Body>>>>,
}

impl Server {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, seen) = mpsc::unbounded_channel();
        let replies = Arc::new(Mutex::new(Vec::new()));
        let given = Arc::clone(&replies);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (tell, given) = (tell.clone(), Arc::clone(&given));
                let service =
                    service_fn(move |request| answer(request, tell.clone(), Arc::clone(&given)));
                let served = http1::Builder::new().serve_connection(TokioIo::new(tcp), service);
                tokio::spawn(served);
            }
        });
        Self {
            address,
            seen,
            replies,
        }
    }

    fn reply(&self, kind: &str, body: Body) {
        let response = Response::builder()
            .header("content-type", kind)
            .header("set-cookie", "a=b")
            .body(body)
            .unwrap();
        self.replies.lock().unwrap().push(response);
    }

    pub fn whole(&self, text: &'static str) {
        let body = Full::new(Bytes::from(text)).map_err(|never| match never {});
        self.reply("application/json", BoxBody::new(body));
    }

    pub fn stream(&self) -> mpsc::Sender<std::io::Result<Bytes>> {
        let (chunks, mut receiver): (_, Chunks) = mpsc::channel(16);
        let frames = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
        let frames = futures_util::StreamExt::map(frames, |chunk| chunk.map(Frame::data));
        self.reply("text/event-stream", BoxBody::new(StreamBody::new(frames)));
        chunks
    }
}

async fn answer(
    request: Request<Incoming>,
    tell: mpsc::UnboundedSender<Seen>,
    replies: Arc<Mutex<Vec<Response<Body>>>>,
) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let seen = Seen {
        target: parts.uri.to_string(),
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes(),
    };
    tell.send(seen).unwrap();
    Ok(replies.lock().unwrap().remove(0))
}

pub fn config(server: SocketAddr, more: &str) -> Config {
    let text = format!(
        "listen = \"127.0.0.1:0\"\nserver = \"{server}\"\nmodel = \"{MODEL}\"\nimage = \"{}\"\n\
         statement_seconds = 300\n[weights]\ndirectory = \"weights\"\n{more}\n",
        enclave::image()
    );
    Config::parse(&text, Path::new("/nowhere")).unwrap()
}

/// A shim that is proved, unless told otherwise.
pub struct Shim {
    pub enclave: Arc<Enclave>,
    pub address: SocketAddr,
}

impl Shim {
    pub async fn unproved(config: Config, machine: Machine) -> Self {
        let enclave = Enclave::new(config, Box::new(machine), now).unwrap();
        let listening = enclave.listen().await.unwrap();
        let address = listening.address().unwrap();
        tokio::spawn(listening.serve());
        Self { enclave, address }
    }

    pub async fn with(server: &Server, more: &str) -> Self {
        let shim = Self::unproved(config(server.address, more), Machine(honest)).await;
        shim.enclave.prove(weights()).await.unwrap();
        shim
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.address).await
    }
}

/// One connection, and the key that its server showed.
pub struct Client {
    pub spki: Digest,
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
}

/// An answer, read to its end or to where it broke off.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub whole: bool,
}

impl Got {
    pub fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        body["error"]["code"].as_str().unwrap().to_owned()
    }
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let verifier = Arc::new(Learn::default());
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_no_client_auth();
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("any.invalid").unwrap();
        let tls = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
            .unwrap();
        assert_eq!(
            tls.get_ref().1.protocol_version(),
            Some(rustls::ProtocolVersion::TLSv1_3)
        );
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls))
            .await
            .unwrap();
        tokio::spawn(connection);
        let spki = verifier.seen.lock().unwrap().unwrap();
        Self { spki, sender }
    }

    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Got {
        self.sender.ready().await.unwrap();
        let (parts, mut body) = self
            .sender
            .send_request(request)
            .await
            .unwrap()
            .into_parts();
        let mut got = Got {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: Vec::new(),
            whole: true,
        };
        while let Some(frame) = body.frame().await {
            match frame.map(Frame::into_data) {
                Ok(Ok(chunk)) => got.body.extend_from_slice(&chunk),
                Ok(Err(_)) => {}
                Err(_) => got.whole = false,
            }
        }
        got
    }

    pub async fn get(&mut self, target: &str) -> Got {
        let request = Request::get(target).body(Full::default()).unwrap();
        self.send(request).await
    }

    /// Posts under a challenge.
    pub async fn post(&mut self, body: &str, challenge: &str) -> Got {
        let request = Request::post(CHAT)
            .header("content-type", "application/json")
            .header(RECEIPT, challenge)
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        self.send(request).await
    }

    pub async fn receipt(&mut self, challenge: &str) -> Got {
        self.get(&format!("/.well-known/proofroom/receipt/{challenge}"))
            .await
    }

    pub async fn report(&mut self, nonce: Nonce) -> Got {
        self.get(&format!("/.well-known/proofroom/attestation?nonce={nonce}"))
            .await
    }

    /// What the verifier says of the shim at the other end of this connection.
    pub async fn appraised(&mut self, policy: &ProviderPolicy, nonce: Nonce) -> ProviderAppraisal {
        let got = self.report(nonce).await;
        assert_eq!(got.status, 200, "{got:?}");
        let plan = enclave::plan(nonce, self.spki, NOW);
        let collateral = enclave::collateral(&plan);
        let document =
            ProviderDocument::write(Format::ProofroomEnclave, &got.body, collateral).unwrap();
        let exchange = Exchange::Challenge {
            nonce,
            tls_spki: self.spki,
        };
        appraise_provider(&document, policy, exchange, NOW)
    }

    pub async fn verified(&mut self) -> VerifiedProvider {
        let appraisal = self.appraised(&without_gpus(), challenge(99)).await;
        appraisal.into_verified().unwrap()
    }
}

/// A policy for machines that show no GPUs.
pub fn without_gpus() -> ProviderPolicy {
    policy(
        &(enclave::policy(weights(), enclave::image())
            + "\n[[tolerate]]\ncheck = \"gpu\"\nreason = \"none\"\n"),
    )
}

pub fn policy(text: &str) -> ProviderPolicy {
    let siblings = enclave::policies();
    ProviderPolicy::parse(text, "p.toml", &|name| siblings.get(name).cloned()).unwrap()
}

/// Takes any certificate, and remembers its key.
#[derive(Debug)]
struct Learn {
    seen: Mutex<Option<Digest>>,
    provider: CryptoProvider,
}

impl Default for Learn {
    fn default() -> Self {
        Self {
            seen: Mutex::default(),
            provider: ring::default_provider(),
        }
    }
}

impl ServerCertVerifier for Learn {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let found = Digest::of(parsed.subject_public_key_info());
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
