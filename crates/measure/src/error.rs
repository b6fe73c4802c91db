//! Why a measurement cannot be computed.

use proofroom_canonical::json::JsonError;

/// Why nothing was computed. The file at fault is named by whoever read it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// An input is larger than any that is read.
    #[error("{what} of {have} bytes is larger than the {max} allowed")]
    TooLarge {
        /// The input.
        what: &'static str,
        /// Its size in bytes.
        have: usize,
        /// The most bytes that are read.
        max: usize,
    },
    /// The kernel is not a bzImage with an EFI stub.
    #[error("kernel: {0}")]
    Kernel(&'static str),
    /// The kernel is one that QEMU would load in a way that this program does not compute.
    #[error("kernel: {0}")]
    KernelUnsupported(&'static str),
    /// The image of a program is not well-formed PE/COFF.
    #[error("PE image: {0}")]
    Pe(&'static str),
    /// The firmware is not what it must be.
    #[error("firmware: {0}")]
    Firmware(&'static str),
    /// The firmware is well-formed, but lacks what the computation rests on.
    #[error("firmware: {0}")]
    FirmwareUnsupported(&'static str),
    /// The firmware cannot start a TD, or not in a way that is computed here.
    #[error("firmware as TDVF: {0}")]
    Tdvf(&'static str),
    /// The ACPI loader script or its files are not what they must be.
    #[error("ACPI tables: {0}")]
    Acpi(String),
    /// A command line that cannot be computed, or cannot be passed.
    #[error("command line {0}")]
    CommandLine(&'static str),
    /// A machine that the computation does not hold for.
    #[error("machine: {0}")]
    Machine(&'static str),
    /// `image.json` is not the strict JSON that it must be.
    #[error("image list refused")]
    ImageDocument(#[source] JsonError),
    /// A member of `image.json` cannot be used.
    #[error("member `{member}` of the image list {problem}")]
    ImageMember {
        /// The member.
        member: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file is not the one that `image.json` names.
    #[error("`{file}` is not the file that the image list names: {problem}")]
    ImageFile {
        /// The file.
        file: String,
        /// What differs.
        problem: String,
    },
    /// The captured log is not a TCG crypto-agile event log.
    #[error("event log: {0}")]
    Log(&'static str),
}

impl MeasureError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "input-too-large",
            Self::Kernel(_) => "kernel-malformed",
            Self::KernelUnsupported(_) => "kernel-unsupported",
            Self::Pe(_) => "pe-malformed",
            Self::Firmware(_) => "firmware-malformed",
            Self::FirmwareUnsupported(_) => "firmware-unsupported",
            Self::Tdvf(_) => "tdvf-unusable",
            Self::Acpi(_) => "acpi-malformed",
            Self::CommandLine(_) => "command-line-unusable",
            Self::Machine(_) => "machine-unsupported",
            Self::ImageDocument(_) => "image-malformed",
            Self::ImageMember { .. } => "image-member",
            Self::ImageFile { .. } => "image-file-differs",
            Self::Log(_) => "log-malformed",
        }
    }
}

/// Refuses an input of more than `max` bytes.
pub(crate) const fn at_most(
    what: &'static str,
    bytes: &[u8],
    max: usize,
) -> Result<(), MeasureError> {
    let have = bytes.len();
    if have > max {
        return Err(MeasureError::TooLarge { what, have, max });
    }
    Ok(())
}
