//! The standalone gateway as a process: keys, limits, records and receipts, stops and kills.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use proofroom_e2e::{
    Deployment,
    gateway::{GatewayFiles, chat_body, predicate, read_answer, record_lines},
    repository_root,
};
use serde_json::Value;

/// Of a real issuer's range, with the right check digit, and nobody's.
const CARD: &str = "The card is 4485 2757 4230 8327, keep it.";

fn hello() -> PathBuf {
    repository_root().join("crates/testkit/cassettes/hello.json")
}

fn one() -> (Deployment, GatewayFiles) {
    let deployment = Deployment::with_cassette(&hello());
    let files = GatewayFiles::new(&deployment, "");
    (deployment, files)
}

#[test]
fn a_run_has_a_record_that_its_key_alone_can_fetch_with_its_receipt() {
    let (_deployment, files) = one();
    let key = files.key(&[]);
    let other = files.key(&[]);
    let gateway = files.start();
    let answer = gateway.chat(&key, "Say hello");
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = &answer.json()["choices"][0]["message"]["content"];
    assert!(text.as_str().is_some_and(|text| text.contains("Hello")));
    assert_eq!(answer.headers["x-proofroom-status"], "complete");
    for id in ["x-proofroom-run", "x-proofroom-record"] {
        let path = format!("/v1/records/{}", answer.headers[id]);
        let record = gateway.ask("GET", &path, &key, "");
        assert_eq!(record.status, 200, "{record:?}");
        let record = record.json();
        assert_eq!(record["digest"], answer.headers["x-proofroom-record"]);
        let receipt = record["receipt"].as_str().expect("text");
        assert!(receipt.starts_with("c2sp.org/tlog-proof@v1\n"), "{receipt}");
        let envelope = record["record"].as_str().expect("text");
        let run = predicate(&serde_json::from_str(envelope).expect("JSON"));
        assert_eq!(run["client"]["user"], "ada");
        assert_eq!(run["client"]["team"], "core");
        assert!(key.contains(run["client"]["key"].as_str().expect("an id")));
        assert!(!envelope.contains(&key[21..]), "the record holds the key");
        let refused = gateway.ask("GET", &path, &other, "");
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (404, "no-such-record")
        );
    }
    assert!(gateway.stop().success());
    assert_eq!(files.runs().len(), 1);
    let accounts = files.records("gateway-account");
    assert_eq!(accounts.len(), 1, "the other key began no session");
    assert_eq!(accounts[0]["occasion"], "stopped");
    assert_eq!(accounts[0]["by_tier"]["standard"], 1);
}

#[test]
fn without_a_key_nothing_is_served_and_each_client_gets_its_own_error() {
    let (_deployment, files) = one();
    let key = files.key(&[]);
    let gateway = files.start();
    for path in ["/v1/chat/completions", "/v1/models", "/v1/records/x"] {
        let refused = gateway.ask("POST", path, "sk-guess", "{}");
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (401, "key-unknown")
        );
        assert_eq!(refused.json()["error"]["type"], "authentication_error");
    }
    let anthropic = gateway.ask("POST", "/v1/messages", "sk-guess", "{}");
    assert_eq!(anthropic.json()["type"], "error");
    assert_eq!(gateway.ask("GET", "/v1/models", &key, "").status, 200);
    let id = key.split('_').nth(1).expect("an id");
    assert!(files.key_command(&["list"]).contains(id));
    let said = files.key_command(&["revoke", id]);
    assert_eq!(said, format!("revoked {id}"));
    let refused = gateway.chat(&key, "Say hello");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (401, "key-revoked")
    );
    let metrics = gateway.operations("/metrics");
    let text = String::from_utf8(metrics.body).expect("text");
    let counted = "proofroom_gateway_unauthenticated_total{code=\"key-unknown\"} 4";
    assert!(text.contains(counted), "{text}");
    assert_eq!(gateway.operations("/healthz").body, b"alive\n");
    assert_eq!(gateway.operations("/readyz").body, b"ready\n");
    drop(gateway);
    let run_lines = record_lines(&files.state());
    assert!(run_lines.iter().all(|(kind, ..)| kind != "model-run"));
}

