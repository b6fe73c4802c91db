//! Takes the bytes of a TPM's answer apart, big-endian, nothing left over.

use super::Tpm2Error;

/// What of a message is still unread.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, Tpm2Error> {
        self.array::<1>(field).map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, Tpm2Error> {
        self.array::<2>(field).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, Tpm2Error> {
        self.array::<4>(field).map(u32::from_be_bytes)
    }

    pub(super) fn take(
        &mut self,
        count: usize,
        field: &'static str,
    ) -> Result<&'a [u8], Tpm2Error> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(count)
            .ok_or(Tpm2Error::Truncated { field })?;
        self.bytes = rest;
        Ok(taken)
    }

    /// A `TPM2B`: two bytes of length, then that many bytes.
    pub(super) fn sized(&mut self, field: &'static str) -> Result<&'a [u8], Tpm2Error> {
        let count = self.u16(field)?;
        self.take(usize::from(count), field)
    }

    /// Everything that is left.
    pub(super) const fn rest(&mut self) -> &'a [u8] {
        let rest = self.bytes;
        self.bytes = &[];
        rest
    }

    /// Nothing is left of `part`.
    pub(super) const fn end(self, part: &'static str) -> Result<(), Tpm2Error> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        Err(Tpm2Error::TrailingBytes {
            part,
            count: self.bytes.len(),
        })
    }

    /// The parameters of an answer to an authorized command; the authorization follows them.
    pub(super) fn parameters(&mut self) -> Result<Self, Tpm2Error> {
        let count = self.u32("parameterSize")?;
        let count = usize::try_from(count).map_err(|_| Tpm2Error::Truncated {
            field: "parameterSize",
        })?;
        self.take(count, "parameters").map(Reader::new)
    }

    /// The answer's one password authorization: empty nonce, empty HMAC, and then the end.
    pub(super) fn authorization(&self) -> Result<(), Tpm2Error> {
        let mut answer = self.clone();
        let nonce = answer.sized("nonceTPM")?;
        answer.u8("sessionAttributes")?;
        let hmac = answer.sized("hmac")?;
        if !nonce.is_empty() || !hmac.is_empty() {
            return Err(Tpm2Error::Field {
                field: "authorization",
                value: u32::try_from(nonce.len().max(hmac.len())).unwrap_or(u32::MAX),
            });
        }
        answer.end("the answer")
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Tpm2Error> {
        let (taken, rest) = self
            .bytes
            .split_first_chunk::<N>()
            .ok_or(Tpm2Error::Truncated { field })?;
        self.bytes = rest;
        Ok(*taken)
    }
}
