//! Why bytes are not evidence of an NVIDIA device. Says nothing about trust.

use proofroom_canonical::json::JsonError;

/// Why device evidence could not be read. Malformed input unless said otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// Larger than any that is read.
    #[error("{what} of {have} bytes is larger than the {max} allowed")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes.
        have: usize,
        /// The most bytes it may have.
        max: usize,
    },
    /// A part of the report ends before its length says so.
    #[error("report ends inside its `{part}`")]
    ReportTruncated {
        /// The part that is cut, in the names of DSP0274.
        part: &'static str,
    },
    /// Bytes follow where none may.
    #[error("`{part}` of the report is followed by {count} bytes that do not belong to it")]
    ReportTrailingBytes {
        /// The part after which bytes follow.
        part: &'static str,
        /// How many follow.
        count: usize,
    },
    /// A field holds a value that a signed measurement report cannot have.
    #[error("`{field}` of the report is {value}, which a signed measurement report does not have")]
    ReportField {
        /// The field, in the names of DSP0274.
        field: &'static str,
        /// What it holds.
        value: u32,
    },
    /// Unsupported: a kind of report that this program does not read.
    #[error("`{field}` {value} of the report is not supported, use {supported}")]
    ReportUnsupported {
        /// The field that names the kind.
        field: &'static str,
        /// What it holds.
        value: u32,
        /// What would be read.
        supported: &'static str,
    },
    /// NVIDIA's fields inside the report's opaque data.
    #[error("opaque field `{field}` of the report {problem}")]
    Opaque {
        /// NVIDIA's name of the field.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The certificate chain is not PEM certificates.
    #[error("certificate chain of the device cannot be read: {0}")]
    Chain(&'static str),
    /// The device's certificate lacks an extension or a part of one.
    #[error("device certificate lacks a well-formed `{0}`")]
    DeviceExtension(&'static str),
    /// The evidence list is not the strict JSON that it must be.
    #[error("evidence list refused")]
    List(#[source] JsonError),
    /// A member of the evidence list cannot be used.
    #[error("member `{member}` of the evidence list {problem}")]
    ListMember {
        /// The member's name.
        member: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The reference manifest is not the XML that NVIDIA writes.
    #[error("reference manifest is malformed: {0}")]
    Rim(&'static str),
    /// The token is not the strict JSON that it must be.
    #[error("token refused")]
    Token(#[source] JsonError),
    /// The token is not a detached EAT, or a JWS in it is not one.
    #[error("token is malformed: {0}")]
    TokenForm(&'static str),
}

impl GpuError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "gpu-too-large",
            Self::ReportTruncated { .. } => "gpu-report-truncated",
            Self::ReportTrailingBytes { .. } => "gpu-report-trailing-bytes",
            Self::ReportField { .. } => "gpu-report-field",
            Self::ReportUnsupported { .. } => "gpu-report-unsupported",
            Self::Opaque { .. } => "gpu-opaque-malformed",
            Self::Chain(_) => "gpu-chain-malformed",
            Self::DeviceExtension(_) => "gpu-device-extension",
            Self::List(_) => "gpu-list-malformed",
            Self::ListMember { .. } => "gpu-list-member",
            Self::Rim(_) => "gpu-rim-malformed",
            Self::Token(_) | Self::TokenForm(_) => "gpu-token-malformed",
        }
    }
}
