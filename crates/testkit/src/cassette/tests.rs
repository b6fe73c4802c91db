//! Tests of cassettes: choosing turns, both dialects over a real socket, attestation, faults.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use proofroom_canonical::Timestamp;
use serde_json::{Value, json};

use super::{Attested, Cassette, DEMO, Fault, HEADER, Player, choose};

const HELLO: &str = include_str!("../../cassettes/hello.json");
const SDK: &str = include_str!("../../cassettes/sdk.json");

fn cassettes() -> Vec<Cassette> {
    [SDK, HELLO]
        .iter()
        .map(|text| Cassette::parse(text).unwrap())
        .collect()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Status and body of a post; a body that breaks off is `None`.
fn post(path: &str, body: &Value) -> (StatusCode, Option<Vec<u8>>) {
    let player = Player::new(cassettes(), None);
    let request = Request::post(path)
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    block_on(async {
        let response = player.respond(request).await.unwrap();
        assert_eq!(response.headers()[HEADER], "1");
        let status = response.status();
        let body = response.into_body().collect().await;
        (status, body.ok().map(|body| body.to_bytes().to_vec()))
    })
}

fn json_of(body: Option<Vec<u8>>) -> Value {
    serde_json::from_slice(&body.unwrap()).unwrap()
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

#[test]
fn the_turn_is_the_number_of_answers_so_far() {
    let cassette = Cassette::parse(SDK).unwrap();
    let mut messages = vec![user("weather?")];
    assert_eq!(cassette.turn(&messages).unwrap().0, 0);
    messages.push(json!({"role": "assistant", "content": "x"}));
    messages.push(json!({"role": "tool", "content": "{\"sky\":\"rain\"}"}));
    assert_eq!(cassette.turn(&messages).unwrap().0, 1);
    messages.push(json!({"role": "assistant", "content": "x"}));
    let ended = cassette.turn(&messages).unwrap_err();
    assert_eq!(ended.code(), "cassette-ended");
}

#[test]
fn another_course_than_the_recorded_one_is_an_error_that_names_the_turn() {
    let text = r#"{"name": "c", "turns": [
        {"expect": ["a b"]}, {"expect_any": ["x", "y"]}, {"absent": ["root:"]}]}"#;
    let cassette = Cassette::parse(text).unwrap();
    let code = |messages: &[Value]| cassette.turn(messages).unwrap_err().code();
    assert_eq!(code(&[user("a")]), "cassette-mismatch");
    let answer = json!({"role": "assistant", "content": "y"});
    assert_eq!(code(&[answer.clone(), user("z")]), "cassette-mismatch");
    assert!(cassette.turn(&[answer.clone(), user("y")]).is_ok());
    let leaked = json!([{"type": "tool_result", "content": "{\"stdout\": \"root:x\"}"}]);
    let leaked = json!({"role": "user", "content": leaked});
    let error = cassette
        .turn(&[answer.clone(), answer, leaked])
        .unwrap_err();
    assert_eq!(error.code(), "cassette-forbidden");
    assert!(error.to_string().contains("turn 2"), "{error}");
}

#[test]
fn the_first_cassette_that_fits_the_task_is_chosen() {
    let all = cassettes();
    let chosen = |text: &str| choose(&all, &[user(text)]).unwrap().name.as_str();
    assert_eq!(chosen("the weather"), "sdk");
    assert_eq!(chosen("anything"), "hello");
    let refused = choose(&all[..1], &[user("anything")]).unwrap_err();
    assert_eq!(refused.code(), "cassette-none-fits");
}

#[test]
fn the_demonstration_fits_any_task_and_begins_with_looking() {
    let demo = Cassette::parse(DEMO).unwrap();
    let (number, turn) = demo.turn(&[user("whatever")]).unwrap();
    assert_eq!((number, turn.tool_calls[0].name.as_str()), (0, "list"));
}

#[test]
fn whole_answers_of_both_dialects_carry_the_same_turn() {
    let ask = json!({"model": "cassette-tee", "messages": [user("weather")]});
    let openai = json_of(post("/v1/chat/completions", &ask).1);
    let call = &openai["choices"][0]["message"]["tool_calls"][1];
    let arguments = call["function"]["arguments"].as_str().unwrap();
    let arguments: Value = serde_json::from_str(arguments).unwrap();
    assert_eq!(arguments, json!({"city": "São Paulo \"sul\""}));
    assert_eq!(openai["choices"][0]["finish_reason"], "tool_calls");
    let anthropic = json_of(post("/v1/messages", &ask).1);
    assert_eq!(anthropic["content"][2]["input"], arguments);
    assert_eq!(anthropic["stop_reason"], "tool_use");
    for answer in [openai, anthropic] {
        assert_eq!(answer["model"], "cassette-tee");
    }
}

