//! The versions of a deployment's policy in its state directory: one folder a version with its
//! signed entry and its files, and the head of the history beside the keys, so that versions that
//! disappear are missed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use p256::{
    ecdsa::{SigningKey, VerifyingKey},
    pkcs8::{DecodePublicKey as _, EncodePublicKey as _, LineEnding},
};
use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_record::{
    policy_version::{HistoryError, NO_SESSION, PolicyHistory, PolicyVersion, VersionedPolicies},
    predicate::{RecordError, VerifiedRecord, seal},
};
use proofroom_tlog::{LeafIndex, LeafKind, RecordLeaf};
use rustix::fs::{FlockOperation, flock};

use crate::{
    files,
    keys::{KeyError, random},
    log::{LogAccess, LogError},
    policies::VersionTexts,
    state::StateDir,
};

/// The most bytes of one file of a version.
const MAX_FILE_BYTES: u64 = 1 << 22;
const ENTRY: &str = "entry.dsse.json";
const LEAF: &str = "leaf";

/// Why the policy history cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyHistoryError {
    /// A file of it cannot be read or written.
    #[error("cannot use `{path}` of the policy history")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// An entry, a signature, a link or a time is wrong.
    #[error("the policy history in `{path}` does not hold; no session starts")]
    Broken {
        /// Its directory.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: HistoryError,
    },
    /// The clock, or the key, does not fit to the last entry.
    #[error("the policy history cannot be used now")]
    Refused(#[source] HistoryError),
    /// Versions that were there are gone.
    #[error(
        "the policy history in `{path}` ends at {found}, and its last version was {wanted}: put the missing versions back"
    )]
    Shortened {
        /// Its directory.
        path: PathBuf,
        /// What is there.
        found: String,
        /// The head that was noted.
        wanted: String,
    },
    /// The note of the first key or of the last version is missing or malformed.
    #[error("`{0}` is missing or malformed, and the deployment has a policy history")]
    Note(PathBuf),
    /// A file of a version is not the one that was signed.
    #[error("`{path}` is not the file that version {number} consists of")]
    FileDiffers {
        /// The file.
        path: PathBuf,
        /// The version.
        number: u64,
    },
    /// The first version is yet to come.
    #[error("no policy version is in force yet; the first is from {0} on")]
    NoneInForce(Timestamp),
    /// A version's leaf is not in the log at its place.
    #[error("the log does not hold version {0} where its leaf is noted")]
    NotInLog(u64),
    /// The entry cannot be made.
    #[error("the version cannot be signed")]
    Record(#[from] RecordError),
    /// The log.
    #[error("the version cannot be entered into the log")]
    Log(#[from] LogError),
    /// Randomness or a key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl PolicyHistoryError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "policy-history-file",
            Self::Broken { source, .. } | Self::Refused(source) => source.code(),
            Self::Shortened { .. } => "policy-history-shortened",
            Self::Note(_) => "policy-history-note",
            Self::FileDiffers { .. } => "policy-history-file-differs",
            Self::NoneInForce(_) => "policy-none-in-force",
            Self::NotInLog(_) => "policy-history-not-in-log",
            Self::Record(error) => error.code(),
            Self::Log(_) => "policy-history-log",
            Self::Key(error) => error.code(),
        }
    }
}

/// Where a deployment keeps its history.
#[derive(Clone, Debug)]
pub struct PolicyStore {
    versions: PathBuf,
    /// Public key of the first entry's signer; beside the keys, as is the head.
    anchor: PathBuf,
    head: PathBuf,
    lock: PathBuf,
}

/// The version that governs now, with its files.
#[derive(Clone, Debug)]
pub struct InForce {
    /// Its entry.
    pub version: VerifiedRecord<PolicyVersion>,
    /// The entry's file.
    pub envelope: Vec<u8>,
    /// Its files.
    pub texts: VersionTexts,
    /// Where its leaf is in the log, once it has one.
    pub leaf: Option<LeafIndex>,
}

/// What is to be put in force.
#[derive(Debug)]
pub struct Activation<'a> {
    /// The files, which were parsed and tried.
    pub texts: VersionTexts,
    /// Who asks for it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// From when on; not before now.
    pub from: Timestamp,
    /// Signs the entry.
    pub key: &'a SigningKey,
    /// Must sign the next one.
    pub successor: VerifyingKey,
}

