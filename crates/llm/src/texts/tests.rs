//! Tests of the texts: nothing that a model would see is left out, and each has its origin and file.

use serde_json::{Value, json};

use crate::{Api, Origin, inspect};

fn texts(api: Api, request: &Value) -> Vec<(Origin, String, Option<String>)> {
    let mut request = request.clone();
    request["model"] = json!("m");
    inspect(api, request.to_string().as_bytes())
        .unwrap()
        .segments
        .into_iter()
        .map(|found| (found.origin, found.text.expose().clone(), found.path))
        .collect()
}

fn found(origin: Origin, text: &str) -> (Origin, String, Option<String>) {
    (origin, text.to_owned(), None)
}

fn about(origin: Origin, text: &str, path: &str) -> (Origin, String, Option<String>) {
    (origin, text.to_owned(), Some(path.to_owned()))
}

#[test]
fn every_message_of_a_chat_has_its_origin() {
    let request = json!({"messages": [
        {"role": "system", "content": "rules"},
        {"role": "developer", "content": "more rules"},
        {"role": "user", "content": [{"type": "text", "text": "line\nline"}]},
        {"role": "assistant", "content": "ok", "refusal": null, "audio": null, "tool_calls": [
            {"id": "call_1", "type": "function",
             "function": {"arguments": "{\"path\":\"config/dev.env\"}", "name": "read_file"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "KEY=1"}]});
    assert_eq!(
        texts(Api::ChatCompletions, &request),
        [
            found(Origin::System, "rules"),
            found(Origin::System, "more rules"),
            found(Origin::User, "line\nline"),
            found(Origin::Assistant, "ok"),
            about(
                Origin::ToolArguments,
                "path: config/dev.env",
                "config/dev.env"
            ),
            found(Origin::ToolArguments, "read_file"),
            about(Origin::ToolResult, "KEY=1", "config/dev.env"),
            found(Origin::System, "call_1"),
        ]
    );
}

#[test]
fn anthropic_blocks_have_their_origin() {
    let request = json!({"system": [{"type": "text", "text": "rules"}], "messages": [
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "A".repeat(300)},
            {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"file_path": "a.py"}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1",
             "content": [{"type": "text", "text": "x = 1"}]},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "doc"}}]}]});
    let all = texts(Api::Messages, &request);
    for expected in [
        found(Origin::System, "rules"),
        found(Origin::Assistant, "hm"),
        found(Origin::ToolArguments, "Read"),
        about(Origin::ToolArguments, "file_path: a.py", "a.py"),
        about(Origin::ToolResult, "x = 1", "a.py"),
    ] {
        assert!(all.contains(&expected), "{expected:?} not in {all:?}");
    }
    assert!(
        all.iter()
            .any(|(origin, text, _)| *origin == Origin::User && text.contains("data: doc"))
    );
    assert!(all.iter().all(|(origin, ..)| *origin != Origin::Unreadable));
}

