//! Health data of a person: messages and documents of clinical systems that name a patient, and
//! notes in which clinical terms stand within a window of what identifies somebody.

use std::{
    ops::{Range, RangeInclusive},
    sync::LazyLock,
};

use memchr::memchr_iter;
use regex_automata::{Input, meta::Regex};

use super::{
    Broken, Detector, Hit, Severity, Verdict, Window, always, at, ceil_boundary, compile_whole,
    digits, floor_boundary,
    terms::{Beginnings, STRONG},
};
use crate::Confidence;

const fn health(
    id: &'static str,
    reason: &'static str,
    literals: &'static [&'static str],
    window: Window,
    pattern: &'static str,
    check: fn(&Hit<'_>) -> Verdict,
) -> Detector {
    Detector {
        id,
        reason,
        severity: Severity::Highest,
        literals,
        window,
        pattern,
        check,
        broken: Broken::Leave,
        needs: always,
    }
}

pub(super) const DETECTORS: &[Detector] = &[
    health(
        "health-hl7",
        "a patient's identification segment of HL7 version 2",
        &["pid|"],
        at(400),
        r"PID\|[^|\r\n]{0,12}\|[^|\r\n]{0,120}\|[^|\r\n]{0,160}\|[^|\r\n]{0,80}\|[^|^\r\n]{1,60}\^[^|\r\n]{1,80}\|",
        accept,
    ),
    health(
        "health-fhir",
        "a FHIR resource that names a patient",
        &["resourcetype"],
        at(FHIR_REACH),
        concat!(
            r#"(?i:resourceType)\\?"\s{0,4}:\s{0,4}\\?"(?:Patient|Observation|Condition|MedicationRequest|MedicationStatement|DiagnosticReport|Encounter|"#,
            r#"Procedure|AllergyIntolerance|Immunization|Coverage|Claim|CarePlan|ServiceRequest|ExplanationOfBenefit)\\?""#
        ),
        resource,
    ),
    health(
        "health-x12",
        "a subscriber or patient of an X12 health care transaction",
        &["nm1*il*", "nm1*qc*", "nm1*74*"],
        at(160),
        r"(?i)NM1\*(?:IL|QC|74)\*1\*[A-Z][A-Z' -]{1,60}\*[A-Z]",
        accept,
    ),
    health(
        "health-cda",
        "a clinical document that names a patient",
        &["<patientrole", "<recordtarget"],
        at(CDA_REACH),
        r"(?i)<(?:\w{1,8}:)?(?:patientRole|recordTarget)\b",
        named,
    ),
    health(
        "health-dicom",
        "the header of a medical image that names a patient",
        &["0010,0010", "00100010", "patientname", "patient's name"],
        at(160),
        r#"(?i)(?:\(?0010,?0010\)?|Patient'?s? ?Name)\b[^\r\n^]{0,60}?[\[:='" ]([A-Z][A-Z'-]{1,40}\^[A-Z])"#,
        accept,
    ),
    Detector {
        severity: Severity::SecondHighest,
        needs: rows,
        ..health(
            "health-record-rows",
            "rows of patients: columns that identify and columns of clinical data, with values",
            &[
                "mrn",
                "patient_name",
                "patient_id",
                "member_id",
                "into patients",
                "into patient",
            ],
            at(700),
            r#"(?i)(?:into patients?\b|\b(?:mrn|patient_(?:name|id)|member_id)["'` ]{0,2}[,|;\t])[^\r\n]{0,400}(?:dob|birth|icd|diagnos|medication|_dx|\bdx|condition)[^\r\n]{0,300}(?:\r?\n|values)[^\r\n]{0,40}\d{3,}"#,
            accept,
        )
    },
    Detector {
        severity: Severity::SecondHighest,
        needs: noted,
        ..health(
            "health-note",
            "clinical terms next to what identifies a patient",
            &[
                "mrn",
                "dob",
                "birth",
                "patient",
                "year-old",
                "year old",
                "y/o",
                "yo male",
                "yo female",
                " was admitted",
                " was diagnosed",
                " was seen",
                " was discharged",
                " presents with",
                " presented with",
                "chart no",
                "medical record",
                "member id",
                "subscriber",
                " diagnosed with",
                " tested positive",
                "was treated",
                "was started on",
                "was prescribed",
                "takes ",
                "'s diagnosis",
                "'s medication",
            ],
            Window::Around {
                before: 60,
                reach: 120,
            },
            concat!(
                r"(?:(?i:\bmrn|\bchart (?:no|number|#)|\bmedical record(?: number| no)?|\bmember(?: id)?|\bsubscriber(?: id)?)[^\r\n\w]{1,6}(?:[A-Z]{0,4}-?)?\d[\dA-Z-]{4,}",
                r"|(?i:\bdob|\bd\.o\.b\.|\bdate of birth|\bbirth ?date)[^\r\n\w]{1,6}\d",
                r"|(?i:\bpatient(?: name)?)[ \t]{0,2}[:=][ \t]{0,3}[A-Z][\w'-]+,? [A-Z]",
                r"|(?i:\bpatient) [A-Z][a-z'-]+ [A-Z][a-z'-]+",
                r"|\b\d{1,3}[ -](?i:year[ -]old|y/o|yo (?:male|female))",
                r"|\b(?:Mr|Mrs|Ms|Miss|Dr)\.? [A-Z][\w'-]+ (?:is|was|has|presents|presented|takes|reports)\b",
                r"|\b[A-Z][\w'-]{1,30} (?:[A-Z]\.? )?[A-Z][\w'-]{1,30}(?:'s (?:diagnosis|medication)| (?:(?:was|has been|is being) (?:admitted|diagnosed|seen|discharged|treated|started on|prescribed)|presents with|presented with|tested positive|takes)))",
            ),
            note,
        )
    },
];

