//! Tests of the translations: snapshots of every pair both ways, what is refused by which name, and
//! that neither the cutting of a stream nor garbage matters.

mod samples;

use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};
use serde_json::{Value, json};

use super::{TranslateError, Translation, UsageEvent, read_stream::StreamReader, whole::Whole};
use crate::{Api, Framing, ResponseMeter, inspect};
use samples::{answer, request, stream};

const APIS: [Api; 3] = [Api::ChatCompletions, Api::Responses, Api::Messages];

fn pairs() -> impl Iterator<Item = Translation> {
    APIS.into_iter().flat_map(|client| {
        let others = APIS.into_iter();
        others.filter_map(move |upstream| Translation::between(client, upstream))
    })
}

fn name(translation: Translation, what: &str) -> String {
    format!("{what}-{}-to-{}", translation.client, translation.upstream)
}

fn pretty(bytes: &[u8]) -> String {
    // through a value, so that a snapshot shows what is said and not in which order
    let value: Value = serde_json::from_slice(bytes).unwrap();
    serde_json::to_string_pretty(&value).unwrap()
}

fn said(translation: Translation, body: &Value) -> Result<Value, TranslateError> {
    let said = translation.request(body.to_string().as_bytes(), "real-model")?;
    Ok(serde_json::from_slice(&said).unwrap())
}

fn streamed(translation: Translation, text: &str, size: usize) -> String {
    let mut translator = translation.stream(UsageEvent::Asked);
    let mut out = Vec::new();
    for piece in text.as_bytes().chunks(size) {
        out.extend(translator.push(piece).unwrap());
    }
    out.extend(translator.finish().unwrap());
    String::from_utf8(out).unwrap()
}

#[test]
fn only_different_apis_that_generate_are_translated() {
    assert_eq!(pairs().count(), 6);
    for api in Api::ALL {
        assert_eq!(Translation::between(api, api), None);
        assert_eq!(Translation::between(api, Api::Embeddings), None);
        assert_eq!(Translation::between(Api::CountTokens, api), None);
    }
}

#[test]
fn requests_are_said_in_every_other_format_and_back() {
    for translation in pairs() {
        let body = request(translation.client).to_string();
        let there = translation.request(body.as_bytes(), "real-model").unwrap();
        let back = Translation::between(translation.upstream, translation.client).unwrap();
        let again = back.request(&there, "m").unwrap();
        let text = format!("{}\n--- and back\n{}\n", pretty(&there), pretty(&again));
        insta::assert_snapshot!(name(translation, "request"), text);
        // what is said is read by the inspection of the upstream's API, with the same texts
        let facts = inspect(translation.upstream, &there).unwrap();
        assert_eq!(facts.model, "real-model");
        for text in ["be brief", "what is on it?", "café"] {
            let mut segments = facts.segments.iter();
            assert!(
                segments.any(|segment| segment.text.expose().contains(text)),
                "{text} is lost in {translation:?}"
            );
        }
    }
}

#[test]
fn texts_schemas_and_numbers_are_carried_over_as_they_stood() {
    let body = r#"{"model":"m","temperature":0.70,"messages":[{"role":"user","content":"h\u00e9llo \ud83e\udd80"}],
        "tools":[{"type":"function","function":{"name":"f","parameters":{"z":1.50, "a":{"y":[1e3]}}}}]}"#;
    for upstream in [Api::Messages, Api::Responses] {
        let translation = Translation::between(Api::ChatCompletions, upstream).unwrap();
        let there = translation.request(body.as_bytes(), "m").unwrap();
        let text = std::str::from_utf8(&there).unwrap();
        for verbatim in [
            r#""h\u00e9llo \ud83e\udd80""#,
            r#"{"z":1.50, "a":{"y":[1e3]}}"#,
            "0.70",
        ] {
            assert!(text.contains(verbatim), "{verbatim} not in {text}");
        }
    }
}

#[test]
fn answers_are_said_in_every_other_format() {
    for translation in pairs() {
        let given = translation.answer(answer(translation.upstream).as_bytes());
        insta::assert_snapshot!(name(translation, "answer"), pretty(&given.unwrap()));
    }
}

