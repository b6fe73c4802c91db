//! Telephone numbers, bank accounts and national numbers that no literal announces: tried where a
//! digit begins. A phone counts with a country code, the North American form or a word that says so.

use std::{ops::Range, sync::LazyLock};

use regex_automata::{Anchored, Input};

use super::{
    Broken, Detector, Hit, Marks, Pattern, Search, Severity, Verdict, Window, always,
    checksums::{
        finnish, iban, korean, kvnr, luhn, singapore, spanish_letter, swedish, thai, verhoeff,
    },
    digits::FEWEST_DIGITS,
    floor_boundary,
    line::{around, before_on_line},
};
use crate::Confidence;

const fn number(id: &'static str, reason: &'static str) -> Detector {
    Detector {
        id,
        reason,
        severity: Severity::SecondHighest,
        literals: &[],
        window: Window::At { reach: 0 },
        pattern: "",
        check: never,
        broken: Broken::Leave,
        needs: always,
    }
}

pub(super) const DETECTORS: &[Detector] = &[
    number(PHONE, "a telephone number"),
    number(ACCOUNT, "an IBAN whose check digits are right"),
    number(
        NATIONAL,
        "a national identity number in its form, the check character right",
    ),
    Detector {
        severity: Severity::SecondHighest,
        ..number(INSURED, "the number of a person's health insurance")
    },
];

fn never(_: &Hit<'_>) -> Verdict {
    Verdict::Reject
}

