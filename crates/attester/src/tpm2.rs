//! A small TPM 2.0 command layer over anything that reads and writes: the guest's `/dev/tpmrm0`, or
//! the server socket of a software TPM on the host. Raw command and response framing (TPM 2.0
//! Library, Part 1 §18; Part 3), empty authorizations, no sessions, no policy.

mod bank;
mod command;
mod error;
mod key;
mod narrow;
mod transport;
mod wire;

use std::io::{Read, Write};

pub use bank::{Bank, PcrSelection};
pub use error::Tpm2Error;
pub use key::AkPublic;
pub use narrow::{carry, narrowed};

use command::{Command, Handle};
use transport::Transport;
use wire::Reader;

/// The most bytes of a command or response. The reference implementation and the Linux driver use
/// 4,096 as well.
pub const MAX_MESSAGE_BYTES: usize = 4096;
/// The most bytes that the qualifying data of a quote may have here: fits every TPM with SHA-256.
pub const MAX_QUALIFYING_BYTES: usize = 32;
/// How often one `GetRandom` or `PCR_Read` is asked before a TPM that answers in crumbs is given up.
const MAX_ROUNDS: usize = 64;

/// A TPM 2.0 behind `transport`.
#[derive(Debug)]
pub struct Tpm<T> {
    transport: Transport<T>,
}

/// Whether the TPM had to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// This command started it.
    Now,
    /// It was running: its firmware started it.
    Before,
}

/// A key that lies in the TPM until it is flushed.
#[derive(Debug)]
pub struct LoadedKey {
    handle: Handle,
    public: AkPublic,
}

impl LoadedKey {
    /// The key's public area.
    #[must_use]
    pub const fn public(&self) -> &AkPublic {
        &self.public
    }
}

/// What a TPM says about its platform registers, and its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// `TPMS_ATTEST`: the bytes under the signature.
    pub attest: Vec<u8>,
    /// `TPMT_SIGNATURE`.
    pub signature: Vec<u8>,
}

/// The attestation key that the TPM behind `transport` makes, and that it will make again: started if
/// need be, created, flushed, and shut down in order where this call had started it. A host that
/// runs a software TPM learns the key of a room this way before the room exists.
///
/// # Errors
/// See [`Tpm2Error`].
pub fn attestation_key<T: Read + Write>(transport: T) -> Result<AkPublic, Tpm2Error> {
    let mut tpm = Tpm::new(transport);
    let started = tpm.startup()?;
    let key = tpm.create_attestation_key()?;
    let public = key.public.clone();
    tpm.flush(key)?;
    if started == Started::Now {
        tpm.shutdown()?;
    }
    Ok(public)
}

impl<T: Read + Write> Tpm<T> {
    /// Nothing is sent yet.
    pub const fn new(transport: T) -> Self {
        Self {
            transport: Transport::new(transport),
        }
    }

    /// `TPM2_Startup(CLEAR)`.
    ///
    /// # Errors
    /// See [`Tpm2Error`].
    pub fn startup(&mut self) -> Result<Started, Tpm2Error> {
        let mut command = Command::plain(command::STARTUP);
        command.u16(command::SU_CLEAR);
        match self.run(&command) {
            Ok(answer) => answer.end("TPM2_Startup").map(|()| Started::Now),
            Err(Tpm2Error::Refused {
                code: error::RC_INITIALIZE,
                ..
            }) => Ok(Started::Before),
            Err(error) => Err(error),
        }
    }

    /// `TPM2_Shutdown(CLEAR)`: the next start finds an orderly end.
    ///
    /// # Errors
    /// See [`Tpm2Error`].
    pub fn shutdown(&mut self) -> Result<(), Tpm2Error> {
        let mut command = Command::plain(command::SHUTDOWN);
        command.u16(command::SU_CLEAR);
        self.run(&command)?.end("TPM2_Shutdown")
    }

