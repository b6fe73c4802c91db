//! Chat Completions: where the pieces of texts stand in a chunk, and a chunk with one piece.

use serde_json::{Value, json};

use super::{Ended, Kind, Place, Step};

const PLAIN: [&str; 4] = ["content", "reasoning_content", "reasoning", "refusal"];

/// Chat Completions: pieces in `choices[].delta`; a choice ends with its `finish_reason`.
pub(super) fn steps(value: &Value) -> Vec<Step> {
    let mut steps = Vec::new();
    let choices = value.get("choices").and_then(Value::as_array);
    for (at, choice) in choices.into_iter().flatten().enumerate() {
        let block = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
        let base = format!("/choices/{at}/delta");
        let mut text = |member: &str, call: Option<u64>, kind: Kind, pointer: String| {
            let member = member.to_owned();
            let place = Place {
                block,
                member,
                call,
                kind,
            };
            steps.push(Step::Text { place, pointer });
        };
        for member in PLAIN {
            text(member, None, Kind::Plain, format!("{base}/{member}"));
        }
        let calls = choice
            .pointer("/delta/tool_calls")
            .and_then(Value::as_array);
        for (number, call) in calls.into_iter().flatten().enumerate() {
            let index = call.get("index").and_then(Value::as_u64);
            let index = Some(index.unwrap_or(number as u64));
            let pointer = format!("{base}/tool_calls/{number}/function/arguments");
            text("arguments", index, Kind::Arguments, pointer);
            let pointer = format!("{base}/tool_calls/{number}/custom/input");
            text("input", index, Kind::Plain, pointer);
        }
        let pointer = format!("{base}/function_call/arguments");
        text("arguments", None, Kind::Arguments, pointer);
        if choice
            .get("finish_reason")
            .is_some_and(|reason| !reason.is_null())
        {
            steps.push(Step::End(Ended::Block(block)));
        }
    }
    steps
}

/// A chunk with one piece of a text; `envelope` is another chunk of the stream without its choices.
pub(super) fn piece(envelope: &Value, place: &Place, text: &str) -> Value {
    let mut value = envelope.clone();
    if !value.is_object() {
        value = json!({"object": "chat.completion.chunk"});
    }
    let delta = delta(place, text);
    let choice = json!({"index": place.block, "delta": delta, "finish_reason": null});
    if let Some(members) = value.as_object_mut() {
        members.insert("choices".to_owned(), json!([choice]));
    }
    value
}

/// A chunk without its choices: later pieces look like it.
pub(super) fn envelope(chunk: &Value) -> Option<Value> {
    let kept = chunk
        .as_object()?
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "choices" | "usage"));
    Some(Value::Object(
        kept.map(|(n, v)| (n.clone(), v.clone())).collect(),
    ))
}

fn delta(place: &Place, text: &str) -> Value {
    let member = place.member.as_str();
    match (place.kind, place.call) {
        (Kind::Plain, None) => json!({member: text}),
        (Kind::Plain, Some(call)) => {
            json!({"tool_calls": [{"index": call, "custom": {"input": text}}]})
        }
        (Kind::Arguments, Some(call)) => {
            json!({"tool_calls": [{"index": call, "function": {"arguments": text}}]})
        }
        (Kind::Arguments, None) => json!({"function_call": {"arguments": text}}),
    }
}
