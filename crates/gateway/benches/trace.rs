//! What a traced run spends on its trace, without the exporter: `cargo bench -p proofroom-gateway --bench trace`.
//! Ends in an error where that is 2 us or more. Untraced runs look at one `Option` for each of these steps.

use std::{
    hint::black_box,
    sync::{Arc, Mutex},
    time::Instant,
};

use http::HeaderMap;
use proofroom_canonical::{Digest, RunId, SessionId, Timestamp};
use proofroom_classify::{ClassificationPolicy, RoutingPolicy};
use proofroom_gateway::{
    UpstreamsConfig,
    config::SystemSecrets,
    trace::{
        FinishReason, IncomingTrace, Outcome, Ratio, RunFacts, RunTrace, TraceSink, Tracing,
        Tracked, Vocabulary,
    },
};
use proofroom_llm::Api;
use proofroom_record::{
    event::RunStatus,
    statement::{AnsweredBy, LogMode, TokenCount},
};
use tokio::sync::mpsc;

const CLASSIFICATION: &str = r#"
version = 1
levels = ["public", "internal", "restricted"]
default = "public"
unreadable = "restricted"
"#;
const ROUTING: &str = r#"
version = 1
[tiers]
standard = "unattested"
[[rules]]
id = "open"
when = { label_at_most = "public" }
send = { tiers = ["standard"], upstreams = ["*"], models = ["*"], regions = ["*"] }
match = [{ label = "public", repository = "r", model = "m" }]
not_match = [{ label = "restricted", repository = "r", model = "m" }]
[default]
refuse = { message = "no rule speaks about this" }
"#;
const UPSTREAMS: &str = r#"
[[upstream]]
name = "u"
tier = "standard"
base_url = "http://127.0.0.1:9"
apis = ["chat"]
models = ["model-1", "model-2", "model-3", "model-4", "model-5", "model-6", "model-7"]
region = "local"
source = "cassette"
key = { from = "none" }
retention = { mode = "in-memory", contract = "none" }
attestation = { kind = "none" }
"#;

/// So many runs are measured at once: the exporter's queue.
const RUNS: usize = 2048;
const ROUNDS: usize = 50;
const MOST_NANOS: u128 = 2000;

struct Queue(mpsc::Sender<Box<RunTrace>>);

impl TraceSink for Queue {
    fn take(&self, trace: Box<RunTrace>) {
        assert!(self.0.try_send(trace).is_ok(), "the queue is full");
    }
}

fn facts() -> RunFacts<'static> {
    RunFacts {
        session: SessionId::from_random([2; 16]),
        run: RunId::from_random([1; 16]),
        api: Api::ChatCompletions,
        model: black_box("model-4"),
        label: black_box("public"),
        rule: black_box("open"),
        tier: Some(black_box("standard")),
        upstream: Some(black_box("u")),
        outcome: Outcome {
            status: RunStatus::Complete,
            code: None,
            http_status: Some(200),
            tokens: Some(TokenCount {
                input: 300,
                output: 50,
            }),
            answered_by: Some(AnsweredBy::Asked),
            finish: Some(FinishReason::of(black_box("stop"))),
            log: LogMode::Strict,
            evidence: None,
            redacted: 0,
            restored: 0,
        },
    }
}

#[expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench")]
fn main() {
    let classification = ClassificationPolicy::parse(CLASSIFICATION, "c.toml").unwrap();
    let routing = RoutingPolicy::parse(ROUTING, "r.toml", &classification).unwrap();
    let upstreams = UpstreamsConfig::parse(UPSTREAMS, Arc::new(SystemSecrets)).unwrap();
    let names = Vocabulary::of(classification.levels(), &routing, &upstreams);
    let names = Arc::new(names);
    let (traces, queue) = mpsc::channel(RUNS);
    let queue = Mutex::new(queue);
    let tracing = Tracing {
        sink: Arc::new(Queue(traces)),
        ratio: Ratio::ALL,
        incoming: IncomingTrace::Continued,
    };
    let headers = HeaderMap::new();
    let started = Timestamp::from_unix_millis(1_796_083_200_000);
    let record = Digest::of("record");
    let run = |number: usize| {
        let id = (u128::MAX - number as u128).to_be_bytes();
        let begun = Tracked::begin(&tracing, &names, (black_box(id), started), &headers);
        let mut tracked = begun.unwrap();
        tracked.sends("u", Api::ChatCompletions);
        tracked.answered(200);
        let unkept = tracked.ends(&facts());
        tracing.sink.take(unkept.kept(Some(record)));
    };
    let mut rounds: Vec<u128> = (0..ROUNDS)
        .map(|_| {
            let since = Instant::now();
            (0..RUNS).for_each(run);
            let nanos = since.elapsed().as_nanos() / RUNS as u128;
            let mut queue = queue.lock().unwrap();
            while queue.try_recv().is_ok() {}
            nanos
        })
        .collect();
    rounds.sort_unstable();
    let nth = |place: usize| rounds.get(place).copied().unwrap_or(u128::MAX);
    let (best, median) = (nth(0), nth(ROUNDS / 2));
    println!("a run's trace, {ROUNDS} rounds of {RUNS}: median {median} ns, best {best} ns");
    assert!(median < MOST_NANOS, "{median} ns");
}