impl PolicyStore {
    /// The store of a deployment. Touches nothing.
    #[must_use]
    pub fn of(state: &StateDir) -> Self {
        Self {
            versions: state.path().join("policy-versions"),
            anchor: state.keys().join("policy-anchor.pem"),
            head: state.keys().join("policy-head"),
            lock: state.path().join("policy.lock"),
        }
    }

    /// The verified history; `None` where the deployment never had one.
    ///
    /// # Errors
    /// See [`PolicyHistoryError`]: a history that does not hold is never taken for none.
    pub fn history(&self) -> Result<Option<PolicyHistory>, PolicyHistoryError> {
        let entries = self.entries()?;
        let noted = self.noted_head()?;
        if entries.is_empty() && noted.is_none() && !self.anchor.exists() {
            return Ok(None);
        }
        let anchor = self.noted_anchor()?;
        let history = PolicyHistory::verify(entries.iter().map(Vec::as_slice), &anchor)
            .map_err(|source| self.broken(source))?;
        self.check_head(&history, noted)?;
        Ok(Some(history))
    }

    /// The version that governs at `now`, if the deployment has a history.
    ///
    /// # Errors
    /// See [`PolicyHistoryError`].
    pub fn in_force(&self, now: Timestamp) -> Result<Option<InForce>, PolicyHistoryError> {
        let Some(history) = self.history()? else {
            return Ok(None);
        };
        history
            .check_clock(now)
            .map_err(PolicyHistoryError::Refused)?;
        let Some(version) = history.in_force(now) else {
            let starts = history.versions().iter();
            let first = starts
                .map(|version| version.predicate().in_force_from)
                .min();
            return Err(PolicyHistoryError::NoneInForce(first.unwrap_or(now)));
        };
        let number = version.predicate().number;
        Ok(Some(InForce {
            texts: self.texts(version.predicate())?,
            envelope: read(&self.folder(number).join(ENTRY))?,
            leaf: self.leaf(number)?,
            version: version.clone(),
        }))
    }

    /// Signs a version, keeps it and enters it into the log.
    ///
    /// # Errors
    /// See [`PolicyHistoryError`]. After an error of the log the version is in force; its leaf is
    /// made up for by [`Self::ensure_logged`].
    pub fn activate(
        &self,
        activation: &Activation<'_>,
        log: &LogAccess,
        now: Timestamp,
    ) -> Result<VerifiedRecord<PolicyVersion>, PolicyHistoryError> {
        let _lock = self.lock()?;
        let history = self.history()?;
        let key = *activation.key.verifying_key();
        if history.is_none() {
            self.write(&self.anchor, pem(&key).as_bytes())?;
        }
        let history = match history {
            Some(history) => history,
            None => PolicyHistory::verify([], &key).map_err(|source| self.broken(source))?,
        };
        let (number, previous) = history
            .next(&key, now)
            .map_err(PolicyHistoryError::Refused)?;
        let entry = PolicyVersion {
            number,
            previous,
            policies: activation.texts.digests(),
            author: activation.author.clone(),
            reason: activation.reason.clone(),
            signed: now,
            in_force_from: activation.from,
            signer: pem(&key),
            successor: pem(&activation.successor),
            blinding: Nonce::from_random(random()?),
        };
        let sealed = seal(&entry, activation.key)?;
        self.keep(number, &sealed.bytes, &activation.texts)?;
        self.write(&self.head, head_text(number, sealed.digest).as_bytes())?;
        self.enter(number, sealed.digest, log)?;
        proofroom_record::predicate::open(&sealed.bytes, &key).map_err(PolicyHistoryError::Record)
    }

    /// Where the leaf of this version is in the log; a version without one gets it.
    ///
    /// # Errors
    /// See [`PolicyHistoryError`].
    pub fn ensure_logged(
        &self,
        version: &VerifiedRecord<PolicyVersion>,
        log: &LogAccess,
    ) -> Result<LeafIndex, PolicyHistoryError> {
        let number = version.predicate().number;
        if let Some(index) = self.leaf(number)? {
            return Ok(index);
        }
        let _lock = self.lock()?;
        match self.leaf(number)? {
            Some(index) => Ok(index),
            None => self.enter(number, version.digest(), log),
        }
    }

