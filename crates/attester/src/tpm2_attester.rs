//! A room that attests with a TPM: events go into one register of every active bank, and a quote over
//! the boot's registers and that one is the evidence.

use std::{
    io::{Read, Write},
    path::PathBuf,
};

use proofroom_evidence::{EvidenceType, Moment, RoomEvidence, RuntimeEvent};

use crate::{
    AttestError, error,
    tpm2::{AkPublic, Bank, LoadedKey, PcrSelection, Tpm, Tpm2Error},
};

/// The register that runtime events go into. Of those after the boot's it is the last that no
/// firmware or kernel uses.
pub const RUNTIME_PCR: u8 = 15;
/// The registers that are quoted: the boot's, the boot loader's policy register, and ours.
pub const QUOTED_PCRS: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14, RUNTIME_PCR];
/// The most bytes of a boot log.
pub const MAX_BOOT_LOG_BYTES: usize = 256 * 1024;

/// Attests with the TPM behind `T`.
#[derive(Debug)]
pub struct Tpm2Attester<T> {
    tpm: Tpm<T>,
    key: LoadedKey,
    banks: Vec<Bank>,
    boot_log: PathBuf,
    events: Vec<RuntimeEvent>,
}

impl<T: Read + Write> Tpm2Attester<T> {
    /// Makes the attestation key. `boot_log` is where the kernel shows the firmware's event log.
    ///
    /// # Errors
    /// `tpm-register-missing` without a sha384 bank, `tpm-bank-unsupported`, and see [`Tpm2Error`].
    pub fn start(transport: T, boot_log: PathBuf) -> Result<Self, AttestError> {
        let mut tpm = Tpm::new(transport);
        tpm.startup()?;
        let banks = tpm.active_banks()?;
        if !banks.contains(&Bank::Sha384) {
            return Err(AttestError::Tpm(Tpm2Error::RegisterMissing {
                bank: Bank::Sha384,
                pcr: RUNTIME_PCR,
            }));
        }
        let key = tpm.create_attestation_key()?;
        Ok(Self {
            tpm,
            key,
            banks,
            boot_log,
            events: Vec::new(),
        })
    }

    /// The attestation key.
    #[must_use]
    pub const fn key(&self) -> &AkPublic {
        self.key.public()
    }

    /// What was measured, in order.
    #[must_use]
    pub fn events(&self) -> &[RuntimeEvent] {
        &self.events
    }

    /// Extends the event into [`RUNTIME_PCR`] of every active bank.
    ///
    /// # Errors
    /// `room-evidence-member` for an unusable event, and see [`Tpm2Error`].
    pub fn measure(&mut self, name: &str, content: &str) -> Result<(), AttestError> {
        let event = RuntimeEvent::new(name, content)?;
        let digests: Vec<(Bank, Vec<u8>)> = self
            .banks
            .iter()
            .map(|bank| (*bank, digest(*bank, &event)))
            .collect();
        self.tpm.extend(RUNTIME_PCR, &digests)?;
        self.events.push(event);
        Ok(())
    }

    /// The room evidence that binds `statement`.
    ///
    /// # Errors
    /// `attester-file` and `attester-file-too-large` for the boot log, `room-evidence-malformed` for
    /// evidence larger than any that is read, and see [`Tpm2Error`].
    pub fn attest(&mut self, moment: Moment, statement: &str) -> Result<String, AttestError> {
        let mut evidence = RoomEvidence {
            kind: EvidenceType::Tpm2,
            moment,
            statement: statement.to_owned(),
            quote: Vec::new(),
            signature: Vec::new(),
            key: self.key().tpmt_public().to_vec(),
            boot_log: error::read(&self.boot_log, MAX_BOOT_LOG_BYTES)?,
            runtime: self.events.clone(),
        };
        let selection = PcrSelection::new(Bank::Sha384, &QUOTED_PCRS);
        let qualifying = evidence.bound_qualifying_data();
        let quoted = self.tpm.quote(&self.key, &selection, &qualifying)?;
        evidence.quote = quoted.attest;
        evidence.signature = quoted.signature;
        Ok(evidence.to_text()?)
    }
}

fn digest(bank: Bank, event: &RuntimeEvent) -> Vec<u8> {
    match bank {
        Bank::Sha256 => event.sha256().to_vec(),
        Bank::Sha384 => event.sha384().to_vec(),
    }
}
