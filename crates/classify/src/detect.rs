//! The built-in detectors: a literal that must occur, a pattern around it, and a check of the
//! value. Precise before complete: a rule that cries wolf is switched off by its users.

mod assignment;
mod checksums;
mod code;
mod digits;
mod health;
mod line;
mod mail;
mod markings;
mod name;
mod numbers;
mod operators;
mod personal;
mod runs;
mod scorer;
mod search;
mod secrets;
mod shape;
mod terms;
mod tokens;
mod value;
mod vendor;

use std::{cell::OnceCell, ops::Range, sync::LazyLock};

pub(crate) use assignment::{SCORED, candidates, scored};
pub(crate) use code::SENSITIVE_CODE;
pub(crate) use digits::scan_digits;
pub(crate) use numbers::{NumberSearch, number_search};
pub(crate) use scorer::{FEATURES, Feature, Least};
pub(crate) use search::{ByHand, Lent, Marks, Match, Pattern, Search, compile, compile_whole};
pub(crate) use secrets::{JSON_WEB_TOKEN, crowded_tokens};
pub(crate) use shape::Shape;
pub(crate) use tokens::{long_runs, scan_tokens};

use crate::{Confidence, Label, Levels};

/// One built-in rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Detector {
    /// The id that policies and findings use.
    pub(crate) id: &'static str,
    /// Why it fires, for a person.
    pub(crate) reason: &'static str,
    /// Its label where the policy says nothing.
    pub(crate) severity: Severity,
    /// Lower case; one must occur, in any letter case, before the pattern is tried. Empty for the
    /// digit rules, which have a scanner of their own.
    pub(crate) literals: &'static [&'static str],
    /// Where the pattern is tried.
    pub(crate) window: Window,
    /// Bytes syntax, no Unicode classes. Group 1, where there is one, is the value.
    pub(crate) pattern: &'static str,
    /// The last word on a hit.
    pub(crate) check: fn(&Hit<'_>) -> Verdict,
    /// Whether a value broken over lines is put together and tried again.
    pub(crate) broken: Broken,
    /// Looked at before the pattern, which costs more.
    pub(crate) needs: QuickLook,
}

/// A look at a text, the window of a pattern in it and the place of its literal: false only where
/// nothing in the window is accepted, or only what another literal announces too.
pub(crate) type QuickLook = fn(&[u8], Range<usize>, usize) -> bool;

/// The label a detector has unless the policy says otherwise, counted from the highest level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    Highest,
    SecondHighest,
    ThirdHighest,
}

/// Where a pattern is tried, relative to its literal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Window {
    /// It must start where the literal starts, and ends at most this many bytes on.
    At { reach: usize },
    /// It may start up to `before` bytes earlier.
    Around { before: usize, reach: usize },
    /// It must start where the literal's line does, at most `before` bytes earlier.
    Line { before: usize, reach: usize },
}

/// A window that starts where the literal starts.
const fn at(reach: usize) -> Window {
    Window::At { reach }
}

/// What to do with a value that a line break or a string concatenation cuts in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    Rejoin,
    Leave,
}

/// A pattern's match, for the check.
#[derive(Debug)]
pub(crate) struct Hit<'a> {
    pub(crate) text: &'a str,
    /// The whole match.
    pub(crate) span: Range<usize>,
    /// The value in it.
    pub(crate) value: Range<usize>,
    /// Number of the group the value is from; 0 for the whole match.
    pub(crate) group: usize,
    /// What the value looks like, for the next check of the same match.
    look: OnceCell<value::Look>,
}

/// What a check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Reject,
    Accept(Confidence),
    /// Accept, and the value goes on to this byte.
    AcceptTo(Confidence, usize),
    /// Accept, for this reason in the place of the detector's.
    Because(Confidence, &'static str),
}

/// How sure a check is, and why, where that is not the detector's reason.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sure {
    pub(crate) confidence: Confidence,
    pub(crate) because: Option<&'static str>,
}

impl From<Confidence> for Sure {
    fn from(confidence: Confidence) -> Self {
        Self {
            confidence,
            because: None,
        }
    }
}

/// A detector with its pattern compiled.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) detector: &'static Detector,
    pub(crate) pattern: Pattern,
    /// Per literal what may follow it, where the pattern begins with it.
    pub(crate) shapes: Vec<Option<Shape>>,
}

impl Verdict {
    /// How sure, and where a value ends that ends at `end` as far as the pattern tells.
    pub(crate) fn accepted(self, end: usize) -> Option<(Sure, usize)> {
        match self {
            Self::Reject => None,
            Self::Accept(confidence) => Some((confidence.into(), end)),
            Self::AcceptTo(confidence, end) => Some((confidence.into(), end)),
            Self::Because(confidence, because) => {
                let because = Some(because);
                Some((
                    Sure {
                        confidence,
                        because,
                    },
                    end,
                ))
            }
        }
    }
}