#[test]
fn what_is_no_text_is_reported_unreadable_and_its_data_left_out() {
    let data = "QUJD".repeat(200);
    for (part, kind) in [
        (
            json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}")}}),
            "image_url",
        ),
        (
            json!({"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}),
            "input_audio",
        ),
        (json!({"type": "file", "file": {"file_id": "f"}}), "file"),
        (
            json!({"type": "image", "source": {"type": "base64", "data": data}}),
            "image",
        ),
        (
            json!({"type": "document", "source": {"type": "base64", "data": data}}),
            "document",
        ),
        (
            json!({"type": "redacted_thinking", "data": data}),
            "redacted_thinking",
        ),
        (json!({"type": "Not A Word", "x": 1}), "unknown"),
    ] {
        let request = json!({"messages": [{"role": "user", "content": [part]}]});
        let all = texts(Api::Messages, &request);
        assert!(
            all.contains(&found(Origin::Unreadable, kind)),
            "{kind}: {all:?}"
        );
        assert!(
            all.iter().all(|(_, text, _)| !text.contains("QUJDQUJD")),
            "{kind}"
        );
    }
}

#[test]
fn no_string_escapes_wherever_it_stands() {
    let places = [
        json!({"messages": [], "future_prompt": {"deep": [["MARK"]]}}),
        json!({"messages": [], "future_prompt": {"MARK": true}}),
        json!({"messages": [], "MARK": "x"}),
        json!({"messages": [], "metadata": {"user_id": "MARK"}}),
        json!({"messages": [], "stream_options": {"x": "MARK"}}),
        json!({"messages": [], "tools": [{"function": {"description": "MARK"}}]}),
        json!({"messages": [], "tools": [{"function": {"parameters": {"properties": {"MARK": {}}}}}]}),
        json!({"messages": [], "tools": {"a": "MARK"}}),
        json!({"messages": [], "tools": "MARK"}),
        json!({"messages": [], "system": {"text": "MARK"}}),
        json!({"messages": ["MARK"]}),
        json!({"messages": [["MARK"]]}),
        json!({"messages": [{"role": "MARK"}]}),
        json!({"messages": [{"role": "user", "name": "MARK"}]}),
        json!({"messages": [{"role": "user", "MARK": null}]}),
        json!({"messages": [{"role": "user", "content": {"text": "MARK"}}]}),
        json!({"messages": [{"role": "user", "content": ["MARK"]}]}),
        json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "", "title": "MARK"}]}]}),
        json!({"messages": [{"role": "user", "content": [{"type": "text", "MARK": 1}]}]}),
        json!({"messages": [{"role": "user", "content": [{"type": "image", "alt": "MARK"}]}]}),
        json!({"messages": [{"role": "user", "content": [{"type": ["MARK"]}]}]}),
        json!({"messages": [{"role": "assistant", "tool_calls": {"x": "MARK"}}]}),
        json!({"messages": [{"role": "assistant", "tool_calls": ["MARK"]}]}),
        json!({"messages": [{"role": "assistant", "tool_calls": [{"id": "MARK"}]}]}),
        json!({"messages": [{"role": "assistant", "tool_calls": [{"MARK": 1}]}]}),
        json!({"messages": [{"role": "assistant", "tool_calls": [{"function": "MARK"}]}]}),
        json!({"messages": [{"role": "assistant", "tool_calls": [{"function": {"MARK": 1}}]}]}),
        json!({"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "{\"a\": MARK"}}]}]}),
        json!({"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "{\"a\":{\"MARK\":[]}}"}}]}]}),
        json!({"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "{\"a\":\"\\u004dARK\"}"}}]}]}),
        json!({"messages": [{"role": "assistant", "function_call": {"arguments": "MARK"}}]}),
        json!({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "input": {"MARK": {}}}]}]}),
        json!({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "MARK": {}}]}]}),
        json!({"messages": [{"role": "user", "content": [{"type": "tool_result", "content": "MARK"}]}]}),
        json!({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "MARK"}]}]}),
        json!({"messages": [{"role": "user", "content": [{"type": "document", "source":
            {"type": "content", "content": [{"type": "text", "text": "MARK"}]}}]}]}),
    ];
    for request in places {
        for api in [Api::ChatCompletions, Api::Messages, Api::CountTokens] {
            let all = texts(api, &request);
            assert!(
                all.iter().any(|(_, text, _)| text.contains("MARK")),
                "{request}: {all:?}"
            );
        }
    }
}

#[test]
fn a_tool_result_in_json_is_unescaped() {
    let result = "{\"stdout\":\"token:\\nghp_x\",\"exit\":0}";
    let unescaped = found(Origin::ToolResult, "stdout: token:\nghp_x\nexit: 0");
    let openai = json!({"messages": [{"role": "tool", "content": result}]});
    assert_eq!(
        texts(Api::ChatCompletions, &openai),
        std::slice::from_ref(&unescaped)
    );
    let block = json!({"type": "tool_result", "content": [{"type": "text", "text": result}]});
    let anthropic = json!({"messages": [{"role": "user", "content": [block]}]});
    assert_eq!(texts(Api::Messages, &anthropic), [unescaped]);
    let broken = json!({"messages": [{"role": "tool", "content": "{\"a\": b"}]});
    let as_it_is = found(Origin::ToolResult, "{\"a\": b");
    assert_eq!(texts(Api::ChatCompletions, &broken), [as_it_is]);
}

