//! Findings that are replaced by placeholders: what the upstream sees, what the client gets, and that
//! whatever cannot be replaced exactly goes where it went without.

use std::sync::Arc;

use bytes::Bytes;
use proofroom_canonical::Digest;
use proofroom_gateway::Caller;
use proofroom_llm::Api;
use proofroom_record::statement::ModelRun;
use serde_json::{Value, json};

use crate::{
    tee::TeeUpstream,
    translated::{SPOKEN, ask, speaking},
    upstream::FakeUpstream,
    world::{
        CHAT, CLASSIFICATION, Got, MESSAGES, Options, RESPONSES, SECRET, World, chat, standard, tee,
    },
};

const MAIL: &str = "jane.miller@corp-mail.com";
const REDACTION: &str = "\n[redaction]\nrules = [\"code-name\", \"contact-email\"]\n";

fn world(upstreams: String) -> World {
    let mut options = Options::of(upstreams);
    options.classification = format!("{CLASSIFICATION}{REDACTION}");
    World::with(&options)
}

/// The names that stand in what the upstream was sent.
fn names(body: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(body).unwrap();
    let found = text.match_indices("REDACTED_").map(|(at, _)| {
        let (_, rest) = text.split_at(at + "REDACTED_".len());
        let (letters, _) = rest.split_once(|c: char| !c.is_ascii_lowercase()).unwrap();
        format!("REDACTED_{letters}")
    });
    found.collect()
}

/// Posts, answers with the pieces that `answer` makes of the names in the forwarded request.
async fn exchange(
    world: &World,
    upstream: &mut FakeUpstream,
    caller: &Arc<Caller>,
    (path, body): (&str, String),
    answer: impl FnOnce(&[String]) -> Vec<String>,
) -> (Bytes, Got) {
    let kind = if body.contains("\"stream\":true") {
        "text/event-stream"
    } else {
        "application/json"
    };
    let pieces = upstream.stream(kind);
    let posting = async { Got::of(world.post(caller, path, body).await).await };
    let answering = async {
        let seen = upstream.seen.recv().await.unwrap();
        for piece in answer(&names(&seen.body)) {
            pieces.send(Ok(Bytes::from(piece))).await.unwrap();
        }
        drop(pieces);
        seen.body
    };
    let (got, seen) = tokio::join!(posting, answering);
    (seen, got)
}

fn whole(content: &str) -> Vec<String> {
    let answer = json!({"choices": [{"index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "content": content}}]});
    vec![answer.to_string()]
}

fn check(record: &ModelRun, forwarded: &[u8], answer: &[u8]) {
    assert_eq!(record.routing.tier.as_deref(), Some("standard"));
    assert_eq!(record.request.forwarded, Some(Digest::of(forwarded)));
    assert_ne!(record.request.forwarded, Some(record.request.received));
    assert_eq!(record.response.as_ref().unwrap().digest, Digest::of(answer));
}

#[tokio::test]
async fn what_is_found_is_replaced_for_the_standard_tier_and_comes_back() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = world(standard(upstream.address));
    let caller = world.caller(1);
    let body = chat("std-model", &format!("tell {MAIL} of {SECRET}, {SECRET}"));
    let (seen, got) = exchange(&world, &mut upstream, &caller, (CHAT, body), |names| {
        assert_eq!(names.len(), 3);
        assert_eq!(names[1], names[2]);
        whole(&format!("I told {} of {}", names[0], names[1]))
    })
    .await;
    let text = String::from_utf8(seen.to_vec()).unwrap();
    assert!(!text.contains("Heron") && !text.contains("jane"), "{text}");
    let answer: Value = serde_json::from_slice(&got.body).unwrap();
    assert_eq!(
        answer["choices"][0]["message"]["content"],
        format!("I told {MAIL} of {SECRET}")
    );
    let (_, record) = world.record().await;
    check(&record, &seen, &got.body);
    assert_eq!(record.classification.label, "restricted");
    assert_eq!(record.classification.high_water_after, "restricted");
    let redaction = record.classification.redaction.unwrap();
    assert_eq!(
        (redaction.label.as_str(), redaction.restored),
        ("public", 2)
    );
    let replaced: Vec<_> = redaction
        .replaced
        .iter()
        .map(|r| (r.rule.as_str(), r.values))
        .collect();
    assert_eq!(replaced, [("code-name", 1), ("contact-email", 1)]);
    // the same value has the same name for as long as the session lasts, and no longer
    let again = |caller: Arc<Caller>| {
        let body = chat("std-model", &format!("{SECRET} again"));
        (caller, body)
    };
    let mut seen_names = Vec::new();
    for caller in [caller, world.caller(2)] {
        let (caller, body) = again(caller);
        let told = |found: &[String]| whole(&found[0]);
        let (seen, _) = exchange(&world, &mut upstream, &caller, (CHAT, body), told).await;
        seen_names.push(names(&seen).remove(0));
    }
    assert!(text.contains(&seen_names[0]) && !text.contains(&seen_names[1]));
}

/// One streamed answer whose tool call has these pieces as arguments.
fn streamed(path: &str, pieces: &[&str]) -> Vec<String> {
    let event = |piece: &&str| match path {
        CHAT => json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0,
            "function": {"arguments": piece}}]}, "finish_reason": null}]}),
        MESSAGES => json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": piece}}),
        _ => json!({"type": "response.function_call_arguments.delta", "output_index": 0,
            "item_id": "i0", "delta": piece}),
    };
    let whole = json!({"type": "function_call", "arguments": pieces.concat()});
    let end = match path {
        CHAT => vec!["[DONE]".to_owned()],
        MESSAGES => vec![
            json!({"type": "content_block_stop", "index": 0}).to_string(),
            json!({"type": "message_stop"}).to_string(),
        ],
        _ => vec![
            json!({"type": "response.completed", "response": {"status": "completed", "output": [whole]}})
                .to_string(),
        ],
    };
    let events = pieces.iter().map(|piece| event(piece).to_string());
    events
        .chain(end)
        .map(|data| format!("data: {data}\n\n"))
        .collect()
}

