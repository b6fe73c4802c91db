//! Banks of platform configuration registers and selections of registers.

use std::fmt;

use sha2::{Digest as _, Sha256, Sha384};

use super::{Tpm2Error, command::Command, wire::Reader};

/// The most banks that an answer may name: the TPM library specification's `HASH_COUNT` stays below.
const MAX_BANKS: u32 = 16;
/// Registers 0 to 23: three bytes of selection.
const SELECT_BYTES: usize = 3;

/// A bank whose digests this program makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bank {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
}

impl Bank {
    /// `TPM_ALG_ID`.
    pub(super) const fn algorithm(self) -> u16 {
        match self {
            Self::Sha256 => 0x0b,
            Self::Sha384 => 0x0c,
        }
    }

    const fn of_algorithm(algorithm: u16) -> Option<Self> {
        match algorithm {
            0x0b => Some(Self::Sha256),
            0x0c => Some(Self::Sha384),
            _ => None,
        }
    }

    /// How long its digests are.
    #[must_use]
    pub const fn digest_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }

    /// The digest of `bytes` in this bank.
    #[must_use]
    pub fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha384 => Sha384::digest(bytes).to_vec(),
        }
    }
}

impl fmt::Display for Bank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
        })
    }
}

/// Registers of one bank, `TPML_PCR_SELECTION` with one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcrSelection {
    bank: Bank,
    select: [u8; SELECT_BYTES],
}

impl PcrSelection {
    /// Registers `pcrs` of `bank`. Numbers above 23 do not exist and select nothing.
    #[must_use]
    pub fn new(bank: Bank, pcrs: &[u8]) -> Self {
        let mut select = [0; SELECT_BYTES];
        for pcr in pcrs {
            if let Some(byte) = select.get_mut(usize::from(pcr / 8)) {
                *byte |= 1 << (pcr % 8);
            }
        }
        Self { bank, select }
    }

    pub(super) fn write(&self, command: &mut Command) {
        command.u32(1);
        command.u16(self.bank.algorithm());
        command.u8(3);
        command.raw(&self.select);
    }
}

/// Banks that a TPM may have active and that this program does not extend.
const OTHER_BANKS: [u16; 2] = [0x04, 0x0d];

/// `TPML_PCR_SELECTION` of an allocation: all registers in `banks`, none in any other bank.
pub(super) fn write_allocation(command: &mut Command, banks: &[Bank]) -> Result<(), Tpm2Error> {
    let ours = [Bank::Sha256, Bank::Sha384];
    command.count(ours.len() + OTHER_BANKS.len())?;
    for bank in ours {
        let selected = if banks.contains(&bank) { 0xff } else { 0 };
        command.u16(bank.algorithm());
        command.u8(3);
        command.raw(&[selected; SELECT_BYTES]);
    }
    for algorithm in OTHER_BANKS {
        command.u16(algorithm);
        command.u8(3);
        command.raw(&[0; SELECT_BYTES]);
    }
    Ok(())
}

/// One entry of a selection that a TPM sent.
#[derive(Debug)]
pub(super) struct Selected {
    algorithm: u16,
    select: Vec<u8>,
}

/// `TPML_PCR_SELECTION`.
pub(super) fn read_selections(answer: &mut Reader<'_>) -> Result<Vec<Selected>, Tpm2Error> {
    let count = answer.u32("TPML_PCR_SELECTION")?;
    if count > MAX_BANKS {
        return Err(Tpm2Error::Field {
            field: "TPML_PCR_SELECTION",
            value: count,
        });
    }
    (0..count)
        .map(|_| {
            let algorithm = answer.u16("hash")?;
            let bytes = answer.u8("sizeofSelect")?;
            let select = answer.take(usize::from(bytes), "pcrSelect")?.to_vec();
            Ok(Selected { algorithm, select })
        })
        .collect()
}

/// The banks in which at least one register is selected.
pub(super) fn active(selections: &[Selected]) -> Result<Vec<Bank>, Tpm2Error> {
    selections
        .iter()
        .filter(|selected| selected.select.iter().any(|byte| *byte != 0))
        .map(|selected| {
            Bank::of_algorithm(selected.algorithm).ok_or(Tpm2Error::BankUnsupported {
                algorithm: selected.algorithm,
            })
        })
        .collect()
}

/// `TPML_PCR_SELECTION` of those of the selections that are of `bank`.
pub(super) fn of_bank(selections: &[Selected], bank: Bank) -> Vec<u8> {
    let mut count: u32 = 0;
    let mut entries = Vec::new();
    for selected in selections {
        if selected.algorithm == bank.algorithm() {
            count += 1;
            entries.extend(selected.algorithm.to_be_bytes());
            // Read from a byte that said how many there are.
            entries.push(u8::try_from(selected.select.len()).unwrap_or(u8::MAX));
            entries.extend(&selected.select);
        }
    }
    [&count.to_be_bytes()[..], &entries].concat()
}

/// Whether exactly this register was read.
pub(super) fn selects(selections: &[Selected], bank: Bank, pcr: u8) -> bool {
    let wanted = PcrSelection::new(bank, &[pcr]);
    matches!(selections, [one] if one.algorithm == bank.algorithm() && one.select == wanted.select)
}
