//! Hiding places: every detector's own examples, written in each way in which text hides text. The
//! label must be what the open text has. What is missed is listed, and the list is exact.

#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test; the samples are ASCII where they are cut"
)]

use std::collections::BTreeSet;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use proofroom_canonical::Timestamp;
use proofroom_classify::{
    ClassificationPolicy, Classifier, Context, DEFAULT_CLASSIFICATION, Label, Origin, Segment,
};

const CASES: &str = include_str!("../src/classifier/cases.txt");
const GAPS: &str = include_str!("evasion-gaps.txt");

type Hide = fn(&str) -> Vec<String>;

/// Each gives the segments of one author.
const WAYS: &[(&str, Hide)] = &[
    ("base64", |t| {
        vec![format!("blob: {}", STANDARD.encode(framed(t)))]
    }),
    ("base64-url", |t| {
        vec![format!("?d={}", URL_SAFE_NO_PAD.encode(framed(t)))]
    }),
    ("base64-twice", |t| {
        vec![STANDARD.encode(format!("again {}", STANDARD.encode(framed(t))))]
    }),
    ("base64-utf16", |t| vec![STANDARD.encode(utf16(&framed(t)))]),
    ("hexadecimal", |t| {
        vec![framed(t).bytes().map(|b| format!("{b:02x}")).collect()]
    }),
    ("percent", |t| {
        vec![framed(t).bytes().map(|b| format!("%{b:02X}")).collect()]
    }),
    ("json-string", |t| vec![json(&framed(t))]),
    ("tool-argument", |t| {
        vec![format!(
            "{{\"arguments\":{}}}",
            json(&format!("{{\"content\":{}}}", json(&framed(t))))
        )]
    }),
    ("unicode-escapes", |t| {
        vec![
            framed(t)
                .chars()
                .map(|c| format!("\\u{:04x}", u32::from(c)))
                .collect(),
        ]
    }),
    ("zero-width", |t| {
        vec![framed(t).chars().flat_map(|c| [c, '\u{200b}']).collect()]
    }),
    ("soft-hyphens", |t| {
        vec![framed(t).chars().flat_map(|c| ['\u{ad}', c]).collect()]
    }),
    ("full-width", |t| {
        vec![framed(t).chars().map(wide).collect()]
    }),
    ("look-alikes", |t| {
        vec![framed(t).chars().map(cyrillic).collect()]
    }),
    ("two-messages", |t| halves(t, 2)),
    ("two-messages-early", |t| halves(t, 4)),
    ("three-messages", |t| {
        let mut parts = halves(t, 3);
        let rest = parts.pop().unwrap();
        [parts, halves(&rest, 2)].concat()
    }),
    ("messages-of-a-letter", |t| {
        t.chars().map(String::from).collect()
    }),
    ("long-chunk", |t| {
        halves(&format!("{}\n{t}", "word ".repeat(400)), 1)
    }),
];

#[test]
fn what_is_hidden_is_found_but_for_the_list() {
    let policy =
        ClassificationPolicy::parse(DEFAULT_CLASSIFICATION, "classification.toml").unwrap();
    let classifier = Classifier::new(&policy);
    let (mut tried, mut missed) = (0, BTreeSet::new());
    let mut lost = 0;
    for (detector, text) in samples() {
        let open = label(&classifier, &[framed(&text)]);
        for (way, hide) in WAYS {
            tried += 1;
            if label(&classifier, &hide(&text)) < open {
                lost += 1;
                missed.insert(format!("{way} {detector}"));
            }
        }
    }
    let known: BTreeSet<String> = GAPS
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    assert!(tried >= 300, "{tried}");
    assert!(
        lost * 100 <= tried * 3,
        "{lost} of {tried} missed: {missed:#?}"
    );
    assert_eq!(
        missed, known,
        "{lost} of {tried} missed; the list must be exact"
    );
}

/// Without this, a classifier that raises whatever is encoded would pass.
#[test]
fn harmless_text_stays_low_in_every_way() {
    let policy =
        ClassificationPolicy::parse(DEFAULT_CLASSIFICATION, "classification.toml").unwrap();
    let classifier = Classifier::new(&policy);
    for text in [
        "parse the second argument, then return",
        "fn main() { println!(\"one\"); }",
    ] {
        for (way, hide) in WAYS {
            assert_eq!(
                label(&classifier, &hide(text)),
                policy.default_label(),
                "{way} {text}"
            );
        }
    }
}

fn samples() -> Vec<(String, String)> {
    let accepted = CASES
        .lines()
        .filter_map(|line| line.strip_prefix("ACCEPT "));
    accepted
        .map(|line| {
            let (detector, text) = line.split_once(": ").unwrap();
            let text = text
                .replace('~', "")
                .replace("\\n", "\n")
                .replace("{T}", "~");
            (detector.to_owned(), text)
        })
        .collect()
}

fn label(classifier: &Classifier, texts: &[String]) -> Label {
    let segments: Vec<Segment<'_>> = texts
        .iter()
        .map(|text| Segment {
            text,
            origin: Origin::User,
            path: None,
        })
        .collect();
    let context = Context {
        repository: "",
        now: Timestamp::from_unix_seconds(0),
    };
    classifier.classify(&segments, &context).label
}

/// A line of its own in a text that is long enough to be worth encoding.
fn framed(text: &str) -> String {
    format!("see this line and the next:\n{text}\nthat is all of it\n")
}

fn halves(text: &str, part: usize) -> Vec<String> {
    let at = if part == 1 {
        text.len() - 6
    } else {
        text.len() / part
    };
    let at = (0..=at)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap();
    vec![text[..at].to_owned(), text[at..].to_owned()]
}

fn json(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn wide(c: char) -> char {
    match c {
        '!'..='~' => char::from_u32(u32::from(c) + 0xfee0).unwrap(),
        c => c,
    }
}

fn cyrillic(c: char) -> char {
    match c {
        'a' => 'а',
        'e' => 'е',
        'o' => 'о',
        'c' => 'с',
        'p' => 'р',
        'A' => 'А',
        'K' => 'К',
        c => c,
    }
}
