//! What goes through, goes through unchanged, at once, and leaves a record that says so.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use proofroom_canonical::Digest;
use proofroom_record::{
    event::RunStatus,
    statement::{Assurance, ModelSource, TokenCount},
};

use crate::{
    upstream::{FakeUpstream, JSON_ANSWER, Reply},
    world::{CHAT, Got, MESSAGES, World, chat, standard},
};

const SSE: &str = "text/event-stream; charset=utf-8";

#[tokio::test]
async fn request_and_answer_pass_byte_for_byte_and_the_record_says_so() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let caller = world.caller(1);
    let sent = chat("std-model", "h\\u00e9llo   \u{1f980}");
    let got = Got::of(world.post(&caller, CHAT, sent.clone()).await).await;
    let seen = upstream.seen.recv().await.unwrap();
    assert_eq!(seen.body, sent.as_bytes());
    assert_eq!(seen.target, CHAT);
    assert_eq!(got.body, JSON_ANSWER);
    assert_eq!(got.status, 200);
    assert_eq!(got.headers["x-proofroom-label"], "public");
    assert_eq!(got.headers["x-proofroom-tier"], "standard");
    let (digest, record) = world.record().await;
    assert_eq!(got.trailer("x-proofroom-record"), digest.to_string());
    assert_eq!(got.trailer("x-proofroom-status"), "complete");
    assert_eq!(
        got.headers["x-proofroom-run"],
        record.run.to_string().as_str()
    );
    assert_eq!(record.status, RunStatus::Complete);
    assert_eq!(record.request.received, Digest::of(&sent));
    assert_eq!(record.request.received_bytes, sent.len() as u64);
    assert_eq!(record.request.forwarded, Some(Digest::of(&sent)));
    assert_eq!(record.request.model, "std-model");
    assert_eq!(record.sequence, 0);
    assert_eq!(record.session_binding, Digest::of([1]));
    assert_eq!(record.caller, "spiffe://test/session/1/agent/a");
    assert_eq!(record.routing.rule, "open-anywhere");
    assert_eq!(record.routing.upstream.as_deref(), Some("std"));
    let response = record.response.unwrap();
    assert_eq!(response.digest, Digest::of(JSON_ANSWER));
    assert_eq!(response.bytes, JSON_ANSWER.len() as u64);
    assert_eq!(
        response.tokens,
        Some(TokenCount {
            input: 3,
            output: 5
        })
    );
    let facts = record.upstream.unwrap();
    assert_eq!(facts.source, ModelSource::Cassette);
    assert_eq!(facts.retention, "zero-retention-contract");
    assert_eq!(
        facts.assurance,
        Assurance::ContractOnly {
            contract: "contract-7".to_owned()
        }
    );
    assert_eq!(record.failure, None);
}

#[tokio::test]
async fn an_alias_changes_the_models_name_and_not_one_byte_more() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let caller = world.caller(1);
    let sent = chat("nickname", "hello");
    Got::of(world.post(&caller, CHAT, sent.clone()).await).await;
    let seen = upstream.seen.recv().await.unwrap();
    assert_eq!(seen.body, chat("std-model", "hello"));
    let (_, record) = world.record().await;
    assert_eq!(record.request.model, "nickname");
    assert_eq!(record.request.received, Digest::of(&sent));
    assert_eq!(record.request.forwarded, Some(Digest::of(&seen.body)));
}

#[tokio::test]
async fn a_stream_reaches_the_client_before_the_upstream_has_finished() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let caller = world.caller(1);
    let chunks = upstream.stream(SSE);
    let body = chat("std-model", "hi").replace("\"unknown\":1.50", "\"stream\":true");
    let mut response = world.post(&caller, CHAT, body).await;
    assert_eq!(response.headers()["content-type"], SSE);
    assert!(!response.headers().contains_key("set-cookie"));
    let parts = [
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n",
        ": keep-alive\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c1\",\"function\":{\"name\":\"run\",\"arguments\":\"{\\\"x\\\"",
        ":1}\"}}]}}]}\r\n\r\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n",
        "data: [DONE]\n\n",
    ];
    // one at a time: the next is not sent before this one has arrived
    for part in parts {
        chunks.send(Ok(Bytes::from(part))).await.unwrap();
        let frame = response.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), part);
    }
    world.no_record();
    drop(chunks);
    let trailers = response.body_mut().frame().await.unwrap().unwrap();
    let trailers = trailers.into_trailers().unwrap();
    let (digest, record) = world.record().await;
    assert_eq!(trailers["x-proofroom-record"], digest.to_string().as_str());
    assert_eq!(record.status, RunStatus::Complete);
    assert!(record.request.stream);
    assert_eq!(record.response.unwrap().digest, Digest::of(parts.concat()));
}

