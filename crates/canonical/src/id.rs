//! Typed identifiers: 128 bits from the caller's randomness, written as `<prefix>_<32 hex digits>`,
//! so that a run id can never be passed where a session id is meant.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Hex, HexError, hexadecimal::with_hex, lower_hex};

/// Why a text is not an identifier of the wanted kind.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{found}` is not an identifier of the form `{prefix}_<32 lower-case hex digits>`")]
pub struct IdError {
    prefix: &'static str,
    found: String,
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Makes an identifier of 16 random bytes.
            #[must_use]
            pub const fn from_random(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                with_hex(concat!($prefix, "_"), &self.0, |text| f.write_str(text))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse($prefix, text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                with_hex(concat!($prefix, "_"), &self.0, |text| s.serialize_str(text))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

identifier!(
    /// One session: one agent task in one room.
    SessionId,
    "ses"
);
identifier!(
    /// One model run: one model request with its answer, or its refusal.
    RunId,
    "run"
);

fn parse(prefix: &'static str, text: &str) -> Result<[u8; 16], IdError> {
    let digits = text.strip_prefix(prefix);
    let digits = digits.and_then(|rest| rest.strip_prefix('_'));
    let bytes = digits.and_then(lower_hex);
    bytes.ok_or_else(|| IdError {
        prefix,
        found: text.chars().take(80).collect(),
    })
}

/// 32 random bytes that a verifier chose, to be found again inside fresh evidence (RFC 9334 §10).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Nonce(Hex<32>);

impl Nonce {
    /// Makes a nonce of 32 random bytes.
    #[must_use]
    pub const fn from_random(bytes: [u8; 32]) -> Self {
        Self(Hex::from_bytes(bytes))
    }

    /// The 32 raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Nonce {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::{RunId, SessionId};

    #[test]
    fn an_identifier_survives_its_text() {
        let id = SessionId::from_random([7; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn a_run_id_is_not_a_session_id() {
        let text = RunId::from_random([7; 16]).to_string();
        assert!(text.parse::<SessionId>().is_err());
    }
}
