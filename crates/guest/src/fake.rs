//! A host without a room: the Room API over a socket pair, a spawner without confinement, a
//! repository made for the test. For tests of what the supervisor decides and writes down.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use p256::{ecdsa::VerifyingKey, pkcs8::DecodePublicKey as _};
use proofroom_authz::DEFAULT_POLICY;
use proofroom_canonical::{Digest, IsolationLevel, Nonce, RunId, SessionId, Timestamp};
use proofroom_record::{
    dsse::Envelope,
    event::{Event, EventBody, SessionEnd},
    room_api::{
        Assignment, CloseRequest, CommandRules, Grant, IdentityRequest, Limits, LoopbackUse,
        OpenAudit, Progress, SignedEvent, TaskText, WORKSPACE_REFERENCE,
    },
    statement::{AgentSession, PolicyDigests, Statement},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    channel::{Body, BoxError, whole},
    observe::Watch,
    spawn::{AgentCommand, Ended, Running, SpawnError, Spawner, Streams},
    supervisor::{Places, SupervisorError, supervise},
    tree::Owner,
};

/// Runs commands as they are.
#[derive(Debug)]
pub(crate) struct Unconfined;

struct Plain {
    pid: rustix::process::Pid,
    child: Mutex<Option<Child>>,
}

impl Running for Plain {
    fn kill(&self) {
        rustix::process::kill_process(self.pid, rustix::process::Signal::KILL).unwrap_or(());
    }

    fn wait(&self) -> Result<Ended, SpawnError> {
        use std::os::unix::process::ExitStatusExt as _;
        let mut child = self.child.lock().unwrap().take().unwrap();
        let status = child.wait().unwrap();
        Ok(status.code().map_or_else(
            || Ended::Killed(status.signal().unwrap_or(0)),
            Ended::Exited,
        ))
    }
}

struct Never(String);

impl Running for Never {
    fn kill(&self) {}
    fn wait(&self) -> Result<Ended, SpawnError> {
        Ok(Ended::NotStarted(self.0.clone()))
    }
}

impl Spawner for Unconfined {
    fn spawn(
        &self,
        command: &AgentCommand,
        streams: Streams,
        _watch: Arc<dyn Watch>,
    ) -> Result<Box<dyn Running>, SpawnError> {
        let child = Command::new(&command.argv[0])
            .args(&command.argv[1..])
            .env_clear()
            .envs(command.env.iter().cloned())
            .current_dir(&command.cwd)
            .stdin(streams.stdin)
            .stdout(streams.stdout)
            .stderr(streams.stderr)
            .spawn();
        Ok(match child {
            Err(error) => Box::new(Never(error.to_string())),
            Ok(child) => Box::new(Plain {
                pid: rustix::process::Pid::from_child(&child),
                child: Mutex::new(Some(child)),
            }),
        })
    }

    fn mechanisms(&self) -> Vec<String> {
        vec!["none".to_owned()]
    }
}

/// What the host saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) events: Vec<SignedEvent>,
    pub(crate) binding: Vec<u8>,
    pub(crate) key: Option<VerifyingKey>,
    pub(crate) model_headers: HeaderMap,
    pub(crate) packs: Vec<(String, Bytes)>,
    pub(crate) progress: Vec<Progress>,
    pub(crate) record: Option<Envelope>,
    pub(crate) cancelled: bool,
}

/// How the host behaves.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) assignment: Assignment,
    pub(crate) bundle: Vec<u8>,
    /// From this event on, nothing is durable.
    pub(crate) lose_from: usize,
    pub(crate) seen: Arc<Mutex<Seen>>,
}

fn json_answer(value: &Value) -> Response<Body> {
    Response::new(whole(value.to_string()))
}

struct Told(Arc<Mutex<Seen>>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.lock().unwrap().cancelled = true;
    }
}