/// Tries the number that has its first digit at `start`, which follows no letter or digit but the
/// one or two letters that some numbers begin with. Returns where it ends.
pub(super) fn number_at(
    text: &str,
    start: usize,
    search: &mut NumberSearch,
    report: &mut dyn FnMut(&'static str, Range<usize>, Confidence),
) -> Option<usize> {
    let bytes = text.as_bytes();
    let from = with_letters(bytes, start)?;
    if let Some((rule, span)) = formed(text, from, start, search) {
        let end = span.end;
        report(rule, span, Confidence::High);
        return Some(end);
    }
    if from < start {
        return None;
    }
    let span = phone(text, start)?;
    let end = span.end;
    report(PHONE, span, Confidence::Low);
    Some(end)
}

/// Where a number begins whose first digit is at `start`; nothing inside a longer word.
fn with_letters(bytes: &[u8], start: usize) -> Option<usize> {
    let before = bytes
        .get(start.saturating_sub(7)..start)
        .unwrap_or_default();
    let spaced = before.ends_with(b" ");
    let letters = |part: &[u8]| {
        part.iter()
            .rev()
            .take_while(|b| b.is_ascii_alphabetic())
            .count()
    };
    let count = letters(before);
    let before_letters = before
        .len()
        .checked_sub(count + 1)
        .and_then(|at| before.get(at));
    if before_letters.is_some_and(|b| b.is_ascii_digit() || *b == b'_')
        || !matches!(count, 0..=2 | 5 | 6)
    {
        return None;
    }
    if count > 0 {
        return Some(start - count);
    }
    // `AB 12 34 56 C`
    let end = before.len().saturating_sub(1);
    let pair = before.get(end.saturating_sub(3)..end).unwrap_or_default();
    if spaced
        && letters(pair) == 2
        && pair.iter().all(u8::is_ascii_uppercase)
            | (pair.len() == 3 && !pair.first().is_some_and(u8::is_ascii_alphanumeric))
    {
        let upper = pair.iter().rev().take(2).all(u8::is_ascii_uppercase);
        let pattern = upper && bytes.get(start + 2) == Some(&b' ');
        if pattern && bytes.get(start + 5) == Some(&b' ') {
            return Some(start - 3);
        }
    }
    Some(start)
}

/// What searches for the forms of numbers change.
#[derive(Debug)]
pub(crate) struct NumberSearch {
    search: Option<Search>,
    marks: Marks,
}

pub(crate) fn number_search() -> NumberSearch {
    NumberSearch {
        search: FORMS.as_ref().map(Search::of),
        marks: Marks::default(),
    }
}

impl NumberSearch {
    /// Another text is searched from now on.
    pub(crate) fn begin(&mut self) {
        self.search.iter_mut().for_each(Search::begin);
    }
}

fn formed(
    text: &str,
    from: usize,
    start: usize,
    search: &mut NumberSearch,
) -> Option<(&'static str, Range<usize>)> {
    if !may_be_formed(text.as_bytes(), from, start) {
        return None;
    }
    let (pattern, search) = (FORMS.as_ref()?, search);
    let end = floor_boundary(text, from + MAX_FORM);
    let input = Input::new(text).range(from..end).anchored(Anchored::Yes);
    let marks = &mut search.marks;
    let found = search.search.as_mut()?.first(pattern, &input, marks)?;
    let (group, span) = (found.group, found.value);
    let follows = text.as_bytes().get(span.end).copied().unwrap_or(b' ');
    if follows.is_ascii_alphanumeric() || matches!(follows, b'_') {
        return None;
    }
    let value = text.get(span.clone())?;
    let compact: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
    let (rule, right): (_, bool) = match group {
        IBAN_GROUP => return account(text, &span).map(|span| (ACCOUNT, span)),
        2 => (NATIONAL, spanish_letter(&compact)),
        3 => (NATIONAL, swedish(&compact)),
        4 => (NATIONAL, finnish(value)),
        5 => (NATIONAL, korean(value)),
        6 => (NATIONAL, singapore(&compact)),
        7 => (
            NATIONAL,
            !matches!(
                compact.get(..2),
                Some("BG" | "GB" | "NK" | "KN" | "TN" | "NT" | "ZZ")
            ),
        ),
        8 => (NATIONAL, verhoeff(&compact)),
        9 => (NATIONAL, thai(&compact)),
        10 => (INSURED, true),
        13 => (NATIONAL, true),
        11 => (INSURED, kvnr(&compact)),
        _ => (NATIONAL, luhn(&compact)),
    };
    right.then_some((rule, span))
}

/// Whether any of [`FORMS`] can begin at `from`, whose first digits are at `start`: how many there
/// are and what follows them rules most out.
fn may_be_formed(bytes: &[u8], from: usize, start: usize) -> bool {
    let rest = bytes.get(start..).unwrap_or_default();
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let after = |places: usize| rest.get(digits + places).copied().unwrap_or(b' ');
    let next = after(0);
    let separates = |b: u8| matches!(b, b' ' | b'-');
    match (start - from, digits) {
        (0, 1) if next == b'-' => (1..=4).all(|places| after(places).is_ascii_digit()),
        (0, 1) => next.is_ascii_uppercase() && after(2).is_ascii_digit() && after(3) == b'-',
        // a second group as long, and a third
        (0, 3 | 4) => {
            separates(next)
                && (1..=digits).all(|places| after(places).is_ascii_digit())
                && separates(after(digits + 1))
        }
        (0, 6..=8) => matches!(next, b'-' | b'+') || next.is_ascii_uppercase(),
        // the least lengths of letters with digits right behind them
        (1, 0..=6) | (2, 0..=1) => false,
        (1 | 2 | 3 | 5 | 6, _) => bytes.get(from).is_some_and(u8::is_ascii_uppercase),
        _ => false,
    }
}

/// The longest start of the match that is a right IBAN: what follows may look like more of it.
fn account(text: &str, span: &Range<usize>) -> Option<Range<usize>> {
    let value = text.get(span.clone())?;
    let mut compact = String::with_capacity(34);
    for (at, c) in value.char_indices() {
        if !c.is_ascii_alphanumeric() {
            continue;
        }
        compact.push(c.to_ascii_uppercase());
        let next = value.as_bytes().get(at + 1);
        let ends = !next.is_some_and(u8::is_ascii_alphanumeric) && compact.len() >= 15;
        if ends && has_digits(&compact) && iban(&compact) {
            return Some(span.start..span.start + at + 1);
        }
    }
    None
}

fn has_digits(compact: &str) -> bool {
    let digits = compact.bytes().filter(u8::is_ascii_digit);
    digits.count() >= usize::from(FEWEST_DIGITS)
}

fn phone(text: &str, start: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let from = phone_start(bytes, start);
    let (end, digits, groups) = phone_run(bytes, start);
    let plus = bytes.get(from) == Some(&b'+');
    let open = text.get(from..start).is_some_and(|head| head.contains('('));
    if !(6..=15).contains(&digits.len()) || is_fiction(&digits) || is_glued(bytes, from, end) {
        return None;
    }
    let span = from..end;
    let american = digits.len() == 10
        && groups == [3, 3, 4]
        && digits.bytes().next().is_some_and(|b| b > b'1')
        && digits.as_bytes().get(3).is_some_and(|b| *b > b'1');
    // country code 1 has ten digits after it
    let short = digits.starts_with('1') && digits.len() != 11;
    if (plus && !short && digits.len() >= 8 && bytes.get(from + 1) != Some(&b'0'))
        || (american && (open || is_one_separator(text.get(span.clone())?)))
    {
        return Some(span);
    }
    let dated = matches!(groups.as_slice(), [4, 2, 2, ..] | [2, 2, 4] | [1, 2, 4]);
    if dated || digits.len() < 7 {
        return None;
    }
    let head = before_on_line(text.get(..from)?, 28).to_ascii_lowercase();
    let tail = around(text, &(end..end), 12);
    let said = CUES.iter().any(|cue| says(&head, cue))
        || AFTER.iter().any(|cue| {
            tail.trim_start()
                .trim_start_matches(['-', ' ', '('])
                .starts_with(cue)
        });
    said.then_some(span)
}

/// The cue, with at most a few marks and small words after it.
fn says(head: &str, cue: &str) -> bool {
    let Some((before, after)) = head.rsplit_once(cue) else {
        return false;
    };
    let verb = VERBS.contains(&cue);
    let inside = before.ends_with(|c: char| c.is_ascii_alphabetic() || (verb && c == '_'));
    !inside && after.chars().filter(char::is_ascii_alphabetic).count() <= 9
}

fn phone_start(bytes: &[u8], start: usize) -> usize {
    let before = |n: usize| start.checked_sub(n).and_then(|at| bytes.get(at));
    match (before(1), before(2)) {
        (Some(b'('), Some(b'+')) => start - 2,
        (Some(b'+' | b'('), _) => start - 1,
        _ => start,
    }
}

/// End, digits and group lengths of what is written like a phone number.
fn phone_run(bytes: &[u8], start: usize) -> (usize, String, Vec<usize>) {
    let (mut at, mut end, mut group) = (start, start, 0);
    let mut digits = String::with_capacity(16);
    let mut groups = Vec::new();
    let mut gap = 0;
    while let Some(byte) = bytes.get(at).filter(|_| digits.len() <= 16) {
        match byte {
            b'0'..=b'9' => {
                if gap > 0 {
                    groups.push(group);
                    group = 0;
                }
                gap = 0;
                group += 1;
                digits.push(char::from(*byte));
                end = at + 1;
            }
            b' ' | b'-' | b'.' | b'(' | b')' | b'/' if gap < 2 => gap += 1,
            _ => break,
        }
        at += 1;
    }
    groups.push(group);
    (end, digits, groups)
}

/// `415-555-0134` and `415.555.0134`: one kind of separator throughout.
fn is_one_separator(text: &str) -> bool {
    let mut marks = text.chars().filter(|c| !c.is_ascii_digit());
    marks
        .next()
        .is_some_and(|first| matches!(first, '-' | '.') && marks.all(|c| c == first))
}

/// 555-01xx is kept for fiction, other 555 exchanges mostly are; rows and counts are nobody's.
fn is_fiction(digits: &str) -> bool {
    let distinct = (b'0'..=b'9')
        .filter(|d| digits.as_bytes().contains(d))
        .count();
    let national = digits
        .strip_prefix('1')
        .filter(|d| d.len() == 10)
        .unwrap_or(digits);
    distinct < 3
        || national.len() == 10
            && (national.get(3..6) == Some("555") || national.starts_with("555"))
        || digits.len() == 7 && digits.starts_with("555")
        || "01234567890123456789".contains(digits)
        || digits.contains("123456789")
}

fn is_glued(bytes: &[u8], from: usize, end: usize) -> bool {
    let before = from.checked_sub(1).and_then(|at| bytes.get(at));
    let after = bytes.get(end);
    let word =
        |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'%'));
    let more = matches!(after, Some(b'.' | b'-' | b':' | b'/')) && word(bytes.get(end + 1));
    word(before)
        || word(after)
        || more
        || matches!(before, Some(b'.' | b'-' | b'/' | b'#' | b'$' | b'&'))
            && from
                .checked_sub(2)
                .and_then(|at| bytes.get(at))
                .is_none_or(|b| b.is_ascii_alphanumeric() || *b == b'.')
}

