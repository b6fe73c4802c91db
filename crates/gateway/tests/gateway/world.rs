//! A gateway with everything around it under control.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use p256::ecdsa::SigningKey;
use proofroom_canonical::{Digest, Sensitive, SessionId, Timestamp, json};
use proofroom_classify::{ClassificationPolicy, RoutingPolicy};
use proofroom_gateway::{
    AnswerBody, BoxFuture, Caller, CallerIdentity, Clock, CommitmentKey, Config, EvidenceNotKept,
    EvidenceSink, Gateway, Limits, Providers, RecordSink, RunEvent, RunObserver, SetupProblem,
    ShadowRules, SinkError, Submission, SystemEntropy, UpstreamsConfig,
    config::{FileStamp, SecretSource, SystemSecrets},
    trace::{IncomingTrace, Ratio, RunTrace, TraceSink, Tracing},
};
use proofroom_record::{
    dsse::Envelope,
    statement::{MODEL_RUN_V1, ModelRun, Statement},
};
use proofroom_verifier::AppraisalPolicy;
use tokio::sync::mpsc;

pub const CHAT: &str = "/v1/chat/completions";
pub const MESSAGES: &str = "/v1/messages";
pub const RESPONSES: &str = "/v1/responses";
pub const SECRET: &str = "Project Heron";

pub const CLASSIFICATION: &str = r#"
version = 1
levels = ["public", "internal", "confidential", "restricted"]
default = "public"
unreadable = "restricted"

[[terms]]
id = "code-name"
terms = ["Project Heron"]
label = "restricted"
match = ["about Project Heron"]
not_match = ["a heron"]

[[terms]]
id = "house-word"
terms = ["house-internal"]
label = "internal"
match = ["house-internal"]
not_match = ["house"]
"#;

pub const ROUTING: &str = r#"
version = 1

[tiers]
standard = "unattested"
tee = "attested"

[[rules]]
id = "confidential-to-tee"
when = { label_at_least = "confidential" }
send = { tiers = ["tee"], upstreams = ["*"], models = ["*"], regions = ["*"] }
match = [{ label = "restricted", repository = "r", model = "m" }]
not_match = [{ label = "public", repository = "r", model = "m" }]

[[rules]]
id = "open-anywhere"
when = { label_at_most = "internal" }
send = { tiers = ["standard", "tee"], upstreams = ["*"], models = ["*"], regions = ["*"] }
match = [{ label = "public", repository = "r", model = "m" }]
not_match = [{ label = "restricted", repository = "r", model = "m" }]

[default]
refuse = { message = "no rule speaks about this" }
"#;

/// The upstreams file of a standard upstream at `address`.
pub fn standard(address: impl std::fmt::Display) -> String {
    format!(
        r#"
[[upstream]]
name = "std"
tier = "standard"
base_url = "http://{address}"
apis = ["chat", "messages", "responses", "embeddings", "rerank"]
models = ["std-model", "both-model"]
aliases = {{ "nickname" = "std-model" }}
region = "eu"
source = "cassette"
key = {{ from = "env", name = "STD_KEY", header = "bearer" }}
retention = {{ mode = "zero-retention-contract", contract = "contract-7" }}
attestation = {{ kind = "none" }}
"#
    )
}

/// The upstreams file of an attested upstream at `address`.
pub fn tee(address: impl std::fmt::Display) -> String {
    format!(
        r#"
[[upstream]]
name = "tee"
tier = "tee"
base_url = "https://{address}"
apis = ["chat", "messages"]
models = ["tee-model"]
aliases = {{ "both-model" = "tee-model" }}
region = "eu"
source = "cassette"
key = {{ from = "none" }}
retention = {{ mode = "in-memory" }}
attestation = {{ kind = "proofroom-upstream", appraisal_policy = "appraisal.toml" }}
"#
    )
}

pub struct Secrets;

impl SecretSource for Secrets {
    fn file(&self, path: &Path) -> std::io::Result<Sensitive<String>> {
        SystemSecrets.file(path)
    }

