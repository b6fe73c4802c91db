//! Markings that a document carries on a line of its own: classification banners, controlled and
//! export-controlled information, the traffic light protocol. A bare word in prose never counts.

use super::{Broken, Detector, Hit, Severity, Verdict, Window, always};
use crate::Confidence;

const fn marking(
    id: &'static str,
    reason: &'static str,
    severity: Severity,
    literals: &'static [&'static str],
    pattern: &'static str,
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
        needs: always,
    }
}

pub(super) const DETECTORS: &[Detector] = &[
    marking(
        "marking-classified",
        "a national classification banner",
        Severity::Highest,
        &["secret//", "confidential//", "(s//", "(ts//", "(c//"],
        r#"(?m)(?:^[ \t/*#;<!(-]{0,12}(?:TOP )?(?:SECRET|CONFIDENTIAL)//(?:[A-Z0-9][A-Z0-9/, -]{1,80})[ \t*/)>-]{0,8}\r?$|^[ \t/*#;-]{0,12}\((?:TS|S|C)//[A-Z0-9][A-Z0-9/, -]{1,40}\))"#,
    ),
    marking(
        "marking-cui",
        "a controlled unclassified information banner",
        Severity::Highest,
        &["cui", "controlled unclassified information"],
        r"(?m)^[ \t/*#;<!(-]{0,12}(?:CUI(?://[A-Z0-9][A-Z0-9/, -]{1,80})?|CONTROLLED UNCLASSIFIED INFORMATION|Controlled Unclassified Information)[ \t*/)>-]{0,8}\r?$",
    ),
    marking(
        "marking-itar",
        "an export control notice (ITAR)",
        Severity::Highest,
        &["itar", "international traffic in arms"],
        r"(?m)(?:^[ \t/*#;<!(-]{0,12}ITAR(?:[ -](?:CONTROLLED|RESTRICTED|Controlled|Restricted))?(?: (?:DATA|TECHNICAL DATA))?[ \t*/)>-]{0,8}\r?$|(?:[Ss]ubject|SUBJECT) (?:to|TO) (?:the |THE )?(?:ITAR\b|(?i:International Traffic in Arms Regulations)))",
    ),
    marking(
        "marking-tlp-red",
        "traffic light protocol: red",
        Severity::Highest,
        &["tlp:red"],
        r"(?m)^[ \t/*#;<!(-]{0,12}TLP:RED[ \t*/)>-]{0,8}\r?$",
    ),
    marking(
        "marking-tlp-amber",
        "traffic light protocol: amber",
        Severity::SecondHighest,
        &["tlp:amber"],
        r"(?m)^[ \t/*#;<!(-]{0,12}TLP:AMBER(?:\+STRICT)?[ \t*/)>-]{0,8}\r?$",
    ),
];

fn accept(_: &Hit<'_>) -> Verdict {
    Verdict::Accept(Confidence::High)
}
