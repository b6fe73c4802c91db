//! `read_file`: a text file, or some of its lines.

use proofroom_authz::PathAction;
use proofroom_canonical::Digest;
use proofroom_record::event::{Action, LineRange, Outcome};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Done, ToolError, arguments, count, cut_path, perform_on_path, text};
use crate::session::Session;

/// The most bytes that one call hands to the agent.
const MAX_READ_BYTES: usize = 256 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    path: String,
    first_line: Option<u64>,
    last_line: Option<u64>,
}

pub(super) async fn call(session: &Session, bytes: &[u8]) -> Result<Value, ToolError> {
    let asked: Arguments = arguments(session, "read_file", bytes).await?;
    let lines = match (asked.first_line, asked.last_line) {
        (None, None) => None,
        (first, last) => Some(LineRange {
            first: first.unwrap_or(1).max(1),
            last: last.unwrap_or(u64::MAX),
        }),
    };
    let action = Action::ReadFile {
        path: cut_path(&asked.path),
        lines,
    };
    let kind = PathAction::ReadFile;
    perform_on_path(session, action, kind, &asked.path, |session, path| {
        let bytes = session.tree.read(path)?;
        let digest = Digest::of(&bytes);
        part(&text(bytes)?, lines, digest)
    })
    .await
}

fn part(whole: &str, asked: Option<LineRange>, digest: Digest) -> Result<Done, ToolError> {
    let all: Vec<&str> = whole.split_inclusive('\n').collect();
    let total = count(all.len());
    let asked = asked.unwrap_or(LineRange {
        first: 1,
        last: total,
    });
    let (first, last) = (asked.first.max(1), asked.last.min(total));
    let mut lines = LineRange { first, last };
    if first > last {
        if total > 0 {
            let reason = format!("the file has {total} lines");
            return Err(ToolError::failed("no-such-lines", reason));
        }
        lines = LineRange { first: 0, last: 0 };
    }
    let skip = usize::try_from(first.saturating_sub(1)).unwrap_or(usize::MAX);
    let take = usize::try_from(last.saturating_sub(first).saturating_add(1)).unwrap_or(usize::MAX);
    let content: String = all.into_iter().skip(skip).take(take).collect();
    if content.len() > MAX_READ_BYTES {
        let reason = "that is more than 256 KiB: ask for fewer lines";
        return Err(ToolError::failed("too-large", reason));
    }
    Ok(Done {
        outcome: Outcome::Read {
            digest,
            lines,
            bytes: count(content.len()),
        },
        answer: json!({
            "content": content,
            "first_line": lines.first,
            "last_line": lines.last,
            "total_lines": total,
        }),
    })
}