    /// Proves that the log holds the leaf of this version where it is noted.
    ///
    /// # Errors
    /// [`PolicyHistoryError::NotInLog`], or what the log says.
    pub fn check_logged(
        &self,
        version: &VerifiedRecord<PolicyVersion>,
        log: &LogAccess,
    ) -> Result<LeafIndex, PolicyHistoryError> {
        let number = version.predicate().number;
        let missing = || PolicyHistoryError::NotInLog(number);
        let index = self.leaf(number)?.ok_or_else(missing)?;
        if log.entry(index)? == leaf(version.digest()).to_bytes() {
            Ok(index)
        } else {
            Err(missing())
        }
    }

    /// The files of a version, each the one that was signed.
    ///
    /// # Errors
    /// See [`PolicyHistoryError`].
    pub fn texts(&self, version: &PolicyVersion) -> Result<VersionTexts, PolicyHistoryError> {
        let folder = self.folder(version.number);
        let mut texts = Vec::new();
        for (name, digest) in version.policies.by_file() {
            let path = folder.join(name);
            let text = String::from_utf8(read(&path)?).ok();
            let text = text.filter(|text| Digest::of(text) == digest);
            let number = version.number;
            texts.push(text.ok_or(PolicyHistoryError::FileDiffers { path, number })?);
        }
        let mut texts = texts.into_iter();
        let mut next = || texts.next().unwrap_or_default();
        Ok(VersionTexts {
            access: next(),
            classification: next(),
            routing: next(),
            egress: next(),
        })
    }

    fn entries(&self) -> Result<Vec<Vec<u8>>, PolicyHistoryError> {
        let mut entries = Vec::new();
        loop {
            let path = self.folder(entries.len() as u64).join(ENTRY);
            match path.try_exists() {
                Ok(false) => return self.none_beyond(entries),
                Ok(true) => entries.push(read(&path)?),
                Err(source) => return Err(PolicyHistoryError::File { path, source }),
            }
        }
    }

    /// A folder behind a gap is a version that was cut out.
    fn none_beyond(&self, entries: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, PolicyHistoryError> {
        let listed = match fs::read_dir(&self.versions) {
            Ok(listed) => listed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(entries),
            Err(source) => return Err(file(&self.versions, source)),
        };
        for entry in listed {
            let name = entry.map_err(|source| file(&self.versions, source))?;
            let name = name.file_name();
            let number = name.to_str().and_then(|name| name.parse::<u64>().ok());
            if number.is_some_and(|number| number >= entries.len() as u64) {
                let source = HistoryError::Link(entries.len() as u64);
                return Err(self.broken(source));
            }
        }
        Ok(entries)
    }

    fn noted_anchor(&self) -> Result<VerifyingKey, PolicyHistoryError> {
        let bytes = fs::read_to_string(&self.anchor).unwrap_or_default();
        VerifyingKey::from_public_key_pem(&bytes)
            .map_err(|_| PolicyHistoryError::Note(self.anchor.clone()))
    }

    fn noted_head(&self) -> Result<Option<(u64, Digest)>, PolicyHistoryError> {
        let text = match fs::read_to_string(&self.head) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(file(&self.head, source)),
        };
        let parsed = text
            .trim_end()
            .split_once(' ')
            .and_then(|(number, digest)| {
                Some((number.parse().ok()?, digest.parse::<Digest>().ok()?))
            });
        let malformed = || PolicyHistoryError::Note(self.head.clone());
        parsed.map(Some).ok_or_else(malformed)
    }

