//! TCG2 crypto-agile event logs (TCG PC Client Platform Firmware Profile, section 10), as firmware
//! hands them over for a TPM and, with registers renumbered, for confidential guests (CCEL). One pass,
//! every length checked; what an event means is nobody's business here.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256, Sha384};

use crate::{Bank, RoomError};

type Reader<'a> = crate::reader::Reader<'a, RoomError>;

#[cfg(test)]
mod tests;

/// The most bytes of an event log that are read.
pub const MAX_EVENT_LOG_BYTES: usize = 1024 * 1024;

/// Event type of entries that are in the log and in no register.
pub const EV_NO_ACTION: u32 = 3;
const SPEC_ID: &[u8; 16] = b"Spec ID Event03\0";
const STARTUP_LOCALITY: &[u8; 16] = b"StartupLocality\0";
const MAX_BANKS: u32 = 8;
/// Registers of a TPM. CCEL numbers registers from 0 (MRTD) to 4 (RTMR3).
const MAX_REGISTER: u32 = 23;

/// One measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEvent {
    /// The register that it went to.
    pub register: u32,
    /// The event's type, as the TCG numbers it.
    pub kind: u32,
    /// What was extended, by bank.
    pub digests: BTreeMap<Bank, Vec<u8>>,
    /// The event's own data. Not covered by the digest for every type.
    pub data: Vec<u8>,
}

/// An event log, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventLog {
    banks: Vec<Bank>,
    events: Vec<LogEvent>,
}

impl EventLog {
    /// Reads a log: the Spec ID header, then events in the crypto-agile form, then nothing or padding
    /// that repeats 0x00 or 0xff.
    ///
    /// # Errors
    /// `boot-log-too-large`, or `boot-log-malformed` with the place.
    pub fn parse(bytes: &[u8]) -> Result<Self, RoomError> {
        if bytes.len() > MAX_EVENT_LOG_BYTES {
            return Err(RoomError::LogTooLarge(bytes.len()));
        }
        let mut reader = Reader::new(bytes, "header", RoomError::Log);
        let banks = header(&mut reader)?;
        reader.at("event");
        let mut events = Vec::new();
        while !is_padding(reader.rest()) {
            events.push(event(&mut reader, &banks)?);
        }
        Ok(Self { banks, events })
    }

    /// The banks that every event has a digest for.
    #[must_use]
    pub fn banks(&self) -> &[Bank] {
        &self.banks
    }

    /// The events behind the header, in order.
    #[must_use]
    pub fn events(&self) -> &[LogEvent] {
        &self.events
    }

    /// The registers that were extended, with what they hold afterwards in the SHA-384 bank.
    ///
    /// # Errors
    /// `boot-log-bank` when the log has no such bank.
    pub fn replay_sha384(&self) -> Result<BTreeMap<u32, [u8; 48]>, RoomError> {
        self.replay(Bank::Sha384, |register: [u8; 48], digest| {
            Sha384::new_with_prefix(register)
                .chain_update(digest)
                .finalize()
                .into()
        })
    }

    /// The registers that were extended, with what they hold afterwards in the SHA-256 bank.
    ///
    /// # Errors
    /// `boot-log-bank` when the log has no such bank.
    pub fn replay_sha256(&self) -> Result<BTreeMap<u32, [u8; 32]>, RoomError> {
        self.replay(Bank::Sha256, |register: [u8; 32], digest| {
            Sha256::new_with_prefix(register)
                .chain_update(digest)
                .finalize()
                .into()
        })
    }

    fn replay<const N: usize>(
        &self,
        bank: Bank,
        extend: impl Fn([u8; N], &[u8]) -> [u8; N],
    ) -> Result<BTreeMap<u32, [u8; N]>, RoomError> {
        if !self.banks.contains(&bank) {
            return Err(RoomError::LogBank);
        }
        let mut registers = BTreeMap::new();
        for event in &self.events {
            if event.kind == EV_NO_ACTION {
                if let Some(locality) = event.startup_locality() {
                    let start = registers.entry(event.register).or_insert([0; N]);
                    if *start != [0; N] || event.register != 0 {
                        return Err(RoomError::Log("StartupLocality"));
                    }
                    if let Some(last) = start.last_mut() {
                        *last = locality;
                    }
                }
                continue;
            }
            let digest = event.digests.get(&bank).ok_or(RoomError::LogBank)?;
            let register = registers.entry(event.register).or_insert([0; N]);
            *register = extend(*register, digest);
        }
        Ok(registers)
    }
}

impl LogEvent {
    /// The locality from which the TPM was started, which PCR 0 begins with.
    fn startup_locality(&self) -> Option<u8> {
        match self.data.strip_prefix(STARTUP_LOCALITY) {
            Some([locality @ 0..=4]) => Some(*locality),
            _ => None,
        }
    }
}

fn header(reader: &mut Reader<'_>) -> Result<Vec<Bank>, RoomError> {
    // 0 with a TPM; firmware for confidential guests numbers the header's register 1
    let register = reader.u32()?;
    let kind = reader.u32()?;
    reader.take(20)?; // SHA-1 of nothing
    let mut spec = reader.sized()?;
    let known = spec.take(SPEC_ID.len())? == SPEC_ID;
    if register > 1 || kind != EV_NO_ACTION || !known {
        return Err(RoomError::Log("Spec ID header"));
    }
    spec.take(8)?; // platform class, versions, size of a UINTN
    let count = spec.u32()?;
    if count == 0 || count > MAX_BANKS {
        return Err(RoomError::Log("number of banks"));
    }
    let mut banks = Vec::new();
    for _ in 0..count {
        let id = spec.u16()?;
        let size = spec.u16()?;
        let bank = Bank::from_id(id).ok_or(RoomError::Log("hash algorithm"))?;
        if usize::from(size) != bank.size() || banks.contains(&bank) {
            return Err(RoomError::Log("hash algorithm"));
        }
        banks.push(bank);
    }
    let vendor = spec.u8()?;
    spec.take(vendor.into())?;
    if spec.rest().is_empty() {
        Ok(banks)
    } else {
        Err(RoomError::Log("Spec ID header"))
    }
}

fn event(reader: &mut Reader<'_>, banks: &[Bank]) -> Result<LogEvent, RoomError> {
    let register = reader.u32()?;
    if register > MAX_REGISTER {
        return Err(RoomError::Log("register"));
    }
    let kind = reader.u32()?;
    let count = reader.u32()?;
    if usize::try_from(count) != Ok(banks.len()) {
        return Err(RoomError::Log("number of digests"));
    }
    let mut digests = BTreeMap::new();
    for _ in 0..count {
        let bank = Bank::from_id(reader.u16()?)
            .filter(|bank| banks.contains(bank))
            .ok_or(RoomError::Log("hash algorithm"))?;
        let digest = reader.take(bank.size())?.to_vec();
        if digests.insert(bank, digest).is_some() {
            return Err(RoomError::Log("hash algorithm"));
        }
    }
    let data = reader.sized()?.rest().to_vec();
    Ok(LogEvent {
        register,
        kind,
        digests,
        data,
    })
}

/// Whether nothing is left but filling. An event's first 12 bytes name a register, a type and a
/// number of banks, which is never zero: 12 equal bytes of filling are no event. Looked at in full
/// only then, and then nothing follows, so reading a log takes one pass.
fn is_padding(rest: &[u8]) -> bool {
    let filling = |fill: u8| {
        let head = rest.get(..12).unwrap_or(rest);
        head.iter().all(|byte| *byte == fill) && rest.iter().all(|byte| *byte == fill)
    };
    filling(0) || filling(0xff)
}
