//! What a collector of the operator's gets of the standalone gateway's runs: every run's spans, and in every byte of
//! them nothing that a client or a model said.

use std::{
    io::Write as _,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use proofroom_e2e::{
    Deployment, canary,
    collector::{Collector, Span},
    gateway::{GatewayFiles, RunningGateway, chat_body},
    repository_root,
};
use proofroom_testkit::tls::{TlsAuthority, TlsIdentity};
use serde_json::{Value, json};

/// A cassette that says `text`, and one call of a tool with it.
fn saying(directory: &Path, text: &str) -> PathBuf {
    let path = directory.join("cassette.json");
    let call = json!({"name": "write_file", "arguments": {"path": "a.txt", "content": text}});
    let turns = json!([{"text": text}, {"text": text, "tool_calls": [call]}]);
    let cassette = json!({"name": "canary", "turns": turns});
    std::fs::write(&path, cassette.to_string()).expect("cassette");
    path
}

fn telemetry(files: &GatewayFiles, address: &str, more: &str) {
    files.configure(&format!(
        "[telemetry]\nendpoint = \"http://{address}\"\n{more}\n"
    ));
}

/// One request of each API, each with `canary` in every place that takes text; and what it is asked at.
fn requests(canary: &str, model: &str) -> Vec<(&'static str, String)> {
    let schema = json!({"type": "object", "properties": {canary: {"type": "string"}}});
    let arguments = json!({ "x": canary }).to_string();
    let call = json!({"id": canary, "type": "function",
        "function": {"name": canary, "arguments": arguments}});
    let chat = json!({
        "model": model, "user": canary, "stop": [canary], "metadata": {"a": canary},
        "messages": [
            {"role": "system", "content": canary},
            {"role": "user", "name": canary, "content": [{"type": "text", "text": canary}]},
            {"role": "assistant", "content": canary, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": canary, "content": canary},
            {"role": "user", "content": canary},
        ],
        "tools": [{"type": "function",
            "function": {"name": canary, "description": canary, "parameters": schema}}],
    });
    let messages = json!({
        "model": model, "max_tokens": 64, "system": canary, "metadata": {"user_id": canary},
        "messages": [
            {"role": "user", "content": canary},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": canary, "name": canary, "input": {canary: canary}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": canary, "content": canary}]},
        ],
        "tools": [{"name": canary, "description": canary, "input_schema": schema}],
    });
    let responses = json!({
        "model": model, "instructions": canary, "user": canary,
        "input": [{"role": "user", "content": [{"type": "input_text", "text": canary}]}],
        "tools": [{"type": "function", "name": canary, "description": canary, "parameters": schema}],
    });
    let embeddings = json!({"model": model, "user": canary, "input": [canary, canary]});
    let rerank = json!({"model": model, "query": canary, "documents": [canary, "b"]});
    vec![
        ("/v1/chat/completions", chat.to_string()),
        ("/v1/messages", messages.to_string()),
        ("/v1/messages/count_tokens", messages.to_string()),
        ("/v1/responses", responses.to_string()),
        ("/v1/embeddings", embeddings.to_string()),
        ("/v1/rerank", rerank.to_string()),
    ]
}

/// Posts with headers that hold `canary`; returns the open connection.
fn post(
    gateway: &RunningGateway,
    key: &str,
    (path, body): (&str, &str),
    canary: &str,
) -> TcpStream {
    let mut stream = TcpStream::connect(&gateway.address).expect("a connection");
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\nuser-agent: {canary}\r\nx-request-id: {canary}\r\n\
         traceparent: 00-{canary}\r\ntracestate: a={canary}\r\nbaggage: a={canary}\r\n\
         te: trailers\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("written");
    stream.write_all(body.as_bytes()).expect("written");
    stream
}

fn runs(spans: &[Span]) -> Vec<&Span> {
    spans
        .iter()
        .filter(|span| !span.attribute("proofroom.run.id").is_empty())
        .collect()
}

