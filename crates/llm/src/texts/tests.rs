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
        for api in [Api::ChatCompletions, Api::Messages] {
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
