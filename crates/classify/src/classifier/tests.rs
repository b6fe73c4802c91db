//! What the built-in detectors take and leave, what cannot be hidden, and what never falls.

#![expect(
    clippy::string_slice,
    reason = "the samples are ASCII where they are cut"
)]

mod seams;
mod sessions;

use proofroom_canonical::Timestamp;
use proptest::prelude::*;

use super::{
    Classifier, Context, OVER_BUDGET, OVERSIZE, UNREADABLE,
    literals::Engine,
    redact,
    scan::{Scanner, work},
};
use crate::{Classification, ClassificationPolicy, Confidence, Origin, Segment};

const HEAD: &str = "version = 1\nlevels = [\"public\", \"internal\", \"confidential\", \"restricted\"]\ndefault = \"public\"\nunreadable = \"restricted\"\n";
const NOW: Context<'static> = Context {
    repository: "acme/web",
    now: Timestamp::from_unix_seconds(1_800_000_000),
};

/// `detector: text`, one a line; `ACCEPT` lines must be found by that detector, `REJECT` lines not.
const CASES: &str = include_str!("cases.txt");

fn classifier(rest: &str) -> Classifier {
    Classifier::new(&ClassificationPolicy::parse(&format!("{HEAD}{rest}"), "c.toml").unwrap())
}

fn user(text: &str) -> Segment<'_> {
    Segment {
        text,
        origin: Origin::User,
        path: None,
    }
}

fn rules(result: &Classification) -> Vec<&str> {
    result
        .findings
        .iter()
        .map(|finding| finding.rule.as_str())
        .collect()
}

fn level(classifier: &Classifier, result: &Classification) -> String {
    classifier.policy().levels().name(result.label).to_owned()
}

/// `ghp_` token whose last six characters are the CRC-32 of the thirty before, put together here
/// so that no scanner of this repository takes it for a real one.
pub(super) fn github_token() -> String {
    format!(
        "gh{}_{}{}",
        'p',
        "zQ7wXn4RkV2mT9bYc5HdLs8JfGa1Pe",
        checksum("zQ7wXn4RkV2mT9bYc5HdLs8JfGa1Pe")
    )
}

fn checksum(payload: &str) -> String {
    let alphabet: Vec<char> = ('0'..='9').chain('A'..='Z').chain('a'..='z').collect();
    let mut crc = crc32fast::hash(payload.as_bytes());
    let mut digits = Vec::new();
    for _ in 0..6 {
        digits.push(alphabet[(crc % 62) as usize]);
        crc /= 62;
    }
    digits.iter().rev().collect()
}

#[test]
fn each_detector_takes_its_own_and_leaves_its_siblings() {
    let classifier = classifier("");
    let (mut judged, mut wrong) = (0, Vec::new());
    for line in CASES
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
    {
        let (verdict, rest) = line.split_once(' ').unwrap();
        let (detector, text) = rest.split_once(": ").unwrap();
        // `~` keeps the samples from being tokens to scanners of this repository
        let text = text
            .replace('~', "")
            .replace("\\n", "\n")
            .replace("{T}", "~");
        let result = classifier.classify(&[user(&text)], &NOW);
        let found = rules(&result).contains(&detector);
        if found != (verdict == "ACCEPT") {
            wrong.push(format!("{line}: {:?}", rules(&result)));
        }
        judged += 1;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(judged > 60, "{judged}");
}

#[test]
fn every_detector_is_in_the_specification() {
    let specification = include_str!("../../../../docs/spec/classification.md");
    for compiled in crate::detect::catalogue().unwrap() {
        let id = compiled.detector.id;
        assert!(specification.contains(&format!("`{id}`")), "{id}");
        for literal in compiled.detector.literals {
            assert_eq!(*literal, literal.to_ascii_lowercase(), "{id}");
        }
    }
}

#[test]
fn hard_negatives_raise_nothing() {
    let classifier = classifier("");
    for line in include_str!("negatives.txt").lines() {
        let result = classifier.classify(&[user(line)], &NOW);
        assert_eq!(rules(&result), [""; 0], "{line}");
        assert_eq!(level(&classifier, &result), "public");
    }
}

#[test]
fn a_right_checksum_is_certain_and_a_wrong_one_is_labelled_lower() {
    let classifier = classifier("");
    let right = github_token();
    let result = classifier.classify(&[user(&right)], &NOW);
    assert_eq!(rules(&result), ["github-token"]);
    assert_eq!(result.findings[0].confidence, Confidence::High);
    assert_eq!(level(&classifier, &result), "restricted");
    let wrong = right.replace('z', "y");
    let result = classifier.classify(&[user(&wrong)], &NOW);
    assert_eq!(rules(&result), ["github-token-unverified"]);
    assert_eq!(level(&classifier, &result), "confidential");
}

#[test]
fn encodings_and_invisible_characters_hide_nothing() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let classifier = classifier("");
    let token = github_token();
    let once = STANDARD.encode(format!("the token is {token} for now"));
    let twice = STANDARD.encode(format!("again: {once} end"));
    let percent: String = token.bytes().map(|b| format!("%{b:02x}")).collect();
    let escaped: String = token.bytes().map(|b| format!("\\u{b:04x}")).collect();
    let full_width: String = token
        .chars()
        .map(|c| char::from_u32(c as u32 + 0xfee0).unwrap())
        .collect();
    let hidden: String = token.chars().flat_map(|c| [c, '\u{200b}']).collect();
    let argument = format!(r#"{{"content":"line\n{token}\n"}}"#);
    let broken = format!("\"{}\" +\n    \"{}\"", &token[..15], &token[15..]);
    let wrapped = format!("{}\\\n{}", &token[..20], &token[20..]);
    for text in [
        once, twice, percent, escaped, full_width, hidden, argument, broken, wrapped,
    ] {
        let result = classifier.classify(&[user(&format!("see {text} there"))], &NOW);
        assert!(
            rules(&result).contains(&"github-token"),
            "{text}: {:?}",
            rules(&result)
        );
    }
}

#[test]
fn text_encoded_too_often_is_unread() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let classifier = classifier("");
    let mut text = "an ordinary sentence that hides nothing at all".to_owned();
    for _ in 0..3 {
        text = STANDARD.encode(&text);
    }
    let result = classifier.classify(&[user(&text)], &NOW);
    assert_eq!(rules(&result), [OVER_BUDGET]);
    assert_eq!(level(&classifier, &result), "restricted");
}

