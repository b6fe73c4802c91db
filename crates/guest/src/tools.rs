//! The mediated tools. Every call: arguments, decision, intent durable, action, outcome durable,
//! answer. A call that is denied leaves the same two events and does nothing.

use std::path::Path;

use http::StatusCode;
use proofroom_authz::{Decision, Operation, PathError, WorkspacePath};
use proofroom_canonical::Digest;
use proofroom_record::event::{Action, Outcome};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{git::GitError, process::ProcessError, session::Session, tree::TreeError};

pub mod commit;
mod edit;
mod list;
mod read;
mod run;
mod search;
mod write;

/// The most bytes that one tool call's arguments may have.
pub const MAX_CALL_BYTES: usize = 16 * 1024 * 1024;

/// What a tool did: what is written down, and what the agent gets.
#[derive(Debug)]
pub struct Done {
    pub(crate) outcome: Outcome,
    pub(crate) answer: Value,
}

/// Why a tool did nothing, or not all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolError {
    /// The arguments make no sense.
    #[error("{0}")]
    Arguments(String),
    /// Not allowed.
    #[error("{reason}")]
    Denied {
        /// Stable code.
        code: String,
        /// Which rule, and what it says.
        reason: String,
    },
    /// It did not work.
    #[error("{reason}")]
    Failed {
        /// Stable code.
        code: &'static str,
        /// For a person.
        reason: String,
    },
    /// The session is over.
    #[error("the session has ended: {0}")]
    Ended(String),
}