#[test]
fn scopes_and_limits_refuse_in_the_clients_format_and_each_refusal_is_a_record() {
    let (_deployment, files) = one();
    let scoped = files.key(&["--model", "other-*"]);
    let slow = files.key(&["--requests-per-minute", "1"]);
    let poor = files.key(&["--budget", "day:tokens=1"]);
    let tee = files.key(&["--tier", "tee"]);
    let paid = files.key(&["--budget", "month:micros=5"]);
    let gateway = files.start();
    let refused = gateway.chat(&scoped, "Say hello");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (403, "key-scope-model")
    );
    assert_eq!(refused.headers["x-proofroom-status"], "refused");
    assert_eq!(gateway.chat(&slow, "Say hello").status, 200);
    let refused = gateway.chat(&slow, "Say hello");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (429, "rate-requests")
    );
    let wait: u64 = refused.headers["retry-after"].parse().expect("seconds");
    assert!((50..=60).contains(&wait), "{wait}");
    let message = "{\"model\":\"cassette-standard\",\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}";
    let refused = gateway.ask("POST", "/v1/messages", &slow, message);
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
    let refused = gateway.chat(&poor, "Say hello");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (403, "budget-tokens")
    );
    let refused = gateway.chat(&tee, "Say hello");
    assert_eq!(
        refused.status, 404,
        "no upstream of its tiers serves the model: {refused:?}"
    );
    let refused = gateway.chat(&paid, "Say hello");
    assert_eq!(
        refused.status, 404,
        "nobody knows what the model costs: {refused:?}"
    );
    assert!(gateway.stop().success());
    let codes: Vec<String> = files
        .runs()
        .iter()
        .map(|run| run["failure"]["code"].as_str().unwrap_or("none").to_owned())
        .collect();
    let expected = [
        "key-scope-model",
        "none",
        "rate-requests",
        "rate-requests",
        "budget-tokens",
        "model-not-served",
        "model-not-served",
    ];
    assert_eq!(codes, expected);
    let rejected: Vec<String> = files.runs()[5..]
        .iter()
        .flat_map(|run| {
            run["routing"]["rejected"]
                .as_array()
                .cloned()
                .unwrap_or_default()
        })
        .map(|rejected| rejected["code"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert!(
        rejected.contains(&"key-scope-tier".to_owned()),
        "{rejected:?}"
    );
    assert!(
        rejected.contains(&"price-unknown".to_owned()),
        "{rejected:?}"
    );
}

#[test]
fn a_mark_and_a_budget_outlive_a_kill_and_a_session_goes_on() {
    let (_deployment, files) = one();
    let key = files.key(&["--budget", "day:tokens=100000"]);
    let gateway = files.start();
    let marked = gateway.chat(&key, CARD);
    let label = marked.headers["x-proofroom-label"].clone();
    assert_eq!(label, "restricted");
    let first = gateway.chat(&key, "Say hello");
    assert_eq!(first.headers["x-proofroom-label"], label);
    gateway.kill();
    let gateway = files.start();
    let after = gateway.chat(&key, "Say hello");
    assert_eq!(after.headers["x-proofroom-label"], label, "the mark fell");
    assert_eq!(after.headers["x-proofroom-sequence"], "2");
    assert!(gateway.stop().success());
    let runs = files.runs();
    let sessions: std::collections::BTreeSet<_> =
        runs.iter().map(|run| run["session"].to_string()).collect();
    assert_eq!((runs.len(), sessions.len()), (3, 1));
    let accounts = files.records("gateway-account");
    let occasions: Vec<_> = accounts
        .iter()
        .map(|account| &account["occasion"])
        .collect();
    assert_eq!(occasions, ["recovered", "stopped"]);
    assert_eq!(accounts[1]["runs"], 3);
    assert_eq!(accounts[1]["missing"], Value::Array(Vec::new()));
}

#[test]
fn what_a_stranger_can_stretch_has_an_end() {
    let (_deployment, files) = one();
    files.configure("[caps]\nheader_seconds = 1\nbody_stall_seconds = 1\nidle_seconds = 1\n");
    let key = files.key(&[]);
    let gateway = files.start();
    let ends = |mut stream: TcpStream, within: u64| {
        let since = Instant::now();
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest));
        let took = since.elapsed();
        assert!(took < Duration::from_secs(within), "{took:?}");
        String::from_utf8_lossy(&rest).into_owned()
    };
    let connect = || {
        let stream = TcpStream::connect(&gateway.address).expect("a connection");
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience).expect("a timeout");
        stream
    };
    // headers that do not come, and such as drip
    assert_eq!(ends(connect(), 10), "");
    // what may yet be the beginning of either version of HTTP
    let mut undecided = connect();
    undecided.write_all(b"P").expect("written");
    assert_eq!(ends(undecided, 10), "");
    let mut drip = connect();
    drip.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\n")
        .expect("written");
    assert!(!ends(drip, 10).contains("200 OK"));
    // a megabyte of headers
    let mut large = connect();
    drop(
        large.write_all(format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(1 << 20)).as_bytes()),
    );
    assert!(!ends(large, 10).contains("200 OK"));
    // a body that stops arriving is a run, recorded as broken off
    let mut slow = connect();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {key}\r\n\
         content-length: 100\r\n\r\n{{"
    );
    slow.write_all(head.as_bytes()).expect("written");
    assert!(ends(slow, 10).contains("request-broken-off"));
    // two lengths, and a length beside chunks
    for smuggled in [
        "content-length: 2\r\ncontent-length: 3\r\n",
        "content-length: 2\r\ntransfer-encoding: chunked\r\n",
    ] {
        let mut stream = connect();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {key}\r\n{smuggled}\r\n{{}}"
        );
        stream.write_all(head.as_bytes()).expect("written");
        assert!(!ends(stream, 10).contains("200 OK"));
    }
    assert_eq!(
        gateway.chat(&key, "Say hello").status,
        200,
        "it still serves"
    );
    assert!(gateway.stop().success());
    let broken = files.runs();
    assert!(
        broken.iter().any(|run| run["status"] == "cancelled"),
        "{broken:?}"
    );
}