static FORMS: LazyLock<Option<Pattern>> = LazyLock::new(|| {
    Pattern::new(concat!(
        r"(?:([A-Z]{2}\d{2}(?:[ -]?[A-Za-z0-9]{1,5}){3,10})",
        r"|((?:\d{7,8}|[XYZ]-?\d{7})-?[A-Z])\b",
        r"|((?:19|20)?\d{6}[-+]\d{4})\b",
        r"|(\d{6}[-+A]\d{3}[0-9A-Y])\b",
        r"|(\d{6}-[1-8]\d{6})\b",
        r"|([STFG]\d{7}[A-Z])\b",
        r"|([A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?: \d\d \d\d \d\d [A-D]|\d{6}[A-D]))\b",
        r"|([2-9]\d{3}[ -]\d{4}[ -]\d{4})\b",
        r"|(\d-\d{4}-\d{5}-\d{2}-\d)\b",
        r"|([1-9][AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-[AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-[AC-HJKMNP-RT-Y]{2}\d{2})\b",
        r"|([A-Z]\d{9})\b",
        r"|([1-79]\d{2}[ -]\d{3}[ -]\d{3})\b",
        // DVLA: five of the surname, decade, month (51 to 62 for women), day, year, initials
        r"|([A-Z]{5}\d[0156]\d[0-3]\d\d[A-Z9]{2}\d[A-Z]{2}|[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z])\b)",
    ))
});

