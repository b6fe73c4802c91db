//! A cursor over a TPM structure: big-endian numbers, and byte strings behind their 16-bit length.

use crate::RoomError;

use super::MAX_TPM_BYTES;

pub(super) struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(what: &'static str, rest: &'a [u8]) -> Result<Self, RoomError> {
        if rest.len() > MAX_TPM_BYTES {
            return Err(RoomError::TpmMalformed(what));
        }
        Ok(Self { what, rest })
    }

    pub(super) const fn malformed(&self) -> RoomError {
        RoomError::TpmMalformed(self.what)
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], RoomError> {
        let (head, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(RoomError::TpmMalformed(self.what))?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RoomError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(RoomError::TpmMalformed(self.what))?;
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, RoomError> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, RoomError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, RoomError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A byte string behind its 16-bit length.
    pub(super) fn sized(&mut self) -> Result<&'a [u8], RoomError> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// A number of at most 32 bytes behind its length, filled up with zeros from the left.
    pub(super) fn number(&mut self) -> Result<[u8; 32], RoomError> {
        let digits = self.sized()?;
        let mut number = [0; 32];
        let start = number
            .len()
            .checked_sub(digits.len())
            .ok_or(RoomError::TpmMalformed(self.what))?;
        for (place, byte) in number.iter_mut().skip(start).zip(digits) {
            *place = *byte;
        }
        Ok(number)
    }

    /// Refuses bytes that are left over.
    pub(super) const fn finish(&self) -> Result<(), RoomError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(RoomError::TpmMalformed(self.what))
        }
    }
}