#[test]
fn both_versions_of_http_are_known_by_their_beginning_however_it_arrives() {
    let (_deployment, files) = one();
    let gateway = files.start();
    let answer = |pieces: &[&[u8]]| {
        let mut stream = TcpStream::connect(&gateway.address).expect("a connection");
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience).expect("a timeout");
        stream.set_nodelay(true).expect("at once");
        for piece in pieces {
            stream.write_all(piece).expect("written");
            std::thread::sleep(Duration::from_millis(50));
        }
        let mut head = [0; 9];
        stream.read_exact(&mut head).expect("an answer");
        head
    };
    // a frame of settings, without any: RFC 9113 section 6.5
    let settings: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let rest: &[u8] = b"RI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for pieces in [
        vec![b"P", rest, settings],
        vec![&[b"P", rest, settings].concat()],
    ] {
        let [_, _, _, kind, ..] = answer(&pieces);
        assert_eq!(kind, 4, "its settings");
    }
    let request: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: g\r\n\r\n";
    let (first, others) = request.split_at(1);
    assert_eq!(&answer(&[request]), b"HTTP/1.1 ");
    assert_eq!(&answer(&[first, others]), b"HTTP/1.1 ");
    assert_eq!(
        &answer(&[b"PUT", b" / HTTP/1.1\r\nhost: g\r\n\r\n"]),
        b"HTTP/1.1 "
    );
    assert_eq!(
        &answer(&[b"P", b"OST / HTTP/1.1\r\nhost: g\r\n\r\n"]),
        b"HTTP/1.1 "
    );
}

#[test]
fn a_stop_ends_with_every_run_recorded_and_a_stream_begun_before_comes_to_its_end() {
    let (_deployment, files) = one();
    let key = files.key(&[]);
    let gateway = files.start();
    let body = chat_body("Say hello", true);
    let mut streams: Vec<TcpStream> = (0..8)
        .map(|_| gateway.send("POST", "/v1/chat/completions", &key, &body))
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    assert!(gateway.stop().success());
    let whole = streams.iter_mut().map(read_answer).filter(|answer| {
        answer.status == 200 && answer.whole && answer.headers.contains_key("x-proofroom-record")
    });
    let whole = whole.count();
    let runs = files.runs();
    assert_eq!(
        runs.len(),
        whole,
        "what a client saw end has a record, and nothing else ran"
    );
    assert_eq!(files.records("gateway-account")[0]["recorded"], whole);
}

/// A cassette whose one answer is `text`, for any number of turns.
fn saying(deployment_dir: &std::path::Path, text: &str) -> PathBuf {
    let path = deployment_dir.join("cassette.json");
    let cassette = serde_json::json!({"name": "canary", "turns": [{"text": text}]});
    std::fs::write(&path, cassette.to_string()).expect("cassette");
    path
}