#[test]
fn streams_of_both_dialects_carry_the_same_turn() {
    let mut ask = json!({"model": "cassette-tee", "messages": [user("weather")], "stream": true});
    ask["stream_options"] = json!({"include_usage": true});
    let data = |path: &str| -> Vec<Value> {
        let text = String::from_utf8(post(path, &ask).1.unwrap()).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
        lines
            .filter(|line| *line != "[DONE]")
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let openai = data("/v1/chat/completions");
    let arguments: String = openai
        .iter()
        .filter_map(|chunk| chunk.pointer("/choices/0/delta/tool_calls/0"))
        .filter(|call| call["index"] == 1)
        .filter_map(|call| call["function"]["arguments"].as_str())
        .collect();
    assert_eq!(arguments, r#"{"city":"São Paulo \"sul\""}"#);
    let usage = &openai.last().unwrap()["usage"];
    assert!(usage["total_tokens"].as_u64().unwrap() > 2, "{usage}");
    let anthropic = data("/v1/messages");
    let arguments: String = anthropic
        .iter()
        .filter(|event| event["index"] == 2)
        .filter_map(|event| event["delta"]["partial_json"].as_str())
        .collect();
    assert_eq!(arguments, r#"{"city":"São Paulo \"sul\""}"#);
    assert_eq!(anthropic.last().unwrap()["type"], "message_stop");
}

#[test]
fn responses_carry_the_same_turn_whole_and_streamed() {
    let call = |number: u8| {
        json!({"type": "function_call", "call_id": format!("call_{number}"), "name": "weather",
            "arguments": "{}"})
    };
    let result = |number: u8, sky: &str| {
        json!({"type": "function_call_output", "call_id": format!("call_{number}"),
            "output": format!("{{\"sky\":\"{sky}\"}}")})
    };
    let mut ask = json!({"model": "cassette-tee", "input": "weather"});
    let first = json_of(post("/v1/responses", &ask).1);
    let arguments = first["output"][2]["arguments"].as_str().unwrap();
    assert_eq!(arguments, r#"{"city":"São Paulo \"sul\""}"#);
    assert_eq!(first["status"], "completed");
    ask["stream"] = json!(true);
    let text = String::from_utf8(post("/v1/responses", &ask).1.unwrap()).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = lines.map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(
        events.last().unwrap()["response"]["output"],
        first["output"]
    );
    let streamed: String = events
        .iter()
        .filter(|event| event["output_index"] == 2)
        .filter_map(|event| event["delta"].as_str())
        .collect();
    assert_eq!(streamed, arguments);
    // two calls and their text are one answer, so the next is the second
    ask["stream"] = json!(false);
    ask["input"] = json!([{"role": "user", "content": "weather"},
        {"type": "message", "role": "assistant", "content": []},
        call(1), call(2), result(1, "rain"), result(2, "sun")]);
    let second = json_of(post("/v1/responses", &ask).1);
    assert_eq!(second["id"], "resp_cassette_1", "{second}");
}

#[test]
fn vectors_and_ranks_follow_the_texts() {
    let ask = json!({"model": "cassette-standard", "input": ["a", "b", "a"]});
    let embedded = json_of(post("/v1/embeddings", &ask).1);
    let vector = |n: usize| embedded["data"][n]["embedding"].clone();
    assert_eq!(vector(0), vector(2));
    assert_ne!(vector(0), vector(1));
    let ask = json!({"model": "cassette-standard", "query": "red fox",
        "documents": ["a blue whale", "the red fox", "a fox"]});
    let ranked = json_of(post("/v1/rerank", &ask).1);
    let order: Vec<_> = (0..3)
        .map(|n| ranked["results"][n]["index"].clone())
        .collect();
    assert_eq!(order, [1, 2, 0]);
    let nobody = json!({"model": "gpt-5", "input": "a"});
    assert_eq!(post("/v1/embeddings", &nobody).0, StatusCode::BAD_REQUEST);
}

#[test]
fn only_models_named_cassette_are_played() {
    let ask = json!({"model": "gpt-5", "messages": []});
    let (status, body) = post("/v1/chat/completions", &ask);
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(json_of(body)["error"]["code"], "model-not-found");
}

#[test]
fn each_fault_is_what_its_name_says() {
    let answer = |fault: Fault| {
        let ask = json!({"model": fault.model(), "messages": [], "stream": true});
        post("/v1/chat/completions", &ask)
    };
    assert_eq!(answer(Fault::TooManyRequests).0.as_u16(), 429);
    assert_eq!(answer(Fault::ServerError).0.as_u16(), 500);
    let garbage = answer(Fault::GarbageJson).1.unwrap();
    assert!(serde_json::from_slice::<Value>(&garbage).is_err());
    let bytes = answer(Fault::InvalidUtf8).1.unwrap();
    assert!(std::str::from_utf8(&bytes).is_err());
    assert_eq!(answer(Fault::DieMidStream).1, None);
    assert!(answer(Fault::BigArguments).1.unwrap().len() > 10 << 20);
    assert!(
        json_of(answer(Fault::WrongShape).1)
            .get("choices")
            .is_none()
    );
    for fault in Fault::ALL {
        assert_eq!(Fault::of_model(&fault.model()), Some(fault));
    }
}

#[test]
fn evidence_names_the_tls_key_the_nonce_and_the_model() {
    let attested = Attested::new("cassette-tee").unwrap();
    let nonce = "ab".repeat(32);
    let document = attested
        .evidence(&nonce, Timestamp::from_unix_seconds(1_790_000_000))
        .unwrap();
    let document: Value = serde_json::from_slice(&document).unwrap();
    assert!(document.is_object());
    let refused = attested.evidence("ab", Timestamp::from_unix_seconds(0));
    assert_eq!(refused.unwrap_err().code(), "nonce-invalid");
}
