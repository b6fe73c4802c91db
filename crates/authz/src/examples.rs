//! Examples in policy files: comment lines that say what the file decides, checked at load.
//! `//? allow|deny <action> <argument> [as <agent>] [by <policy id>]`.

use crate::{Decision, operation::Operation};

/// The agent that an example is decided for when it names none.
const EXAMPLE_AGENT: &str = "example";

/// One example.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    pub(crate) line: usize,
    pub(crate) wanted: Wanted,
    pub(crate) agent: String,
    pub(crate) operation: Operation,
    pub(crate) by: Option<String>,
}

/// What an example says is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Allow,
    Deny,
}

/// Reads every example of a file; a line that begins like one and is none is an error with its
/// number.
pub(crate) fn read(text: &str) -> Vec<Result<Example, usize>> {
    text.lines()
        .enumerate()
        .filter_map(|(index, line)| {
            let body = line.trim().strip_prefix("//?")?;
            Some(example(index + 1, body).ok_or(index + 1))
        })
        .collect()
}

fn example(line: usize, body: &str) -> Option<Example> {
    let (body, by) = clause(body.trim(), " by ");
    let (body, agent) = clause(body, " as ");
    let (wanted, rest) = body.split_once(char::is_whitespace)?;
    let wanted = match wanted {
        "allow" => Wanted::Allow,
        "deny" => Wanted::Deny,
        _ => return None,
    };
    let (action, argument) = rest.trim().split_once(char::is_whitespace)?;
    Some(Example {
        line,
        wanted,
        agent: agent.unwrap_or(EXAMPLE_AGENT).to_owned(),
        operation: Operation::read(action, argument.trim())?,
        by: by.map(str::to_owned),
    })
}

fn clause<'a>(body: &'a str, word: &str) -> (&'a str, Option<&'a str>) {
    match body.rsplit_once(word) {
        Some((before, after)) if !after.trim().contains(char::is_whitespace) => {
            (before.trim(), Some(after.trim()))
        }
        _ => (body, None),
    }
}

impl Example {
    /// What is wrong with the decision that was made, if anything is.
    pub(crate) fn complaint(&self, made: &Decision) -> Option<String> {
        let (is, policies) = match made {
            Decision::Allow { policies } => (Wanted::Allow, policies),
            Decision::Deny { policies, .. } => (Wanted::Deny, policies),
        };
        if is != self.wanted {
            return Some(format!("`{}` comes out as {made:?}", self.operation));
        }
        let by = self.by.as_ref()?;
        (!policies.contains(by)).then(|| {
            format!(
                "`{}` is decided by {policies:?}, not by `{by}`",
                self.operation
            )
        })
    }
}