#[test]
fn what_cannot_be_read_takes_the_unreadable_label() {
    let classifier = classifier("");
    let image = Segment {
        origin: Origin::Unreadable,
        ..user("")
    };
    let result = classifier.classify(&[user("hello"), image], &NOW);
    assert_eq!(
        (rules(&result), result.findings[0].segment),
        (vec![UNREADABLE], 1)
    );
    assert_eq!(level(&classifier, &result), "restricted");
    let big = "word ".repeat(super::MAX_REQUEST_BYTES / 5 + 1);
    let result = classifier.classify(&[user(&big)], &NOW);
    assert_eq!(rules(&result), [OVERSIZE]);
    assert_eq!(level(&classifier, &result), "restricted");
    let many = vec![user("a"); super::MAX_SEGMENTS + 1];
    assert_eq!(rules(&classifier.classify(&many, &NOW)), [OVERSIZE]);
}

#[test]
fn spans_point_at_the_value_alone() {
    let classifier = classifier("");
    let text = "db: postgres://app:Vt8-qLm2x@db.internal/prod";
    let result = classifier.classify(&[user(text)], &NOW);
    assert_eq!(rules(&result), ["uri-password"]);
    assert_eq!(&text[result.findings[0].span.clone()], "Vt8-qLm2x");
}

#[test]
fn terms_are_whole_words_in_any_case_and_spacing() {
    let classifier = classifier(
        "[[terms]]\nid = \"names\"\nterms = [\"Project Falcon\", \"Größe\", \"C++ core\"]\nlabel = \"confidential\"",
    );
    for text in [
        "about PROJECT\n  falcon.",
        "project falcon",
        "GRÖSSE größe",
        "GRÖßE",
        "the c++ core!",
        "pro\u{200b}ject falcon",
    ] {
        assert_eq!(
            rules(&classifier.classify(&[user(text)], &NOW)).first(),
            Some(&"names"),
            "{text}"
        );
    }
    for text in [
        "projects falcon",
        "project falconry",
        "project",
        "unproject falcon",
        "c++ cores",
    ] {
        assert_eq!(
            rules(&classifier.classify(&[user(text)], &NOW)),
            [""; 0],
            "{text}"
        );
    }
}

