//! Spans on their way to a collector of these tests.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use proofroom_canonical::{Digest, RunId, SessionId, Timestamp};
use proofroom_classify::{ClassificationPolicy, RoutingPolicy};
use proofroom_gateway::{
    UpstreamsConfig,
    config::SystemSecrets,
    trace::{
        FinishReason, IncomingTrace, Outcome, Ratio, RunFacts, RunTrace, TraceSink as _, Tracing,
        Tracked, Vocabulary,
    },
};
use proofroom_llm::Api;
use proofroom_record::{
    event::RunStatus,
    statement::{AnsweredBy, LogMode, TokenCount},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};

use super::{Counts, Queue, Raw, Telemetry, TelemetryConfig, TelemetryNews, encode};
use crate::server::tests::{CLASSIFICATION, ROUTING, UPSTREAMS};

struct Nowhere;

impl proofroom_gateway::trace::TraceSink for Nowhere {
    fn take(&self, _: Box<RunTrace>) {}
}

fn vocabulary() -> Arc<Vocabulary> {
    let classification = ClassificationPolicy::parse(CLASSIFICATION, "c.toml").unwrap();
    let routing = RoutingPolicy::parse(ROUTING, "r.toml", &classification).unwrap();
    let upstreams = UpstreamsConfig::parse(UPSTREAMS, Arc::new(SystemSecrets)).unwrap();
    Arc::new(Vocabulary::of(
        classification.levels(),
        &routing,
        &upstreams,
    ))
}

fn facts(model: &str) -> RunFacts<'_> {
    RunFacts {
        session: SessionId::from_random([2; 16]),
        run: RunId::from_random([1; 16]),
        api: Api::ChatCompletions,
        model,
        label: "public",
        rule: "open",
        tier: Some("standard"),
        upstream: Some("u"),
        outcome: Outcome {
            status: RunStatus::Complete,
            code: None,
            http_status: Some(200),
            tokens: Some(TokenCount {
                input: 3,
                output: u64::MAX,
            }),
            answered_by: Some(AnsweredBy::Variant),
            finish: Some(FinishReason::of("stop")),
            log: LogMode::Strict,
            evidence: None,
            redacted: 2,
            restored: 1,
        },
    }
}

/// A run of these bytes that was sent once.
fn trace(run: u8, model: &str) -> Box<RunTrace> {
    let tracing = Tracing {
        sink: Arc::new(Nowhere),
        ratio: Ratio::ALL,
        incoming: IncomingTrace::Ignored,
    };
    let started = Timestamp::from_unix_millis(1_796_083_200_123);
    let begin = ([run; 16], started);
    let mut tracked = Tracked::begin(&tracing, &vocabulary(), begin, &HeaderMap::new()).unwrap();
    tracked.sends("u", Api::Messages);
    tracked.answered(200);
    let trace = tracked.ends(&facts(model));
    trace.kept(Some(Digest::of("record")))
}

