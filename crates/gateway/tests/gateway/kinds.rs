//! How upstreams of different makers want to be asked: what arrives at each.

use proofroom_gateway::{ServedModelsError, config::BaseUrl, served_models};
use proofroom_llm::Api;
use serde_json::json;

use crate::{
    upstream::FakeUpstream,
    world::{Got, World, standard},
};

/// A maker's upstream: `paths`, the key's header, the path before what `paths` says; the API asked
/// for, the target that must arrive and the header that carries the key.
const KINDS: [(&str, &str, &str, Api, &str, &str); 9] = [
    (
        r#"{ form = "v1" }"#,
        "bearer",
        "",
        Api::ChatCompletions,
        "/v1/chat/completions",
        "authorization",
    ),
    // Mistral and OpenAI
    (
        r#"{ form = "v1" }"#,
        "bearer",
        "",
        Api::Embeddings,
        "/v1/embeddings",
        "authorization",
    ),
    // Anthropic
    (
        r#"{ form = "v1" }"#,
        "x-api-key",
        "",
        Api::Messages,
        "/v1/messages",
        "x-api-key",
    ),
    // Gemini
    (
        r#"{ form = "bare" }"#,
        "bearer",
        "/v1beta/openai",
        Api::ChatCompletions,
        "/v1beta/openai/chat/completions",
        "authorization",
    ),
    // Vertex
    (
        r#"{ form = "bare" }"#,
        "bearer",
        "/v1/projects/p/locations/l/endpoints/openapi",
        Api::ChatCompletions,
        "/v1/projects/p/locations/l/endpoints/openapi/chat/completions",
        "authorization",
    ),
    // an address that ends with the version
    (
        r#"{ form = "bare" }"#,
        "bearer",
        "/v1",
        Api::ChatCompletions,
        "/v1/chat/completions",
        "authorization",
    ),
    // Azure OpenAI, by deployments
    (
        r#"{ form = "azure-deployments", api_version = "2024-10-21" }"#,
        "api-key",
        "",
        Api::ChatCompletions,
        "/openai/deployments/std-model/chat/completions?api-version=2024-10-21",
        "api-key",
    ),
    (
        r#"{ form = "azure-deployments", api_version = "2024-10-21" }"#,
        "api-key",
        "",
        Api::Embeddings,
        "/openai/deployments/std-model/embeddings?api-version=2024-10-21",
        "api-key",
    ),
    (
        r#"{ form = "azure-deployments", api_version = "preview" }"#,
        "api-key",
        "",
        Api::Responses,
        "/openai/responses?api-version=preview",
        "api-key",
    ),
];

/// The upstreams file of one at `address`.
fn upstreams(address: &str, paths: &str, header: &str, prefix: &str, apis: &str) -> String {
    standard(address)
        .replace(
            &format!("http://{address}\""),
            &format!("http://{address}{prefix}\"\npaths = {paths}"),
        )
        .replace("header = \"bearer\"", &format!("header = \"{header}\""))
        .replace(
            r#"["chat", "messages", "responses", "embeddings", "rerank"]"#,
            apis,
        )
}

fn ask(api: Api, model: &str) -> String {
    match api {
        Api::Responses | Api::Embeddings => json!({"model": model, "input": "hi"}),
        _ => json!({"model": model, "messages": [{"role": "user", "content": "hi"}]}),
    }
    .to_string()
}

#[tokio::test]
async fn each_kind_of_upstream_is_asked_as_its_maker_wants() {
    for (paths, header, prefix, api, target, key) in KINDS {
        let mut upstream = FakeUpstream::plain().await;
        let address = upstream.address.to_string();
        let apis = match api {
            Api::Messages => r#"["messages"]"#,
            _ => r#"["chat", "responses", "embeddings"]"#,
        };
        let world = World::new(upstreams(&address, paths, header, prefix, apis));
        // by its alias: the deployment is the model that it stands for
        let sent = world
            .post(&world.caller(1), api.path(), ask(api, "nickname"))
            .await;
        drop(Got::of(sent).await);
        let seen = upstream.seen.recv().await.unwrap();
        assert_eq!(seen.target, target);
        let value = match key {
            "authorization" => "Bearer gateway-own-key",
            _ => "gateway-own-key",
        };
        assert_eq!(seen.headers[key], value, "{target}");
        let keys = ["authorization", "x-api-key", "api-key"];
        let carried = keys.iter().filter(|name| seen.headers.contains_key(**name));
        assert_eq!(carried.count(), 1, "{target}: {:?}", seen.headers);
    }
}

#[tokio::test]
async fn a_model_that_is_no_segment_of_a_path_is_never_put_into_one() {
    let mut upstream = FakeUpstream::plain().await;
    let address = upstream.address.to_string();
    let azure = r#"{ form = "azure-deployments", api_version = "2024-10-21" }"#;
    let file = upstreams(&address, azure, "api-key", "", r#"["chat"]"#)
        .replace(r#""std-model", "both-model""#, r#""*""#);
    let mut world = World::new(file);
    let caller = world.caller(1);
    for model in ["..", "a/../../secrets", "a?b=c", "a#b", "a%2fb"] {
        let body = ask(Api::ChatCompletions, model);
        let got = Got::of(world.post(&caller, Api::ChatCompletions.path(), body).await).await;
        assert_eq!(got.status, 502, "{model}");
        assert_eq!(got.code(), "upstream-unreachable", "{model}");
        assert_eq!(world.record().await.1.request.forwarded, None);
    }
    upstream.nothing_was_sent();
}

#[tokio::test]
async fn what_an_upstream_serves_is_asked_for_and_each_failure_has_its_code() {
    let upstream = FakeUpstream::plain().await;
    let base = BaseUrl::parse(&format!("http://{}", upstream.address)).unwrap();
    let long = format!("{{\"data\":[],\"x\":\"{}\"}}", "a".repeat(1024 * 1024));
    for (status, body, wanted) in [
        (
            200,
            r#"{"data":[{"id":"a"},{"id":"b"}]}"#,
            Ok(vec!["a", "b"]),
        ),
        (200, r#"["a"]"#, Err("upstream-not-an-api")),
        (200, long.as_str(), Err("upstream-not-an-api")),
        (401, "{}", Err("upstream-status")),
    ] {
        let answer = body.as_bytes().to_vec();
        *upstream.gets.lock().unwrap() =
            Box::new(move |target, _| (target == "/v1/models").then(|| (status, answer.clone())));
        let served = served_models(&base).await;
        let served = served
            .as_ref()
            .map(|names| names.iter().map(String::as_str).collect());
        assert_eq!(served.map_err(ServedModelsError::code), wanted);
    }
    upstream.stop().await;
    let gone = served_models(&base).await.unwrap_err();
    assert_eq!(gone.code(), "upstream-unreachable");
}
