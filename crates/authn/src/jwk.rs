//! Public keys as JSON (RFC 7517, RFC 7518 section 6, RFC 8037 section 2) and their thumbprints (RFC 7638).

use std::{fmt, str::FromStr};

use proofroom_canonical::Digest;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::{
    algorithm::{Algorithm, Family},
    jws::{decode, encode},
};

/// Members of a key that are secret (RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1).
const SECRET: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Why JSON is no public key.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum JwkError {
    /// A private or symmetric key, which whoever reads it could sign with.
    #[error("a key is private or symmetric: whoever reads it can sign with it")]
    Secret,
    /// A kind that nothing here verifies with.
    #[error(
        "a key is of a kind that is not used here: EC (P-256, P-384), OKP (Ed25519) and RSA are"
    )]
    Kind,
    /// Coordinates or modulus of another length, or not canonical.
    #[error("a key's numbers are not of their length in canonical base64url")]
    Numbers,
}

/// SHA-256 thumbprint of a public key (RFC 7638), written as 43 letters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thumbprint([u8; 32]);

/// Why a text is no thumbprint.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("a thumbprint (RFC 7638) is 43 letters of base64url: the SHA-256 of a public key's JSON")]
pub struct ThumbprintError;

impl Thumbprint {
    /// The digest itself, as records name it.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        Digest::from_bytes(self.0)
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Thumbprint {
    type Err = ThumbprintError;

    fn from_str(text: &str) -> Result<Self, ThumbprintError> {
        let bytes = decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(ThumbprintError)
    }
}

impl Serialize for Thumbprint {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Thumbprint {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A public key that signatures can be verified with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    family: Family,
    /// Point, or modulus.
    first: Vec<u8>,
    /// Exponent of an RSA key.
    second: Vec<u8>,
}

impl PublicKey {
    /// Reads a JSON object.
    ///
    /// # Errors
    /// See [`JwkError`]. Whether a point lies on its curve shows when a signature is verified.
    pub fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, JwkError> {
        if SECRET.iter().any(|name| jwk.contains_key(*name)) {
            return Err(JwkError::Secret);
        }
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let number = |name: &str| {
            let bytes = text(name).and_then(|text| decode(text).ok());
            bytes.ok_or(JwkError::Numbers)
        };
        let sized = |name: &str, length: usize| {
            let bytes = number(name)?;
            (bytes.len() == length)
                .then_some(bytes)
                .ok_or(JwkError::Numbers)
        };
        let point = |family, length| {
            let first = [vec![4], sized("x", length)?, sized("y", length)?].concat();
            Ok(Self {
                family,
                first,
                second: Vec::new(),
            })
        };
        match (text("kty"), text("crv")) {
            (Some("EC"), Some("P-256")) => point(Family::P256, 32),
            (Some("EC"), Some("P-384")) => point(Family::P384, 48),
            (Some("OKP"), Some("Ed25519")) => Ok(Self {
                family: Family::Ed25519,
                first: sized("x", 32)?,
                second: Vec::new(),
            }),
            (Some("RSA"), None) => {
                let (first, second) = (number("n")?, number("e")?);
                let padded = |bytes: &[u8]| bytes.first().is_none_or(|byte| *byte == 0);
                // 2,048 to 8,192 bits, and an exponent that ring takes
                if padded(&first) || padded(&second) || !(256..=1024).contains(&first.len()) {
                    return Err(JwkError::Numbers);
                }
                Ok(Self {
                    family: Family::Rsa,
                    first,
                    second,
                })
            }
            _ => Err(JwkError::Kind),
        }
    }

    /// The algorithms that its kind leaves: one, but for RSA.
    pub(crate) const fn only_algorithm(&self) -> Option<Algorithm> {
        match self.family {
            Family::P256 => Some(Algorithm::Es256),
            Family::P384 => Some(Algorithm::Es384),
            Family::Ed25519 => Some(Algorithm::EdDsa),
            Family::Rsa => None,
        }
    }

    pub(crate) fn is_for(&self, algorithm: Algorithm) -> bool {
        self.family == algorithm.family()
    }

    /// Whether `signature` over `message` is this key's by `algorithm`.
    pub(crate) fn signed(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.is_for(algorithm) {
            return false;
        }
        let verified = match (self.family, algorithm.rsa()) {
            (Family::P256, _) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.first)
                .verify(message, signature),
            (Family::P384, _) => UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, &self.first)
                .verify(message, signature),
            (Family::Ed25519, _) => {
                UnparsedPublicKey::new(&ED25519, &self.first).verify(message, signature)
            }
            (Family::Rsa, Some(parameters)) => {
                let (n, e) = (&self.first, &self.second);
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            (Family::Rsa, None) => return false,
        };
        verified.is_ok()
    }

    /// SHA-256 of the key's required members in the order of their names (RFC 7638 section 3).
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        let half = self.first.len().saturating_sub(1) / 2;
        let (x, y) = self.first.get(1..).unwrap_or_default().split_at(half);
        let curve = |crv: &str| {
            let (x, y) = (encode(x), encode(y));
            format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#)
        };
        let text = match self.family {
            Family::P256 => curve("P-256"),
            Family::P384 => curve("P-384"),
            Family::Ed25519 => {
                let x = encode(&self.first);
                format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#)
            }
            Family::Rsa => {
                let (n, e) = (encode(&self.first), encode(&self.second));
                format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#)
            }
        };
        Thumbprint(*Digest::of(text).as_bytes())
    }
}
