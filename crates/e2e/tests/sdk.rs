//! Real third-party clients in a room: the official OpenAI and Anthropic SDKs, and a coding agent on
//! one of them. What they saw and what the records say must be the same.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use proofroom_e2e::{Bundle, Deployment, git, python, repository_root, skip};
use serde_json::{Value, json};

fn cassette(name: &str) -> PathBuf {
    repository_root()
        .join("crates/testkit/cassettes")
        .join(name)
}

fn client(name: &str) -> String {
    let path = repository_root().join("crates/e2e/tests/sdk").join(name);
    fs::read_to_string(path).expect("the client")
}

/// The Python of the third-party packages, with the directories that a room must show for it.
struct Interpreter {
    program: PathBuf,
    directories: Vec<PathBuf>,
}

impl Interpreter {
    fn find(test: &str) -> Option<Self> {
        let Some(program) = python() else {
            skip(test, "PROOFROOM_PYTHON names no Python with the SDKs");
            return None;
        };
        let script = "import sys, openai, anthropic; print(sys.prefix); print(sys.base_prefix)";
        let asked = Command::new(&program).args(["-c", script]).output();
        let asked = asked.expect("python starts");
        assert!(asked.status.success(), "{asked:?}");
        let directories = String::from_utf8_lossy(&asked.stdout)
            .lines()
            .map(|line| fs::canonicalize(line).expect("its directory"))
            // what every room shows anyway
            .filter(|path| !path.starts_with("/usr"))
            .collect();
        Some(Self {
            program,
            directories,
        })
    }

    fn show_in(&self, deployment: &Deployment) {
        let room = deployment.policy().join("room.toml");
        let text = fs::read_to_string(&room).expect("room.toml");
        let changed = text.replace("extra = []", &format!("extra = {:?}", self.directories));
        assert_ne!(text, changed, "room.toml has no `extra = []`");
        fs::write(&room, changed).expect("room.toml");
    }
}

fn deployment(cassettes: &[&str], interpreter: &Interpreter) -> Deployment {
    let cassettes: Vec<PathBuf> = cassettes.iter().map(|name| cassette(name)).collect();
    let deployment = Deployment::with_cassettes(&cassettes);
    interpreter.show_in(&deployment);
    deployment
}

/// A file of the delivered branch.
fn delivered(repository: &Path, bundle: &Bundle, file: &str) -> String {
    let record = bundle.session_record();
    let reference = record["predicate"]["result"]["reference"].as_str();
    let reference = reference.unwrap_or_else(|| panic!("nothing was delivered: {bundle:?}"));
    git(repository, &["show", &format!("{reference}:{file}")])
}

/// What a record says, in the words of the clients.
fn as_seen(record: &Value) -> Value {
    let response = &record["response"];
    // what the gateway answers in its own voice is not an upstream's response
    let status = response["http_status"].as_u64().or_else(|| {
        let refused = match record["failure"]["code"].as_str() {
            Some("model-not-served") => 404,
            Some("label-requires-tier") => 403,
            _ => return None,
        };
        Some(refused)
    });
    json!({
        "run": record["run"],
        "label": record["classification"]["high_water_after"],
        "tier": record["routing"]["tier"],
        "endpoint": record["request"]["endpoint"],
        "stream": record["request"]["stream"],
        "http_status": status,
    })
}