#[test]
fn no_canary_is_in_any_byte_that_a_collector_receives() {
    let inputs = tempfile::tempdir().expect("directory");
    let canary = canary::random();
    let deployment = Deployment::with_cassette(&saying(inputs.path(), &canary));
    let files = GatewayFiles::new(&deployment, "");
    let collector = Collector::start();
    telemetry(&files, &collector.address, "traceparent = \"continued\"");
    let key = files.key(&[]);
    let gateway = files.start();
    let mut asked = 0;
    for model in ["cassette-standard", canary.as_str()] {
        for (path, body) in requests(&canary, model) {
            let mut answered = post(&gateway, &key, (path, &body), &canary);
            let answer = proofroom_e2e::gateway::read_answer(&mut answered);
            let served = model == "cassette-standard";
            assert_eq!(answer.status == 200, served, "{path}: {answer:?}");
            asked += 1;
            // streamed, and the client is gone at once
            let mut streamed: Value = serde_json::from_str(&body).expect("JSON");
            streamed["stream"] = true.into();
            drop(post(&gateway, &key, (path, &streamed.to_string()), &canary));
            // cut short
            let cut = &body[..body.len() / 2];
            let mut refused = post(&gateway, &key, (path, cut), &canary);
            let refused = proofroom_e2e::gateway::read_answer(&mut refused);
            assert_eq!(refused.status, 400, "{refused:?}");
            asked += 1;
        }
    }
    let whole = gateway.chat(&key, &canary);
    assert!(String::from_utf8_lossy(&whole.body).contains(&canary));
    let body = chat_body(&canary, true);
    let streamed = gateway.ask("POST", "/v1/chat/completions", &key, &body);
    assert!(streamed.whole, "{streamed:?}");
    assert_eq!(streamed.headers["x-proofroom-status"], "complete");
    assert!(gateway.stop().success());
    let spans = collector.spans();
    let runs = runs(&spans);
    assert!(runs.len() > asked, "{} spans of {asked} runs", runs.len());
    for status in ["complete", "refused"] {
        let such = |span: &&&Span| span.attribute("proofroom.status") == status;
        assert!(runs.iter().any(|span| such(&span)), "none is {status}");
    }
    let bytes = collector.bytes();
    for raw in [canary.as_bytes(), key.as_bytes()] {
        let found = bytes.windows(raw.len()).any(|window| window == raw);
        assert!(!found, "a canary or a key was sent to the collector");
    }
    // each run is its own trace: no traceparent was one
    assert!(runs.iter().all(|span| span.parent_span_id.is_none()));
    // and the search would have found what is there
    let there = b"cassette-standard";
    assert!(bytes.windows(there.len()).any(|window| window == there));
}

#[test]
fn a_run_is_found_by_its_id_with_its_tier_its_record_and_what_was_sent() {
    let cassette = repository_root().join("crates/testkit/cassettes/hello.json");
    let deployment = Deployment::with_cassette(&cassette);
    let files = GatewayFiles::new(&deployment, "");
    let collector = Collector::start();
    telemetry(&files, &collector.address, "service_name = \"ours\"");
    let key = files.key(&[]);
    let gateway = files.start();
    let answer = gateway.chat(&key, "Say hello");
    assert!(gateway.stop().success());
    let spans = collector.spans();
    let [run] = runs(&spans)[..] else {
        panic!("{spans:?}");
    };
    let id = &answer.headers["x-proofroom-run"];
    assert_eq!(format!("run_{}", run.trace_id), *id);
    assert_eq!(run.attribute("proofroom.run.id"), *id);
    let record = &answer.headers["x-proofroom-record"];
    assert_eq!(run.attribute("proofroom.record.digest"), *record);
    for (name, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.request.model", "cassette-standard"),
        ("gen_ai.response.model", "asked"),
        ("gen_ai.response.finish_reasons", "stop"),
        ("http.response.status_code", "200"),
        ("proofroom.tier", "standard"),
        ("proofroom.label", "internal"),
        ("error.type", ""),
    ] {
        assert_eq!(run.attribute(name), value, "{name}");
    }
    assert_eq!(
        (run.name.as_str(), run.kind, run.flags),
        ("chat cassette-standard", 2, 0x101)
    );
    assert!(run.status.is_none());
    let sending = spans.iter().find(|span| span.kind == 3).expect("a sending");
    assert_eq!(sending.parent_span_id.as_ref(), Some(&run.span_id));
    assert_eq!(sending.attribute("server.address"), "127.0.0.1");
    assert_eq!(sending.attribute("proofroom.upstream"), "cassette-standard");
    assert_eq!(spans.len(), 2);
}