#[test]
fn a_run_is_written_as_otlp_has_it_in_json() {
    let resource = [("service.name".to_owned(), "g".to_owned())].into();
    let body = encode::request(&resource, &[trace(1, "m")]).unwrap();
    let found: Value = serde_json::from_slice(&body).unwrap();
    let scope = &found["resourceSpans"][0]["scopeSpans"][0];
    let spans = scope["spans"].as_array().unwrap();
    assert_eq!(scope["scope"]["name"], "proofroom-gateway");
    let (run, sending) = (&spans[0], &spans[1]);
    assert_eq!(run["traceId"], "01".repeat(16));
    assert_eq!(run["spanId"], "01".repeat(8));
    assert_eq!(run.get("parentSpanId"), None);
    assert_eq!((&run["name"], &run["kind"]), (&json!("chat m"), &json!(2)));
    assert_eq!(run["startTimeUnixNano"], "1796083200123000000");
    assert_eq!(run.get("status"), None);
    let attribute = |span: &Value, key: &str| {
        let all = span["attributes"].as_array().unwrap();
        let found: Vec<_> = all.iter().filter(|one| one["key"] == key).collect();
        assert_eq!(found.len(), 1, "{key}: {span}");
        found[0]["value"].clone()
    };
    for (key, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "m"),
        ("gen_ai.response.model", "variant"),
        ("proofroom.run.id", "run_01010101010101010101010101010101"),
        ("proofroom.tier", "standard"),
        ("proofroom.rule", "open"),
        ("proofroom.log_mode", "strict"),
    ] {
        assert_eq!(attribute(run, key), json!({"stringValue": value}), "{key}");
    }
    for (key, value) in [
        ("gen_ai.usage.input_tokens", "3"),
        ("gen_ai.usage.output_tokens", "18446744073709551615"),
        ("http.response.status_code", "200"),
        ("proofroom.redacted_values", "2"),
    ] {
        assert_eq!(attribute(run, key), json!({"intValue": value}), "{key}");
    }
    let finish = json!({"arrayValue": {"values": [{"stringValue": "stop"}]}});
    assert_eq!(attribute(run, "gen_ai.response.finish_reasons"), finish);
    let digest = Digest::of("record").to_string();
    let digest = json!({"stringValue": digest});
    assert_eq!(attribute(run, "proofroom.record.digest"), digest);
    assert_eq!(sending["parentSpanId"], run["spanId"]);
    assert_eq!(
        (&sending["name"], &sending["kind"]),
        (&json!("proofroom.send"), &json!(3))
    );
    assert_eq!(
        attribute(sending, "gen_ai.provider.name"),
        json!({"stringValue": "anthropic"})
    );
    assert_eq!(
        attribute(sending, "server.address"),
        json!({"stringValue": "127.0.0.1"})
    );
}

#[test]
fn a_name_that_no_configuration_gives_is_nowhere_not_even_in_the_spans_own() {
    let body = encode::request(&[].into(), &[trace(1, "call 555-0100")]).unwrap();
    let text = String::from_utf8(body).unwrap();
    assert!(!text.contains("555"), "{text}");
    assert!(text.contains(r#""name":"chat","#), "{text}");
}

#[test]
fn a_full_queue_takes_nothing_waits_for_nothing_and_counts() {
    let (traces, queue) = mpsc::channel(2);
    let counts = Arc::<Counts>::default();
    let sink = Queue {
        traces,
        counts: Arc::clone(&counts),
    };
    for run in 1..=5 {
        sink.take(trace(run, "m"));
    }
    let lost = || counts.queue_full.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((queue.len(), lost()), (2, 6), "two spans for each run");
    drop(queue);
    sink.take(trace(6, "m"));
    let stopped = counts.stopped.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((lost(), stopped), (6, 2));
}

/// A collector that answers with these statuses, then with 200.
struct Collector {
    address: SocketAddr,
    requests: mpsc::UnboundedReceiver<(HeaderMap, Value)>,
}

impl Collector {
    async fn start(statuses: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, requests) = mpsc::unbounded_channel();
        let statuses = Arc::new(Mutex::new(VecDeque::from(statuses.to_vec())));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tell, statuses) = (tell.clone(), Arc::clone(&statuses));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (tell, statuses) = (tell.clone(), Arc::clone(&statuses));
                    async move {
                        assert_eq!(request.uri().path(), "/otlp/v1/traces");
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let body = serde_json::from_slice(&body).unwrap();
                        tell.send((parts.headers, body)).unwrap();
                        let status = statuses.lock().unwrap().pop_front().unwrap_or(200);
                        let answer = Full::new(Bytes::from_static(b"{}"));
                        Response::builder().status(status).body(answer)
                    }
                });
                let served = hyper::server::conn::http1::Builder::new();
                tokio::spawn(served.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, requests }
    }

    async fn runs(&mut self) -> Vec<String> {
        let (_, body) = self.requests.recv().await.unwrap();
        let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array();
        let runs = spans.unwrap().iter().filter(|span| span["kind"] == 2);
        runs.map(|run| {
            run["traceId"]
                .as_str()
                .unwrap()
                .get(..2)
                .unwrap()
                .to_owned()
        })
        .collect()
    }
}