#[test]
fn a_canary_is_in_no_file_after_success_error_cancel_and_kill() {
    let inputs = tempfile::tempdir().expect("directory");
    let canary = proofroom_e2e::canary::random();
    let answer = format!("I heard {canary} and say so.");
    let deployment = Deployment::with_cassette(&saying(inputs.path(), &answer));
    let files = GatewayFiles::new(&deployment, "");
    let key = files.key(&[]);
    let gateway = files.start();
    let prompt = format!("Please greet {canary}.");
    let done = gateway.chat(&key, &prompt);
    assert!(
        String::from_utf8_lossy(&done.body).contains(&canary),
        "{done:?}"
    );
    // refused: unreadable, unknown model, unknown key, a header that is forwarded
    let broken = format!("{{\"model\": \"m\", \"messages\": \"{canary}");
    assert_eq!(
        gateway
            .ask("POST", "/v1/chat/completions", &key, &broken)
            .status,
        400
    );
    let unknown = chat_body(&prompt, false).replace("cassette-standard", "none-such");
    assert_eq!(
        gateway
            .ask("POST", "/v1/chat/completions", &key, &unknown)
            .status,
        404
    );
    assert_eq!(gateway.chat(&format!("prk_{canary}"), &prompt).status, 401);
    let path = format!("/v1/{canary}?{canary}");
    assert_eq!(gateway.ask("GET", &path, &key, "").status, 404);
    // cancelled: the client leaves while its stream is on its way, and while its body is
    drop(gateway.send(
        "POST",
        "/v1/chat/completions",
        &key,
        &chat_body(&prompt, true),
    ));
    let mut half = TcpStream::connect(&gateway.address).expect("a connection");
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {key}\r\n\
         user-agent: {canary}\r\ncontent-length: 1000\r\n\r\n{prompt}"
    );
    half.write_all(head.as_bytes()).expect("written");
    drop(half);
    let metrics = String::from_utf8(gateway.operations("/metrics").body).expect("text");
    // killed: with a run under way
    drop(gateway.send(
        "POST",
        "/v1/chat/completions",
        &key,
        &chat_body(&prompt, true),
    ));
    gateway.kill();
    let gateway = files.start();
    assert_eq!(gateway.chat(&key, &prompt).status, 200);
    assert!(gateway.stop().success());
    let mut all = files.written();
    all.extend(metrics.as_bytes());
    assert!(
        all.len() > 10_000,
        "the search looked at {} bytes",
        all.len()
    );
    for raw in [canary.as_bytes(), key.as_bytes()] {
        let found = all.windows(raw.len()).any(|window| window == raw);
        assert!(!found, "a canary or a key was written");
    }
    // and the search would have found it, had it been there
    all.extend(canary.as_bytes());
    assert!(
        all.windows(canary.len())
            .any(|window| window == canary.as_bytes())
    );
}

#[test]
fn ten_seconds_after_the_last_answer_no_canary_is_in_memory() {
    let inputs = tempfile::tempdir().expect("directory");
    let canaries: Vec<String> = (0..23).map(|_| proofroom_e2e::canary::random()).collect();
    let spoken = proofroom_e2e::canary::random();
    let deployment = Deployment::with_cassette(&saying(inputs.path(), &spoken));
    let files = GatewayFiles::new(&deployment, "");
    let key = files.key(&[]);
    let gateway = files.start();
    for (number, canary) in canaries.iter().enumerate() {
        let prompt = format!("Please greet {canary}, who is number {number}.");
        let body = match number {
            0..=10 => chat_body(&prompt, false),
            11..=20 => chat_body(&prompt, true),
            // to a model that nobody serves, and one that cannot be read
            21 => chat_body(&prompt, false).replace("cassette-standard", "none-such"),
            _ => format!("{{\"messages\": \"{prompt}"),
        };
        let answer = gateway.ask("POST", "/v1/chat/completions", &key, &body);
        let expected = [200, 404, 400][number.saturating_sub(20).min(2)];
        assert_eq!(answer.status, expected, "{answer:?}");
    }
    std::thread::sleep(Duration::from_secs(10));
    let mut wanted: Vec<&str> = canaries.iter().map(String::as_str).collect();
    wanted.push(&spoken);
    let seen = proofroom_e2e::canary::scan_memory(&wanted, &[gateway.pid()]);
    let searched = seen["searched"].as_array().expect("a list");
    if searched.is_empty() {
        // the process is not dumpable: only root may look
        return proofroom_e2e::skip("memory", "this user may not read the gateway's memory");
    }
    let found = seen["found"].as_array().expect("a list");
    assert!(found.is_empty(), "{} of 24 canaries: {seen}", found.len());
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gateway.pid()));
    let limits = limits.expect("readable");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    assert!(
        core.is_some_and(|line| line.split_whitespace().nth(4) == Some("1")),
        "{core:?}"
    );
}

