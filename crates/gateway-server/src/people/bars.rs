//! Who is barred: people, and single tokens. The file is looked at before every token is accepted and once a second; who is
//! barred is refused from the next request on, and answers under way break off.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock},
};

use proofroom_authn::{PersonId, VerifiedPerson};
use proofroom_canonical::{
    Digest, Timestamp,
    json::{self, JsonError},
};
use proofroom_gateway::config::FileStamp;
use proofroom_ledger::files;
use serde::{Deserialize, Serialize};

use crate::state_file;

/// The most bytes that the file may have: some ten thousand entries.
pub const MAX_BAR_FILE_BYTES: usize = 2 * 1024 * 1024;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BarFileError {
    /// It cannot be read or written.
    #[error("cannot use the file of who is barred, `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It was written before, and is not there.
    #[error(
        "the file of who is barred, `{path}`, is gone: put it back as it was. Where nobody is to be barred any more, remove `{marker}` too, which says that there was one"
    )]
    Gone {
        /// The file.
        path: PathBuf,
        /// What says that it was written.
        marker: PathBuf,
    },
    /// It is not strict JSON of its shape.
    #[error("the file of who is barred is not what `proofroom gateway person` writes")]
    Malformed(#[source] JsonError),
    /// Another version.
    #[error("the file of who is barred is of version {0}; this program reads version 1")]
    Version(u32),
    /// What was to be written is more than is read.
    #[error(
        "the file of who is barred would have {0} bytes, more than {MAX_BAR_FILE_BYTES}; nothing was changed. Let in again what needs no bar any more, such as tokens that have expired, or bar the person instead of their tokens"
    )]
    TooLarge(usize),
}

impl BarFileError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "bars-file",
            Self::Gone { .. } => "bars-gone",
            Self::Malformed(_) => "bars-malformed",
            Self::Version(_) => "bars-version",
            Self::TooLarge(_) => "bars-too-large",
        }
    }
}

/// Who or what is barred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum BarredSubject {
    /// A person, whatever token they come with.
    Person {
        /// As records name them.
        person: PersonId,
    },
    /// One token, by the digest that records have of it.
    Token {
        /// The digest.
        token: Digest,
    },
    /// One token, by the name that its issuer gives it.
    TokenId {
        /// Who issued it.
        issuer: String,
        /// Its `jti`.
        id: String,
    },
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bar {
    /// Who or what.
    pub subject: BarredSubject,
    /// Since when.
    pub since: Timestamp,
}

/// Everybody who is barred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BarFile {
    version: u32,
    /// Oldest first.
    pub bars: Vec<Bar>,
}

impl Default for BarFile {
    fn default() -> Self {
        Self {
            version: 1,
            bars: Vec::new(),
        }
    }
}

impl BarFile {
    /// Reads the file's bytes.
    ///
    /// # Errors
    /// See [`BarFileError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BarFileError> {
        let file: Self = json::parse(bytes, MAX_BAR_FILE_BYTES).map_err(BarFileError::Malformed)?;
        match file.version {
            1 => Ok(file),
            other => Err(BarFileError::Version(other)),
        }
    }

    /// Reads the file at `path`; nobody is barred where there never was one.
    ///
    /// # Errors
    /// See [`BarFileError`].
    pub fn load(path: &Path) -> Result<Self, BarFileError> {
        match fs::read(path) {
            Ok(bytes) => Self::parse(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::never_written(path),
            Err(source) => Err(unusable(path, source)),
        }
    }

    /// Nobody barred, unless the marker says that there was a file.
    fn never_written(path: &Path) -> Result<Self, BarFileError> {
        let marker = marker(path);
        match marker.try_exists() {
            Ok(false) => Ok(Self::default()),
            Ok(true) => Err(BarFileError::Gone {
                path: path.to_owned(),
                marker,
            }),
            Err(source) => Err(unusable(&marker, source)),
        }
    }

    /// Changes the file at `path`, durably, while no other command does.
    ///
    /// # Errors
    /// See [`BarFileError`].
    pub fn change<T>(path: &Path, change: impl FnOnce(&mut Self) -> T) -> Result<T, BarFileError> {
        let _lock =
            state_file::lock(path).map_err(|problem| unusable(&problem.path, problem.source))?;
        let mut file = Self::load(path)?;
        let done = change(&mut file);
        let mut bytes = serde_json::to_vec_pretty(&file)
            .map_err(|error| unusable(path, io::Error::other(error)))?;
        bytes.push(b'\n');
        if bytes.len() > MAX_BAR_FILE_BYTES {
            return Err(BarFileError::TooLarge(bytes.len()));
        }
        files::replace(path, &bytes).map_err(|source| unusable(path, source))?;
        mark(path)?;
        Ok(done)
    }
}

