//! Writes TPM commands: header, handles, one empty password authorization, parameters.

use super::{MAX_MESSAGE_BYTES, Tpm2Error};

pub(super) const STARTUP: u32 = 0x144;
pub(super) const SHUTDOWN: u32 = 0x145;
pub(super) const CREATE_PRIMARY: u32 = 0x131;
pub(super) const QUOTE: u32 = 0x158;
pub(super) const FLUSH_CONTEXT: u32 = 0x165;
pub(super) const GET_CAPABILITY: u32 = 0x17a;
pub(super) const GET_RANDOM: u32 = 0x17b;
pub(super) const PCR_ALLOCATE: u32 = 0x12b;
pub(super) const PCR_READ: u32 = 0x17e;
pub(super) const PCR_EXTEND: u32 = 0x182;

pub(super) const SU_CLEAR: u16 = 0;
pub(super) const CAP_PCRS: u32 = 5;
pub(super) const ALG_NULL: u16 = 0x10;

pub(super) const TAG_NO_SESSIONS: u16 = 0x8001;
pub(super) const TAG_SESSIONS: u16 = 0x8002;
const PASSWORD_SESSION: u32 = 0x4000_0009;
/// Tag, size and command code: what comes before the handles.
const HEADER_BYTES: usize = 10;

/// An entity in the TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle(pub(super) u32);

impl Handle {
    pub(super) const ENDORSEMENT_HIERARCHY: Self = Self(0x4000_000b);
    /// `TPM_RH_PLATFORM`.
    pub(super) const PLATFORM_HIERARCHY: Self = Self(0x4000_000c);

    /// A platform register: its number is its handle.
    pub(super) fn pcr(number: u8) -> Self {
        Self(u32::from(number))
    }
}

/// A command as it goes to the TPM, but for its size.
#[derive(Debug)]
pub(super) struct Command {
    tag: u16,
    code: u32,
    body: Vec<u8>,
}

impl Command {
    /// Without authorization.
    pub(super) const fn plain(code: u32) -> Self {
        Self {
            tag: TAG_NO_SESSIONS,
            code,
            body: Vec::new(),
        }
    }

    /// With `handles`, of which the first is authorized by its empty password.
    pub(super) fn authorized(code: u32, handles: &[Handle]) -> Self {
        let mut command = Self {
            tag: TAG_SESSIONS,
            code,
            body: Vec::new(),
        };
        for handle in handles {
            command.u32(handle.0);
        }
        command.u32(9); // 4 of handle, 2 of empty nonce, 1 of attributes, 2 of empty password
        command.u32(PASSWORD_SESSION);
        command.u16(0);
        command.u8(0);
        command.u16(0);
        command
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.body.push(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.body.extend_from_slice(bytes);
    }

    /// The count before a list.
    pub(super) fn count(&mut self, count: usize) -> Result<(), Tpm2Error> {
        self.u32(u32::try_from(count).map_err(|_| Tpm2Error::CommandTooLong)?);
        Ok(())
    }

    /// A `TPM2B`.
    pub(super) fn sized(&mut self, bytes: &[u8]) -> Result<(), Tpm2Error> {
        self.u16(u16::try_from(bytes.len()).map_err(|_| Tpm2Error::CommandTooLong)?);
        self.raw(bytes);
        Ok(())
    }

    pub(super) const fn code(&self) -> u32 {
        self.code
    }

    pub(super) const fn tag(&self) -> u16 {
        self.tag
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, Tpm2Error> {
        let size = HEADER_BYTES.saturating_add(self.body.len());
        if size > MAX_MESSAGE_BYTES {
            return Err(Tpm2Error::CommandTooLong);
        }
        let size = u32::try_from(size).map_err(|_| Tpm2Error::CommandTooLong)?;
        let mut bytes = self.tag.to_be_bytes().to_vec();
        bytes.extend_from_slice(&size.to_be_bytes());
        bytes.extend_from_slice(&self.code.to_be_bytes());
        bytes.extend_from_slice(&self.body);
        Ok(bytes)
    }
}
