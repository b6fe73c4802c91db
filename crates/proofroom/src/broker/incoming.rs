//! From a room back to the origin: a pack of objects is taken into quarantine, checked, and only
//! then given to the origin as one new branch. The pack's maker is not trusted for anything.

use std::{
    io::{Read, Write as _},
    process::Stdio,
    time::Duration,
};

use super::{
    git::{Git, GitError},
    outgoing::{BASE, Origin, arguments},
};

/// The longest that checking a pack may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// The largest file whose text is scanned for credentials before delivery; larger ones are refused.
const MAX_SCANNED_BYTES: u64 = 32 * 1024 * 1024;
/// The most new files that a delivery may bring.
const MAX_NEW_FILES: usize = 50_000;

/// What the origin now holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The new branch.
    pub reference: String,
    /// Its commit.
    pub commit: String,
    /// The commit's tree.
    pub tree: String,
}

/// Why a changed file must not be delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Objection {
    /// Stable code.
    pub code: &'static str,
    /// For a person.
    pub reason: String,
}

/// Judges what a delivery would change.
pub trait Inspector: Sync {
    /// Whether a commit may touch this path at all.
    fn path(&self, path: &str) -> Option<Objection>;
    /// Whether a file may be delivered with this content.
    fn content(&self, path: &str, content: &[u8]) -> Option<Objection>;
}

/// Why commits were not taken.
#[derive(Debug, thiserror::Error)]
pub enum IncomingError {
    /// The commit's name is not one.
    #[error("`{0}` is not a commit id")]
    CommitId(String),
    /// Objects are malformed, missing, or more than allowed.
    #[error("the pack was refused")]
    Pack(#[source] GitError),
    /// The commit does not continue the one that went into the room.
    #[error("commit {0} does not continue the commit that the session began with")]
    NotADescendant(String),
    /// A changed file must not be delivered.
    #[error("`{path}` cannot be delivered: {objection}")]
    Refused {
        /// The file.
        path: String,
        /// Why.
        objection: Objection,
    },
    /// A new file is too large to be checked, or there are too many.
    #[error("{0}")]
    Unscannable(String),
    /// The room's bytes or the broker's pipe broke off.
    #[error("the pack broke off")]
    Stream(#[source] std::io::Error),
    /// git failed.
    #[error("git cannot take the commits")]
    Git(#[from] GitError),
}

impl IncomingError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::CommitId(_) => "commit-id",
            Self::Pack(_) => "pack-refused",
            Self::NotADescendant(_) => "not-a-descendant",
            Self::Refused { objection, .. } => objection.code,
            Self::Unscannable(_) => "result-unscannable",
            Self::Stream(_) => "pack-broke-off",
            Self::Git(error) => error.code(),
        }
    }
}

impl Origin {
    /// Takes `pack` with `commit` as its tip and, when everything holds, makes `reference` in the
    /// origin.
    ///
    /// # Errors
    /// See [`IncomingError`]. The origin is untouched unless this returns `Ok`.
    pub fn deliver(
        &self,
        pack: impl Read,
        commit: &str,
        reference: &str,
        inspector: &dyn Inspector,
    ) -> Result<Delivered, IncomingError> {
        let plain = commit.len() >= 40 && commit.bytes().all(|b| b.is_ascii_hexdigit());
        if !plain || commit.len() > 64 {
            return Err(IncomingError::CommitId(commit.chars().take(80).collect()));
        }
        let git = self.scratch();
        index_pack(
            git,
            pack,
            &["index-pack", "--strict", "--stdin", "--fix-thin"],
        )?;
        let kind = git
            .line(["cat-file", "-t", commit])
            .map_err(IncomingError::Pack)?;
        if kind != "commit" {
            return Err(IncomingError::CommitId(commit.to_owned()));
        }
        let range = format!("{BASE}..{commit}");
        if git
            .answer(["merge-base", "--is-ancestor", BASE, commit])
            .is_err()
        {
            return Err(IncomingError::NotADescendant(commit.to_owned()));
        }
        let tree = git.line(["rev-parse", "--verify", &format!("{commit}^{{tree}}")])?;
        // Walks every new object: a pack that leaves one out is refused here.
        let objects = git
            .answer(arguments(&["rev-list", "--objects", &range]))
            .map_err(IncomingError::Pack)?;
        inspect_paths(git, &range, inspector)?;
        inspect_contents(git, &objects, inspector)?;
        hand_over(git, self.origin(), &range)?;
        let absent = "0".repeat(commit.len());
        self.origin()
            .answer(["update-ref", "--no-deref", reference, commit, &absent])?;
        Ok(Delivered {
            reference: reference.to_owned(),
            commit: commit.to_owned(),
            tree,
        })
    }
}