#[test]
fn streams_are_said_in_every_other_format() {
    for translation in pairs() {
        let given = streamed(translation, stream(translation.upstream), usize::MAX);
        insta::assert_snapshot!(name(translation, "stream"), given);
    }
}

/// The answer that a stream of `api` adds up to.
fn folded(api: Api, text: &str) -> Whole {
    let mut reader = StreamReader::new(api);
    let mut whole = Whole::default();
    for line in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        for said in reader.event(line).unwrap() {
            whole.add(said);
        }
    }
    whole
}

#[test]
fn a_translated_stream_adds_up_to_the_translated_answer() {
    for translation in pairs() {
        let given = streamed(translation, stream(translation.upstream), 7);
        let whole = folded(translation.client, &given);
        let through = whole.write(Api::ChatCompletions).unwrap().to_bytes();
        let direct = translation
            .answer(answer(translation.upstream).as_bytes())
            .unwrap();
        let mut direct_whole = Whole::default();
        for said in super::read_answer::read(translation.client, &direct).unwrap() {
            direct_whole.add(said);
        }
        let direct = direct_whole.write(Api::ChatCompletions).unwrap().to_bytes();
        assert_eq!(pretty(&through), pretty(&direct), "{translation:?}");
    }
}

#[test]
fn translated_streams_are_whole_to_the_meter_of_the_clients_api() {
    for translation in pairs() {
        let given = streamed(translation, stream(translation.upstream), 16);
        let mut meter = ResponseMeter::new(translation.client, Framing::EventStream);
        meter.push(given.as_bytes());
        let metered = meter.finish();
        assert_eq!(metered.ending, crate::Ending::Complete, "{translation:?}");
        assert_eq!(metered.unreadable_events, 0, "{translation:?}: {given}");
        assert_eq!(metered.usage.output_tokens, Some(9), "{translation:?}");
        let cached = match translation.client {
            Api::Messages => 16,
            _ => 20,
        };
        assert_eq!(metered.usage.input_tokens, Some(cached), "{translation:?}");
        assert_eq!(metered.usage.cache_read_tokens, Some(4), "{translation:?}");
    }
}

#[test]
fn every_event_about_an_item_of_a_response_names_that_item() {
    let translation = Translation::between(Api::Responses, Api::ChatCompletions).unwrap();
    let given = streamed(translation, stream(Api::ChatCompletions), usize::MAX);
    let lines = given.lines().filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = lines.map(|l| serde_json::from_str(l).unwrap()).collect();
    let output = &events.last().unwrap()["response"]["output"];
    let mut named = 0;
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
        let Some(index) = event["output_index"].as_u64() else {
            continue;
        };
        let id = &output[usize::try_from(index).unwrap()]["id"];
        let about = event.get("item_id").unwrap_or(&event["item"]["id"]);
        assert_eq!(about, id, "{event}");
        named += 1;
    }
    assert!(named > 15, "{named}");
}

