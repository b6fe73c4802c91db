//! Upstreams that do not speak the client's API: what arrives, what comes back, and what the record
//! says of both.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use proofroom_canonical::Digest;
use proofroom_llm::Api;
use proofroom_record::event::RunStatus;
use proofroom_testkit::cassette::{self, Cassette, Options, Transport};
use serde_json::{Value, json};

use crate::{
    upstream::{FakeUpstream, JSON_ANSWER, Reply},
    world::{Got, SECRET, World, standard},
};

const SSE: &str = "text/event-stream";
pub const SPOKEN: [(Api, &str); 3] = [
    (Api::ChatCompletions, "chat"),
    (Api::Messages, "messages"),
    (Api::Responses, "responses"),
];

/// The upstreams file of one that speaks `apis` only.
pub fn speaking(address: impl std::fmt::Display, apis: &str) -> String {
    standard(address).replace(
        r#"["chat", "messages", "responses", "embeddings", "rerank"]"#,
        apis,
    )
}

pub fn ask(api: Api, model: &str, text: &str, stream: bool) -> String {
    let turns = json!([{"role": "user", "content": text}]);
    let mut body = match api {
        Api::Responses => json!({"model": model, "input": text}),
        _ => json!({"model": model, "messages": turns, "max_tokens": 50}),
    };
    body["stream"] = json!(stream);
    if stream && api == Api::ChatCompletions {
        body["stream_options"] = json!({"include_usage": true});
    }
    body.to_string()
}

#[tokio::test]
async fn every_client_is_answered_by_an_upstream_of_every_other_api() {
    let text = include_str!("../../../testkit/cassettes/hello.json");
    let options = Options {
        port: 0,
        cassettes: vec![Cassette::parse(text).unwrap()],
        transport: Transport::Plain,
    };
    let upstream = cassette::start(options).await.unwrap();
    for (spoken, name) in SPOKEN {
        let upstreams = speaking(upstream.address, &format!("[\"{name}\"]"));
        let mut world = World::new(upstreams.replace("std-model", "cassette-standard"));
        let caller = world.caller(1);
        for (client, _) in SPOKEN {
            for stream in [false, true] {
                let body = ask(client, "cassette-standard", "Good morning", stream);
                let got = Got::of(world.post(&caller, client.path(), body.clone()).await).await;
                assert_eq!(got.status, 200, "{client} by {spoken}: {got:?}");
                let said = String::from_utf8(got.body.to_vec()).unwrap();
                assert!(
                    said.contains("Hello from a "),
                    "{client} by {spoken}: {said}"
                );
                let (_, record) = world.record().await;
                assert_eq!(record.status, RunStatus::Complete, "{record:?}");
                assert_eq!(record.request.endpoint, client.path());
                assert_eq!(record.request.received, Digest::of(&body));
                let response = record.response.unwrap();
                assert_eq!(response.digest, Digest::of(&got.body));
                let tokens = response.tokens.unwrap();
                assert!(tokens.input > 0 && tokens.output > 0);
                if client == spoken {
                    assert_eq!(record.translated, None);
                    assert_eq!(record.request.forwarded, Some(Digest::of(&body)));
                } else {
                    let translated = record.translated.unwrap();
                    assert_eq!(translated.endpoint, spoken.path());
                    assert_ne!(translated.answer, Some(response.digest));
                    assert_ne!(record.request.forwarded, Some(Digest::of(&body)));
                }
            }
        }
    }
}

