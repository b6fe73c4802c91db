//! A sealed request: key, suite and encapsulated key in the clear, then chunks.

use std::sync::Arc;

use bytes::BytesMut;
use zeroize::Zeroizing;

use proofroom_serving::KeyConfig;

use crate::{
    AnswerOpener, AnswerSecret, KeyPair, MAX_CHUNK_BYTES, Request, RequestHead, SealError,
    chunks::{OpenChunks, SealChunks},
    message,
    suite::{self, ENCAPSULATED, HEADER},
};

const HEAD_BYTES: usize = HEADER.len() + ENCAPSULATED;

/// Seals a request to `to`, and gives what opens its answer. `random` are 32 bytes that nobody knows, used once.
///
/// # Errors
/// `sealing-failed`, where the key is no usable point.
pub fn seal_request<'a>(
    to: &KeyConfig,
    random: &[u8; 32],
    head: RequestHead<'_>,
    fields: impl Iterator<Item = (&'a str, &'a [u8])>,
    content: &[u8],
) -> Result<(Vec<u8>, AnswerOpener), SealError> {
    let (context, encapsulated, secret) = suite::send(to, random)?;
    let head = message::write_request(head, fields, content.len());
    let mut chunks = SealChunks(context);
    let mut out = Vec::with_capacity(HEAD_BYTES + head.len() + content.len() + content.len() / 512);
    out.extend_from_slice(&HEADER);
    out.extend_from_slice(&encapsulated);
    chunks.seal(&head, &mut out)?;
    chunks.seal(content, &mut out)?;
    // an empty section of trailers
    chunks.finish(&[0], &mut out)?;
    Ok((out, AnswerOpener::new(secret)))
}

/// Opens a request as its bytes arrive.
pub struct RequestOpener {
    key: Arc<KeyPair>,
    max: usize,
    state: State,
    opened: Zeroizing<Vec<u8>>,
}

enum State {
    Head(BytesMut),
    Chunks(Box<OpenChunks>, AnswerSecret),
}

/// A request that was opened, and what its answer is sealed with.
#[derive(Debug)]
pub struct OpenedRequest {
    /// The answer's.
    pub answer: AnswerSecret,
    /// The request, or why it is none.
    pub request: Result<Request, SealError>,
}

impl std::fmt::Debug for RequestOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RequestOpener")
    }
}

impl RequestOpener {
    /// For a request of at most `max` bytes of content.
    #[must_use]
    pub fn new(key: Arc<KeyPair>, max: usize) -> Self {
        Self {
            key,
            // the head is at most one chunk more
            max: max.saturating_add(MAX_CHUNK_BYTES),
            state: State::Head(BytesMut::new()),
            opened: Zeroizing::default(),
        }
    }

    /// Takes what arrived.
    ///
    /// # Errors
    /// [`SealError`]; nothing more may be pushed then.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), SealError> {
        match &mut self.state {
            State::Head(held) => {
                held.extend_from_slice(bytes);
                if held.len() < HEAD_BYTES {
                    return Ok(());
                }
                let mut head = held.split_to(HEAD_BYTES);
                let encapsulated = head.split_off(HEADER.len());
                if head[..] != HEADER {
                    return Err(SealError::KeyUnknown);
                }
                let (context, secret) = self.key.receive(&encapsulated)?;
                let chunks = OpenChunks::new(context, std::mem::take(held));
                self.state = State::Chunks(Box::new(chunks), secret);
            }
            State::Chunks(chunks, _) => chunks.push(bytes),
        }
        self.drain()
    }

    fn drain(&mut self) -> Result<(), SealError> {
        if let State::Chunks(chunks, _) = &mut self.state {
            while let Some(chunk) = chunks.next()? {
                if self.opened.len().saturating_add(chunk.len()) > self.max {
                    return Err(SealError::TooLong);
                }
                self.opened.extend_from_slice(&chunk);
            }
        }
        Ok(())
    }

    /// The request, once all has arrived. What is wrong inside can be answered sealed.
    ///
    /// # Errors
    /// `sealed-cut`, `sealed-chunk-refused`.
    pub fn finish(self) -> Result<OpenedRequest, SealError> {
        let State::Chunks(mut chunks, answer) = self.state else {
            return Err(SealError::Cut);
        };
        let mut opened = self.opened;
        opened.extend_from_slice(&chunks.finish()?);
        Ok(OpenedRequest {
            answer,
            request: Request::parse(opened),
        })
    }
}