#[test]
fn a_collector_that_is_away_or_hangs_holds_up_no_run_and_no_stop() {
    let cassette = repository_root().join("crates/testkit/cassettes/hello.json");
    let deployment = Deployment::with_cassette(&cassette);
    let files = GatewayFiles::new(&deployment, "");
    // takes connections and never reads
    let hangs = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let at = hangs.local_addr().expect("an address").to_string();
    telemetry(&files, &at, "queue = 2\nstop_seconds = 1");
    let key = files.key(&[]);
    let gateway = files.start();
    for _ in 0..12 {
        assert_eq!(gateway.chat(&key, "Say hello").status, 200);
    }
    let metrics = || String::from_utf8(gateway.operations("/metrics").body).expect("text");
    let lost = "proofroom_gateway_spans_lost_total{reason=\"queue-full\"} ";
    let until = Instant::now() + Duration::from_secs(30);
    let count = loop {
        // those that the queue and the batch under way hold are not lost
        let _ = gateway.chat(&key, "Say hello");
        let text = metrics();
        let line = text.lines().find_map(|line| line.strip_prefix(lost));
        let count: u64 = line.expect("a count").parse().expect("a number");
        if count > 0 && text.contains("proofroom_gateway_collector_failing 1") {
            break count;
        }
        assert!(Instant::now() < until, "{text}");
    };
    assert!(count >= 2);
    let since = Instant::now();
    assert!(gateway.stop().success());
    assert!(since.elapsed() < Duration::from_secs(10));
    let said = std::fs::read_to_string(files.log()).expect("text");
    let lines: Vec<_> = said.lines().filter(|line| line.contains("spans")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(lines[0].contains("[collector-unreachable]"), "{said}");
}

/// What `/metrics` counts.
fn counted(gateway: &RunningGateway, name: &str) -> u64 {
    let text = String::from_utf8(gateway.operations("/metrics").body).expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let count = line.unwrap_or_else(|| panic!("no `{name}`: {text}"));
    count.trim().parse().expect("a number")
}

#[test]
fn spans_go_over_tls_to_whom_the_named_authority_certified_and_to_nobody_else() {
    let cassette = repository_root().join("crates/testkit/cassettes/hello.json");
    let deployment = Deployment::with_cassette(&cassette);
    let files = GatewayFiles::new(&deployment, "");
    let (own, other) = (TlsAuthority::new(), TlsAuthority::new());
    let authorities = deployment.path().join("gateway/collector-ca.pem");
    std::fs::write(&authorities, &own.pem).expect("written");
    let key = files.key(&[]);
    for (collector, taken) in [
        (Collector::over_tls(own.certify().config), true),
        (Collector::over_tls(other.certify().config), false),
        (
            Collector::over_tls(TlsIdentity::self_signed().config),
            false,
        ),
    ] {
        let endpoint = format!("https://{}", collector.address);
        files.configure(&format!(
            "[telemetry]\nendpoint = \"{endpoint}\"\nauthorities = \"collector-ca.pem\"\nstop_seconds = 1\n"
        ));
        let gateway = files.start();
        // neither is a run's business
        assert_eq!(gateway.chat(&key, "Say hello").status, 200);
        let delivered = "proofroom_gateway_spans_delivered_total ";
        let failing = "proofroom_gateway_collector_failing ";
        let awaited = if taken { delivered } else { failing };
        let until = Instant::now() + Duration::from_secs(30);
        while counted(&gateway, awaited) == 0 {
            assert!(Instant::now() < until, "{awaited}");
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(counted(&gateway, failing), u64::from(!taken));
        assert_eq!(counted(&gateway, delivered) > 0, taken);
        if !taken {
            // it is tried five times, and what was not taken is counted
            let lost = "proofroom_gateway_spans_lost_total{reason=\"collector\"} ";
            let until = Instant::now() + Duration::from_secs(60);
            while counted(&gateway, lost) == 0 {
                assert!(Instant::now() < until, "nothing was counted");
                std::thread::sleep(Duration::from_millis(200));
            }
            assert_eq!(counted(&gateway, lost), 2, "a run and its sending");
        }
        assert!(gateway.stop().success());
        assert_eq!(collector.spans().len(), if taken { 2 } else { 0 });
        assert_eq!(collector.bytes().is_empty(), !taken, "not a byte is sent");
    }
    let said = std::fs::read_to_string(files.log()).expect("text");
    assert_eq!(said.matches("[collector-unreachable]").count(), 2, "{said}");
}
