//! Amazon Bedrock, as a server of the tests plays it: what it is sent is signed, what it answers in frames or in AWS's words is
//! what Messages has, and the record has the digests of what crossed.

use std::path::PathBuf;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use proofroom_canonical::Digest;
use proofroom_llm::Api;
use proofroom_record::event::RunStatus;
use proofroom_testkit::bedrock::{FRAMES, authorization, chunk, exception, frame};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    upstream::{FakeUpstream, Reply, Seen},
    world::{CHAT, Got, MESSAGES, Options, World, standard},
};

const MODEL: &str = "eu.anthropic.claude-x-v1:0";
const PATH: &str = "/model/eu.anthropic.claude-x-v1%3A0";
const SECRET_KEY: &str = "canary+secret/key";
const TOKEN: &str = "canary-token==";

/// A file of credentials, and who is asked with them.
struct Bedrock {
    upstream: FakeUpstream,
    dir: TempDir,
}

impl Bedrock {
    async fn start() -> Self {
        let bedrock = Self {
            upstream: FakeUpstream::plain().await,
            dir: tempfile::tempdir().unwrap(),
        };
        bedrock.write(&credentials("AKIDFIRST", ""));
        bedrock
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("aws.json")
    }

    fn write(&self, text: &str) {
        let new = self.dir.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, self.key()).unwrap();
    }

    fn upstreams(&self) -> String {
        let key = format!(
            r#"{{ from = "aws", path = "{}", region = "eu-central-1" }}"#,
            self.key().display()
        );
        standard(self.upstream.address)
            .replace(
                r#"{ from = "env", name = "STD_KEY", header = "bearer" }"#,
                &key,
            )
            .replace(
                r#"["chat", "messages", "responses", "embeddings", "rerank"]"#,
                r#"["messages"]"#,
            )
            .replace(r#"["std-model", "both-model"]"#, &format!(r#"["{MODEL}"]"#))
            .replace("\"std-model\"", &format!("\"{MODEL}\""))
            .replace("source =", "paths = { form = \"bedrock\" }\nsource =")
    }
}

fn credentials(id: &str, more: &str) -> String {
    format!(
        r#"{{"Version":1,"AccessKeyId":"{id}","SecretAccessKey":"{SECRET_KEY}","SessionToken":"{TOKEN}"{more}}}"#
    )
}

fn ask(stream: bool) -> String {
    let turns = json!([{"role": "user", "content": "hi"}]);
    json!({"model": "nickname", "max_tokens": 50, "messages": turns, "stream": stream}).to_string()
}

/// The `authorization` that a request must have as it arrived.
fn expected(seen: &Seen, id: &str) -> String {
    let header = |name: &str| seen.headers[name].to_str().unwrap();
    authorization(&seen.target, header, &seen.body, (id, SECRET_KEY))
}

fn is_signed(seen: &Seen, id: &str, address: &str) {
    let authorization = seen.headers["authorization"].to_str().unwrap();
    let scope =
        format!("AWS4-HMAC-SHA256 Credential={id}/20261201/eu-central-1/bedrock/aws4_request, ");
    assert!(authorization.starts_with(&scope), "{authorization}");
    for name in [
        "accept",
        "content-type",
        "host",
        "x-amz-date",
        "x-amz-security-token",
    ] {
        let (_, names) = authorization.split_once("SignedHeaders=").unwrap();
        assert!(names.contains(name), "{name}: {authorization}");
    }
    assert_eq!(seen.headers["host"], address);
    assert_eq!(seen.headers["x-amz-security-token"], TOKEN);
    assert_eq!(authorization, expected(seen, id));
}