impl ToolError {
    /// The stable code of this error.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Arguments(_) => "bad-arguments",
            Self::Denied { code, .. } => code,
            Self::Failed { code, .. } => code,
            Self::Ended(_) => "session-ended",
        }
    }

    /// The HTTP status of this error.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Denied { .. } => StatusCode::FORBIDDEN,
            Self::Arguments(_) | Self::Failed { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Ended(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn outcome(&self) -> Outcome {
        let (code, reason) = (self.code().to_owned(), self.to_string());
        match self {
            Self::Denied { .. } => Outcome::Denied { code, reason },
            _ => Outcome::Failed { code, reason },
        }
    }

    fn failed(code: &'static str, reason: impl Into<String>) -> Self {
        Self::Failed {
            code,
            reason: reason.into(),
        }
    }
}

impl From<TreeError> for ToolError {
    fn from(error: TreeError) -> Self {
        match error {
            TreeError::Outside(_) => Self::Denied {
                code: error.code().to_owned(),
                reason: error.to_string(),
            },
            _ => Self::failed(error.code(), error.to_string()),
        }
    }
}

impl From<PathError> for ToolError {
    fn from(error: PathError) -> Self {
        Self::Denied {
            code: error.code().to_owned(),
            reason: error.to_string(),
        }
    }
}

impl From<ProcessError> for ToolError {
    fn from(error: ProcessError) -> Self {
        Self::failed(error.code(), error.to_string())
    }
}

impl From<GitError> for ToolError {
    fn from(error: GitError) -> Self {
        Self::failed("git-failed", error.to_string())
    }
}

/// Calls one tool.
///
/// # Errors
/// See [`ToolError`].
pub async fn call(session: &Session, tool: &str, arguments: &[u8]) -> Result<Value, ToolError> {
    if let Some(end) = session.ended() {
        return Err(ToolError::Ended(format!("{end:?}")));
    }
    session
        .step()
        .map_err(|limit| ToolError::Ended(format!("the limit of {limit}")))?;
    match tool {
        "read_file" => read::call(session, arguments).await,
        "list" => list::call(session, arguments).await,
        "search" => search::call(session, arguments).await,
        "edit" => edit::call(session, arguments).await,
        "write_file" => write::call(session, arguments).await,
        "run" => run::call(session, arguments).await,
        "git_commit" => commit::call(session, arguments).await,
        _ => {
            let refused = ToolError::Arguments(format!("there is no tool `{}`", cut(tool)));
            unusable(session, tool, refused).await
        }
    }
}

/// Refuses a tool call of a command's, which has no tools, and writes that down.
pub async fn not_offered(session: &Session, tool: &str) -> ToolError {
    let refused = ToolError::Denied {
        code: "tools-not-offered".to_owned(),
        reason: "tools are for the built-in agent; this session runs a command".to_owned(),
    };
    if let Err(limit) = session.step() {
        return ToolError::Ended(format!("the limit of {limit}"));
    }
    let action = Action::Unknown { tool: cut(tool) };
    match perform(session, action, None, async { Err(refused) }).await {
        Err(error) => error,
        Ok(_) => ToolError::Arguments(String::new()),
    }
}

/// The arguments as a `T`; when they are none, that is written down.
async fn arguments<T: DeserializeOwned>(
    session: &Session,
    tool: &str,
    bytes: &[u8],
) -> Result<T, ToolError> {
    let read = serde_json::from_slice(bytes);
    match read {
        Ok(arguments) => Ok(arguments),
        Err(error) => {
            let refused = ToolError::Arguments(format!("arguments of `{tool}`: {error}"));
            unusable(session, tool, refused).await
        }
    }
}

async fn unusable<T>(session: &Session, tool: &str, refused: ToolError) -> Result<T, ToolError> {
    let action = Action::Unknown { tool: cut(tool) };
    let nothing = async { Err(refused) };
    perform(session, action, None, nothing)
        .await
        .map(|_: Value| ())?;
    Err(ToolError::Arguments(String::new()))
}

/// Writes the intent, decides, acts, writes the outcome. `None` for the operation means that
/// something was wrong before there was anything to decide, and `act` says what.
pub(crate) async fn perform(
    session: &Session,
    action: Action,
    operation: Option<Operation>,
    act: impl Future<Output = Result<Done, ToolError>>,
) -> Result<Value, ToolError> {
    let ended =
        |error: crate::journal::JournalError| ToolError::Ended(session.lost(error).to_string());
    let intent = session.journal.intent(action).await.map_err(ended)?;
    let allowed = operation.map_or(Ok(()), |operation| decide(session, &operation));
    let done = match allowed {
        Ok(()) => act.await,
        Err(denied) => Err(denied),
    };
    let (outcome, answer) = match done {
        Ok(done) => (done.outcome, Ok(done.answer)),
        Err(error) => (error.outcome(), Err(error)),
    };
    session
        .journal
        .outcome(intent, outcome)
        .await
        .map_err(ended)?;
    answer
}

/// Digest of the program that a command ran: what a system call showed, or what its name stands for.
pub(crate) fn executable(root: &Path, shown: Option<Digest>, program: &Path) -> Digest {
    shown
        .or_else(|| run::find(root, program))
        .unwrap_or_else(|| Digest::of([]))
}

/// Asks the access policy and the grant.
///
/// # Errors
/// [`ToolError::Denied`].
pub fn decide(session: &Session, operation: &Operation) -> Result<(), ToolError> {
    match session.access.decide(operation) {
        Decision::Allow { .. } => Ok(()),
        Decision::Deny { code, reason, .. } => Err(ToolError::Denied {
            code: code.as_str().to_owned(),
            reason,
        }),
    }
}

/// A path as agents give it: relative, or absolute beneath the workspace.
fn path(session: &Session, given: &str) -> Result<WorkspacePath, PathError> {
    let root = session.root.to_str().unwrap_or("/workspace");
    let relative = match given.strip_prefix(root) {
        Some("" | "/") => ".",
        Some(rest) if rest.starts_with('/') => rest.trim_start_matches('/'),
        _ => given,
    };
    WorkspacePath::parse(relative)
}

/// Performs an action on one path, whose name is judged first.
async fn perform_on_path(
    session: &Session,
    action: Action,
    kind: proofroom_authz::PathAction,
    given: &str,
    act: impl FnOnce(&Session, &WorkspacePath) -> Result<Done, ToolError>,
) -> Result<Value, ToolError> {
    match path(session, given) {
        Ok(path) => {
            let operation = Operation::Path(kind, path.clone());
            let act = async { act(session, &path) };
            perform(session, action, Some(operation), act).await
        }
        Err(error) => perform(session, action, None, async { Err(error.into()) }).await,
    }
}

/// A name as events carry it: at most 100 characters.
fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}

/// A path as events carry it: at most 4096 characters.
fn cut_path(text: &str) -> String {
    text.chars().take(4096).collect()
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The file's text.
fn text(bytes: Vec<u8>) -> Result<String, ToolError> {
    if bytes.contains(&0) {
        return Err(ToolError::failed("binary", "the file is binary, not text"));
    }
    String::from_utf8(bytes).map_err(|_| ToolError::failed("binary", "the file is not UTF-8 text"))
}
