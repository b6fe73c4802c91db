//! The task's grant: globs that narrow the access policy for one task and never widen it.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::{
    operation::{Operation, PathAction},
    path::{WorkspacePath, fold},
};

/// The most globs that one list of a grant may have.
const MAX_GLOBS: usize = 256;
/// The most bytes that one glob may have.
const MAX_GLOB_BYTES: usize = 1024;

/// A compiled grant.
#[derive(Clone, Debug)]
pub struct TaskGrant {
    read: GlobSet,
    write: GlobSet,
    run: GlobSet,
}

/// Why a grant was refused.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// Not a glob.
    #[error("`{0}` is not a glob")]
    Glob(String, #[source] globset::Error),
    /// More globs, or longer ones, than are read.
    #[error("grant has more than 256 globs in one list, or one longer than 1024 bytes")]
    TooLarge,
}

impl GrantError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Glob(..) => "grant-glob",
            Self::TooLarge => "grant-too-large",
        }
    }
}

impl TaskGrant {
    /// Compiles a grant. `read` and `write` are globs over workspace paths, where `*` stays inside
    /// one directory and `**` does not; `run` are globs over `argv[0]`. An empty list grants nothing.
    ///
    /// # Errors
    /// See [`GrantError`].
    pub fn compile(read: &[String], write: &[String], run: &[String]) -> Result<Self, GrantError> {
        Ok(Self {
            read: paths(read)?,
            write: paths(write)?,
            run: programs(run)?,
        })
    }

    /// Whether the grant covers an operation. Commits, deliveries and model runs are the policy's
    /// alone; files that a commit changes are asked for one by one.
    #[must_use]
    pub fn covers(&self, operation: &Operation) -> bool {
        match operation {
            Operation::Path(action, path) => self.covers_path(*action, path),
            Operation::Run { argv } => argv.first().is_some_and(|name| self.run.is_match(name)),
            Operation::GitCommit { .. }
            | Operation::ModelRun { .. }
            | Operation::Deliver { .. }
            | Operation::Connect { .. } => true,
        }
    }

    fn covers_path(&self, action: PathAction, path: &WorkspacePath) -> bool {
        if action.writes() {
            return self.write.is_match(path.folded());
        }
        let directory = matches!(action, PathAction::List | PathAction::Search);
        // Files found by a search are asked for one by one, so that the root may be named freely.
        (directory && path.is_root() && !self.read.is_empty())
            || self.read.is_match(path.folded())
            || (directory && self.read.is_match(format!("{}/x", path.folded())))
    }
}

fn paths(globs: &[String]) -> Result<GlobSet, GrantError> {
    compile(globs, fold, true)
}

fn programs(globs: &[String]) -> Result<GlobSet, GrantError> {
    compile(globs, str::to_owned, false)
}

fn compile(
    globs: &[String],
    prepare: impl Fn(&str) -> String,
    literal_separator: bool,
) -> Result<GlobSet, GrantError> {
    if globs.len() > MAX_GLOBS || globs.iter().any(|glob| glob.len() > MAX_GLOB_BYTES) {
        return Err(GrantError::TooLarge);
    }
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        let compiled = GlobBuilder::new(&prepare(glob))
            .literal_separator(literal_separator)
            .backslash_escape(false)
            .build()
            .map_err(|source| GrantError::Glob(glob.clone(), source))?;
        set.add(compiled);
    }
    set.build()
        .map_err(|source| GrantError::Glob(globs.join(" "), source))
}