const ANSWER: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[{"type":"text","text":"hello"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":5}}"#;

fn events() -> Vec<String> {
    [
        json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant",
            "model": "claude-x", "content": [], "stop_reason": null, "usage": {"input_tokens": 3, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}),
        json!({"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 3}}),
    ]
    .map(|event| event.to_string())
    .to_vec()
}

fn framed() -> Vec<u8> {
    events().iter().flat_map(|event| chunk(event)).collect()
}

#[tokio::test]
async fn a_request_of_messages_is_signed_and_says_in_its_path_what_its_body_said() {
    let mut bedrock = Bedrock::start().await;
    let mut world = World::new(bedrock.upstreams());
    bedrock
        .upstream
        .reply(Reply::Whole(200, "application/json", ANSWER.into()));
    let request = Request::post("/v1/messages?beta=true")
        .header("content-type", "application/json")
        .header("user-agent", "client/1")
        .header("authorization", "Bearer of-the-client")
        .header("anthropic-version", "2023-06-01")
        .header("anthropic-beta", "one, two")
        .header("anthropic-beta", "three")
        .body(Full::new(Bytes::from(ask(false))))
        .unwrap();
    let got = Got::of(world.gateway.handle(request, world.caller(1)).await).await;
    assert_eq!(
        (got.status.as_u16(), &got.body[..]),
        (200, ANSWER.as_bytes())
    );
    let seen = bedrock.upstream.seen.recv().await.unwrap();
    assert_eq!(seen.target, format!("{PATH}/invoke"));
    assert_eq!(
        serde_json::from_slice::<Value>(&seen.body).unwrap(),
        json!({"anthropic_version": "bedrock-2023-05-31", "anthropic_beta": ["one", "two", "three"],
            "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]})
    );
    for name in ["anthropic-version", "anthropic-beta"] {
        assert!(!seen.headers.contains_key(name), "{name}");
    }
    assert_eq!(seen.headers["accept"], "application/json");
    is_signed(&seen, "AKIDFIRST", &bedrock.upstream.address.to_string());
    let (_, record) = world.record().await;
    assert_eq!(record.status, RunStatus::Complete);
    assert_eq!(record.request.received, Digest::of(ask(false)));
    assert_eq!(record.request.forwarded, Some(Digest::of(&seen.body)));
    let translated = record.translated.unwrap();
    assert_eq!(translated.endpoint, "/model/{modelId}/invoke");
    assert_eq!(translated.answer, Some(Digest::of(ANSWER)));
    let response = record.response.unwrap();
    assert_eq!(response.digest, Digest::of(ANSWER));
    assert_eq!(response.tokens.unwrap().output, 5);
}

#[tokio::test]
async fn frames_reach_the_client_as_events_each_as_soon_as_it_is_there() {
    let mut bedrock = Bedrock::start().await;
    let mut world = World::new(bedrock.upstreams());
    let chunks = bedrock.upstream.stream(FRAMES);
    let mut response = world.post(&world.caller(1), MESSAGES, ask(true)).await;
    assert_eq!(
        response.headers()["content-type"],
        "text/event-stream; charset=utf-8"
    );
    let seen = bedrock.upstream.seen.recv().await.unwrap();
    assert_eq!(seen.target, format!("{PATH}/invoke-with-response-stream"));
    assert_eq!(seen.headers["accept"], FRAMES);
    is_signed(&seen, "AKIDFIRST", &bedrock.upstream.address.to_string());
    let mut said = Vec::new();
    for event in events() {
        // in two pieces, so that no frame arrives whole
        let frame = chunk(&event);
        let (first, second) = frame.split_at(frame.len() / 2);
        for piece in [first, second] {
            chunks
                .send(Ok(Bytes::copy_from_slice(piece)))
                .await
                .unwrap();
        }
        let given = response.body_mut().frame().await.unwrap().unwrap();
        let given = given.into_data().unwrap();
        let kind: Value = serde_json::from_str(&event).unwrap();
        let expected = format!(
            "event: {}\ndata: {event}\n\n",
            kind["type"].as_str().unwrap()
        );
        assert_eq!(String::from_utf8_lossy(&given), expected);
        said.extend_from_slice(&given);
    }
    world.no_record();
    drop(chunks);
    let rest = Got::of(response).await;
    assert!(rest.body.is_empty(), "{rest:?}");
    let (_, record) = world.record().await;
    assert_eq!(record.status, RunStatus::Complete, "{record:?}");
    let translated = record.translated.unwrap();
    assert_eq!(
        translated.endpoint,
        "/model/{modelId}/invoke-with-response-stream"
    );
    assert_eq!(translated.answer, Some(Digest::of(framed())));
    let response = record.response.unwrap();
    assert_eq!(response.digest, Digest::of(&said));
    assert_eq!(response.bytes, said.len() as u64);
    let tokens = response.tokens.unwrap();
    assert_eq!((tokens.input, tokens.output), (3, 5));
}

#[tokio::test]
async fn clients_of_chat_and_responses_are_answered_through_messages() {
    let mut bedrock = Bedrock::start().await;
    let mut world = World::new(bedrock.upstreams());
    let caller = world.caller(1);
    for (api, body) in [
        (
            Api::ChatCompletions,
            json!({"model": "nickname", "messages": [{"role": "user", "content": "hi"}]}),
        ),
        (
            Api::Responses,
            json!({"model": "nickname", "input": "hi", "store": false}),
        ),
    ] {
        for stream in [false, true] {
            let mut body = body.clone();
            body["stream"] = json!(stream);
            bedrock.upstream.reply(if stream {
                Reply::Whole(200, FRAMES, framed().into())
            } else {
                Reply::Whole(200, "application/json", ANSWER.into())
            });
            let got = Got::of(world.post(&caller, api.path(), body.to_string()).await).await;
            let said = String::from_utf8_lossy(&got.body).into_owned();
            assert!(
                got.status == 200 && said.contains("hello"),
                "{api}: {got:?}"
            );
            let seen = bedrock.upstream.seen.recv().await.unwrap();
            is_signed(&seen, "AKIDFIRST", &bedrock.upstream.address.to_string());
            let sent: Value = serde_json::from_slice(&seen.body).unwrap();
            assert_eq!(sent["anthropic_version"], "bedrock-2023-05-31");
            assert_eq!(sent["max_tokens"], 8192);
            assert!(
                sent.get("model").is_none() && sent.get("stream").is_none(),
                "{sent}"
            );
            let (_, record) = world.record().await;
            assert_eq!(record.status, RunStatus::Complete, "{api}: {record:?}");
            let answer = if stream { framed() } else { ANSWER.into() };
            assert_eq!(record.translated.unwrap().answer, Some(Digest::of(answer)));
            let response = record.response.unwrap();
            assert_eq!(response.digest, Digest::of(&got.body));
            assert_eq!(response.tokens.unwrap().output, 5);
        }
    }
}

/// What comes behind one good frame, and the code in the stream and in the record.
fn broken() -> Vec<(Vec<u8>, &'static str)> {
    let good = chunk(r#"{"type":"ping"}"#);
    let mut damaged = good.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let mut large = (5_u32 << 20).to_be_bytes().to_vec();
    large.extend_from_slice(&[0; 4]);
    large.extend_from_slice(&crc32fast::hash(&large).to_be_bytes());
    let event = [(":message-type", "event"), (":event-type", "chunk")];
    let unknown = [(":message-type", "event"), (":event-type", "news")];
    vec![
        (damaged, "event-stream-checksum"),
        (good[..good.len() - 1].to_vec(), "event-stream-cut"),
        (large, "event-stream-too-large"),
        (frame(&event, br#"{"bytes":"*"}"#), "event-stream-payload"),
        (frame(&unknown, b"{}"), "event-stream-unknown-frame"),
        (
            b"data: {\"type\":\"ping\"}\n\n".to_vec(),
            "event-stream-checksum",
        ),
        (exception("throttlingException"), "bedrock-throttling"),
        (
            exception("modelStreamErrorException"),
            "bedrock-model-stream-error",
        ),
        (exception("newException"), "bedrock-error"),
        (Vec::new(), "upstream-answer-incomplete"),
    ]
}

#[tokio::test]
async fn whatever_breaks_a_stream_has_its_code_in_the_stream_and_in_the_record() {
    let bedrock = Bedrock::start().await;
    let mut world = World::new(bedrock.upstreams());
    let caller = world.caller(1);
    let start = events().remove(0);
    for (rest, code) in broken() {
        let sent = [chunk(&start), rest].concat();
        for path in [MESSAGES, CHAT] {
            bedrock
                .upstream
                .reply(Reply::Whole(200, FRAMES, sent.clone().into()));
            let got = Got::of(world.post(&caller, path, ask(true)).await).await;
            let said = String::from_utf8_lossy(&got.body).into_owned();
            if path == MESSAGES {
                assert!(said.starts_with("event: message_start\n"), "{said}");
            }
            if code.starts_with("upstream-") {
                assert!(!said.contains("error"), "{said}");
            } else {
                assert!(said.contains(&format!("\"{code}\"")), "{code}: {said}");
            }
            let (_, record) = world.record().await;
            assert_eq!(record.status, RunStatus::UpstreamError);
            assert_eq!(record.failure.unwrap().code, code, "{path}");
            assert_eq!(
                record.translated.unwrap().answer,
                Some(Digest::of(&sent)),
                "{code}"
            );
            assert_eq!(record.response.unwrap().digest, Digest::of(&got.body));
        }
    }
}

#[tokio::test]
async fn an_error_in_awss_words_keeps_its_status_and_gets_a_code_in_the_clients_format() {
    let bedrock = Bedrock::start().await;
    let mut world = World::new(bedrock.upstreams());
    let caller = world.caller(1);
    for (status, named, code) in [
        (400, "ValidationException", "bedrock-validation"),
        (404, "ResourceNotFoundException", "bedrock-not-found"),
        (408, "ModelTimeoutException", "bedrock-model-timeout"),
        (424, "ModelErrorException", "bedrock-model-error"),
        (429, "ThrottlingException", "bedrock-throttling"),
        (500, "InternalServerException", "bedrock-internal-server"),
        (503, "ServiceUnavailableException", "bedrock-unavailable"),
        (418, "Teapot", "bedrock-error"),
    ] {
        for path in [MESSAGES, CHAT] {
            let body = format!(r#"{{"__type":"{named}","message":"words of AWS"}}"#);
            let kind = "application/x-amz-json-1.1";
            bedrock
                .upstream
                .reply(Reply::Whole(status, kind, body.clone().into()));
            let got = Got::of(world.post(&caller, path, ask(true)).await).await;
            assert_eq!((got.status.as_u16(), got.code().as_str()), (status, code));
            assert_eq!(got.headers["content-type"], "application/json");
            let said: Value = serde_json::from_slice(&got.body).unwrap();
            assert_eq!(said["error"]["message"], "words of AWS");
            assert_eq!(said["type"] == "error", path == MESSAGES);
            let (_, record) = world.record().await;
            assert_eq!(record.failure.unwrap().code, "upstream-status");
            assert_eq!(record.response.unwrap().http_status, status);
            assert_eq!(record.translated.unwrap().answer, Some(Digest::of(&body)));
        }
    }
}

#[tokio::test]
async fn what_aws_says_of_a_signature_reaches_nobody() {
    let bedrock = Bedrock::start().await;
    let mut world = World::new(bedrock.upstreams());
    for status in [401, 403] {
        let body = format!(r#"{{"message":"should have been x-amz-security-token:{TOKEN}"}}"#);
        bedrock
            .upstream
            .reply(Reply::Whole(status, "application/json", body.into()));
        let got = Got::of(world.post(&world.caller(1), MESSAGES, ask(false)).await).await;
        assert_eq!(
            (got.status.as_u16(), got.code().as_str()),
            (502, "upstream-credentials-refused")
        );
        assert!(!format!("{got:?}").contains("canary"));
        let (_, record) = world.record().await;
        assert_eq!(record.response.as_ref().unwrap().http_status, status);
        assert!(!format!("{record:?}").contains("canary"));
    }
}

#[tokio::test]
async fn a_throttled_bedrock_is_busy_and_its_request_is_signed_anew() {
    let mut bedrock = Bedrock::start().await;
    let control = "[control]\nattempts = 2\nlongest_wait_seconds = 10\n";
    let mut world = World::new(control.to_owned() + &bedrock.upstreams());
    let busy = r#"{"message":"Too many tokens"}"#;
    bedrock
        .upstream
        .reply(Reply::Whole(429, "application/json", busy.into()));
    bedrock
        .upstream
        .reply(Reply::Whole(200, "application/json", ANSWER.into()));
    let got = Got::of(world.post(&world.caller(1), MESSAGES, ask(false)).await).await;
    assert_eq!(got.status, 200);
    for _ in 0..2 {
        let seen = bedrock.upstream.seen.recv().await.unwrap();
        is_signed(&seen, "AKIDFIRST", &bedrock.upstream.address.to_string());
    }
    let (_, record) = world.record().await;
    assert_eq!(record.earlier[0].http_status, 429);
    assert_eq!(record.translated.unwrap().answer, Some(Digest::of(ANSWER)));
}

#[tokio::test]
async fn credentials_that_were_replaced_are_used_and_those_that_ended_are_not() {
    let mut bedrock = Bedrock::start().await;
    let mut world = World::new(bedrock.upstreams());
    let caller = world.caller(1);
    let address = bedrock.upstream.address.to_string();
    for id in ["AKIDFIRST", "AKIDSECOND"] {
        bedrock.write(&credentials(id, r#","Expiration":"2026-12-01T00:00:30Z""#));
        bedrock
            .upstream
            .reply(Reply::Whole(200, "application/json", ANSWER.into()));
        let got = Got::of(world.post(&caller, MESSAGES, ask(false)).await).await;
        assert_eq!(got.status, 200);
        is_signed(&bedrock.upstream.seen.recv().await.unwrap(), id, &address);
        world.record().await;
    }
    world.clock.advance_seconds(30);
    for (text, code) in [
        (None, "key-expired"),
        (Some(String::new()), "key-form"),
        (Some("canary".to_owned()), "key-form"),
    ] {
        if let Some(text) = text {
            bedrock.write(&text);
        }
        let got = Got::of(world.post(&caller, MESSAGES, ask(false)).await).await;
        assert_eq!((got.status.as_u16(), got.code().as_str()), (503, code));
        let (_, record) = world.record().await;
        assert_eq!(record.status, RunStatus::Refused);
        assert_eq!(record.failure.unwrap().code, code);
        assert_eq!((record.request.forwarded, record.translated), (None, None));
    }
    std::fs::remove_file(bedrock.key()).unwrap();
    // without any traffic
    world.gateway.tend();
    assert_eq!(
        world.events.closed(),
        ["key-expired", "key-form", "key-unreadable"]
    );
    bedrock.upstream.nothing_was_sent();
}

#[tokio::test]
async fn what_bedrock_cannot_be_asked_is_refused_before_anything_is_sent() {
    let mut bedrock = Bedrock::start().await;
    let mut world = World::new(bedrock.upstreams());
    let caller = world.caller(1);
    for (path, body, refused) in [
        (
            "/v1/messages/count_tokens",
            ask(false),
            (404, "model-not-served"),
        ),
        (
            MESSAGES,
            ask(false).replacen('{', r#"{"anthropic_version":"x","#, 1),
            (400, "request-not-translatable"),
        ),
    ] {
        let got = Got::of(world.post(&caller, path, body).await).await;
        assert_eq!((got.status.as_u16(), got.code().as_str()), refused);
        assert_eq!(world.record().await.1.status, RunStatus::Refused);
    }
    bedrock.upstream.nothing_was_sent();
}

#[tokio::test]
async fn bedrocks_openai_endpoint_is_asked_for_chat_with_a_signature_or_a_key() {
    let mut bedrock = Bedrock::start().await;
    let address = bedrock.upstream.address;
    let chat = bedrock
        .upstreams()
        .replace("paths = { form = \"bedrock\" }\n", "")
        .replace(r#"apis = ["messages"]"#, r#"apis = ["chat"]"#)
        .replace(
            &format!("http://{address}"),
            &format!("http://{address}/openai"),
        );
    let mut world = World::with(&Options::of(chat));
    let caller = world.caller(1);
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let got = Got::of(world.post(&caller, CHAT, body.clone()).await).await;
    assert_eq!(got.status, 200);
    let seen = bedrock.upstream.seen.recv().await.unwrap();
    assert_eq!(seen.target, "/openai/v1/chat/completions");
    assert_eq!(seen.body, body);
    assert_eq!(seen.headers["authorization"], expected(&seen, "AKIDFIRST"));
    let (_, record) = world.record().await;
    assert_eq!(record.status, RunStatus::Complete);
    assert_eq!(record.translated, None);
    let body = r#"{"message":"canary"}"#;
    bedrock
        .upstream
        .reply(Reply::Whole(403, "application/json", body.into()));
    let got = Got::of(
        world
            .post(
                &caller,
                CHAT,
                json!({"model": MODEL, "messages": []}).to_string(),
            )
            .await,
    )
    .await;
    assert_eq!(got.code(), "upstream-credentials-refused");
}