impl Host {
    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path = parts.uri.path().to_owned();
        match (&parts.method, path.as_str()) {
            (&Method::GET, "/room/v1/assignment") => {
                json_answer(&serde_json::to_value(&self.assignment).unwrap())
            }
            (&Method::GET, "/room/v1/workspace") => Response::new(whole(self.bundle)),
            (_, "/room/v1/identity") => {
                use base64::Engine as _;
                let asked: IdentityRequest = serde_json::from_slice(&body).unwrap();
                let mut seen = self.seen.lock().unwrap();
                seen.key = Some(VerifyingKey::from_public_key_pem(&asked.session_key).unwrap());
                seen.binding = base64::engine::general_purpose::STANDARD
                    .decode(asked.binding)
                    .unwrap();
                json_answer(&json!({"certificate_chain": "-----BEGIN CERTIFICATE-----",
                    "room_appraisal": {"kind": "none"}}))
            }
            (_, "/room/v1/events") => self.events(&body),
            (_, "/room/v1/result") => {
                let commit = parts.headers["x-proofroom-commit"].to_str().unwrap();
                let mut seen = self.seen.lock().unwrap();
                seen.packs.push((commit.to_owned(), body));
                json_answer(&json!({"reference": "refs/heads/r", "commit": commit, "tree": "t"}))
            }
            (_, "/room/v1/progress") => {
                let said = serde_json::from_slice(&body).unwrap();
                self.seen.lock().unwrap().progress.push(said);
                json_answer(&json!({}))
            }
            (_, "/room/v1/close") => {
                let asked: CloseRequest = serde_json::from_slice(&body).unwrap();
                let digest = Digest::of(asked.session_record.to_bytes().unwrap());
                self.seen.lock().unwrap().record = Some(asked.session_record);
                json_answer(&json!({ "record": digest }))
            }
            (_, "/v1/messages") => self.model(parts.headers, &body),
            (&Method::GET, path) if path.starts_with("/room/v1/runs/") => {
                let run = json!({"sequence": 0, "run": RunId::from_random([5; 16]),
                    "record": Digest::of("r"), "status": "cancelled", "tier": null,
                    "label": "internal"});
                json_answer(&json!({ "runs": [run] }))
            }
            _ => {
                let mut response = json_answer(&json!({"error": {"code": "no", "message": ""}}));
                *response.status_mut() = StatusCode::NOT_FOUND;
                response
            }
        }
    }

    fn events(&self, body: &Bytes) -> Response<Body> {
        let mut seen = self.seen.lock().unwrap();
        for line in body.split(|byte| *byte == b'\n').filter(|l| !l.is_empty()) {
            if seen.events.len() >= self.lose_from {
                let mut response = json_answer(&json!({"error": {"code": "full", "message": ""}}));
                *response.status_mut() = StatusCode::INSUFFICIENT_STORAGE;
                return response;
            }
            seen.events.push(serde_json::from_slice(line).unwrap());
        }
        json_answer(&json!({"durable": seen.events.len() - 1}))
    }

    /// Two pieces and trailers; a body of `hang` gets one piece and then nothing.
    fn model(&self, headers: HeaderMap, body: &Bytes) -> Response<Body> {
        self.seen.lock().unwrap().model_headers = headers;
        let hang = &body[..] == b"hang";
        let told = Told(Arc::clone(&self.seen));
        let stream = futures_util::stream::unfold((0, told), move |(step, told)| async move {
            let frame = match step {
                0 => Frame::data(Bytes::from_static(b"one ")),
                1 if hang => {
                    tokio::time::sleep(Duration::from_secs(600)).await;
                    return None;
                }
                1 => Frame::data(Bytes::from_static(b"two")),
                2 => {
                    let mut trailers = HeaderMap::new();
                    let digest = Digest::of("record").to_string();
                    trailers.insert("x-proofroom-record", digest.parse().unwrap());
                    trailers.insert("x-proofroom-status", "complete".parse().unwrap());
                    trailers.insert("x-proofroom-tokens", "7".parse().unwrap());
                    Frame::trailers(trailers)
                }
                _ => return None,
            };
            Some((Ok::<_, BoxError>(frame), (step + 1, told)))
        });
        Response::builder()
            .header("x-proofroom-run", RunId::from_random([5; 16]).to_string())
            .header("x-proofroom-label", "internal")
            .header("x-proofroom-sequence", "0")
            .header("x-proofroom-tier", "standard")
            .body(StreamBody::new(stream).boxed_unsync())
            .unwrap()
    }

    /// Serves the Room API; the other end is the supervisor's.
    pub(crate) fn serve(self) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let ours = tokio::net::UnixStream::from_std(ours).unwrap();
        drop(tokio::spawn(async move {
            let service = service_fn(move |request| {
                let host = self.clone();
                async move { Ok::<_, Infallible>(host.answer(request).await) }
            });
            drop(
                http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(ours), service)
                    .await,
            );
        }));
        theirs
    }
}