    fn stamp(&self, path: &Path) -> std::io::Result<FileStamp> {
        SystemSecrets.stamp(path)
    }

    fn variable(&self, _: &str) -> Option<Sensitive<String>> {
        Some(Sensitive::new("gateway-own-key".to_owned()))
    }
}

pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn advance_seconds(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Keeps records in memory and hands them to the test as they become durable.
pub struct MemorySink {
    records: mpsc::UnboundedSender<Submission>,
    pub broken: AtomicBool,
    pub full: AtomicBool,
    /// Set: evidence cannot be kept.
    pub forgets: AtomicBool,
}

fn disk_full() -> SinkError {
    SinkError {
        reason: "disk full".to_owned(),
    }
}

impl RecordSink for MemorySink {
    fn ready(&self) -> Result<(), SinkError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(disk_full());
        }
        Ok(())
    }

    fn submit(&self, submission: Submission) -> BoxFuture<'_, Result<Digest, SinkError>> {
        Box::pin(async move {
            if self.broken.load(Ordering::SeqCst) {
                return Err(disk_full());
            }
            let digest = Digest::of(&submission.record.bytes);
            assert_eq!(submission.record.digest, digest);
            self.records.send(submission).unwrap();
            Ok(digest)
        })
    }
}

#[derive(Default)]
pub struct Events(Mutex<Vec<RunEvent>>);

impl Events {
    pub fn codes_closed(&self) -> Vec<&'static str> {
        let events = self.0.lock().unwrap();
        let codes = events.iter().filter_map(|event| match event {
            RunEvent::UpstreamClosed { code, .. } => Some(*code),
            _ => None,
        });
        codes.collect()
    }

    /// Upstreams that began to rest (`-`) or were back (`+`), in order.
    pub fn rests(&self) -> Vec<String> {
        let events = self.0.lock().unwrap();
        let told = events.iter().filter_map(|event| match event {
            RunEvent::UpstreamRests { upstream, .. } => Some(format!("-{upstream}")),
            RunEvent::UpstreamBack { upstream } => Some(format!("+{upstream}")),
            _ => None,
        });
        told.collect()
    }

    pub fn keys_read(&self) -> usize {
        let events = self.0.lock().unwrap();
        let read = |event: &&RunEvent| matches!(event, RunEvent::UpstreamKeyRead { .. });
        events.iter().filter(read).count()
    }

    pub fn sent_again(&self) -> usize {
        let events = self.0.lock().unwrap();
        let again = |event: &&RunEvent| matches!(event, RunEvent::SentAgain { .. });
        events.iter().filter(again).count()
    }

    pub fn verified(&self) -> usize {
        let events = self.0.lock().unwrap();
        let verified = |event: &&RunEvent| matches!(event, RunEvent::UpstreamVerified { .. });
        events.iter().filter(verified).count()
    }

    pub fn closed(&self) -> Vec<&'static str> {
        let events = self.0.lock().unwrap();
        let codes = events.iter().filter_map(|event| match event {
            RunEvent::UpstreamClosed { code, .. } => Some(*code),
            _ => None,
        });
        codes.collect()
    }
}

impl EvidenceSink for MemorySink {
    fn keep(&self, evidence: Digest, document: &[u8]) -> Result<(), EvidenceNotKept> {
        assert_eq!(Digest::of(document), evidence);
        match self.forgets.load(Ordering::Relaxed) {
            true => Err(EvidenceNotKept),
            false => Ok(()),
        }
    }
}

impl RunObserver for Events {
    fn observe(&self, event: &RunEvent) {
        self.0.lock().unwrap().push(event.clone());
    }
}

/// What was told of runs in spans.
#[derive(Default)]
pub struct Traces(Mutex<Vec<RunTrace>>);

