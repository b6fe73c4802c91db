//! Why bytes are not room evidence. Says nothing about trust: a refusal here is about form alone.

use proofroom_canonical::json::JsonError;

/// Why room evidence, or a part of it, could not be read. Malformed input unless said otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoomError {
    /// The room evidence is not the strict JSON that it must be.
    #[error("room evidence refused")]
    Evidence(#[source] JsonError),
    /// The document is not the strict JSON that it must be.
    #[error("room-evidence document refused")]
    Document(#[source] JsonError),
    /// This member cannot be used; what is wrong with it.
    #[error("member `{0}` {1}")]
    Member(&'static str, &'static str),
    /// The bytes are not the one spelling of what they say.
    #[error("{0} is not written in its one canonical form")]
    NotCanonical(&'static str),
    /// A TPM structure whose lengths do not fit.
    #[error("`{0}` is cut, has bytes left over, or a length that does not fit")]
    TpmMalformed(&'static str),
    /// Not made by a TPM itself: anybody can have such bytes signed.
    #[error("the quote begins with {0:#010x}, not with the mark of what a TPM makes itself")]
    TpmMagic(u32),
    /// An attestation about something else than PCRs.
    #[error("the attestation has type {0:#06x}, not 0x8018 (quote)")]
    TpmQuoteKind(u16),
    /// Unsupported: RSA.
    #[error("the {0} is RSA, which is not supported; use an ECDSA P-256 attestation key")]
    TpmRsa(&'static str),
    /// Unsupported: another algorithm.
    #[error("{0} {1:#06x} is not supported; use ECDSA P-256 with SHA-256 and SHA-2 banks")]
    TpmUnsupported(&'static str, u16),
    /// The event log is larger than any that is read.
    #[error("event log of {0} bytes is larger than the 1 MiB allowed")]
    LogTooLarge(usize),
    /// The event log is not one.
    #[error("event log is malformed at its {0}")]
    Log(&'static str),
    /// The event log lacks the bank that is judged.
    #[error("event log has no digests of the bank that is judged")]
    LogBank,
    /// Unsupported: a type of evidence that this program does not judge.
    #[error("room evidence of type `{0}` is not supported, use `tpm2` or `tdx`")]
    Unsupported(&'static str),
}

impl RoomError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Evidence(_) => "room-evidence-malformed",
            Self::Document(_) => "room-document-malformed",
            Self::Member(..) => "room-evidence-member",
            Self::NotCanonical(_) => "room-evidence-not-canonical",
            Self::TpmMalformed(_) => "tpm-malformed",
            Self::TpmMagic(_) => "tpm-magic",
            Self::TpmQuoteKind(_) => "tpm-quote-kind",
            Self::TpmRsa(_) => "tpm-rsa",
            Self::TpmUnsupported(..) => "tpm-unsupported",
            Self::LogTooLarge(_) => "boot-log-too-large",
            Self::Log(_) => "boot-log-malformed",
            Self::LogBank => "boot-log-bank",
            Self::Unsupported(_) => "room-evidence-unsupported",
        }
    }
}
