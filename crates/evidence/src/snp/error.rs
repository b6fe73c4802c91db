//! Why bytes are not an SNP report, or a certificate not that of an SNP signing key. Says nothing
//! about trust: a refusal here is about form alone.

/// Why SNP evidence could not be read. Malformed input unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnpError {
    /// The report is too short.
    #[error("SNP report has {have} bytes, 1184 are needed")]
    Truncated {
        /// How many bytes there are.
        have: usize,
    },
    /// Bytes follow the report.
    #[error("SNP report is followed by {count} bytes that do not belong to it")]
    TrailingBytes {
        /// How many follow.
        count: usize,
    },
    /// Unsupported: a version that this program does not read.
    #[error("SNP report has version {0}, use one of version 2 to 5")]
    Version(u32),
    /// Unsupported: a processor that this program does not know.
    #[error(
        "SNP report is of processor family {family:#04x}, model {model:#04x}, which is not supported; use Milan, Genoa or Turin"
    )]
    Processor {
        /// `CPUID_FAM_ID`.
        family: u8,
        /// `CPUID_MOD_ID`.
        model: u8,
    },
    /// Unsupported: another algorithm.
    #[error(
        "SNP report has signature algorithm {0}, only 1 (ECDSA P-384 with SHA-384) is supported"
    )]
    Algorithm(u32),
    /// A value of `SIGNING_KEY` that is reserved.
    #[error("SNP report has signing key {0}, which is none of 0 (VCEK), 1 (VLEK) and 7 (none)")]
    SigningKey(u32),
    /// The report was asked for by something else than a guest.
    #[error("SNP report has VMPL {0:#x}, a guest has 0 to 3")]
    Vmpl(u32),
    /// A field, or bits of it, does not have the value that the specification demands.
    #[error("reserved bits of the SNP report's `{0}` do not have their value")]
    Reserved(&'static str),
    /// The signature is not written in its one way.
    #[error("signature of the SNP report has bytes set beyond `r` and `s`")]
    SignatureEncoding,
    /// The certificate is not DER X.509, or too large.
    #[error("certificate of the SNP signing key cannot be read")]
    VekCertificate,
    /// The certificate lacks one of AMD's extensions, or it is doubled or malformed.
    #[error("certificate of the SNP signing key lacks a well-formed `{0}`")]
    VekExtension(&'static str),
}

impl SnpError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "snp-truncated",
            Self::TrailingBytes { .. } => "snp-trailing-bytes",
            Self::Version(_) => "snp-version",
            Self::Processor { .. } => "snp-processor",
            Self::Algorithm(_) => "snp-algorithm",
            Self::SigningKey(_) => "snp-signing-key",
            Self::Vmpl(_) => "snp-vmpl",
            Self::Reserved(_) => "snp-reserved",
            Self::SignatureEncoding => "snp-signature-encoding",
            Self::VekCertificate => "vek-certificate-malformed",
            Self::VekExtension(_) => "vek-extension-malformed",
        }
    }
}