/// A repository with one commit, as a bundle.
pub(crate) fn bundle(at: &Path, files: &[(&str, &str)]) -> (String, Vec<u8>) {
    let git = |arguments: &[&str]| {
        let out = Command::new("git")
            .args([
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@t",
                "-c",
                "init.defaultBranch=main",
            ])
            .args(arguments)
            .current_dir(at)
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q", "."]);
    for (name, content) in files {
        let path = at.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    git(&["add", "-A", "-f"]);
    git(&["commit", "-q", "-m", "first"]);
    git(&["branch", "-M", "proofroom"]);
    git(&["bundle", "create", "-q", "b.bundle", WORKSPACE_REFERENCE]);
    let bytes = std::fs::read(at.join("b.bundle")).unwrap();
    (git(&["rev-parse", "HEAD"]), bytes)
}

/// A session under test.
pub(crate) struct Room {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) host: Host,
    pub(crate) cancel: Option<tokio::sync::oneshot::Sender<()>>,
    running: Option<JoinHandle<Result<(SessionEnd, Digest), SupervisorError>>>,
}

impl Room {
    /// A session for the built-in agent, whose part the test plays.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("source");
        for name in ["source", "workspace"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let (commit, bundle) = bundle(&source, files);
        let assignment = assignment(commit);
        Self {
            directory,
            host: Host {
                assignment,
                bundle,
                lose_from: usize::MAX,
                seen: Arc::default(),
            },
            cancel: None,
            running: None,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("workspace").join(name)
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("agent.sock")
    }

    /// Starts the supervisor and waits until the agent's socket answers.
    pub(crate) async fn start(mut self) -> Self {
        self.spawn();
        for _ in 0..600 {
            if self.socket().exists() {
                return self;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("the agent's socket did not appear");
    }

    /// Starts the supervisor.
    pub(crate) fn spawn(&mut self) {
        let at = self.directory.path();
        let agent = at.join("agent");
        let leave = at.join("leave");
        let script = format!(
            "#!/bin/sh\nwhile [ ! -e {} ]; do sleep 0.02; done\n",
            leave.display()
        );
        std::fs::write(&agent, script).unwrap();
        std::fs::set_permissions(&agent, std::fs::Permissions::from_mode(0o755)).unwrap();
        let places = Places {
            workspace: at.join("workspace"),
            socket: self.socket(),
            loopback: None,
            resolver: None,
            agent,
            owner: Owner::Itself,
            attester: Arc::new(crate::attest::Nothing),
        };
        let stream = self.host.clone().serve();
        let (cancel, cancelled) = tokio::sync::oneshot::channel();
        self.cancel = Some(cancel);
        let cancelled = async move {
            if cancelled.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        self.running = Some(tokio::spawn(async move {
            supervise(stream, Arc::new(Unconfined), places, cancelled).await
        }));
    }

    /// One request of the agent's; status and body.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> (StatusCode, String) {
        let response = self.begin(method, path, body).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// A socket has a name a moment before it listens.
    async fn connection(&self) -> tokio::net::UnixStream {
        for _ in 0..40 {
            match tokio::net::UnixStream::connect(self.socket()).await {
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    tokio::time::sleep(Duration::from_millis(25)).await;
                }
                connected => return connected.unwrap(),
            }
        }
        panic!("the agent's socket does not listen");
    }

    pub(crate) async fn begin(&self, method: &str, path: &str, body: &str) -> Response<Incoming> {
        let io = TokioIo::new(self.connection().await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        drop(tokio::spawn(connection));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "room")
            .header("authorization", "Bearer room")
            .header("x-api-key", "room")
            .header("anthropic-version", "2023-06-01")
            .body(whole(body.to_owned()))
            .unwrap();
        sender.send_request(request).await.unwrap()
    }

    /// One tool call; its status, and its answer or its error's code.
    pub(crate) async fn tool(&self, name: &str, arguments: Value) -> Result<Value, String> {
        let path = format!("/tool/v1/{name}");
        let (status, body) = self.ask("POST", &path, &arguments.to_string()).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        if status.is_success() {
            return Ok(body);
        }
        Err(body["error"]["code"].as_str().unwrap().to_owned())
    }

    /// The agent finishes and leaves.
    pub(crate) async fn finish(&mut self) -> SessionEnd {
        drop(
            self.tool("finish", json!({"summary": "s", "success": true}))
                .await,
        );
        self.leave().await.unwrap().0
    }

    /// The agent leaves.
    pub(crate) async fn leave(&mut self) -> Result<(SessionEnd, Digest), SupervisorError> {
        std::fs::write(self.directory.path().join("leave"), "").unwrap();
        self.running.take().unwrap().await.unwrap()
    }

    /// The events, after the chain, the signatures and the record were checked.
    pub(crate) fn proven(&self) -> Vec<EventBody> {
        let seen = self.host.seen.lock().unwrap();
        let key = seen.key.unwrap();
        let mut prev = Digest::of(&seen.binding);
        let mut bodies = Vec::new();
        let mut by_type: BTreeMap<String, u64> = BTreeMap::new();
        for (seq, signed) in seen.events.iter().enumerate() {
            let seq = u64::try_from(seq).unwrap();
            assert!(signed.is_signed_by(seq, &key));
            let event: Event = serde_json::from_str(&signed.event).unwrap();
            assert_eq!((event.seq, event.prev), (seq, prev));
            prev = Digest::of(&signed.event);
            let raw: Value = serde_json::from_str(&signed.event).unwrap();
            let name = raw["body"]["type"].as_str().unwrap().to_owned();
            *by_type.entry(name).or_default() += 1;
            bodies.push(event.body);
        }
        if let Some(record) = &seen.record {
            let payload = record.verify(&key).unwrap();
            let statement: Statement<AgentSession> =
                serde_json::from_slice(payload.as_bytes()).unwrap();
            let events = statement.predicate.events;
            assert_eq!(events.count, u64::try_from(bodies.len()).unwrap());
            assert_eq!(events.head, prev);
            assert_eq!(events.by_type, by_type);
        }
        bodies
    }

    /// The session record's claim.
    pub(crate) fn record(&self) -> AgentSession {
        let seen = self.host.seen.lock().unwrap();
        let payload = seen.record.as_ref().unwrap().unverified_payload().unwrap();
        let statement: Statement<AgentSession> = serde_json::from_slice(&payload).unwrap();
        statement.predicate
    }
}

/// Waits until something holds.
pub(crate) async fn until(what: impl Fn() -> bool) {
    for _ in 0..400 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{}", io::Error::other("it never came to that"));
}

/// What every test's room is told.
fn assignment(commit: String) -> Assignment {
    let some = Digest::of("policy");
    let all = vec!["**".to_owned()];
    Assignment {
        session: SessionId::from_random([1; 16]),
        nonce: Nonce::from_random([2; 32]),
        spiffe_id: "spiffe://test/session/1/agent/builtin".to_owned(),
        agent: "builtin".to_owned(),
        task: Some(TaskText::new("do it".to_owned())),
        command: None,
        repository: "example".to_owned(),
        commit,
        policies: PolicyDigests {
            access: Digest::of(DEFAULT_POLICY),
            classification: some,
            routing: some,
            room: some,
            appraisal: some,
            egress: Digest::of(proofroom_egress::DEFAULT_EGRESS),
            room_appraisal: some,
            version: None,
            providers: std::collections::BTreeMap::new(),
        },
        access_policy: DEFAULT_POLICY.to_owned(),
        egress_policy: proofroom_egress::DEFAULT_EGRESS.to_owned(),
        grant: Grant {
            read: all.clone(),
            write: all,
            run: vec!["*".to_owned()],
        },
        limits: Limits {
            steps: 50,
            seconds: 60,
            command_seconds: 10,
            tokens: 1000,
            output_bytes: 1000,
            session_output_bytes: 1_000_000,
        },
        commands: CommandRules {
            readable: vec![],
            loopback: LoopbackUse::ChannelOnly,
            file_audit: OpenAudit::EveryOpen,
            processes: 512,
            open_files: 1024,
            file_bytes: 1 << 30,
        },
        model: "m".to_owned(),
        isolation: IsolationLevel::Simulated,
        mechanisms: vec![],
        time: Timestamp::from_unix_millis(0),
    }
}
