//! Values of a request replaced by placeholders, and put back in its answer: whole documents and
//! streams, plain texts and tool arguments, which are JSON in pieces of a string.

mod restore;
mod stream;

use std::ops::Range;

use proofroom_canonical::{Sensitive, Wiped};

pub use restore::Restorer;

use crate::strings::{NotJson, change_strings, escaped};

/// A value and what stands for it. The name is plain ASCII letters, digits and `_`, and nobody who does
/// not know it can guess it; both are the caller's to choose.
#[derive(Debug)]
pub struct Placeholder {
    /// What stands in the request that is sent.
    pub name: String,
    /// What stood there.
    pub value: Sensitive<String>,
}

/// `body` with every occurrence of the values in its strings replaced, those in tool arguments also
/// where JSON spells them with escapes. Names of members stay, and the model, which lies at `model`; every other byte is as it
/// was. That nothing is left is for the caller to find out, by reading the result again.
///
/// # Errors
/// [`NotJson`] where the body's strings cannot be found.
pub fn replace_values(
    body: &str,
    model: &Range<usize>,
    placeholders: &[Placeholder],
) -> Result<Wiped<String>, NotJson> {
    let mut longest_first: Vec<&Placeholder> = placeholders.iter().collect();
    longest_first.sort_by_key(|placeholder| std::cmp::Reverse(placeholder.value.expose().len()));
    let spelled: Vec<(Wiped<String>, &Placeholder)> = longest_first
        .into_iter()
        .map(|placeholder| (escaped(placeholder.value.expose()), placeholder))
        .collect();
    change_strings(body, |found| {
        (found.at != model.start)
            .then(|| replaced(found.text, &spelled))
            .flatten()
    })
}

fn replaced(text: &str, spelled: &[(Wiped<String>, &Placeholder)]) -> Option<String> {
    let mut changed: Option<String> = None;
    for (escaped, placeholder) in spelled {
        for value in [placeholder.value.expose().as_str(), escaped.as_str()] {
            let now = changed.as_deref().unwrap_or(text);
            if now.contains(value) {
                changed = Some(now.replace(value, &placeholder.name));
            }
        }
    }
    changed
}

#[cfg(test)]
mod tests;
