//! A turn as Anthropic Messages: whole, and as a stream of events.

use serde_json::{Value, json};

use super::{
    Turn,
    player::{Asked, pieces, tokens_of},
};

/// The whole answer.
pub(super) fn answer(asked: &Asked, number: usize, turn: &Turn) -> Value {
    let mut content = Vec::new();
    if !turn.text.is_empty() {
        content.push(json!({"type": "text", "text": turn.text}));
    }
    for (index, call) in turn.tool_calls.iter().enumerate() {
        content.push(
            json!({"type": "tool_use", "id": call_id(number, index), "name": call.name,
            "input": call.arguments}),
        );
    }
    head(
        asked,
        number,
        &content,
        &stop_reason(turn).into(),
        tokens_of(turn),
    )
}

/// The same as server-sent events.
pub(super) fn events(asked: &Asked, number: usize, turn: &Turn) -> Vec<String> {
    let message = head(asked, number, &[], &Value::Null, 1);
    let mut events = vec![
        event(&json!({"type": "message_start", "message": message})),
        event(&json!({"type": "ping"})),
    ];
    let mut index = 0;
    if !turn.text.is_empty() {
        let start = json!({"type": "text", "text": ""});
        let deltas = pieces(&turn.text).map(|piece| json!({"type": "text_delta", "text": piece}));
        block(&mut events, index, &start, deltas);
        index += 1;
    }
    for (place, call) in turn.tool_calls.iter().enumerate() {
        let start = json!({"type": "tool_use", "id": call_id(number, place), "name": call.name,
            "input": {}});
        let arguments = call.arguments.to_string();
        let deltas = pieces(&arguments)
            .map(|piece| json!({"type": "input_json_delta", "partial_json": piece}));
        block(&mut events, index, &start, deltas);
        index += 1;
    }
    events.push(event(&json!({"type": "message_delta",
        "delta": {"stop_reason": stop_reason(turn), "stop_sequence": null},
        "usage": {"output_tokens": tokens_of(turn)}})));
    events.push(event(&json!({"type": "message_stop"})));
    events
}

fn block(
    events: &mut Vec<String>,
    index: usize,
    start: &Value,
    deltas: impl Iterator<Item = Value>,
) {
    let start = json!({"type": "content_block_start", "index": index, "content_block": start});
    events.push(event(&start));
    events.extend(deltas.map(|delta| {
        event(&json!({"type": "content_block_delta", "index": index, "delta": delta}))
    }));
    events.push(event(
        &json!({"type": "content_block_stop", "index": index}),
    ));
}

fn event(data: &Value) -> String {
    let name = data.get("type").and_then(Value::as_str).unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n")
}

fn head(
    asked: &Asked,
    number: usize,
    content: &[Value],
    stop_reason: &Value,
    output_tokens: u64,
) -> Value {
    json!({
        "id": format!("msg_cassette_{number}"),
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": null,
        "usage": {"input_tokens": asked.tokens, "output_tokens": output_tokens},
    })
}

fn stop_reason(turn: &Turn) -> &'static str {
    if turn.tool_calls.is_empty() {
        "end_turn"
    } else {
        "tool_use"
    }
}

fn call_id(number: usize, index: usize) -> String {
    format!("toolu_cassette_{number}_{index}")
}
