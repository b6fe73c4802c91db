//! A gateway on a disk that hangs.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use p256::ecdsa::SigningKey;
use proofroom_canonical::{Digest, SessionId, Timestamp, json};
use proofroom_classify::{ClassificationPolicy, RoutingPolicy};
use proofroom_gateway::{
    Caller, CallerIdentity, Clock, Config, Gateway, InMemoryAlone, Limits, NoObserver, Providers,
    SystemEntropy, UpstreamsConfig, config::SystemSecrets,
};
use proofroom_record::{
    gateway::{GATEWAY_SESSION_PURPOSE, GatewayAttestation, GatewayPolicies, GatewaySession},
    predicate::read_unverified,
    statement::{ClientIdentity, LogMode, ModelRun},
};
use proofroom_tlog::{KeyName, NoteSigner};
use serde_json::Value;

use super::sink::StoreSink;
use crate::{
    Prices,
    doorkeeper::Doorkeeper,
    gate::{Logging, Permission, SessionGate},
    held::Held,
    keys::{KeyFile, KeyToken, tests::key_for},
    limits::Book,
    metrics::Metrics,
    people::{People, PeopleConfig},
    ring::KeyRing,
    sessions::{Event, History},
    store::{Kind, Line, Opening, RecordStore},
};

pub(crate) const CLASSIFICATION: &str = r#"
version = 1
levels = ["public", "restricted"]
default = "public"
unreadable = "restricted"
"#;
pub(crate) const ROUTING: &str = r#"
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
/// Nobody listens there.
pub(crate) const NOBODY: u16 = 9;
pub(crate) const UPSTREAMS: &str = r#"
[[upstream]]
name = "u"
tier = "standard"
base_url = "http://127.0.0.1:9"
apis = ["chat"]
models = ["m"]
region = "local"
source = "cassette"
key = { from = "none" }
retention = { mode = "in-memory", contract = "none" }
attestation = { kind = "none" }
"#;

/// A clock that jumps back by a day each time that it is asked.
#[derive(Default)]
struct Jumping(AtomicI64);

impl Clock for Jumping {
    fn now(&self) -> Timestamp {
        let asked = self.0.fetch_add(1, Ordering::SeqCst);
        Timestamp::from_unix_seconds(1_800_000_000 - asked * 86_400)
    }
}

/// A disk that takes nothing while it hangs.
#[derive(Clone, Default)]
pub(crate) struct Hanging(Arc<(Mutex<bool>, Condvar)>);

impl Hanging {
    pub(crate) fn hang(&self, hangs: bool) {
        *self.0.0.lock().unwrap() = hangs;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let hangs = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(hangs, |hangs| *hangs).unwrap());
    }
}

pub(crate) fn opening(dir: &Path) -> Opening {
    let clock = || Timestamp::from_unix_seconds(1);
    Opening::new(dir, clock, Arc::new(Prices::default()))
}

pub(crate) fn open(opening: Opening) -> (Arc<RecordStore>, History) {
    let signer = NoteSigner::from_seed(KeyName::parse("test.example/log").unwrap(), &[3; 32]);
    let (store, _, history) = RecordStore::open(opening, signer.unwrap(), &mut |_| ()).unwrap();
    (Arc::new(store), history)
}

pub(crate) fn store(dir: &Path, disk: &Hanging) -> Arc<RecordStore> {
    let disk = disk.clone();
    let sync = Box::new(move |file: &std::fs::File| {
        disk.wait();
        file.sync_data()
    });
    open(Opening {
        sync,
        ..opening(dir)
    })
    .0
}

/// Every run that the record files tell of.
fn runs(dir: &Path) -> Vec<ModelRun> {
    let mut runs = Vec::new();
    for file in std::fs::read_dir(dir.join("records")).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let lines = bytes.split(|byte| *byte == b'\n').filter_map(Line::parse);
        runs.extend(lines.filter_map(|line| read_unverified::<ModelRun>(line.body).ok()));
    }
    runs.sort_by_key(|run| run.sequence);
    runs
}