fn index_pack(git: &Git, mut pack: impl Read, command: &[&str]) -> Result<(), IncomingError> {
    let mut child = git
        .command(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(GitError::Start)?;
    let fed = child.stdin.take().map_or(Ok(0), |mut to| {
        std::io::copy(&mut pack, &mut to).and_then(|n| to.flush().map(|()| n))
    });
    let finished = Git::finish_within(child, "index-pack", PATIENCE).map_err(IncomingError::Pack);
    // git's own complaint about a bad pack explains more than the broken pipe that it causes.
    finished?;
    fed.map(|_| ()).map_err(IncomingError::Stream)
}

/// Every path that any of the new commits touches, not only those that differ in the end.
fn inspect_paths(git: &Git, range: &str, inspector: &dyn Inspector) -> Result<(), IncomingError> {
    let commits = git.answer(["rev-list", range])?;
    let changes = git.answer_to(
        &commits,
        [
            "diff-tree",
            "--stdin",
            "-r",
            "-z",
            "-m",
            "--root",
            "--no-renames",
            "--no-commit-id",
            "--name-only",
        ],
    )?;
    for path in changes.split(|&b| b == 0).filter(|path| !path.is_empty()) {
        let path = String::from_utf8_lossy(path);
        if let Some(objection) = inspector.path(&path) {
            return Err(IncomingError::Refused {
                path: path.escape_debug().to_string(),
                objection,
            });
        }
    }
    Ok(())
}

/// What a commit is called where a file would have its path.
const COMMIT: &str = "commit message";

/// The objects that are listed without a path.
fn bare(listing: &str) -> impl Iterator<Item = &str> {
    let lines = listing.lines().map(str::trim_end);
    lines.filter(|line| !line.is_empty() && !line.contains(' '))
}

fn inspect_contents(
    git: &Git,
    objects: &[u8],
    inspector: &dyn Inspector,
) -> Result<(), IncomingError> {
    let listing = String::from_utf8_lossy(objects);
    let named: Vec<(&str, &str)> = listing
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(_, path)| !path.is_empty())
        // a commit has no path; its message and its names leave with it
        .chain(bare(&listing).map(|object| (object, COMMIT)))
        .collect();
    if named.len() > MAX_NEW_FILES {
        return Err(IncomingError::Unscannable(format!(
            "the commits bring {} new files, more than the {MAX_NEW_FILES} that are checked",
            named.len()
        )));
    }
    for (object, path) in named {
        let kind = git.line(["cat-file", "-t", object])?;
        if !["blob", "commit"].contains(&kind.as_str()) {
            continue;
        }
        let bytes: u64 = git
            .line(["cat-file", "-s", object])?
            .parse()
            .unwrap_or(u64::MAX);
        if bytes > MAX_SCANNED_BYTES {
            return Err(IncomingError::Unscannable(format!(
                "`{}` has {} MiB, more than the {} MiB that are checked for credentials",
                path.escape_debug(),
                bytes >> 20,
                MAX_SCANNED_BYTES >> 20
            )));
        }
        let content = git.answer(["cat-file", &kind, object])?;
        if let Some(objection) = inspector.content(path, &content) {
            return Err(IncomingError::Refused {
                path: path.escape_debug().to_string(),
                objection,
            });
        }
    }
    Ok(())
}

/// Copies the checked objects, and only those, into the origin.
fn hand_over(from: &Git, to: &Git, range: &str) -> Result<(), IncomingError> {
    let mut packer = from
        .command(["pack-objects", "--revs", "--stdout", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .map_err(GitError::Start)?;
    if let Some(mut stdin) = packer.stdin.take() {
        stdin
            .write_all(format!("{range}\n").as_bytes())
            .map_err(IncomingError::Stream)?;
    }
    let pack = packer
        .stdout
        .take()
        .ok_or_else(|| IncomingError::Stream(std::io::Error::other("no output pipe")))?;
    index_pack(
        to,
        pack,
        &["index-pack", "--strict", "--stdin", "--fix-thin"],
    )?;
    Git::finish_within(packer, "pack-objects", PATIENCE).map_err(IncomingError::Git)
}
