//! Lower-case hexadecimal, in which every digest, identifier and register is written.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256, Sha384};

/// `N` bytes of a digest, register or identifier; text is exactly `2N` lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hex<const N: usize>([u8; N]);

/// Why a text is not a [`Hex`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{shown}` is not {digits} lower-case hex digits")]
pub struct HexError {
    shown: String,
    digits: usize,
}

impl<const N: usize> Hex<N> {
    /// What a register holds before the first event.
    pub const ZERO: Self = Self([0; N]);

    /// Takes the bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }

    /// The one byte that all of it repeats, if it does: no hash looks like that.
    #[must_use]
    pub fn repeated_byte(&self) -> Option<u8> {
        let first = self.0.first()?;
        self.0.iter().all(|byte| byte == first).then_some(*first)
    }
}

impl Hex<32> {
    /// SHA-256 of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The register after `event` was extended into it.
    #[must_use]
    pub fn extended(self, event: &Self) -> Self {
        Self::of(&[self.0, event.0].concat())
    }
}

impl Hex<48> {
    /// SHA-384 of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha384::digest(bytes).into())
    }

    /// The register after `event` was extended into it.
    #[must_use]
    pub fn extended(self, event: &Self) -> Self {
        Self::of(&[self.0, event.0].concat())
    }
}

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> FromStr for Hex<N> {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        lower_hex(text).map(Self).ok_or_else(|| HexError {
            shown: text.chars().take(80).collect(),
            digits: N * 2,
        })
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Writes `bytes` as lower-case hex digits, without memory of its own.
pub(crate) fn write_hex(bytes: &[u8], out: &mut impl fmt::Write) -> fmt::Result {
    let mut digits = [0; 64];
    for part in bytes.chunks(digits.len() / 2) {
        let digits = digits.get_mut(..part.len() * 2).ok_or(fmt::Error)?;
        hex::encode_to_slice(part, digits).map_err(|_| fmt::Error)?;
        out.write_str(std::str::from_utf8(digits).map_err(|_| fmt::Error)?)?;
    }
    Ok(())
}

/// The bytes of exactly `2N` lower-case hex digits.
#[must_use]
pub fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
    (lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{Hex, lower_hex, write_hex};

    #[test]
    fn one_spelling_of_the_right_length_is_read() {
        assert_eq!(lower_hex("00ff"), Some([0, 255]));
        for bad in ["", "00", "00fF", "00ff0", "00ff00", "0xff", "00 f"] {
            assert_eq!(lower_hex::<2>(bad), None, "{bad}");
        }
    }

    #[test]
    fn digits_are_those_of_the_bytes_at_every_length() {
        let bytes: Vec<u8> = (0..=255).collect();
        for length in [0, 1, 31, 32, 33, 48, 64, 65, 256] {
            let mut text = String::new();
            write_hex(&bytes[..length], &mut text).unwrap();
            assert_eq!(text, hex::encode(&bytes[..length]));
        }
    }

    #[test]
    fn what_repeats_one_byte_is_told() {
        assert_eq!(Hex::from_bytes([7; 48]).repeated_byte(), Some(7));
        assert_eq!(Hex::from_bytes([7, 7, 8]).repeated_byte(), None);
    }
}
