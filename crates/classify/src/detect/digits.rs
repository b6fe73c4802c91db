//! Payment card and social security numbers: digit runs, found by a scan of their own because no
//! literal announces them. Checksums and issuer ranges decide, then the words around.

use std::ops::Range;

use super::{
    Broken, Detector, Hit, Severity, Verdict, Window, always,
    line::around,
    numbers::{NumberSearch, number_at},
};
use crate::Confidence;

const fn digits(id: &'static str, reason: &'static str, severity: Severity) -> Detector {
    Detector {
        id,
        reason,
        severity,
        literals: &[],
        window: Window::At { reach: 0 },
        pattern: "",
        check: never,
        broken: Broken::Leave,
        needs: always,
    }
}

pub(super) const DETECTORS: &[Detector] = &[
    digits(
        PAYMENT_CARD,
        "a payment card number: issuer range and Luhn digit are right",
        Severity::Highest,
    ),
    digits(
        TEST_CARD,
        "a payment card number that is published for tests",
        Severity::ThirdHighest,
    ),
    digits(
        US_SSN,
        "a US social security number next to a word that says so",
        Severity::SecondHighest,
    ),
];

fn never(_: &Hit<'_>) -> Verdict {
    Verdict::Reject
}

/// Reports every card and social security number in `text` as `(rule id, span, confidence)`. `search`
/// is what [`super::number_search`] makes.
pub(crate) fn scan_digits(
    text: &str,
    search: &mut NumberSearch,
    report: &mut dyn FnMut(&'static str, Range<usize>, Confidence),
) {
    scan_groups(text, next_digit, search, report);
}

/// The same at the groups of digits that `next` says.
fn scan_groups(
    text: &str,
    next: fn(&[u8], usize) -> Option<usize>,
    search: &mut NumberSearch,
    report: &mut dyn FnMut(&'static str, Range<usize>, Confidence),
) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(start) = next(bytes, at) {
        let group = first_group(bytes, start);
        if group - start < MIN_DIGITS && !goes_on(bytes, group) {
            at = group;
            continue;
        }
        let run = DigitRun::read(bytes, start);
        if run.count < MIN_DIGITS && !goes_on(bytes, run.end) {
            at = run.end.max(start + 1);
            continue;
        }
        let taken = if run.count < 9 || is_inside_word(bytes, start, run.end) {
            None
        } else {
            run.known(text, start)
        };
        if let Some((rule, span, confidence)) = taken {
            report(rule, span, confidence);
            at = run.end;
        } else {
            let end = number_at(text, start, search, report);
            at = end
                .unwrap_or_else(|| first_group(bytes, start))
                .max(start + 1);
        }
    }
}

/// A short group of digits can only begin a number that goes on after a separator or a letter.
fn goes_on(bytes: &[u8], end: usize) -> bool {
    bytes
        .get(end)
        .is_some_and(|b| matches!(b, b' ' | b'-' | b'.' | b')' | b'/') || b.is_ascii_uppercase())
        && bytes
            .get(end + 1)
            .is_some_and(|b| b.is_ascii_digit() || matches!(b, b' ' | b'(' | b'A'..=b'Z'))
}

fn first_group(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    start + rest.iter().take_while(|b| b.is_ascii_digit()).count()
}

/// Where the next group of digits begins that may be the first of a number. A number has at least
/// [`FEWEST_DIGITS`] and ends within 48 bytes of its first, so that groups with fewer in the block
/// where they begin and the three after it, as most of source code are, begin none.
fn next_digit(bytes: &[u8], from: usize) -> Option<usize> {
    let near = |at: usize| {
        let near = bytes.get(at..).and_then(<[u8]>::first_chunk);
        near.map(count_digits)
    };
    let mut at = from;
    let mut digits = near(at);
    while let Some(count) = digits {
        let behind = near(at + NEAR);
        // where there are as few in twice as many, none of four blocks has more near
        if behind.is_none_or(|behind| count + behind >= FEWEST_DIGITS) {
            let mut count = Some(count);
            for block in (at..at + NEAR).step_by(DIGIT_BLOCK) {
                let Some(count) = count.take().or_else(|| near(block)) else {
                    return group_start(bytes, from, block..bytes.len());
                };
                if count >= FEWEST_DIGITS
                    && let Some(start) = group_start(bytes, from, block..block + DIGIT_BLOCK)
                {
                    return Some(start);
                }
            }
        }
        at += NEAR;
        digits = behind;
    }
    group_start(bytes, from, at..bytes.len())
}

/// Where the first group of digits in `part` begins; one that began before it is passed over, unless
/// it is at `from`.
fn group_start(bytes: &[u8], from: usize, part: Range<usize>) -> Option<usize> {
    let before = part.start.checked_sub(1).and_then(|at| bytes.get(at));
    let begun = part.start > from && before.is_some_and(u8::is_ascii_digit);
    let begin = if begun {
        first_group(bytes, part.start)
    } else {
        part.start
    };
    let part = bytes.get(begin..part.end)?;
    let digit = part.iter().position(u8::is_ascii_digit)?;
    Some(begin + digit)
}

/// How many digits there are. Blocks have less than 256 bytes, and without a check of each sum the
/// compiler adds whole blocks at once.
fn count_digits(block: &[u8; NEAR]) -> u8 {
    block.iter().fold(0, |count: u8, b| {
        count.wrapping_add(u8::from(b.is_ascii_digit()))
    })
}

const DIGIT_BLOCK: usize = 16;
/// The block where a number begins and the three after it.
const NEAR: usize = 4 * DIGIT_BLOCK;
/// Of the numbers that are looked for Medicare's have the fewest. An account's number of letters alone
/// is allowed by the registry of some countries, and issued by none.
pub(super) const FEWEST_DIGITS: u8 = 5;

/// Digits with single spaces or dashes between groups.
struct DigitRun {
    digits: [u8; MAX_DIGITS],
    count: usize,
    end: usize,
    /// Lengths of the groups, as decimal digits are grouped on paper.
    lengths: [usize; MAX_DIGITS],
    group_count: usize,
    separator: Option<u8>,
}

impl DigitRun {
    fn read(bytes: &[u8], start: usize) -> Self {
        let mut run = Self {
            digits: [0; MAX_DIGITS],
            count: 0,
            end: start,
            lengths: [0; MAX_DIGITS],
            group_count: 0,
            separator: None,
        };
        let mut group = 0;
        let mut at = start;
        while let Some(&byte) = bytes.get(at) {
            if byte.is_ascii_digit() {
                if let Some(slot) = run.digits.get_mut(run.count) {
                    *slot = byte - b'0';
                }
                run.count += 1;
                group += 1;
                at += 1;
                run.end = at;
                continue;
            }
            let joins = matches!(byte, b' ' | b'-')
                && run.separator.is_none_or(|known| known == byte)
                && bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
            if !joins || run.count >= MAX_DIGITS {
                break;
            }
            run.separator = Some(byte);
            run.close_group(group);
            group = 0;
            at += 1;
        }
        run.close_group(group);
        run
    }

    fn close_group(&mut self, length: usize) {
        if let Some(slot) = self.lengths.get_mut(self.group_count) {
            *slot = length;
            self.group_count += 1;
        }
    }

    fn groups(&self) -> &[usize] {
        self.lengths.get(..self.group_count).unwrap_or_default()
    }

    /// A card or a social security number.
    fn known(&self, text: &str, start: usize) -> Option<(&'static str, Range<usize>, Confidence)> {
        self.card(text, start).or_else(|| {
            self.is_ssn(text, start)
                .then_some((US_SSN, start..self.end, Confidence::Medium))
        })
    }

    fn card(&self, text: &str, start: usize) -> Option<(&'static str, Range<usize>, Confidence)> {
        let digits = self.digits.get(..self.count)?;
        let grouped = self.groups().len() == 1 || is_card_grouping(self.groups());
        if !grouped || !is_issued(digits) || !luhn(digits) {
            return None;
        }
        let number: String = digits.iter().map(|d| char::from(b'0' + d)).collect();
        let span = start..self.end;
        if TEST_NUMBERS.contains(&number.as_str()) {
            return Some((TEST_CARD, span, Confidence::High));
        }
        if is_dull(digits) {
            return None;
        }
        let near = around(text, &span, 60);
        let said = CARD_WORDS.iter().any(|word| near.contains(word));
        let other = ID_WORDS.iter().any(|word| near.contains(word));
        match (said, other, self.groups().len() > 1) {
            (true, _, _) => Some((PAYMENT_CARD, span, Confidence::High)),
            (false, true, _) => None,
            (false, false, true) => Some((PAYMENT_CARD, span, Confidence::Medium)),
            (false, false, false) => Some((PAYMENT_CARD, span, Confidence::Low)),
        }
    }

    fn is_ssn(&self, text: &str, start: usize) -> bool {
        let dashed = self.groups() == [3, 2, 4];
        if self.count != 9 || !(dashed || self.groups().len() == 1) {
            return false;
        }
        let number = self
            .digits
            .iter()
            .take(9)
            .fold(0_u32, |n, d| n * 10 + u32::from(*d));
        let (area, group, serial) = (number / 1_000_000, number / 10_000 % 100, number % 10_000);
        let issued = area != 0 && area != 666 && area < 900 && group != 0 && serial != 0;
        // a wallet advertisement, and the number every example uses
        let published = matches!(number, 78_051_120 | 219_099_999 | 123_456_789 | 457_555_462);
        let near = around(text, &(start..self.end), 80);
        issued && !published && SSN_WORDS.iter().any(|word| near.contains(word))
    }
}

fn is_inside_word(bytes: &[u8], start: usize, end: usize) -> bool {
    let before = start.checked_sub(1).and_then(|at| bytes.get(at));
    let earlier = start.checked_sub(2).and_then(|at| bytes.get(at));
    let after = bytes.get(end);
    let later = bytes.get(end + 1);
    let word = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    // track 1 of a magnetic stripe: format code B, then the number
    let track = before == Some(&b'B') && earlier == Some(&b'%');
    (word(before) && !track)
        || word(after)
        || (matches!(before, Some(b'.' | b'-' | b'/')) && word(earlier))
        || (matches!(after, Some(b'.')) && digit(later))
        || (matches!(after, Some(b'-')) && word(later))
}

fn is_card_grouping(groups: &[usize]) -> bool {
    matches!(
        groups,
        [4, 4, 4, 4] | [4, 4, 4, 4, 3] | [4, 6, 5] | [4, 6, 4] | [4, 4, 4, 1]
    )
}

/// Issuer ranges by length, ISO/IEC 7812: Visa, Mastercard, American Express, Discover, Diners,
/// JCB, Maestro, UnionPay.
fn is_issued(digits: &[u8]) -> bool {
    let head = digits
        .iter()
        .take(4)
        .fold(0_u32, |n, d| n * 10 + u32::from(*d));
    let (two, three) = (head / 100, head / 10);
    match digits.len() {
        13 => head / 1_000 == 4,
        14 => (300..=305).contains(&three) || matches!(two, 36 | 38 | 39),
        15 => matches!(two, 34 | 37) || matches!(head, 1800 | 2131),
        16 => {
            head / 1_000 == 4
                || (51..=55).contains(&two)
                || (2221..=2720).contains(&head)
                || head == 6011
                || matches!(two, 35 | 62 | 65 | 67 | 81)
                || (644..=649).contains(&three)
                || (501..=509).contains(&three)
                || (56..=58).contains(&two)
                || matches!(two, 60 | 63)
        }
        17..=19 => {
            head / 1_000 == 4 || matches!(two, 50 | 56 | 57 | 58 | 62 | 63 | 67) || head == 6304
        }
        _ => false,
    }
}

/// The check digit of ISO/IEC 7812-1 annex B.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| match (index % 2, u32::from(*digit) * 2) {
            (0, _) => u32::from(*digit),
            (_, twice) if twice > 9 => twice - 9,
            (_, twice) => twice,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Numbers nobody was ever issued: one or two digits throughout.
fn is_dull(digits: &[u8]) -> bool {
    let seen = (0_u8..10).filter(|d| digits.contains(d)).count();
    seen <= 2
}

pub(crate) const PAYMENT_CARD: &str = "payment-card";
pub(crate) const TEST_CARD: &str = "payment-card-test";
pub(crate) const US_SSN: &str = "us-ssn";

const MAX_DIGITS: usize = 19;
const MIN_DIGITS: usize = 6;

const CARD_WORDS: &[&str] = &[
    "card",
    "visa",
    "mastercard",
    "amex",
    "american express",
    "discover",
    "maestro",
    "cvv",
    "cvc",
    "expir",
    "exp_",
    "pan=",
    "pan:",
    "\"pan\"",
    " pan ",
    "ccnum",
    "cc_num",
    "credit",
    "debit",
    "holder",
    "charge",
    "payment",
    "f2=",
];

const ID_WORDS: &[&str] = &[
    "imei",
    "trace",
    "span",
    "snowflake",
    "timestamp",
    "epoch",
    "nanos",
    "millis",
    "_id",
    " id",
    "\"id",
    "time",
    "uid",
    "seq",
    "offset",
    "hash",
    "iccid",
    "gtin",
    "isbn",
    "ean",
    "tweet",
    "build",
    "channel",
    "guild",
    "ns/op",
    "serial",
    "order",
    "sku",
    "phone",
    "tracking",
    "random",
];

const SSN_WORDS: &[&str] = &[
    "ssn",
    "social security",
    "social_security",
    "socialsecurity",
    "soc sec",
    "ss#",
    "tax id",
    "tax_id",
    "taxid",
    "taxpayer",
    "itin",
];

/// Numbers that payment companies publish for tests.
const TEST_NUMBERS: &[&str] = &[
    "4242424242424242",
    "4000056655665556",
    "5555555555554444",
    "2223003122003222",
    "5200828282828210",
    "5105105105105100",
    "378282246310005",
    "371449635398431",
    "6011111111111117",
    "6011000990139424",
    "6011981111111113",
    "3056930009020004",
    "36227206271667",
    "6555900000604105",
    "3566002020360505",
    "6200000000000005",
    "6200000000000047",
    "6205500000000000004",
    "4111111111111111",
    "4012888888881881",
    "4222222222222",
    "5431111111111111",
    "30569309025904",
    "38520000023237",
    "3530111333300000",
    "378734493671000",
    "4000000000000002",
    "4000000000000077",
    "4000000000009995",
    "4000000000003220",
    "4000002500003155",
    "4000002760003184",
    "4000003800000446",
    "4000000000000341",
    "4000000000009987",
    "4000000000000069",
    "4000000000000127",
    "4000000000000119",
    "4242424242424241",
    "4917610000000000",
    "4484070000000000",
    "4003600000000014",
    "2223000048400011",
    "5454545454545454",
    "4462030000000000",
    "4917610000000000003",
    "6759649826438453",
    "5641820000000005",
    "4444333322221111",
    "4911830000000",
    "6331101999990016",
    "6304000000000000",
    "4005519200000004",
    "4009348888881881",
    "4012000033330026",
    "4012000077777777",
    "4217651111111119",
    "4500600000000061",
    "2223000010309703",
    "2223016768739313",
    "4035501000000008",
    "4360000001000005",
    "4871049999999910",
    "5019717010103742",
    "4988438843884305",
    "4166676667666746",
    "4646464646464644",
    "5100290029002909",
    "5577000055770004",
    "5136333333333335",
    "5585558555855583",
    "370000000000002",
    "370000000100018",
    "36006666333344",
    "6771798025000004",
    "3569990010095841",
    "2222400070000005",
    "2222410740360010",
    "2222400010000008",
    "2222400030000004",
    "5100060000000002",
    "5500000000000004",
    "340000000000009",
    "30000000000004",
    "6011000000000004",
    "201400000000009",
    "3088000000000009",
    "4026000000000002",
    "4508750015741019",
    "5001250004793548",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::number_search, group_start, scan_groups};

    /// Of each kind of number one, with what must stand next to it.
    const NUMBERS: &[&str] = &[
        "card 4539 5787 6362 1486",
        "call +49 30 901820",
        "ssn 536-90-4399",
        "DE89 3704 0044 0532 0130 00",
        "AB 12 34 56 C",
        "1EG4-TE5-MK73",
        "MORGA657054SM9IJ",
    ];

    fn found(text: &str, next: fn(&[u8], usize) -> Option<usize>) -> Vec<String> {
        let mut found = Vec::new();
        scan_groups(
            text,
            next,
            &mut number_search(),
            &mut |rule, span, confidence| {
                found.push(format!("{rule} {span:?} {confidence:?}"));
            },
        );
        found
    }

    fn every_group(bytes: &[u8], from: usize) -> Option<usize> {
        group_start(bytes, from, from..bytes.len())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        /// No number is among the groups of digits that are passed over.
        #[test]
        fn numbers_are_found_as_when_every_group_is_tried(
            parts in proptest::collection::vec(
                prop_oneof![
                    proptest::sample::select(NUMBERS).prop_map(str::to_owned),
                    "[a-z1-3 (-]{0,40}",
                    "[0-9]{1,19}",
                    "[ -]",
                ],
                0..9,
            ),
        ) {
            let text = parts.concat();
            prop_assert_eq!(found(&text, super::next_digit), found(&text, every_group));
        }
    }

    #[test]
    fn each_number_is_found_wherever_it_stands() {
        for (number, at) in NUMBERS
            .iter()
            .flat_map(|number| (0..70).map(move |at| (number, at)))
        {
            let text = format!("{}\n{number}\n{}", "x".repeat(at), "y".repeat(80));
            assert_eq!(found(&text, super::next_digit).len(), 1, "{text}");
        }
    }
}
