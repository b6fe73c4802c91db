//! Puts values back into an answer as it passes by.

use std::collections::BTreeMap;

use proofroom_canonical::{Sensitive, Wiped};
use serde_json::Value;

use super::{
    Placeholder,
    stream::{Ended, Events, Kind, Place, Step},
};
use crate::{
    Api, Framing, MAX_ANSWER_BYTES,
    strings::{change_strings, escaped},
};

/// The most texts of which something is held back at once. Of more, pieces pass without being put together.
const MAX_PENDING: usize = 1024;

/// Puts values back into one answer, chunk by chunk. What is no placeholder of this request, however
/// much it looks like one, passes as it is. A piece of a text that may be the beginning of a placeholder
/// is held back until the next piece of that text, or its end.
#[derive(Debug)]
pub struct Restorer {
    placeholders: Vec<Placeholder>,
    framing: Framing,
    events: Events,
    /// The document so far, for an answer that is one.
    document: Wiped<Vec<u8>>,
    /// More than a document may have: passes unchanged.
    passing: bool,
    /// Held back, by the text that it belongs to.
    pending: BTreeMap<Place, Held>,
    restored: u64,
}

/// The end of what came of a text so far.
#[derive(Debug)]
struct Held {
    text: String,
    /// The event that it came in.
    like: Value,
}

impl Restorer {
    /// For the answer, in `api`, to a request in which these placeholders were put.
    #[must_use]
    pub fn new(api: Api, framing: Framing, placeholders: Vec<Placeholder>) -> Self {
        Self {
            placeholders,
            framing,
            events: Events::new(api),
            document: Wiped::new(Vec::new()),
            passing: false,
            pending: BTreeMap::new(),
            restored: 0,
        }
    }

    /// Takes the next bytes of the upstream's answer; returns what the client gets now.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<u8> {
        match self.framing {
            Framing::EventStream => {
                let raw = self.events.push(chunk);
                self.pass(raw)
            }
            Framing::Json if self.passing => chunk.to_vec(),
            Framing::Json => {
                self.document.extend_from_slice(chunk);
                if self.document.len() <= MAX_ANSWER_BYTES {
                    return Vec::new();
                }
                self.passing = true;
                std::mem::take(&mut *self.document)
            }
        }
    }

    /// The upstream's answer has ended, or broken off: returns the rest.
    pub fn finish(&mut self) -> Vec<u8> {
        match self.framing {
            Framing::EventStream => {
                let raw = self.events.finish();
                let mut out = self.pass(raw);
                self.events.end();
                let held = self.flush(|_| true);
                if !held.is_empty() && !out.is_empty() {
                    // the last event came without its empty line
                    out.extend_from_slice(b"\n\n");
                }
                out.extend(held);
                out
            }
            Framing::Json => {
                let document = std::mem::take(&mut *self.document);
                self.whole(document)
            }
        }
    }

    /// How many placeholders were put back so far. A stream of Responses says each text several times, and
    /// each time counts.
    #[must_use]
    pub const fn restored(&self) -> u64 {
        self.restored
    }

    fn whole(&mut self, document: Vec<u8>) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(&document) else {
            return document;
        };
        let Self {
            placeholders,
            restored,
            ..
        } = self;
        let changed = change_strings(text, |found| {
            let kind = Kind::of_member(found.member);
            let text = put_back(placeholders, found.text, kind, restored);
            (*text != *found.text).then(|| text.to_string())
        });
        changed.map_or_else(|_| document.clone(), |changed| changed.as_bytes().to_vec())
    }

    fn pass(&mut self, events: Vec<Vec<u8>>) -> Vec<u8> {
        let mut out = Vec::new();
        for raw in events {
            let steps = self.events.read(&raw);
            let Some((mut value, steps)) = steps else {
                // what comes behind a piece of an event would be read as more of it
                if Events::is_done(&raw) || !raw.ends_with(b"\n") {
                    self.events.end();
                    out.extend(self.flush(|_| true));
                }
                out.extend_from_slice(&raw);
                continue;
            };
            let mut changed = false;
            let ends: Vec<Ended> = steps.iter().filter_map(Step::ended).cloned().collect();
            for step in steps {
                match step {
                    Step::Text { place, pointer } => {
                        let is_last = ends.iter().any(|ended| ended.covers(&place));
                        changed |= self.text(place, &pointer, is_last, &mut value);
                    }
                    Step::End(ended) => {
                        out.extend(self.flush(|place| ended.covers(place)));
                    }
                    Step::Whole => changed |= self.every_text("", &mut value),
                }
            }
            changed |= self.events.renumber(&mut value);
            if changed {
                out.extend(self.events.write(&raw, &value));
            } else {
                out.extend_from_slice(&raw);
            }
        }
        out
    }

    /// Restores one piece of a text in place, and holds nothing of its last one back; says whether it changed.
    fn text(&mut self, place: Place, pointer: &str, is_last: bool, value: &mut Value) -> bool {
        let Some(Value::String(piece)) = value.pointer_mut(pointer) else {
            return false;
        };
        let mut whole = self
            .pending
            .remove(&place)
            .map_or_else(String::new, |held| held.text);
        whole.push_str(piece);
        let (placeholders, restored) = (&self.placeholders, &mut self.restored);
        let (now, held) = match is_last || self.pending.len() >= MAX_PENDING {
            true => (put_back(placeholders, &whole, place.kind, restored), None),
            false => put_back_until(placeholders, &whole, place.kind, restored),
        };
        let changed = *now != *piece;
        *piece = now.to_string();
        if let Some(text) = held {
            let like = self.events.like(value);
            self.pending.insert(place, Held { text, like });
        }
        changed
    }

    /// Restores every string in `value`, which stands in the member of this name; says whether one changed.
    fn every_text(&mut self, member: &str, value: &mut Value) -> bool {
        match value {
            Value::String(text) => {
                let kind = Kind::of_member(member);
                let now = put_back(&self.placeholders, text, kind, &mut self.restored);
                let changed = *now != *text;
                *text = now.to_string();
                changed
            }
            Value::Array(values) => values
                .iter_mut()
                .fold(false, |changed, value| self.every_text("", value) | changed),
            Value::Object(members) => members.iter_mut().fold(false, |changed, (name, value)| {
                self.every_text(name, value) | changed
            }),
            _ => false,
        }
    }

    /// What was held back of texts that have ended goes out in events of its own.
    fn flush(&mut self, ended: impl Fn(&Place) -> bool) -> Vec<u8> {
        let mut out = Vec::new();
        let places: Vec<Place> = self
            .pending
            .keys()
            .filter(|place| ended(place))
            .cloned()
            .collect();
        for place in places {
            if let Some(held) = self.pending.remove(&place) {
                out.extend(self.events.piece(&place, &held.text, &held.like));
            }
        }
        out
    }
}

