//! A model behind an enclave of ours, as processes: client, standalone gateway, `proofroom-enclave` on a double of
//! configfs-tsm, and a server that plays recorded answers. Where FUSE cannot be mounted the tests say so and prove
//! nothing.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use ed25519_dalek::{Signature, VerifyingKey};
use proofroom_canonical::Digest;
use proofroom_e2e::{
    Deployment, Upstream, canary,
    gateway::{Answer, GatewayFiles, RunningGateway, predicate},
    program, repository_root, skip,
};
use proofroom_serving::ReceiptText;
use proofroom_testkit::{
    enclave,
    provider::MODEL,
    tee::SimulatedTee,
    tsm::{TsmDouble, TsmOptions, TsmProvider},
};
use serde_json::{Value, json};

use relay::{Passing, Relay};

#[path = "enclave/relay.rs"]
mod relay;

const SERVED: &str = "cassette-tee";

/// All of it but the gateway's process. The directory of the deployment holds every file.
struct Stage {
    enclave: Child,
    address: String,
    _machine: TsmDouble,
    _server: Upstream,
    deployment: Deployment,
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.enclave.kill());
        drop(self.enclave.wait());
    }
}

impl Stage {
    /// An enclave that is ready, and a deployment whose policy lists its weights, or others.
    fn set(listed: Option<Digest>) -> Option<Self> {
        let hello = repository_root().join("crates/testkit/cassettes/hello.json");
        let deployment = Deployment::with_cassette(&hello);
        let dir = deployment.path().join("enclave");
        fs::create_dir_all(dir.join("guest")).expect("directory");
        let options = TsmOptions {
            provider: TsmProvider::Tdx,
            ..TsmOptions::default()
        };
        let Ok(machine) = TsmDouble::mount(&dir.join("guest"), SimulatedTee::demo(), options)
        else {
            skip("enclave", "FUSE cannot be mounted here");
            return None;
        };
        let server = Upstream::start(&hello, &[]);
        configure(&dir, &server.address);
        let (child, address, weights) = start(&dir);
        let stage = Self {
            enclave: child,
            address: address.clone(),
            _machine: machine,
            _server: server,
            deployment,
        };
        stage.route(&address, listed.unwrap_or(weights));
        Some(stage)
    }

    /// The tier `tee` is the enclave, and the policy for it lists these weights.
    fn route(&self, address: &str, weights: Digest) {
        let policy = self.deployment.policy();
        let file = policy.join("upstreams.toml");
        let text = fs::read_to_string(&file).expect("upstreams");
        let old = text
            .lines()
            .find(|line| line.contains("\"https://"))
            .expect("an address");
        let text = text
            .replace(old, &format!("base_url = \"https://{address}\""))
            .replace(
                "{ kind = \"proofroom-upstream\", appraisal_policy = \"appraisal.toml\" }",
                "{ kind = \"proofroom-enclave\", provider_policy = \"enclave.toml\" }",
            );
        assert!(text.contains("proofroom-enclave"), "{text}");
        fs::write(file, text).expect("upstreams");
        let text = enclave::policy(weights, enclave::image()).replace(MODEL, SERVED)
            + "\n[[tolerate]]\ncheck = \"gpu\"\nreason = \"a machine without GPUs\"\n";
        fs::write(policy.join("enclave.toml"), text).expect("policy");
        for (name, text) in enclave::policies() {
            fs::write(policy.join(name), text).expect("policy");
        }
        let made = Command::new(program("proofroom-simulated-collateral"))
            .arg(self.deployment.path().join("collateral"))
            .status();
        assert!(made.expect("runs").success());
    }

