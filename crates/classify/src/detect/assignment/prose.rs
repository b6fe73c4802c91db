//! Passwords that a sentence tells: `the password for it is now …`.

use std::ops::Range;

use super::{named, run};
use crate::{
    Confidence,
    detect::{
        Detector, Hit, Severity, Verdict, Window,
        value::{Look, NameKind, look},
    },
};

pub(super) const fn password_in_prose() -> Detector {
    Detector {
        literals: &["password", "passphrase", "passcode"],
        window: Window::At { reach: 200 },
        needs: tells,
        pattern: r#"(?i:password|passphrase|passcode)(?: [A-Za-z0-9'`._@-]{1,40}){0,4}? (?i:is|was|to)(?: now|:)? ["'`]?([^\s"'`,;]{4,80})"#,
        ..named(
            "password-in-prose",
            "a sentence that tells a password",
            Severity::SecondHighest,
            told,
        )
    }
}

/// Whether a verb follows the word for a password at `at`, after at most four others.
fn tells(text: &[u8], window: Range<usize>, at: usize) -> bool {
    let mut rest = text.get(at..window.end).unwrap_or_default();
    let names: [&[u8]; 3] = [b"password", b"passphrase", b"passcode"];
    let name = names.iter().find(|name| {
        let begins = rest.get(..name.len());
        begins.is_some_and(|begins| begins.eq_ignore_ascii_case(name))
    });
    rest = rest
        .get(name.map_or(0, |name| name.len())..)
        .unwrap_or_default();
    for _ in 0..=WORDS_BEFORE_VERB {
        let Some(words) = rest.strip_prefix(b" ") else {
            return false;
        };
        let part = |b: &u8| b.is_ascii_alphanumeric() || b"'`._@-".contains(b);
        let (word, after) = words.split_at(run(words, 0..words.len(), part));
        let verbs: [&[u8]; 3] = [b"is", b"was", b"to"];
        if verbs.iter().any(|verb| word.eq_ignore_ascii_case(verb)) && !after.is_empty() {
            return true;
        }
        rest = after;
    }
    false
}

/// Most words between the word for a password and the verb.
const WORDS_BEFORE_VERB: usize = 4;

/// Prose names many things after "password is": only what has a digit counts.
fn told(hit: &Hit<'_>) -> Verdict {
    let value = hit.value().trim_end_matches(['.', '!', '?', ')']);
    let before = hit.text.get(..hit.value.start).unwrap_or_default();
    let quoted = before.ends_with(['"', '\'', '`'])
        && hit
            .text
            .get(hit.value.end..)
            .is_some_and(|after| after.starts_with(['"', '\'', '`']));
    if quoted
        && value.len() >= 4
        && !NOT_TOLD.contains(&value)
        && !value.contains(['{', '$', '%', '<'])
    {
        return Verdict::Accept(Confidence::Low);
    }
    if value.bytes().any(|b| b.is_ascii_digit()) && look(value, NameKind::Password) != Look::Not {
        Verdict::Accept(Confidence::Low)
    } else {
        Verdict::Reject
    }
}

/// What sentences say of a password that is not one.
const NOT_TOLD: &[&str] = &[
    "string",
    "password",
    "required",
    "invalid",
    "valid",
    "empty",
    "null",
    "none",
    "None",
    "true",
    "false",
    "text",
    "missing",
    "incorrect",
    "correct",
    "hidden",
    "optional",
    "undefined",
    "expired",
];