fn config(address: SocketAddr, more: &str, base: &Path) -> TelemetryConfig {
    let text = format!("endpoint = \"http://{address}/otlp\"\n{more}");
    let raw: Raw = toml::from_str(&text).unwrap();
    raw.read(base).unwrap()
}

async fn shows(telemetry: &Telemetry, line: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    while !telemetry.render().lines().any(|found| found == line) {
        assert!(Instant::now() < until, "{line}\n{}", telemetry.render());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn runs_are_delivered_together_with_the_operators_headers() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("h"), "x-key: a secret\n").unwrap();
    let mut collector = Collector::start(&[]).await;
    let config = config(collector.address, "headers = \"h\"", dir.path());
    let telemetry = Telemetry::start(&config, |_| ()).unwrap();
    for run in 1..=3 {
        telemetry.tracing().sink.take(trace(run, "m"));
    }
    let (headers, body) = collector.requests.recv().await.unwrap();
    assert_eq!(headers["x-key"], "a secret");
    assert_eq!(headers["content-type"], "application/json");
    let spans = &body["resourceSpans"][0]["scopeSpans"][0]["spans"];
    assert_eq!(spans.as_array().unwrap().len(), 6);
    shows(&telemetry, "proofroom_gateway_spans_delivered_total 6").await;
    shows(&telemetry, "proofroom_gateway_traces_queued 0").await;
    shows(&telemetry, "proofroom_gateway_collector_failing 0").await;
}

static NEWS: Mutex<Vec<TelemetryNews>> = Mutex::new(Vec::new());

fn news(told: TelemetryNews) {
    NEWS.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(told);
}

#[tokio::test]
async fn a_busy_collector_is_asked_again_one_that_refuses_is_not_and_each_is_told_once() {
    let mut collector = Collector::start(&[503, 429, 200, 400]).await;
    let config = config(collector.address, "", Path::new("/"));
    let telemetry = Telemetry::start(&config, news).unwrap();
    telemetry.tracing().sink.take(trace(1, "m"));
    for _ in 0..3 {
        assert_eq!(collector.runs().await, ["01"]);
    }
    shows(&telemetry, "proofroom_gateway_spans_delivered_total 2").await;
    telemetry.tracing().sink.take(trace(2, "m"));
    assert_eq!(collector.runs().await, ["02"]);
    let lost = "proofroom_gateway_spans_lost_total{reason=\"collector\"} 2";
    shows(&telemetry, lost).await;
    shows(&telemetry, "proofroom_gateway_collector_failing 1").await;
    telemetry.tracing().sink.take(trace(3, "m"));
    assert_eq!(collector.runs().await, ["03"]);
    shows(&telemetry, "proofroom_gateway_spans_delivered_total 4").await;
    let failing = |code| TelemetryNews::Failing { code };
    let told = [
        failing("collector-busy"),
        TelemetryNews::Delivered,
        failing("collector-refuses"),
        TelemetryNews::Delivered,
    ];
    assert_eq!(*NEWS.lock().unwrap(), told);
}

#[tokio::test]
async fn a_stop_delivers_what_waits_and_does_not_wait_for_a_collector_that_is_away() {
    let mut collector = Collector::start(&[]).await;
    let there = config(collector.address, "", Path::new("/"));
    let telemetry = Telemetry::start(&there, |_| ()).unwrap();
    telemetry.tracing().sink.take(trace(1, "m"));
    telemetry.stop().await;
    assert_eq!(collector.runs().await, ["01"]);
    telemetry.tracing().sink.take(trace(2, "m"));
    shows(
        &telemetry,
        "proofroom_gateway_spans_lost_total{reason=\"stopped\"} 2",
    )
    .await;
    // takes connections and says nothing
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_at = silent.local_addr().unwrap();
    let away = config(silent_at, "stop_seconds = 1", Path::new("/"));
    let telemetry = Telemetry::start(&away, |_| ()).unwrap();
    telemetry.tracing().sink.take(trace(3, "m"));
    let since = Instant::now();
    telemetry.stop().await;
    assert!(
        since.elapsed() < Duration::from_secs(5),
        "{:?}",
        since.elapsed()
    );
}
