//! Frames of `application/vnd.amazon.eventstream`, each with an event of Messages in base64, as server-sent events. The library
//! takes a frame apart; here are its bounds, and both checksums are looked at before anything is waited for or believed.

use std::borrow::Cow;

use aws_smithy_eventstream::frame::read_message_from;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use proofroom_canonical::Wiped;
use serde::Deserialize;

use super::{Exception, MAX_FRAME_BYTES};

/// Total length, length of the headers, and the CRC-32 of both.
const PRELUDE_BYTES: usize = 12;
/// A prelude, and the CRC-32 of all before it.
const MIN_FRAME_BYTES: usize = PRELUDE_BYTES + 4;
/// The longest type of an event.
const MAX_TYPE_BYTES: usize = 64;

/// Why a streamed answer of Bedrock ends before its end.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameFault {
    /// A checksum does not hold: the stream was damaged, or is none.
    #[error("a checksum within the upstream's stream does not hold; try again")]
    Checksum,
    /// The body ended within a frame.
    #[error("the upstream's stream ended within a frame; try again")]
    Cut,
    /// Lengths or headers of a frame are not what they may be.
    #[error("a frame of the upstream's stream is not of the form that frames have")]
    Malformed,
    /// A frame has more than [`MAX_FRAME_BYTES`].
    #[error("a frame of the upstream's stream is larger than the {MAX_FRAME_BYTES} bytes allowed")]
    TooLarge,
    /// A frame is an event, and holds no event of Messages in base64.
    #[error("a frame of the upstream's stream holds no event of the model's api")]
    Payload,
    /// A frame is neither an event of a model nor an exception.
    #[error("a frame of the upstream's stream is of a type that this version does not know")]
    UnknownFrame,
    /// Bedrock reports an error within its answer.
    #[error("the upstream reported an error within its answer (`{}`)", .0.code())]
    Exception(Exception),
}

impl FrameFault {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Checksum => "event-stream-checksum",
            Self::Cut => "event-stream-cut",
            Self::Malformed => "event-stream-malformed",
            Self::TooLarge => "event-stream-too-large",
            Self::Payload => "event-stream-payload",
            Self::UnknownFrame => "event-stream-unknown-frame",
            Self::Exception(exception) => exception.code(),
        }
    }

    /// The HTTP status that says it: Bedrock's own, or 502.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Exception(exception) => exception.status(),
            _ => 502,
        }
    }
}

/// One streamed answer, in whatever pieces it comes. Holds at most one frame and the piece that was pushed last.
#[derive(Default)]
pub struct InvokeStream {
    held: Wiped<Vec<u8>>,
    /// How much of `held` was read.
    read: usize,
}

impl std::fmt::Debug for InvokeStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "InvokeStream({} bytes)", self.held.len())
    }
}

impl InvokeStream {
    /// Takes the next bytes. What they complete is then there from [`Self::next_event`], which has to say `None` before more is pushed.
    pub fn push(&mut self, chunk: &[u8]) {
        self.held.drain(..self.read);
        self.read = 0;
        let needed = self.held.len().saturating_add(chunk.len());
        if needed > self.held.capacity() {
            // by hand, so that the smaller buffer is wiped
            let mut larger = Vec::with_capacity(needed.saturating_mul(2));
            larger.extend_from_slice(&self.held);
            self.held = Wiped::new(larger);
        }
        self.held.extend_from_slice(chunk);
    }

    /// The next whole frame as a server-sent event; `None` where more has to arrive first.
    ///
    /// # Errors
    /// [`FrameFault`], after which the stream has to end.
    pub fn next_event(&mut self) -> Result<Option<Vec<u8>>, FrameFault> {
        let unread = self.held.get(self.read..).unwrap_or_default();
        let Some(length) = frame_length(unread)? else {
            return Ok(None);
        };
        let Some(frame) = unread.get(..length) else {
            return Ok(None);
        };
        let event = read_frame(frame)?;
        self.read = self.read.saturating_add(length);
        Ok(Some(event))
    }

    /// Whether the body may end here.
    ///
    /// # Errors
    /// [`FrameFault::Cut`] within a frame.
    pub fn finish(&self) -> Result<(), FrameFault> {
        if self.held.len() > self.read {
            return Err(FrameFault::Cut);
        }
        Ok(())
    }
}

/// The length of the frame at the beginning of `bytes`, once its prelude is there and holds.
fn frame_length(bytes: &[u8]) -> Result<Option<usize>, FrameFault> {
    let Some((prelude, _)) = bytes.split_first_chunk::<PRELUDE_BYTES>() else {
        return Ok(None);
    };
    if !ends_with_its_checksum(prelude) {
        return Err(FrameFault::Checksum);
    }
    let [a, b, c, d, ..] = *prelude;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d]));
    let length = length.map_err(|_| FrameFault::TooLarge)?;
    if length > MAX_FRAME_BYTES {
        return Err(FrameFault::TooLarge);
    }
    if length < MIN_FRAME_BYTES {
        return Err(FrameFault::Malformed);
    }
    Ok(Some(length))
}

/// Whether the last four bytes are the CRC-32 of those before.
fn ends_with_its_checksum(bytes: &[u8]) -> bool {
    let Some((before, checksum)) = bytes.split_last_chunk::<4>() else {
        return false;
    };
    crc32fast::hash(before).to_be_bytes() == *checksum
}

/// What Bedrock puts into a frame; `p`, which pads it, is skipped.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    bytes: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Event<'a> {
    r#type: &'a str,
}

fn read_frame(frame: &[u8]) -> Result<Vec<u8>, FrameFault> {
    if !ends_with_its_checksum(frame) {
        return Err(FrameFault::Checksum);
    }
    let message = read_message_from(frame).map_err(|_| FrameFault::Malformed)?;
    let header = |name: &str| {
        let mut headers = message.headers().iter();
        let found = headers.find(|header| header.name().as_str() == name)?;
        let text = found.value().as_string().ok()?;
        Some(text.as_str())
    };
    match (header(":message-type"), header(":event-type")) {
        (Some("event"), Some("chunk")) => event(message.payload()),
        (Some("exception"), _) => {
            let named = header(":exception-type").unwrap_or_default();
            Err(FrameFault::Exception(Exception::named(named)))
        }
        (Some("error"), _) => {
            let named = header(":error-code").unwrap_or_default();
            Err(FrameFault::Exception(Exception::named(named)))
        }
        _ => Err(FrameFault::UnknownFrame),
    }
}

/// The server-sent event of a chunk.
fn event(payload: &[u8]) -> Result<Vec<u8>, FrameFault> {
    let chunk: Chunk<'_> = serde_json::from_slice(payload).map_err(|_| FrameFault::Payload)?;
    let data = STANDARD.decode(chunk.bytes.as_bytes());
    let data = Wiped::new(data.map_err(|_| FrameFault::Payload)?);
    let text = std::str::from_utf8(&data).map_err(|_| FrameFault::Payload)?;
    let event: Event<'_> = serde_json::from_str(text).map_err(|_| FrameFault::Payload)?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    let named = event.r#type;
    if named.is_empty() || named.len() > MAX_TYPE_BYTES || !named.bytes().all(plain) {
        return Err(FrameFault::Payload);
    }
    let mut said = format!("event: {named}\ndata: ").into_bytes();
    // in JSON these stand between values alone (RFC 8259 section 7), and in an event they would end its line
    said.extend(data.iter().map(|byte| match byte {
        b'\r' | b'\n' => b' ',
        other => *other,
    }));
    said.extend_from_slice(b"\n\n");
    Ok(said)
}

#[cfg(test)]
mod tests;