    /// The noted head is the last version, or the one before it: a process may die between writing
    /// a version and noting it.
    fn check_head(
        &self,
        history: &PolicyHistory,
        noted: Option<(u64, Digest)>,
    ) -> Result<(), PolicyHistoryError> {
        let versions = history.versions();
        let holds = match noted {
            None => versions.len() <= 1,
            Some((number, digest)) => {
                let at = usize::try_from(number).unwrap_or(usize::MAX);
                let version = versions.get(at);
                version.is_some_and(|version| version.digest() == digest)
                    && versions.len() <= at.saturating_add(2)
            }
        };
        if holds {
            return Ok(());
        }
        let name = |found: Option<(u64, Digest)>| {
            found.map_or_else(
                || "none".to_owned(),
                |(number, digest)| head_text(number, digest),
            )
        };
        let last = versions.last();
        let found = last.map(|last| (last.predicate().number, last.digest()));
        Err(PolicyHistoryError::Shortened {
            path: self.versions.clone(),
            found: name(found),
            wanted: name(noted),
        })
    }

    /// Writes a version's folder: whole or not at all.
    fn keep(
        &self,
        number: u64,
        entry: &[u8],
        texts: &VersionTexts,
    ) -> Result<(), PolicyHistoryError> {
        let beside = self.versions.join("new");
        let made = || -> io::Result<()> {
            if beside.exists() {
                fs::remove_dir_all(&beside)?;
            }
            fs::create_dir_all(&beside)?;
            files::replace(&beside.join(ENTRY), entry)?;
            for (name, text) in texts.by_file() {
                files::replace(&beside.join(name), text.as_bytes())?;
            }
            fs::rename(&beside, self.folder(number))?;
            fs::File::open(&self.versions)?.sync_all()
        };
        made().map_err(|source| file(&self.folder(number), source))
    }

    fn enter(
        &self,
        number: u64,
        digest: Digest,
        log: &LogAccess,
    ) -> Result<LeafIndex, PolicyHistoryError> {
        let index = log.append(&leaf(digest).to_bytes())?;
        let path = self.folder(number).join(LEAF);
        self.write(&path, index.get().to_string().as_bytes())?;
        Ok(index)
    }

    fn leaf(&self, number: u64) -> Result<Option<LeafIndex>, PolicyHistoryError> {
        let path = self.folder(number).join(LEAF);
        match fs::read_to_string(&path) {
            Ok(text) => match text.parse() {
                Ok(index) => Ok(Some(LeafIndex::new(index))),
                Err(_) => Err(PolicyHistoryError::Note(path)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(file(&path, source)),
        }
    }

    fn lock(&self) -> Result<fs::File, PolicyHistoryError> {
        let made = || -> io::Result<fs::File> {
            let file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&self.lock)?;
            flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        };
        made().map_err(|source| file(&self.lock, source))
    }

    fn folder(&self, number: u64) -> PathBuf {
        self.versions.join(format!("{number:06}"))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), PolicyHistoryError> {
        files::replace(path, bytes).map_err(|source| file(path, source))
    }

    fn broken(&self, source: HistoryError) -> PolicyHistoryError {
        PolicyHistoryError::Broken {
            path: self.versions.clone(),
            source,
        }
    }
}

/// The digests of the files of a version.
impl VersionTexts {
    /// SHA-256 of each file.
    #[must_use]
    pub fn digests(&self) -> VersionedPolicies {
        VersionedPolicies {
            access: Digest::of(&self.access),
            classification: Digest::of(&self.classification),
            routing: Digest::of(&self.routing),
            egress: Digest::of(&self.egress),
        }
    }
}

fn leaf(digest: Digest) -> RecordLeaf {
    RecordLeaf {
        kind: LeafKind::PolicyVersion,
        session: NO_SESSION,
        digest,
    }
}

fn head_text(number: u64, digest: Digest) -> String {
    format!("{number} {digest}")
}

fn pem(key: &VerifyingKey) -> String {
    // Encoding a P-256 public key into a growing buffer has no way to fail.
    key.to_public_key_pem(LineEnding::LF).unwrap_or_default()
}

fn read(path: &Path) -> Result<Vec<u8>, PolicyHistoryError> {
    let size = fs::metadata(path).map_err(|source| file(path, source))?;
    if size.len() > MAX_FILE_BYTES {
        return Err(file(path, io::Error::other("larger than any such file")));
    }
    fs::read(path).map_err(|source| file(path, source))
}

fn file(path: &Path, source: io::Error) -> PolicyHistoryError {
    PolicyHistoryError::File {
        path: path.to_owned(),
        source,
    }
}
