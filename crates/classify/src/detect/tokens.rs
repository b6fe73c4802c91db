//! Long generated values near a word that says credential, whatever stands between: calls, JSON
//! arrays, prose, tables. Found from the value's side: long unbroken runs are rare, words are not.

use std::{iter, ops::Range, sync::LazyLock};

use aho_corasick::AhoCorasick;

use super::{
    Broken, Detector, Hit, Severity, Verdict, Window, always, bytes_of,
    line::before_on_line,
    next_run,
    value::{Look, NameKind, entropy, look},
};
use crate::Confidence;

pub(super) const DETECTORS: &[Detector] = &[Detector {
    id: NEARBY,
    reason: "a generated value near a word that says credential",
    severity: Severity::SecondHighest,
    literals: &[],
    window: Window::At { reach: 0 },
    pattern: "",
    check: never,
    broken: Broken::Leave,
    needs: always,
}];

fn never(_: &Hit<'_>) -> Verdict {
    Verdict::Reject
}

/// The long unbroken runs of `text`, in which generated values and encoded texts stand.
pub(crate) fn long_runs(text: &str) -> Vec<Range<usize>> {
    let mut at = 0;
    let next = || {
        let run = next_run::<MIN_RUN>(text.as_bytes(), at, &TOKEN)?;
        at = run.end;
        Some(run)
    };
    iter::from_fn(next).collect()
}

/// Reports every such value among the [`long_runs`] of `text`.
pub(crate) fn scan_tokens(
    text: &str,
    runs: &[Range<usize>],
    report: &mut dyn FnMut(&'static str, Range<usize>, Confidence),
) {
    for run in runs.iter().filter(|run| run.len() <= MAX_RUN) {
        if is_credential(text, run) {
            report(NEARBY, run.clone(), Confidence::Low);
        }
    }
}

const TOKEN: [bool; 256] =
    bytes_of(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_.~");

fn is_credential(text: &str, run: &Range<usize>) -> bool {
    let Some(value) = text.get(run.clone()) else {
        return false;
    };
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    if digits < 2 {
        return false;
    }
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    if letters < 4 || value.bytes().filter(|b| matches!(b, b'.' | b'/')).count() > 2 {
        return false;
    }
    // a call, a member of something, a constant of a program
    let member = value
        .split('.')
        .skip(1)
        .any(|part| part.starts_with(|c: char| c.is_ascii_alphabetic()));
    let called = text
        .get(run.end..)
        .is_some_and(|after| after.starts_with(['(', ':']));
    if called || (member && digits < 5) || value.starts_with("0x") {
        return false;
    }
    let (Some(cues), Some(excuses)) = (CUES.as_ref(), EXCUSES.as_ref()) else {
        return true;
    };
    let before = before_on_line(text.get(..run.start).unwrap_or_default(), REACH);
    // no placeholder looks generated
    cues.is_match(before)
        && !excuses.is_match(before)
        && entropy(value) >= 3.4
        && look(value, NameKind::Token) == Look::Generated
}

static CUES: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    automaton(&[
        "key",
        "token",
        "secret",
        "passw",
        "pwd",
        "credential",
        "crumb",
        "auth",
        "bearer",
        "cookie",
        "apikey",
        "x-api",
        "api_",
        "seed",
        "passphrase",
    ])
});

/// What makes a long value public: digests, ids, certificates, addresses.
static EXCUSES: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    automaton(&[
        "sha1",
        "sha2",
        "sha3",
        "sha5",
        "md5",
        "hash",
        "checksum",
        "digest",
        "integrity",
        "commit",
        "fingerprint",
        "etag",
        "signature",
        "public",
        "pubkey",
        "author",
        "keyword",
        "monkey",
        "keyboard",
        "uuid",
        "http://",
        "https://",
        "test vector",
        "import",
        "include",
        "assert",
        "expected",
        "cert",
        "nonce",
        "hmac",
        "sign",
        "keyid",
        "key_id",
        "key id",
        "key-id",
        "kid",
        "base64,",
        "crypto",
        "cipher",
        "curve",
        "path",
        "hex",
    ])
});

fn automaton(words: &[&str]) -> Option<AhoCorasick> {
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .build(words)
        .ok()
}

pub(crate) const NEARBY: &str = "credential-nearby";
/// The shortest value.
const MIN_RUN: usize = 20;
/// Longer ones are files.
const MAX_RUN: usize = 200;
const REACH: usize = 72;