    /// `TPM2_CreatePrimary` of the attestation key in the endorsement hierarchy. The template is
    /// fixed, so one TPM makes one key however often it is asked.
    ///
    /// # Errors
    /// `tpm-key-unexpected` if the TPM made a key of another kind or names it wrongly, and see
    /// [`Tpm2Error`].
    pub fn create_attestation_key(&mut self) -> Result<LoadedKey, Tpm2Error> {
        let mut command =
            Command::authorized(command::CREATE_PRIMARY, &[Handle::ENDORSEMENT_HIERARCHY]);
        command.sized(&[0; 4])?; // inSensitive: an empty userAuth and no data
        command.sized(&key::template())?;
        command.sized(&[])?; // outsideInfo
        command.u32(0); // creationPCR: none
        let mut answer = self.run(&command)?;
        let handle = Handle(answer.u32("objectHandle")?);
        let made = read_created(&mut answer);
        if made.is_err() {
            // The key is in the TPM whatever it looks like; its slot is given back.
            self.flush_handle(handle)?;
        }
        Ok(LoadedKey {
            handle,
            public: made?,
        })
    }

    /// `TPM2_Quote`: the selected registers and `qualifying`, signed by `key`.
    ///
    /// # Errors
    /// `tpm-qualifying-too-long`, `tpm-quote-unexpected` if the answer is not a quote over
    /// `qualifying`, and see [`Tpm2Error`].
    pub fn quote(
        &mut self,
        key: &LoadedKey,
        selection: &PcrSelection,
        qualifying: &[u8],
    ) -> Result<Quoted, Tpm2Error> {
        if qualifying.len() > MAX_QUALIFYING_BYTES {
            return Err(Tpm2Error::QualifyingTooLong {
                have: qualifying.len(),
            });
        }
        let mut command = Command::authorized(command::QUOTE, &[key.handle]);
        command.sized(qualifying)?;
        command.u16(command::ALG_NULL); // inScheme: the key's own
        selection.write(&mut command);
        let mut answer = self.run(&command)?;
        let mut parameters = answer.parameters()?;
        let attest = parameters.sized("TPM2B_ATTEST")?.to_vec();
        let signature = parameters.rest().to_vec();
        answer.authorization()?;
        key::read_signature(&signature)?;
        key::read_attest(&attest, qualifying)?;
        Ok(Quoted { attest, signature })
    }

    /// `TPM2_PCR_Extend` of one register in the banks of `digests`.
    ///
    /// # Errors
    /// `tpm-digest-length` if a digest is not one of its bank, and see [`Tpm2Error`].
    pub fn extend(&mut self, pcr: u8, digests: &[(Bank, Vec<u8>)]) -> Result<(), Tpm2Error> {
        let mut command = Command::authorized(command::PCR_EXTEND, &[Handle::pcr(pcr)]);
        command.count(digests.len())?;
        for (bank, digest) in digests {
            if digest.len() != bank.digest_bytes() {
                return Err(Tpm2Error::DigestLength {
                    bank: *bank,
                    have: digest.len(),
                });
            }
            command.u16(bank.algorithm());
            command.raw(digest);
        }
        let mut answer = self.run(&command)?;
        answer.parameters()?.end("TPM2_PCR_Extend")?;
        answer.authorization()
    }

    /// `TPM2_PCR_Allocate`: from its next start on the TPM has `banks` and no others. Needs a
    /// platform hierarchy without a password, as a TPM has before its firmware runs.
    ///
    /// # Errors
    /// `tpm-banks-refused` if it cannot, and see [`Tpm2Error`].
    pub fn allocate_banks(&mut self, banks: &[Bank]) -> Result<(), Tpm2Error> {
        let mut command = Command::authorized(command::PCR_ALLOCATE, &[Handle::PLATFORM_HIERARCHY]);
        bank::write_allocation(&mut command, banks)?;
        let mut answer = self.run(&command)?;
        let mut parameters = answer.parameters()?;
        let done = parameters.u8("allocationSuccess")?;
        for field in ["maxPCR", "sizeNeeded", "sizeAvailable"] {
            parameters.u32(field)?;
        }
        parameters.end("TPM2_PCR_Allocate")?;
        answer.authorization()?;
        if done == 1 {
            return Ok(());
        }
        Err(Tpm2Error::BanksRefused)
    }

