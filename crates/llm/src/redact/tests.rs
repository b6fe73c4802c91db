//! Round trips: whatever is replaced comes back byte for byte, however the answer is cut.

mod events;
mod translated;

use proofroom_canonical::Sensitive;
use serde_json::{Value, json};

use super::{Placeholder, Restorer, replace_values};
use crate::{Api, Framing, inspect, strings::escaped};

/// A small generator: a failing case can be made again from its number.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }

    fn words(&mut self, most: usize) -> String {
        const WORDS: [&str; 16] = [
            "plan",
            " ",
            "\n",
            "\"",
            "\\",
            "\\n",
            "\t",
            "€",
            "🦀",
            "{",
            "}",
            "REDACTED_",
            "_",
            "/",
            "\u{1}",
            ":",
        ];
        (0..self.roll(most) + 1)
            .map(|_| self.pick(&WORDS))
            .collect()
    }

    fn name(&mut self) -> String {
        let letters = (0..24).map(|_| char::from(b'a' + u8::try_from(self.roll(16)).unwrap()));
        format!("REDACTED_{}", letters.collect::<String>())
    }

    /// `text` in pieces at character boundaries.
    fn cut(&mut self, text: &str) -> Vec<String> {
        let mut pieces = vec![String::new()];
        let often = self.roll(12) + 1;
        for letter in text.chars() {
            if self.roll(often) == 0 {
                pieces.push(String::new());
            }
            pieces.last_mut().unwrap().push(letter);
        }
        pieces
    }

    fn cut_bytes<'a>(&mut self, bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let most = self.roll(60) + 1;
        let mut rest = bytes;
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((self.roll(most) + 1).min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        pieces
    }
}

fn copies(placeholders: &[Placeholder]) -> Vec<Placeholder> {
    let copy = |placeholder: &Placeholder| Placeholder {
        name: placeholder.name.clone(),
        value: Sensitive::new(placeholder.value.expose().clone()),
    };
    placeholders.iter().map(copy).collect()
}

/// What the client makes of a stream: each text by its place, pieces put together.
fn assembled(api: Api, stream: &[u8]) -> std::collections::BTreeMap<String, String> {
    let mut texts = std::collections::BTreeMap::<String, String>::new();
    for line in std::str::from_utf8(stream).unwrap().lines() {
        let Some(data) = line.strip_prefix("data: ") else {
            continue;
        };
        if data == "[DONE]" {
            continue;
        }
        let value: Value = serde_json::from_str(data).unwrap();
        let mut add = |place: String, piece: &Value| {
            if let Some(piece) = piece.as_str() {
                texts.entry(place).or_default().push_str(piece);
            }
        };
        if api == Api::Responses {
            let place = match value["type"].as_str().unwrap() {
                "response.output_text.delta" => "text".to_owned(),
                _ => format!("call {}", value["output_index"]),
            };
            add(place, &value["delta"]);
        } else if api == Api::ChatCompletions {
            for choice in value["choices"].as_array().unwrap() {
                add("text".to_owned(), &choice["delta"]["content"]);
                for call in choice["delta"]["tool_calls"]
                    .as_array()
                    .into_iter()
                    .flatten()
                {
                    add(
                        format!("call {}", call["index"]),
                        &call["function"]["arguments"],
                    );
                }
            }
        } else {
            add("text".to_owned(), &value["delta"]["text"]);
            add(
                format!("call {}", value["index"]),
                &value["delta"]["partial_json"],
            );
        }
    }
    texts
}

/// A stream in which these pieces come: `None` are of the text, `Some` of a call.
fn stream(api: Api, pieces: &[(Option<usize>, String)], dice: &mut Dice) -> Vec<u8> {
    let newline = if dice.roll(4) == 0 { "\r\n" } else { "\n" };
    let events = match api {
        Api::ChatCompletions => chat_events(pieces),
        Api::Responses => response_events(pieces),
        _ => message_events(pieces),
    };
    let mut out = String::new();
    for value in events {
        if let Some(name) = value["type"].as_str() {
            out.push_str(&format!("event: {name}{newline}"));
        }
        out.push_str(&format!("data: {value}{newline}{newline}"));
    }
    if api == Api::ChatCompletions {
        out.push_str(&format!("data: [DONE]{newline}{newline}"));
    }
    out.into_bytes()
}

