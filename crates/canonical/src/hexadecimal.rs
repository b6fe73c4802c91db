//! Lower-case hexadecimal, in which every digest, identifier and register is written.

use std::{fmt, str::FromStr};

use base16ct::lower;
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
        with_hex("", &self.0, |text| f.write_str(text))
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
        with_hex("", &self.0, |text| s.serialize_str(text))
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The most bytes that are written, as many as SHA-512 has, and the longest prefix.
const MOST_BYTES: usize = 64;
const MOST_PREFIX: usize = 8;

/// Gives the prefix and the lower-case hex digits of `bytes` on, in one piece: a record has a dozen such texts, and each
/// piece by itself would be looked through for what JSON escapes.
pub(crate) fn with_hex<const N: usize, T>(
    prefix: &'static str,
    bytes: &[u8; N],
    give: impl FnOnce(&str) -> T,
) -> T {
    const { assert!(N <= MOST_BYTES) };
    assert!(prefix.len() <= MOST_PREFIX, "`{prefix}` is too long");
    let mut text = [0; MOST_PREFIX + MOST_BYTES * 2];
    let (before, after) = text.split_at_mut(prefix.len());
    before.copy_from_slice(prefix.as_bytes());
    let digits = lower::encode(bytes, after).map_or(0, <[u8]>::len);
    let text = text.get(..prefix.len().saturating_add(digits));
    give(text.map_or("", |text| std::str::from_utf8(text).unwrap_or_default()))
}

/// The bytes of exactly `2N` lower-case hex digits.
#[must_use]
pub fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let read = lower::decode(text, &mut bytes).ok()?;
    (read.len() == N).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{Hex, lower_hex};
    use crate::{Digest, SessionId};

    #[test]
    fn one_spelling_of_the_right_length_is_read() {
        assert_eq!(lower_hex("00ff"), Some([0, 255]));
        for bad in ["", "00", "00fF", "00ff0", "00ff00", "0xff", "00 f"] {
            assert_eq!(lower_hex::<2>(bad), None, "{bad}");
        }
    }

    #[test]
    fn digits_are_those_of_the_bytes() {
        let bytes: [u8; 64] = std::array::from_fn(|at| u8::try_from(at * 4 + 3).unwrap());
        let digits = bytes.map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(Hex::from_bytes(bytes).to_string(), digits);
        assert_eq!(digits.parse(), Ok(Hex::from_bytes(bytes)));
    }

    #[test]
    fn what_is_serialised_is_what_is_displayed() {
        fn check<const N: usize>() {
            let hex = Hex::from_bytes([0xa7; N]);
            let json = serde_json::to_string(&hex).unwrap();
            assert_eq!(json, format!("\"{hex}\""));
            assert_eq!(serde_json::from_str::<Hex<N>>(&json).unwrap(), hex);
        }
        check::<0>();
        check::<1>();
        check::<48>();
        check::<64>();
        let digest = Digest::from_bytes([0xab; 32]);
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{digest}\""));
        let session = SessionId::from_random([0xcd; 16]);
        let json = serde_json::to_string(&session).unwrap();
        assert_eq!(json, format!("\"{session}\""));
    }

    #[test]
    fn what_repeats_one_byte_is_told() {
        assert_eq!(Hex::from_bytes([7; 48]).repeated_byte(), Some(7));
        assert_eq!(Hex::from_bytes([7, 7, 8]).repeated_byte(), None);
    }
}
