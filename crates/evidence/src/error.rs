//! Why bytes are not evidence. Says nothing about trust: a refusal here is about form alone.

use proofroom_canonical::json::JsonError;

/// Why evidence could not be read. Malformed input unless said otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// The quote is larger than any that is read.
    #[error("quote of {have} bytes is larger than the {max} allowed")]
    QuoteTooLarge {
        /// The quote's size in bytes.
        have: usize,
        /// The most bytes a quote may have.
        max: usize,
    },
    /// This part of the quote, in the names of Intel's DCAP quote specification, ends before its length
    /// says so.
    #[error("quote ends inside its `{0}`")]
    QuoteTruncated(&'static str),
    /// After this part of the quote so many bytes follow where none may.
    #[error("`{0}` of the quote is followed by {1} bytes that do not belong to it")]
    QuoteTrailingBytes(&'static str, usize),
    /// This field holds a value that a TDX quote cannot have.
    #[error("`{0}` of the quote is {1}, which a TDX quote does not have")]
    QuoteField(&'static str, u32),
    /// Unsupported: a kind of quote that this program does not read. The field that names the kind, what
    /// it holds, and what would be read.
    #[error("`{0}` {1} of the quote is not supported, use {2}")]
    QuoteUnsupported(&'static str, u32, &'static str),
    /// The quote's PCK certificate chain is not PEM certificates.
    #[error("PCK certificate chain of the quote cannot be read: {0}")]
    PckChain(&'static str),
    /// The PCK certificate lacks the SGX extension or a part of it.
    #[error("PCK certificate lacks a well-formed `{0}`")]
    PckExtension(&'static str),
    /// The document is not the strict JSON that it must be.
    #[error("evidence document refused")]
    Document(#[source] JsonError),
    /// This member of the document cannot be used; what is wrong with it.
    #[error("member `{0}` of the evidence document {1}")]
    Member(&'static str, &'static str),
    /// The statement is not the strict JSON that it must be.
    #[error("keyset statement refused")]
    Statement(#[source] JsonError),
    /// The statement is made for another use.
    #[error("keyset statement has purpose `{0}`, not `proofroom.upstream-keyset.v1`")]
    StatementPurpose(String),
    /// The statement's bytes are not the one spelling of what it says.
    #[error("keyset statement is not written in its one canonical form")]
    StatementNotCanonical,
}

impl EvidenceError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::QuoteTooLarge { .. } => "quote-too-large",
            Self::QuoteTruncated(_) => "quote-truncated",
            Self::QuoteTrailingBytes(..) => "quote-trailing-bytes",
            Self::QuoteField(..) => "quote-field",
            Self::QuoteUnsupported(..) => "quote-unsupported",
            Self::PckChain(_) => "pck-chain-malformed",
            Self::PckExtension(_) => "pck-extension-malformed",
            Self::Document(_) => "document-malformed",
            Self::Member(..) => "document-member",
            Self::Statement(_) => "statement-malformed",
            Self::StatementPurpose(_) => "statement-purpose",
            Self::StatementNotCanonical => "statement-not-canonical",
        }
    }
}
