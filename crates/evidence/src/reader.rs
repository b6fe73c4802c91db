//! A cursor that takes fields off the front of a binary structure and names the part that is cut. What
//! the parts are called, and what error a cut one is, is the parser's to say.

/// `E` is the error of a structure that ends too early.
pub(crate) struct Reader<'a, E> {
    rest: &'a [u8],
    part: &'static str,
    cut: fn(&'static str) -> E,
}

impl<'a, E> Reader<'a, E> {
    /// A cursor at the front of `rest`, whose first part is called `part`.
    pub(crate) const fn new(
        rest: &'a [u8],
        part: &'static str,
        cut: fn(&'static str) -> E,
    ) -> Self {
        Self { rest, part, cut }
    }

    /// What follows is called `part`.
    pub(crate) const fn at(&mut self, part: &'static str) {
        self.part = part;
    }

    pub(crate) const fn part(&self) -> &'static str {
        self.part
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The error that the part at hand is cut.
    pub(crate) fn cut(&self) -> E {
        (self.cut)(self.part)
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], E> {
        let (head, rest) = (self.rest.split_at_checked(count)).ok_or_else(|| self.cut())?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], E> {
        let (head, rest) = (self.rest.split_first_chunk()).ok_or_else(|| self.cut())?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, E> {
        self.array().map(u8::from_le_bytes)
    }

    /// A little-endian number.
    pub(crate) fn u16(&mut self) -> Result<u16, E> {
        self.array().map(u16::from_le_bytes)
    }

    /// A little-endian number.
    pub(crate) fn u32(&mut self) -> Result<u32, E> {
        self.array().map(u32::from_le_bytes)
    }

    /// A cursor over the next `count` bytes, at the same part.
    pub(crate) fn sub(&mut self, count: u32) -> Result<Self, E> {
        let rest = self.take(usize::try_from(count).unwrap_or(usize::MAX))?;
        Ok(Self { rest, ..*self })
    }

    /// A cursor over the bytes behind their little-endian length of 32 bits.
    pub(crate) fn sized(&mut self) -> Result<Self, E> {
        let count = self.u32()?;
        self.sub(count)
    }
}
