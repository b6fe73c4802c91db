//! What a boot log says about a register: the first event that differs, and how registers grow.

use std::collections::BTreeMap;

use proofroom_evidence::{Bank, EV_NO_ACTION, EventLog};

use super::unreadable;
use crate::{RoomCode, RoomOutcome, reference::ReferenceEvent};

/// A log of a boot, and what it leaves in the SHA-384 registers that it extends.
pub(super) struct BootLog {
    pub(super) events: EventLog,
    pub(super) registers: BTreeMap<u32, [u8; 48]>,
}

impl BootLog {
    /// Reads a log that leaves the register of runtime events alone, whose name is `label`.
    pub(super) fn read(bytes: &[u8], runtime: u32, label: &str) -> Result<Self, RoomOutcome> {
        let events = EventLog::parse(bytes).map_err(|error| unreadable(&error))?;
        let registers = events.replay_sha384().map_err(|error| unreadable(&error))?;
        if registers.contains_key(&runtime) {
            let words = format!("the boot log extends {label}, which belongs to runtime events");
            return Err(RoomOutcome::fail(RoomCode::BootLogRuntimeRegister, words));
        }
        Ok(Self { events, registers })
    }

    /// What a register holds after the boot.
    pub(super) fn register(&self, number: u32) -> [u8; 48] {
        self.registers.get(&number).copied().unwrap_or([0; 48])
    }
}

/// In words: the first event in `register` of the log, whose name is `label`, that is not the one that
/// the reference has there.
pub(super) fn difference<'a>(
    label: &str,
    log: &BootLog,
    register: u32,
    mut wanted: impl Iterator<Item = &'a ReferenceEvent>,
) -> String {
    let measured = log.events.events().iter();
    let measured =
        measured.filter(|event| event.register == register && event.kind != EV_NO_ACTION);
    for (number, event) in measured.enumerate() {
        let found = event.digests.get(&Bank::Sha384);
        match wanted.next() {
            Some(wanted) if found.map(Vec::as_slice) == Some(wanted.sha384.as_bytes()) => {}
            Some(wanted) => {
                return format!("{label}: event {number} is not `{}`", wanted.what);
            }
            None => return format!("{label}: event {number} is not in the reference values"),
        }
    }
    wanted.next().map_or_else(
        || format!("{label} does not have its reference value"),
        |wanted| format!("{label}: `{}` was not measured", wanted.what),
    )
}