impl Severity {
    pub(crate) fn label(self, levels: &Levels) -> Label {
        levels.below_highest(match self {
            Self::Highest => 0,
            Self::SecondHighest => 1,
            Self::ThirdHighest => 2,
        })
    }
}

impl Window {
    /// The bytes of a text of `length` bytes that a pattern sees, for a literal at `literal`.
    pub(crate) fn range(self, literal: usize, length: usize) -> Range<usize> {
        let (before, reach) = match self {
            Self::At { reach } => (0, reach),
            Self::Around { before, reach } | Self::Line { before, reach } => (before, reach),
        };
        literal.saturating_sub(before)..literal.saturating_add(reach).min(length)
    }
}

impl<'a> Hit<'a> {
    pub(crate) const fn new(
        text: &'a str,
        span: Range<usize>,
        value: Range<usize>,
        group: usize,
    ) -> Self {
        let look = OnceCell::new();
        Self {
            text,
            span,
            value,
            group,
            look,
        }
    }

    pub(crate) fn value(&self) -> &str {
        self.text.get(self.value.clone()).unwrap_or_default()
    }

    pub(crate) fn whole(&self) -> &str {
        self.text.get(self.span.clone()).unwrap_or_default()
    }

    /// Up to `limit` bytes after the match.
    pub(crate) fn after(&self, limit: usize) -> &str {
        let end = floor_boundary(self.text, self.span.end.saturating_add(limit));
        self.text.get(self.span.end..end).unwrap_or_default()
    }
}

/// All detectors, compiled once.
///
/// # Errors
/// The id of a detector whose pattern does not compile; nothing may be classified then.
pub(crate) fn catalogue() -> Result<&'static [Compiled], &'static str> {
    CATALOGUE.as_deref().map_err(|id| *id)
}

/// Whether `rule` is a built-in detector of credentials that is sure of what it finds: a private key,
/// a token, a password. Cards, personal data, markings and mere suspicions are none.
#[must_use]
pub fn is_credential(rule: &str) -> bool {
    let tables = [
        secrets::DETECTORS,
        vendor::DETECTORS,
        operators::DETECTORS,
        assignment::DETECTORS,
        tokens::DETECTORS,
    ];
    let mut detectors = tables.into_iter().flatten();
    detectors.any(|known| known.id == rule && known.severity == Severity::Highest)
}

/// Whether `rule` is a built-in detector of credentials, sure or not.
#[must_use]
pub(crate) fn is_secret(rule: &str) -> bool {
    let tables = [
        secrets::DETECTORS,
        vendor::DETECTORS,
        operators::DETECTORS,
        assignment::DETECTORS,
        tokens::DETECTORS,
    ];
    let mut detectors = tables.into_iter().flatten();
    detectors.any(|known| known.id == rule)
}

/// Whether what the built-in detector `rule` finds is a value, and not what a text is about or marked as.
#[must_use]
pub fn finds_values(rule: &str) -> bool {
    let known = |compiled: &Compiled| compiled.detector.id == rule;
    let about = rule == SENSITIVE_CODE || rule.starts_with("marking-");
    !about && catalogue().is_ok_and(|all| all.iter().any(known))
}

/// For patterns that announce themselves well enough.
pub(crate) const fn always(_: &[u8], _: Range<usize>, _: usize) -> bool {
    true
}

/// For patterns whose value has at least this many digits.
pub(crate) fn digits<const LEAST: usize>(text: &[u8], window: Range<usize>, _: usize) -> bool {
    let window = text.get(window).unwrap_or_default();
    window.iter().filter(|b| b.is_ascii_digit()).count() >= LEAST
}

/// A table that says of each byte whether it is in `alphabet`; one load instead of comparisons.
pub(crate) const fn bytes_of(alphabet: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut at = 0;
    while at < alphabet.len() {
        #[expect(clippy::indexing_slicing, reason = "evaluated when compiled")]
        let byte = alphabet[at];
        assert!(outside_all([byte; 8]) == 0);
        #[expect(
            clippy::indexing_slicing,
            reason = "evaluated when compiled; a byte is below 256"
        )]
        {
            table[byte as usize] = true;
        }
        at += 1;
    }
    table
}