const IBAN_GROUP: usize = 1;
const MAX_FORM: usize = 48;

pub(super) const PHONE: &str = "contact-phone";
const ACCOUNT: &str = "bank-account";
const NATIONAL: &str = "identity-number-checked";
const INSURED: &str = "health-insurance-number";

const CUES: &[&str] = &[
    "phone",
    "telephone",
    "tel",
    "mobile",
    "cell",
    "fax",
    "call",
    "reach",
    "whatsapp",
    "sms",
    "answering at",
    "contact",
    "ring",
    "dial",
    "telefon",
    "handy",
    "móvil",
    "tél",
    "text me",
    "number is",
    "cellphone",
];
const VERBS: &[&str] = &["call", "reach", "ring", "dial", "contact", "cell", "sms"];
const AFTER: &[&str] = &[
    "office", "fax", "mobile", "cell", "phone", "(mobile", "(cell", "home",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex_automata::{Anchored, Input};

    use super::{FORMS, may_be_formed};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6_000))]
        /// The look before the pattern keeps it from no match.
        #[test]
        fn what_has_a_form_passes_the_quick_look(
            text in "([A-Z]{0,2}|[A-Z]{5,6}|AB )([0-9]{1,8}|[0-9]{3,4}|[0-9])[A-Z+ -]{0,2}([0-9]{1,4}|[A-Z0-9]{2})[ -]?([0-9]{3,7}|[A-Z0-9]{1,6})[ A-Z-]{0,2}([0-9]{1,4}(-[0-9])?| [0-9]{2} [A-D])? ?",
        ) {
            let start = text.find(|c: char| c.is_ascii_digit()).unwrap();
            let pattern = FORMS.as_ref().unwrap();
            if pattern.is_match(&Input::new(&text).anchored(Anchored::Yes)) {
                prop_assert!(may_be_formed(text.as_bytes(), 0, start), "{:?}", text);
            }
        }
    }
}
