//! The event log of a dstack machine: what its firmware and its guest extended into RTMR0 to RTMR3.
//! Replayed before anything in it is used. Proves nothing alone: the registers are a quote's to show.

use serde::Deserialize;
use sha2::{Digest as _, Sha384};

use proofroom_canonical::json;

/// The most events that are read. A boot with its containers has some thirty.
const MAX_EVENTS: usize = 512;
/// The most bytes of one event's payload.
const MAX_PAYLOAD_BYTES: usize = 16 * 1024;
/// The type of an event that the guest itself extends into RTMR3 (dstack, `cc-eventlog`).
const RUNTIME_EVENT: u32 = 0x0800_0001;

/// Why a log cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// Not a list of events, or one of too many or too long ones.
    #[error("event log of the provider {0}")]
    Malformed(&'static str),
    /// An event's digest is not that of what the event says.
    #[error("digest of event {0} is not that of its name and payload")]
    Digest(usize),
}

/// A log as a report carries it: a list, or the text of one.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum RawLog {
    Text(String),
    List(Vec<RawEvent>),
}

/// One event. Other members are not used.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct RawEvent {
    imr: u8,
    event_type: u32,
    digest: String,
    #[serde(default)]
    event: String,
    #[serde(default)]
    event_payload: String,
}

/// What the guest extended into RTMR3: a name, and what it says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DstackEvent {
    /// Such as `compose-hash`.
    pub name: String,
    /// The event's payload.
    pub payload: Vec<u8>,
}

/// A log whose RTMR3 digests are those of its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DstackLog {
    extended: Vec<(u8, [u8; 48])>,
    runtime: Vec<DstackEvent>,
}

impl DstackLog {
    /// Reads a JSON list of events.
    ///
    /// # Errors
    /// [`LogError`]: also for a digest that lies about its event, and an event in RTMR3 that is not of
    /// the guest's kind, because nobody could say what it means.
    pub fn parse(bytes: &[u8]) -> Result<Self, LogError> {
        let events = json::parse(bytes, crate::MAX_REPORT_BYTES)
            .map_err(|_| LogError::Malformed("is not a list of events"))?;
        Self::of_events(events)
    }

    pub(crate) fn of_raw(raw: &RawLog) -> Result<Self, LogError> {
        match raw {
            RawLog::Text(text) => Self::parse(text.as_bytes()),
            RawLog::List(events) => Self::of_events(events.clone()),
        }
    }

    fn of_events(events: Vec<RawEvent>) -> Result<Self, LogError> {
        if events.is_empty() || events.len() > MAX_EVENTS {
            return Err(LogError::Malformed("has no events, or too many"));
        }
        let mut log = Self {
            extended: Vec::new(),
            runtime: Vec::new(),
        };
        for (index, event) in events.into_iter().enumerate() {
            log.take(index, event)?;
        }
        Ok(log)
    }

    fn take(&mut self, index: usize, event: RawEvent) -> Result<(), LogError> {
        let register = event.imr;
        let digest = match register {
            0..=2 => digest(&event.digest)?,
            3 => {
                let (digest, event) = runtime(index, event)?;
                self.runtime.push(event);
                digest
            }
            _ => {
                return Err(LogError::Malformed(
                    "extends a register that does not exist",
                ));
            }
        };
        self.extended.push((register, digest));
        Ok(())
    }

    /// What each RTMR holds after all events.
    #[must_use]
    pub fn registers(&self) -> [[u8; 48]; 4] {
        let mut registers = [[0; 48]; 4];
        for (index, digest) in &self.extended {
            if let Some(register) = registers.get_mut(usize::from(*index)) {
                let extended = Sha384::new().chain_update(*register).chain_update(digest);
                *register = extended.finalize().into();
            }
        }
        registers
    }

    /// What the guest extended into RTMR3, in order.
    #[must_use]
    pub fn runtime(&self) -> &[DstackEvent] {
        &self.runtime
    }
}

/// SHA-384 of type, name and payload with colons between them (dstack, `cc-eventlog`).
fn runtime(index: usize, raw: RawEvent) -> Result<([u8; 48], DstackEvent), LogError> {
    if raw.event_type != RUNTIME_EVENT {
        return Err(LogError::Malformed(
            "has an event in RTMR3 that is not the guest's",
        ));
    }
    let payload = hex::decode(&raw.event_payload)
        .map_err(|_| LogError::Malformed("has a payload that is not hex"))?;
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(LogError::Malformed("has a payload that is too long"));
    }
    let computed: [u8; 48] = Sha384::new()
        .chain_update(RUNTIME_EVENT.to_le_bytes())
        .chain_update(b":")
        .chain_update(raw.event.as_bytes())
        .chain_update(b":")
        .chain_update(&payload)
        .finalize()
        .into();
    // newer guests leave it out
    if !raw.digest.is_empty() && digest(&raw.digest)? != computed {
        return Err(LogError::Digest(index));
    }
    let event = DstackEvent {
        name: raw.event,
        payload,
    };
    Ok((computed, event))
}

fn digest(text: &str) -> Result<[u8; 48], LogError> {
    let mut bytes = [0; 48];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| LogError::Malformed("has a digest that is not SHA-384 in hex"))?;
    Ok(bytes)
}
