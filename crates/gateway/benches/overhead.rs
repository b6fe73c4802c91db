//! What the gateway adds to a model call: the same client against a bare upstream and through the
//! gateway, in alternating blocks of one run, with classification, record signing and a sink in
//! memory. Everything shares one process and its cores, so the figures are upper bounds.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for a person at a terminal"
)]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use p256::ecdsa::SigningKey;
use proofroom_canonical::{Digest, SessionId};
use proofroom_classify::{ClassificationPolicy, RoutingPolicy};
use proofroom_gateway::{
    BoxFuture, CallerIdentity, Config, Gateway, Limits, NoObserver, RecordSink, SinkError,
    Submission, SystemClock, SystemEntropy, UpstreamsConfig, config::SystemSecrets,
};
use tokio::net::TcpListener;

const BLOCK: Duration = Duration::from_millis(750);
const PAIRS: usize = 4;
const ANSWER: &str = r#"{"id":"x","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"The function reads one line and returns its length; the caller must check for zero."},"finish_reason":"stop"}],"usage":{"prompt_tokens":30,"completion_tokens":50,"total_tokens":80}}"#;

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

struct Memory(std::sync::Mutex<Vec<Submission>>);

impl RecordSink for Memory {
    fn ready(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn submit(&self, submission: Submission) -> BoxFuture<'_, Result<Digest, SinkError>> {
        let digest = Digest::of(&submission.envelope);
        self.0.lock().unwrap().push(submission);
        Box::pin(async move { Ok(digest) })
    }
}

type HttpClient = Client<HttpConnector, Full<Bytes>>;

#[tokio::main(flavor = "multi_thread")]
async fn main() {
    let upstream = serve_upstream().await;
    let sink = Arc::new(Memory(std::sync::Mutex::new(Vec::new())));
    let gateway = serve_gateway(upstream, Arc::clone(&sink) as Arc<dyn RecordSink>).await;
    println!(
        "prompt     c   direct p50/p99 ms   gateway p50/p99 ms   added p50/p99 ms   gateway RPS"
    );
    for (name, bytes, concurrency) in [
        ("1 KiB", 1024, 1),
        ("1 KiB", 1024, 32),
        ("64 KiB", 65_536, 1),
    ] {
        let body = prompt(bytes);
        let (mut direct, mut through) = (Vec::new(), Vec::new());
        block(gateway, &body, concurrency).await;
        for _ in 0..PAIRS {
            direct.extend(block(upstream, &body, concurrency).await);
            through.extend(block(gateway, &body, concurrency).await);
        }
        let rate = through.len() as f64 / (BLOCK.as_secs_f64() * PAIRS as f64);
        let ([d50, d99], [g50, g99]) = (percentiles(direct), percentiles(through));
        println!(
            "{name:<8} {concurrency:>3}   {d50:>7.3} / {d99:<7.3}   {g50:>7.3} / {g99:<7.3}   {:>7.3} / {:<7.3}   {rate:>9.0}",
            g50 - d50,
            g99 - d99
        );
    }
    println!(
        "{} records were signed and kept",
        sink.0.lock().unwrap().len()
    );
}

fn prompt(bytes: usize) -> Bytes {
    let line = "fn length(line: &str) -> usize { line.trim_end().len() } // see RFC 8259\\n";
    let text = line.repeat(bytes / line.len());
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}]}}"#).into()
}

/// Latencies of one block, in milliseconds.
async fn block(address: SocketAddr, body: &Bytes, concurrency: usize) -> Vec<f64> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: HttpClient = Client::builder(TokioExecutor::new()).build(connector);
    let end = Instant::now() + BLOCK;
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..concurrency {
        let (client, body) = (client.clone(), body.clone());
        workers.spawn(async move {
            let mut latencies = Vec::new();
            while Instant::now() < end {
                let request = Request::post(format!("http://{address}/v1/chat/completions"))
                    .header("content-type", "application/json")
                    .body(Full::new(body.clone()))
                    .unwrap();
                let begin = Instant::now();
                let answer = client.request(request).await.unwrap();
                assert_eq!(answer.status(), 200);
                assert_eq!(
                    answer.into_body().collect().await.unwrap().to_bytes(),
                    ANSWER
                );
                latencies.push(begin.elapsed().as_secs_f64() * 1000.0);
            }
            latencies
        });
    }
    workers.join_all().await.concat()
}

fn percentiles(mut latencies: Vec<f64>) -> [f64; 2] {
    latencies.sort_by(f64::total_cmp);
    [50, 99].map(|percent| {
        let rank = latencies.len() * percent / 100;
        latencies.get(rank).copied().unwrap_or(f64::NAN)
    })
}

async fn serve_upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tcp.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let service = service_fn(|request: Request<Incoming>| async {
                    drop(request.into_body().collect().await);
                    let mut response =
                        Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes())));
                    let json = http::HeaderValue::from_static("application/json");
                    response.headers_mut().insert("content-type", json);
                    Ok::<_, Infallible>(response)
                });
                drop(
                    http1::Builder::new()
                        .serve_connection(TokioIo::new(tcp), service)
                        .await,
                );
            });
        }
    });
    address
}

async fn serve_gateway(upstream: SocketAddr, sink: Arc<dyn RecordSink>) -> SocketAddr {
    let classification =
        ClassificationPolicy::parse(CLASSIFICATION, "classification.toml").unwrap();
    let upstreams = format!(
        r#"
[[upstream]]
name = "std"
tier = "standard"
base_url = "http://{upstream}"
apis = ["chat"]
models = ["m"]
region = "local"
source = "cassette"
key = {{ from = "none" }}
retention = {{ mode = "in-memory", contract = "none: this process" }}
attestation = {{ kind = "none" }}
"#
    );
    let gateway = Gateway::new(Config {
        routing: RoutingPolicy::parse(ROUTING, "routing.toml", &classification).unwrap(),
        classification,
        upstreams: UpstreamsConfig::parse(&upstreams, &SystemSecrets).unwrap(),
        appraisal: BTreeMap::new(),
        signing_key: SigningKey::from_slice(&[7; 32]).unwrap(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        sink,
        observer: Arc::new(NoObserver),
        limits: Limits::default(),
    })
    .unwrap();
    let caller = gateway.admit(CallerIdentity {
        session: SessionId::from_random([1; 16]),
        spiffe_id: "spiffe://bench/session/1/agent/a".to_owned(),
        binding: Digest::of("binding"),
        repository: "shop".to_owned(),
        person: "ada".to_owned(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tcp.set_nodelay(true).unwrap();
            let (gateway, caller) = (gateway.clone(), Arc::clone(&caller));
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let (gateway, caller) = (gateway.clone(), Arc::clone(&caller));
                    async move { Ok::<_, Infallible>(gateway.handle(request, caller).await) }
                });
                drop(
                    http1::Builder::new()
                        .serve_connection(TokioIo::new(tcp), service)
                        .await,
                );
            });
        }
    });
    address
}
