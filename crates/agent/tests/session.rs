//! The agent against a stand-in supervisor on a real unix socket: the demonstration's whole session,
//! and every way in which a model or a supervisor can misbehave.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a broken stand-in must fail its test"
)]

#[path = "supervisor/room.rs"]
mod room;

use std::{
    cell::RefCell,
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    process::Command,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use proofroom_agent::{Ended, Options, Outcome, run};
use proofroom_testkit::cassette::{Body, Cassette, DEMO, Fault, Player};
use serde_json::{Value, json};
use tokio::{net::UnixListener, task::LocalSet};

const HELLO: &str = include_str!("../../testkit/cassettes/hello.json");

/// What the stand-in was asked to do.
#[derive(Default)]
struct Log {
    tools: Vec<(String, u16)>,
    model_calls: usize,
}

struct Supervisor {
    root: PathBuf,
    task: Value,
    player: Player,
    log: Rc<RefCell<Log>>,
}

impl Supervisor {
    async fn respond(&self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let path = request.uri().path().to_owned();
        if path == "/tool/v1/task" {
            return Ok(answer(200, &self.task));
        }
        if let Some(tool) = path.strip_prefix("/tool/v1/") {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let input = serde_json::from_slice(&body).unwrap();
            let (status, output) = room::call(&self.root, tool, &input);
            self.log.borrow_mut().tools.push((tool.to_owned(), status));
            return Ok(answer(status, &output));
        }
        self.log.borrow_mut().model_calls += 1;
        self.player.respond(request).await
    }
}

fn answer(status: u16, body: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(body.to_string()));
    let body = body.map_err(|never| match never {}).boxed();
    Response::builder().status(status).body(body).unwrap()
}

fn task(text: &str, model: &str) -> Value {
    json!({"task": text, "model": model, "limits":
        {"steps": 100, "seconds": 300, "command_seconds": 60, "tokens": 1_000_000, "output_bytes": 1}})
}

/// Runs the agent in `root` with this task and these recordings.
fn session(root: &Path, task: Value, cassettes: &[&str]) -> (Outcome, Log) {
    let log = Rc::new(RefCell::new(Log::default()));
    let cassettes = cassettes.iter().map(|text| Cassette::parse(text).unwrap());
    let supervisor = Rc::new(Supervisor {
        root: root.to_owned(),
        task,
        player: Player::new(cassettes.collect(), None),
        log: Rc::clone(&log),
    });
    let place = tempfile::tempdir().unwrap();
    let options = Options {
        socket: place.path().join("agent.sock"),
        patience: Duration::from_secs(60),
        pause: Duration::from_millis(1),
    };
    let outcome = local(async {
        let listener = UnixListener::bind(&options.socket).unwrap();
        tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let supervisor = Rc::clone(&supervisor);
                let service = service_fn(move |request| {
                    let supervisor = Rc::clone(&supervisor);
                    async move { supervisor.respond(request).await }
                });
                tokio::task::spawn_local(
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        run(&options, &mut |_| {}).await
    });
    (outcome, log.take())
}

fn local<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, future)
}

fn demo_repository() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo/repo/.");
    let copied = Command::new("cp")
        .arg("-r")
        .args([source.as_path(), copy.path()])
        .status()
        .unwrap();
    assert!(copied.success());
    let made = Command::new("git")
        .args(["init", "-q"])
        .current_dir(copy.path())
        .status()
        .unwrap();
    assert!(made.success());
    copy
}

/// The outcome of a session whose model answers with `fault`, and how often it was asked.
fn faulty(fault: Fault) -> (Outcome, Log) {
    let root = tempfile::tempdir().unwrap();
    session(root.path(), task("x", &fault.model()), &[HELLO])
}

fn one_turn(calls: &Value) -> String {
    json!({"name": "one", "turns": [{"tool_calls": calls}, {"text": "done"}]}).to_string()
}

#[test]
fn the_demonstrations_session_repairs_the_bug_and_breaks_out_nowhere() {
    let root = demo_repository();
    let (outcome, log) = session(
        root.path(),
        task("The tests fail.", "cassette-tee"),
        &[DEMO],
    );
    assert_eq!(
        (outcome.ended, outcome.code.as_str()),
        (Ended::Completed, "completed"),
        "{outcome:?}"
    );
    let refused: Vec<&str> = log
        .tools
        .iter()
        .filter(|(_, status)| *status == 403)
        .map(|(tool, _)| tool.as_str())
        .collect();
    assert_eq!(refused, ["read_file", "read_file"]);
    assert_eq!(log.tools.last().unwrap().0, "finish");
    assert_eq!(outcome.steps, u64::try_from(log.tools.len()).unwrap());
    let repaired = fs::read_to_string(root.path().join("ledger/split.py")).unwrap();
    assert!(repaired.contains("divmod(amount * weight, whole)"));
}

#[test]
fn an_answer_without_tool_calls_finishes_the_task() {
    let root = tempfile::tempdir().unwrap();
    let (outcome, log) = session(root.path(), task("x", "cassette-tee"), &[HELLO]);
    assert_eq!(outcome.ended, Ended::Completed);
    assert_eq!(log.tools, [("finish".to_owned(), 200)]);
}

