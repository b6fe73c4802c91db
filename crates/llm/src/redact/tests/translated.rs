//! The same where the upstream speaks another API than the client: what it streams is said in the client's format,
//! and there everything is put back.

use proofroom_canonical::Sensitive;
use serde_json::{Value, json};

use super::{
    Case, Dice, Placeholder, Restorer, assembled, assert_said_again, case, chat_events, copies,
    message_events, response_events,
};
use crate::{
    Api, Framing,
    translate::{Translation, UsageEvent},
};

const APIS: [Api; 3] = [Api::ChatCompletions, Api::Messages, Api::Responses];

/// The events of a whole stream, with all that a real upstream says beside the pieces.
fn events(api: Api, pieces: &[(Option<usize>, String)]) -> Vec<Value> {
    match api {
        Api::ChatCompletions => named_calls(chat_events(pieces)),
        Api::Responses => added_items(response_events(pieces)),
        _ => {
            let mut events = message_events(pieces);
            let end = json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"},
                "usage": {"output_tokens": 1}});
            events.insert(events.len() - 1, end);
            events
        }
    }
}

/// The first piece of each call has its id and its name.
fn named_calls(mut events: Vec<Value>) -> Vec<Value> {
    let mut begun = std::collections::BTreeSet::new();
    for event in &mut events {
        let Some(call) = event.pointer_mut("/choices/0/delta/tool_calls/0") else {
            continue;
        };
        if let Some(index) = call["index"].as_u64().filter(|index| begun.insert(*index)) {
            call["id"] = json!(format!("call_{index}"));
            call["function"]["name"] = json!("write");
        }
    }
    events
}

/// Each item begins before its pieces.
fn added_items(events: Vec<Value>) -> Vec<Value> {
    let mut out = Vec::new();
    let mut begun = std::collections::BTreeSet::new();
    for event in events {
        let kind = event["type"].as_str().unwrap_or_default();
        let index = event["output_index"]
            .as_u64()
            .filter(|_| kind.ends_with(".delta"));
        if let Some(index) = index.filter(|index| begun.insert(*index)) {
            let item = match kind {
                "response.output_text.delta" => json!({"type": "message", "role": "assistant"}),
                _ => json!({"type": "function_call", "call_id": format!("call_{index}"),
                    "name": "write", "arguments": ""}),
            };
            out.push(
                json!({"type": "response.output_item.added", "output_index": index,
                "item": item}),
            );
        }
        out.push(event);
    }
    if let Some(last) = out.last_mut() {
        last["response"]["status"] = json!("completed");
    }
    out
}

fn written(api: Api, events: &[Value]) -> Vec<u8> {
    let mut out = String::new();
    for event in events {
        if let Some(name) = event["type"].as_str() {
            out.push_str(&format!("event: {name}\n"));
        }
        out.push_str(&format!("data: {event}\n\n"));
    }
    if api == Api::ChatCompletions {
        out.push_str("data: [DONE]\n\n");
    }
    out.into_bytes()
}

/// What the client gets of the upstream's stream.
fn passed(
    translation: Translation,
    client: Api,
    placeholders: &[Placeholder],
    chunks: Vec<&[u8]>,
) -> (Vec<u8>, u64) {
    let mut translator = translation.stream(UsageEvent::NotAsked);
    let mut restorer = Restorer::new(client, Framing::EventStream, copies(placeholders));
    let mut out = Vec::new();
    for chunk in chunks {
        out.extend(restorer.push(&translator.push(chunk).unwrap()));
    }
    out.extend(restorer.push(&translator.finish().unwrap()));
    out.extend(restorer.finish());
    (out, restorer.restored())
}

#[test]
fn a_thousand_streamed_tool_calls_of_each_translated_pair_come_back_byte_for_byte() {
    for (client, upstream) in APIS
        .into_iter()
        .flat_map(|client| APIS.map(|api| (client, api)))
    {
        let Some(translation) = Translation::between(client, upstream) else {
            continue;
        };
        for number in 0..1000 {
            let mut dice = Dice(number);
            let Case {
                placeholders,
                pieces,
                text,
                calls,
                count,
            } = case(&mut dice);
            let stream = written(upstream, &events(upstream, &pieces));
            let chunks = dice.cut_bytes(&stream);
            let (out, restored) = passed(translation, client, &placeholders, chunks);
            let mut got = assembled(client, &out);
            got.retain(|_, text| !text.is_empty());
            let about = format!("{upstream} for {client}, case {number}");
            if client == Api::Responses {
                assert_said_again(&out, &got);
                assert!(restored >= 4 * count, "{about}");
            } else {
                assert_eq!(restored, count, "{about}");
            }
            assert_eq!(got.remove("text").unwrap(), text, "{about}");
            let got: Vec<String> = got.into_values().collect();
            assert_eq!(got, calls, "{about}");
        }
    }
}

#[test]
fn arguments_that_are_a_document_in_one_format_and_text_in_another_come_back() {
    let placeholder = Placeholder {
        name: "REDACTED_abcdefghijklmnopabcdefgh".to_owned(),
        value: Sensitive::new("a \"quoted\"\nvalue".to_owned()),
    };
    let named = json!({"text": placeholder.name});
    let chat = json!({"id": "c", "model": "m", "choices": [{"index": 0, "finish_reason": "tool_calls",
        "message": {"role": "assistant", "content": placeholder.name, "tool_calls": [{"id": "1",
            "type": "function", "function": {"name": "w", "arguments": named.to_string()}}]}}]});
    let messages = json!({"id": "m", "type": "message", "role": "assistant", "model": "m",
        "stop_reason": "tool_use", "content": [{"type": "text", "text": placeholder.name},
            {"type": "tool_use", "id": "1", "name": "w", "input": named}],
        "usage": {"input_tokens": 1, "output_tokens": 1}});
    let value = json!({"text": placeholder.value.expose()});
    for (client, upstream, answer) in [
        (Api::Messages, Api::ChatCompletions, chat),
        (Api::ChatCompletions, Api::Messages, messages),
    ] {
        let translation = Translation::between(client, upstream).unwrap();
        let said = translation.answer(answer.to_string().as_bytes()).unwrap();
        let placeholders = copies(std::slice::from_ref(&placeholder));
        let mut restorer = Restorer::new(client, Framing::Json, placeholders);
        let mut out = restorer.push(&said);
        out.extend(restorer.finish());
        let out: Value = serde_json::from_slice(&out).unwrap();
        let message = &out["choices"][0]["message"];
        let (text, arguments) = match client {
            Api::Messages => (
                &out["content"][0]["text"],
                out["content"][1]["input"].clone(),
            ),
            _ => {
                let text = message["tool_calls"][0]["function"]["arguments"].as_str();
                let parsed = serde_json::from_str(text.unwrap());
                (&message["content"], parsed.unwrap())
            }
        };
        assert_eq!(text, placeholder.value.expose());
        assert_eq!(arguments, value);
        assert_eq!(restorer.restored(), 2);
    }
}