/// `text` with every placeholder put back.
fn put_back(
    placeholders: &[Placeholder],
    text: &str,
    kind: Kind,
    restored: &mut u64,
) -> Wiped<String> {
    let mut out = Wiped::new(String::with_capacity(text.len()));
    let mut rest = text;
    while let Some((at, placeholder)) = first(placeholders, rest) {
        out.push_str(rest.get(..at).unwrap_or_default());
        out.push_str(&spelled(&placeholder.value, kind));
        *restored = restored.saturating_add(1);
        let behind = at.saturating_add(placeholder.name.len());
        rest = rest.get(behind..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// `text` restored, and the end of it that may be the beginning of a placeholder.
fn put_back_until(
    placeholders: &[Placeholder],
    text: &str,
    kind: Kind,
    restored: &mut u64,
) -> (Wiped<String>, Option<String>) {
    let behind = last(placeholders, text);
    let (_, tail) = text.split_at_checked(behind).unwrap_or((text, ""));
    let held = beginning(placeholders, tail);
    let (ready, held) = text
        .split_at_checked(text.len().saturating_sub(held))
        .unwrap_or((text, ""));
    let out = put_back(placeholders, ready, kind, restored);
    (out, (!held.is_empty()).then(|| held.to_owned()))
}

fn spelled(value: &Sensitive<String>, kind: Kind) -> Wiped<String> {
    match kind {
        Kind::Plain => Wiped::new(value.expose().clone()),
        Kind::Arguments => escaped(value.expose()),
    }
}

/// The first placeholder in `text`.
fn first<'p>(placeholders: &'p [Placeholder], text: &str) -> Option<(usize, &'p Placeholder)> {
    let found = placeholders
        .iter()
        .filter_map(|placeholder| Some((text.find(&placeholder.name)?, placeholder)));
    found.min_by_key(|(at, _)| *at)
}

/// Behind the last placeholder in `text`.
fn last(placeholders: &[Placeholder], text: &str) -> usize {
    let ends = placeholders.iter().filter_map(|placeholder| {
        let at = text.rfind(&placeholder.name)?;
        Some(at.saturating_add(placeholder.name.len()))
    });
    ends.max().unwrap_or(0)
}

/// How many bytes at the end of `text` are the beginning of a placeholder, but not all of it.
fn beginning(placeholders: &[Placeholder], text: &str) -> usize {
    let longest = placeholders.iter().map(|p| p.name.len()).max().unwrap_or(0);
    let most = longest.saturating_sub(1).min(text.len());
    let begins = |length: &usize| {
        let from = text.len().saturating_sub(*length);
        let tail = text.get(from..);
        tail.is_some_and(|tail| placeholders.iter().any(|p| p.name.starts_with(tail)))
    };
    (1..=most).rev().find(begins).unwrap_or(0)
}
