//! Why there is no workspace disk. None of it leads to a workspace elsewhere.

use std::io;

/// A workspace disk that was not made, or was not seen to end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkspaceError {
    /// The host: the disk is not as long as the boot configuration says.
    #[error("the workspace's disk has {have} bytes, the boot configuration says {need}")]
    Size {
        /// Bytes of the disk.
        have: u64,
        /// Bytes that it must have.
        need: u64,
    },
    /// The host: the disk cannot hold what the room may store.
    #[error("the workspace's disk has room for {have} {what}, the room may have {need}")]
    TooSmall {
        /// Bytes or files.
        what: &'static str,
        /// How many there is room for.
        have: u64,
        /// How many the room may have.
        need: u64,
    },
    /// The image: no device mapper in the kernel.
    #[error("the device mapper cannot be used; load the module `dm-mod`")]
    NoDeviceMapper(#[source] io::Error),
    /// The image: a target is missing.
    #[error("the kernel has no `{0}` target; load the module `dm-{0}`")]
    NoTarget(&'static str),
    /// The kernel refused.
    #[error("the workspace's disk: cannot {step}")]
    Failed {
        /// What was being done, as a verb.
        step: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl WorkspaceError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Size { .. } => "workspace-disk-size",
            Self::TooSmall { .. } => "workspace-disk-too-small",
            Self::NoDeviceMapper(_) => "workspace-disk-no-device-mapper",
            Self::NoTarget(_) => "workspace-disk-no-target",
            Self::Failed { .. } => "workspace-disk-failed",
        }
    }
}

/// Names the step that failed.
pub(super) trait During<T> {
    fn during(self, step: &'static str) -> Result<T, WorkspaceError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, step: &'static str) -> Result<T, WorkspaceError> {
        self.map_err(|error| WorkspaceError::Failed {
            step,
            source: error.into(),
        })
    }
}