/// Whether the name at `at` may be a column's, or rows go into a table of patients, and digits follow.
fn rows(text: &[u8], window: Range<usize>, at: usize) -> bool {
    let rest = text.get(at..window.end).unwrap_or_default();
    let name = |b: &u8| b.is_ascii_alphabetic() || *b == b'_';
    let after = rest.iter().skip_while(|b| name(b)).take(3);
    let mut after = after.skip_while(|b| b"\"'` ".contains(b));
    let column = after.next().is_some_and(|b| b",|;\t".contains(b));
    let into = rest
        .get(..4)
        .is_some_and(|word| word.eq_ignore_ascii_case(b"into"));
    (column || into) && digits::<3>(text, window, at)
}

/// What a resource is of decides where a name stands in it.
fn resource(hit: &Hit<'_>) -> Verdict {
    let kind = hit.whole().trim_end_matches(['"', '\\']);
    if kind.ends_with("Patient") {
        followed(hit, &FHIR_PATIENT, 2_000, FHIR_REACH)
    } else {
        followed(hit, &FHIR_SUBJECT, 3_000, FHIR_REACH)
    }
}

/// Accepts up to the first match of `tail` that begins at most `gap` bytes after the hit and ends
/// within `reach` of its start. A gap within a pattern would be counted byte by byte.
fn followed(hit: &Hit<'_>, tail: &Tail, gap: usize, reach: usize) -> Verdict {
    let Some(tail) = tail.as_ref() else {
        return accept(hit);
    };
    let end = hit.span.start.saturating_add(reach).min(hit.text.len());
    let found = tail.find(Input::new(hit.text).range(hit.span.end..end));
    match found.filter(|found| found.start() <= hit.span.end.saturating_add(gap)) {
        Some(found) => Verdict::AcceptTo(Confidence::High, found.end()),
        None => Verdict::Reject,
    }
}