#[tokio::test]
async fn what_the_client_proves_itself_with_never_reaches_an_upstream() {
    let mut upstream = FakeUpstream::plain().await;
    let world = World::new(standard(upstream.address));
    let request = Request::post("/v1/messages?beta=true")
        .header("authorization", "Bearer clients-own")
        .header("x-api-key", "clients-own")
        .header("cookie", "clients-own")
        .header("x-custom", "clients-own")
        .header("anthropic-version", "2023-06-01")
        .header("anthropic-beta", "one,two")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(chat("std-model", "hi"))))
        .unwrap();
    let response = world.gateway.handle(request, world.caller(1)).await;
    Got::of(response).await;
    let seen = upstream.seen.recv().await.unwrap();
    assert_eq!(seen.target, "/v1/messages?beta=true");
    assert!(!format!("{:?}", seen.headers).contains("clients-own"));
    assert_eq!(seen.headers["authorization"], "Bearer gateway-own-key");
    assert_eq!(seen.headers["anthropic-version"], "2023-06-01");
    assert_eq!(seen.headers["anthropic-beta"], "one,two");
}

#[tokio::test]
async fn ten_megabytes_of_tool_arguments_pass_both_ways() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let caller = world.caller(1);
    let long = "a b ".repeat(10 * 1024 * 1024 / 4);
    let answer = format!(
        r#"{{"choices":[{{"message":{{"tool_calls":[{{"id":"c","type":"function","function":{{"name":"f","arguments":"{long}"}}}}]}},"finish_reason":"tool_calls"}}]}}"#
    );
    upstream.reply(Reply::Whole(200, "application/json", answer.clone().into()));
    let sent = format!(
        r#"{{"model":"std-model","messages":[{{"role":"assistant","tool_calls":[{{"id":"c","type":"function","function":{{"name":"f","arguments":"{long}"}}}}]}}]}}"#
    );
    let got = Got::of(world.post(&caller, CHAT, sent.clone()).await).await;
    assert_eq!(upstream.seen.recv().await.unwrap().body, sent);
    assert!(got.body == answer);
    assert_eq!(world.record().await.1.status, RunStatus::Complete);
}

#[tokio::test]
async fn an_upstreams_own_error_passes_and_is_recorded_as_one() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let error = r#"{"error":{"message":"slow down","type":"rate_limit_error"}}"#;
    upstream.reply(Reply::Whole(429, "application/json", error.into()));
    let got = Got::of(
        world
            .post(&world.caller(1), CHAT, chat("std-model", "hi"))
            .await,
    )
    .await;
    assert_eq!((got.status.as_u16(), &*got.body), (429, error.as_bytes()));
    let (_, record) = world.record().await;
    assert_eq!(record.status, RunStatus::UpstreamError);
    assert_eq!(record.failure.unwrap().code, "upstream-status");
    assert_eq!(record.response.unwrap().http_status, 429);
}

#[tokio::test]
async fn other_routes_are_a_clear_404_in_the_clients_format() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    for (path, kind) in [
        ("/v1/files", None),
        ("/v1/responses/resp_1", None),
        ("/v1/messages/batches", Some("error")),
        ("/", None),
    ] {
        let got = Got::of(world.post(&world.caller(1), path, "{}").await).await;
        assert_eq!(got.status, 404);
        assert_eq!(got.code(), "no-such-route");
        let body: serde_json::Value = serde_json::from_slice(&got.body).unwrap();
        assert_eq!(body["type"].as_str(), kind, "{path}");
    }
    let request = Request::get(MESSAGES)
        .body(Full::new(Bytes::new()))
        .unwrap();
    let got = Got::of(world.gateway.handle(request, world.caller(1)).await).await;
    assert_eq!(got.status, 404);
    world.no_record();
}

#[tokio::test]
async fn the_head_of_a_whole_answer_names_its_record() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let response = world
        .post(&world.caller(1), CHAT, chat("std-model", "hi"))
        .await;
    let (digest, _) = world.record().await;
    let head = response.headers();
    assert_eq!(head["x-proofroom-record"], digest.to_string().as_str());
    assert_eq!(head["x-proofroom-status"], "complete");
}

#[tokio::test]
async fn what_arrived_together_goes_out_together_and_unchanged() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let chunks = upstream.stream("text/event-stream");
    let events: Vec<Bytes> = (0..12)
        .map(|n| Bytes::from(format!("data: {{\"n\":{n}}}\n\n")))
        .collect();
    for event in &events {
        chunks.send(Ok(event.clone())).await.unwrap();
    }
    drop(chunks);
    let got = Got::of(
        world
            .post(&world.caller(1), CHAT, chat("std-model", "hi"))
            .await,
    )
    .await;
    assert_eq!(got.body, events.concat());
    let (_, record) = world.record().await;
    assert_eq!(record.response.unwrap().digest, Digest::of(events.concat()));
}

#[tokio::test]
async fn an_answer_longer_than_what_is_held_passes_unchanged() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(3 * 1024 * 1024));
    upstream.reply(Reply::Whole(200, "application/json", long.clone().into()));
    let got = Got::of(
        world
            .post(&world.caller(1), CHAT, chat("std-model", "hi"))
            .await,
    )
    .await;
    assert_eq!(got.body, long);
    let (digest, record) = world.record().await;
    assert_eq!(got.trailer("x-proofroom-record"), digest.to_string());
    assert_eq!(record.response.unwrap().bytes, long.len() as u64);
}