/// What a client of an API may say, an upstream that cannot take it, and the name in the refusal.
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn unsayable() -> Vec<(Api, Api, Value, &'static str)> {
    let (chat, responses, messages) = (Api::ChatCompletions, Api::Responses, Api::Messages);
    let audio = json!([{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]);
    let file = json!([{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]);
    let result = json!([{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t",
        "content": [{"type": "image", "source": {"type": "url", "url": "u"}}]}]}]);
    let late = json!([{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]);
    vec![
        (chat, messages, json!({"n": 2}), "n"),
        (chat, responses, json!({"seed": 1}), "seed"),
        (chat, messages, json!({"logprobs": true}), "logprobs"),
        (
            chat,
            messages,
            json!({"presence_penalty": 0.5}),
            "presence_penalty",
        ),
        (chat, responses, json!({"stop": "x"}), "stop"),
        (chat, messages, json!({"temperature": 1.5}), "temperature"),
        (
            chat,
            messages,
            json!({"response_format": {"type": "json_object"}}),
            "response_format",
        ),
        (
            chat,
            messages,
            json!({"reasoning_effort": "enormous"}),
            "reasoning_effort",
        ),
        (
            chat,
            messages,
            json!({"messages": audio}),
            "messages[0].content[0].type",
        ),
        (
            chat,
            messages,
            json!({"messages": file}),
            "messages[0].content[0].file.file_id",
        ),
        (chat, messages, json!({"messages": late}), "messages[1]"),
        (
            chat,
            messages,
            json!({"tools": [{"type": "custom", "custom": {}}]}),
            "tools[0].type",
        ),
        (
            chat,
            messages,
            json!({"tool_choice": {"type": "allowed_tools"}}),
            "tool_choice.type",
        ),
        (
            chat,
            messages,
            json!({"messages": [{"role": "function", "content": "x"}]}),
            "messages[0].role",
        ),
        (chat, responses, json!({"hunter2": 1}), "an unknown member"),
        (messages, chat, json!({"top_k": 5}), "top_k"),
        (
            messages,
            responses,
            json!({"stop_sequences": ["x"]}),
            "stop_sequences",
        ),
        (messages, chat, json!({"mcp_servers": []}), "mcp_servers"),
        (
            messages,
            chat,
            json!({"messages": result}),
            "messages[0].content[0].content[0]",
        ),
        (
            messages,
            chat,
            json!({"tools": [{"type": "web_search_20250305", "name": "w"}]}),
            "tools[0].type",
        ),
        (
            messages,
            chat,
            json!({"messages": [{"role": "assistant", "content":
            [{"type": "redacted_thinking", "data": "x"}]}]}),
            "messages[0].content[0].type",
        ),
        (responses, chat, json!({"truncation": "auto"}), "truncation"),
        (
            responses,
            chat,
            json!({"include": ["web_search_call.results"]}),
            "include",
        ),
        (
            responses,
            chat,
            json!({"tools": [{"type": "web_search"}]}),
            "tools[0].type",
        ),
        (
            responses,
            messages,
            json!({"text": {"format": {"type": "json_object"}}}),
            "text.format",
        ),
        (
            responses,
            chat,
            json!({"input": [{"type": "reasoning", "encrypted_content": "x"}]}),
            "input[0].encrypted_content",
        ),
        (
            responses,
            chat,
            json!({"input": [{"type": "computer_call_output"}]}),
            "input[0].type",
        ),
        (
            responses,
            chat,
            json!({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}),
            "input[0].content[0].file_id",
        ),
        (
            responses,
            chat,
            json!({"input": [{"role": "user", "content": "x", "hunter2": 1}]}),
            "an unknown member of input[0]",
        ),
    ]
}

fn smallest(api: Api) -> Value {
    match api {
        Api::Responses => json!({"model": "m", "input": "hi"}),
        _ => {
            json!({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]})
        }
    }
}

