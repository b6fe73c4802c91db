//! `search`: lines that match a regular expression, in files that the agent may read.

use std::time::{Duration, Instant};

use proofroom_authz::{Operation, PathAction, WorkspacePath};
use proofroom_canonical::Digest;
use proofroom_record::event::{Action, Outcome};
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Done, ToolError, arguments, count, cut_path, decide, perform_on_path};
use crate::session::Session;

/// The most matches that one call hands to the agent.
const MAX_MATCHES: usize = 200;
/// The most directory entries that one call looks at.
const MAX_ENTRIES: usize = 50_000;
/// The most characters of one line that are shown.
const MAX_LINE: usize = 400;
/// The most bytes that a compiled expression may take.
const MAX_EXPRESSION_BYTES: usize = 1024 * 1024;
/// How long one search may take.
const TIME: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    pattern: String,
    path: Option<String>,
}

pub(super) async fn call(session: &Session, bytes: &[u8]) -> Result<Value, ToolError> {
    let asked: Arguments = arguments(session, "search", bytes).await?;
    let within = asked.path.unwrap_or_else(|| ".".to_owned());
    let action = Action::Search {
        path: cut_path(&within),
        pattern: Digest::of(&asked.pattern),
    };
    let kind = PathAction::Search;
    perform_on_path(session, action, kind, &within, |session, path| {
        let expression = RegexBuilder::new(&asked.pattern)
            .size_limit(MAX_EXPRESSION_BYTES)
            .dfa_size_limit(MAX_EXPRESSION_BYTES)
            .build()
            .map_err(|error| ToolError::failed("bad-pattern", error.to_string()))?;
        let mut search = Search {
            session,
            expression,
            matches: Vec::new(),
            truncated: false,
            entries: 0,
            until: Instant::now() + TIME,
        };
        search.directory(path)?;
        Ok(Done {
            outcome: Outcome::Listed {
                entries: count(search.matches.len()),
            },
            answer: json!({"matches": search.matches, "truncated": search.truncated}),
        })
    })
    .await
}

struct Search<'a> {
    session: &'a Session,
    expression: Regex,
    matches: Vec<Value>,
    truncated: bool,
    entries: usize,
    until: Instant,
}

impl Search<'_> {
    fn directory(&mut self, from: &WorkspacePath) -> Result<(), ToolError> {
        let mut waiting = vec![from.clone()];
        // The directory that was asked for must be one; those below may vanish meanwhile.
        self.session.tree.list(from.as_str(), 1)?;
        while let Some(directory) = waiting.pop() {
            let Ok(entries) = self.session.tree.list(directory.as_str(), MAX_ENTRIES) else {
                continue;
            };
            for entry in entries {
                self.entries = self.entries.saturating_add(1);
                if self.is_full() {
                    self.truncated = true;
                    return Ok(());
                }
                let name = format!("{directory}/{}", entry.name);
                let Ok(path) = WorkspacePath::parse(&name) else {
                    continue;
                };
                match entry.kind {
                    "directory" if entry.name != ".git" => waiting.push(path),
                    "file" => self.file(&path),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.matches.len() >= MAX_MATCHES
            || self.entries > MAX_ENTRIES
            || Instant::now() >= self.until
    }

    fn file(&mut self, path: &WorkspacePath) {
        let operation = Operation::Path(PathAction::ReadFile, path.clone());
        if decide(self.session, &operation).is_err() {
            return;
        }
        let Ok(bytes) = self.session.tree.read(path) else {
            return;
        };
        let Ok(text) = super::text(bytes) else {
            return;
        };
        for (index, line) in text.lines().enumerate() {
            if self.matches.len() >= MAX_MATCHES {
                self.truncated = true;
                return;
            }
            if self.expression.is_match(line) {
                let shown: String = line.chars().take(MAX_LINE).collect();
                self.matches.push(json!({
                    "path": path.as_str(),
                    "line": index.saturating_add(1),
                    "text": shown,
                }));
            }
        }
    }
}