#[test]
fn giving_up_is_not_completion() {
    let calls = json!([{"name": "finish", "arguments": {"summary": "no", "success": false}}]);
    let root = tempfile::tempdir().unwrap();
    let (outcome, _) = session(root.path(), task("x", "cassette-tee"), &[&one_turn(&calls)]);
    assert_eq!(
        (outcome.ended, outcome.code.as_str()),
        (Ended::GaveUp, "gave-up")
    );
    assert_eq!(outcome.ended.exit_status(), 1);
}

#[test]
fn an_unusable_answer_is_asked_for_again_and_then_a_protocol_error() {
    for (fault, code) in [
        (Fault::GarbageJson, "answer-not-json"),
        (Fault::InvalidUtf8, "answer-not-utf8"),
        (Fault::WrongShape, "answer-shape"),
        (Fault::BigArguments, "answer-over-limit"),
        (Fault::DieMidStream, "connection-broken"),
        (Fault::EndlessStream, "answer-too-large"),
    ] {
        let (outcome, log) = faulty(fault);
        assert_eq!(
            (outcome.ended, outcome.code.as_str(), log.model_calls),
            (Ended::Protocol, code, 4),
            "{fault:?}: {outcome:?}"
        );
        assert!(log.tools.is_empty());
    }
}

#[test]
fn a_failing_upstream_is_tried_four_times() {
    for fault in [Fault::TooManyRequests, Fault::ServerError] {
        let (outcome, log) = faulty(fault);
        assert_eq!((outcome.ended, log.model_calls), (Ended::GaveUp, 4));
        assert!(outcome.code.starts_with("cassette-"), "{}", outcome.code);
    }
}

#[test]
fn an_upstream_that_hangs_runs_into_the_time_limit() {
    let mut task = task("x", &Fault::Hang.model());
    task["limits"]["seconds"] = json!(1);
    let root = tempfile::tempdir().unwrap();
    let (outcome, log) = session(root.path(), task, &[HELLO]);
    assert_eq!((outcome.ended, log.model_calls), (Ended::Limit, 1));
    assert_eq!(outcome.code, "time-limit");
}

#[test]
fn a_model_that_only_makes_mistakes_is_stopped() {
    let (outcome, log) = faulty(Fault::UnknownTool);
    assert_eq!(
        (outcome.ended, outcome.code.as_str()),
        (Ended::GaveUp, "too-many-failures")
    );
    assert!(log.tools.is_empty());
}

#[test]
fn a_refusal_reaches_the_model_and_the_session_goes_on() {
    let calls = json!([{"name": "read_file", "arguments": {"path": "/etc/shadow"}}]);
    let cassette = json!({"name": "c", "turns": [
        {"tool_calls": calls}, {"expect": ["outside-workspace"], "text": "ok"}]});
    let root = tempfile::tempdir().unwrap();
    let (outcome, _) = session(
        root.path(),
        task("x", "cassette-tee"),
        &[&cassette.to_string()],
    );
    assert_eq!(outcome.ended, Ended::Completed, "{outcome:?}");
}

#[test]
fn the_end_of_the_session_ends_the_agent() {
    let calls = json!([{"name": "search", "arguments": {"pattern": "end the session"}}]);
    let root = tempfile::tempdir().unwrap();
    let (outcome, log) = session(root.path(), task("x", "cassette-tee"), &[&one_turn(&calls)]);
    assert_eq!(
        (outcome.ended, outcome.code.as_str(), log.model_calls),
        (Ended::Limit, "session-ended", 1)
    );
}

#[test]
fn another_course_than_the_recorded_one_ends_with_its_reason() {
    let cassette = json!({"name": "c", "turns": [{"expect": ["something else"]}]});
    let root = tempfile::tempdir().unwrap();
    let (outcome, log) = session(
        root.path(),
        task("x", "cassette-tee"),
        &[&cassette.to_string()],
    );
    assert_eq!(
        (outcome.ended, outcome.code.as_str(), log.model_calls),
        (Ended::GaveUp, "cassette-mismatch", 1)
    );
    assert!(outcome.message.contains("turn 0"), "{}", outcome.message);
}

#[test]
fn steps_and_tokens_are_limited() {
    let list = json!({"name": "list", "arguments": {"path": "."}});
    let text = one_turn(&json!([list, list, list]));
    let root = tempfile::tempdir().unwrap();
    let mut few = task("x", "cassette-tee");
    few["limits"]["steps"] = json!(2);
    let (outcome, log) = session(root.path(), few, &[&text]);
    assert_eq!(
        (outcome.ended, outcome.code.as_str()),
        (Ended::Limit, "step-limit")
    );
    assert_eq!((outcome.steps, log.tools.len()), (2, 2));
    let mut cheap = task("x", "cassette-tee");
    cheap["limits"]["tokens"] = json!(10);
    let (outcome, _) = session(root.path(), cheap, &[&text]);
    assert_eq!(
        (outcome.ended, outcome.code.as_str()),
        (Ended::Limit, "token-limit")
    );
}

#[test]
fn without_a_supervisor_or_a_task_nothing_starts() {
    let options = Options {
        socket: PathBuf::from("/nonexistent/agent.sock"),
        ..Options::default()
    };
    let outcome = local(run(&options, &mut |_| {}));
    assert_eq!(
        (outcome.ended, outcome.code.as_str()),
        (Ended::Protocol, "supervisor-unreachable")
    );
    let root = tempfile::tempdir().unwrap();
    let (outcome, _) = session(root.path(), json!({"task": 5}), &[HELLO]);
    assert_eq!(outcome.code, "task-shape");
    assert_eq!(outcome.ended.exit_status(), 3);
}