#[test]
fn markings_count_on_a_line_of_their_own_only() {
    let classifier = classifier(
        "[[markings]]\nid = \"ours\"\nlines = [\"ACME Secret\"]\nlabel = \"restricted\"",
    );
    for (text, rule) in [
        ("// ACME secret\ncode()", "ours"),
        ("a\n<!-- CUI//SP-CTI -->\nb", "marking-cui"),
        ("TOP SECRET//SI//NOFORN", "marking-classified"),
        ("x\n# SECRET//NOFORN\r\ny", "marking-classified"),
        ("(S//NF) The second paragraph.", "marking-classified"),
        ("TLP:RED", "marking-tlp-red"),
        ("## TLP:AMBER+STRICT", "marking-tlp-amber"),
        (
            "This file is subject to the International Traffic in Arms Regulations.",
            "marking-itar",
        ),
    ] {
        assert_eq!(
            rules(&classifier.classify(&[user(text)], &NOW)),
            [rule],
            "{text}"
        );
    }
    for text in [
        "is it ACME secret or not",
        "parse CUI banners here",
        "the secret//key path",
        "TLP:RED means stop",
        "an ITAR module",
    ] {
        assert_eq!(
            rules(&classifier.classify(&[user(text)], &NOW)),
            [""; 0],
            "{text}"
        );
    }
}

#[test]
fn paths_and_repositories_set_a_floor() {
    let classifier = classifier(
        "[[paths]]\nid = \"pay\"\nrepositories = [\"acme/*\"]\nglobs = [\"src/pay/**\"]\nlabel = \"restricted\"\n[[repositories]]\nid = \"ours\"\nglobs = [\"acme/web\"]\nlabel = \"internal\"",
    );
    let at = |path, repository| {
        let segment = Segment {
            path: Some(path),
            ..user("fn main() {}")
        };
        let result = classifier.classify(&[segment], &Context { repository, ..NOW });
        level(&classifier, &result)
    };
    assert_eq!(at("src/pay/card.rs", "acme/web"), "restricted");
    assert_eq!(
        at("/workspace/src/x/../pay/./card.rs", "acme/api"),
        "restricted"
    );
    assert_eq!(at("SRC/PAY/card.rs", "acme/api"), "restricted");
    assert_eq!(at("src/payments.rs", "acme/web"), "internal");
    assert_eq!(at("src/pay/card.rs", "other/web"), "public");
}

#[test]
fn an_exception_excuses_one_rule_in_its_files_until_its_date() {
    let classifier = classifier(
        "[[exceptions]]\nid = \"fixture\"\nrule = \"github-token\"\nrepositories = [\"acme/web\"]\nglobs = [\"tests/*.txt\"]\nowner = \"o\"\nreason = \"r\"\nexpires = \"2027-01-15T08:00:00Z\"",
    );
    let token = github_token();
    let classify = |path: Option<&'static str>, seconds: i64| {
        let segment = Segment {
            path,
            ..user(&token)
        };
        classifier.classify(
            &[segment],
            &Context {
                now: Timestamp::from_unix_seconds(seconds),
                ..NOW
            },
        )
    };
    let excused = classify(Some("tests/a.txt"), 1_799_999_999);
    assert_eq!(rules(&excused), [""; 0]);
    assert_eq!(excused.excepted[0].exception, "fixture");
    assert_eq!(excused.excepted[0].finding.rule, "github-token");
    for counted in [
        classify(Some("tests/a.txt"), 1_800_000_000),
        classify(Some("Tests/a.txt"), 0),
        classify(Some("src/a.txt"), 0),
        classify(None, 0),
    ] {
        assert_eq!(rules(&counted), ["github-token"]);
    }
    let now = Timestamp::from_unix_seconds(1_800_000_000);
    assert_eq!(
        classifier
            .policy()
            .expired_exceptions(now)
            .collect::<Vec<_>>(),
        [("fixture", "o")]
    );
}

#[test]
fn detectors_can_be_switched_off_and_relabelled() {
    let token = github_token();
    let off = classifier("[detectors]\noff = [\"github-token\"]");
    assert_eq!(rules(&off.classify(&[user(&token)], &NOW)), [""; 0]);
    let lower = classifier("[detectors.labels]\ngithub-token = \"internal\"");
    let result = lower.classify(&[user(&token)], &NOW);
    assert_eq!(level(&lower, &result), "internal");
}

#[test]
fn redaction_leaves_everything_but_the_secret() {
    let token = github_token();
    assert_eq!(
        redact(&format!(
            "curl -H 'Authorization: Bearer {token}' https://x"
        )),
        "curl -H 'Authorization: Bearer [redacted]' https://x"
    );
    assert_eq!(
        redact("mysql --password=Vt8-qLm2x -h db"),
        "mysql --password=[redacted] -h db"
    );
    assert_eq!(
        redact("psql postgres://app:Vt8-qLm2x@db/prod"),
        "psql postgres://app:[redacted]@db/prod"
    );
    assert_eq!(
        redact("cargo test -p proofroom-classify"),
        "cargo test -p proofroom-classify"
    );
}

