//! A message as chunks: each behind its length, the last behind a zero (draft-ietf-ohai-chunked-ohttp, section 3).
//! A chunk's place is in its nonce, and that it is the last in its additional data.

use bytes::{Buf as _, BytesMut};
use zeroize::Zeroizing;

use crate::{
    SealError,
    suite::{Receiver, Sender},
    varint,
};

/// The most bytes that are sealed as one chunk: what every reader must take (the draft, section 3).
pub const MAX_CHUNK_BYTES: usize = 16 * 1024;
const TAG_BYTES: usize = 16;
const LAST: &[u8] = b"final";

/// Seals a message chunk by chunk.
pub(crate) struct SealChunks(pub(crate) Sender);

impl SealChunks {
    /// Appends all of `bytes` to `out`, in as many chunks as it takes. None is marked as the last.
    pub(crate) fn seal(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        for chunk in bytes.chunks(MAX_CHUNK_BYTES) {
            let sealed = self.0.seal(chunk, b"");
            let sealed = sealed.map_err(|_| SealError::Unsealable)?;
            varint::write(out, sealed.len());
            out.extend_from_slice(&sealed);
        }
        Ok(())
    }

    /// Appends `bytes`, at most one chunk of them, as the last.
    pub(crate) fn finish(mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let sealed = self.0.seal(bytes, LAST);
        varint::write(out, 0);
        out.extend_from_slice(&sealed.map_err(|_| SealError::Unsealable)?);
        Ok(())
    }
}

/// Opens a message chunk by chunk, as its bytes arrive. Of no use after an error.
pub(crate) struct OpenChunks {
    context: Receiver,
    held: BytesMut,
    /// Whether all that comes now is the last chunk.
    last: bool,
}

impl OpenChunks {
    pub(crate) fn new(context: Receiver, held: BytesMut) -> Self {
        Self {
            context,
            held,
            last: false,
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// The next chunk but the last one, if all of it is there.
    pub(crate) fn next(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, SealError> {
        if !self.last {
            let Some((length, prefix)) = varint::read(&self.held) else {
                return Ok(None);
            };
            let length = usize::try_from(length).map_err(|_| SealError::ChunkTooLarge)?;
            if length > 0 {
                return self.chunk(prefix, length);
            }
            self.held.advance(prefix);
            self.last = true;
        }
        match self.held.len() > MAX_CHUNK_BYTES + TAG_BYTES {
            true => Err(SealError::ChunkTooLarge),
            false => Ok(None),
        }
    }

    fn chunk(
        &mut self,
        prefix: usize,
        length: usize,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, SealError> {
        if length > MAX_CHUNK_BYTES + TAG_BYTES {
            return Err(SealError::ChunkTooLarge);
        }
        if self.held.len() < prefix + length {
            return Ok(None);
        }
        self.held.advance(prefix);
        let sealed = self.held.split_to(length);
        open(&mut self.context, &sealed, b"").map(Some)
    }

    /// The last chunk, once the message has ended.
    pub(crate) fn finish(&mut self) -> Result<Zeroizing<Vec<u8>>, SealError> {
        if !self.last || self.held.len() < TAG_BYTES {
            return Err(SealError::Cut);
        }
        open(&mut self.context, &self.held, LAST)
    }
}

fn open(
    context: &mut Receiver,
    sealed: &[u8],
    mark: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let opened = context.open(sealed, mark);
    opened
        .map(Zeroizing::new)
        .map_err(|_| SealError::ChunkRefused)
}
