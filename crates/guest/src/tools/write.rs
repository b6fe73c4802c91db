//! `write_file`: create a file, or put new content in its place.

use proofroom_authz::{PathAction, WorkspacePath};
use proofroom_canonical::Digest;
use proofroom_record::event::{Action, Outcome};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Done, ToolError, arguments, count, cut_path, edit::changed_lines, perform_on_path};
use crate::{session::Session, tree::TreeError};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    path: String,
    content: String,
}

pub(super) async fn call(session: &Session, bytes: &[u8]) -> Result<Value, ToolError> {
    let asked: Arguments = arguments(session, "write_file", bytes).await?;
    let action = Action::WriteFile {
        path: cut_path(&asked.path),
        bytes: count(asked.content.len()),
    };
    let kind = PathAction::WriteFile;
    perform_on_path(session, action, kind, &asked.path, |session, path| {
        put(session, path, &asked.content)
    })
    .await
}

fn put(session: &Session, path: &WorkspacePath, content: &str) -> Result<Done, ToolError> {
    let old = match session.tree.read(path) {
        Ok(bytes) => Some(bytes),
        Err(TreeError::NotFound(_) | TreeError::TooLarge(_)) => None,
        Err(error) => return Err(error.into()),
    };
    session.tree.write(path, content.as_bytes())?;
    let before = old.as_ref().map(Digest::of);
    let old = String::from_utf8_lossy(old.as_deref().unwrap_or_default()).into_owned();
    Ok(Done {
        outcome: Outcome::Changed {
            before,
            after: Digest::of(content),
            lines: changed_lines(&old, content),
        },
        answer: json!({"bytes": content.len()}),
    })
}