fn with(api: Api, more: &Value) -> Value {
    let mut body = smallest(api);
    let members = body.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn what_the_other_format_cannot_say_is_refused_by_its_name() {
    for (client, upstream, more, place) in unsayable() {
        let translation = Translation::between(client, upstream).unwrap();
        let refused = said(translation, &with(client, &more)).unwrap_err();
        let expected = TranslateError::NotSayable {
            place: place.to_owned(),
        };
        assert_eq!(refused, expected, "{client} to {upstream}: {more}");
        assert_eq!(refused.code(), "request-not-translatable");
        assert!(!refused.to_string().contains("hunter2"), "{refused}");
    }
}

/// The hints that `docs/spec/translation.md` lists: left out, and nothing else changes.
fn hints() -> Vec<(Api, Value)> {
    let (chat, responses, messages) = (Api::ChatCompletions, Api::Responses, Api::Messages);
    vec![
        (
            chat,
            json!({"store": true, "metadata": {"a": "b"}, "service_tier": "auto",
            "prompt_cache_key": "k", "prompt_cache_retention": "24h", "verbosity": "low",
            "prediction": {"type": "content", "content": "x"}, "stream_options": {"include_usage": true},
            "n": 1, "logprobs": false, "presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {},
            "modalities": ["text"], "seed": null}),
        ),
        (
            responses,
            json!({"store": true, "metadata": {"a": "b"}, "service_tier": "auto",
            "prompt_cache_key": "k", "prompt_cache_retention": "24h", "client_metadata": {"a": "b"},
            "include": ["reasoning.encrypted_content"], "background": false, "truncation": "disabled",
            "top_logprobs": 0, "text": {"verbosity": "low"}, "reasoning": {"summary": "auto"},
            "stream_options": {"include_obfuscation": false}}),
        ),
        (
            messages,
            json!({"service_tier": "auto", "context_management": {"edits": []},
            "betas": ["b"], "cache_control": {"type": "ephemeral"}, "inference_geo": "eu",
            "thinking": {"type": "adaptive", "display": "omitted"}}),
        ),
    ]
}

#[test]
fn hints_are_left_out_and_change_nothing() {
    for (client, more) in hints() {
        for upstream in APIS {
            if let Some(translation) = Translation::between(client, upstream) {
                let plain = said(translation, &smallest(client)).unwrap();
                let hinted = said(translation, &with(client, &more)).unwrap();
                assert_eq!(plain, hinted, "{client} to {upstream}");
            }
        }
    }
}

#[test]
fn every_choice_limit_and_effort_has_its_counterpart() {
    let tool = json!({"type": "function", "name": "f", "parameters": {}});
    for (choice, chat, messages) in [
        (
            json!("auto"),
            json!("auto"),
            json!({"type": "auto", "disable_parallel_tool_use": true}),
        ),
        (json!("none"), json!("none"), json!({"type": "none"})),
        (
            json!("required"),
            json!("required"),
            json!({"type": "any", "disable_parallel_tool_use": true}),
        ),
        (
            json!({"type": "function", "name": "f"}),
            json!({"type": "function", "function": {"name": "f"}}),
            json!({"type": "tool", "name": "f", "disable_parallel_tool_use": true}),
        ),
    ] {
        let body = with(
            Api::Responses,
            &json!({"tools": [tool], "tool_choice": choice,
            "parallel_tool_calls": false, "reasoning": {"effort": "minimal"}}),
        );
        let to = |upstream| {
            said(
                Translation::between(Api::Responses, upstream).unwrap(),
                &body,
            )
            .unwrap()
        };
        let (as_chat, as_messages) = (to(Api::ChatCompletions), to(Api::Messages));
        assert_eq!(as_chat["tool_choice"], chat);
        assert_eq!(as_chat["parallel_tool_calls"], false);
        assert_eq!(as_chat["reasoning_effort"], "minimal");
        assert_eq!(as_messages["tool_choice"], messages);
        assert_eq!(as_messages["output_config"]["effort"], "low");
        assert_eq!(as_messages["max_tokens"], super::DEFAULT_MAX_TOKENS);
    }
    for (thinking, effort) in [
        (
            json!({"type": "enabled", "budget_tokens": 1024}),
            json!("low"),
        ),
        (
            json!({"type": "enabled", "budget_tokens": 10_000}),
            json!("medium"),
        ),
        (
            json!({"type": "enabled", "budget_tokens": 32_000}),
            json!("high"),
        ),
        (json!({"type": "adaptive"}), Value::Null),
        (json!({"type": "disabled"}), Value::Null),
    ] {
        let body = with(Api::Messages, &json!({"thinking": thinking}));
        let chat = Translation::between(Api::Messages, Api::ChatCompletions).unwrap();
        assert_eq!(said(chat, &body).unwrap()["reasoning_effort"], effort);
    }
}

#[test]
fn every_reason_to_stop_has_its_counterpart() {
    let chat = |reason: &str| json!({"id": "x", "model": "m", "choices": [{"message": {"content": "x"}, "finish_reason": reason}]});
    for (reason, messages, status) in [
        ("stop", "end_turn", "completed"),
        ("length", "max_tokens", "incomplete"),
        ("tool_calls", "tool_use", "completed"),
        ("content_filter", "refusal", "incomplete"),
    ] {
        let body = chat(reason).to_string();
        let given = |client| {
            let translation = Translation::between(client, Api::ChatCompletions).unwrap();
            let bytes = translation.answer(body.as_bytes()).unwrap();
            serde_json::from_slice::<Value>(&bytes).unwrap()
        };
        assert_eq!(given(Api::Messages)["stop_reason"], messages);
        assert_eq!(given(Api::Responses)["status"], status);
    }
    for (reason, expected) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
    ] {
        let body = json!({"content": [], "stop_reason": reason}).to_string();
        let translation = Translation::between(Api::ChatCompletions, Api::Messages).unwrap();
        let given = translation.answer(body.as_bytes()).unwrap();
        let given: Value = serde_json::from_slice(&given).unwrap();
        assert_eq!(given["choices"][0]["finish_reason"], expected);
    }
}

