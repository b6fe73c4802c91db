//! What a request was let in with: a virtual key, or a person's token. Whoever asks what it may does not ask which.

use std::{fmt, str::FromStr, sync::Arc};

use proofroom_authn::{PersonId, Thumbprint, VerifiedPerson, VerifiedProof};
use proofroom_canonical::{Digest, Timestamp};
use proofroom_record::statement::ClientIdentity;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    keys::{KeyId, Permits, Scope},
    limits::Limits,
    people::{Barred, People},
    ring::HeldKey,
};

/// Whose session a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum HolderId {
    /// Of a virtual key.
    Key(KeyId),
    /// Of a person, whichever token they came with.
    Person(PersonId),
}

/// Why a text is no [`HolderId`].
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("a holder is a key's id or a person's")]
pub(crate) struct HolderIdError;

impl fmt::Display for HolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => id.fmt(f),
            Self::Person(id) => id.fmt(f),
        }
    }
}

impl FromStr for HolderId {
    type Err = HolderIdError;

    fn from_str(text: &str) -> Result<Self, HolderIdError> {
        let person = text.parse().map(Self::Person);
        let key = || text.parse().map(Self::Key);
        person.or_else(|_| key().map_err(|_| HolderIdError))
    }
}

impl Serialize for HolderId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HolderId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a key, or a rule about people, permits.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) scope: Scope,
    pub(crate) permits: Permits,
    pub(crate) limits: Limits,
    pub(crate) session_limits: Limits,
}

impl Grant {
    pub(crate) fn new(
        scope: &Scope,
        limits: &Limits,
        session_limits: &Limits,
    ) -> Result<Self, globset::Error> {
        Ok(Self {
            permits: Permits::of(scope)?,
            scope: scope.clone(),
            limits: limits.clone(),
            session_limits: session_limits.clone(),
        })
    }
}

/// What a request was let in with, for as long as its run lasts.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) holder: HolderId,
    /// For the run's record.
    pub(crate) client: ClientIdentity,
    pub(crate) grant: Arc<Grant>,
    by: By,
}

#[derive(Debug)]
enum By {
    Key(Arc<HeldKey>),
    Token {
        person: Box<VerifiedPerson>,
        people: Arc<People>,
    },
}

impl Held {
    /// A key that the ring let in.
    pub(crate) fn of_key(held: Arc<HeldKey>) -> Self {
        let key = &held.key;
        Self {
            holder: HolderId::Key(key.id),
            client: ClientIdentity::of_key(&key.id, &key.user, &key.team),
            grant: Arc::clone(&held.grant),
            by: By::Key(held),
        }
    }

    /// A person whose token was verified, and whom a rule puts into `team`.
    pub(crate) fn of_person(
        person: VerifiedPerson,
        team: &str,
        grant: Arc<Grant>,
        people: Arc<People>,
    ) -> Self {
        let client = ClientIdentity::of_key(&person.id(), person.name(), team);
        Self {
            holder: HolderId::Person(person.id()),
            client: ClientIdentity {
                issuer: Some(person.issuer().to_owned()),
                token: Some(person.token()),
                ..client
            },
            grant,
            by: By::Token {
                person: Box::new(person),
                people,
            },
        }
    }

    /// The key by which its sender has to prove that it is theirs.
    pub(crate) fn proof_key(&self) -> Option<Thumbprint> {
        match &self.by {
            By::Key(held) => held.key.proof_key,
            By::Token { person, .. } => person.bound_to(),
        }
    }

    /// Its sender proved that it is theirs.
    pub(crate) fn proved(mut self, proof: VerifiedProof) -> Self {
        self.client.proof_key = Some(proof.key().digest());
        self
    }

    /// SPKI digest of the TLS key that its session is bound to.
    pub(crate) fn session_client_key(&self) -> Option<Digest> {
        match &self.by {
            By::Key(held) => held.key.client_key,
            By::Token { .. } => None,
        }
    }

    /// Digest of the proof key that its session is bound to. A person may come with several.
    pub(crate) fn session_proof_key(&self) -> Option<Digest> {
        match &self.by {
            By::Key(held) => held.key.proof_key.map(|key| key.digest()),
            By::Token { .. } => None,
        }
    }

    /// Whether key, person or token were revoked since.
    pub(crate) fn has_ended(&self) -> bool {
        match &self.by {
            By::Key(held) => held.has_ended(),
            By::Token { person, people } => people.bars(person) != Barred::Nothing,
        }
    }

    /// Whether a run may begin with it at `now`.
    pub(crate) fn is_usable(&self, now: Timestamp) -> bool {
        !self.has_ended()
            && match &self.by {
                By::Key(held) => held.key.usable_at(now).is_ok(),
                By::Token { person, .. } => now < person.expires(),
            }
    }
}
