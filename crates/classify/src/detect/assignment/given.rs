//! Passwords that a quoted literal is given to without an operator, in SQL and in configuration that is code.

use std::ops::Range;

use super::{blanks, named, run};
use crate::{
    Confidence,
    detect::{
        Detector, Hit, Severity, Verdict, Window, floor_boundary,
        value::{Look, NameKind, look},
    },
};

/// Of what stands before a literal without an operator between, in SQL and in configuration that is
/// code (Gradle, Ruby).
pub(super) const fn given_to_password(
    id: &'static str,
    reason: &'static str,
    severity: Severity,
    check: fn(&Hit<'_>) -> Verdict,
) -> Detector {
    Detector {
        literals: &["password", "passwd", "passphrase", "identified by"],
        window: Window::At { reach: 160 },
        pattern: GIVEN,
        needs: given,
        ..named(id, reason, severity, check)
    }
}

const GIVEN: &str = r#"(?i:password|passwd|passphrase|identified by)[ \t]{1,4}(?:"([^"\s]{4,120})"|'([^'\s]{4,120})')"#;

/// Whether a quoted literal may stand behind the name at `at`, with blanks alone between.
fn given(text: &[u8], window: Range<usize>, at: usize) -> bool {
    let letters = run(text, at..window.end, u8::is_ascii_alphabetic);
    let first = blanks(text, at + letters..window.end);
    let named = text.get(at..at + letters).unwrap_or_default();
    let literal = |at: usize| text.get(at).is_some_and(|b| matches!(b, b'"' | b'\''));
    named.eq_ignore_ascii_case(b"identified") || (first > at + letters && literal(first))
}

pub(super) fn given_looks(hit: &Hit<'_>, wanted: Look, confidence: Confidence) -> Verdict {
    let judge = || match look(hit.value(), NameKind::Password) {
        Look::Not if WEAK.contains(&hit.value()) && follows_user(hit) => Look::Possible,
        other => other,
    };
    if *hit.look.get_or_init(judge) == wanted {
        Verdict::Accept(confidence)
    } else {
        Verdict::Reject
    }
}

/// Whether it is the second entry of a block of credentials, after a user's name that is a literal: there even a
/// word is a password. `credentials { username 'deploy' password`, as Gradle has it.
fn follows_user(hit: &Hit<'_>) -> bool {
    let from = floor_boundary(hit.text, hit.span.start.saturating_sub(BEFORE_PASSWORD));
    let before = hit.text.get(from..hit.span.start).unwrap_or_default();
    let block = || {
        let before = before.trim_end();
        let mark = before
            .chars()
            .next_back()
            .filter(|mark| matches!(mark, '\'' | '"'))?;
        let (rest, name) = before.strip_suffix(mark)?.rsplit_once(mark)?;
        let rest = rest.trim_end().strip_suffix("username")?;
        let block = rest.trim_end().strip_suffix('{')?.trim_end();
        let literal = !name.is_empty() && !name.contains(['$', '\n']);
        literal.then(|| block.strip_suffix("(PasswordCredentials)").unwrap_or(block))
    };
    block().is_some_and(|block| block.ends_with("credentials"))
}

/// How far before a password its block may begin.
const BEFORE_PASSWORD: usize = 200;

/// Words that are in use as passwords, and elsewhere stand for one.
const WEAK: &[&str] = &[
    "password",
    "passwd",
    "secret",
    "admin",
    "root",
    "guest",
    "test",
    "testing",
    "default",
    "123456",
    "12345678",
    "123456789",
    "1234567890",
    "abc123",
    "postgres",
    "mysql",
    "mongo",
    "redis",
    "rabbitmq",
    "minio",
    "vault",
];
