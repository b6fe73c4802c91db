//! Names of workspace files as the policy sees them: one spelling for all names that some file
//! system, tool or reader would take for the same one. Lexical only: symbolic links are the business
//! of whoever opens the file.

use std::fmt;

use unicode_normalization::UnicodeNormalization as _;

/// The most bytes that a path may have (Linux `PATH_MAX`, without its NUL).
pub const MAX_PATH_BYTES: usize = 4095;

/// Names that nobody may write through a tool, at any depth, existing or not: git's own files, and
/// the ones that move its boundary.
const PROTECTED: [&str; 4] = [".git", ".gitmodules", "git~1", ".proofroom"];

/// Names of files and directories that a tool, an editor or a pipeline runs or obeys later, on
/// behalf of somebody else. `resource.runs_later` in the policy.
const RUNS_LATER: [&str; 37] = [
    ".agents",
    ".aider.conf.yml",
    ".bash_profile",
    ".bashrc",
    ".buildkite",
    ".circleci",
    ".claude",
    ".cline",
    ".clinerules",
    ".codex",
    ".continue",
    ".cursor",
    ".devcontainer",
    ".devcontainer.json",
    ".drone.yml",
    ".envrc",
    ".fleet",
    ".gemini",
    ".gitea",
    ".githooks",
    ".gitlab-ci.yml",
    ".goose",
    ".husky",
    ".idea",
    ".kiro",
    ".mcp.json",
    ".opencode",
    ".pre-commit-config.yaml",
    ".profile",
    ".travis.yml",
    ".vscode",
    ".windsurf",
    ".zshrc",
    "azure-pipelines.yml",
    "jenkinsfile",
    "lefthook.yml",
    "opencode.json",
];

/// Parent and child, both at any depth, that pipelines run.
const RUNS_LATER_PAIRS: [(&str, &str); 2] = [(".github", "workflows"), (".github", "actions")];

/// A path inside the workspace: relative, without `.`, `..` or empty components.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkspacePath {
    raw: String,
    folded: String,
}

/// Why a text is not a path inside the workspace. Every one of them is a denial.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PathError {
    /// Absolute, or climbing with `..`.
    #[error("path leaves the workspace: give one relative to it, without `..`")]
    Outside,
    /// Empty, too long, or with a NUL byte.
    #[error("path is empty, longer than 4095 bytes, or holds a NUL byte")]
    Malformed,
}

impl PathError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Outside => "outside-workspace",
            Self::Malformed => "malformed-path",
        }
    }
}

impl WorkspacePath {
    /// Reads a path relative to the workspace; `.` is the workspace itself.
    ///
    /// # Errors
    /// See [`PathError`].
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.is_empty() || text.len() > MAX_PATH_BYTES || text.contains('\0') {
            return Err(PathError::Malformed);
        }
        if text.starts_with('/') {
            return Err(PathError::Outside);
        }
        let components: Vec<&str> = text
            .split('/')
            .filter(|name| !name.is_empty() && *name != ".")
            .collect();
        if components.contains(&"..") {
            return Err(PathError::Outside);
        }
        let raw = if components.is_empty() {
            ".".to_owned()
        } else {
            components.join("/")
        };
        let folded = fold(&raw);
        Ok(Self { raw, folded })
    }

    /// The path as it is opened.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.raw
    }

    /// The one spelling that policies and grants see: compatibility-normalised, case-folded, without
    /// invisible characters, `\` taken for `/`, trailing dots and spaces of names dropped.
    #[must_use]
    pub fn folded(&self) -> &str {
        &self.folded
    }

    /// Whether this is the workspace itself.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.raw == "."
    }

    /// The protected name on the way, if there is one.
    #[must_use]
    pub fn protected_name(&self) -> Option<&'static str> {
        self.names()
            .find_map(|name| PROTECTED.into_iter().find(|known| *known == name))
    }

    /// Whether a tool, an editor or a pipeline runs or obeys this file later.
    #[must_use]
    pub fn runs_later(&self) -> RunsLater {
        let names: Vec<&str> = self.names().collect();
        let pair = names.windows(2).any(|two| {
            RUNS_LATER_PAIRS
                .iter()
                .any(|(parent, child)| two == [*parent, *child])
        });
        if pair || names.iter().any(|name| RUNS_LATER.contains(name)) {
            RunsLater::Yes
        } else {
            RunsLater::No
        }
    }

    /// Names on the way; an alternate data stream (`.git::$INDEX_ALLOCATION`) is its file.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.folded
            .split('/')
            .map(|name| name.split_once(':').map_or(name, |(file, _)| file))
    }
}

/// Whether a file is of the kind that somebody or something runs or obeys later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunsLater {
    /// It is.
    Yes,
    /// It is not known to be.
    No,
}

impl fmt::Display for WorkspacePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.raw)
    }
}

/// Folds a path or a pattern over paths to the one spelling of its names.
pub(crate) fn fold(text: &str) -> String {
    let mut folded = fold_once(text);
    // Folding is not idempotent for a few characters; three rounds reach a fixed point for all of
    // Unicode, which `folding_is_idempotent` checks.
    for _ in 0..3 {
        folded = fold_once(&folded);
    }
    let names: Vec<&str> = folded.split('/').map(trim_name).collect();
    names.join("/")
}

fn fold_once(text: &str) -> String {
    text.nfkc()
        .filter(|c| !is_invisible(*c))
        .map(|c| if c == '\\' { '/' } else { c })
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .nfkc()
        .filter(|c| !is_invisible(*c))
        .collect()
}

fn trim_name(name: &str) -> &str {
    let trimmed = name.trim_end_matches([' ', '.']);
    if trimmed.is_empty() { name } else { trimmed }
}

/// Characters that leave no mark: what HFS+ ignores in names, Unicode's Default_Ignorable ranges,
/// and control characters.
pub(crate) const fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fff8}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}
