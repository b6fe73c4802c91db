//! The file of keys: strict JSON, replaced as a whole, changed by one command at a time.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use proofroom_canonical::json::{self, JsonError};
use serde::{Deserialize, Serialize};

use super::{KeyId, Permits, VirtualKey, is_name};
use crate::state_file;
use proofroom_ledger::files;

/// The most bytes that the file may have: some ten thousand keys.
pub const MAX_KEY_FILE_BYTES: usize = 8 * 1024 * 1024;

/// Why the file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It cannot be read or written.
    #[error("cannot use the file of keys `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is not strict JSON of its shape.
    #[error("the file of keys is not what `proofroom gateway key` writes")]
    Malformed(#[source] JsonError),
    /// Another version.
    #[error("the file of keys is of version {0}; this program reads version 1")]
    Version(u32),
    /// Two keys with one id.
    #[error("the file of keys has two keys `{0}`")]
    Twice(KeyId),
    /// No such key.
    #[error("there is no key `{0}`")]
    Unknown(KeyId),
    /// A scope that cannot be read.
    #[error("key `{id}` has a glob that cannot be read")]
    Glob {
        /// The key.
        id: KeyId,
        /// What is wrong.
        #[source]
        source: globset::Error,
    },
    /// A name that cannot stand in records.
    #[error(
        "key `{0}`: user, team, repository and purpose are at most 128 printable ASCII characters, and user and team at least one"
    )]
    Name(KeyId),
}

impl KeyFileError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "keys-file",
            Self::Malformed(_) => "keys-malformed",
            Self::Version(_) => "keys-version",
            Self::Twice(_) => "keys-twice",
            Self::Unknown(_) => "keys-unknown",
            Self::Glob { .. } => "keys-glob",
            Self::Name(_) => "keys-name",
        }
    }
}

/// Every key of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    version: u32,
    /// The keys, oldest first.
    pub keys: Vec<VirtualKey>,
}

impl Default for KeyFile {
    fn default() -> Self {
        Self {
            version: 1,
            keys: Vec::new(),
        }
    }
}

impl KeyFile {
    /// Reads the file's bytes.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyFileError> {
        let file: Self = json::parse(bytes, MAX_KEY_FILE_BYTES).map_err(KeyFileError::Malformed)?;
        if file.version != 1 {
            return Err(KeyFileError::Version(file.version));
        }
        let mut seen = std::collections::BTreeSet::new();
        for key in &file.keys {
            if !seen.insert(key.id) {
                return Err(KeyFileError::Twice(key.id));
            }
            check_key(key)?;
        }
        Ok(file)
    }

    /// Reads the file at `path`; no key where there is none.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        match fs::read(path) {
            Ok(bytes) => Self::parse(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(unusable(path, source)),
        }
    }

    /// Changes the file at `path`, durably, while no other command does.
    ///
    /// # Errors
    /// See [`KeyFileError`]; those of `change` as well, after which the file is as it was.
    pub fn change<T>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, KeyFileError>,
    ) -> Result<T, KeyFileError> {
        let _lock =
            state_file::lock(path).map_err(|problem| unusable(&problem.path, problem.source))?;
        let mut file = Self::load(path)?;
        let done = change(&mut file)?;
        for key in &file.keys {
            check_key(key)?;
        }
        let mut bytes = serde_json::to_vec_pretty(&file)
            .map_err(|error| unusable(path, io::Error::other(error)))?;
        bytes.push(b'\n');
        files::replace(path, &bytes).map_err(|source| unusable(path, source))?;
        Ok(done)
    }

    /// The key of this id.
    ///
    /// # Errors
    /// [`KeyFileError::Unknown`].
    pub fn find_mut(&mut self, id: KeyId) -> Result<&mut VirtualKey, KeyFileError> {
        let found = self.keys.iter_mut().find(|key| key.id == id);
        found.ok_or(KeyFileError::Unknown(id))
    }
}

fn check_key(key: &VirtualKey) -> Result<(), KeyFileError> {
    let named = !key.user.is_empty() && !key.team.is_empty();
    let scope = &key.scope;
    let names = [&key.user, &key.team, &scope.repository, &scope.purpose];
    if !named || !names.into_iter().all(|name| is_name(name)) {
        return Err(KeyFileError::Name(key.id));
    }
    match Permits::of(&key.scope) {
        Ok(_) => Ok(()),
        Err(source) => Err(KeyFileError::Glob { id: key.id, source }),
    }
}

fn unusable(path: &Path, source: io::Error) -> KeyFileError {
    KeyFileError::File {
        path: path.to_owned(),
        source,
    }
}