#[tokio::test]
async fn the_record_has_the_digests_of_what_was_said_on_either_side() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = World::new(speaking(upstream.address, r#"["chat"]"#));
    let body = ask(Api::Messages, "nickname", "hi", false);
    let request = Request::post("/v1/messages?beta=true")
        .header("anthropic-version", "2023-06-01")
        .header("anthropic-beta", "one")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.clone())))
        .unwrap();
    let response = world.gateway.handle(request, world.caller(1)).await;
    let got = Got::of(response).await;
    let seen = upstream.seen.recv().await.unwrap();
    assert_eq!(seen.target, "/v1/chat/completions");
    assert!(!seen.headers.contains_key("anthropic-beta"));
    assert!(!seen.headers.contains_key("anthropic-version"));
    assert_eq!(seen.headers["authorization"], "Bearer gateway-own-key");
    let sent: Value = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!(sent["model"], "std-model");
    let answer: Value = serde_json::from_slice(&got.body).unwrap();
    assert_eq!(answer["content"][0]["text"], "hi");
    assert_eq!(answer["stop_reason"], "end_turn");
    let (_, record) = world.record().await;
    assert_eq!(record.request.model, "nickname");
    assert_eq!(record.request.received, Digest::of(&body));
    assert_eq!(record.request.forwarded, Some(Digest::of(&seen.body)));
    assert_eq!(record.response.unwrap().digest, Digest::of(&got.body));
    let translated = record.translated.unwrap();
    assert_eq!(translated.endpoint, "/v1/chat/completions");
    assert_eq!(translated.answer, Some(Digest::of(JSON_ANSWER)));
}

