//! The event log of a simulated dstack machine.

use proofroom_evidence::Measurement;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha384};

use super::{KEY_PROVIDER, OS_IMAGE};

/// The type of the guest's own events.
const RUNTIME_EVENT: u32 = 0x0800_0001;

/// One event as a log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedEvent {
    /// The RTMR.
    pub imr: u8,
    /// The event's type.
    pub event_type: u32,
    /// What is extended.
    pub digest: [u8; 48],
    /// The event's name; empty for those of the firmware.
    pub name: String,
    /// What it says.
    pub payload: Vec<u8>,
}

/// An event of the guest in RTMR3.
#[must_use]
pub fn event(name: &str, payload: &[u8]) -> PlannedEvent {
    let digest = Sha384::new()
        .chain_update(RUNTIME_EVENT.to_le_bytes())
        .chain_update(format!(":{name}:"))
        .chain_update(payload)
        .finalize();
    PlannedEvent {
        imr: 3,
        event_type: RUNTIME_EVENT,
        digest: digest.into(),
        name: name.to_owned(),
        payload: payload.to_vec(),
    }
}

fn firmware(imr: u8) -> PlannedEvent {
    PlannedEvent {
        imr,
        event_type: 4,
        digest: Sha384::digest(format!("proofroom SIMULATED boot {imr}")).into(),
        name: String::new(),
        payload: Vec::new(),
    }
}

/// The events of a boot, in dstack's order.
pub(super) fn boot(app_id: [u8; 20], compose: &str) -> Vec<PlannedEvent> {
    let provider = format!("{{\"name\":\"kms\",\"id\":\"{KEY_PROVIDER}\"}}");
    let mut events: Vec<_> = (0..3).map(firmware).collect();
    events.extend([
        event("system-preparing", b""),
        event("app-id", &app_id),
        event("compose-hash", &Sha256::digest(compose)),
        event("instance-id", &[7; 20]),
        event("boot-mr-done", b""),
        event("mr-kms", &[8; 32]),
        event("os-image-hash", &OS_IMAGE),
        event("key-provider", provider.as_bytes()),
        event("storage-fs", b"zfs"),
        event("system-ready", b""),
    ]);
    events
}

/// What the RTMRs hold after all events.
#[must_use]
pub fn replay(events: &[PlannedEvent]) -> [Measurement; 4] {
    let mut registers = [[0; 48]; 4];
    for event in events {
        if let Some(register) = registers.get_mut(usize::from(event.imr)) {
            let extended = Sha384::new()
                .chain_update(*register)
                .chain_update(event.digest);
            *register = extended.finalize().into();
        }
    }
    registers.map(Measurement::from_bytes)
}

pub(super) fn written(events: &[PlannedEvent]) -> Value {
    let written = events.iter().map(|event| {
        json!({
            "imr": event.imr,
            "event_type": event.event_type,
            "digest": hex::encode(event.digest),
            "event": event.name,
            "event_payload": hex::encode(&event.payload),
        })
    });
    written.collect()
}