fn held(dir: &Path) -> (Doorkeeper, Arc<Held>) {
    let (token, path) = (KeyToken::generate().unwrap(), dir.join("keys.json"));
    KeyFile::change(&path, |file| {
        file.keys.push(key_for(&token));
        Ok(())
    })
    .unwrap();
    let ring = KeyRing::open(&path).unwrap();
    let held = ring.authenticate(token.expose(), None, Timestamp::from_unix_seconds(2));
    let people = PeopleConfig {
        bars: dir.join("bars.json"),
        ..PeopleConfig::default()
    };
    let people = People::open(&people).unwrap();
    let doorkeeper = Doorkeeper::new(ring, people, Vec::new()).unwrap();
    (doorkeeper, Arc::new(Held::of_key(held.unwrap())))
}

pub(crate) fn statement() -> GatewaySession {
    let digest = Digest::of("a policy");
    GatewaySession {
        purpose: GATEWAY_SESSION_PURPOSE.to_owned(),
        session: SessionId::from_random([1; 16]),
        client: ClientIdentity::of_key(&"k", "ada", "core"),
        repository: String::new(),
        opened_for: String::new(),
        client_key: None,
        proof_key: None,
        previous: None,
        policies: GatewayPolicies {
            classification: digest,
            routing: digest,
            appraisal: digest,
            upstreams: digest,
        },
        gateway: GatewayAttestation::None,
        opened: Timestamp::from_unix_seconds(1),
    }
}

pub(crate) fn permission(
    store: &Arc<RecordStore>,
    doorkeeper: Doorkeeper,
    clock: fn() -> Timestamp,
) -> Arc<Permission> {
    let classification = ClassificationPolicy::parse(CLASSIFICATION, "c.toml").unwrap();
    Arc::new(Permission {
        store: Arc::clone(store),
        signing_key: SigningKey::from_slice(&[7; 32]).unwrap(),
        book: Arc::new(Book::default()),
        metrics: Arc::new(Metrics::new(BTreeSet::new())),
        prices: Arc::default(),
        shared: Vec::new(),
        doorkeeper,
        logging: Logging {
            mode: LogMode::Prompt,
            highest: classification.levels().highest(),
        },
        clock,
    })
}

fn gateway(dir: &Path, store: &Arc<RecordStore>, port: u16) -> (Gateway, Arc<Caller>) {
    let (doorkeeper, held) = held(dir);
    let permission = permission(store, doorkeeper, || Timestamp::from_unix_seconds(2));
    let gate = SessionGate::new(permission, &statement(), Arc::default());
    let gate = Arc::new(gate).of_request(&held);
    let gateway = gateway_to(store, port);
    let identity = CallerIdentity {
        session: statement().session,
        spiffe_id: "spiffe://test/gateway/key/k".to_owned(),
        binding: Digest::of("binding"),
        repository: String::new(),
        person: "ada".to_owned(),
        purpose: String::new(),
    };
    let caller = gateway.admit_behind(identity, gate, gateway.fresh());
    (gateway, caller)
}

pub(crate) fn gateway_to(store: &Arc<RecordStore>, port: u16) -> Gateway {
    let classification = ClassificationPolicy::parse(CLASSIFICATION, "c.toml").unwrap();
    let upstreams = UPSTREAMS.replace("127.0.0.1:9", &format!("127.0.0.1:{port}"));
    Gateway::new(Config {
        routing: RoutingPolicy::parse(ROUTING, "r.toml", &classification).unwrap(),
        classification,
        shadow: None,
        upstreams: UpstreamsConfig::parse(&upstreams, Arc::new(SystemSecrets)).unwrap(),
        appraisal: BTreeMap::new(),
        providers: Providers::default(),
        signing_key: SigningKey::from_slice(&[7; 32]).unwrap(),
        commitments: None,
        clock: Arc::new(Jumping::default()),
        entropy: Arc::new(SystemEntropy),
        sink: Arc::new(StoreSink {
            store: Arc::clone(store),
            prices: Arc::default(),
        }),
        observer: Arc::new(NoObserver),
        limits: Limits::default(),
        evidence: Arc::new(InMemoryAlone),
        tracing: None,
    })
    .unwrap()
}

