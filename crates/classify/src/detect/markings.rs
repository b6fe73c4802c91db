//! Markings that a document carries on a line of its own: classification banners, controlled and
//! export-controlled information, the traffic light protocol. A bare word in prose never counts.

use std::ops::Range;

use memchr::memrchr;

use super::{Broken, Detector, Hit, QuickLook, Severity, Verdict, Window};
use crate::Confidence;

const fn marking(
    id: &'static str,
    reason: &'static str,
    severity: Severity,
    literals: &'static [&'static str],
    pattern: &'static str,
    needs: QuickLook,
) -> Detector {
    Detector {
        id,
        reason,
        severity,
        literals,
        window: Window::Around {
            before: 24,
            reach: 200,
        },
        pattern,
        check: accept,
        broken: Broken::Leave,
        needs,
    }
}

pub(super) const DETECTORS: &[Detector] = &[
    marking(
        "marking-classified",
        "a national classification banner",
        Severity::Highest,
        &["secret//", "confidential//", "(s//", "(ts//", "(c//"],
        r#"(?m)(?:^[ \t/*#;<!(-]{0,12}(?:TOP )?(?:SECRET|CONFIDENTIAL)//(?:[A-Z0-9][A-Z0-9/, -]{1,80})[ \t*/)>-]{0,8}\r?$|^[ \t/*#;-]{0,12}\((?:TS|S|C)//[A-Z0-9][A-Z0-9/, -]{1,40}\))"#,
        |text, window, at| begins_line(text, window, at, &[b"", b"TOP "]),
    ),
    marking(
        "marking-cui",
        "a controlled unclassified information banner",
        Severity::Highest,
        &["cui", "controlled unclassified information"],
        r"(?m)^[ \t/*#;<!(-]{0,12}(?:CUI(?://[A-Z0-9][A-Z0-9/, -]{1,80})?|CONTROLLED UNCLASSIFIED INFORMATION|Controlled Unclassified Information)[ \t*/)>-]{0,8}\r?$",
        |text, window, at| begins_line(text, window, at, &[b""]),
    ),
    marking(
        "marking-itar",
        "an export control notice (ITAR)",
        Severity::Highest,
        &["itar", "international traffic in arms"],
        r"(?m)(?:^[ \t/*#;<!(-]{0,12}ITAR(?:[ -](?:CONTROLLED|RESTRICTED|Controlled|Restricted))?(?: (?:DATA|TECHNICAL DATA))?[ \t*/)>-]{0,8}\r?$|(?:[Ss]ubject|SUBJECT) (?:to|TO) (?:the |THE )?(?:ITAR\b|(?i:International Traffic in Arms Regulations)))",
        |text, window, at| {
            begins_line(text, window.clone(), at, &[b""]) || is_object(text, window, at)
        },
    ),
    marking(
        "marking-tlp-red",
        "traffic light protocol: red",
        Severity::Highest,
        &["tlp:red"],
        r"(?m)^[ \t/*#;<!(-]{0,12}TLP:RED[ \t*/)>-]{0,8}\r?$",
        |text, window, at| begins_line(text, window, at, &[b""]),
    ),
    marking(
        "marking-tlp-amber",
        "traffic light protocol: amber",
        Severity::SecondHighest,
        &["tlp:amber"],
        r"(?m)^[ \t/*#;<!(-]{0,12}TLP:AMBER(?:\+STRICT)?[ \t*/)>-]{0,8}\r?$",
        |text, window, at| begins_line(text, window, at, &[b""]),
    ),
];

fn accept(_: &Hit<'_>) -> Verdict {
    Verdict::Accept(Confidence::High)
}

/// Whether nothing but ornament and one of `words` stands before the literal at `at` on its line. Of a banner
/// further on in the window its own literal tells.
fn begins_line(text: &[u8], window: Range<usize>, at: usize, words: &[&[u8]]) -> bool {
    let from = window.start.saturating_sub(1);
    let before = text.get(from..at).unwrap_or_default();
    let line = match memrchr(b'\n', before) {
        Some(line_break) => before.get(line_break + 1..).unwrap_or_default(),
        None if window.start == 0 => before,
        None => return false,
    };
    let ornament = |line: &[u8]| line.iter().all(|b| b" \t/*#;<!(-".contains(b));
    words
        .iter()
        .any(|word| line.strip_suffix(*word).is_some_and(ornament))
}

/// Whether something may be `subject to` the literal at `at`.
fn is_object(text: &[u8], window: Range<usize>, at: usize) -> bool {
    let before = text.get(window.start..at).unwrap_or_default();
    let ends: [&[u8]; 4] = [b"to ", b"TO ", b"the ", b"THE "];
    ends.iter().any(|end| before.ends_with(end))
}
