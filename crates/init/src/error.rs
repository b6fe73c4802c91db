//! Why a machine did not become a room. Each reason is said on the boot port, and the machine ends.

use std::{io, path::PathBuf};

use proofroom_attester::{AttestError, NoAttester};
use proofroom_room::RoomError;
use proofroom_vmm::boot::FrameError;

use crate::{verity::LayerError, workspace::WorkspaceError};

/// A machine that did not become a room.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The host did not make the port that is needed.
    #[error("the machine has no virtio port named `{0}`")]
    NoPort(&'static str),
    /// The boot port's words.
    #[error("the boot port cannot be used")]
    Boot(#[source] FrameError),
    /// The boot configuration is none.
    #[error("the boot configuration is refused: {0}")]
    Configuration(&'static str),
    /// The guest cannot attest.
    #[error(transparent)]
    NoAttester(#[from] NoAttester),
    /// Something could not be measured.
    #[error("`{0}` could not be measured")]
    NotMeasured(&'static str, #[source] AttestError),
    /// The host did not make a disk that the boot configuration names.
    #[error("the machine has no disk with unit number {0}")]
    NoDisk(usize),
    /// A layer is not what the boot configuration says.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// There is no workspace on the disk that the boot configuration names for it.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// A kernel module of the image.
    #[error("the kernel module `{0}` cannot be loaded")]
    Module(String, #[source] io::Error),
    /// A setting of the kernel that rooms rely on.
    #[error("the kernel setting `{0}` cannot be made")]
    Setting(&'static str, #[source] io::Error),
    /// A mount or a file of the machine.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// The room inside.
    #[error("the room inside the machine did not start")]
    Room(#[source] RoomError),
}

impl InitError {
    /// The stable code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoPort(_) => "guest-no-port",
            Self::Boot(error) => error.code(),
            Self::Configuration(_) => "boot-configuration",
            Self::NoAttester(error) => error.code(),
            Self::NotMeasured(..) => "guest-not-measured",
            Self::NoDisk(_) => "guest-no-disk",
            Self::Layer(error) => error.code(),
            Self::Workspace(error) => error.code(),
            Self::Module(..) => "guest-module",
            Self::Setting(..) => "guest-setting",
            Self::File { .. } => "guest-file",
            Self::Room(error) => error.code(),
        }
    }
}

/// Names the file whose operation failed.
pub(crate) trait On<T> {
    fn on(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, InitError>;
}

impl<T, E: Into<io::Error>> On<T> for Result<T, E> {
    fn on(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, InitError> {
        self.map_err(|error| InitError::File {
            action,
            path: path.into(),
            source: error.into(),
        })
    }
}