#[test]
fn answers_that_cannot_be_said_again_are_refused() {
    for (client, upstream, body) in [
        (Api::Messages, Api::ChatCompletions, json!({"choices": []})),
        (
            Api::Messages,
            Api::ChatCompletions,
            json!({"choices": [{"message": {}}, {"message": {}}]}),
        ),
        (
            Api::Messages,
            Api::ChatCompletions,
            json!({"choices": [{"message": {"audio": {}}}]}),
        ),
        (
            Api::Messages,
            Api::ChatCompletions,
            json!({"choices": [{"message": {"tool_calls":
            [{"id": "c", "function": {"name": "f", "arguments": "{\"a\":"}}]}}]}),
        ),
        (
            Api::ChatCompletions,
            Api::Messages,
            json!({"content": [{"type": "server_tool_use"}]}),
        ),
        (
            Api::ChatCompletions,
            Api::Messages,
            json!({"content": [{"type": "text", "text": "x",
            "citations": [{"type": "x"}]}]}),
        ),
        (
            Api::ChatCompletions,
            Api::Responses,
            json!({"status": "queued"}),
        ),
        (
            Api::ChatCompletions,
            Api::Responses,
            json!({"status": "failed", "error": {"code": "x"}}),
        ),
        (
            Api::ChatCompletions,
            Api::Responses,
            json!({"status": "completed",
            "output": [{"type": "web_search_call"}]}),
        ),
        (Api::ChatCompletions, Api::Responses, json!([])),
    ] {
        let translation = Translation::between(client, upstream).unwrap();
        let given = translation.answer(body.to_string().as_bytes());
        assert!(given.is_err(), "{body}");
    }
}

