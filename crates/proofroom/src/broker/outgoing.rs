//! From the origin into a room: which commit, is it small enough, and its objects as a git bundle.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Child,
};

use proofroom_record::room_api::WORKSPACE_REFERENCE;

use super::git::{Git, GitError};

/// Reference under which the broker's own repository names the session's commit.
pub(super) const BASE: &str = WORKSPACE_REFERENCE;

/// What a workspace may hold.
#[derive(Clone, Copy, Debug)]
pub struct WorkspaceLimits {
    /// Bytes of all files of the commit.
    pub tree_bytes: u64,
    /// Bytes of all objects that the commit reaches, packed.
    pub history_bytes: u64,
    /// Number of files of the commit.
    pub files: u64,
}

/// Why a repository cannot go into a room.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// The path leads nowhere.
    #[error("cannot open the repository `{path}`")]
    Missing {
        /// The path given.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Not a repository, or not one with a commit.
    #[error("`{path}` is not a git repository with at least one commit: {source}")]
    NotARepository {
        /// The path given.
        path: PathBuf,
        /// What git said.
        source: GitError,
    },
    /// Parents of its commits are missing.
    #[error(
        "`{path}` is a shallow clone, whose history cannot go into a room; bring the rest with `git fetch --unshallow`"
    )]
    Shallow {
        /// Its git directory.
        path: PathBuf,
    },
    /// The files are too many or too large.
    #[error("the commit is too large for a room: {0}")]
    TooLarge(String),
    /// git failed.
    #[error("git cannot read the repository")]
    Git(#[from] GitError),
    /// The broker's directory cannot be used.
    #[error("cannot write to `{path}`")]
    Scratch {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl OriginError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "repository-missing",
            Self::NotARepository { .. } => "not-a-repository",
            Self::Shallow { .. } => "repository-shallow",
            Self::TooLarge(_) => "workspace-too-large",
            Self::Git(error) => error.code(),
            Self::Scratch { .. } => "scratch-directory",
        }
    }
}

/// A repository whose commit goes into a room, seen through the broker's own bare repository.
#[derive(Debug)]
pub struct Origin {
    origin: Git,
    scratch: Git,
    commit: String,
    submodules: Vec<String>,
}

impl Origin {
    /// Opens the repository at `path` (work tree or git directory) at its `HEAD` commit, with the
    /// broker's own repository in `scratch`, which must not exist yet.
    ///
    /// # Errors
    /// See [`OriginError`].
    pub fn open(path: &Path, scratch: &Path, limits: WorkspaceLimits) -> Result<Self, OriginError> {
        let not_a_repository = |source| OriginError::NotARepository {
            path: path.to_owned(),
            source,
        };
        let origin = Git::at(discover(path).map_err(not_a_repository)?);
        let head = ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"];
        let commit = origin.line(head).map_err(not_a_repository)?;
        let objects = origin.line(["rev-parse", "--git-path", "objects"])?;
        let objects = absolute(origin.dir(), &objects);
        let scratch = Git::init_borrowing(scratch, &[objects])?;
        refuse_shallow(&origin)?;
        scratch.answer(["update-ref", BASE, &commit])?;
        let submodules = survey(&scratch, &commit, limits)?;
        Ok(Self {
            origin,
            scratch,
            commit,
            submodules,
        })
    }

    /// The commit that goes into the room.
    #[must_use]
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// Submodules of the commit; their content does not go into the room.
    #[must_use]
    pub fn submodules(&self) -> &[String] {
        &self.submodules
    }

    /// Starts writing the commit and its history as a git bundle to standard output.
    ///
    /// # Errors
    /// [`GitError::Start`].
    pub fn bundle(&self) -> Result<Child, GitError> {
        self.scratch
            .command(["bundle", "create", "--quiet", "-", BASE])
            .spawn()
            .map_err(GitError::Start)
    }

    pub(super) const fn origin(&self) -> &Git {
        &self.origin
    }

    pub(super) const fn scratch(&self) -> &Git {
        &self.scratch
    }
}

/// Finds the git directory of a work tree without letting git search upwards: the session is about
/// the path that was named, not about whatever repository happens to lie above it.
fn discover(path: &Path) -> Result<PathBuf, GitError> {
    let inside = path.join(".git");
    let candidate = if inside.exists() {
        inside
    } else {
        path.to_owned()
    };
    let ask = Git::at(candidate);
    let found = ask.line(["rev-parse", "--absolute-git-dir"])?;
    Ok(PathBuf::from(found))
}

fn absolute(base: &Path, answer: &str) -> PathBuf {
    let path = Path::new(answer);
    if path.is_absolute() {
        path.to_owned()
    } else {
        // `current_dir` of every command is `/`
        Path::new("/")
            .join(path)
            .canonicalize()
            .unwrap_or_else(|_| base.join("objects"))
    }
}

/// A bundle cannot say which parents are missing, and the room's git refuses a history with holes.
fn refuse_shallow(origin: &Git) -> Result<(), OriginError> {
    match origin
        .line(["rev-parse", "--is-shallow-repository"])?
        .as_str()
    {
        "false" => Ok(()),
        _ => Err(OriginError::Shallow {
            path: origin.dir().to_owned(),
        }),
    }
}

/// Adds up the commit's files; returns its submodules.
fn survey(
    scratch: &Git,
    commit: &str,
    limits: WorkspaceLimits,
) -> Result<Vec<String>, OriginError> {
    let listing = scratch.answer(["ls-tree", "-r", "-z", "--long", "--full-tree", commit])?;
    let mut total: u64 = 0;
    let mut files: u64 = 0;
    let mut largest: (u64, String) = (0, String::new());
    let mut submodules = Vec::new();
    for entry in listing.split(|&b| b == 0).filter(|entry| !entry.is_empty()) {
        let entry = String::from_utf8_lossy(entry);
        let Some((facts, path)) = entry.split_once('\t') else {
            continue;
        };
        let mut facts = facts.split_ascii_whitespace();
        if facts.nth(1) == Some("commit") {
            submodules.push(path.to_owned());
            continue;
        }
        let bytes = facts.nth(1).and_then(|size| size.parse().ok()).unwrap_or(0);
        total = total.saturating_add(bytes);
        files = files.saturating_add(1);
        if bytes > largest.0 {
            largest = (bytes, path.to_owned());
        }
    }
    let problem = if total > limits.tree_bytes {
        format!(
            "its files have {} MiB, the workspace holds {} MiB; the largest is `{}` with {} MiB",
            total >> 20,
            limits.tree_bytes >> 20,
            largest.1.escape_debug(),
            largest.0 >> 20
        )
    } else if files > limits.files {
        format!("it has {files} files, the workspace holds {}", limits.files)
    } else {
        let usage = ["rev-list", "--disk-usage", "--objects", commit];
        let history: u64 = scratch.line(usage)?.parse().unwrap_or(u64::MAX);
        if history <= limits.history_bytes {
            return Ok(submodules);
        }
        format!(
            "its history has {} MiB, the room takes {} MiB",
            history >> 20,
            limits.history_bytes >> 20
        )
    };
    Err(OriginError::TooLarge(format!(
        "{problem}; raise the limits in room.toml if the machine has the memory"
    )))
}

/// Arguments as git wants them when some are paths.
pub(super) fn arguments<'a>(parts: &'a [&'a str]) -> impl Iterator<Item = &'a OsStr> {
    parts.iter().map(OsStr::new)
}
