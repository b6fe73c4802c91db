//! Why sealed bytes are refused.

/// Why a message is not opened, or not sealed. What a code says of chunks holds for requests and for answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The message names another key or another suite of algorithms.
    #[error("the message is sealed to a key that is not this enclave's")]
    KeyUnknown,
    /// The message ended before its last chunk.
    #[error("the message ended before the chunk that is marked as its last")]
    Cut,
    /// A chunk does not open where it stands: it was changed, moved, repeated, left out, taken from another message,
    /// or has bytes behind the last one; or the message is for another key or another request.
    #[error("a chunk is not the one that was sealed for this place of this message")]
    ChunkRefused,
    /// A chunk is longer than a chunk may be.
    #[error("a chunk is longer than 16384 bytes")]
    ChunkTooLarge,
    /// The message has more bytes than its reader takes.
    #[error("the message is too long")]
    TooLong,
    /// What was opened is no Binary HTTP message of the profile.
    #[error("the opened message {0}")]
    Message(&'static str),
    /// It cannot be sealed: the key is no point to agree with, or the message has no end.
    #[error("the message cannot be sealed")]
    Unsealable,
}

impl SealError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::KeyUnknown => "sealed-key-unknown",
            Self::Cut => "sealed-cut",
            Self::ChunkRefused => "sealed-chunk-refused",
            Self::ChunkTooLarge => "sealed-chunk-too-large",
            Self::TooLong => "sealed-too-long",
            Self::Message(_) => "sealed-message-malformed",
            Self::Unsealable => "sealing-failed",
        }
    }
}
