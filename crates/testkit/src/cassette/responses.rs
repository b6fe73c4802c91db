//! A turn as OpenAI Responses: whole, and as a stream of typed events.

use serde_json::{Value, json};

use super::{
    Turn,
    player::{Asked, members, pieces, tokens_of},
};

/// `input` as a conversation of messages, in which what one answer consisted of is one message.
pub(super) fn messages(input: &Value) -> Vec<Value> {
    let Value::Array(items) = input else {
        return vec![json!({"role": "user", "content": input})];
    };
    let mut messages: Vec<Value> = Vec::new();
    let mut answering = false;
    for item in items {
        let answer = is_answer(item);
        if !answer || !answering {
            messages.push(json!({"role": role(item), "content": []}));
        }
        let last = messages.last_mut().and_then(|last| last.get_mut("content"));
        if let Some(Value::Array(content)) = last {
            content.push(item.clone());
        }
        answering = answer;
    }
    messages
}

fn is_answer(item: &Value) -> bool {
    let kind = item.get("type").and_then(Value::as_str);
    let role = item.get("role").and_then(Value::as_str);
    role == Some("assistant")
        || kind.is_some_and(|kind| kind == "reasoning" || kind.ends_with("_call"))
}

fn role(item: &Value) -> Value {
    match item.get("role") {
        Some(role) => role.clone(),
        None if is_answer(item) => "assistant".into(),
        None => "tool".into(),
    }
}

/// The whole answer.
pub(super) fn answer(asked: &Asked, number: usize, turn: &Turn) -> Value {
    response(asked, number, "completed", &output(number, turn), turn)
}

/// The same as server-sent events.
pub(super) fn events(asked: &Asked, number: usize, turn: &Turn) -> Vec<String> {
    let mut events = Vec::new();
    let begun = response(asked, number, "in_progress", &[], turn);
    events.push(json!({"type": "response.created", "response": begun}));
    events.push(json!({"type": "response.in_progress", "response": begun}));
    for (index, item) in output(number, turn).iter().enumerate() {
        if item.get("type").and_then(Value::as_str) == Some("message") {
            said(&mut events, index, item, &turn.text);
        } else {
            called(&mut events, index, item);
        }
    }
    let done = answer(asked, number, turn);
    events.push(json!({"type": "response.completed", "response": done}));
    let numbered = events.into_iter().enumerate();
    numbered
        .map(|(number, event)| framed(number, event))
        .collect()
}

fn framed(number: usize, event: Value) -> String {
    let mut event = members(event);
    event.insert("sequence_number".to_owned(), number.into());
    let name = event
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    format!("event: {name}\ndata: {}\n\n", Value::Object(event.clone()))
}

fn said(events: &mut Vec<Value>, index: usize, item: &Value, text: &str) {
    let id = item.get("id");
    let mut begun = members(item.clone());
    begun.insert("content".to_owned(), json!([]));
    begun.insert("status".to_owned(), "in_progress".into());
    events
        .push(json!({"type": "response.output_item.added", "output_index": index, "item": begun}));
    events.push(
        json!({"type": "response.content_part.added", "item_id": id, "output_index": index,
        "content_index": 0, "part": part("")}),
    );
    for piece in pieces(text) {
        events.push(json!({"type": "response.output_text.delta", "item_id": id,
            "output_index": index, "content_index": 0, "delta": piece, "logprobs": []}));
    }
    events.push(
        json!({"type": "response.output_text.done", "item_id": id, "output_index": index,
        "content_index": 0, "text": text, "logprobs": []}),
    );
    events.push(
        json!({"type": "response.content_part.done", "item_id": id, "output_index": index,
        "content_index": 0, "part": part(text)}),
    );
    events.push(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
}

fn called(events: &mut Vec<Value>, index: usize, item: &Value) {
    let id = item.get("id");
    let arguments = item
        .get("arguments")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut begun = members(item.clone());
    begun.insert("arguments".to_owned(), "".into());
    begun.insert("status".to_owned(), "in_progress".into());
    events
        .push(json!({"type": "response.output_item.added", "output_index": index, "item": begun}));
    for piece in pieces(arguments) {
        events.push(
            json!({"type": "response.function_call_arguments.delta", "item_id": id,
            "output_index": index, "delta": piece}),
        );
    }
    events.push(
        json!({"type": "response.function_call_arguments.done", "item_id": id,
        "output_index": index, "name": item.get("name"), "arguments": arguments}),
    );
    events.push(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn output(number: usize, turn: &Turn) -> Vec<Value> {
    let mut items = Vec::new();
    if !turn.text.is_empty() {
        items.push(
            json!({"type": "message", "id": format!("msg_cassette_{number}"),
            "status": "completed", "role": "assistant", "content": [part(&turn.text)]}),
        );
    }
    for (index, call) in turn.tool_calls.iter().enumerate() {
        items.push(
            json!({"type": "function_call", "id": format!("fc_cassette_{number}_{index}"),
            "call_id": format!("call_cassette_{number}_{index}"), "status": "completed",
            "name": call.name, "arguments": call.arguments.to_string()}),
        );
    }
    items
}

fn response(asked: &Asked, number: usize, status: &str, output: &[Value], turn: &Turn) -> Value {
    let (input_tokens, output_tokens) = (asked.tokens, tokens_of(turn));
    let usage = (status == "completed").then(|| {
        json!({"input_tokens": input_tokens, "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": output_tokens, "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": input_tokens + output_tokens})
    });
    json!({
        "id": format!("resp_cassette_{number}"),
        "object": "response",
        "created_at": 0,
        "status": status,
        "background": false,
        "error": null,
        "incomplete_details": null,
        "instructions": null,
        "metadata": {},
        "model": asked.model,
        "output": output,
        "parallel_tool_calls": true,
        "previous_response_id": null,
        "reasoning": {"effort": null, "summary": null},
        "store": false,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage,
    })
}
