//! The name of a person that neither changes with their name nor says it: of the issuer and its subject.

use std::{fmt, str::FromStr};

use proofroom_canonical::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const PREFIX: &str = "person-";
const PURPOSE: &str = "proofroom.person.v1";

/// A person at an issuer: `person-<32 hex digits>`, of SHA-256 over issuer and subject. Two tokens of one
/// person have one, whatever else they say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonId([u8; 16]);

/// Why a text is no person's id.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("a person's id is `person-` and 32 lower-case hex digits")]
pub struct PersonIdError;

impl PersonId {
    /// The person of this `sub` at this `iss`.
    #[must_use]
    pub fn of(issuer: &str, subject: &str) -> Self {
        // an issuer is an address and has no line end, so that no two pairs are one text
        let digest = Digest::of(format!("{PURPOSE}\n{issuer}\n{subject}"));
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(digest.as_bytes()) {
            *to = *from;
        }
        Self(id)
    }
}

impl fmt::Display for PersonId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PersonId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PersonId {
    type Err = PersonIdError;

    fn from_str(text: &str) -> Result<Self, PersonIdError> {
        let digits = text.strip_prefix(PREFIX).ok_or(PersonIdError)?;
        let hex: proofroom_canonical::Hex<16> = digits.parse().map_err(|_| PersonIdError)?;
        Ok(Self(*hex.as_bytes()))
    }
}

impl Serialize for PersonId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PersonId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
