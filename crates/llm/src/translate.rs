//! Says in one API's format what was said in another's: requests on their way to an upstream that
//! does not speak the client's API, and its answers on their way back. What the other format cannot
//! say is refused by its name and never left out, except for the hints that `docs/spec/translation.md`
//! lists. Texts, schemas and numbers are carried over as they stood in the body.

use std::num::NonZeroUsize;

use proofroom_canonical::{Wipe as _, Wiped};
use serde_json::value::RawValue;
use sse_core::{SseDecoder, SseEvent};

use crate::{Api, MAX_EVENT_BYTES, refusal::error_body, refusal::error_event};

mod fields;
mod invoke;
mod json;
mod read_answer;
mod read_chat;
mod read_messages;
mod read_responses;
mod read_stream;
mod said;
mod talk;
mod whole;
mod write_chat;
mod write_messages;
mod write_responses;
mod write_stream;

pub use invoke::invoke_body;
pub use write_messages::DEFAULT_MAX_TOKENS;
pub use write_stream::UsageEvent;

use self::{read_stream::StreamReader, said::Said, whole::Whole, write_stream::StreamWriter};

/// Why something cannot be said in the other format. Names places and members of the APIs, never
/// text of the conversation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TranslateError {
    /// The other format has no words for it.
    #[error(
        "`{place}` cannot be said in the format that the model's upstream speaks; leave it out, or ask for a model whose upstream speaks this API"
    )]
    NotSayable {
        /// Where it stands.
        place: String,
    },
    /// Not what its own API says that it is.
    #[error("`{place}` is not of the form that its api gives it, so it cannot be translated")]
    Shape {
        /// Where it stands.
        place: String,
    },
    /// The upstream reported an error in place of an answer.
    #[error("the upstream reported an error inside its answer")]
    Reported,
}

impl TranslateError {
    const fn not_sayable(place: String) -> Self {
        Self::NotSayable { place }
    }

    const fn shape(place: String) -> Self {
        Self::Shape { place }
    }

    /// The stable code, when it is a request that cannot be said.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotSayable { .. } => "request-not-translatable",
            Self::Shape { .. } => "request-member-type",
            Self::Reported => "upstream-reported-error",
        }
    }
}

/// From which API to which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    client: Api,
    upstream: Api,
}

impl Translation {
    /// A translation between two different APIs that generate; there is none for others.
    #[must_use]
    pub fn between(client: Api, upstream: Api) -> Option<Self> {
        let pair = client.generates() && upstream.generates() && client != upstream;
        pair.then_some(Self { client, upstream })
    }

    /// The API that the upstream speaks.
    #[must_use]
    pub const fn upstream(self) -> Api {
        self.upstream
    }

    /// A request of the client's API in the upstream's, for `model`. Wiped when dropped.
    ///
    /// # Errors
    /// [`TranslateError`], naming what cannot be said.
    pub fn request(self, body: &[u8], model: &str) -> Result<Wiped<Vec<u8>>, TranslateError> {
        let body: &RawValue = read_answer::parsed(body)?;
        let talk = match self.client {
            Api::Messages => read_messages::read(body)?,
            Api::Responses => read_responses::read(body)?,
            _ => read_chat::read(body)?,
        };
        let said = match self.upstream {
            Api::Messages => write_messages::write(&talk, model)?,
            Api::Responses => write_responses::write(&talk, model)?,
            _ => write_chat::write(&talk, model)?,
        };
        Ok(said.to_bytes())
    }

    /// A whole answer of the upstream's API in the client's.
    ///
    /// # Errors
    /// [`TranslateError`], naming what cannot be said.
    pub fn answer(self, bytes: &[u8]) -> Result<Wiped<Vec<u8>>, TranslateError> {
        let mut whole = Whole::default();
        for said in read_answer::read(self.upstream, bytes)? {
            whole.add(said);
        }
        if whole.failure.is_some() {
            return Err(TranslateError::Reported);
        }
        let said = whole.write(self.client);
        let said = said.ok_or_else(|| TranslateError::shape("arguments".to_owned()))?;
        Ok(said.to_bytes())
    }

    /// The body of an error answer in the client's format, with the upstream's own words.
    #[must_use]
    pub fn error(self, status: u16, bytes: &[u8]) -> Vec<u8> {
        let failure = read_error(bytes);
        let code = failure.code.as_deref().unwrap_or("upstream-status");
        let message = failure.message.as_deref();
        error_body(self.client, status, code, message.unwrap_or(UNSAID))
    }

    /// A translator of one streamed answer.
    #[must_use]
    pub fn stream(self, usage: UsageEvent) -> StreamTranslator {
        let limit = NonZeroUsize::new(MAX_EVENT_BYTES).unwrap_or(NonZeroUsize::MAX);
        StreamTranslator {
            client: self.client,
            decoder: Box::new(SseDecoder::with_limit(limit)),
            reader: StreamReader::new(self.upstream),
            writer: StreamWriter::new(self.client, usage),
        }
    }
}

const UNSAID: &str = "the upstream reported an error without words";

/// `{"error": {...}}` as every API words it, or members at the top as some servers do.
fn read_error(bytes: &[u8]) -> said::Failure {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Outer {
        error: Option<read_answer::ErrorBody>,
    }
    let nested = read_answer::parsed::<Outer>(bytes).ok();
    let nested = nested.and_then(|outer| outer.error);
    let body = nested.or_else(|| read_answer::parsed(bytes).ok());
    body.map(|body| body.failure()).unwrap_or_default()
}

/// Translates one stream, in whatever pieces it comes.
pub struct StreamTranslator {
    client: Api,
    decoder: Box<SseDecoder>,
    reader: StreamReader,
    writer: StreamWriter,
}

impl std::fmt::Debug for StreamTranslator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StreamTranslator(to {})", self.client)
    }
}

impl StreamTranslator {
    /// What the next bytes of the upstream's stream are in the client's format: whole events.
    ///
    /// # Errors
    /// [`TranslateError`], after which the stream has to end.
    pub fn push(&mut self, mut chunk: &[u8]) -> Result<Vec<u8>, TranslateError> {
        let mut out = Vec::new();
        while let Some(next) = self.decoder.next(&mut chunk) {
            match next {
                Ok(SseEvent::Message(mut message)) => {
                    let said = self.reader.event(&message.data);
                    message.data.wipe();
                    self.say(said?, &mut out)?;
                }
                Ok(SseEvent::Retry(_)) => {}
                Err(_) => return Err(TranslateError::shape("an event".to_owned())),
            }
        }
        Ok(out)
    }

    /// What the end of the upstream's body is in the client's format.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(&mut self) -> Result<Vec<u8>, TranslateError> {
        let mut out = Vec::new();
        let said = self.reader.finish();
        self.say(said, &mut out)?;
        Ok(out)
    }

    fn say(&mut self, said: Vec<Said>, out: &mut Vec<u8>) -> Result<(), TranslateError> {
        for said in said {
            match said {
                Said::Failed(failure) => {
                    let code = failure.code.as_deref().unwrap_or("upstream-reported-error");
                    let message = failure.message.as_deref().unwrap_or(UNSAID);
                    out.extend_from_slice(&error_event(self.client, 502, code, message));
                }
                said => self.writer.write(said, out)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
