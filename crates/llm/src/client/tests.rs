//! Tests of the client's side: what a conversation looks like on the wire, and which answers pass.

use serde_json::{Value, json};

use super::{MAX_ARGUMENT_BYTES, Message, ToolSpec, read_answer, request_body};

fn answer(message: &Value) -> Vec<u8> {
    json!({"choices": [{"message": message}], "usage": {"total_tokens": 7}})
        .to_string()
        .into_bytes()
}

fn code(bytes: &[u8]) -> &'static str {
    read_answer(bytes).unwrap_err().code()
}

#[test]
fn a_tool_call_survives_the_round_trip_into_the_next_request() {
    let calls = json!([{"id": "call_1", "type": "function",
        "function": {"name": "list", "arguments": "{\"path\":\".\"}"}}]);
    let read = read_answer(&answer(&json!({"content": null, "tool_calls": calls}))).unwrap();
    assert_eq!(read.total_tokens, Some(7));
    let messages = [
        Message::User {
            content: "go".into(),
        },
        Message::Assistant {
            content: read.text,
            tool_calls: read.tool_calls,
        },
        Message::Tool {
            tool_call_id: "call_1".into(),
            content: "[]".into(),
        },
    ];
    let tools = [ToolSpec::new("list", "List.", json!({"type": "object"}))];
    let body: Value = serde_json::from_slice(&request_body("m", &messages, &tools)).unwrap();
    assert_eq!(
        body,
        json!({"model": "m",
            "messages": [
                {"role": "user", "content": "go"},
                {"role": "assistant", "content": null, "tool_calls": calls},
                {"role": "tool", "tool_call_id": "call_1", "content": "[]"}],
            "tools": [{"type": "function", "function":
                {"name": "list", "description": "List.", "parameters": {"type": "object"}}}]})
    );
}

#[test]
fn arguments_may_come_as_an_object() {
    let call = json!([{"id": "1", "function": {"name": "x", "arguments": {"a": 1}}}]);
    let read = read_answer(&answer(&json!({"tool_calls": call}))).unwrap();
    assert_eq!(read.tool_calls[0].function.arguments, r#"{"a":1}"#);
}

#[test]
fn an_answer_that_is_no_chat_completion_has_a_code() {
    assert_eq!(code(b"\xff\xfe"), "answer-not-utf8");
    assert_eq!(code(b"<html>"), "answer-not-json");
    assert_eq!(code(b""), "answer-not-json");
    assert_eq!(code(b"{}"), "answer-shape");
    assert_eq!(code(b"{\"choices\":[]}"), "answer-shape");
    assert_eq!(code(&answer(&json!({"content": 5}))), "answer-shape");
    let no_object = json!([{"id": "1", "function": {"name": "x", "arguments": 5}}]);
    assert_eq!(
        code(&answer(&json!({"tool_calls": no_object}))),
        "answer-shape"
    );
}

#[test]
fn tool_calls_have_limits() {
    let call =
        |arguments: String| json!({"id": "1", "function": {"name": "x", "arguments": arguments}});
    let large = call(" ".repeat(MAX_ARGUMENT_BYTES + 1));
    assert_eq!(
        code(&answer(&json!({"tool_calls": [large]}))),
        "answer-over-limit"
    );
    let many: Vec<Value> = (0..33).map(|_| call(String::new())).collect();
    assert_eq!(
        code(&answer(&json!({"tool_calls": many}))),
        "answer-over-limit"
    );
}

#[test]
fn an_error_never_quotes_the_answer() {
    let secret = answer(&json!({"content": ["hunter2"]}));
    let error = read_answer(&secret).unwrap_err();
    assert!(!format!("{error:?} {error}").contains("hunter2"));
}
