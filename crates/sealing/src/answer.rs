//! A sealed answer: a nonce, then chunks under keys that only this request's two ends have.

use bytes::BytesMut;
use zeroize::Zeroizing;

use crate::{
    AnswerHead, AnswerSecret, MAX_CHUNK_BYTES, SealError,
    chunks::{OpenChunks, SealChunks},
    message::{self, ANSWER_END},
    suite::ANSWER_NONCE,
};

/// The most content of one chunk: its length takes up to four bytes before it.
const CONTENT_BYTES: usize = MAX_CHUNK_BYTES - 4;

/// Seals one answer, piece by piece.
pub struct AnswerSealer(SealChunks);

impl std::fmt::Debug for AnswerSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AnswerSealer")
    }
}

impl AnswerSealer {
    /// Begins the answer to the request that gave `secret`, and gives its first bytes. `random` are 32 bytes that were never
    /// used before.
    ///
    /// # Errors
    /// `sealing-failed`, where the head is longer than a chunk.
    pub fn begin<'a>(
        secret: AnswerSecret,
        random: &[u8; ANSWER_NONCE],
        status: u16,
        fields: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<(Self, Vec<u8>), SealError> {
        let head = message::write_answer(status, fields);
        if head.len() > MAX_CHUNK_BYTES {
            return Err(SealError::Unsealable);
        }
        let mut chunks = SealChunks(secret.sender(random)?);
        let mut out = random.to_vec();
        chunks.seal(&head, &mut out)?;
        Ok((Self(chunks), out))
    }

    /// Seals content.
    ///
    /// # Errors
    /// `sealing-failed`.
    pub fn content(&mut self, content: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut out = Vec::with_capacity(content.len() + content.len() / 256 + 32);
        for piece in content.chunks(CONTENT_BYTES) {
            let mut plain = Zeroizing::new(Vec::with_capacity(piece.len() + 4));
            message::write_bytes(&mut plain, piece);
            self.0.seal(&plain, &mut out)?;
        }
        Ok(out)
    }

    /// Seals the end.
    ///
    /// # Errors
    /// `sealing-failed`.
    pub fn finish(self) -> Result<Vec<u8>, SealError> {
        let mut out = Vec::new();
        self.0.finish(&ANSWER_END, &mut out)?;
        Ok(out)
    }
}

/// What was opened of an answer.
#[derive(Debug)]
pub enum Piece {
    /// The head, first and once.
    Head(AnswerHead),
    /// Content, at least one byte.
    Content(Zeroizing<Vec<u8>>),
}

/// Opens one answer as its bytes arrive. Of no use after an error.
pub struct AnswerOpener {
    state: State,
    headed: bool,
}

enum State {
    Nonce(BytesMut, Option<AnswerSecret>),
    Chunks(Box<OpenChunks>),
}

impl std::fmt::Debug for AnswerOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AnswerOpener")
    }
}

impl AnswerOpener {
    pub(crate) fn new(secret: AnswerSecret) -> Self {
        Self {
            state: State::Nonce(BytesMut::new(), Some(secret)),
            headed: false,
        }
    }

    /// Takes what arrived. Ask for all [`AnswerOpener::next`] before more is pushed: what is not opened is held.
    pub fn push(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Nonce(held, _) => held.extend_from_slice(bytes),
            State::Chunks(chunks) => chunks.push(bytes),
        }
    }

    /// The next piece, if all of it has arrived.
    ///
    /// # Errors
    /// [`SealError`].
    #[expect(
        clippy::should_implement_trait,
        reason = "it ends for want of bytes, not for good"
    )]
    pub fn next(&mut self) -> Result<Option<Piece>, SealError> {
        if let State::Nonce(held, secret) = &mut self.state {
            let Some(nonce) = held.first_chunk::<ANSWER_NONCE>().copied() else {
                return Ok(None);
            };
            let secret = secret.take().ok_or(SealError::ChunkRefused)?;
            let rest = held.split_off(ANSWER_NONCE);
            let chunks = OpenChunks::new(secret.receiver(&nonce)?, rest);
            self.state = State::Chunks(Box::new(chunks));
        }
        let State::Chunks(chunks) = &mut self.state else {
            return Ok(None);
        };
        let Some(mut chunk) = chunks.next()? else {
            return Ok(None);
        };
        if !std::mem::replace(&mut self.headed, true) {
            return AnswerHead::parse(&chunk).map(Piece::Head).map(Some);
        }
        let content = message::read_content(&chunk)?.len();
        // what is before it is its length
        let prefix = chunk.len() - content;
        chunk.drain(..prefix);
        Ok(Some(Piece::Content(chunk)))
    }

    /// Whether the answer came whole, once no more bytes will arrive.
    ///
    /// # Errors
    /// `sealed-cut`, `sealed-chunk-refused`, `sealed-message-malformed`.
    pub fn finish(mut self) -> Result<(), SealError> {
        let State::Chunks(chunks) = &mut self.state else {
            return Err(SealError::Cut);
        };
        let last = chunks.finish()?;
        match self.headed && last[..] == ANSWER_END {
            true => Ok(()),
            false => Err(SealError::Message("does not end as an answer does")),
        }
    }
}