/// The next run of at least `LEAST` bytes of `alphabet` from `from` on. Such a run holds a whole block
/// of eight among those that begin `LEAST - 7` bytes apart, so no other block is looked at.
pub(crate) fn next_run<const LEAST: usize>(
    bytes: &[u8],
    from: usize,
    alphabet: &[bool; 256],
) -> Option<Range<usize>> {
    let mut at = from;
    loop {
        let block = bytes.get(at..)?.first_chunk::<BLOCK>()?;
        if outside_all(*block) != 0 || !has_room::<LEAST>(bytes, at) {
            at += LEAST + 1 - BLOCK;
            continue;
        }
        let run = run_around(bytes, from, at, alphabet);
        if run.len() >= LEAST {
            return Some(run);
        }
        at = run.end + 1;
    }
}

/// Whether a run around the block at `at` may be long enough, as far as the blocks before and after
/// it tell: a look at whole blocks costs less than one at every byte.
fn has_room<const LEAST: usize>(bytes: &[u8], at: usize) -> bool {
    let before = at.checked_sub(BLOCK).and_then(|from| bytes.get(from..at));
    let Some(before) = before.and_then(<[u8]>::first_chunk) else {
        return true;
    };
    let after = bytes.get(at + BLOCK..).and_then(<[u8]>::first_chunk);
    let Some(after) = after else { return true };
    let before = outside_all(*before).leading_zeros() as usize / 8;
    let after = outside_all(*after).trailing_zeros() as usize / 8;
    before == BLOCK || after == BLOCK || before + BLOCK + after >= LEAST
}

/// The run that holds the block at `at`, or the last part of it that is one; nothing before `from`.
fn run_around(bytes: &[u8], from: usize, at: usize, alphabet: &[bool; 256]) -> Range<usize> {
    let is_in = |byte: &&u8| alphabet.get(usize::from(**byte)).copied().unwrap_or(false);
    let end = at + BLOCK;
    let before = bytes.get(from..end).unwrap_or_default();
    let begin = end - before.iter().rev().take_while(is_in).count();
    let after = bytes.get(end..).unwrap_or_default();
    // what does not reach the block's end is shorter than any that is wanted and holds the block
    if begin == end {
        return end - 1..end - 1;
    }
    begin..end + after.iter().take_while(is_in).count()
}

const BLOCK: usize = 8;

/// A bit for each byte that is in no alphabet of runs: below `+`, as blanks, quotes and brackets are,
/// from `:` to `@`, or outside ASCII. Most blocks of text have one.
const fn outside_all(block: [u8; 8]) -> u64 {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    const fn below(bytes: u64, bound: u8) -> u64 {
        // no byte borrows from its neighbour, as its high bit is set before
        !((bytes | HIGH) - u64::from_le_bytes([bound; 8]))
    }
    let bytes = u64::from_le_bytes(block);
    let operator = below(bytes, b'@' + 1) & !below(bytes, b':');
    (below(bytes, b'+') | operator | bytes) & HIGH
}

/// The greatest character boundary that is not after `at`.
pub(crate) fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at = at.saturating_sub(1);
    }
    at
}

/// The least character boundary that is not before `at`.
pub(crate) fn ceil_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at = at.saturating_add(1);
    }
    at
}

fn shapes(detector: &Detector) -> Vec<Option<Shape>> {
    let begins = matches!(detector.window, Window::At { .. });
    let automaton = Some(detector.pattern)
        .filter(|_| begins)
        .and_then(shape::automaton);
    let literals = detector.literals.iter();
    literals
        .map(|literal| Shape::of(automaton.as_ref()?, literal))
        .collect()
}

/// Patterns that are matched by hand, and by what.
const BY_HAND: &[(&str, ByHand)] = &[
    (assignment::PATTERN, assignment::assignment),
    (mail::PATTERN, mail::mail_address),
];

static CATALOGUE: LazyLock<Result<Vec<Compiled>, &'static str>> = LazyLock::new(|| {
    let tables = [
        secrets::DETECTORS,
        vendor::DETECTORS,
        operators::DETECTORS,
        assignment::DETECTORS,
        digits::DETECTORS,
        markings::DETECTORS,
        numbers::DETECTORS,
        tokens::DETECTORS,
        personal::DETECTORS,
        health::DETECTORS,
        code::DETECTORS,
    ];
    let compile_one = |detector: &'static Detector| {
        let mut by_hand = BY_HAND.iter();
        let by_hand = by_hand.find(|(pattern, _)| *pattern == detector.pattern);
        let by_hand = by_hand.map(|(_, by_hand)| Pattern::by_hand(*by_hand));
        let begins = matches!(detector.window, Window::At { .. });
        let runs = || Pattern::of_runs(detector.pattern).filter(|_| begins);
        let pattern = by_hand.or_else(runs);
        let pattern = pattern.or_else(|| Pattern::new(detector.pattern));
        let pattern = pattern.ok_or(detector.id)?;
        let shapes = shapes(detector);
        Ok(Compiled {
            detector,
            pattern,
            shapes,
        })
    };
    tables.into_iter().flatten().map(compile_one).collect()
});