#[test]
fn a_card_number_that_is_a_json_number_is_a_text() {
    let request = json!({"messages": [{"role": "assistant", "tool_calls": [
        {"function": {"name": "pay", "arguments": "{\"card\":4111111111111111}"}}]}]});
    let all = texts(Api::ChatCompletions, &request);
    assert!(all.contains(&found(Origin::ToolArguments, "card: 4111111111111111")));
}

/// Requests with every member that the two APIs' clients send, and some that nobody sends.
fn full_requests() -> Vec<(Api, Value)> {
    let tool = json!({"type": "function", "function": {"name": "f", "description": "d", "strict": true,
        "parameters": {"type": "object", "properties": {"a": {"type": "string", "enum": ["e"],
        "description": "p", "default": "v"}}, "required": ["a"]}}});
    let chat = json!({"model": "m", "stream": true, "user": "u", "metadata": {"k": "v"}, "stop": ["s"],
        "prompt_cache_key": "pk", "safety_identifier": "si", "service_tier": "auto", "verbosity": "low",
        "prediction": {"type": "content", "content": [{"type": "text", "text": "t"}]},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"title": "t"}}},
        "logit_bias": {"50256": -100}, "web_search_options": {"user_location": {"city": "c"}},
        "tools": [tool, {"type": "custom", "custom": {"name": "n", "format": {"definition": "g"}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "functions": [{"name": "old", "description": "d"}],
        "messages": [
            {"role": "system", "name": "n", "content": "s"},
            {"role": "developer", "content": [{"type": "text", "text": "d"}]},
            {"role": "user", "content": [{"type": "text", "text": "t"},
                {"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                {"type": "file", "file": {"filename": "f.pdf", "file_id": "file-1", "file_data": "AAAA"}}]},
            {"role": "assistant", "content": "a", "refusal": "r", "reasoning_content": "c",
             "tool_calls": [{"id": "call_1", "type": "function",
                "function": {"name": "f", "arguments": "{\"path\":\"p\"}"}},
                {"id": "call_2", "type": "custom", "custom": {"name": "n", "input": "i"}}]},
            {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "r"},
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "r"}]}]});
    let messages = full_messages();
    let counted = messages.clone();
    vec![
        (Api::ChatCompletions, chat),
        (Api::Messages, messages),
        (Api::CountTokens, counted),
        (Api::Responses, full_responses()),
        (
            Api::Embeddings,
            json!({"model": "m", "input": ["a", "b"], "dimensions": 256,
            "encoding_format": "float", "user": "u"}),
        ),
        (
            Api::Embeddings,
            json!({"model": "m", "input": [[1, 2], [3]], "input_type": "query"}),
        ),
        (
            Api::Embeddings,
            json!({"model": "m", "input": [{"text": "t"}, {"image": "AAAA"}]}),
        ),
        (
            Api::Rerank,
            json!({"model": "m", "query": "q", "top_n": 3, "return_documents": true,
            "rank_fields": ["title"], "documents": ["a", {"text": "t", "title": "x"}, {"image": "AAAA"}]}),
        ),
    ]
}

fn full_messages() -> Value {
    json!({"model": "m", "max_tokens": 10, "metadata": {"user_id": "u"}, "stop_sequences": ["s"],
        "service_tier": "auto", "thinking": {"type": "enabled", "budget_tokens": 1}, "betas": ["b"],
        "mcp_servers": [{"type": "url", "url": "https://m.example", "name": "n", "authorization_token": "t"}],
        "context_management": {"edits": [{"type": "clear"}]}, "output_config": {"format": {"schema": {"title": "t"}}},
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "5m"}}],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {"a": {"title": "t"}}}},
            {"type": "web_search_20250305", "name": "w", "allowed_domains": ["x.example"]}],
        "tool_choice": {"type": "tool", "name": "f"},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "t", "citations": [{"type": "char_location",
                "cited_text": "c", "document_title": "d"}]},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                {"type": "document", "title": "t", "context": "c", "source": {"type": "text", "media_type": "text/plain", "data": "d"}},
                {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "t"}]}},
                {"type": "document", "source": {"type": "file", "file_id": "f"}},
                {"type": "container_upload", "file_id": "f"},
                {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "t"}]}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "s"},
                {"type": "redacted_thinking", "data": "d"},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"file_path": "p", "n": 1}},
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "w", "input": {"query": "q"}},
                {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"type": "web_search_result",
                    "url": "u", "title": "t", "encrypted_content": "e"}]}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "is_error": false,
                "content": [{"type": "text", "text": "r"}, {"type": "image", "source": {"type": "url", "url": "u"}}]}]}]})
}