#[tokio::test]
async fn streamed_tool_arguments_come_back_whole_in_each_api() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = world(standard(upstream.address));
    for (path, number, times) in [(CHAT, 1, 1), (MESSAGES, 2, 1), (RESPONSES, 3, 2)] {
        let caller = world.caller(number);
        let message = json!([{"role": "user", "content": format!("write {MAIL}")}]);
        let body = match path {
            RESPONSES => {
                json!({"model": "std-model", "stream": true, "store": false, "input": message})
            }
            _ => {
                json!({"model": "std-model", "max_tokens": 9, "stream": true, "messages": message})
            }
        };
        let answer = |names: &[String]| {
            let arguments = format!("{{\"text\": \"{}\"}}", names[0]);
            let pieces = arguments.as_bytes().chunks(7);
            let pieces: Vec<&str> = pieces
                .map(|piece| std::str::from_utf8(piece).unwrap())
                .collect();
            streamed(path, &pieces)
        };
        let exchanged = exchange(
            &world,
            &mut upstream,
            &caller,
            (path, body.to_string()),
            answer,
        );
        let (seen, got) = exchanged.await;
        assert!(!std::str::from_utf8(&seen).unwrap().contains("jane"));
        let mut arguments = String::new();
        for line in std::str::from_utf8(&got.body).unwrap().lines() {
            let data = line.strip_prefix("data: ");
            let value: Option<Value> = data.and_then(|data| serde_json::from_str(data).ok());
            let value = value.unwrap_or_default();
            let call = &value["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"];
            let piece = [call, &value["delta"]["partial_json"], &value["delta"]];
            arguments.extend(piece.into_iter().find_map(Value::as_str));
            let whole = &value["response"]["output"][0]["arguments"];
            assert!(whole.is_null() || *whole == arguments, "{value}");
        }
        assert_eq!(arguments, format!("{{\"text\": \"{MAIL}\"}}"));
        let (_, record) = world.record().await;
        assert_eq!(record.classification.redaction.unwrap().restored, times);
        assert_eq!(got.trailer("x-proofroom-status"), "complete");
    }
}

