//! Long generated values near a word that says credential, whatever stands between: calls, JSON
//! arrays, prose, tables. Found from the value's side: long unbroken runs are rare, words are not.

use std::{ops::Range, sync::LazyLock};

use aho_corasick::AhoCorasick;

use super::{
    Broken, Detector, Hit, Severity, Verdict, Window, always,
    line::before_on_line,
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
    let bytes = text.as_bytes();
    let mut runs = Vec::new();
    let mut keep = |run: Range<usize>| {
        if run.len() >= MIN_RUN {
            runs.push(run);
        }
    };
    // where the run begins that reaches what comes next
    let mut begun = 0;
    for (part, at) in bytes.chunks(BLOCK).zip((0..).step_by(BLOCK)) {
        let inside = match part.first_chunk() {
            Some(block) => inside(block),
            None => {
                let mut block = [0; BLOCK];
                block
                    .iter_mut()
                    .zip(part)
                    .for_each(|(to, from)| *to = *from);
                inside(&block)
            }
        };
        let first = inside.trailing_ones() as usize;
        if at - begun + first >= MIN_RUN || holds_long_run(inside) {
            if first < BLOCK {
                keep(begun..at + first);
            }
            // without its lowest ones each
            let mut left = inside & inside.wrapping_add(1);
            while left != 0 {
                let from = left.trailing_zeros() as usize;
                let length = (left >> from).trailing_ones() as usize;
                if from + length < BLOCK {
                    keep(at + from..at + from + length);
                }
                left &= left.wrapping_add(1 << from);
            }
        }
        if first < BLOCK {
            begun = at + BLOCK - inside.leading_ones() as usize;
        }
    }
    keep(begun.min(bytes.len())..bytes.len());
    runs
}

/// A bit for each byte that a long run may have, the first byte's the lowest. By comparisons, of which the
/// compiler makes sixteen at once.
fn inside(block: &[u8; BLOCK]) -> u64 {
    let mut is = [0; BLOCK];
    for (is, b) in is.iter_mut().zip(block) {
        let letter = (b | 0x20).wrapping_sub(b'a') < 26;
        // `-`, `.`, `/` and digits
        let number = b.wrapping_sub(b'-') < 13;
        *is = u8::from(letter | number | (*b == b'+') | (*b == b'_') | (*b == b'~'));
    }
    let (eights, _) = is.as_chunks();
    let eights = eights.iter().zip((0_u32..).step_by(8));
    eights.fold(0, |bits, (eight, at)| bits | (gathered(*eight) << at))
}

/// The lowest bits of eight bytes, side by side: the products of no two bits of either factor meet.
fn gathered(eight: [u8; 8]) -> u64 {
    u64::from_le_bytes(eight).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// Whether so many ones as a run has stand side by side.
const fn holds_long_run(bits: u64) -> bool {
    const { assert!(MIN_RUN == 20) };
    let two = bits & (bits >> 1);
    let four = two & (two >> 2);
    let eight = four & (four >> 4);
    let sixteen = eight & (eight >> 8);
    sixteen & (four >> 16) != 0
}

/// So many bytes are looked at at once.
const BLOCK: usize = 64;

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

fn is_credential(text: &str, run: &Range<usize>) -> bool {
    let Some(value) = text.get(run.clone()) else {
        return false;
    };
    let digits = count(value, |b| b.is_ascii_digit());
    if digits < 2 {
        return false;
    }
    if count(value, |b| b.is_ascii_alphabetic()) < 4 || count(value, |b| b == b'.' || b == b'/') > 2
    {
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

/// How many bytes of a run are so. It has less than 256, and in small numbers the compiler adds sixteen at once.
fn count(run: &str, is: impl Fn(u8) -> bool) -> u8 {
    const { assert!(MAX_RUN < 256) };
    run.bytes()
        .fold(0, |count: u8, b| count.wrapping_add(u8::from(is(b))))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{MIN_RUN, long_runs};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        /// A look at every byte is the oracle.
        #[test]
        fn every_long_run_is_found_and_no_short_one(
            text in "([A-Za-z0-9+/_.~-]{0,70}|[+-/_.~]{17,22}|[ ,:@\\[\\]`{}*\u{7f}é]{0,2}|[!-~]{0,30}){0,9}",
        ) {
            let of_run = |b: &u8| b.is_ascii_alphanumeric() || b"+/-_.~".contains(b);
            let mut end = 0;
            let parts = text.as_bytes().chunk_by(|a, b| of_run(a) == of_run(b));
            let parts = parts.map(|part| {
                end += part.len();
                end - part.len()..end
            });
            let long = parts.filter(|part| part.len() >= MIN_RUN && of_run(&text.as_bytes()[part.start]));
            prop_assert_eq!(long_runs(&text), long.collect::<Vec<_>>());
        }
    }
}