fn sdk_session(test: &str, script: &str) {
    let Some(interpreter) = Interpreter::find(test) else {
        return;
    };
    let deployment = deployment(&["sdk.json", "hello.json"], &interpreter);
    let text = client(script);
    let repository = deployment.repository("client", &[("client.py", &text)]);
    let program = interpreter.program.to_str().expect("UTF-8");
    let session = deployment.session(&repository);
    let bundle = session.command(&[program, "/workspace/client.py"]).run();
    assert_eq!(bundle.code, Some(0), "{bundle:#?}");
    bundle.assert_accepted();
    let seen: Value = serde_json::from_str(&delivered(&repository, &bundle, "seen.json")).unwrap();
    let seen = seen["runs"].as_array().expect("runs");
    let records = bundle.model_runs();
    assert_eq!(seen.len(), records.len(), "as many records as runs");
    for one in seen {
        let record = records.iter().find(|record| record["run"] == one["run"]);
        let record = record.unwrap_or_else(|| panic!("no record of {one}"));
        let mut without_tokens = one.clone();
        let tokens = without_tokens.as_object_mut().unwrap().remove("tokens");
        assert_eq!(as_seen(record), without_tokens, "{record:#}");
        let tokens = tokens.filter(|tokens| !tokens.is_null());
        if let Some(tokens) = tokens {
            assert_eq!(record["response"]["tokens"], tokens, "{record:#}");
        }
        let source = &record["upstream"]["source"];
        assert!(source.is_null() || source == "cassette", "{record:#}");
    }
    let refused = |code: &str| {
        let of_code = records.iter().filter(|run| run["failure"]["code"] == code);
        of_code.filter(|run| run["status"] == "refused").count()
    };
    assert_eq!(refused("label-requires-tier"), 2);
    assert_eq!(refused("model-not-served"), 1);
}

#[test]
fn the_openai_sdk_sees_what_the_records_say() {
    sdk_session(
        "the_openai_sdk_sees_what_the_records_say",
        "openai_client.py",
    );
}

#[test]
fn the_anthropic_sdk_sees_what_the_records_say() {
    sdk_session(
        "the_anthropic_sdk_sees_what_the_records_say",
        "anthropic_client.py",
    );
}

#[test]
fn an_agent_on_an_sdk_does_the_demos_work_and_delivers_a_branch() {
    let test = "an_agent_on_an_sdk_does_the_demos_work_and_delivers_a_branch";
    let Some(interpreter) = Interpreter::find(test) else {
        return;
    };
    let deployment = deployment(&["repair.json"], &interpreter);
    let repository = deployment.demo_repository();
    fs::write(repository.join("agent.py"), client("agent.py")).expect("the agent");
    git(&repository, &["add", "agent.py"]);
    git(&repository, &["commit", "-q", "-m", "Bring an agent"]);
    let program = interpreter.program.to_str().expect("UTF-8");
    let argv = [program, "agent.py", "Repair what the tests say is broken."];
    let bundle = deployment.session(&repository).command(&argv).run();
    assert_eq!(bundle.code, Some(0), "{bundle:#?}");
    bundle.assert_accepted();
    let repaired = delivered(&repository, &bundle, "ledger/split.py");
    assert!(repaired.contains("amount = abs(total.cents)"), "{repaired}");
    let record = bundle.session_record();
    let reference = record["predicate"]["result"]["reference"].as_str().unwrap();
    let author = git(&repository, &["log", "-1", "--format=%an: %s", reference]);
    assert_eq!(author, "Guest: Split negative amounts as their opposite");
    let runs = bundle.model_runs();
    assert_eq!(runs.len(), 6);
    for run in &runs {
        assert_eq!(run["status"], "complete", "{run:#}");
        assert_eq!(run["routing"]["tier"], "standard", "{run:#}");
    }
    // nothing that this agent did by itself was mediated, and still all of it was seen
    let started = |what: &str| {
        bundle.events().iter().any(|event| {
            let observation = &event["body"]["observation"];
            observation["kind"] == "process-started"
                && observation["argv"].to_string().contains(what)
        })
    };
    assert!(started("unittest"), "the tests' process is an event");
    assert!(started("commit"), "the commit's process is an event");
    let checked = deployment.path().join("checked-out");
    let to = checked.to_str().unwrap();
    git(
        &repository,
        &["worktree", "add", "-q", "--detach", to, reference],
    );
    let tests = Command::new("python3")
        .args(["-B", "-m", "unittest", "discover", "-s", "tests", "-t", "."])
        .current_dir(&checked)
        .output()
        .expect("python3 starts");
    assert!(tests.status.success(), "{tests:?}");
}
