//! A cursor that takes little-endian fields off the front of bytes and names the part that is cut.

use crate::{EvidenceError, Measurement};

pub(super) struct Reader<'a> {
    rest: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            position: 0,
        }
    }

    pub(super) const fn position(&self) -> usize {
        self.position
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn take(
        &mut self,
        count: usize,
        part: &'static str,
    ) -> Result<&'a [u8], EvidenceError> {
        let (head, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(EvidenceError::QuoteTruncated { part })?;
        self.rest = rest;
        self.position += count;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(
        &mut self,
        part: &'static str,
    ) -> Result<[u8; N], EvidenceError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(EvidenceError::QuoteTruncated { part })?;
        self.rest = rest;
        self.position += N;
        Ok(*head)
    }

    pub(super) fn measurement(&mut self, part: &'static str) -> Result<Measurement, EvidenceError> {
        self.array(part).map(Measurement::from_bytes)
    }

    pub(super) fn u16(&mut self, part: &'static str) -> Result<u16, EvidenceError> {
        self.array(part).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self, part: &'static str) -> Result<u32, EvidenceError> {
        self.array(part).map(u32::from_le_bytes)
    }

    /// A cursor over the next `length` bytes.
    pub(super) fn sub(
        &mut self,
        length: u32,
        part: &'static str,
    ) -> Result<Reader<'a>, EvidenceError> {
        let length = usize::try_from(length).map_err(|_| EvidenceError::QuoteTruncated { part })?;
        self.take(length, part).map(Reader::new)
    }

    /// Refuses bytes that are left over.
    pub(super) const fn finish(&self, part: &'static str) -> Result<(), EvidenceError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(EvidenceError::QuoteTrailingBytes {
            part,
            count: self.rest.len(),
        })
    }
}
