//! A cursor that takes little-endian SPDM fields off the front of bytes and names the part that is
//! cut.

use super::GpuError;

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

    pub(super) fn take(&mut self, count: usize, part: &'static str) -> Result<&'a [u8], GpuError> {
        let (head, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(GpuError::ReportTruncated { part })?;
        self.rest = rest;
        self.position += count;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(
        &mut self,
        part: &'static str,
    ) -> Result<[u8; N], GpuError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(GpuError::ReportTruncated { part })?;
        self.rest = rest;
        self.position += N;
        Ok(*head)
    }

    pub(super) fn u8(&mut self, part: &'static str) -> Result<u8, GpuError> {
        self.array::<1>(part).map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self, part: &'static str) -> Result<u16, GpuError> {
        self.array(part).map(u16::from_le_bytes)
    }

    pub(super) fn u24(&mut self, part: &'static str) -> Result<usize, GpuError> {
        let [low, middle, high] = self.array(part)?;
        Ok(usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16)
    }

    /// A cursor over the next `length` bytes.
    pub(super) fn sub(
        &mut self,
        length: usize,
        part: &'static str,
    ) -> Result<Reader<'a>, GpuError> {
        self.take(length, part).map(Reader::new)
    }

    /// Refuses bytes that are left over.
    pub(super) const fn finish(&self, part: &'static str) -> Result<(), GpuError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(GpuError::ReportTrailingBytes {
            part,
            count: self.rest.len(),
        })
    }
}
