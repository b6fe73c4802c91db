//! Where what is held back goes, and what is said with it.

use proofroom_canonical::Sensitive;
use serde_json::{Value, json};

use super::{Placeholder, Restorer, assembled};
use crate::{Api, Framing};

fn placeholder() -> Placeholder {
    Placeholder {
        name: "REDACTED_abcdefghijklmnopabcdefgh".to_owned(),
        value: Sensitive::new("value".to_owned()),
    }
}

/// What a client gets of these events, each pushed as a whole.
fn passed(api: Api, events: &[Value]) -> (String, u64) {
    let mut restorer = Restorer::new(api, Framing::EventStream, vec![placeholder()]);
    let mut out = Vec::new();
    for event in events {
        out.extend(restorer.push(format!("data: {event}\n\n").as_bytes()));
    }
    out.extend(restorer.finish());
    (String::from_utf8(out).unwrap(), restorer.restored())
}

#[test]
fn the_last_piece_of_a_text_stays_in_its_place_when_its_own_event_ends_the_text() {
    let chunk = |piece: &str, finish: Value| json!({"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": finish}]});
    for (first, last, wanted) in [
        ("a", "b REDACTED_abc", "ab REDACTED_abc"),
        ("a REDAC", "TED_abcdefghijklmnopabcdefgh R", "a value R"),
    ] {
        let events = [chunk(first, Value::Null), chunk(last, json!("stop"))];
        let (out, _) = passed(Api::ChatCompletions, &events);
        let texts = assembled(Api::ChatCompletions, out.as_bytes());
        assert_eq!(texts["text"], wanted, "{out}");
    }
}

#[test]
fn what_is_held_back_when_a_stream_breaks_off_stands_in_events_of_its_own() {
    let whole = |index: u64, piece: &str| {
        let choice = json!({"index": index, "delta": {"content": piece}, "finish_reason": null});
        format!("data: {}", json!({"choices": [choice]}))
    };
    for rest in ["data: {\"choices\":[{\"del".to_owned(), whole(1, "b")] {
        let mut restorer = Restorer::new(
            Api::ChatCompletions,
            Framing::EventStream,
            vec![placeholder()],
        );
        let mut out = restorer.push(format!("{}\n\n{rest}", whole(0, "a R")).as_bytes());
        out.extend(restorer.finish());
        let out = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = out.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 3, "{out}");
        for line in [&whole(0, "a "), &whole(0, "R"), &rest] {
            assert!(lines.contains(&line.as_str()), "{line} in {out}");
        }
        // a piece of an event is not made a whole one
        assert_eq!(out.ends_with(&rest), !rest.ends_with('}'), "{out}");
    }
}

fn delta(item: usize, text: &str) -> Value {
    json!({"type": "response.output_text.delta", "item_id": format!("i{item}"),
        "output_index": item, "content_index": 0, "delta": text, "logprobs": [{"token": text}],
        "obfuscation": "padding"})
}

#[test]
fn a_piece_that_is_put_in_says_nothing_else_again() {
    let end = json!({"type": "response.output_text.done", "item_id": "i0", "output_index": 0,
        "content_index": 0, "text": "a R"});
    let (out, _) = passed(Api::Responses, &[delta(0, "a R"), end]);
    let put_in = out.lines().filter_map(|line| line.strip_prefix("data: "));
    let put_in: Value = serde_json::from_str(put_in.clone().nth(1).unwrap()).unwrap();
    assert_eq!(
        put_in,
        json!({"type": "response.output_text.delta", "item_id": "i0", "output_index": 0,
            "content_index": 0, "delta": "R", "logprobs": []})
    );
}

#[test]
fn of_more_texts_than_can_be_held_back_nothing_is_lost() {
    let events: Vec<Value> = (0..1100).map(|item| delta(item, "a R")).collect();
    let (out, restored) = passed(Api::Responses, &events);
    assert_eq!(restored, 0);
    assert_eq!(out.matches("data: ").count(), 1100 + 1024);
    let mut texts = std::collections::BTreeMap::<String, String>::new();
    for line in out.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let event: Value = serde_json::from_str(line).unwrap();
        let text = texts.entry(event["item_id"].to_string()).or_default();
        text.push_str(event["delta"].as_str().unwrap());
    }
    assert!(texts.len() == 1100 && texts.values().all(|text| text == "a R"));
}

#[test]
fn a_long_event_that_comes_byte_by_byte_is_looked_through_once() {
    let words = "word ".repeat(200_000);
    let event = format!(
        "data: {}\n\n",
        delta(0, &format!("{words}{}", placeholder().name))
    );
    let mut restorer = Restorer::new(Api::Responses, Framing::EventStream, vec![placeholder()]);
    let (last, before) = event.as_bytes().split_last().unwrap();
    // looked through each time, these would take an hour
    for byte in before {
        assert!(restorer.push(std::slice::from_ref(byte)).is_empty());
    }
    let out = String::from_utf8(restorer.push(&[*last])).unwrap();
    assert!(out.contains(&format!("{words}value")));
}