#[tokio::test]
async fn what_cannot_be_replaced_exactly_goes_by_its_label() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = world(standard(upstream.address));
    let image = json!({"model": "std-model", "messages": [{"role": "user", "content": [
        {"type": "text", "text": MAIL},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]});
    let split = json!({"model": "std-model", "messages": [
        {"role": "user", "content": "about Project "}, {"role": "user", "content": "Heron and no more"}]});
    let name = json!({"model": "std-model", "messages": [{"role": "user", "content": "x"}],
        (MAIL): "a member's name"});
    for (number, body) in [image, split, name].into_iter().enumerate() {
        let caller = world.caller(u8::try_from(number).unwrap());
        let got = Got::of(world.post(&caller, CHAT, body.to_string()).await).await;
        assert_eq!(got.code(), "label-requires-tier", "{body}");
        upstream.nothing_was_sent();
        let (_, record) = world.record().await;
        assert_eq!(record.classification.redaction, None);
        assert_eq!(record.request.forwarded, None);
    }
}

#[tokio::test]
async fn an_attested_tier_gets_the_request_as_it_came_and_the_session_never_falls_back() {
    let mut standard_one = FakeUpstream::plain().await;
    let mut attested = TeeUpstream::start().await;
    let mut world = world(standard(standard_one.address) + &tee(attested.upstream.address));
    let caller = world.caller(1);
    let body = chat("tee-model", &format!("about {SECRET}"));
    Got::of(world.post(&caller, CHAT, body.clone()).await).await;
    assert_eq!(attested.upstream.seen.recv().await.unwrap().body, body);
    let (_, record) = world.record().await;
    assert_eq!(record.classification.redaction, None);
    // a model that saw it may say it in other words, so what is left is not all that there is
    let body = chat("std-model", &format!("go on about {SECRET}"));
    let got = Got::of(world.post(&caller, CHAT, body).await).await;
    assert_eq!(got.code(), "label-requires-tier");
    standard_one.nothing_was_sent();
}

/// An answer in `api` that says `text`, whole or in pieces.
fn said(api: Api, stream: bool, text: &str) -> Vec<String> {
    if !stream {
        return vec![whole_answer(api, text).to_string()];
    }
    let pieces = text.as_bytes().chunks(7);
    let pieces = pieces.map(|piece| std::str::from_utf8(piece).unwrap());
    let delta = |piece| match api {
        Api::Messages => json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "text_delta", "text": piece}}),
        Api::Responses => json!({"type": "response.output_text.delta", "output_index": 0,
            "item_id": "i", "content_index": 0, "delta": piece}),
        _ => json!({"id": "c", "model": "std-model",
            "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": null}]}),
    };
    let (before, after) = around(api, text);
    let done = (api == Api::ChatCompletions).then(|| "data: [DONE]\n\n".to_owned());
    let events = before.into_iter().chain(pieces.map(delta)).chain(after);
    events
        .map(|event| format!("data: {event}\n\n"))
        .chain(done)
        .collect()
}

fn whole_answer(api: Api, text: &str) -> Value {
    let usage = json!({"input_tokens": 1, "output_tokens": 1, "total_tokens": 2});
    match api {
        Api::Messages => json!({"id": "m", "type": "message", "role": "assistant",
            "model": "std-model", "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn", "usage": usage}),
        Api::Responses => {
            let part = json!([{"type": "output_text", "text": text, "annotations": []}]);
            let item = json!({"type": "message", "role": "assistant", "content": part});
            json!({"id": "r", "object": "response", "status": "completed",
                "model": "std-model", "output": [item], "usage": usage})
        }
        _ => json!({"id": "c", "model": "std-model",
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            "choices": [{"index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": text}}]}),
    }
}

/// What a stream says before the pieces of its text, and after them.
fn around(api: Api, text: &str) -> (Vec<Value>, Vec<Value>) {
    match api {
        Api::Messages => {
            let mut message = whole_answer(api, "");
            message["content"] = json!([]);
            let start = json!({"type": "content_block_start", "index": 0,
                "content_block": {"type": "text", "text": ""}});
            let delta = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
                "usage": {"output_tokens": 1}});
            let stop = json!({"type": "content_block_stop", "index": 0});
            (
                vec![json!({"type": "message_start", "message": message}), start],
                vec![stop, delta, json!({"type": "message_stop"})],
            )
        }
        Api::Responses => {
            let created = json!({"type": "response.created",
                "response": {"id": "r", "model": "std-model"}});
            let added = json!({"type": "response.output_item.added", "output_index": 0,
                "item": {"type": "message", "role": "assistant"}});
            let response = whole_answer(api, text);
            let completed = json!({"type": "response.completed", "response": response});
            (vec![created, added], vec![completed])
        }
        _ => {
            let mut last = whole_answer(api, "");
            last["choices"] = json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]);
            (Vec::new(), vec![last])
        }
    }
}

/// The pieces of text in a stream of any of the APIs, put together.
fn streamed_text(body: &[u8]) -> String {
    let mut text = String::new();
    for line in std::str::from_utf8(body).unwrap().lines() {
        let data = line.strip_prefix("data: ");
        let event: Value = data
            .and_then(|data| serde_json::from_str(data).ok())
            .unwrap_or_default();
        let piece = [
            &event["choices"][0]["delta"]["content"],
            &event["delta"]["text"],
            &event["delta"],
        ];
        text.extend(piece.into_iter().find_map(Value::as_str));
    }
    text
}

