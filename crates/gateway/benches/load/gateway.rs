//! The gateway under test: the library behind a listener, one worker thread, in its own process.

use std::{collections::BTreeMap, convert::Infallible, net::SocketAddr, sync::Arc};

use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use p256::ecdsa::SigningKey;
use proofroom_canonical::{Digest, SessionId};
use proofroom_classify::{ClassificationPolicy, RoutingPolicy};
use proofroom_gateway::{
    BoxFuture, Caller, CallerIdentity, CommitmentKey, Config, Gateway, InMemoryAlone, Limits,
    NoObserver, RecordSink, SinkError, Submission, SystemClock, SystemEntropy, UpstreamsConfig,
    config::SystemSecrets,
};
use tokio::net::{TcpListener, TcpStream};

const CLASSIFICATION: &str = r#"
version = 1
levels = ["public", "internal", "confidential", "restricted"]
default = "internal"
unreadable = "restricted"
"#;

const ROUTING: &str = r#"
version = 1

[tiers]
standard = "unattested"
tee = "attested"

[[rules]]
id = "open"
when = { label_at_most = "internal" }
send = { tiers = ["standard"], upstreams = ["*"], models = ["*"], regions = ["*"] }
match = [{ label = "public", repository = "r", model = "m" }]
not_match = [{ label = "restricted", repository = "r", model = "m" }]

[default]
refuse = { message = "no rule speaks about this" }
"#;

/// Keeps nothing: what the disk costs is measured by itself.
struct Memory;

impl RecordSink for Memory {
    fn ready(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn submit(&self, submission: Submission) -> BoxFuture<'_, Result<Digest, SinkError>> {
        Box::pin(async move { Ok(submission.record.digest) })
    }
}

/// Serves until it is killed; says its address on standard output.
pub(crate) async fn serve(upstream: SocketAddr) {
    let gateway = gateway(upstream);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut session = 0_u8;
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            session = session.wrapping_add(1);
            let caller = gateway.admit(identity(session));
            tokio::spawn(serve_connection(tcp, gateway.clone(), caller));
        }
    })
    .await
    .unwrap();
}

async fn serve_connection(tcp: TcpStream, gateway: Gateway, caller: Arc<Caller>) {
    tcp.set_nodelay(true).unwrap();
    let service = service_fn(move |request: Request<Incoming>| {
        let (gateway, caller) = (gateway.clone(), Arc::clone(&caller));
        async move { Ok::<_, Infallible>(gateway.handle(request, caller).await) }
    });
    drop(
        http1::Builder::new()
            .serve_connection(TokioIo::new(tcp), service)
            .await,
    );
}

fn identity(session: u8) -> CallerIdentity {
    CallerIdentity {
        session: SessionId::from_random([session; 16]),
        spiffe_id: "spiffe://bench/session/1/agent/a".to_owned(),
        binding: Digest::of("binding"),
        repository: "shop".to_owned(),
        person: "ada".to_owned(),
        purpose: String::new(),
    }
}

fn gateway(upstream: SocketAddr) -> Gateway {
    let classification =
        ClassificationPolicy::parse(CLASSIFICATION, "classification.toml").unwrap();
    let upstreams = format!(
        r#"
[[upstream]]
name = "std"
tier = "standard"
base_url = "http://{upstream}"
apis = ["chat"]
models = ["whole", "burst", "paced"]
region = "local"
source = "cassette"
key = {{ from = "none" }}
retention = {{ mode = "in-memory", contract = "none: this process" }}
attestation = {{ kind = "none" }}
"#
    );
    Gateway::new(Config {
        routing: RoutingPolicy::parse(ROUTING, "routing.toml", &classification).unwrap(),
        shadow: None,
        classification,
        upstreams: UpstreamsConfig::parse(&upstreams, Arc::new(SystemSecrets)).unwrap(),
        appraisal: BTreeMap::new(),
        providers: proofroom_gateway::Providers::default(),
        signing_key: SigningKey::from_slice(&[7; 32]).unwrap(),
        commitments: Some(CommitmentKey::new([9; 32])),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        sink: Arc::new(Memory),
        observer: Arc::new(NoObserver),
        limits: Limits::default(),
        evidence: Arc::new(InMemoryAlone),
        tracing: None,
    })
    .unwrap()
}
