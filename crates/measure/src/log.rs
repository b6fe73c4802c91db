//! A captured boot log (TCG PC Client Platform Firmware Profile 1.06, section 10: crypto-agile
//! format), to be compared with a prediction. A log proves nothing by itself; here it is the
//! measured fact that the prediction is held against.

use proofroom_verifier::reference::{Hash256, Hash384, ReferenceEvent};

use crate::{MeasureError, error::at_most, raw};

/// The most bytes of a log that are read.
pub const MAX_LOG_BYTES: usize = 1024 * 1024;
/// The most events that are read.
const MAX_EVENTS: usize = 4096;
const SIGNATURE: &[u8] = b"Spec ID Event03\0";
const SHA256: u16 = 0x000b;
const SHA384: u16 = 0x000c;

/// Event types, as the TCG numbers them.
const KINDS: [(u32, &str); 22] = [
    (0x01, "EV_POST_CODE"),
    (0x03, "EV_NO_ACTION"),
    (0x04, "EV_SEPARATOR"),
    (0x05, "EV_ACTION"),
    (0x06, "EV_EVENT_TAG"),
    (0x07, "EV_S_CRTM_CONTENTS"),
    (0x08, "EV_S_CRTM_VERSION"),
    (0x0a, "EV_PLATFORM_CONFIG_FLAGS"),
    (0x0d, "EV_IPL"),
    (0x8000_0001, "EV_EFI_VARIABLE_DRIVER_CONFIG"),
    (0x8000_0002, "EV_EFI_VARIABLE_BOOT"),
    (0x8000_0003, "EV_EFI_BOOT_SERVICES_APPLICATION"),
    (0x8000_0004, "EV_EFI_BOOT_SERVICES_DRIVER"),
    (0x8000_0005, "EV_EFI_RUNTIME_SERVICES_DRIVER"),
    (0x8000_0006, "EV_EFI_GPT_EVENT"),
    (0x8000_0007, "EV_EFI_ACTION"),
    (0x8000_0008, "EV_EFI_PLATFORM_FIRMWARE_BLOB"),
    (0x8000_0009, "EV_EFI_HANDOFF_TABLES"),
    (0x8000_000a, "EV_EFI_PLATFORM_FIRMWARE_BLOB2"),
    (0x8000_000b, "EV_EFI_HANDOFF_TABLES2"),
    (0x8000_000c, "EV_EFI_VARIABLE_BOOT2"),
    (0x8000_00e0, "EV_EFI_VARIABLE_AUTHORITY"),
];

/// One event of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEvent {
    /// The PCR.
    pub pcr: u32,
    /// Its type's name, or its number in hex.
    pub kind: String,
    /// What was extended into the SHA-256 bank, if the log has that bank.
    pub sha256: Option<Hash256>,
    /// What was extended into the SHA-384 bank, if the log has that bank.
    pub sha384: Option<Hash384>,
}

/// A log, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootLog {
    events: Vec<LoggedEvent>,
}

/// The first place where a log is not what was predicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The event's number, from 1.
    pub number: usize,
    /// What was predicted there, if anything.
    pub predicted: Option<ReferenceEvent>,
    /// What the log has there, if anything.
    pub logged: Option<LoggedEvent>,
    /// What differs.
    pub problem: &'static str,
}

const CUT: MeasureError = MeasureError::Log("it ends inside of an event");

impl BootLog {
    /// Reads a log of at most [`MAX_LOG_BYTES`].
    ///
    /// # Errors
    /// `input-too-large`, `log-malformed`.
    pub fn parse(bytes: &[u8]) -> Result<Self, MeasureError> {
        at_most("event log", bytes, MAX_LOG_BYTES)?;
        let (banks, mut at) = header(bytes)?;
        if !banks.iter().any(|(id, _)| matches!(*id, SHA256 | SHA384)) {
            return Err(MeasureError::Log(
                "it has neither SHA-256 nor SHA-384 digests",
            ));
        }
        let mut events = Vec::new();
        while at < bytes.len() {
            if events.len() == MAX_EVENTS {
                return Err(MeasureError::Log("more than 4096 events"));
            }
            let (event, next) = event(bytes, at, &banks)?;
            events.push(event);
            at = next;
        }
        Ok(Self { events })
    }

    /// Its events, in order.
    #[must_use]
    pub fn events(&self) -> &[LoggedEvent] {
        &self.events
    }
}

