//! Why a room did not start or was not seen to end.

use std::{io, path::PathBuf};

use proofroom_confine::ConfineError;

use crate::{ConfigProblem, hardware::BackendUnavailable};

/// A room that was not started, or whose end was not observed. There is no weaker room instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoomError {
    /// The room configuration is not usable.
    #[error("the room configuration is not usable: {}", list(.0))]
    Config(Vec<ConfigProblem>),
    /// The machine cannot offer the level that the configuration requires.
    #[error("this build offers isolation level `process`, the configuration requires `{required}`")]
    LevelNotOffered {
        /// What `minimum_isolation` says.
        required: String,
    },
    /// The machine lacks something that rooms of this kind need.
    #[error(transparent)]
    BackendUnavailable(#[from] BackendUnavailable),
    /// A resource group that the configuration requires cannot be made.
    #[error("the `{limit}` limit cannot be enforced: {why}; {what_to_do}")]
    LimitNotEnforceable {
        /// `memory` or `processes`.
        limit: &'static str,
        /// What is missing.
        why: String,
        /// What the machine's owner can do.
        what_to_do: &'static str,
    },
    /// No pair of unprivileged host ids is free.
    #[error("no free pair of host user ids: {why}; end other rooms or enlarge the range")]
    NoSlot {
        /// What was tried.
        why: String,
    },
    /// The room's first process is not where its limits are.
    #[error("the room's first process is not in its resource group `{}`", group.display())]
    NotInGroup {
        /// The group.
        group: PathBuf,
    },
    /// A mechanism or a stage failed.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// A file operation of our own failed.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// The room could not be stopped in memory; it goes on.
    #[error("the room was not stopped: {why}; it goes on")]
    NotStopped {
        /// What was seen.
        why: String,
    },
    /// There is no image to boot.
    #[error(
        "there is no image of a virtual machine at `{}`; build one with `cargo xtask image`, or name its directory with `--image`",
        path.display()
    )]
    ImageMissing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// `image.json` is none.
    #[error("`{}` names no image: {why}", path.display())]
    ImageMalformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A file of the image is another one.
    #[error("`{}` has digest `{found}`, the image names `{expected}`; build the image anew", path.display())]
    ImageFileDiffers {
        /// The file.
        path: PathBuf,
        /// Digest in `image.json`.
        expected: String,
        /// Digest of the file.
        found: String,
    },
    /// The machine cannot be what it was asked to be.
    #[error(transparent)]
    Confidential(#[from] proofroom_vmm::ConfidentialProblem),
    /// The boot port's words.
    #[error("the guest did not {step}")]
    Guest {
        /// What it was about to do.
        step: &'static str,
        /// What came instead.
        source: proofroom_vmm::boot::FrameError,
    },
    /// The guest did nothing.
    #[error("the guest did not {step} in time, and is ended")]
    GuestSilent {
        /// What it should have done.
        step: &'static str,
    },
    /// The guest's first process gave up.
    #[error("the guest gave up ({guest_code}): {message}")]
    GuestFailed {
        /// Its code.
        guest_code: String,
        /// Its words.
        message: String,
    },
    /// The configuration asks for a workspace that rooms of this kind do not have.
    #[error(
        "`workspace = \"encrypted-disk\"` needs a room in a machine of its own, and this one shares the host's \
         kernel; start it as a machine (`--isolation vm`), or write `workspace = \"memory\"`"
    )]
    WorkspaceNotOffered,
    /// The disk of a workspace cannot be made.
    #[error(
        "a disk for the workspace cannot be made in `{}`: cannot {step}",
        directory.display()
    )]
    WorkspaceDisk {
        /// What was tried.
        step: &'static str,
        /// Where.
        directory: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// The disk of a workspace would not fit.
    #[error(
        "a disk for the workspace needs {need} bytes, and the file system of `{}` has {have} left; make \
         room there or lower `limits.workspace_bytes`",
        directory.display()
    )]
    WorkspaceDiskSpace {
        /// Where.
        directory: PathBuf,
        /// Bytes of the disk, and of what it must leave to others.
        need: u64,
        /// Bytes that are left.
        have: u64,
    },
    /// The machine's TPM.
    #[error("the machine's software TPM cannot be used")]
    Tpm(#[source] proofroom_attester::tpm2::Tpm2Error),
    /// Its start was taken back before it was done.
    #[error("the room's start was taken back")]
    Recalled,
    /// Something of the room is still there after its end.
    #[error("the room's end was not observed: {remains}")]
    Remains {
        /// What.
        remains: String,
    },
}

impl RoomError {
    /// The stable code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Config(_) => "room-config-unusable",
            Self::LevelNotOffered { .. } => "isolation-level-not-offered",
            Self::BackendUnavailable(missing) => missing.code(),
            Self::LimitNotEnforceable { .. } => "limit-not-enforceable",
            Self::NoSlot { .. } => "no-free-host-ids",
            Self::NotInGroup { .. } => "not-in-its-group",
            Self::Confine(error) => error.code(),
            Self::File { .. } => "file-operation-failed",
            Self::NotStopped { .. } => "room-not-stopped",
            Self::ImageMissing { .. } => "image-missing",
            Self::ImageMalformed { .. } => "image-malformed",
            Self::ImageFileDiffers { .. } => "image-file-differs",
            Self::Confidential(problem) => problem.code(),
            Self::Guest { source, .. } => source.code(),
            Self::GuestSilent { .. } => "guest-silent",
            Self::GuestFailed { .. } => "guest-failed",
            Self::WorkspaceNotOffered => "workspace-not-offered",
            Self::WorkspaceDisk { .. } => "workspace-disk-not-made",
            Self::WorkspaceDiskSpace { .. } => "workspace-disk-space",
            Self::Tpm(error) => error.code(),
            Self::Recalled => "start-recalled",
            Self::Remains { .. } => "room-remains",
        }
    }
}

fn list(problems: &[ConfigProblem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Names the file whose operation failed.
pub(crate) trait On<T> {
    fn on(self, action: &'static str, path: &std::path::Path) -> Result<T, RoomError>;
}

impl<T, E: Into<io::Error>> On<T> for Result<T, E> {
    fn on(self, action: &'static str, path: &std::path::Path) -> Result<T, RoomError> {
        self.map_err(|e| RoomError::File {
            action,
            path: path.to_owned(),
            source: e.into(),
        })
    }
}

/// An error with its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        words.push_str(": ");
        words.push_str(&source.to_string());
        next = source.source();
    }
    words
}