/// The same for the name of a person in a clinical document: `<(?:\w{1,8}:)?(?:given|family)[^>]{0,60}>[^<]{2,60}<`,
/// matched by hand where an element begins, so that no engine is made ready for it.
fn named(hit: &Hit<'_>) -> Verdict {
    let end = hit.span.start.saturating_add(CDA_REACH).min(hit.text.len());
    let rest = hit
        .text
        .as_bytes()
        .get(hit.span.end..end)
        .unwrap_or_default();
    let near = rest.get(..=CDA_GAP).unwrap_or(rest);
    let mut begins = memchr_iter(b'<', near);
    match begins.find_map(|at| end_of_name(rest, at)) {
        Some(end) => Verdict::AcceptTo(Confidence::High, hit.span.end + end),
        None => Verdict::Reject,
    }
}

/// Where the text of the element at `at` ends, with the mark behind it, if it is a given or family name, in a
/// namespace or in none.
fn end_of_name(text: &[u8], at: usize) -> Option<usize> {
    let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    let element = text.get(at + 1..)?;
    let space = element.iter().take(9).take_while(|b| word(b)).count();
    let spaced = (1..=8).contains(&space) && element.get(space) == Some(&b':');
    let after = |from: usize, mark: u8, length: RangeInclusive<usize>| {
        let rest = text.get(from..)?.iter();
        let end = rest.take(length.end() + 1).position(|b| *b == mark)?;
        length.contains(&end).then_some(from + end + 1)
    };
    [spaced.then_some(space + 1), Some(0)]
        .into_iter()
        .flatten()
        .find_map(|local| {
            let names: [&[u8]; 2] = [b"given", b"family"];
            let mut names = names.iter().filter(|name| {
                let part = element.get(local..local + name.len());
                part.is_some_and(|part| part.eq_ignore_ascii_case(name))
            });
            let name = at + 1 + local + names.next()?.len();
            after(after(name, b'>', 0..=60)?, b'<', 2..=60)
        })
}

type Tail = LazyLock<Option<Regex>>;

static FHIR_PATIENT: Tail = LazyLock::new(|| {
    compile_whole(
        r#"\\?"(?:family|given|birthDate|text)\\?"\s{0,4}:\s{0,4}\[?\s{0,20}\\?"[^"\\]{2,}"#,
    )
});
static FHIR_SUBJECT: Tail = LazyLock::new(|| {
    compile_whole(
        r#"(?s)\\?"(?:subject|patient|beneficiary)\\?"\s{0,4}:\s{0,4}\{.{0,160}?\\?"display\\?"\s{0,4}:\s{0,4}\\?"[^"\\]{3,}"#,
    )
});

const FHIR_REACH: usize = 4_096;
const CDA_REACH: usize = 3_000;
/// How far behind the element that names a patient a name may begin.
const CDA_GAP: usize = 2_500;

fn accept(_: &Hit<'_>) -> Verdict {
    Verdict::Accept(Confidence::High)
}

/// At least two different clinical terms within the window, of which one is more than a setting.
fn note(hit: &Hit<'_>) -> Verdict {
    let weight = clinical_weight(hit.text, &hit.span);
    if weight >= MIN_WEIGHT {
        Verdict::Accept(Confidence::Low)
    } else {
        Verdict::Reject
    }
}

/// Two for each different condition, drug or finding, one for each word of the setting.
fn clinical_weight(text: &str, span: &Range<usize>) -> usize {
    let start = floor_boundary(text, span.start.saturating_sub(WINDOW));
    let end = ceil_boundary(text, span.end.saturating_add(WINDOW));
    let window = text.get(start..end).unwrap_or_default();
    let mut seen = [false; MAX_TERMS];
    let bytes = window.as_bytes();
    Beginnings::of_all().each_in(bytes, &mut |term, at| {
        let before = at.checked_sub(1).and_then(|at| bytes.get(at));
        let part = before.is_some_and(u8::is_ascii_alphabetic);
        if let Some(slot) = seen.get_mut(term).filter(|_| !part) {
            *slot = true;
        }
    });
    let strong = seen.iter().take(STRONG.len()).filter(|s| **s).count();
    let weak = seen.iter().skip(STRONG.len()).filter(|s| **s).count();
    if strong == 0 { 0 } else { strong * 2 + weak }
}

