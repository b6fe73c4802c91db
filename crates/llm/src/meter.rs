//! Reads an answer as it passes by, to say what it cost and how it ended. Never changes a byte, never
//! fails: what it cannot read it reports as not metered.

use std::num::NonZeroUsize;

use proofroom_canonical::{Wipe as _, Wiped};
use sse_core::{SseDecoder, SseEvent};

use crate::{
    Api, Usage,
    event::{Kind, Step, read_event, read_whole},
};

/// The largest server-sent event that is metered; a larger one is passed by and counted.
pub const MAX_EVENT_BYTES: usize = 4 * 1024 * 1024;
/// The largest JSON answer that is metered; a larger one is passed by.
pub const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// How the answer's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `text/event-stream`.
    EventStream,
    /// One JSON document.
    Json,
}

impl Framing {
    /// The framing that a `content-type` header announces; anything but an event stream is taken
    /// for JSON.
    #[must_use]
    pub fn of_content_type(content_type: &str) -> Self {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("text/event-stream") {
            Self::EventStream
        } else {
            Self::Json
        }
    }
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The upstream said that the answer is complete.
    Complete,
    /// The body ended before the upstream said so.
    Truncated,
    /// The upstream reported an error inside the answer; its kind, if it is a plain word.
    UpstreamError {
        /// The error's `type` or `code`.
        kind: Option<String>,
    },
    /// The answer could not be read.
    Unreadable {
        /// Stable code: `answer-too-large`, `answer-not-json` or `answer-shape`.
        code: &'static str,
    },
}

/// What was learned from an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metered {
    /// Tokens as reported.
    pub usage: Usage,
    /// How the answer ended.
    pub ending: Ending,
    /// The model that the upstream says answered, if it is a plain name.
    pub model: Option<String>,
    /// Why the model stopped (`stop`, `tool_calls`, `end_turn`, ...), if it is a plain word.
    pub stop: Option<String>,
    /// Events of the stream that could be read.
    pub events: u64,
    /// Events that could not be read: not JSON, not UTF-8, or too large.
    pub unreadable_events: u64,
}

/// Meters one answer, chunk by chunk. Holds at most [`MAX_EVENT_BYTES`] (thrice, by the three fields
/// of an event) or [`MAX_ANSWER_BYTES`].
#[derive(Debug)]
pub struct ResponseMeter {
    api: Api,
    reader: Reader,
    seen: Metered,
    complete: bool,
}

enum Reader {
    Events(Box<SseDecoder>),
    Whole(Wiped<Vec<u8>>),
    /// A whole answer was read.
    Read,
    TooLarge,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

impl ResponseMeter {
    /// A meter for one answer of `api`.
    #[must_use]
    pub fn new(api: Api, framing: Framing) -> Self {
        let reader = match framing {
            Framing::EventStream => Reader::Events(Box::new(SseDecoder::with_limit(
                NonZeroUsize::new(MAX_EVENT_BYTES).unwrap_or(NonZeroUsize::MAX),
            ))),
            Framing::Json => Reader::Whole(Wiped::new(Vec::new())),
        };
        Self {
            api,
            reader,
            seen: Metered {
                usage: Usage::default(),
                ending: Ending::Truncated,
                model: None,
                stop: None,
                events: 0,
                unreadable_events: 0,
            },
            complete: false,
        }
    }

    /// Takes the next bytes of the body, in whatever pieces they come.
    pub fn push(&mut self, mut chunk: &[u8]) {
        match &mut self.reader {
            Reader::Events(decoder) => {
                while let Some(next) = decoder.next(&mut chunk) {
                    match next {
                        Ok(SseEvent::Message(mut message)) => {
                            let step = read_event(self.api, &message.data);
                            message.data.wipe();
                            apply(step, &mut self.seen, &mut self.complete);
                        }
                        Ok(SseEvent::Retry(_)) => {}
                        Err(_) => self.seen.unreadable_events += 1,
                    }
                }
            }
            Reader::Whole(held) => {
                if held.len().saturating_add(chunk.len()) > MAX_ANSWER_BYTES {
                    self.reader = Reader::TooLarge;
                } else {
                    held.extend_from_slice(chunk);
                }
            }
            Reader::Read | Reader::TooLarge => {}
        }
    }

    /// Takes all that is left of the body, and keeps no copy of it where that is the whole and one JSON document.
    pub fn push_last(&mut self, rest: &[u8]) {
        match &self.reader {
            Reader::Whole(held) if held.is_empty() && rest.len() <= MAX_ANSWER_BYTES => {
                self.read(rest);
                self.reader = Reader::Read;
            }
            _ => self.push(rest),
        }
    }

    fn read(&mut self, whole: &[u8]) {
        let step = read_whole(self.api, whole);
        if let Kind::Unreadable(code) = step.kind {
            self.seen.ending = Ending::Unreadable { code };
        }
        apply(step, &mut self.seen, &mut self.complete);
    }

    /// Whether the upstream has said that the answer is complete: what comes after is not part of it.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// Tokens reported so far.
    #[must_use]
    pub const fn usage(&self) -> Usage {
        self.seen.usage
    }

    /// What was learned, once the body has ended or was given up.
    #[must_use]
    pub fn finish(mut self) -> Metered {
        match std::mem::replace(&mut self.reader, Reader::Read) {
            Reader::Events(_) | Reader::Read => {}
            Reader::Whole(held) => self.read(&held),
            Reader::TooLarge => {
                self.seen.ending = Ending::Unreadable {
                    code: "answer-too-large",
                };
            }
        }
        if self.complete && self.seen.ending == Ending::Truncated {
            self.seen.ending = Ending::Complete;
        }
        self.seen
    }
}

fn apply(step: Step, seen: &mut Metered, complete: &mut bool) {
    seen.usage.update(step.usage);
    if step.model.is_some() {
        seen.model = step.model;
    }
    if step.stop.is_some() {
        seen.stop = step.stop;
    }
    match step.kind {
        Kind::Part => seen.events += 1,
        Kind::Complete => {
            seen.events += 1;
            *complete = true;
        }
        Kind::Failed(kind) => {
            seen.events += 1;
            seen.ending = Ending::UpstreamError { kind };
        }
        Kind::Unreadable(_) => seen.unreadable_events += 1,
    }
}

#[cfg(test)]
mod tests;