#[cfg(test)]
mod tests {
    use memchr::memrchr;
    use proptest::prelude::*;
    use regex_automata::{Anchored, Input};

    use super::{Compiled, Marks, Search, Window, bytes_of, catalogue, next_run};

    const ALPHABET: [bool; 256] = bytes_of(b"abc");

    /// All runs, by looking at every byte.
    fn runs_of(text: &[u8], least: usize) -> Vec<std::ops::Range<usize>> {
        let mut end = 0;
        let parts = text.chunk_by(|a, b| ALPHABET[usize::from(*a)] == ALPHABET[usize::from(*b)]);
        parts
            .map(|part| {
                end += part.len();
                end - part.len()..end
            })
            .filter(|run| ALPHABET[usize::from(text[run.start])] && run.len() >= least)
            .collect()
    }

    proptest! {
        #[test]
        fn every_long_run_is_found_and_no_short_one(text in "([abc]{0,25}[ .:]{0,2}){0,8}") {
            let text = text.as_bytes();
            let mut found = Vec::new();
            let mut at = 0;
            while let Some(run) = next_run::<10>(text, at, &ALPHABET) {
                at = run.end;
                found.push(run);
            }
            prop_assert_eq!(found, runs_of(text, 10));
        }
    }

    /// Whether the pattern matches around some literal, where the quick look `asked` lets it be tried.
    fn matches(compiled: &Compiled, text: &str, asked: bool) -> bool {
        let detector = compiled.detector;
        let lower = text.to_ascii_lowercase();
        let mut places = detector
            .literals
            .iter()
            .flat_map(|literal| lower.match_indices(literal));
        places.any(|(at, _)| {
            let mut window = detector.window.range(at, text.len());
            let looked = !asked || (detector.needs)(text.as_bytes(), window.clone(), at);
            let input = Input::new(text);
            let input = match detector.window {
                Window::Line { .. } => {
                    let line = memrchr(b'\n', &text.as_bytes()[..at]).map_or(0, |end| end + 1);
                    window.start = window.start.max(line);
                    input.range(window).anchored(Anchored::Yes)
                }
                _ => input.range(window),
            };
            looked
                && Search::of(&compiled.pattern)
                    .first(&compiled.pattern, &input, &mut Marks::default())
                    .is_some()
        })
    }

    const PARTS: &[&str] = &[
        "use ",
        "pub ",
        "pub(crate) fn ",
        "pub(crate) use ",
        "::",
        "ring::",
        "x509_parser::",
        "crate::",
        "import ",
        "from ",
        "fn ",
        "async fn ",
        "struct ",
        "func (a *B) ",
        "encrypt",
        "Decrypted",
        "_",
        "do_",
        "patient",
        "verify_token",
        "hash_password",
        "ssl",
        "jwt",
        "{ a } ",
        "'jsonwebtoken'",
        "= require(",
        ";",
        "12 ",
        "Main Street ",
        " suite ",
        "4",
        "123",
        "APO A",
        "E 12345",
        " flat ",
        "apt. ",
        " ",
        ", ",
        "diabetes",
        "Patient",
        "mrn",
        "MRN: ",
        "dob",
        "birth",
        " date",
        "Birth Date: ",
        "subscriber",
        " id ",
        "John Smith",
        " was seen",
        ": ",
        "= ",
        "12345",
        "password",
        "passphrase",
        " is",
        " WAS ",
        " to:",
        " now",
        " a.b@c",
        " 'hunter22'",
        "machine a ",
        "login b ",
        "password c123",
        "\t",
        "\n",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6_000))]
        /// A quick look keeps no pattern from a match that another literal does not announce.
        #[test]
        fn quick_looks_lose_no_match(parts in proptest::collection::vec(proptest::sample::select(PARTS), 1..9)) {
            // a clinical term is near, which `health-note` wants to see
            let text = parts.concat() + " diabetes";
            let looked_at = [
                "crypto-or-auth-code",
                "contact-address-block",
                "health-note",
                "password-in-prose",
                "netrc-password",
            ];
            for compiled in catalogue().unwrap() {
                if looked_at.contains(&compiled.detector.id) {
                    let (all, looked) = (matches(compiled, &text, false), matches(compiled, &text, true));
                    prop_assert_eq!(all, looked, "{}: {:?}", compiled.detector.id, text);
                }
            }
        }
    }
}
