//! Every API that is passed through: against the cassette as it is played, against broken upstreams,
//! and with what nobody may send.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use proofroom_canonical::Digest;
use proofroom_llm::Api;
use proofroom_record::{event::RunStatus, statement::TokenCount};
use proofroom_testkit::cassette::{self, Cassette, Options, Transport};
use serde_json::{Value, json};

use crate::{
    upstream::{FakeUpstream, Reply},
    world::{Got, SECRET, World, standard},
};

const SSE: &str = "text/event-stream";

async fn playing() -> cassette::Running {
    let text = include_str!("../../../testkit/cassettes/hello.json");
    let options = Options {
        port: 0,
        cassettes: vec![Cassette::parse(text).unwrap()],
        transport: Transport::Plain,
    };
    cassette::start(options).await.unwrap()
}

/// A request of each API, whole and, where there are streams, streamed.
fn requests(model: &str, text: &str) -> Vec<(Api, Value)> {
    let turns = json!([{"role": "user", "content": text}]);
    let chat = json!({"model": model, "messages": turns, "unknown": {"x": 1.50}});
    let messages = json!({"model": model, "max_tokens": 9, "messages": turns});
    let responses = json!({"model": model, "input": text, "store": false});
    let mut all = Vec::new();
    for (api, whole) in [
        (Api::ChatCompletions, chat),
        (Api::Messages, messages.clone()),
        (Api::Responses, responses),
    ] {
        let mut streamed = whole.clone();
        streamed["stream"] = json!(true);
        if api == Api::ChatCompletions {
            streamed["stream_options"] = json!({"include_usage": true});
        }
        all.push((api, whole));
        all.push((api, streamed));
    }
    all.push((Api::CountTokens, messages));
    all.push((
        Api::Embeddings,
        json!({"model": model, "input": [text, "b"]}),
    ));
    let rerank = json!({"model": model, "query": text, "documents": ["a", "b"]});
    all.push((Api::Rerank, rerank));
    all
}

#[tokio::test]
async fn the_cassette_plays_every_api_and_each_run_is_metered() {
    let upstream = playing().await;
    let mut world =
        World::new(standard(upstream.address).replace("std-model", "cassette-standard"));
    let caller = world.caller(1);
    for (api, request) in requests("cassette-standard", "Good morning") {
        let sent = request.to_string();
        let got = Got::of(world.post(&caller, api.path(), sent.clone()).await).await;
        assert_eq!(got.status, 200, "{api}: {got:?}");
        let (_, record) = world.record().await;
        assert_eq!(record.status, RunStatus::Complete, "{api}: {record:?}");
        assert_eq!(record.request.endpoint, api.path());
        assert_eq!(record.request.stream, request["stream"] == true);
        assert_eq!(record.request.forwarded, Some(Digest::of(&sent)));
        let response = record.response.unwrap();
        assert_eq!(response.digest, Digest::of(&got.body));
        match (api, response.tokens) {
            (Api::CountTokens, tokens) => assert_eq!(tokens, None),
            (Api::Embeddings | Api::Rerank, Some(TokenCount { input, output: 0 })) => {
                assert!(input > 0);
            }
            (_, Some(tokens)) => assert!(tokens.input > 0 && tokens.output > 0, "{api}"),
            (_, None) => panic!("{api} is not metered"),
        }
    }
}

#[tokio::test]
async fn a_secret_in_any_api_is_refused_in_that_apis_own_words() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let caller = world.caller(1);
    for (api, request) in requests("std-model", SECRET) {
        let got = Got::of(world.post(&caller, api.path(), request.to_string()).await).await;
        assert_eq!(got.status, 403, "{api}");
        let body: Value = serde_json::from_slice(&got.body).unwrap();
        let anthropic = matches!(api, Api::Messages | Api::CountTokens);
        assert_eq!(body["type"] == "error", anthropic, "{api}: {body}");
        assert_eq!(body["error"]["type"], "permission_error", "{api}: {body}");
        let (_, record) = world.record().await;
        assert_eq!(record.classification.label, "restricted", "{api}");
        assert_eq!(record.status, RunStatus::Refused);
    }
    upstream.nothing_was_sent();
}