#[tokio::test]
async fn a_translated_request_goes_without_its_values_and_its_answer_comes_with_them() {
    for (spoken, name) in SPOKEN {
        let mut upstream = FakeUpstream::plain().await;
        let mut world = world(speaking(upstream.address, &format!("[\"{name}\"]")));
        for (client, stream) in SPOKEN
            .iter()
            .flat_map(|(api, _)| [(*api, false), (*api, true)])
        {
            if client == spoken {
                continue;
            }
            let caller = world.caller(1);
            let body = ask(client, "std-model", &format!("tell {MAIL} of it"), stream);
            let mut sent = String::new();
            let answer = |names: &[String]| {
                let pieces = said(spoken, stream, &format!("I told {}!", names[0]));
                sent = pieces.concat();
                pieces
            };
            let posted = (client.path(), body.clone());
            let (seen, got) = exchange(&world, &mut upstream, &caller, posted, answer).await;
            let about = format!("{client} by {spoken}, {stream}: {got:?}");
            assert!(
                !std::str::from_utf8(&seen).unwrap().contains("jane"),
                "{about}"
            );
            let wanted = format!("I told {MAIL}!");
            if stream {
                assert_eq!(streamed_text(&got.body), wanted, "{about}");
            }
            let text = std::str::from_utf8(&got.body).unwrap();
            assert!(text.contains(&wanted) || stream, "{about}");
            assert!(!text.contains("REDACTED_"), "{about}");
            let (_, record) = world.record().await;
            check(&record, &seen, &got.body);
            assert_eq!(record.request.received, Digest::of(&body));
            let translated = record.translated.as_ref().unwrap();
            assert_eq!(translated.endpoint, spoken.path());
            assert_eq!(translated.answer, Some(Digest::of(&sent)), "{about}");
            let redaction = record.classification.redaction.unwrap();
            assert_eq!(redaction.label, "public");
            assert!(redaction.restored >= 1, "{about}");
            assert_eq!(got.trailer("x-proofroom-status"), "complete", "{about}");
        }
    }
}

#[tokio::test]
async fn a_request_that_the_upstreams_format_cannot_say_is_not_sent_without_its_values_either() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = world(speaking(upstream.address, "[\"messages\"]"));
    let caller = world.caller(1);
    let body = json!({"model": "std-model", "logit_bias": {"1": 2},
        "messages": [{"role": "user", "content": format!("to {MAIL} now")}]});
    let got = Got::of(world.post(&caller, CHAT, body.to_string()).await).await;
    assert_eq!(got.code(), "label-requires-tier");
    upstream.nothing_was_sent();
    let (_, record) = world.record().await;
    assert_eq!(record.classification.redaction, None);
}

#[tokio::test]
async fn embeddings_are_of_the_placeholders_and_ranked_documents_come_back() {
    let mut upstream = FakeUpstream::plain().await;
    let mut world = world(standard(upstream.address));
    let caller = world.caller(1);
    let input = json!([format!("all about {SECRET} here"), "and more"]);
    let body = json!({"model": "std-model", "input": input}).to_string();
    let vectors = json!({"object": "list", "model": "std-model",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -1.5]}],
        "usage": {"prompt_tokens": 3, "total_tokens": 3}});
    let path = Api::Embeddings.path();
    let answer = |names: &[String]| {
        assert_eq!(names.len(), 1);
        vec![vectors.to_string()]
    };
    let posted = (path, body);
    let (seen, got) = exchange(&world, &mut upstream, &caller, posted, answer).await;
    assert!(!std::str::from_utf8(&seen).unwrap().contains("Heron"));
    assert_eq!(got.body, vectors.to_string());
    let (_, record) = world.record().await;
    check(&record, &seen, &got.body);
    let redaction = record.classification.redaction.unwrap();
    assert_eq!((redaction.replaced[0].values, redaction.restored), (1, 0));
    // what ends where the next input begins may go on there
    let input = json!([format!("about {SECRET}"), "and more"]);
    let body = json!({"model": "std-model", "input": input}).to_string();
    let got = Got::of(world.post(&caller, path, body).await).await;
    assert_eq!(got.code(), "label-requires-tier");
    upstream.nothing_was_sent();
    world.record().await;
    // a session of its own: the one above was refused with its request as it came
    let caller = world.caller(2);
    let documents = json!(["one", {"text": format!("write to {MAIL} today")}, "three"]);
    let body = json!({"model": "std-model", "query": format!("who is {MAIL}, then?"),
        "documents": documents, "return_documents": true});
    let path = Api::Rerank.path();
    let answer = |names: &[String]| {
        assert_eq!(names.len(), 2);
        assert_eq!(names[0], names[1]);
        let text = format!("write to {} today", names[0]);
        let answer = json!({"id": "x", "model": "std-model", "results": [
            {"index": 1, "relevance_score": 0.9, "document": {"text": text}},
            {"index": 0, "relevance_score": 0.1, "document": {"text": "one"}}]});
        vec![answer.to_string()]
    };
    let posted = (path, body.to_string());
    let (seen, got) = exchange(&world, &mut upstream, &caller, posted, answer).await;
    assert!(!std::str::from_utf8(&seen).unwrap().contains("jane"));
    let answer: Value = serde_json::from_slice(&got.body).unwrap();
    let document = &answer["results"][0]["document"]["text"];
    assert_eq!(*document, format!("write to {MAIL} today"));
    let (_, record) = world.record().await;
    check(&record, &seen, &got.body);
    assert_eq!(record.classification.redaction.unwrap().restored, 1);
}