#[tokio::test]
async fn messages_gets_the_version_header_that_it_requires() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = World::new(speaking(upstream.address, r#"["messages"]"#));
    let body = ask(Api::ChatCompletions, "std-model", "hi", false);
    drop(
        Got::of(
            world
                .post(&world.caller(1), Api::ChatCompletions.path(), body)
                .await,
        )
        .await,
    );
    let seen = upstream.seen.recv().await.unwrap();
    assert_eq!(seen.target, "/v1/messages");
    assert_eq!(seen.headers["anthropic-version"], "2023-06-01");
    // the fake answers in Chat, which is no answer of Messages
    let (_, record) = world.record().await;
    assert_eq!(
        record.failure.unwrap().code,
        "upstream-answer-not-translatable"
    );
}

#[tokio::test]
async fn what_cannot_be_said_is_refused_in_the_clients_words_and_nothing_is_sent() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = World::new(speaking(upstream.address, r#"["chat"]"#));
    let caller = world.caller(1);
    let body = json!({"model": "std-model", "max_tokens": 5, "top_k": 3, "messages": []});
    let got = Got::of(
        world
            .post(&caller, Api::Messages.path(), body.to_string())
            .await,
    )
    .await;
    assert_eq!(
        (got.status.as_u16(), got.code().as_str()),
        (400, "request-not-translatable")
    );
    let answer: Value = serde_json::from_slice(&got.body).unwrap();
    assert_eq!(answer["type"], "error");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("`top_k`"), "{message}");
    let (_, record) = world.record().await;
    assert_eq!(record.status, RunStatus::Refused);
    assert_eq!((record.request.forwarded, record.translated), (None, None));
    assert_eq!(record.routing.rejected[0].code, "request-not-translatable");
    upstream.nothing_was_sent();
}

#[tokio::test]
async fn a_secret_is_no_more_allowed_in_translation() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = World::new(speaking(upstream.address, r#"["messages"]"#));
    let body = ask(Api::Responses, "std-model", SECRET, false);
    let got = Got::of(
        world
            .post(&world.caller(1), Api::Responses.path(), body)
            .await,
    )
    .await;
    assert_eq!(got.code(), "label-requires-tier");
    assert_eq!(world.record().await.1.status, RunStatus::Refused);
    upstream.nothing_was_sent();
}

#[tokio::test]
async fn an_upstreams_error_keeps_its_status_and_words_in_the_clients_format() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(speaking(upstream.address, r#"["messages"]"#));
    let error = r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}"#;
    upstream.reply(Reply::Whole(429, "application/json", error.into()));
    let body = ask(Api::ChatCompletions, "std-model", "hi", true);
    let got = Got::of(
        world
            .post(&world.caller(1), Api::ChatCompletions.path(), body)
            .await,
    )
    .await;
    assert_eq!(got.status, 429);
    let answer: Value = serde_json::from_slice(&got.body).unwrap();
    assert_eq!(answer["error"]["message"], "slow down");
    assert_eq!(answer["error"]["code"], "rate_limit_error");
    let (_, record) = world.record().await;
    assert_eq!(record.failure.unwrap().code, "upstream-status");
    assert_eq!(record.response.unwrap().http_status, 429);
    assert_eq!(record.translated.unwrap().answer, Some(Digest::of(error)));
}

#[tokio::test]
async fn events_are_said_again_before_the_upstream_has_finished() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(speaking(upstream.address, r#"["chat"]"#));
    let chunks = upstream.stream(SSE);
    let body = ask(Api::Messages, "std-model", "hi", true);
    let mut response = world
        .post(&world.caller(1), Api::Messages.path(), body)
        .await;
    let first = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    chunks
        .send(Ok(Bytes::from_static(first.as_bytes())))
        .await
        .unwrap();
    let frame = response.body_mut().frame().await.unwrap().unwrap();
    let said = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
    assert!(said.starts_with("event: message_start\n"), "{said}");
    assert!(said.contains("\"text_delta\",\"text\":\"a\""), "{said}");
    world.no_record();
    chunks
        .send(Err(std::io::Error::other("gone")))
        .await
        .unwrap();
    let rest = Got::of(response).await;
    let said = String::from_utf8(rest.body.to_vec()).unwrap();
    assert!(said.starts_with("event: error\n"), "{said}");
    assert!(said.contains("upstream-broke-off"), "{said}");
    let (_, record) = world.record().await;
    assert_eq!(record.status, RunStatus::UpstreamError);
    assert_eq!(record.translated.unwrap().answer, Some(Digest::of(first)));
}

#[tokio::test]
async fn a_stream_that_cannot_be_said_ends_with_an_error_and_not_with_silence() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(speaking(upstream.address, r#"["chat"]"#));
    let caller = world.caller(1);
    for broken in [
        "data: {]\n\n",
        "data: {\"choices\":[{\"index\":1,\"delta\":{}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"audio\":{}}}]}\n\n",
    ] {
        upstream.reply(Reply::Whole(200, SSE, broken.into()));
        let body = ask(Api::Responses, "std-model", "hi", true);
        let got = Got::of(world.post(&caller, Api::Responses.path(), body).await).await;
        let said = String::from_utf8(got.body.to_vec()).unwrap();
        assert!(said.contains("upstream-answer-not-translatable"), "{said}");
        let (_, record) = world.record().await;
        assert_eq!(
            record.failure.unwrap().code,
            "upstream-answer-not-translatable"
        );
    }
}

#[tokio::test]
async fn whoever_speaks_the_clients_api_is_asked_before_a_translation() {
    let mut first = FakeUpstream::plain().await;
    let mut second = FakeUpstream::plain().await;
    let other = speaking(first.address, r#"["messages"]"#).replace("\"std\"", "\"other\"");
    let upstreams = other + &speaking(second.address, r#"["chat"]"#);
    let world = World::new(upstreams);
    let body = ask(Api::ChatCompletions, "std-model", "hi", false);
    drop(
        Got::of(
            world
                .post(&world.caller(1), Api::ChatCompletions.path(), body)
                .await,
        )
        .await,
    );
    second.seen.recv().await.unwrap();
    first.nothing_was_sent();
}

#[tokio::test]
async fn counting_is_not_translated() {
    let mut upstream = FakeUpstream::plain().await;
    let world = World::new(speaking(upstream.address, r#"["chat"]"#));
    let body = ask(Api::CountTokens, "std-model", "hi", false);
    let got = Got::of(
        world
            .post(&world.caller(1), Api::CountTokens.path(), body)
            .await,
    )
    .await;
    assert_eq!(
        (got.status.as_u16(), got.code().as_str()),
        (404, "model-not-served")
    );
    upstream.nothing_was_sent();
}