#[test]
fn no_finding_repeats_the_text() {
    let classifier = classifier("");
    let token = github_token();
    let shown = format!("{:?}", classifier.classify(&[user(&token)], &NOW));
    assert!(!shown.contains(&token[4..20]), "{shown}");
}

#[test]
fn tables_stay_below_eight_mebibytes() {
    let bytes = shared().scanner.table_bytes();
    assert!(bytes < 8 << 20, "{bytes}");
}

fn samples() -> impl Strategy<Value = String> {
    let known: Vec<String> = CASES
        .lines()
        .filter_map(|line| line.strip_prefix("ACCEPT "))
        .filter_map(|line| line.split_once(": "))
        .map(|(_, text)| {
            text.replace('~', "")
                .replace("\\n", "\n")
                .replace("{T}", "~")
        })
        .filter(|text| text.len() < 400)
        .collect();
    proptest::sample::select(known)
}

fn pieces() -> impl Strategy<Value = String> {
    let known = CASES
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(|l| {
            l.split_once(": ")
                .unwrap()
                .1
                .replace('~', "")
                .replace("\\n", "\n")
        })
        .collect::<Vec<_>>();
    prop_oneof![
        proptest::sample::select(known),
        "[ -~]{0,80}",
        "\\PC{0,40}",
        "[%\\\\+/=A-Za-z0-9]{0,80}"
    ]
}

const LONGER_THAN_ANY_WINDOW: usize = 24_576;

/// Bytes that the literals' pass, the patterns and the readings look at.
fn work(text: &str) -> usize {
    work::take();
    shared().scanner.scan(text, &mut |_| {});
    work::take()
}

/// Every literal of every detector over and over, which announces as much as any text can: twice
/// the text is twice the work, and hardly more.
#[test]
fn the_work_is_linear_in_the_text_for_every_literal_repeated() {
    let catalogue = crate::detect::catalogue().unwrap();
    let literals = catalogue.iter().flat_map(|c| c.detector.literals);
    for literal in literals.collect::<std::collections::BTreeSet<_>>() {
        let times = LONGER_THAN_ANY_WINDOW / literal.len();
        let (once, twice) = (
            work(&literal.repeat(times)),
            work(&literal.repeat(2 * times)),
        );
        assert!(twice <= 3 * once, "{literal}: {once} and {twice}");
    }
}

/// A hyphen ends a word and goes on with a token, so that each of these could be one of 16 KiB.
#[test]
fn a_token_that_begins_again_and_again_costs_no_more_than_others() {
    for between in ["-".to_owned(), "a".repeat(15) + "-", "a".repeat(300) + "-"] {
        let text = format!("eyJ{between}").repeat(LONGER_THAN_ANY_WINDOW / between.len() / 2);
        let each = work(&text) / text.len();
        assert!(each < 150, "{each} bytes of work a byte");
    }
    let token = "eyJ-eyJ-x-eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";
    let found = shared().classify(&[user(token)], &NOW);
    assert!(rules(&found).contains(&"json-web-token"), "{found:?}");
}