#[test]
fn in_prompt_mode_a_kill_loses_no_record_and_what_raises_the_mark_is_strict() {
    let deployment = Deployment::with_cassette(&hello());
    let files = GatewayFiles::new(&deployment, "log = { mode = \"prompt\" }");
    let key = files.key(&[]);
    let gateway = files.start();
    let mut answered = 0;
    for text in ["Say hello", "Say hello", CARD, "Say hello"] {
        let answer = gateway.chat(&key, text);
        answered += usize::from(answer.headers.contains_key("x-proofroom-record"));
    }
    gateway.kill();
    let runs = files.runs();
    assert_eq!((runs.len(), answered), (4, 4), "a kill lost a record");
    let modes: Vec<_> = runs.iter().map(|run| run["log"].as_str()).collect();
    // the first and the third raise the mark, and the last is of a session at the highest level
    let wanted = ["strict", "prompt", "strict", "strict"];
    assert_eq!(modes, wanted.map(Some));
    assert!(files.start().stop().success());
    assert_eq!(
        files.records("gateway-account")[0]["missing"],
        Value::Array(Vec::new())
    );
}

#[test]
fn a_full_disk_stops_runs_and_loses_no_record() {
    let (_deployment, files) = one();
    let key = files.key(&[]);
    let gateway = files.start();
    assert_eq!(gateway.chat(&key, "Say hello").status, 200);
    // what may be written to any one file is used up: for this process, the disk is full
    let limit = std::process::Command::new("prlimit")
        .args(["--pid", &gateway.pid().to_string(), "--fsize=1:1"])
        .status();
    if !limit.is_ok_and(|status| status.success()) {
        return proofroom_e2e::skip("full disk", "no `prlimit`");
    }
    let refused = gateway.chat(&key, "Say hello");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "record-not-durable")
    );
    let ready = gateway.operations("/readyz");
    assert_eq!(
        (ready.status, ready.body.as_slice()),
        (503, b"record-not-durable\n".as_slice())
    );
    gateway.kill();
    let gateway = files.start();
    assert_eq!(
        gateway.chat(&key, "Say hello").headers["x-proofroom-sequence"],
        "1"
    );
    let busy = files.command(&["check-records"]);
    let said = String::from_utf8_lossy(&busy.stderr);
    assert!(
        !busy.status.success() && said.contains("records-log"),
        "{said}"
    );
    assert!(gateway.stop().success());
    let accounts = files.records("gateway-account");
    let last = accounts.last().expect("an account");
    assert_eq!((&last["runs"], &last["recorded"]), (&2.into(), &2.into()));
    let checked = files.command(&["check-records"]);
    let said = String::from_utf8_lossy(&checked.stdout);
    // two runs, and an account for the kill and one for the stop
    assert!(
        said.starts_with("4 records and 4 leaves"),
        "{said}{checked:?}"
    );
}

#[test]
fn under_load_and_faults_no_acknowledged_record_is_lost_and_every_run_is_accounted_for() {
    // both at once: each for its own gateway
    std::thread::scope(|scope| {
        for log in ["strict", "prompt"] {
            scope.spawn(move || soak(log));
        }
    });
}

fn soak(log: &str) {
    let programs = proofroom_e2e::program("proofroom");
    let soak = std::process::Command::new("python3")
        .arg(repository_root().join("tests/soak/soak.py"))
        .arg("--programs")
        .arg(programs.parent().expect("a directory"))
        .args(["--seconds", "12", "--clients", "4", "--log", log])
        .output()
        .expect("python3 starts");
    let said = String::from_utf8_lossy(&soak.stdout);
    assert!(soak.status.success(), "{said}{soak:?}");
    let report: Value = serde_json::from_str(&said).expect("JSON");
    assert!(report["faults"]["kill"].as_u64() > Some(0), "{report}");
    assert!(report["acknowledged"].as_u64() > Some(20), "{report}");
    match report["faults"]["clock"].as_u64() {
        Some(jumps) => assert!(jumps > 0, "{report}"),
        None => proofroom_e2e::skip(
            "soak: the clock",
            "no libfaketime here (apt install faketime)",
        ),
    }
}
