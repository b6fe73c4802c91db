//! What TPM structures are made of: big-endian numbers, and byte strings behind their 16-bit length.

use super::{MAX_TPM_BYTES, Reader};
use crate::RoomError;

/// A cursor over a structure of that name.
pub(super) fn open<'a>(name: &'static str, bytes: &'a [u8]) -> Result<Reader<'a>, RoomError> {
    let reader = Reader::new(bytes, name, RoomError::TpmMalformed);
    match bytes.len() {
        ..=MAX_TPM_BYTES => Ok(reader),
        _ => Err(reader.cut()),
    }
}

impl<'a> Reader<'a> {
    pub(super) fn be_u16(&mut self) -> Result<u16, RoomError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn be_u32(&mut self) -> Result<u32, RoomError> {
        self.array().map(u32::from_be_bytes)
    }

    /// The bytes of a TPM2B.
    pub(super) fn tpm2b(&mut self) -> Result<&'a [u8], RoomError> {
        let length = self.be_u16()?;
        self.take(length.into())
    }

    /// A number of at most 32 bytes, with the leading zeros that a TPM may leave out.
    pub(super) fn number(&mut self) -> Result<[u8; 32], RoomError> {
        let digits = self.tpm2b()?;
        let padded = [&[0; 32], digits].concat();
        let number = padded.last_chunk().filter(|_| digits.len() <= 32);
        number.copied().ok_or_else(|| self.cut())
    }

    /// Takes the number that `what` must be.
    pub(super) fn expect(&mut self, what: &'static str, wanted: u16) -> Result<(), RoomError> {
        match self.be_u16()? {
            found if found == wanted => Ok(()),
            other => Err(RoomError::TpmUnsupported(what, other)),
        }
    }

    /// Refuses bytes that are left over.
    pub(super) fn finish(&self) -> Result<(), RoomError> {
        match self.rest() {
            [] => Ok(()),
            _ => Err(self.cut()),
        }
    }
}