async fn ask(gateway: &Gateway, caller: &Arc<Caller>) -> (StatusCode, HeaderMap, String) {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    let request = Request::post("/v1/chat/completions").body(Full::new(Bytes::from(body)));
    let (parts, body) = gateway
        .handle(request.unwrap(), Arc::clone(caller))
        .await
        .into_parts();
    let body: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
    let code = body["error"]["code"].as_str().unwrap().to_owned();
    (parts.status, parts.headers, code)
}

/// An upstream that fails whatever it is asked, and is paid by the size of it; returns its port.
fn failing_upstream() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = [0; 64 * 1024];
            let mut read = 0;
            while !bytes[..read].ends_with(b"}]}") {
                read += stream.read(&mut bytes[read..]).unwrap();
            }
            let body = r#"{"error":{"code":"of the upstream","message":"no"}}"#;
            let head = "HTTP/1.1 500 No\r\ncontent-type: application/json\r\nconnection: close";
            let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    port
}

#[test]
fn a_run_whose_intent_a_hanging_disk_does_not_take_is_refused_and_the_next_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Hanging::default();
    let opened = store(dir.path(), &disk);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (gateway, caller) = gateway(dir.path(), &opened, NOBODY);
        disk.hang(true);
        let begin = Instant::now();
        let (status, headers, code) = ask(&gateway, &caller).await;
        assert_eq!((status.as_u16(), code.as_str()), (503, "disk-too-slow"));
        assert_eq!(headers[header::RETRY_AFTER], "1");
        assert!(begin.elapsed() >= Duration::from_secs(2));
        assert!(!gateway.is_closed());
        disk.hang(false);
        let (status, _, code) = ask(&gateway, &caller).await;
        assert_eq!(
            (status.as_u16(), code.as_str()),
            (502, "upstream-unreachable")
        );
    });
    // with its tasks, of which the last may hold the store for a moment after its answer
    drop(runtime);
    opened.stop();
    drop(opened);
    let runs = runs(dir.path());
    let told: Vec<_> = runs
        .iter()
        .map(|run| (run.sequence, run.failure.as_ref().unwrap().code.as_str()))
        .collect();
    assert_eq!(told, [(0, "disk-too-slow"), (1, "upstream-unreachable")]);
    assert!(runs[0].upstream.is_none() && runs[0].request.forwarded.is_none());
}

/// A checkpoint is made of what a process knew as it wrote, a start without one of what it wrote: they say
/// the same, whatever the clock does.
#[test]
fn what_a_process_knew_of_its_sessions_is_what_its_record_files_say() {
    let dir = tempfile::tempdir().unwrap();
    // a file for each record
    let small = || Opening {
        segment_bytes: 1,
        ..opening(dir.path())
    };
    let (opened, _) = open(small());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (bytes, session) = (json::to_bytes(&statement()).unwrap(), statement().session);
        let event = Event::Session(Box::new(statement()));
        opened
            .note(Kind::Session, session, bytes, event, LogMode::Strict)
            .await
            .unwrap();
        let (gateway, caller) = gateway(dir.path(), &opened, failing_upstream());
        for sequence in 0..3 {
            let (_, headers, _) = ask(&gateway, &caller).await;
            assert_eq!(headers["x-proofroom-sequence"], sequence.to_string());
        }
    });
    drop(runtime);
    opened.stop();
    drop(opened);
    let (opened, known) = open(small());
    opened.stop();
    drop(opened);
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (opened, read) = open(small());
    opened.stop();
    assert_eq!(known, read);
    let told = format!("{read:?}");
    assert!(
        told.contains("next: 3") && told.contains("recorded: 3"),
        "{told}"
    );
    // an upstream that was chosen is paid by size where it counted nothing
    assert!(told.contains("team `core`"), "{told}");
    let runs = runs(dir.path());
    assert_eq!(runs.len(), 3);
    // the clock went back from run to run; within one it does not seem to
    let back = runs.windows(2).all(|two| two[1].started < two[0].started);
    let within = runs.iter().any(|run| run.finished < run.started);
    assert!(back && !within, "{runs:?}");
}