/// As Codex and the SDKs send it, with every kind of item.
fn full_responses() -> Value {
    json!({"model": "m", "instructions": "i", "stream": true, "store": false, "user": "u",
        "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k", "service_tier": "auto",
        "reasoning": {"effort": "low", "summary": "auto"}, "max_output_tokens": 10, "top_logprobs": 2,
        "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {"title": "t"}}},
        "metadata": {"k": "v"}, "client_metadata": {"x": "y"}, "truncation": "auto", "background": false,
        "previous_response_id": null, "parallel_tool_calls": true, "tool_choice": {"type": "function", "name": "f"},
        "tools": [{"type": "function", "name": "f", "description": "d", "strict": true,
                "parameters": {"type": "object", "properties": {"a": {"description": "p"}}}},
            {"type": "custom", "name": "c", "format": {"type": "grammar", "definition": "g"}},
            {"type": "web_search", "filters": {"allowed_domains": ["x.example"]}},
            {"type": "code_interpreter", "container": {"type": "auto"}},
            {"type": "mcp", "server_label": "l", "server_url": "https://m.example", "headers": {"a": "b"}}],
        "input": full_items()})
}

/// Every kind of item.
fn full_items() -> Value {
    json!([
            {"role": "developer", "content": "d"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "t"},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
                {"type": "input_file", "filename": "f.pdf", "file_data": "AAAA"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "s"}],
                "content": [{"type": "reasoning_text", "text": "r"}], "encrypted_content": "e"},
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [
                {"type": "output_text", "text": "t", "annotations": [{"type": "url_citation", "url": "u", "title": "t"}]},
                {"type": "refusal", "refusal": "r"}]},
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{\"path\":\"p\"}", "status": "completed"},
            {"type": "function_call_output", "call_id": "call_1", "output": "r"},
            {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_2", "name": "c", "input": "i"},
            {"type": "custom_tool_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "t"}]},
            {"type": "local_shell_call", "call_id": "call_3", "action": {"type": "exec", "command": ["ls"], "env": {"A": "b"}}},
            {"type": "local_shell_call_output", "id": "call_3", "output": "o"},
            {"type": "web_search_call", "id": "ws_1", "action": {"type": "search", "query": "q"}},
            {"type": "computer_call_output", "call_id": "call_4", "output": {"type": "computer_screenshot", "image_url": "u"}},
            {"type": "image_generation_call", "id": "ig_1", "result": "AAAA"},
            {"type": "a_kind_of_tomorrow", "words": "w"}])
}

/// Every place of `value`, as a JSON pointer.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                places(value, &format!("{at}/{name}"), all);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                places(value, &format!("{at}/{index}"), all);
            }
        }
        _ => {}
    }
}

/// Whether `mark` is in a text that is classified, or the request is refused.
fn seen_or_refused(api: Api, request: &Value, mark: &str) -> bool {
    let Ok(facts) = inspect(api, request.to_string().as_bytes()) else {
        return true;
    };
    let mut texts = facts.segments.iter().map(|segment| segment.text.expose());
    facts.model.contains(mark) || texts.any(|text| text.contains(mark))
}

