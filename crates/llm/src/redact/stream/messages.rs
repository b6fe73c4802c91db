//! Messages: where the pieces of texts stand in an event, and an event with one piece.

use serde_json::{Value, json};

use super::{Ended, Kind, Place, Step};

/// Messages: pieces in deltas of content blocks; a block ends by an event of its own.
pub(super) fn steps(value: &Value) -> Vec<Step> {
    let block = value.get("index").and_then(Value::as_u64).unwrap_or(0);
    let text = |member: &str, pointer: &str| Step::Text {
        place: Place {
            block,
            member: member.to_owned(),
            call: None,
            kind: Kind::of_member(member),
        },
        pointer: pointer.to_owned(),
    };
    match value.get("type").and_then(Value::as_str) {
        Some("content_block_start") => vec![
            text("text", "/content_block/text"),
            text("thinking", "/content_block/thinking"),
        ],
        Some("content_block_delta") => vec![
            text("text", "/delta/text"),
            text("thinking", "/delta/thinking"),
            text("partial_json", "/delta/partial_json"),
        ],
        Some("content_block_stop") => vec![Step::End(Ended::Block(block))],
        Some("message_stop" | "message_delta" | "error") => vec![Step::End(Ended::All)],
        _ => Vec::new(),
    }
}

/// The event with one piece of a text.
pub(super) fn piece(place: &Place, text: &str) -> Value {
    let kind = match place.member.as_str() {
        "partial_json" => "input_json_delta",
        "thinking" => "thinking_delta",
        _ => "text_delta",
    };
    let member = place.member.as_str();
    json!({"type": "content_block_delta", "index": place.block, "delta": {"type": kind, member: text}})
}
