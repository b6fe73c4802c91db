//! Changes strings of a JSON document and nothing else: every other byte stays as it was written.

use proofroom_canonical::Wiped;

/// The document cannot be taken apart into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the document is no JSON whose strings can be found")]
pub struct NotJson;

/// A string of the document, not a member's name.
pub(crate) struct Found<'a> {
    /// Where it begins, with its quote.
    pub(crate) at: usize,
    /// The member that it is the whole value of; empty elsewhere.
    pub(crate) member: &'a str,
    /// Its text, unescaped.
    pub(crate) text: &'a str,
}

/// `document` with every string replaced for which `change` gives another text.
pub(crate) fn change_strings(
    document: &str,
    mut change: impl FnMut(&Found<'_>) -> Option<String>,
) -> Result<Wiped<String>, NotJson> {
    let mut changed = Wiped::new(String::with_capacity(document.len()));
    let mut member = Wiped::new(String::new());
    let mut from = 0;
    while let Some(at) = document.get(from..).and_then(|rest| rest.find('"')) {
        let at = from.saturating_add(at);
        let end = end_of(document.as_bytes(), at).ok_or(NotJson)?;
        let between = document.get(from..at).ok_or(NotJson)?;
        if between.contains(['{', '}', '[', ']', ',']) {
            member.clear();
        }
        changed.push_str(between);
        let raw = document.get(at..end).ok_or(NotJson)?;
        let text = unescaped(raw)?;
        let rest = document.get(end..).unwrap_or_default().trim_start();
        if rest.starts_with(':') {
            changed.push_str(raw);
            *member = text.to_string();
        } else {
            let found = Found {
                at,
                member: &member,
                text: &text,
            };
            match change(&found) {
                Some(new) => changed.push_str(&quoted(&new)),
                None => changed.push_str(raw),
            }
            member.clear();
        }
        from = end;
    }
    changed.push_str(document.get(from..).unwrap_or_default());
    Ok(changed)
}

/// Behind the closing quote of the string that begins at `at`.
fn end_of(document: &[u8], at: usize) -> Option<usize> {
    let mut next = at.saturating_add(1);
    loop {
        match document.get(next)? {
            b'"' => return Some(next.saturating_add(1)),
            b'\\' => next = next.saturating_add(2),
            _ => next = next.saturating_add(1),
        }
    }
}

fn unescaped(raw: &str) -> Result<Wiped<String>, NotJson> {
    let inner = raw.get(1..raw.len().saturating_sub(1)).ok_or(NotJson)?;
    if inner.contains('\\') {
        let text: String = serde_json::from_str(raw).map_err(|_| NotJson)?;
        return Ok(Wiped::new(text));
    }
    Ok(Wiped::new(inner.to_owned()))
}

/// `text` as a JSON string.
fn quoted(text: &str) -> Wiped<String> {
    Wiped::new(serde_json::Value::from(text).to_string())
}

/// `text` as it stands within a JSON string.
pub(crate) fn escaped(text: &str) -> Wiped<String> {
    let quoted = quoted(text);
    let inner = quoted.get(1..quoted.len().saturating_sub(1));
    Wiped::new(inner.unwrap_or_default().to_owned())
}
