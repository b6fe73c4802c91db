//! Versions of a deployment's policy: signed entries, each naming the one before, and what such a
//! history says about any moment. `docs/spec/policy-history.md` is the format's text.

use p256::{ecdsa::VerifyingKey, pkcs8::DecodePublicKey as _};
use proofroom_canonical::{Digest, Nonce, SessionId, Timestamp};
use proofroom_tlog::LeafKind;
use serde::{Deserialize, Serialize};

use crate::{
    predicate::{Predicate, RecordError, VerifiedRecord, open},
    statement::{PolicyDigests, Subject},
};

/// Predicate type of a policy version.
pub const POLICY_VERSION_V1: &str = "https://proofroom.dev/policy-version/v1";
/// The session that the leaf of a version names: a version belongs to none.
pub const NO_SESSION: SessionId = SessionId::from_random([0; 16]);
/// The most bytes that author and reason may have, each.
pub const MAX_WORDS_BYTES: usize = 1000;
/// The most versions of one history.
pub const MAX_VERSIONS: usize = 100_000;

/// Predicate `policy-version/v1`: these files are the policy from a moment on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyVersion {
    /// Place in the history, from 0, without gaps.
    pub number: u64,
    /// SHA-256 of the entry before; absent in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
    /// The files.
    pub policies: VersionedPolicies,
    /// Who put it in force, as they called themselves.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When it was signed (the deployment's clock).
    pub signed: Timestamp,
    /// From when on it governs: never before it was signed.
    pub in_force_from: Timestamp,
    /// The key that signs this entry, a SubjectPublicKeyInfo in PEM.
    pub signer: String,
    /// The key that must sign the next entry.
    pub successor: String,
    /// 32 random bytes, so that the record's digest in the log says nothing about it.
    pub blinding: Nonce,
}

/// SHA-256 of each file that a version consists of, over the file's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionedPolicies {
    /// `access.cedar`.
    pub access: Digest,
    /// `classification.toml`.
    pub classification: Digest,
    /// `routing.toml`.
    pub routing: Digest,
    /// `egress.toml`.
    pub egress: Digest,
}

impl VersionedPolicies {
    /// The digests by file name.
    #[must_use]
    pub const fn by_file(&self) -> [(&'static str, Digest); 4] {
        [
            ("access.cedar", self.access),
            ("classification.toml", self.classification),
            ("routing.toml", self.routing),
            ("egress.toml", self.egress),
        ]
    }

    /// The part of a session's policies that versions are made of.
    #[must_use]
    pub const fn of(policies: &PolicyDigests) -> Self {
        Self {
            access: policies.access,
            classification: policies.classification,
            routing: policies.routing,
            egress: policies.egress,
        }
    }
}

impl Predicate for PolicyVersion {
    const TYPE: &'static str = POLICY_VERSION_V1;
    const LEAF: LeafKind = LeafKind::PolicyVersion;

    fn subjects(&self) -> Vec<Subject> {
        let files = self.policies.by_file();
        files
            .map(|(name, digest)| Subject::sha256(name, digest))
            .into()
    }

    fn contradiction(&self) -> Option<&'static str> {
        let words = |text: &str| !text.trim().is_empty() && text.len() <= MAX_WORDS_BYTES;
        if (self.number == 0) != self.previous.is_none() {
            return Some("only the first version has none before it");
        }
        if self.in_force_from < self.signed {
            return Some("in force before it was signed");
        }
        (!words(&self.author) || !words(&self.reason))
            .then_some("author and reason are each 1 to 1000 bytes")
    }
}

/// The entry of this number names a key that is none.
#[derive(Debug, thiserror::Error)]
#[error("version {0} of the policy history names a key that is no P-256 public key")]
pub struct NotAKey(u64);

/// Why a history is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// An entry is no signed policy version, or its signature is not by the key that it must be.
    #[error("version {number} of the policy history does not hold")]
    Entry {
        /// Its place.
        number: u64,
        /// What is wrong with it.
        #[source]
        source: RecordError,
    },
    /// A key in an entry is none.
    #[error(transparent)]
    Key(#[from] NotAKey),
    /// An entry names another signer than the one before announced.
    #[error(
        "version {0} of the policy history is signed by a key that the one before did not announce"
    )]
    Signer(u64),
    /// An entry is not the successor of the one before.
    #[error("the policy history is broken at version {0}: it does not follow the one before")]
    Link(u64),
    /// An entry was signed before its predecessor.
    #[error("version {0} of the policy history was signed before the one it follows")]
    Clock(u64),
    /// Longer than any history.
    #[error("the policy history has more than 100000 versions")]
    TooLong,
    /// The clock shows less than it did when the last version was signed.
    #[error(
        "the clock says {now}, but version {number} of the policy was signed at {signed}: correct the clock"
    )]
    ClockBackwards {
        /// The clock.
        now: Timestamp,
        /// The last version.
        number: u64,
        /// When it was signed.
        signed: Timestamp,
    },
    /// The key at hand is not the one that the last entry announced.
    #[error("the policy history is continued by another key than this one (`{wanted}`)")]
    NotSuccessor {
        /// Key id wanted.
        wanted: String,
    },
}