impl Traces {
    /// The traces since the last question; each run's is there before its record is.
    pub fn take(&self) -> Vec<RunTrace> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl TraceSink for Traces {
    fn take(&self, trace: Box<RunTrace>) {
        self.0.lock().unwrap().push(*trace);
    }
}

pub struct World {
    pub gateway: Gateway,
    pub clock: Arc<TestClock>,
    pub sink: Arc<MemorySink>,
    pub events: Arc<Events>,
    pub traces: Arc<Traces>,
    records: mpsc::UnboundedReceiver<Submission>,
}

/// 2026-12-01T00:00:00Z
pub const NOW: Timestamp = Timestamp::from_unix_seconds(1_796_083_200);

/// The deployment's key of commitments.
pub const COMMITMENTS: [u8; 32] = [9; 32];

pub struct Options {
    pub upstreams: String,
    pub appraisal: String,
    pub providers: Providers,
    pub limits: Limits,
    /// Text of `classification.toml`.
    pub classification: String,
    /// Text of `routing.toml`.
    pub routing: String,
    /// Texts of a classification and a routing file to try beside.
    pub shadow: Option<(String, String)>,
    /// What a client's `traceparent` is worth.
    pub incoming: IncomingTrace,
}

impl Options {
    pub fn of(upstreams: String) -> Self {
        Self {
            upstreams,
            appraisal: crate::tee::policy(),
            providers: Providers::default(),
            limits: Limits::default(),
            classification: CLASSIFICATION.to_owned(),
            routing: ROUTING.to_owned(),
            shadow: None,
            incoming: IncomingTrace::Ignored,
        }
    }
}

impl World {
    pub fn new(upstreams: String) -> Self {
        Self::with(&Options::of(upstreams))
    }

    pub fn with(options: &Options) -> Self {
        let (tell, records) = mpsc::unbounded_channel();
        let sink = Arc::new(MemorySink {
            records: tell,
            broken: AtomicBool::new(false),
            full: AtomicBool::new(false),
            forgets: AtomicBool::new(false),
        });
        let clock = Arc::new(TestClock(AtomicI64::new(NOW.unix_millis())));
        let events = Arc::new(Events::default());
        let traces = Arc::new(Traces::default());
        let config = config(options, &clock, &sink, (&events, &traces));
        let gateway = Gateway::new(config).unwrap();
        Self {
            gateway,
            clock,
            sink,
            events,
            traces,
            records,
        }
    }

    /// Codes of what keeps a gateway of these options from starting.
    pub fn problems(options: &Options) -> Vec<&'static str> {
        let (records, _) = mpsc::unbounded_channel();
        let sink = MemorySink {
            records,
            broken: AtomicBool::new(false),
            full: AtomicBool::new(false),
            forgets: AtomicBool::new(false),
        };
        let clock = Arc::new(TestClock(AtomicI64::new(0)));
        let config = config(
            options,
            &clock,
            &Arc::new(sink),
            (&Arc::default(), &Arc::default()),
        );
        let problems = Gateway::new(config).unwrap_err();
        problems.iter().map(SetupProblem::code).collect()
    }

    pub fn caller(&self, number: u8) -> Arc<Caller> {
        self.gateway.admit(CallerIdentity {
            session: SessionId::from_random([number; 16]),
            spiffe_id: format!("spiffe://test/session/{number}/agent/a"),
            binding: Digest::of([number]),
            repository: "shop".to_owned(),
            person: "ada".to_owned(),
            purpose: "review".to_owned(),
        })
    }

