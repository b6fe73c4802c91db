//! Runtime events: what a guest measures after its boot, before it acts on it. An event is a name
//! and a text; its digest is over both with a prefix that no other protocol's text has.

use std::collections::BTreeMap;

use proofroom_canonical::{Digest, Nonce, SessionId, json};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha384};

use crate::RoomError;

/// Name of the first event: the exact text of the boot configuration.
pub const BOOT_CONFIG_EVENT: &str = "boot-config";
/// Name of the second event: the [`AssignmentEvent`].
pub const ASSIGNMENT_EVENT: &str = "assignment";
/// The most runtime events of one room.
pub const MAX_RUNTIME_EVENTS: usize = 256;
/// The most bytes of one event's content.
pub const MAX_RUNTIME_CONTENT_BYTES: usize = 128 * 1024;

const PREFIX: &str = "proofroom.runtime-event.v1\n";
const MAX_NAME_BYTES: usize = 64;

/// Something that a guest measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeEvent {
    /// What it is about: lower-case letters, digits and hyphens.
    pub name: String,
    /// The exact text that was measured.
    pub content: String,
}

impl RuntimeEvent {
    /// An event that can be measured.
    ///
    /// # Errors
    /// `room-evidence-member` for an unusable name or a content that is too large.
    pub fn new(name: impl Into<String>, content: impl Into<String>) -> Result<Self, RoomError> {
        let event = Self {
            name: name.into(),
            content: content.into(),
        };
        event.check()?;
        Ok(event)
    }

    fn check(&self) -> Result<(), RoomError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if self.name.is_empty() || self.name.len() > MAX_NAME_BYTES || !self.name.bytes().all(plain)
        {
            return Err(RoomError::Member(
                "runtime.name",
                "must have 1 to 64 lower-case letters, digits and hyphens",
            ));
        }
        if self.content.len() > MAX_RUNTIME_CONTENT_BYTES {
            return Err(RoomError::Member(
                "runtime.content",
                "must have at most 128 KiB",
            ));
        }
        Ok(())
    }

    /// What is extended into a SHA-256 bank.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.message()).into()
    }

    /// What is extended into a SHA-384 bank or an RTMR.
    #[must_use]
    pub fn sha384(&self) -> [u8; 48] {
        Sha384::digest(self.message()).into()
    }

    fn message(&self) -> Vec<u8> {
        [PREFIX, &self.name, "\n", &self.content]
            .concat()
            .into_bytes()
    }
}

pub(super) fn check(events: &[RuntimeEvent]) -> Result<(), RoomError> {
    if events.len() > MAX_RUNTIME_EVENTS {
        return Err(RoomError::Member("runtime", "must have at most 256 events"));
    }
    events.iter().try_for_each(RuntimeEvent::check)
}

/// Content of the [`ASSIGNMENT_EVENT`]: what the room was told to work on, measured before the
/// supervisor acts on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignmentEvent {
    /// The session.
    pub session: SessionId,
    /// Chosen by the session service.
    pub nonce: Nonce,
    /// Name of the origin repository.
    pub repository: String,
    /// Commit the workspace is made from.
    pub commit: String,
    /// The agent, as the access policy names it.
    pub agent: String,
    /// Digest of every policy in force, by the policy's name.
    pub policies: BTreeMap<String, Digest>,
}

impl AssignmentEvent {
    /// Reads the content of an event.
    ///
    /// # Errors
    /// `room-evidence-malformed`, `room-evidence-not-canonical`.
    pub fn parse(text: &str) -> Result<Self, RoomError> {
        let event: Self =
            json::parse(text.as_bytes(), MAX_RUNTIME_CONTENT_BYTES).map_err(RoomError::Evidence)?;
        if event.to_text()? == text {
            Ok(event)
        } else {
            Err(RoomError::NotCanonical("assignment event"))
        }
    }

    /// The content's one spelling: compact JSON, members in the order of the fields.
    ///
    /// # Errors
    /// `room-evidence-malformed`, which no value of this type causes.
    pub fn to_text(&self) -> Result<String, RoomError> {
        super::into_text(self, MAX_RUNTIME_CONTENT_BYTES).map_err(RoomError::Evidence)
    }
}
