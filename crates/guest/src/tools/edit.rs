//! `edit`: an exact replacement that must match once, or a unified diff.

use proofroom_authz::{PathAction, WorkspacePath};
use proofroom_canonical::Digest;
use proofroom_record::event::{Action, LineRange, Outcome};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Done, ToolError, arguments, count, cut_path, perform_on_path, text};
use crate::session::Session;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    path: String,
    old: Option<String>,
    new: Option<String>,
    patch: Option<String>,
}

enum Change {
    Replace { old: String, new: String },
    Patch(String),
}

pub(super) async fn call(session: &Session, bytes: &[u8]) -> Result<Value, ToolError> {
    let asked: Arguments = arguments(session, "edit", bytes).await?;
    let action = Action::Edit {
        path: cut_path(&asked.path),
    };
    let change = match (asked.old, asked.new, asked.patch) {
        (Some(old), Some(new), None) => Ok(Change::Replace { old, new }),
        (None, None, Some(patch)) => Ok(Change::Patch(patch)),
        _ => Err(ToolError::Arguments(
            "`edit` takes `old` and `new`, or `patch`".to_owned(),
        )),
    };
    let kind = PathAction::Edit;
    perform_on_path(session, action, kind, &asked.path, |session, path| {
        apply(session, path, change?)
    })
    .await
}

fn apply(session: &Session, path: &WorkspacePath, change: Change) -> Result<Done, ToolError> {
    let bytes = session.tree.read(path)?;
    let before = Digest::of(&bytes);
    let old = text(bytes)?;
    let new = match change {
        Change::Replace { old: from, new: to } => replace(&old, &from, &to)?,
        Change::Patch(patch) => patched(&old, &patch)?,
    };
    session.tree.write(path, new.as_bytes())?;
    let lines = changed_lines(&old, &new);
    Ok(Done {
        outcome: Outcome::Changed {
            before: Some(before),
            after: Digest::of(&new),
            lines,
        },
        answer: json!({"first_line": lines.first, "last_line": lines.last}),
    })
}

fn replace(text: &str, from: &str, to: &str) -> Result<String, ToolError> {
    if from.is_empty() {
        return Err(ToolError::Arguments("`old` is empty".to_owned()));
    }
    let Some(at) = text.find(from) else {
        let reason = "`old` is not in the file: it must match exactly, with its white space";
        return Err(ToolError::failed("no-match", reason));
    };
    // Overlapping second matches count too.
    let next = text.get(at..).and_then(|rest| {
        let step = rest.chars().next().map_or(1, char::len_utf8);
        rest.get(step..)
    });
    if next.is_some_and(|rest| rest.contains(from)) {
        let reason = "`old` is in the file more than once: give more of its surroundings";
        return Err(ToolError::failed("ambiguous-match", reason));
    }
    Ok(text.replacen(from, to, 1))
}

fn patched(text: &str, patch: &str) -> Result<String, ToolError> {
    let patch = diffy::Patch::from_str(patch)
        .map_err(|error| ToolError::failed("bad-patch", error.to_string()))?;
    diffy::apply(text, &patch).map_err(|error| ToolError::failed("no-match", error.to_string()))
}

/// Lines of `new` that are not in the common beginning and end of both.
pub(super) fn changed_lines(old: &str, new: &str) -> LineRange {
    let (old, new): (Vec<&str>, Vec<&str>) = (
        old.split_inclusive('\n').collect(),
        new.split_inclusive('\n').collect(),
    );
    let same = |pair: &(&&str, &&str)| pair.0 == pair.1;
    let start = old.iter().zip(&new).take_while(same).count();
    let left = old.len().min(new.len()).saturating_sub(start);
    let end = old
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take(left)
        .take_while(same)
        .count();
    let last = new.len().saturating_sub(end);
    if last <= start {
        return LineRange { first: 0, last: 0 };
    }
    LineRange {
        first: count(start.saturating_add(1)),
        last: count(last),
    }
}

#[cfg(test)]
mod tests {
    use proofroom_record::event::LineRange;

    use super::{changed_lines, patched, replace};

    #[test]
    fn a_replacement_matches_exactly_once_or_not_at_all() {
        assert_eq!(replace("a b c", "b", "x").unwrap(), "a x c");
        assert_eq!(replace("a b c", "d", "x").unwrap_err().code(), "no-match");
        assert_eq!(
            replace("bb", "b", "x").unwrap_err().code(),
            "ambiguous-match"
        );
        assert_eq!(
            replace("aaa", "aa", "x").unwrap_err().code(),
            "ambiguous-match"
        );
        assert_eq!(replace("a", "", "x").unwrap_err().code(), "bad-arguments");
    }

    #[test]
    fn a_patch_that_does_not_fit_changes_nothing() {
        let patch = "--- a\n+++ b\n@@ -1,2 +1,2 @@\n one\n-two\n+deux\n";
        assert_eq!(patched("one\ntwo\n", patch).unwrap(), "one\ndeux\n");
        assert_eq!(patched("x\ny\n", patch).unwrap_err().code(), "no-match");
        assert_eq!(patched("x", "@@ nonsense").unwrap_err().code(), "bad-patch");
    }

    #[test]
    fn changed_lines_are_those_of_the_new_text() {
        let range = |first, last| LineRange { first, last };
        assert_eq!(changed_lines("a\nb\nc\n", "a\nx\nc\n"), range(2, 2));
        assert_eq!(changed_lines("", "a\nb\n"), range(1, 2));
        assert_eq!(changed_lines("a\nb\n", "a\n"), range(0, 0));
        assert_eq!(changed_lines("a\n", "a\na\n"), range(2, 2));
    }
}
