//! `git_commit`: commits the workspace's changes with the room's git, hooks off, every changed path
//! judged first: what a command wrote is asked for here as if a tool had written it.

use std::sync::Arc;

use proofroom_authz::{Operation, PathAction, WorkspacePath};
use proofroom_canonical::Digest;
use proofroom_record::event::{Action, Outcome};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Done, ToolError, arguments, decide, perform};
use crate::{
    observe::{Files, Watch},
    session::Session,
};

/// The most bytes of a commit message.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    message: String,
}

pub(super) async fn call(session: &Session, bytes: &[u8]) -> Result<Value, ToolError> {
    let asked: Arguments = arguments(session, "git_commit", bytes).await?;
    commit(session, asked.message).await
}

/// Commits everything that changed, with this message.
///
/// # Errors
/// See [`ToolError`]; `nothing-to-commit` when nothing changed.
pub async fn commit(session: &Session, message: String) -> Result<Value, ToolError> {
    let action = Action::GitCommit {
        message: Digest::of(&message),
    };
    let operation = Operation::GitCommit {
        repository: session.assignment.repository.clone(),
    };
    perform(session, action, Some(operation), make(session, message)).await
}

async fn make(session: &Session, message: String) -> Result<Done, ToolError> {
    if message.trim().is_empty() || message.len() > MAX_MESSAGE_BYTES || message.contains('\0') {
        let reason = "the message is empty, longer than 64 KiB, or holds a NUL byte";
        return Err(ToolError::Arguments(reason.to_owned()));
    }
    let observer = session.observer(Files::Unrecorded);
    let made = stage_and_commit(session, message, &(Arc::clone(&observer) as _)).await;
    observer.finish();
    made
}

async fn stage_and_commit(
    session: &Session,
    message: String,
    watch: &Arc<dyn Watch>,
) -> Result<Done, ToolError> {
    let git = &session.git;
    let watch = || Arc::clone(watch);
    git.run(&["add", "--all", "--", "."], vec![], watch())
        .await?;
    let paths = git
        .paths(
            &[
                "diff",
                "--cached",
                "--name-only",
                "--no-renames",
                "--no-ext-diff",
                "--no-textconv",
                "-z",
                "HEAD",
            ],
            watch(),
        )
        .await?;
    if paths.is_empty() {
        return Err(ToolError::failed("nothing-to-commit", "nothing changed"));
    }
    if let Err(denied) = judge(session, &paths) {
        git.run(&["reset", "--quiet"], vec![], watch()).await?;
        return Err(denied);
    }
    let commit = [
        "commit",
        "--quiet",
        "--no-verify",
        "--no-gpg-sign",
        "--cleanup=whitespace",
        "--file=-",
    ];
    git.run(&commit, message.into_bytes(), watch()).await?;
    let commit = git.object("HEAD", watch()).await?;
    let tree = git.object("HEAD^{tree}", watch()).await?;
    Ok(Done {
        answer: json!({ "commit": commit }),
        outcome: Outcome::Committed { commit, tree },
    })
}

/// Asks for every path as if a tool wrote it. Only paths that git can name in UTF-8 pass.
///
/// # Errors
/// [`ToolError::Denied`] for the first path that is denied.
pub(crate) fn judge(session: &Session, paths: &[String]) -> Result<(), ToolError> {
    for path in paths {
        let denied = |code: &str, reason: &str| ToolError::Denied {
            code: code.to_owned(),
            reason: format!("`{path}`: {reason}"),
        };
        let parsed =
            WorkspacePath::parse(path).map_err(|error| denied(error.code(), &error.to_string()))?;
        let operation = Operation::Path(PathAction::WriteFile, parsed);
        if let Err(ToolError::Denied { code, reason }) = decide(session, &operation) {
            return Err(denied(&code, &reason));
        }
    }
    Ok(())
}
