//! The key itself, `prk_<id>_<64 hex digits>`: an id to look it up by, and 256 random bits.

use std::{fmt, str::FromStr};

use proofroom_canonical::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

const PREFIX: &str = "prk_";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;

/// Names a key without being one: 16 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; ID_BYTES]);

/// Why a text is no key's id.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("a key's id is 16 lower-case hex digits")]
pub struct KeyIdError;

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        let mut bytes = [0; ID_BYTES];
        lower_hex(text, &mut bytes).map(|()| Self(bytes))
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A key. Nothing prints it but [`Self::expose`].
#[derive(Clone)]
pub struct KeyToken {
    id: KeyId,
    text: Zeroizing<String>,
}

impl fmt::Debug for KeyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyToken").field(&self.id).finish()
    }
}

/// Whether a credential says that it is a virtual key. No token of an issuer begins so: `_` stands in base64url, but
/// a JWS begins with the letters of `{"`.
pub(crate) fn is_key(text: &str) -> bool {
    text.starts_with(PREFIX)
}

impl KeyToken {
    /// A new key of the system's randomness.
    ///
    /// # Errors
    /// When there is none.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut id = [0; ID_BYTES];
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        getrandom::fill(&mut id)?;
        getrandom::fill(secret.as_mut_slice())?;
        let id = KeyId(id);
        let digits = Zeroizing::new(hex::encode(secret.as_slice()));
        let text = Zeroizing::new(format!("{PREFIX}{id}_{}", digits.as_str()));
        Ok(Self { id, text })
    }

    /// Reads a key that a request carries.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        lower_hex(secret, bytes.as_mut_slice()).ok()?;
        Some(Self {
            id: id.parse().ok()?,
            text: Zeroizing::new(text.to_owned()),
        })
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// What the file keeps of it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.text.as_bytes())
    }

    /// The key, to be shown once to whoever it is for.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Whether `digest` is this key's, in constant time.
    pub(crate) fn is(&self, digest: Digest) -> bool {
        bool::from(self.digest().as_bytes().ct_eq(digest.as_bytes()))
    }
}

fn lower_hex(text: &str, into: &mut [u8]) -> Result<(), KeyIdError> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(KeyIdError);
    }
    hex::decode_to_slice(text, into).map_err(|_| KeyIdError)
}