/// The banks of a log with the sizes of their digests, and where its first event begins.
fn header(bytes: &[u8]) -> Result<(Vec<(u16, usize)>, usize), MeasureError> {
    const FORM: MeasureError = MeasureError::Log("it is not a crypto-agile TCG log");
    // The header is an event of the old format: PCR, type, SHA-1 digest, size, contents.
    let size = raw::size32(bytes, 28).ok_or(FORM)?;
    let contents = raw::part(bytes, 32, size).ok_or(FORM)?;
    if raw::u32_at(bytes, 4) != Some(0x03) || !contents.starts_with(SIGNATURE) {
        return Err(FORM);
    }
    let count = raw::size32(contents, 24).ok_or(FORM)?;
    if count == 0 || count > 8 {
        return Err(FORM);
    }
    let mut banks = Vec::with_capacity(count);
    for number in 0..count {
        let id = raw::u16_at(contents, 28 + 4 * number).ok_or(FORM)?;
        let length = raw::size16(contents, 30 + 4 * number).ok_or(FORM)?;
        let known = match id {
            SHA256 => length == 32,
            SHA384 => length == 48,
            _ => (1..=64).contains(&length),
        };
        if !known {
            return Err(FORM);
        }
        banks.push((id, length));
    }
    Ok((banks, 32 + size))
}

fn event(
    bytes: &[u8],
    at: usize,
    banks: &[(u16, usize)],
) -> Result<(LoggedEvent, usize), MeasureError> {
    const BANKS: MeasureError = MeasureError::Log("an event does not have one digest of each bank");
    let pcr = raw::u32_at(bytes, at).ok_or(CUT)?;
    let kind = raw::u32_at(bytes, at + 4).ok_or(CUT)?;
    let count = raw::size32(bytes, at + 8).ok_or(CUT)?;
    if count != banks.len() {
        return Err(BANKS);
    }
    let mut event = LoggedEvent {
        pcr,
        kind: kind_name(kind),
        sha256: None,
        sha384: None,
    };
    let mut seen = Vec::with_capacity(count);
    let mut at = at + 12;
    for _ in 0..count {
        let id = raw::u16_at(bytes, at).ok_or(CUT)?;
        let bank = banks.iter().find(|(bank, _)| *bank == id).ok_or(BANKS)?;
        if seen.contains(&id) {
            return Err(BANKS);
        }
        seen.push(id);
        match id {
            SHA256 => {
                event.sha256 = Some(Hash256::from_bytes(raw::array(bytes, at + 2).ok_or(CUT)?))
            }
            SHA384 => {
                event.sha384 = Some(Hash384::from_bytes(raw::array(bytes, at + 2).ok_or(CUT)?))
            }
            _ => {}
        }
        at += 2 + bank.1;
    }
    let size = raw::size32(bytes, at).ok_or(CUT)?;
    raw::part(bytes, at + 4, size).ok_or(CUT)?;
    Ok((event, at + 4 + size))
}

fn kind_name(kind: u32) -> String {
    let known = KINDS.iter().find(|(number, _)| *number == kind);
    known.map_or_else(|| format!("{kind:#010x}"), |(_, name)| (*name).to_owned())
}

/// Compares a log with a prediction, event by event; none if they are the same to the end.
#[must_use]
pub fn first_difference(predicted: &[ReferenceEvent], log: &BootLog) -> Option<Difference> {
    let longest = predicted.len().max(log.events.len());
    (0..longest).find_map(|at| {
        let (predicted, logged) = (predicted.get(at), log.events.get(at));
        let problem = match (predicted, logged) {
            (Some(predicted), Some(logged)) => differs(predicted, logged)?,
            (Some(_), None) => "the log ends before it",
            _ => "the log goes on where the boot should have ended",
        };
        Some(Difference {
            number: at + 1,
            predicted: predicted.cloned(),
            logged: logged.cloned(),
            problem,
        })
    })
}

fn differs(predicted: &ReferenceEvent, logged: &LoggedEvent) -> Option<&'static str> {
    if predicted.pcr != logged.pcr {
        return Some("it is of another PCR");
    }
    if predicted.kind != logged.kind {
        return Some("it is of another type");
    }
    let other256 = logged
        .sha256
        .is_some_and(|digest| digest != predicted.sha256);
    let other384 = logged
        .sha384
        .is_some_and(|digest| digest != predicted.sha384);
    (other256 || other384).then_some("its digest is another one")
}

#[cfg(test)]
mod tests;