/// Whether a patient may be named around the word at `at`, and a clinical term is near. Some words
/// count only before certain bytes; what else stands around them other literals announce.
fn noted(text: &[u8], window: Range<usize>, at: usize) -> bool {
    let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    let before = at.checked_sub(1).and_then(|at| text.get(at));
    let goes_on = |name: &[u8], allowed: fn(u8) -> bool| {
        let head = text.get(at..at + name.len())?;
        let after = text.get(at + name.len()).copied().unwrap_or(b' ');
        head.eq_ignore_ascii_case(name)
            .then(|| allowed(after) && !before.is_some_and(word))
    };
    let apart = |b: u8| !b.is_ascii_alphanumeric() && b != b'_';
    let fits = goes_on(b"patient", |b| matches!(b, b' ' | b'\t' | b':' | b'='))
        .or_else(|| goes_on(b"mrn", apart))
        .or_else(|| goes_on(b"dob", apart))
        .or_else(|| goes_on(b"subscriber", apart))
        .or_else(|| {
            goes_on(b"birth", |b| {
                b != b'_' && !b.is_ascii_alphanumeric() || b == b'd' || b == b'D'
            })
        });
    fits.unwrap_or(true) && clinical(text, window, at)
}

/// Whether a condition, drug or finding stands near enough to count for anything in `window`.
fn clinical(text: &[u8], window: Range<usize>, _: usize) -> bool {
    let reach = WINDOW + MAX_CHARACTER;
    let start = window.start.saturating_sub(reach);
    let end = window.end.saturating_add(reach).min(text.len());
    let near = text.get(start..end).unwrap_or_default();
    Beginnings::of_strong().any_in(near)
}

/// The longest encoding of a character, of which a boundary may cut off all but a byte.
const MAX_CHARACTER: usize = 4;
const WINDOW: usize = 400;
const MIN_WEIGHT: usize = 3;
const MAX_TERMS: usize = 400;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex_automata::Input;

    use super::{CDA_GAP, CDA_REACH, Confidence, Hit, Tail, Verdict, named};
    use crate::detect::compile;

    static CDA_NAME: Tail =
        Tail::new(|| compile(r"(?i)<(?:\w{1,8}:)?(?:given|family)[^>]{0,60}>[^<]{2,60}<"));

    const PARTS: &[&str] = &[
        "<given>Ada<",
        "<hl7:FAMILY use=\"L\">Lovelace</",
        "<given:x>Ada<",
        "<family><given>Ada B<",
        "<name>",
        "<toolongspace:given>Ada<",
        "<given>A<",
        "<hl7:family>Ada<",
        "<_:given",
        ">",
        "<",
        "text ",
        "größe<",
        "a name of more than thirty letters ",
    ];

    proptest! {
        /// A search from everywhere is the oracle.
        #[test]
        fn a_name_is_tried_wherever_the_pattern_finds_one(
            before in 0_usize..CDA_REACH,
            parts in prop::collection::vec(prop::sample::select(PARTS), 0..9),
        ) {
            let text = format!("<patientRole>{}{}", " ".repeat(before), parts.concat());
            let hit = Hit::new(&text, 0..12, 0..12, 0);
            let end = CDA_REACH.min(text.len());
            let all = CDA_NAME.as_ref().unwrap();
            let found = all.find(Input::new(&text).range(12..end));
            let found = found.filter(|found| found.start() <= 12 + CDA_GAP);
            let wanted = found.map_or(Verdict::Reject, |found| {
                Verdict::AcceptTo(Confidence::High, found.end())
            });
            prop_assert_eq!(named(&hit), wanted);
        }
    }
}
