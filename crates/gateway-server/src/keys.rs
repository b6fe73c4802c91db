//! Virtual keys: who may call the gateway, for what, how much and until when. The file holds digests
//! of keys and never a key.

mod file;
mod token;

use globset::{Glob, GlobMatcher};
use proofroom_authn::Thumbprint;
use proofroom_canonical::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

pub use file::{KeyFile, KeyFileError, MAX_KEY_FILE_BYTES};
pub(crate) use token::is_key;
pub use token::{KeyId, KeyToken};

use crate::limits::Limits;
pub use crate::limits::{Budget, Limits as KeyLimits, Window};

/// One key as the file holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VirtualKey {
    /// Names the key in records, metrics and commands.
    pub id: KeyId,
    /// SHA-256 of the key. A key is 256 random bits, so that nothing slower is needed.
    pub digest: Digest,
    /// The person or program that it was issued to.
    pub user: String,
    /// Their team.
    pub team: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
    /// What it is for.
    pub scope: Scope,
    /// How much it may.
    #[serde(default)]
    pub limits: Limits,
    /// How much one session of it may.
    #[serde(default)]
    pub session_limits: Limits,
    /// SHA-256 of the SubjectPublicKeyInfo of the TLS client key without which it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<Digest>,
    /// Thumbprint (RFC 7638) of the client's key: without a proof by it (RFC 9449) the virtual key is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof_key: Option<Thumbprint>,
}

/// The longest name of a user, team, repository or purpose.
const MAX_NAME: usize = 128;

/// Whether a name can stand in records.
pub(crate) fn is_name(text: &str) -> bool {
    let printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    text.len() <= MAX_NAME && text.bytes().all(printable)
}

/// What a key is for. Each list holds globs; an empty list permits nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Models, as clients name them.
    pub models: Vec<String>,
    /// Tiers.
    pub tiers: Vec<String>,
    /// Labels that its session may have.
    pub labels: Vec<String>,
    /// Regions of upstreams.
    pub regions: Vec<String>,
    /// Name of its one repository, as routing rules know it; empty for none.
    pub repository: String,
    /// What it is used for, as routing rules name purposes; empty for nothing in particular.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub purpose: String,
}

/// Why a key is not accepted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyRefusal {
    Missing,
    Ambiguous,
    Unknown,
    Expired,
    Revoked,
    ClientKey,
}

impl KeyRefusal {
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Missing => "key-missing",
            Self::Ambiguous => "key-ambiguous",
            Self::Unknown => "key-unknown",
            Self::Expired => "key-expired",
            Self::Revoked => "key-revoked",
            Self::ClientKey => "key-bound-to-client",
        }
    }

    pub(crate) const fn message(self) -> &'static str {
        match self {
            Self::Missing => {
                "no key; send the one that the gateway's operator issued as `authorization: Bearer` or `x-api-key`"
            }
            Self::Ambiguous => "two different keys; send one",
            Self::Unknown => "the gateway does not know this key",
            Self::Expired => "the key has expired; ask the gateway's operator for another",
            Self::Revoked => "the key was revoked; ask the gateway's operator for another",
            Self::ClientKey => {
                "the key is bound to a client certificate that this connection lacks"
            }
        }
    }
}

impl VirtualKey {
    /// Whether the key may be used at `now`.
    pub(crate) fn usable_at(&self, now: Timestamp) -> Result<(), KeyRefusal> {
        if self.revoked.is_some() {
            return Err(KeyRefusal::Revoked);
        }
        match self.expires {
            Some(expires) if now >= expires => Err(KeyRefusal::Expired),
            _ => Ok(()),
        }
    }
}

/// A scope, compiled.
#[derive(Debug)]
pub(crate) struct Permits {
    models: Vec<GlobMatcher>,
    tiers: Vec<GlobMatcher>,
    labels: Vec<GlobMatcher>,
    regions: Vec<GlobMatcher>,
}

impl Permits {
    pub(crate) fn of(scope: &Scope) -> Result<Self, globset::Error> {
        Ok(Self {
            models: compile(&scope.models)?,
            tiers: compile(&scope.tiers)?,
            labels: compile(&scope.labels)?,
            regions: compile(&scope.regions)?,
        })
    }

    pub(crate) fn model(&self, name: &str) -> bool {
        any(&self.models, name)
    }

    pub(crate) fn tier(&self, name: &str) -> bool {
        any(&self.tiers, name)
    }

    pub(crate) fn label(&self, name: &str) -> bool {
        any(&self.labels, name)
    }

    pub(crate) fn region(&self, name: &str) -> bool {
        any(&self.regions, name)
    }
}

fn compile(globs: &[String]) -> Result<Vec<GlobMatcher>, globset::Error> {
    let compiled = globs
        .iter()
        .map(|glob| Ok(Glob::new(glob)?.compile_matcher()));
    compiled.collect()
}

fn any(globs: &[GlobMatcher], name: &str) -> bool {
    globs.iter().any(|glob| glob.is_match(name))
}

#[cfg(test)]
pub(crate) mod tests;