/// What lies beside the file at `path` from its first writing on, so that a start notices when it is gone.
fn marker(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".made");
    PathBuf::from(name)
}

/// Puts the marker beside the file at `path`, durably. The file comes first: a marker alone would keep a gateway from
/// starting that never barred anybody.
fn mark(path: &Path) -> Result<(), BarFileError> {
    let marker = marker(path);
    let failed = |source| unusable(&marker, source);
    if marker.try_exists().map_err(failed)? {
        return Ok(());
    }
    let words = b"The file of who is barred was written. A gateway does not start without it.\n";
    files::replace(&marker, words).map_err(failed)
}

fn unusable(path: &Path, source: io::Error) -> BarFileError {
    BarFileError::File {
        path: path.to_owned(),
        source,
    }
}

/// What is barred of a person and their token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Barred {
    Nothing,
    Person,
    Token,
    /// Nobody can tell.
    Unreadable,
}

/// The bars in force.
#[derive(Debug)]
pub(crate) struct BarList {
    path: PathBuf,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    stamp: Option<FileStamp>,
    /// Nothing where the file cannot be read, or is gone.
    index: Option<Index>,
}

/// The file, by what it is asked for: also for each piece of an answer.
#[derive(Debug, Default)]
struct Index {
    people: HashSet<PersonId>,
    tokens: HashSet<Digest>,
    token_ids: HashMap<String, HashSet<String>>,
}

impl Index {
    fn of(file: BarFile) -> Self {
        let mut index = Self::default();
        for bar in file.bars {
            match bar.subject {
                BarredSubject::Person { person } => {
                    index.people.insert(person);
                }
                BarredSubject::Token { token } => {
                    index.tokens.insert(token);
                }
                BarredSubject::TokenId { issuer, id } => {
                    index.token_ids.entry(issuer).or_default().insert(id);
                }
            }
        }
        index
    }

    /// Of the file at `path`, which has to be there.
    fn present(path: &Path) -> Option<Self> {
        let bytes = fs::read(path).ok()?;
        BarFile::parse(&bytes).ok().map(Self::of)
    }

    fn has_token(&self, person: &VerifiedPerson) -> bool {
        let named = self.token_ids.get(person.issuer()).zip(person.token_id());
        self.tokens.contains(&person.token()) || named.is_some_and(|(ids, id)| ids.contains(id))
    }
}

impl BarList {
    /// Where there is no file yet, nobody is barred until there is one. One that was written and is gone is refused.
    pub(crate) fn open(path: &Path) -> Result<Self, BarFileError> {
        let stamp = state_file::stamp(path);
        let index = Some(Index::of(BarFile::load(path)?));
        // a file of a version that made no marker gets its own here
        if stamp.is_some() {
            mark(path)?;
        }
        Ok(Self {
            path: path.to_owned(),
            state: RwLock::new(State { stamp, index }),
        })
    }

    /// Reads the file again if it changed. One that cannot be read, or that was there and is gone, bars everybody.
    pub(crate) fn look(&self) {
        if self.read().stamp == state_file::stamp(&self.path) {
            return;
        }
        // looked at and read under the lock, so that nobody puts what was before over what is now
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let stamp = state_file::stamp(&self.path);
        if state.stamp != stamp {
            let index = Index::present(&self.path);
            *state = State { stamp, index };
        }
    }

    pub(crate) fn of(&self, person: &VerifiedPerson) -> Barred {
        match &self.read().index {
            None => Barred::Unreadable,
            Some(index) if index.people.contains(&person.id()) => Barred::Person,
            Some(index) if index.has_token(person) => Barred::Token,
            Some(_) => Barred::Nothing,
        }
    }

    pub(crate) fn of_person(&self, id: PersonId) -> Barred {
        match &self.read().index {
            None => Barred::Unreadable,
            Some(index) if index.people.contains(&id) => Barred::Person,
            Some(_) => Barred::Nothing,
        }
    }

    pub(crate) fn is_readable(&self) -> bool {
        self.read().index.is_some()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