#[test]
fn a_canary_in_any_place_of_a_request_is_seen() {
    let mut planted = 0;
    for (api, request) in full_requests() {
        let mut all = Vec::new();
        places(&request, "", &mut all);
        // the request as it is must be read, or nothing would be shown
        inspect(api, request.to_string().as_bytes()).unwrap();
        for place in &all {
            // also in the forms of what is usually skipped: words, ids, long numbers
            for mark in ["CANARY", "canary", "call_canary", "toolu_canary"] {
                let mut changed = request.clone();
                let target = changed.pointer_mut(place).unwrap();
                if target.is_string() || target.is_number() {
                    *target = json!(mark);
                    assert!(seen_or_refused(api, &changed, mark), "{place} = {mark}");
                    planted += 1;
                }
            }
            let mut changed = request.clone();
            if let Some(members) = changed.pointer_mut(place).and_then(Value::as_object_mut) {
                members.insert("x_unknown".to_owned(), json!({"deep": ["CANARY"]}));
                assert!(
                    seen_or_refused(api, &changed, "CANARY"),
                    "unknown in {place}"
                );
                let mut changed = request.clone();
                let members = changed.pointer_mut(place).unwrap().as_object_mut().unwrap();
                members.insert("CANARY".to_owned(), Value::Null);
                assert!(
                    seen_or_refused(api, &changed, "CANARY"),
                    "a name in {place}"
                );
                let mut changed = request.clone();
                let members = changed.pointer_mut(place).unwrap().as_object_mut().unwrap();
                members.insert("x_number".to_owned(), json!(4_111_111_111_111_111_u64));
                assert!(
                    seen_or_refused(api, &changed, "4111111111111111"),
                    "a number in {place}"
                );
                planted += 3;
            }
        }
    }
    assert!(planted > 1800, "{planted}");
}

#[test]
fn members_twice_in_nested_json_hide_nothing() {
    for twice in [
        "{\"a\":\"CANARY\",\"a\":\"x\"}",
        "{\"a\":\"x\",\"a\":\"CANARY\"}",
    ] {
        let chat = json!({"model": "m", "messages": [{"role": "assistant", "tool_calls": [
            {"id": "call_1", "function": {"name": "f", "arguments": twice}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": twice}]});
        let facts = inspect(Api::ChatCompletions, chat.to_string().as_bytes()).unwrap();
        let texts = facts.segments.iter();
        let seen = texts.filter(|segment| segment.text.expose().contains("CANARY"));
        assert_eq!(seen.count(), 2, "{twice}");
    }
}

#[test]
fn the_items_of_a_response_have_their_origins() {
    let request = json!({"instructions": "rules", "input": [
        {"role": "user", "content": "task"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "thought"}]},
        {"type": "function_call", "call_id": "call_1", "name": "read", "arguments": "{\"path\":\"a.py\"}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "x = 1"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "done"}]}]});
    let all = texts(Api::Responses, &request);
    for expected in [
        found(Origin::System, "rules"),
        found(Origin::User, "task"),
        found(Origin::Assistant, "thought"),
        found(Origin::ToolArguments, "read"),
        about(Origin::ToolArguments, "path: a.py", "a.py"),
        about(Origin::ToolResult, "x = 1", "a.py"),
        found(Origin::Assistant, "done"),
    ] {
        assert!(all.contains(&expected), "{expected:?} not in {all:?}");
    }
    assert!(all.iter().all(|(origin, ..)| *origin != Origin::Unreadable));
    let text = texts(Api::Responses, &json!({"input": "task"}));
    assert_eq!(text, [found(Origin::User, "task")]);
}

#[test]
fn the_key_of_a_prompt_cache_is_a_text_without_its_name() {
    let request = json!({"input": "x", "prompt_cache_key": "01a21c7e-97cc-7ae3"});
    let all = texts(Api::Responses, &request);
    assert!(
        all.contains(&found(Origin::System, "01a21c7e-97cc-7ae3")),
        "{all:?}"
    );
}

#[test]
fn what_no_reader_here_understands_is_unreadable_in_every_api() {
    for (api, request, kind) in [
        (
            Api::Responses,
            json!({"input": [{"type": "reasoning", "encrypted_content": "QUJD"}]}),
            "reasoning",
        ),
        (
            Api::Responses,
            json!({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}),
            "input_image",
        ),
        (
            Api::Responses,
            json!({"input": [{"type": "tomorrow"}]}),
            "tomorrow",
        ),
        (Api::Embeddings, json!({"input": [[1, 2]]}), "tokens"),
        (Api::Embeddings, json!({"input": [1, 2]}), "tokens"),
        (
            Api::Rerank,
            json!({"query": "q", "documents": [{"image": "QUJD"}]}),
            "image",
        ),
    ] {
        let all = texts(api, &request);
        assert!(all.contains(&found(Origin::Unreadable, kind)), "{all:?}");
    }
}
