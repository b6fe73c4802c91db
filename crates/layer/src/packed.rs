//! How the layers of an image are packed: not at all, by gzip, or by zstd, in one or more parts.

use std::io::{self, BufReader, Read};

use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    pub(crate) fn unpacked<'a>(self, bytes: impl Read + 'a) -> Box<dyn Read + 'a> {
        let bytes = BufReader::new(bytes);
        match self {
            Self::Plain => Box::new(bytes),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
            Self::Zstd => Box::new(Frames::Between(Peeked::new(bytes))),
        }
    }
}

/// First number of a zstd frame that holds no data; the last digit is free (RFC 8878, 3.1.2).
const SKIPPABLE: u32 = 0x184D_2A50;

/// All zstd frames of a stream, one after the other.
enum Frames<R: Read> {
    Between(Peeked<R>),
    Within(Box<StreamingDecoder<Peeked<R>, FrameDecoder>>),
    Ended,
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            *self = match std::mem::replace(self, Self::Ended) {
                Self::Ended => return Ok(0),
                Self::Between(bytes) => next_frame(bytes)?,
                Self::Within(mut frame) => {
                    let count = frame.read(buffer)?;
                    if count > 0 {
                        *self = Self::Within(frame);
                        return Ok(count);
                    }
                    Self::Between(frame.into_inner())
                }
            };
        }
    }
}

fn next_frame<R: Read>(mut bytes: Peeked<R>) -> io::Result<Frames<R>> {
    let Some(magic) = bytes.peek()? else {
        return Ok(Frames::Ended);
    };
    if magic & !0xf != SKIPPABLE {
        let frame = StreamingDecoder::new(bytes).map_err(io::Error::other)?;
        return Ok(Frames::Within(Box::new(frame)));
    }
    let mut head = [0; 8];
    bytes.read_exact(&mut head)?;
    let [.., a, b, c, d] = head;
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    if io::copy(&mut (&mut bytes).take(length), &mut io::sink())? != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Frames::Between(bytes))
}

/// A reader whose next four bytes can be looked at.
struct Peeked<R> {
    front: Vec<u8>,
    rest: R,
}

impl<R: Read> Peeked<R> {
    const fn new(rest: R) -> Self {
        Self {
            front: Vec::new(),
            rest,
        }
    }

    /// The next four bytes as a number, or nothing at the end.
    fn peek(&mut self) -> io::Result<Option<u32>> {
        let missing = 4_usize.saturating_sub(self.front.len());
        (&mut self.rest)
            .take(missing as u64)
            .read_to_end(&mut self.front)?;
        if self.front.is_empty() {
            return Ok(None);
        }
        let four = self
            .front
            .first_chunk()
            .map(|four| u32::from_le_bytes(*four));
        four.map(Some)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl<R: Read> Read for Peeked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.front.is_empty() {
            return self.rest.read(buffer);
        }
        let count = self.front.as_slice().read(buffer)?;
        self.front.drain(..count);
        Ok(count)
    }
}
