//! Event logs in the TCG2 crypto-agile form, as firmware hands them over for a TPM and for a TD.

use sha2::{Digest as _, Sha256, Sha384};

/// `EV_SEPARATOR`.
pub const EV_SEPARATOR: u32 = 4;
const EV_NO_ACTION: u32 = 3;

/// One measurement of a boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootEvent {
    /// The register: a PCR, or of a TD 1 for RTMR0 to 4 for RTMR3.
    pub pcr: u32,
    /// The event's type.
    pub kind: u32,
    /// What is hashed, and the event's data in the log.
    pub data: Vec<u8>,
}

/// A bank of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogBank {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
}

/// The log of `events` with these banks; its header stands in register `header`, 0 with a TPM and 1 of
/// a TD.
#[must_use]
pub fn write(header: u32, banks: &[LogBank], events: &[BootEvent]) -> Vec<u8> {
    let mut log = Vec::new();
    log.extend(header.to_le_bytes());
    log.extend(EV_NO_ACTION.to_le_bytes());
    log.extend([0; 20]);
    let mut spec = b"Spec ID Event03\0".to_vec();
    spec.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    spec.extend(length(banks).to_le_bytes());
    for bank in banks {
        spec.extend(bank.id().to_le_bytes());
        spec.extend(bank.size().to_le_bytes());
    }
    spec.push(0);
    put_counted(&mut log, &spec);
    for event in events {
        log.extend(event.pcr.to_le_bytes());
        log.extend(event.kind.to_le_bytes());
        log.extend(length(banks).to_le_bytes());
        for bank in banks {
            log.extend(bank.id().to_le_bytes());
            log.extend(bank.digest(&event.data));
        }
        put_counted(&mut log, &event.data);
    }
    log
}

impl LogBank {
    /// TPM_ALG_ID.
    const fn id(self) -> u16 {
        match self {
            Self::Sha256 => 0x000b,
            Self::Sha384 => 0x000c,
        }
    }

    const fn size(self) -> u16 {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }

    fn digest(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(data).to_vec(),
            Self::Sha384 => Sha384::digest(data).to_vec(),
        }
    }
}

fn length<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

fn put_counted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(length(bytes).to_le_bytes());
    out.extend(bytes);
}
