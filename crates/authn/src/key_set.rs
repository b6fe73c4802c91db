//! An issuer's keys (a JWK set, RFC 7517 section 5): which of them verify signatures, and by what algorithm. A
//! key that says too little is not guessed at.

use std::collections::BTreeMap;

use proofroom_canonical::{json, json::JsonError};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    algorithm::Algorithm,
    jwk::{JwkError, PublicKey},
};

/// The most bytes of a set: 64 keys, each with a chain of certificates.
pub const MAX_KEY_SET_BYTES: usize = 256 * 1024;
const MAX_KEYS: usize = 64;
/// The longest name of a key.
const MAX_KEY_ID: usize = 256;

/// Why a set is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// Not strict JSON of its shape, or too large.
    #[error("the issuer's key set cannot be read")]
    Malformed(#[source] JsonError),
    /// Too many keys.
    #[error("the issuer's key set has {0} keys, more than {MAX_KEYS}")]
    TooMany(usize),
    /// Two keys of one name.
    #[error("the issuer's key set has two keys of one name")]
    Twice,
    /// A key that the issuer should have kept.
    #[error("the issuer's key set cannot be trusted")]
    Secret(#[source] JwkError),
    /// No key that verifies anything by an allowed algorithm.
    #[error("the issuer's key set has no key for signatures by the algorithms that are allowed")]
    Empty,
}

impl KeySetError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "issuer-keys-malformed",
            Self::TooMany(_) => "issuer-keys-too-many",
            Self::Twice => "issuer-keys-twice",
            Self::Secret(_) => "issuer-keys-secret",
            Self::Empty => "issuer-keys-none",
        }
    }
}

/// The keys of an issuer that verify signatures, by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet {
    keys: BTreeMap<String, SignatureKey>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct SignatureKey {
    algorithm: Algorithm,
    key: PublicKey,
}

#[derive(Deserialize)]
struct Raw {
    keys: Vec<Map<String, Value>>,
}

impl KeySet {
    /// Reads a set's bytes. Keys that are not for signatures, have no name, or no algorithm among `allowed`, are passed
    /// over: an issuer publishes keys for other purposes too. The algorithm is the key's `alg`; without it the only one
    /// that its curve has, or for RSA the only RSA algorithm that is allowed.
    ///
    /// # Errors
    /// See [`KeySetError`].
    pub fn parse(bytes: &[u8], allowed: &[Algorithm]) -> Result<Self, KeySetError> {
        let raw: Raw = json::parse(bytes, MAX_KEY_SET_BYTES).map_err(KeySetError::Malformed)?;
        if raw.keys.len() > MAX_KEYS {
            return Err(KeySetError::TooMany(raw.keys.len()));
        }
        let mut keys = BTreeMap::new();
        for jwk in &raw.keys {
            let key = match PublicKey::from_jwk(jwk) {
                Ok(key) => key,
                Err(JwkError::Secret) => return Err(KeySetError::Secret(JwkError::Secret)),
                Err(JwkError::Kind | JwkError::Numbers) => continue,
            };
            let Some(id) = name(jwk) else { continue };
            let Some(algorithm) = algorithm(jwk, &key, allowed) else {
                continue;
            };
            let key = SignatureKey { algorithm, key };
            if keys.insert(id.to_owned(), key).is_some() {
                return Err(KeySetError::Twice);
            }
        }
        if keys.is_empty() {
            return Err(KeySetError::Empty);
        }
        Ok(Self { keys })
    }

    /// Whether there is a key of this name.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.keys.contains_key(id)
    }

    /// The key of this name and the one algorithm that it is for.
    pub(crate) fn find(&self, id: &str) -> Option<(Algorithm, &PublicKey)> {
        let found = self.keys.get(id)?;
        Some((found.algorithm, &found.key))
    }
}

fn name(jwk: &Map<String, Value>) -> Option<&str> {
    let id = jwk.get("kid")?.as_str()?;
    (!id.is_empty() && id.len() <= MAX_KEY_ID).then_some(id)
}

/// The one algorithm that a key's signatures are verified by, if it says that it is for that.
fn algorithm(
    jwk: &Map<String, Value>,
    key: &PublicKey,
    allowed: &[Algorithm],
) -> Option<Algorithm> {
    let for_signatures = match (jwk.get("use"), jwk.get("key_ops")) {
        (Some(used), None) => used == "sig",
        (None, Some(Value::Array(operations))) => operations.iter().any(|one| one == "verify"),
        (Some(used), Some(Value::Array(operations))) => {
            used == "sig" && operations.iter().any(|one| one == "verify")
        }
        _ => false,
    };
    if !for_signatures {
        return None;
    }
    let named = match jwk.get("alg") {
        Some(name) => Some(name.as_str()?.parse().ok()?),
        None => key.only_algorithm().or_else(|| only_rsa(allowed)),
    };
    named.filter(|algorithm| key.is_for(*algorithm) && allowed.contains(algorithm))
}

fn only_rsa(allowed: &[Algorithm]) -> Option<Algorithm> {
    let mut rsa = allowed.iter().filter(|algorithm| algorithm.rsa().is_some());
    match (rsa.next(), rsa.next()) {
        (Some(only), None) => Some(*only),
        _ => None,
    }
}
