//! Why a TPM did not do what it was asked.

use std::io;

use super::Bank;

/// `TPM_RC_INITIALIZE`: the TPM is running already.
pub(super) const RC_INITIALIZE: u32 = 0x100;
/// `TPM_RC_YIELDED`, `TPM_RC_TESTING` and `TPM_RC_RETRY`: the same command may succeed in a moment.
pub(super) const RC_ASK_AGAIN: [u32; 3] = [0x908, 0x90a, 0x922];

/// What went wrong between this program and a TPM.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Tpm2Error {
    /// The transport took no command.
    #[error("cannot write to the TPM")]
    Write(#[source] io::Error),
    /// The transport gave no answer.
    #[error("cannot read the TPM's answer")]
    Read(#[source] io::Error),
    /// The transport ended inside an answer.
    #[error("the TPM ended the connection before its answer was whole; is it still running?")]
    Closed,
    /// The TPM's answer: an error code of its own.
    #[error("the TPM refused command {command:#x} with response code {code:#x}")]
    Refused {
        /// `TPM_CC`.
        command: u32,
        /// `TPM_RC`, Part 2 §6.6.
        code: u32,
    },
    /// An answer ends inside a field.
    #[error("the TPM's answer ends inside its `{field}`")]
    Truncated {
        /// The field, in the specification's names.
        field: &'static str,
    },
    /// Bytes follow where none may.
    #[error("`{part}` of the TPM is followed by {count} bytes that do not belong to it")]
    TrailingBytes {
        /// The part after which bytes follow.
        part: &'static str,
        /// How many.
        count: usize,
    },
    /// A field holds what it cannot.
    #[error("`{field}` of the TPM's answer is {value:#x}, which no answer to this command has")]
    Field {
        /// The field, in the specification's names.
        field: &'static str,
        /// What it holds.
        value: u32,
    },
    /// Not the attestation key of the fixed template.
    #[error("the TPM's key is not the attestation key that was asked for: {0}")]
    KeyUnexpected(&'static str),
    /// Not a quote over what was asked.
    #[error("the TPM's answer is not the quote that was asked for: {0}")]
    QuoteUnexpected(&'static str),
    /// A register that its bank does not have.
    #[error("the TPM has no register {pcr} in its `{bank}` bank; allocate that bank")]
    RegisterMissing {
        /// The bank.
        bank: Bank,
        /// The register.
        pcr: u8,
    },
    /// An active bank whose digests this program does not make.
    #[error(
        "the TPM has an active bank of algorithm {algorithm:#x}, which would never be extended; \
         allocate sha256 and sha384 alone"
    )]
    BankUnsupported {
        /// `TPM_ALG_ID`.
        algorithm: u16,
    },
    /// The TPM gives no random bytes.
    #[error("the TPM gave no or too few random bytes")]
    RandomShort,
    /// The TPM does not take the banks.
    #[error("the TPM refuses to have these banks alone; is it a TPM before its first boot?")]
    BanksRefused,
    /// Our fault: a digest that does not fit its bank.
    #[error("a digest of {have} bytes is not one of bank `{bank}`")]
    DigestLength {
        /// The bank.
        bank: Bank,
        /// The digest's length.
        have: usize,
    },
    /// Our fault: more qualifying data than every TPM takes.
    #[error("qualifying data of {have} bytes is longer than the 32 that every TPM takes")]
    QualifyingTooLong {
        /// Its length.
        have: usize,
    },
    /// Our fault: a command that no TPM takes.
    #[error("the command is longer than the 4096 bytes that a TPM takes")]
    CommandTooLong,
}

impl Tpm2Error {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Write(_) | Self::Read(_) => "tpm-io",
            Self::Closed => "tpm-closed",
            Self::Refused { .. } => "tpm-refused",
            Self::Truncated { .. } => "tpm-answer-truncated",
            Self::TrailingBytes { .. } => "tpm-answer-trailing-bytes",
            Self::Field { .. } => "tpm-answer-field",
            Self::KeyUnexpected(_) => "tpm-key-unexpected",
            Self::QuoteUnexpected(_) => "tpm-quote-unexpected",
            Self::RegisterMissing { .. } => "tpm-register-missing",
            Self::BankUnsupported { .. } => "tpm-bank-unsupported",
            Self::BanksRefused => "tpm-banks-refused",
            Self::RandomShort => "tpm-random-short",
            Self::DigestLength { .. } => "tpm-digest-length",
            Self::QualifyingTooLong { .. } => "tpm-qualifying-too-long",
            Self::CommandTooLong => "tpm-command-too-long",
        }
    }
}
