//! `list`: the entries of one directory.

use proofroom_authz::PathAction;
use proofroom_record::event::{Action, Outcome};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Done, ToolError, arguments, count, cut_path, perform_on_path};
use crate::session::Session;

/// The most entries that one call hands to the agent.
const MAX_ENTRIES: usize = 2_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    path: String,
}

pub(super) async fn call(session: &Session, bytes: &[u8]) -> Result<Value, ToolError> {
    let asked: Arguments = arguments(session, "list", bytes).await?;
    let action = Action::List {
        path: cut_path(&asked.path),
    };
    let kind = PathAction::List;
    perform_on_path(session, action, kind, &asked.path, |session, path| {
        let entries = session.tree.list(path.as_str(), MAX_ENTRIES)?;
        let shown: Vec<Value> = entries
            .iter()
            .map(|entry| json!({"name": entry.name, "kind": entry.kind, "bytes": entry.bytes}))
            .collect();
        Ok(Done {
            outcome: Outcome::Listed {
                entries: count(shown.len()),
            },
            answer: json!({ "entries": shown }),
        })
    })
    .await
}