fn chat_events(pieces: &[(Option<usize>, String)]) -> Vec<Value> {
    let chunk = |delta: Value, finish: Value| {
        json!({"id": "c1", "object": "chat.completion.chunk", "model": "m", "created": 1,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    };
    let piece = |(call, piece): &(Option<usize>, String)| {
        let delta = match call {
            None => json!({"content": piece}),
            Some(call) => {
                json!({"tool_calls": [{"index": call, "function": {"arguments": piece}}]})
            }
        };
        chunk(delta, Value::Null)
    };
    let end = chunk(json!({}), json!("tool_calls"));
    pieces.iter().map(piece).chain([end]).collect()
}

fn message_events(pieces: &[(Option<usize>, String)]) -> Vec<Value> {
    let calls = pieces.iter().filter_map(|(call, _)| *call).max();
    let mut events = vec![json!({"type": "message_start", "message": {"model": "m"}})];
    for block in 0..calls.map_or(1, |last| last + 2) {
        let start = if block == 0 {
            json!({"type": "text", "text": ""})
        } else {
            json!({"type": "tool_use", "id": "toolu_1", "name": "write", "input": {}})
        };
        events.push(json!({"type": "content_block_start", "index": block, "content_block": start}));
        let own = |call: &Option<usize>| call.map_or(0, |call| call + 1) == block;
        for (call, piece) in pieces.iter().filter(|(call, _)| own(call)) {
            let delta = match call {
                None => json!({"type": "text_delta", "text": piece}),
                Some(_) => json!({"type": "input_json_delta", "partial_json": piece}),
            };
            events.push(json!({"type": "content_block_delta", "index": block, "delta": delta}));
        }
        events.push(json!({"type": "content_block_stop", "index": block}));
    }
    events.push(json!({"type": "message_stop"}));
    events
}

/// Item 0 is the text, each call an item of its own. Everything is said four times.
fn response_events(pieces: &[(Option<usize>, String)]) -> Vec<Value> {
    let calls = pieces.iter().filter_map(|(call, _)| *call).max();
    let mut events = vec![json!({"type": "response.created", "response": {"output": []}})];
    let mut output = Vec::new();
    for item in 0..calls.map_or(1, |last| last + 2) {
        let (kind, member) = match item {
            0 => ("response.output_text", "text"),
            _ => ("response.function_call_arguments", "arguments"),
        };
        let event = |what: &str, member: &str, text: &Value| {
            json!({"type": format!("{kind}.{what}"), "item_id": format!("i{item}"),
                "output_index": item, "content_index": 0, member: text})
        };
        let own = |call: &Option<usize>| call.map_or(0, |call| call + 1) == item;
        let own: Vec<&str> = (pieces.iter().filter(|(call, _)| own(call)))
            .map(|(_, piece)| piece.as_str())
            .collect();
        events.extend(
            own.iter()
                .map(|piece| event("delta", "delta", &json!(piece))),
        );
        let text = json!(own.concat());
        events.push(event("done", member, &text));
        let whole = match item {
            0 => json!({"type": "message", "content": [{"type": "output_text", "text": text}]}),
            _ => json!({"type": "function_call", "name": "write", "arguments": text}),
        };
        events.push(
            json!({"type": "response.output_item.done", "output_index": item, "item": whole}),
        );
        output.push(whole);
    }
    events.push(json!({"type": "response.completed", "response": {"output": output}}));
    for (number, event) in (0..).zip(&mut events) {
        event["sequence_number"] = json!(number);
    }
    events
}

/// What a stream of Responses says of each text besides its pieces, which must be the same each time, and that
/// its events are numbered without a gap.
fn assert_said_again(stream: &[u8], texts: &std::collections::BTreeMap<String, String>) {
    let (mut next, mut again) = (0, 0);
    for line in std::str::from_utf8(stream).unwrap().lines() {
        let Some(data) = line.strip_prefix("data: ") else {
            continue;
        };
        let value: Value = serde_json::from_str(data).unwrap();
        assert_eq!(value["sequence_number"], next);
        next += 1;
        let outputs = value["response"]["output"].as_array();
        for item in outputs
            .into_iter()
            .flatten()
            .chain([&value["item"], &value])
        {
            for text in [
                &item["text"],
                &item["content"][0]["text"],
                &item["arguments"],
            ] {
                if let Some(text) = text.as_str().filter(|text| !text.is_empty()) {
                    assert!(texts.values().any(|known| known == text), "{text}");
                    again += 1;
                }
            }
        }
    }
    assert_eq!(again, 3 * texts.len());
}

fn restored(
    api: Api,
    placeholders: &[Placeholder],
    stream: &[u8],
    dice: &mut Dice,
) -> (Vec<u8>, u64) {
    let mut restorer = Restorer::new(api, Framing::EventStream, copies(placeholders));
    let mut out = Vec::new();
    for chunk in dice.cut_bytes(stream) {
        out.extend(restorer.push(chunk));
    }
    out.extend(restorer.finish());
    (out, restorer.restored())
}

/// What a model writes with placeholders, and what its client must read.
struct Case {
    placeholders: Vec<Placeholder>,
    /// `None` are pieces of the text, `Some` of a call.
    pieces: Vec<(Option<usize>, String)>,
    text: String,
    calls: Vec<String>,
    /// How many placeholders stand in it.
    count: u64,
}

fn case(dice: &mut Dice) -> Case {
    let placeholders: Vec<_> = (0..dice.roll(3) + 1)
        .map(|number| Placeholder {
            name: dice.name(),
            value: Sensitive::new(format!("{number}{}", dice.words(12))),
        })
        .collect();
    let (mut pieces, mut calls, mut count) = (Vec::new(), Vec::new(), 1);
    for call in 0..dice.roll(3) {
        let (mut sent, mut expected) = (String::new(), String::new());
        for part in 0..dice.roll(6) + 1 {
            let placeholder = &placeholders[dice.roll(placeholders.len())];
            let words = escaped(&dice.words(8)).to_string();
            sent.push_str(&format!("{{\"p{part}\": \"{words}{}\"}}", placeholder.name));
            let value = escaped(placeholder.value.expose());
            expected.push_str(&format!("{{\"p{part}\": \"{words}{}\"}}", *value));
            count += 1;
        }
        pieces.extend(dice.cut(&sent).into_iter().map(|piece| (Some(call), piece)));
        calls.push(expected);
    }
    let placeholder = &placeholders[0];
    let (before, after) = (dice.words(8), dice.words(8));
    // one that nobody made up here, and one that breaks off
    let alike = dice.name();
    let broken = placeholder.name.get(..20).unwrap();
    let sent = format!("{before}{}{alike}{after}{broken}", placeholder.name);
    pieces.extend(dice.cut(&sent).into_iter().map(|piece| (None, piece)));
    let value = placeholder.value.expose();
    let text = format!("{before}{value}{alike}{after}{broken}");
    Case {
        placeholders,
        pieces,
        text,
        calls,
        count,
    }
}

#[test]
fn a_thousand_streamed_tool_calls_of_each_api_come_back_byte_for_byte() {
    for api in [Api::ChatCompletions, Api::Messages, Api::Responses] {
        for number in 0..1000 {
            let mut dice = Dice(number);
            let case = case(&mut dice);
            let first = usize::from(api != Api::ChatCompletions);
            let calls = (first..).zip(case.calls);
            let mut wanted: std::collections::BTreeMap<_, _> = calls
                .map(|(call, arguments)| (format!("call {call}"), arguments))
                .collect();
            wanted.insert("text".to_owned(), case.text);
            let stream = stream(api, &case.pieces, &mut dice);
            let (out, restored) = restored(api, &case.placeholders, &stream, &mut dice);
            let mut got = assembled(api, &out);
            got.retain(|_, text| !text.is_empty());
            assert_eq!(got, wanted, "{api:?}, case {number}");
            let times = if api == Api::Responses { 4 } else { 1 };
            assert_eq!(restored, times * case.count, "{api:?}, case {number}");
            if api == Api::Responses {
                assert_said_again(&out, &got);
            }
        }
    }
}

#[test]
fn a_stream_without_placeholders_passes_byte_for_byte() {
    let odd =
        b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"logprobs\":1.50}]}\n\n\
                : comment\n\ndata: no json\n\ndata: [DONE]\n\nrest";
    for seed in 0..50 {
        let mut dice = Dice(seed);
        let placeholder = Placeholder {
            name: dice.name(),
            value: Sensitive::new("value".to_owned()),
        };
        let (out, count) = restored(Api::ChatCompletions, &[placeholder], odd, &mut dice);
        assert_eq!((out.as_slice(), count), (odd.as_slice(), 0));
    }
}

#[test]
fn a_whole_answer_comes_back() {
    let placeholder = Placeholder {
        name: "REDACTED_abcdefghijklmnopabcdefgh".to_owned(),
        value: Sensitive::new("a \"quoted\"\nvalue".to_owned()),
    };
    let answer = json!({"choices": [{"message": {"content": format!("x {} y", placeholder.name),
        "tool_calls": [{"function": {"arguments": json!({"text": placeholder.name}).to_string()}}]}}]});
    let mut restorer = Restorer::new(Api::ChatCompletions, Framing::Json, copies(&[placeholder]));
    let bytes = answer.to_string().into_bytes();
    assert!(restorer.push(&bytes[..9]).is_empty());
    assert!(restorer.push(&bytes[9..]).is_empty());
    let out: Value = serde_json::from_slice(&restorer.finish()).unwrap();
    let message = &out["choices"][0]["message"];
    assert_eq!(message["content"], "x a \"quoted\"\nvalue y");
    let arguments = message["tool_calls"][0]["function"]["arguments"]
        .as_str()
        .unwrap();
    let arguments: Value = serde_json::from_str(arguments).unwrap();
    assert_eq!(arguments["text"], "a \"quoted\"\nvalue");
    assert_eq!(restorer.restored(), 2);
}

#[test]
fn a_request_is_changed_in_its_strings_alone() {
    let value = "jane \"j\" <jane@corp.example>";
    let placeholder = Placeholder {
        name: "REDACTED_abcdefghijklmnopabcdefgh".to_owned(),
        value: Sensitive::new(value.to_owned()),
    };
    let arguments = json!({"to": value}).to_string();
    let body = format!(
        "{{ \"model\":\"m\", \"x\": 1.50,\"messages\":[{{\"role\":\"user\",\"content\":{}}},{{\"role\":\"assistant\",\"tool_calls\":[{{\"function\":{{\"name\":\"w\",\"arguments\":{}}}}}]}}] }}\n",
        json!(format!("to {value}!")),
        json!(arguments)
    );
    let facts = inspect(Api::ChatCompletions, body.as_bytes()).unwrap();
    let changed = replace_values(&body, &facts.model_span, &[placeholder]).unwrap();
    assert!(!changed.contains("jane"), "{}", *changed);
    assert_eq!(changed.matches("REDACTED_").count(), 2);
    assert!(
        changed.starts_with("{ \"model\":\"m\", \"x\": 1.50,\"messages\":[{")
            && changed.ends_with(" }\n")
    );
    inspect(Api::ChatCompletions, changed.as_bytes()).unwrap();
}

#[test]
fn documents_cut_anywhere_harm_nothing() {
    let placeholder = |value: &str| Placeholder {
        name: "REDACTED_abcdefghijklmnopabcdefgh".to_owned(),
        value: Sensitive::new(value.to_owned()),
    };
    let body = r#"{"model":"m\\","messages":[{"content":"a \"b\" €"}]}"#;
    for end in (0..=body.len()).filter(|end| body.is_char_boundary(*end)) {
        // any outcome but a panic
        drop(replace_values(
            body.get(..end).unwrap(),
            &(9..14),
            &[placeholder("b")],
        ));
    }
    let event =
        b"event: x\r\ndata: {\"type\":\"content_block_delta\",\"index\":0}\r\n\r\ndata: [DONE]";
    for end in 0..=event.len() {
        let mut restorer =
            Restorer::new(Api::Messages, Framing::EventStream, vec![placeholder("b")]);
        let mut out = restorer.push(&event[..end]);
        out.extend(restorer.finish());
        assert_eq!(out, event[..end]);
    }
}