    /// `TPM2_PCR_Read` of one register.
    ///
    /// # Errors
    /// `tpm-register-missing` where the bank is not active, and see [`Tpm2Error`].
    pub fn read_register(&mut self, bank: Bank, pcr: u8) -> Result<Vec<u8>, Tpm2Error> {
        let selection = PcrSelection::new(bank, &[pcr]);
        let mut command = Command::plain(command::PCR_READ);
        selection.write(&mut command);
        let mut answer = self.run(&command)?;
        answer.u32("pcrUpdateCounter")?;
        let read = bank::read_selections(&mut answer)?;
        let count = answer.u32("TPML_DIGEST")?;
        let missing = || Tpm2Error::RegisterMissing { bank, pcr };
        if count != 1 || !bank::selects(&read, bank, pcr) {
            return Err(missing());
        }
        let value = answer.sized("TPM2B_DIGEST")?.to_vec();
        answer.end("TPM2_PCR_Read")?;
        if value.len() == bank.digest_bytes() {
            Ok(value)
        } else {
            Err(missing())
        }
    }

    /// `TPM2_GetRandom` until `out` is full.
    ///
    /// # Errors
    /// `tpm-random-short` if the TPM gives nothing or too little at a time, and see [`Tpm2Error`].
    pub fn random(&mut self, mut out: &mut [u8]) -> Result<(), Tpm2Error> {
        for _ in 0..MAX_ROUNDS {
            if out.is_empty() {
                return Ok(());
            }
            let wanted = out.len().min(MAX_QUALIFYING_BYTES);
            let mut command = Command::plain(command::GET_RANDOM);
            command.u16(u16::try_from(wanted).unwrap_or(0));
            let mut answer = self.run(&command)?;
            let bytes = answer.sized("randomBytes")?;
            let have = bytes.len();
            let (Some((now, later)), 1..) = (out.split_at_mut_checked(have), have) else {
                return Err(Tpm2Error::RandomShort);
            };
            now.copy_from_slice(bytes);
            answer.end("TPM2_GetRandom")?;
            out = later;
        }
        if out.is_empty() {
            return Ok(());
        }
        Err(Tpm2Error::RandomShort)
    }

    /// `TPM2_FlushContext`: the key leaves the TPM.
    ///
    /// # Errors
    /// See [`Tpm2Error`].
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a key that was flushed cannot be used"
    )]
    pub fn flush(&mut self, key: LoadedKey) -> Result<(), Tpm2Error> {
        self.flush_handle(key.handle)
    }

    /// The banks that hold registers, by `TPM2_GetCapability(TPM_CAP_PCRS)`.
    ///
    /// # Errors
    /// `tpm-bank-unsupported` if a bank is active whose digests this program does not make: a bank
    /// that is never extended says nothing true. See also [`Tpm2Error`].
    pub fn active_banks(&mut self) -> Result<Vec<Bank>, Tpm2Error> {
        let mut command = Command::plain(command::GET_CAPABILITY);
        command.u32(command::CAP_PCRS);
        command.u32(0);
        command.u32(1);
        let mut answer = self.run(&command)?;
        answer.u8("moreData")?;
        let capability = answer.u32("capability")?;
        if capability != command::CAP_PCRS {
            return Err(Tpm2Error::Field {
                field: "capability",
                value: capability,
            });
        }
        let selections = bank::read_selections(&mut answer)?;
        answer.end("TPM2_GetCapability")?;
        bank::active(&selections)
    }

    fn flush_handle(&mut self, handle: Handle) -> Result<(), Tpm2Error> {
        let mut command = Command::plain(command::FLUSH_CONTEXT);
        command.u32(handle.0);
        self.run(&command)?.end("TPM2_FlushContext")
    }

    fn run(&mut self, command: &Command) -> Result<Reader<'_>, Tpm2Error> {
        self.transport.run(command)
    }
}

/// The response parameters of `TPM2_CreatePrimary`.
fn read_created(answer: &mut Reader<'_>) -> Result<AkPublic, Tpm2Error> {
    let mut parameters = answer.parameters()?;
    let public = AkPublic::from_tpmt_public(parameters.sized("TPM2B_PUBLIC")?)?;
    parameters.sized("TPM2B_CREATION_DATA")?;
    parameters.sized("creationHash")?;
    parameters.u16("creationTicket.tag")?;
    parameters.u32("creationTicket.hierarchy")?;
    parameters.sized("creationTicket.digest")?;
    let name = parameters.sized("name")?;
    if name != public.name() {
        return Err(Tpm2Error::KeyUnexpected("its name is not its digest"));
    }
    parameters.end("TPM2_CreatePrimary")?;
    answer.authorization()?;
    Ok(public)
}

#[cfg(test)]
mod tests;