#[test]
fn a_token_behind_more_beginnings_than_are_tried_is_unread() {
    let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";
    for (before, between, crowded) in [
        (15, "-", false),
        (16, "-", true),
        (17, "aB3_", true),
        (20_000, "-", true),
        (40, "- ", false),
    ] {
        let text = format!("see {}{token}", format!("eyJ{between}").repeat(before));
        let found = shared().classify(&[user(&text)], &NOW);
        let told: Vec<&str> = rules(&found);
        let hidden = !told.contains(&"json-web-token");
        assert!(
            told.contains(&OVER_BUDGET) == crowded && (crowded || !hidden),
            "{before}: {told:?}"
        );
        let cut = text.len() - token.len() + 9;
        let halves = [user(&text[..cut]), user(&text[cut..])];
        let halved = shared().classify(&halves, &NOW);
        assert_eq!(halved.label, found.label, "{before} {between}");
    }
    let encoded = "eyJhIjoxfSx7".repeat(40) + "==\n";
    let found = shared().classify(&[user(&encoded)], &NOW);
    assert_eq!(rules(&found), [""; 0], "no token ends it");
    let off = classifier("[detectors]\noff = [\"json-web-token\"]");
    let text = "eyJ-".repeat(30) + token;
    assert!(!rules(&off.classify(&[user(&text)], &NOW)).contains(&OVER_BUDGET));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn the_work_is_linear_in_any_repeated_text(part in pieces(), more in "[%\\\\+/=\"'A-Za-z0-9 \n\u{200b}]{1,40}") {
        let part = part + &more;
        let times = LONGER_THAN_ANY_WINDOW / part.len() + 1;
        let (once, twice) = (work(&part.repeat(times)), work(&part.repeat(2 * times)));
        prop_assert!(twice <= 3 * once, "{part:?}: {once} and {twice}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn more_segments_and_more_lines_never_lower_the_label(
        text in pieces(), before in pieces(), after in pieces(), segment in pieces(),
    ) {
        let classifier = crate::classifier::tests::shared();
        let alone = classifier.classify(&[user(&text)], &NOW).label;
        let lines = format!("{before}\n\n{text}\n\n{after}");
        prop_assert!(classifier.classify(&[user(&lines)], &NOW).label >= alone);
        for segments in [[user(&text), user(&segment)], [user(&segment), user(&text)]] {
            prop_assert!(classifier.classify(&segments, &NOW).label >= alone);
        }
    }

    /// The library's automaton in place of the literals' own engine finds the same.
    #[test]
    fn another_engine_finds_the_same(text in pieces(), more in pieces()) {
        let text = text + &more;
        prop_assert_eq!(found_by(&shared().scanner, &text), found_by(&ORACLE, &text));
    }

    #[test]
    fn spans_are_slices_of_their_segment(text in pieces(), more in pieces()) {
        let text = text + &more;
        let result = shared().classify(&[user(&text)], &NOW);
        for finding in &result.findings {
            prop_assert!(text.get(finding.span.clone()).is_some(), "{:?}", finding.span);
        }
        let _redacted = redact(&text);
    }
}

static ORACLE: std::sync::LazyLock<Scanner> = std::sync::LazyLock::new(|| {
    Scanner::with_engine(shared().policy(), |literals| {
        let mut library = aho_corasick::AhoCorasick::builder();
        let built = library.ascii_case_insensitive(true).build(literals);
        Box::new(built.unwrap())
    })
});

impl Engine for aho_corasick::AhoCorasick {
    fn scan(&self, text: &[u8], found: &mut dyn FnMut(usize, usize)) {
        let hits = self.find_overlapping_iter(text);
        hits.for_each(|hit| found(hit.pattern().as_usize(), hit.start()));
    }

    fn table_bytes(&self) -> usize {
        self.memory_usage()
    }
}

/// The rules that hit; which of overlapping hits is reported depends on the order.
fn found_by(scanner: &Scanner, text: &str) -> std::collections::BTreeSet<String> {
    let mut found = std::collections::BTreeSet::new();
    scanner.scan(text, &mut |hit| {
        found.insert(hit.rule.to_owned());
    });
    found
}

#[test]
fn a_patient_is_named_within_the_reach_of_the_document_that_names_one() {
    let clinical = |gap: usize| {
        let filler = "x".repeat(gap);
        format!("<patientRole>{filler}<given>James</given>")
    };
    let resource = |kind: &str, key: &str, gap: usize| {
        let filler = "x".repeat(gap);
        format!(r#"{{"resourceType":"{kind}"{filler}{key}"#)
    };
    let patient = |gap| resource("Patient", r#""family":"Green""#, gap);
    let subject = r#""subject":{"reference":"81","display":"Brenda Marsh"}"#;
    let observation = |gap| resource("Observation", subject, gap);
    for (within, beyond) in [
        (clinical(2_499), clinical(2_500)),
        (patient(2_000), patient(2_001)),
        (observation(3_000), observation(3_001)),
    ] {
        assert!(finds_health(&within));
        assert!(!finds_health(&beyond));
    }
}

fn finds_health(text: &str) -> bool {
    let result = shared().classify(&[user(text)], &NOW);
    let rules = rules(&result);
    ["health-cda", "health-fhir"]
        .iter()
        .any(|id| rules.contains(id))
}

fn shared() -> &'static Classifier {
    static SHARED: std::sync::LazyLock<Classifier> = std::sync::LazyLock::new(|| classifier(""));
    &SHARED
}

#[test]
fn threads_at_once_find_what_one_finds() {
    let classifier = classifier("");
    classifier.warm(1);
    let text = "password = 'Vt8-qLm2x'\n".repeat(40);
    let wanted = classifier.classify(&[user(&text)], &NOW);
    assert!(!wanted.findings.is_empty());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| assert_eq!(classifier.classify(&[user(&text)], &NOW), wanted));
        }
    });
}

#[test]
fn a_warmed_classifier_says_what_another_says() {
    let (warm, cold) = (classifier(""), classifier(""));
    warm.warm(1);
    let segments = [user(CASES)];
    assert_eq!(
        warm.classify(&segments, &NOW),
        cold.classify(&segments, &NOW)
    );
}