    pub async fn post(
        &self,
        caller: &Arc<Caller>,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Response<AnswerBody> {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .body(Full::new(body.into()))
            .unwrap();
        self.gateway.handle(request, Arc::clone(caller)).await
    }

    /// The next durable record, its signature verified.
    pub async fn record(&mut self) -> (Digest, ModelRun) {
        let submission = self.records.recv().await.unwrap();
        assert_eq!(submission.kind, "model-run");
        let envelope = Envelope::parse(&submission.record.bytes).unwrap();
        let payload = envelope.verify(key().verifying_key()).unwrap();
        let text = String::from_utf8(payload.as_bytes().to_vec()).unwrap();
        assert!(
            !text.contains("Heron") && !text.contains("gateway-own-key"),
            "{text}"
        );
        let statement: Statement<ModelRun> = json::parse(payload.as_bytes(), 1 << 20).unwrap();
        assert_eq!(statement.predicate_type, MODEL_RUN_V1);
        assert_eq!(statement.predicate.session, submission.session);
        (Digest::of(&submission.record.bytes), statement.predicate)
    }

    /// The records that are durable by now, in order.
    pub fn records(&mut self) -> Vec<ModelRun> {
        let durable = std::iter::from_fn(|| self.records.try_recv().ok());
        durable
            .map(|submission| {
                let envelope = Envelope::parse(&submission.record.bytes).unwrap();
                let payload = envelope.verify(key().verifying_key()).unwrap();
                let statement: Statement<ModelRun> =
                    json::parse(payload.as_bytes(), 1 << 20).unwrap();
                statement.predicate
            })
            .collect()
    }

    pub fn no_record(&mut self) {
        assert!(self.records.try_recv().is_err(), "a record was written");
    }
}

fn config(
    options: &Options,
    clock: &Arc<TestClock>,
    sink: &Arc<MemorySink>,
    (events, traces): (&Arc<Events>, &Arc<Traces>),
) -> Config {
    let rules = |text: &str, routing: &str| {
        let classification = ClassificationPolicy::parse(text, "c.toml").unwrap();
        let routing = RoutingPolicy::parse(routing, "r.toml", &classification).unwrap();
        (classification, routing)
    };
    let (classification, routing) = rules(&options.classification, &options.routing);
    let shadow = options.shadow.as_ref().map(|(text, other)| {
        let (classification, routing) = rules(text, other);
        ShadowRules {
            classification,
            routing,
        }
    });
    let appraisal = AppraisalPolicy::parse(&options.appraisal, "appraisal.toml").unwrap();
    Config {
        routing,
        classification,
        shadow,
        upstreams: UpstreamsConfig::parse(&options.upstreams, Arc::new(Secrets)).unwrap(),
        appraisal: BTreeMap::from([(PathBuf::from("appraisal.toml"), appraisal)]),
        providers: options.providers.clone(),
        signing_key: key(),
        commitments: Some(CommitmentKey::new(COMMITMENTS)),
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        entropy: Arc::new(SystemEntropy),
        sink: Arc::clone(sink) as Arc<dyn RecordSink>,
        evidence: Arc::clone(sink) as Arc<dyn EvidenceSink>,
        observer: Arc::clone(events) as Arc<dyn RunObserver>,
        limits: options.limits,
        tracing: Some(Tracing {
            sink: Arc::clone(traces) as Arc<dyn TraceSink>,
            ratio: Ratio::ALL,
            incoming: options.incoming,
        }),
    }
}

/// Codes of what keeps a gateway with these upstreams from starting.
pub fn setup_codes(upstreams: &str) -> Vec<&'static str> {
    World::problems(&Options::of(upstreams.to_owned()))
}

pub fn key() -> SigningKey {
    SigningKey::from_slice(&[7; 32]).unwrap()
}

/// A whole answer.
#[derive(Debug)]
pub struct Got {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Got {
    pub async fn of(response: Response<AnswerBody>) -> Self {
        let (parts, body) = response.into_parts();
        let collected = body.collect().await.unwrap();
        let trailers = collected.trailers().cloned().unwrap_or_default();
        Self {
            status: parts.status,
            headers: parts.headers,
            body: collected.to_bytes(),
            trailers,
        }
    }

    /// Code of an error in either API's format.
    pub fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        body["error"]["code"].as_str().unwrap().to_owned()
    }

    pub fn trailer(&self, name: &str) -> &str {
        self.trailers[name].to_str().unwrap()
    }
}

pub fn chat(model: &str, text: &str) -> String {
    format!(
        "{{ \"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}],\n \"unknown\":1.50,\t\"model\": \"{model}\" }}\n"
    )
}