#[test]
fn errors_keep_their_words_in_the_clients_format() {
    let bodies = [
        json!({"error": {"message": "slow down", "type": "rate_limit_error"}}),
        json!({"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}),
        json!({"message": "slow down", "type": "rate_limit_error"}),
    ];
    for translation in pairs() {
        for body in &bodies {
            let given = translation.error(429, body.to_string().as_bytes());
            let given: Value = serde_json::from_slice(&given).unwrap();
            assert_eq!(given["error"]["message"], "slow down");
            assert_eq!(given["error"]["code"], "rate_limit_error");
            assert_eq!(
                given["type"] == "error",
                translation.client == Api::Messages
            );
        }
        let given = translation.error(500, b"<html>");
        let given: Value = serde_json::from_slice(&given).unwrap();
        assert_eq!(given["error"]["code"], "upstream-status");
    }
}

#[test]
fn an_error_inside_a_stream_is_one_in_the_clients_format() {
    for translation in pairs() {
        let event = match translation.upstream {
            Api::Messages => {
                r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#
            }
            Api::Responses => r#"{"type":"error","code":"overloaded_error","message":"busy"}"#,
            _ => r#"{"error":{"code":"overloaded_error","message":"busy"}}"#,
        };
        let given = streamed(translation, &format!("data: {event}\n\n"), 5);
        let data = given.lines().find_map(|line| line.strip_prefix("data: "));
        let data: Value = serde_json::from_str(data.unwrap()).unwrap();
        assert_eq!(data["error"]["message"], "busy", "{translation:?}");
        assert_eq!(data["error"]["code"], "overloaded_error", "{translation:?}");
        let mut meter = ResponseMeter::new(translation.client, Framing::EventStream);
        meter.push(given.as_bytes());
        assert!(
            matches!(meter.finish().ending, crate::Ending::UpstreamError { .. }),
            "{translation:?}: {given}"
        );
    }
}

#[test]
fn a_stream_that_breaks_off_is_never_said_to_be_complete() {
    for translation in pairs() {
        let text = stream(translation.upstream);
        let last = match translation.upstream {
            Api::Messages => "event: message_delta",
            Api::Responses => "event: response.completed",
            _ => {
                "data: {\"id\":\"x1\",\"created\":7,\"model\":\"up-model\",\"choices\":[{\"index\":0,\"delta\":{},\"finish"
            }
        };
        let (cut, _) = text.split_once(last).unwrap();
        let given = streamed(translation, cut, 9);
        let mut meter = ResponseMeter::new(translation.client, Framing::EventStream);
        meter.push(given.as_bytes());
        assert_eq!(
            meter.finish().ending,
            crate::Ending::Truncated,
            "{translation:?}"
        );
    }
}

#[test]
fn calls_whose_pieces_mix_are_refused_where_they_cannot_be_said() {
    let mixed = r#"data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}},{"index":1,"id":"b","function":{"name":"g","arguments":"{}"}},{"index":0,"function":{"arguments":"{}"}}]}}]}

"#;
    for client in [Api::Messages, Api::Responses] {
        let translation = Translation::between(client, Api::ChatCompletions).unwrap();
        let refused = translation.stream(UsageEvent::Asked).push(mixed.as_bytes());
        assert!(refused.is_err(), "{client}");
    }
}

#[test]
fn events_that_are_no_json_end_the_translation() {
    for translation in pairs() {
        for garbage in ["data: {]\n\n", "data: [1]\n\n", "data: \"x\"\n\n"] {
            let mut translator = translation.stream(UsageEvent::NotAsked);
            assert!(translator.push(garbage.as_bytes()).is_err(), "{garbage}");
        }
    }
}

#[test]
fn requests_cut_at_every_length_are_refused() {
    for translation in pairs() {
        let body = request(translation.client).to_string();
        for length in 0..body.len() {
            let cut = &body.as_bytes()[..length];
            assert!(translation.request(cut, "m").is_err(), "{length}");
        }
        let text = answer(translation.upstream);
        for length in 0..text.len() {
            assert!(translation.answer(&text.as_bytes()[..length]).is_err());
        }
    }
}

proptest! {
    #[test]
    fn how_a_stream_is_cut_makes_no_difference(size in 1_usize..60) {
        for translation in pairs() {
            let text = stream(translation.upstream);
            let whole = streamed(translation, text, usize::MAX);
            prop_assert_eq!(streamed(translation, text, size), whole);
        }
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for translation in pairs() {
            prop_assert!(translation.request(&bytes, "m").is_err());
            prop_assert!(translation.answer(&bytes).is_err());
            let mut translator = translation.stream(UsageEvent::Asked);
            drop(translator.push(&bytes));
            drop(translator.finish());
            drop(translation.error(500, &bytes));
        }
    }

    #[test]
    fn a_changed_byte_never_panics(at in 0_usize..2000, byte in any::<u8>()) {
        for translation in pairs() {
            let mut body = request(translation.client).to_string().into_bytes();
            let place = at % body.len();
            body[place] = byte;
            drop(translation.request(&body, "m"));
            let mut text = stream(translation.upstream).as_bytes().to_vec();
            let place = at % text.len();
            text[place] = byte;
            drop(translation.stream(UsageEvent::Asked).push(&text));
        }
    }
}

#[test]
fn debug_prints_nothing_of_a_stream() {
    let translation = Translation::between(Api::Messages, Api::ChatCompletions).unwrap();
    let mut translator = translation.stream(UsageEvent::Asked);
    drop(translator.push(b"data: hunter2"));
    assert!(!format!("{translator:?}").contains("hunter2"));
}
