//! Little-endian fields of untrusted bytes: nothing is read beyond their end.

/// `len` bytes at `at`.
pub(crate) fn part(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(len)?)
}

/// `N` bytes at `at`.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    part(bytes, at, N)?.try_into().ok()
}

pub(crate) fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// A 16-bit field that is a size or an offset.
pub(crate) fn size16(bytes: &[u8], at: usize) -> Option<usize> {
    u16_at(bytes, at).map(usize::from)
}

/// A 24-bit field that is a size.
pub(crate) fn size24(bytes: &[u8], at: usize) -> Option<usize> {
    let [low, middle, high] = array(bytes, at)?;
    usize::try_from(u32::from_le_bytes([low, middle, high, 0])).ok()
}

/// A 32-bit field that is a size or an offset.
pub(crate) fn size32(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32_at(bytes, at)?).ok()
}

/// A 64-bit field that is a size or an offset.
pub(crate) fn size64(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64_at(bytes, at)?).ok()
}

/// Writes `value` over the bytes at `at`.
pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) -> Option<()> {
    bytes
        .get_mut(at..at.checked_add(value.len())?)?
        .copy_from_slice(value);
    Some(())
}

/// `at` rounded up to a multiple of `to`.
pub(crate) const fn aligned(at: usize, to: usize) -> Option<usize> {
    at.checked_next_multiple_of(to)
}