    /// Once its connections have ended nothing of a prompt is in the enclave's memory either: what is freed is
    /// overwritten.
    fn forgets(&self, secret: &str) {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let seen = canary::scan_memory(&[secret], &[self.enclave.id()]);
            if seen["searched"].as_array().is_none_or(Vec::is_empty) {
                // the process is not dumpable: only root may look
                return skip("memory", "this user may not read the enclave's memory");
            }
            if seen["found"].as_array().is_some_and(Vec::is_empty) {
                return;
            }
            assert!(Instant::now() < until, "{seen}");
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// The document that a record cites, appraised by itself: everything but what an archive cannot show.
    fn appraise_what_was_accepted(&self, gateway: &RunningGateway, key: &str, run: &Value) {
        let digest = run["upstream"]["assurance"]["evidence"]
            .as_str()
            .expect("a digest");
        let document = gateway.ask("GET", &format!("/v1/evidence/{digest}"), key, "");
        assert_eq!(Digest::of(&document.body).to_string(), digest);
        let file = self.deployment.path().join("evidence.json");
        fs::write(&file, &document.body).expect("written");
        let (code, checks) = appraise(
            &self.deployment.policy().join("enclave.toml"),
            &[file.as_os_str()],
        );
        assert_eq!(code, Some(11), "{checks:?}");
        let not_passed: Vec<_> = checks
            .iter()
            .filter(|check| check["outcome"] != "pass")
            .map(|check| (check["check"].as_str(), check["code"].as_str()))
            .collect();
        let expected = [
            (Some("provider: tls-key"), Some("archive-audit")),
            (Some("model-0: nonce"), Some("archive-audit")),
            (Some("model-0: gpu"), Some("gpu-not-supplied")),
        ];
        assert_eq!(not_passed, expected);
        let url = format!("https://{}", self.address);
        let collateral = self.deployment.path().join("collateral");
        let asked = [
            "--url".as_ref(),
            url.as_ref(),
            "--collateral".as_ref(),
            collateral.as_os_str(),
        ];
        let (code, checks) = appraise(&self.deployment.policy().join("enclave.toml"), &asked);
        assert_eq!(code, Some(0), "{checks:?}");
        assert_eq!(
            checks
                .iter()
                .filter(|check| check["outcome"] == "pass")
                .count(),
            9
        );
        let (code, _) = appraise(&self.deployment.policy().join("enclave.toml"), &asked[..2]);
        assert_eq!(code, Some(11), "without collateral");
        let other = enclave::policy(Digest::of("other"), enclave::image()).replace(MODEL, SERVED);
        let other_policy = self.deployment.policy().join("other.toml");
        fs::write(&other_policy, other).expect("written");
        assert_eq!(appraise(&other_policy, &[file.as_os_str()]).0, Some(10));
        let unknown = format!("/v1/evidence/{}", Digest::of("unknown"));
        let unknown = gateway.ask("GET", &unknown, key, "");
        assert_eq!(
            (unknown.status, unknown.code().as_str()),
            (404, "no-such-evidence")
        );
    }

    /// A relay that ends TLS before the enclave, and a policy that has requests sealed.
    fn behind_relay(&self) -> Relay {
        let relay = Relay::before(&self.address);
        let change = |name: &str, from: &str, to: &str| {
            let file = self.deployment.policy().join(name);
            let text = fs::read_to_string(&file).expect("readable");
            assert!(text.contains(from), "{text}");
            fs::write(file, text.replace(from, to)).expect("written");
        };
        change("upstreams.toml", &self.address, &relay.address);
        let tolerate =
            "[[tolerate]]\ncheck = \"tls-key\"\nreason = \"a relay ends TLS\"\n\n[serving]\n";
        let sealed = format!("{tolerate}encryption = \"required\"\n");
        change("enclave.toml", "[serving]\n", &sealed);
        relay
    }

    fn gateway(&self) -> (RunningGateway, String) {
        let files = GatewayFiles::new(&self.deployment, "collateral = \"../collateral\"");
        let key = files.key(&[]);
        (files.start(), key)
    }
}

/// Exit code and checks of `proofroom appraise`.
fn appraise(policy: &Path, evidence: &[&OsStr]) -> (Option<i32>, Vec<Value>) {
    let words = ["appraise", "--json", "--policy"];
    let mut command = Command::new(program("proofroom"));
    let done = command.args(words).arg(policy).args(evidence).output();
    let done = done.expect("proofroom starts");
    let report: Value = serde_json::from_slice(&done.stdout).unwrap_or_default();
    let checks = report["report"]["checks"].as_array().cloned();
    (done.status.code(), checks.unwrap_or_default())
}

fn configure(dir: &Path, server: &str) {
    fs::create_dir_all(dir.join("weights")).expect("directory");
    fs::write(dir.join("weights/model.safetensors"), "tensors").expect("weights");
    let text = format!(
        "listen = \"127.0.0.1:0\"\nserver = \"{server}\"\nmodel = \"{SERVED}\"\nimage = \"{}\"\n\
         statement_seconds = 300\nswap = \"tolerated\"\nreports = \"guest/report\"\n[weights]\ndirectory = \"weights\"\n",
        enclave::image()
    );
    fs::write(dir.join("enclave.toml"), text).expect("configuration");
}

/// The process, where it listens, and the digest of its weights.
fn start(dir: &Path) -> (Child, String, Digest) {
    let mut child = Command::new(program("proofroom-enclave"))
        .args(["serve", "enclave.toml"])
        .current_dir(dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("proofroom-enclave starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut said = || -> Value {
        let line = lines.next().expect("a line").expect("readable");
        serde_json::from_str(&line).expect("JSON")
    };
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let address = text(&said()["listening"]);
    let weights = text(&said()["weights"]).parse().expect("a digest");
    (child, address, weights)
}

fn body(prompt: &str, stream: bool) -> String {
    let messages = json!([{"role": "user", "content": prompt}]);
    json!({"model": SERVED, "stream": stream, "max_tokens": 50, "messages": messages}).to_string()
}

fn record(gateway: &RunningGateway, key: &str, answer: &Answer) -> Value {
    let path = format!("/v1/records/{}", answer.headers["x-proofroom-run"]);
    let record = gateway.ask("GET", &path, key, "").json();
    assert!(
        record["receipt"]
            .as_str()
            .expect("text")
            .starts_with("c2sp.org/tlog-proof@v1\n")
    );
    let envelope = record["record"].as_str().expect("text");
    predicate(&serde_json::from_str(envelope).expect("JSON"))
}

/// What anybody can check who has the record, the request and the answer.
fn check_receipt(run: &Value, request: &str, answer: &[u8]) {
    let receipt = &run["response"]["receipt"];
    let text = receipt["text"].as_str().expect("text");
    let bytes = |member: &str| -> Vec<u8> {
        let hex = receipt[member].as_str().expect("text");
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex"))
            .collect()
    };
    let key = VerifyingKey::try_from(&bytes("key")[..]).expect("a key");
    let signature = Signature::from_slice(&bytes("signature")).expect("a signature");
    key.verify_strict(text.as_bytes(), &signature)
        .expect("signed");
    let said = ReceiptText::parse(text.as_bytes()).expect("a receipt");
    assert_eq!(said.model, SERVED);
    assert_eq!(said.request_sha256, Digest::of(request));
    assert_eq!(
        (said.answer_sha256, said.answer_bytes),
        (Digest::of(answer), answer.len() as u64)
    );
}

/// Every file below, but the machine's.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("enclave/guest") {
            files(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

#[test]
fn a_model_behind_an_enclave_answers_whole_and_in_streams_with_receipts_and_nothing_is_on_disk() {
    let Some(stage) = Stage::set(None) else {
        return;
    };
    let (gateway, key) = stage.gateway();
    let secret = canary::random();
    for stream in [false, true] {
        let body = body(&format!("Please greet {secret}"), stream);
        let answer = gateway.ask("POST", "/v1/chat/completions", &key, &body);
        assert_eq!((answer.status, answer.whole), (200, true), "{answer:?}");
        assert_eq!(answer.headers["x-proofroom-tier"], "tee");
        assert_eq!(answer.headers["x-proofroom-status"], "complete");
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(text.contains("data: [DONE]"), stream, "{text}");
        let run = record(&gateway, &key, &answer);
        check_receipt(&run, &body, &answer.body);
        let provider = &run["upstream"]["assurance"]["provider"];
        assert_eq!(provider["format"], "proofroom-enclave");
        let outcomes: Vec<_> = provider["checks"]
            .as_array()
            .expect("checks")
            .iter()
            .collect();
        let outcome = |name: &str| {
            let check = outcomes.iter().find(|check| check["check"] == name);
            check.expect("made")["outcome"]
                .as_str()
                .expect("text")
                .to_owned()
        };
        for name in [
            "provider: tls-key",
            "model-0: quote",
            "model-0: weights",
            "model-0: image",
        ] {
            assert_eq!(outcome(name), "pass");
        }
        assert_eq!(outcome("model-0: gpu"), "not-evaluated");
    }
    let messages = gateway.ask("POST", "/v1/messages", &key, &body("Say hello", false));
    assert_eq!(messages.status, 200, "{messages:?}");
    let run = record(&gateway, &key, &messages);
    check_receipt(&run, &body("Say hello", false), &messages.body);
    stage.appraise_what_was_accepted(&gateway, &key, &run);
    assert!(gateway.stop().success());
    stage.forgets(&secret);
    let mut found = Vec::new();
    files(stage.deployment.path(), &mut found);
    assert!(found.len() > 10);
    for file in found {
        let bytes = fs::read(&file).expect("readable");
        let held = bytes
            .windows(secret.len())
            .any(|window| window == secret.as_bytes());
        assert!(!held, "{}", file.display());
    }
}

#[test]
fn weights_that_the_policy_does_not_list_get_no_prompt() {
    let Some(stage) = Stage::set(Some(Digest::of("what was reviewed"))) else {
        return;
    };
    let (gateway, key) = stage.gateway();
    let answer = gateway.ask(
        "POST",
        "/v1/chat/completions",
        &key,
        &body("Say hello", false),
    );
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "weights-not-allowed")
    );
}

/// How a run that streams ended: status, and the code of its failure.
fn streamed(gateway: &RunningGateway, key: &str, prompt: &str) -> (String, Option<String>) {
    let answer = gateway.ask("POST", "/v1/chat/completions", key, &body(prompt, true));
    let run = record(gateway, key, &answer);
    let failure = run["failure"]["code"].as_str().map(str::to_owned);
    let status = run["status"].as_str().expect("text").to_owned();
    let said_so = String::from_utf8_lossy(&answer.body).contains("data: [DONE]");
    assert_eq!(said_so, status == "complete", "{answer:?}");
    assert_eq!(!run["response"]["receipt"].is_null(), said_so, "{run}");
    (status, failure)
}

#[test]
fn a_relay_that_ends_tls_sees_nothing_of_a_sealed_run_and_the_record_names_the_key() {
    let Some(stage) = Stage::set(None) else {
        return;
    };
    let relay = stage.behind_relay();
    let (gateway, key) = stage.gateway();
    let secret = canary::random();
    for stream in [false, true] {
        let body = body(&format!("Please greet {secret}"), stream);
        let answer = gateway.ask("POST", "/v1/chat/completions", &key, &body);
        assert_eq!((answer.status, answer.whole), (200, true), "{answer:?}");
        assert_eq!(answer.headers["x-proofroom-status"], "complete");
        let run = record(&gateway, &key, &answer);
        check_receipt(&run, &body, &answer.body);
        let checks = &run["upstream"]["assurance"]["provider"]["checks"];
        let check = |name: &str| {
            let mut all = checks.as_array().expect("checks").iter();
            let found = all.find(|check| check["check"] == name);
            let found = found.expect(name).clone();
            let text = |member: &str| found[member].as_str().map(str::to_owned);
            (text("outcome").expect("text"), text("code"))
        };
        assert_eq!(
            check("provider: tls-key"),
            (
                "not-evaluated".to_owned(),
                Some("tls-key-relayed".to_owned())
            )
        );
        assert_eq!(check("model-0: sealing-key"), ("pass".to_owned(), None));
        let (outcome, sealed_to) = check("request: sealed");
        let sealed_to = sealed_to.expect("a digest");
        assert_eq!(outcome, "pass");
        let seen = relay.seen.lock().expect("no panic");
        let holds = |text: &str| {
            let mut windows = seen.bytes.windows(text.len());
            windows.any(|window| window == text.as_bytes())
        };
        // it did see the runs, and to which key they are sealed
        assert!(holds("message/ohttp-chunked-req") && holds("message/ohttp-chunked-res"));
        assert!(holds(&sealed_to));
        let receipt = run["response"]["receipt"]["text"].as_str().expect("text");
        let digest = Digest::of(&body).to_hex();
        assert!(receipt.contains(&digest));
        let said = String::from_utf8_lossy(&answer.body);
        let said = said.get(..40).expect("an answer");
        for hidden in [
            secret.as_str(),
            said,
            digest.as_str(),
            "chat/completions",
            "application/json\r\naccept",
            "authorization",
            "proofroom-receipt",
        ] {
            assert!(!holds(hidden), "{hidden}");
        }
    }
    assert!(gateway.stop().success());
}

#[test]
fn whatever_a_relay_does_to_a_sealed_answer_has_its_code_and_is_never_complete() {
    let Some(stage) = Stage::set(None) else {
        return;
    };
    let relay = stage.behind_relay();
    let (gateway, key) = stage.gateway();
    let good = ("complete".to_owned(), None);
    assert_eq!(streamed(&gateway, &key, "Say hello"), good);
    let earlier = relay.seen.lock().expect("no panic").answers[0].clone();
    type Deed = Box<dyn FnOnce(&mut Passing) + Send>;
    let deeds: [(&str, Deed); 11] = [
        ("sealed-cut", Box::new(|answer| drop(answer.parts.pop()))),
        ("sealed-cut", Box::new(|answer| answer.parts.truncate(2))),
        ("sealed-cut", Box::new(|answer| answer.parts.clear())),
        (
            "sealed-chunk-refused",
            Box::new(|answer| drop(answer.parts.remove(2))),
        ),
        (
            "sealed-chunk-refused",
            Box::new(|answer| answer.parts.swap(2, 3)),
        ),
        (
            "sealed-chunk-refused",
            Box::new(|answer| answer.parts.insert(2, answer.parts[2].clone())),
        ),
        (
            "sealed-chunk-refused",
            Box::new(|answer| answer.parts.push(vec![0; 17])),
        ),
        (
            "sealed-chunk-refused",
            Box::new(|answer| *answer.parts[2].last_mut().expect("a byte") ^= 1),
        ),
        (
            "sealed-chunk-refused",
            Box::new(move |answer| answer.parts = vec![earlier]),
        ),
        (
            "sealed-chunk-too-large",
            Box::new(|answer| {
                answer.parts.truncate(2);
                answer.parts.push(vec![0x80, 0x00, 0x40, 0x11]);
            }),
        ),
        (
            "answer-not-sealed",
            Box::new(|answer| {
                "text/event-stream".clone_into(&mut answer.kind);
                answer.parts = vec![b"data: [DONE]\n\n".to_vec()];
            }),
        ),
    ];
    for (code, deed) in deeds {
        relay.next(deed);
        let expected = ("upstream-error".to_owned(), Some(code.to_owned()));
        assert_eq!(streamed(&gateway, &key, "Say hello"), expected);
        assert_eq!(streamed(&gateway, &key, "Say hello"), good, "after {code}");
    }
    // an enclave with another key is asked for evidence before anything more is sent
    relay.next(|answer| "421".clone_into(&mut answer.status));
    let gone = |status: &str| (status.to_owned(), Some("sealed-key-unknown".to_owned()));
    assert_eq!(
        streamed(&gateway, &key, "Say hello"),
        gone("upstream-error")
    );
    assert_eq!(streamed(&gateway, &key, "Say hello"), gone("refused"));
    std::thread::sleep(Duration::from_millis(2_100));
    assert_eq!(streamed(&gateway, &key, "Say hello"), good);
    assert!(gateway.stop().success());
}
