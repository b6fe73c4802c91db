//! Responses: pieces come in events `<text>.delta`, and what is finished is said again as a whole, up to four
//! times (`<text>.done`, its part, its item, the response). Events are numbered.

use serde_json::{Value, json};

use super::{Ended, Kind, Place, Step};

const DELTA: &str = ".delta";
/// Pieces of base64, not of text.
const AUDIO: &str = "response.audio";

/// What an event means for the texts.
pub(super) fn steps(value: &Value) -> Vec<Step> {
    let kind = value.get("type").and_then(Value::as_str).unwrap_or("");
    if let Some(member) = kind.strip_suffix(DELTA) {
        let text = Step::Text {
            place: place(value, member),
            pointer: "/delta".to_owned(),
        };
        return if member == AUDIO {
            Vec::new()
        } else {
            vec![text]
        };
    }
    let ended = match kind {
        "response.completed" | "response.incomplete" | "response.failed" | "error" => {
            Some(Ended::All)
        }
        "response.output_item.done" => Some(Ended::Block(number(value, "output_index"))),
        _ => kind
            .strip_suffix(".done")
            .map(|member| Ended::Text(place(value, member))),
    };
    ended
        .map(Step::End)
        .into_iter()
        .chain([Step::Whole])
        .collect()
}

fn place(value: &Value, member: &str) -> Place {
    let part = ["content_index", "summary_index"]
        .into_iter()
        .find_map(|name| value.get(name)?.as_u64());
    let kind = if member.ends_with("_arguments") {
        Kind::Arguments
    } else {
        Kind::Plain
    };
    Place {
        block: number(value, "output_index"),
        member: member.to_owned(),
        call: part,
        kind,
    }
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or(0)
}

/// What an event says of its text, but for the text: no probabilities or padding, which are of this piece alone.
pub(super) fn like(event: &Value) -> Value {
    let members = event.as_object().into_iter().flatten();
    let kept = members.filter_map(|(name, value)| match name.as_str() {
        "delta" | "obfuscation" => None,
        "logprobs" => Some((name.clone(), json!([]))),
        _ => (!value.is_array() && !value.is_object()).then(|| (name.clone(), value.clone())),
    });
    Value::Object(kept.collect())
}

/// An event with one piece of a text, like an earlier one of the same text.
pub(super) fn piece(like: &Value, text: &str, number: Option<u64>) -> Value {
    let mut value = like.clone();
    if let Some(members) = value.as_object_mut() {
        members.insert("delta".to_owned(), json!(text));
        if let Some(number) = number {
            members.insert(NUMBER.to_owned(), json!(number));
        }
    }
    value
}

const NUMBER: &str = "sequence_number";

/// The numbers of a stream's events: one that is put in moves those behind it.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// Of the event that was read last, as it came.
    last: Option<u64>,
    put_in: u64,
}

impl Numbers {
    /// An event was read.
    pub(super) fn read(&mut self, event: &Value) {
        self.last = event.get(NUMBER).and_then(Value::as_u64).or(self.last);
    }

    /// The stream has ended: what is put in now comes behind its last event.
    pub(super) fn end(&mut self) {
        self.last = self.last.map(|last| last.saturating_add(1));
    }

    /// The number of an event that is put in before the one that was read last; none where events have none.
    pub(super) fn put_in(&mut self) -> Option<u64> {
        let number = self.last?.saturating_add(self.put_in);
        self.put_in = self.put_in.saturating_add(1);
        Some(number)
    }

    /// Moves the event's number; says whether it changed.
    pub(super) fn renumber(&self, event: &mut Value) -> bool {
        let Some(number) = event.get_mut(NUMBER) else {
            return false;
        };
        match number.as_u64() {
            Some(old) if self.put_in > 0 => {
                *number = json!(old.saturating_add(self.put_in));
                true
            }
            _ => false,
        }
    }
}
