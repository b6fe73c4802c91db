//! One conversation and one answer, in the words of each API.

use serde_json::{Value, json};

use crate::Api;

/// A request with everything that all three APIs can say.
pub(super) fn request(api: Api) -> Value {
    match api {
        Api::Messages => messages(),
        Api::Responses => responses(),
        _ => chat(),
    }
}

fn schema() -> Value {
    json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]})
}

fn chat() -> Value {
    json!({"model": "m", "max_tokens": 100, "temperature": 0.5, "top_p": 0.9, "stream": true,
        "user": "ada", "reasoning_effort": "medium", "parallel_tool_calls": false,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": schema()}},
        "tools": [{"type": "function", "function": {"name": "read", "description": "reads", "parameters": schema()}}],
        "tool_choice": {"type": "function", "function": {"name": "read"}},
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "what is on it?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
                {"type": "file", "file": {"filename": "f.pdf", "file_data": "data:application/pdf;base64,QUJD"}}]},
            {"role": "assistant", "content": "I look", "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "read", "arguments": "{\"path\":\"a\"}"}},
                {"id": "call_2", "type": "function", "function": {"name": "read", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "café"},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "b"}]},
            {"role": "user", "content": "go on"}]})
}

fn responses() -> Value {
    json!({"model": "m", "max_output_tokens": 100, "temperature": 0.5, "top_p": 0.9, "stream": true,
        "user": "ada", "reasoning": {"effort": "medium"}, "parallel_tool_calls": false,
        "instructions": "be brief",
        "text": {"format": {"type": "json_schema", "name": "n", "strict": true, "schema": schema()}},
        "tools": [{"type": "function", "name": "read", "description": "reads", "parameters": schema(), "strict": false}],
        "tool_choice": {"type": "function", "name": "read"},
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "what is on it?"},
                {"type": "input_image", "image_url": "data:image/png;base64,QUJD", "detail": "low"},
                {"type": "input_image", "image_url": "https://x.example/a.png"},
                {"type": "input_file", "filename": "f.pdf", "file_data": "data:application/pdf;base64,QUJD"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look", "annotations": []}]},
            {"type": "function_call", "call_id": "call_1", "name": "read", "arguments": "{\"path\":\"a\"}"},
            {"type": "function_call", "call_id": "call_2", "name": "read", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "café"},
            {"type": "function_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "b"}]},
            {"role": "user", "content": "go on"}]})
}

fn messages() -> Value {
    json!({"model": "m", "max_tokens": 100, "temperature": 0.5, "top_p": 0.9, "stream": true,
        "metadata": {"user_id": "ada"}, "thinking": {"type": "enabled", "budget_tokens": 5000},
        "output_config": {"format": {"type": "json_schema", "schema": schema()}},
        "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
        "tools": [{"name": "read", "description": "reads", "input_schema": schema()}],
        "tool_choice": {"type": "tool", "name": "read", "disable_parallel_tool_use": true},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "what is on it?", "cache_control": {"type": "ephemeral"}},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}},
                {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}},
                {"type": "document", "title": "f.pdf", "source": {"type": "base64", "media_type": "application/pdf", "data": "QUJD"}}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "I look"},
                {"type": "tool_use", "id": "call_1", "name": "read", "input": {"path": "a"}},
                {"type": "tool_use", "id": "call_2", "name": "read", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "café", "is_error": false},
                {"type": "tool_result", "tool_use_id": "call_2", "content": [{"type": "text", "text": "b"}]},
                {"type": "text", "text": "go on"}]}]})
}

/// A whole answer: thought, text, two calls.
pub(super) fn answer(api: Api) -> String {
    let whole = match api {
        Api::Messages => {
            json!({"id": "x1", "type": "message", "role": "assistant", "model": "up-model",
            "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "I look é"},
                {"type": "tool_use", "id": "call_1", "name": "read", "input": {"path": "a"}},
                {"type": "tool_use", "id": "call_2", "name": "list", "input": {}}],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {"input_tokens": 16, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 0, "output_tokens": 9}})
        }
        Api::Responses => {
            json!({"id": "x1", "object": "response", "created_at": 7, "model": "up-model", "status": "completed",
            "error": null, "output": [
                {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look é", "annotations": []}]},
                {"type": "function_call", "call_id": "call_1", "name": "read", "arguments": "{\"path\":\"a\"}"},
                {"type": "function_call", "call_id": "call_2", "name": "list", "arguments": "{}"}],
            "usage": {"input_tokens": 20, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 9}})
        }
        _ => {
            json!({"id": "x1", "object": "chat.completion", "created": 7, "model": "up-model", "system_fingerprint": "fp",
            "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant",
                "reasoning_content": "hm", "content": "I look é", "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "read", "arguments": "{\"path\":\"a\"}"}},
                    {"id": "call_2", "type": "function", "function": {"name": "list", "arguments": "{}"}}]}}],
            "usage": {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29, "prompt_tokens_details": {"cached_tokens": 4}}})
        }
    };
    whole.to_string()
}

/// The same answer as events.
pub(super) const fn stream(api: Api) -> &'static str {
    match api {
        Api::Messages => include_str!("messages.sse"),
        Api::Responses => include_str!("responses.sse"),
        _ => include_str!("chat.sse"),
    }
}