impl HistoryError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Entry { source, .. } => source.code(),
            Self::Key(_) => "policy-history-key",
            Self::Signer(_) => "policy-history-signer",
            Self::Link(_) => "policy-history-broken",
            Self::Clock(_) => "policy-history-clock",
            Self::TooLong => "policy-history-too-long",
            Self::ClockBackwards { .. } => "clock-backwards",
            Self::NotSuccessor { .. } => "policy-history-not-successor",
        }
    }
}

/// A history whose signatures and links were verified, from its first entry on.
#[derive(Clone, Debug)]
pub struct PolicyHistory {
    versions: Vec<VerifiedRecord<PolicyVersion>>,
}

/// When a version governs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// The first moment.
    pub from: Timestamp,
    /// The first moment at which another does, if one is known.
    pub until: Option<Timestamp>,
}

impl PolicyHistory {
    /// Verifies the entries of a history, oldest first. `anchor` is the key that must have signed
    /// the first; each entry announces who signs the next. That nothing was cut off the end is not
    /// shown by the entries.
    ///
    /// # Errors
    /// [`HistoryError`], for the first entry that does not hold.
    pub fn verify<'a>(
        entries: impl IntoIterator<Item = &'a [u8]>,
        anchor: &VerifyingKey,
    ) -> Result<Self, HistoryError> {
        let mut history = Self {
            versions: Vec::new(),
        };
        for entry in entries {
            let signer = history.next_signer(anchor)?;
            history.push(entry, &signer)?;
        }
        Ok(history)
    }

    fn push(&mut self, entry: &[u8], signer: &VerifyingKey) -> Result<(), HistoryError> {
        if self.versions.len() >= MAX_VERSIONS {
            return Err(HistoryError::TooLong);
        }
        let number = self.versions.len() as u64;
        let version = open::<PolicyVersion>(entry, signer)
            .map_err(|source| HistoryError::Entry { number, source })?;
        let claim = version.predicate();
        if read_key(number, &claim.signer)? != *signer {
            return Err(HistoryError::Signer(number));
        }
        read_key(number, &claim.successor)?;
        let last = self.versions.last();
        if claim.number != number || claim.previous != last.map(VerifiedRecord::digest) {
            return Err(HistoryError::Link(number));
        }
        if last.is_some_and(|last| last.predicate().signed > claim.signed) {
            return Err(HistoryError::Clock(number));
        }
        self.versions.push(version);
        Ok(())
    }

    fn next_signer(&self, anchor: &VerifyingKey) -> Result<VerifyingKey, HistoryError> {
        match self.versions.last() {
            None => Ok(*anchor),
            Some(last) => Ok(read_key(
                last.predicate().number,
                &last.predicate().successor,
            )?),
        }
    }

    /// Every version, oldest first.
    #[must_use]
    pub fn versions(&self) -> &[VerifiedRecord<PolicyVersion>] {
        &self.versions
    }

    /// The version that governs at `at`: the latest entry of those whose time has come. As no entry
    /// is in force before it is signed, no later entry changes the answer for a time that is past.
    #[must_use]
    pub fn in_force(&self, at: Timestamp) -> Option<&VerifiedRecord<PolicyVersion>> {
        let come =
            |version: &&VerifiedRecord<PolicyVersion>| version.predicate().in_force_from <= at;
        self.versions.iter().rfind(come)
    }

    /// When the version of this number governs; nothing if a later one was signed that came first.
    #[must_use]
    pub fn interval(&self, number: u64) -> Option<Interval> {
        let at = usize::try_from(number).ok()?;
        let from = self.versions.get(at)?.predicate().in_force_from;
        let later = self.versions.iter().skip(at.saturating_add(1));
        let until = later.map(|version| version.predicate().in_force_from).min();
        until
            .is_none_or(|until| until > from)
            .then_some(Interval { from, until })
    }

    /// Proves that the clock has not gone back behind the last entry.
    ///
    /// # Errors
    /// [`HistoryError::ClockBackwards`].
    pub fn check_clock(&self, now: Timestamp) -> Result<(), HistoryError> {
        match self.versions.last().map(VerifiedRecord::predicate) {
            Some(last) if last.signed > now => Err(HistoryError::ClockBackwards {
                now,
                number: last.number,
                signed: last.signed,
            }),
            _ => Ok(()),
        }
    }

    /// Number and predecessor of the entry that would be next, signed with `key` at `now`.
    ///
    /// # Errors
    /// [`HistoryError::ClockBackwards`] or [`HistoryError::NotSuccessor`].
    pub fn next(
        &self,
        key: &VerifyingKey,
        now: Timestamp,
    ) -> Result<(u64, Option<Digest>), HistoryError> {
        self.check_clock(now)?;
        let wanted = self.next_signer(key)?;
        if wanted != *key {
            return Err(HistoryError::NotSuccessor {
                wanted: crate::dsse::key_id(&wanted),
            });
        }
        let previous = self.versions.last().map(VerifiedRecord::digest);
        Ok((self.versions.len() as u64, previous))
    }
}

/// The key that an entry names.
pub(crate) fn read_key(number: u64, pem: &str) -> Result<VerifyingKey, NotAKey> {
    VerifyingKey::from_public_key_pem(pem).map_err(|_| NotAKey(number))
}

#[cfg(test)]
mod tests;
