//! A turn as OpenAI Chat Completions: whole, and as a stream of chunks.

use serde_json::{Value, json};

use super::{
    Turn,
    player::{Asked, members, pieces},
};

/// The whole answer.
pub(super) fn answer(asked: &Asked, number: usize, turn: &Turn) -> Value {
    json!({
        "id": id(number),
        "object": "chat.completion",
        "created": 0,
        "model": asked.model,
        "system_fingerprint": "cassette",
        "choices": [{
            "index": 0,
            "message": message(number, turn),
            "logprobs": null,
            "finish_reason": finish_reason(turn),
        }],
        "usage": usage(asked, turn),
    })
}

/// The same as server-sent events, `[DONE]` included.
pub(super) fn events(asked: &Asked, number: usize, turn: &Turn) -> Vec<String> {
    let chunk = |choices: Value, usage: Value| {
        let mut chunk = members(json!({
            "id": id(number),
            "object": "chat.completion.chunk",
            "created": 0,
            "model": asked.model,
            "system_fingerprint": "cassette",
            "choices": choices,
        }));
        if asked.include_usage {
            chunk.insert("usage".to_owned(), usage);
        }
        format!("data: {}\n\n", Value::Object(chunk))
    };
    let delta = |delta: Value| {
        let choice = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]);
        chunk(choice, Value::Null)
    };
    let mut events = vec![delta(json!({"role": "assistant", "content": null}))];
    events.extend(pieces(&turn.text).map(|piece| delta(json!({"content": piece}))));
    for (index, call) in turn.tool_calls.iter().enumerate() {
        events.push(delta(json!({"tool_calls": [{
            "index": index,
            "id": call_id(number, index),
            "type": "function",
            "function": {"name": call.name, "arguments": ""},
        }]})));
        for piece in pieces(&call.arguments.to_string()) {
            events.push(delta(json!({"tool_calls": [
                {"index": index, "function": {"arguments": piece}}]})));
        }
    }
    let last = json!([{"index": 0, "delta": {}, "logprobs": null,
        "finish_reason": finish_reason(turn)}]);
    events.push(chunk(last, Value::Null));
    if asked.include_usage {
        events.push(chunk(json!([]), usage(asked, turn)));
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
}

fn message(number: usize, turn: &Turn) -> Value {
    let content = (!turn.text.is_empty()).then_some(&turn.text);
    let mut message = members(json!({"role": "assistant", "content": content, "refusal": null}));
    if !turn.tool_calls.is_empty() {
        let calls = turn.tool_calls.iter().enumerate();
        let calls = calls
            .map(|(index, call)| {
                json!({
                    "id": call_id(number, index),
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments.to_string()},
                })
            })
            .collect();
        message.insert("tool_calls".to_owned(), calls);
    }
    Value::Object(message)
}

fn usage(asked: &Asked, turn: &Turn) -> Value {
    let (input, output) = (asked.tokens, super::player::tokens_of(turn));
    json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output})
}

fn finish_reason(turn: &Turn) -> &'static str {
    if turn.tool_calls.is_empty() {
        "stop"
    } else {
        "tool_calls"
    }
}

fn id(number: usize) -> String {
    format!("chatcmpl-cassette-{number}")
}

fn call_id(number: usize, index: usize) -> String {
    format!("call_cassette_{number}_{index}")
}
