//! Why a room could not measure or attest.

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use proofroom_evidence::RoomError;

use crate::tpm2::Tpm2Error;

/// Something was not measured, or no evidence was made. There is no weaker evidence instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttestError {
    /// The TPM.
    #[error(transparent)]
    Tpm(#[from] Tpm2Error),
    /// Our caller's fault: an event or a statement that evidence cannot hold.
    #[error(transparent)]
    Evidence(#[from] RoomError),
    /// A file of the kernel's.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// A file of the kernel's holds more than it may.
    #[error("`{}` holds more than the {max} bytes that are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most bytes.
        max: usize,
    },
    /// A file of the kernel's holds something else.
    #[error("`{}` holds {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it holds.
        problem: String,
    },
    /// A provider of reports that this program does not know.
    #[error("the kernel's report provider is `{0}`; known are `tdx_guest` and `sev_guest`")]
    ProviderUnknown(String),
    /// Somebody else wrote into our report again and again.
    #[error("the report at `{}` was disturbed in each of {tries} tries", path.display())]
    Disturbed {
        /// The report's directory.
        path: PathBuf,
        /// How often it was tried.
        tries: usize,
    },
    /// The register does not hold what extending it leads to.
    #[error("the register `{}` does not hold the measured event", path.display())]
    NotExtended {
        /// The register.
        path: PathBuf,
    },
    /// Unsupported: a machine without a register for what happens after its launch.
    #[error("sev-snp has no register for runtime events, so this room cannot measure `{0}`")]
    NoRuntimeRegister(String),
}

impl AttestError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Tpm(error) => error.code(),
            Self::Evidence(error) => error.code(),
            Self::File { .. } => "attester-file",
            Self::TooLarge { .. } => "attester-file-too-large",
            Self::Content { .. } => "attester-file-content",
            Self::ProviderUnknown(_) => "report-provider-unknown",
            Self::Disturbed { .. } => "report-disturbed",
            Self::NotExtended { .. } => "register-not-extended",
            Self::NoRuntimeRegister(_) => "runtime-register-missing",
        }
    }
}

/// Names the file whose operation failed.
pub(crate) trait On<T> {
    fn on(self, action: &'static str, path: &Path) -> Result<T, AttestError>;
}

impl<T> On<T> for io::Result<T> {
    fn on(self, action: &'static str, path: &Path) -> Result<T, AttestError> {
        self.map_err(|source| AttestError::File {
            action,
            path: path.to_owned(),
            source,
        })
    }
}

/// All of a file whose length nobody knows before it is read, up to `max` bytes.
pub(crate) fn read(path: &Path, max: usize) -> Result<Vec<u8>, AttestError> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).on("open", path)?;
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).on("read", path)?;
    if bytes.len() > max {
        return Err(AttestError::TooLarge {
            path: path.to_owned(),
            max,
        });
    }
    Ok(bytes)
}
