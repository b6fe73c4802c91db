//! The deployment's directory: keys, log, one folder per session. Everything in it belongs to one
//! user; nothing in it is a prompt or an answer.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use proofroom_canonical::SessionId;

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// No `--state` and no home directory.
    #[error("cannot tell where to keep state; name a directory with `--state`")]
    NoHome,
    /// The directory cannot be made or read.
    #[error("cannot use the state directory `{path}`")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Other users can enter it.
    #[error("the state directory `{0}` can be entered by other users; run `chmod 700` on it")]
    Exposed(PathBuf),
    /// Somebody else owns it.
    #[error("the state directory `{0}` belongs to another user")]
    Foreign(PathBuf),
}

impl StateError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoHome => "state-no-home",
            Self::Directory { .. } => "state-directory",
            Self::Exposed(_) => "state-exposed",
            Self::Foreign(_) => "state-foreign",
        }
    }
}

/// An opened state directory.
#[derive(Clone, Debug)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// Opens `path`, making it when it is not there.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let unusable = |source| StateError::Directory {
            path: path.to_owned(),
            source,
        };
        make(path).map_err(unusable)?;
        let path = path.canonicalize().map_err(unusable)?;
        let found = fs::metadata(&path).map_err(unusable)?;
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(StateError::Foreign(path));
        }
        if found.permissions().mode() & 0o077 != 0 {
            return Err(StateError::Exposed(path));
        }
        for inner in ["sessions", "bundles"] {
            make(&path.join(inner)).map_err(unusable)?;
        }
        Ok(Self(path))
    }

    /// Where state is kept when nothing else is said: `$XDG_STATE_HOME/proofroom` or
    /// `~/.local/state/proofroom`.
    ///
    /// # Errors
    /// [`StateError::NoHome`].
    pub fn default_path() -> Result<PathBuf, StateError> {
        let absolute = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        absolute("XDG_STATE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
            .map(|base| base.join("proofroom"))
            .ok_or(StateError::NoHome)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where the deployment's keys are.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    /// Where the log is.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// Where layers are kept, each under its verity root.
    #[must_use]
    pub fn layers(&self) -> PathBuf {
        self.0.join("layers")
    }

    /// Where user-id slots of rooms are claimed.
    #[must_use]
    pub fn slots(&self) -> PathBuf {
        self.0.join("slots")
    }

    /// The bundle of a session.
    #[must_use]
    pub fn bundle(&self, session: SessionId) -> PathBuf {
        self.0.join("bundles").join(format!("{session}.proofroom"))
    }

    /// Makes the folder of a new session.
    ///
    /// # Errors
    /// [`StateError::Directory`].
    pub fn new_session(&self, session: SessionId) -> Result<PathBuf, StateError> {
        let path = self.0.join("sessions").join(session.to_string());
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|source| StateError::Directory {
                path: path.clone(),
                source,
            })?;
        Ok(path)
    }

    /// Waits until no other process makes, claims or recovers sessions here, and keeps them from it
    /// for as long as the value lives. Blocking.
    ///
    /// # Errors
    /// [`StateError::Directory`].
    pub fn lock_sessions(&self) -> Result<fs::File, StateError> {
        let path = self.0.join("sessions.lock");
        crate::files::lock(&path).map_err(|source| StateError::Directory { path, source })
    }

    /// Every session's folder.
    ///
    /// # Errors
    /// [`StateError::Directory`].
    pub fn sessions(&self) -> Result<Vec<(SessionId, PathBuf)>, StateError> {
        let path = self.0.join("sessions");
        let unusable = |source| StateError::Directory {
            path: path.clone(),
            source,
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(&path).map_err(unusable)? {
            let entry = entry.map_err(unusable)?;
            if let Some(id) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            {
                found.push((id, entry.path()));
            }
        }
        found.sort();
        Ok(found)
    }
}

fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

#[cfg(test)]
mod tests {
    use super::{StateDir, StateError};
    use std::{fs, os::unix::fs::PermissionsExt as _};

    #[test]
    fn a_directory_that_others_can_enter_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        StateDir::open(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        let refused = StateDir::open(&path).unwrap_err();
        assert!(matches!(refused, StateError::Exposed(_)));
    }
}