#[tokio::test]
async fn malformed_requests_of_every_api_are_refused_unclassified_and_unsent() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let caller = world.caller(1);
    let deep = format!(r#"{{"model":"std-model","x":{}"#, "[".repeat(100_000));
    for api in Api::ALL {
        for (body, code) in [
            ("", "request-not-json"),
            ("{\"model\":\"std-model\"", "request-not-json"),
            ("[]", "request-not-an-object"),
            ("{\"model\":\"std-model\"}", "request-member-missing"),
            (
                r#"{"model":"a","model":"std-model"}"#,
                "request-duplicate-member",
            ),
            (&deep, "request-too-deep"),
        ] {
            let got = Got::of(world.post(&caller, api.path(), body.to_owned()).await).await;
            assert_eq!(
                (got.status.as_u16(), got.code().as_str()),
                (400, code),
                "{api}"
            );
            let (_, record) = world.record().await;
            assert_eq!(record.classification.label, "unclassified");
            assert_eq!(record.failure.unwrap().code, code);
        }
    }
    upstream.nothing_was_sent();
}

/// What an upstream sends, and the code in the record.
const BROKEN: [(&str, &str, &str); 6] = [
    (
        "application/json",
        "{\"object\":",
        "upstream-answer-unreadable",
    ),
    ("application/json", "{}", "upstream-answer-unreadable"),
    (
        "application/json",
        r#"{"error":{"code":"boom"}}"#,
        "upstream-reported-error",
    ),
    (
        SSE,
        "data: {]\n\nnonsense\n\n",
        "upstream-answer-incomplete",
    ),
    (SSE, "event: x", "upstream-answer-incomplete"),
    ("text/html", "<html>", "upstream-not-an-api"),
];

#[tokio::test]
async fn broken_answers_of_every_api_are_recorded_as_broken() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let caller = world.caller(1);
    for (api, request) in requests("std-model", "hi") {
        for (kind, answer, code) in BROKEN {
            upstream.reply(Reply::Whole(
                200,
                kind,
                Bytes::from_static(answer.as_bytes()),
            ));
            let got = Got::of(world.post(&caller, api.path(), request.to_string()).await).await;
            let (_, record) = world.record().await;
            assert_eq!(record.status, RunStatus::UpstreamError, "{api} {answer}");
            assert_eq!(record.failure.unwrap().code, code, "{api} {answer}");
            if code == "upstream-not-an-api" {
                assert_eq!(got.code(), code, "{api}");
            } else {
                assert_eq!(&got.body[..], answer.as_bytes(), "{api}");
            }
        }
    }
}

#[tokio::test]
async fn a_stream_of_responses_that_breaks_off_ends_with_an_event_that_its_clients_read() {
    let upstream = FakeUpstream::plain().await;
    let mut world = World::new(standard(upstream.address));
    let chunks = upstream.stream(SSE);
    let request = json!({"model": "std-model", "input": "hi", "stream": true}).to_string();
    let mut response = world
        .post(&world.caller(1), Api::Responses.path(), request)
        .await;
    let begun = "data: {\"type\":\"response.created\",\"response\":{}}\n\n";
    chunks
        .send(Ok(Bytes::from_static(begun.as_bytes())))
        .await
        .unwrap();
    let first = response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), begun);
    chunks
        .send(Err(std::io::Error::other("gone")))
        .await
        .unwrap();
    let got = Got::of(response).await;
    let text = String::from_utf8(got.body.to_vec()).unwrap();
    let data = text.strip_prefix("event: error\ndata: ").unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["type"], "error");
    for place in ["/code", "/error/code"] {
        assert_eq!(data.pointer(place).unwrap(), "upstream-broke-off");
    }
    assert_eq!(got.trailer("x-proofroom-status"), "upstream-error");
    assert_eq!(world.record().await.1.status, RunStatus::UpstreamError);
}

#[tokio::test]
async fn an_upstream_is_asked_only_for_apis_that_it_speaks() {
    let mut upstream = FakeUpstream::plain().await;
    let only_messages = standard(upstream.address).replace(
        r#"["chat", "messages", "responses", "embeddings", "rerank"]"#,
        r#"["messages"]"#,
    );
    let mut world = World::new(only_messages);
    let caller = world.caller(1);
    for (api, request) in [
        (
            Api::Embeddings,
            json!({"model": "std-model", "input": "hi"}),
        ),
        (
            Api::Rerank,
            json!({"model": "std-model", "query": "q", "documents": ["d"]}),
        ),
    ] {
        let got = Got::of(world.post(&caller, api.path(), request.to_string()).await).await;
        assert_eq!(
            (got.status.as_u16(), got.code().as_str()),
            (404, "model-not-served")
        );
        let (_, record) = world.record().await;
        assert_eq!(record.routing.rejected[0].code, "api-not-spoken", "{api}");
    }
    upstream.nothing_was_sent();
}
