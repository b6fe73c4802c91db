//! Personal data: addresses of mail and post, contact cards, dates of birth, account numbers and
//! identity numbers. A checksum or a word that names the number decides; a bare number never does.

use std::ops::Range;

use super::{
    Broken, Detector, Hit, Severity, Verdict, Window, always, at,
    checksums::{aba, kvnr, luhn, nhs, spanish_letter, vin},
    digits,
    line::{around, before_on_line},
    mail,
};
use crate::Confidence;

const fn personal(
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
        severity: Severity::SecondHighest,
        literals,
        window,
        pattern,
        check,
        broken: Broken::Leave,
        needs: always,
    }
}

pub(super) const DETECTORS: &[Detector] = &[
    Detector {
        needs: between_names,
        ..personal(
            "contact-email",
            "a mail address outside the domains reserved for examples",
            &["@"],
            Window::Around {
                before: 64,
                reach: 120,
            },
            mail::PATTERN,
            email,
        )
    },
    personal(
        "contact-card",
        "a vCard with a name and a way to reach it",
        &["begin:vcard"],
        at(2_048),
        r"(?is)BEGIN:VCARD.{1,1500}?\b(?:TEL|EMAIL|ADR)[^:\r\n]{0,60}:[^\r\n]{5,}",
        accept,
    ),
    Detector {
        needs: digits::<1>,
        ..personal(
            "contact-address",
            "a postal address where the text says that it is one",
            &[
                "address",
                "lives at",
                "lives on",
                "living at",
                "resides at",
                "ship to",
                "deliver to",
                "adresse",
                "street",
            ],
            at(220),
            r#"(?i)(?:(?:home |postal |billing |shipping |mailing |street |full)?address(?:[_ ]?line)?(?:[_ ]?1)?\\?["']?(?:\s{0,3}[:=>]\s{0,4}|\s(?:is|with|to)\s)|lives (?:at|on)\s|living at\s|resides at\s|ship to:?\s|deliver to:?\s|adresse\s{0,2}:\s{0,3}|street(?:address(?:line)?)?\\?["']?\s{0,2}[:>]\s{0,3})\\?["']?([^\r\n"'<>{}]{6,100})"#,
            address,
        )
    },
    Detector {
        needs: numbered,
        ..personal(
            "contact-address-block",
            "the lines of a postal address",
            &[
                " suite ", "\nsuite ", "apt. ", " apt ", "apo a", "fpo a", "dpo a", " flat ",
            ],
            Window::Around {
                before: 80,
                reach: 60,
            },
            r"(?i)(?:\b\d{1,6}(?: \d{1,5})? [^\r\n\d,;(){}=<>]{3,50}(?: \d{1,5})?,?(?:\s{1,4}\S{0,3}){0,2}\s{0,4}(?:suite|apt\.?|flat) \d{2,5}\b|\b[AFD]PO A[AEP] \d{5}\b)",
            accept,
        )
    },
    Detector {
        needs: digits::<5>,
        ..personal(
            "date-of-birth",
            "a date next to words that call it a day of birth",
            &["birth", "dob", "bday", "geboren", "née le"],
            Window::Around {
                before: 12,
                reach: 80,
            },
            r#"(?i)\b(?:date[ _-]?of[ _-]?birth|birth[ _-]?date|birthday|birth[ _-]?time|dob|bday|born(?: on)?|geboren am)\b[^\r\n\w]{1,10}((?:19|20)\d\d[-/.]?[01]\d[-/.]?[0-3]\d|[0-3]?\d[-/. ][01]?\d[-/. ](?:19|20)\d\d|\d{1,2} [A-Z][a-z]{2,8},? (?:19|20)\d\d|[A-Z][a-z]{2,8} \d{1,2},? (?:19|20)\d\d)\b"#,
            birth,
        )
    },
    Detector {
        needs: named,
        ..personal(
            "identity-number",
            "a number next to the name of a national document or register",
            &[
                "passport",
                "pass-n",
                "reisepass",
                "pasaporte",
                "licen",
                "nino",
                "national insurance",
                "pesel",
                "personnummer",
                "identity code",
                "henkil",
                "aadhaar",
                "pan card",
                "tax file",
                "social insurance",
                "resident registration",
                "nric",
                "kimlik",
                "tckn",
                "citizen id",
                "tnin",
                "steuer",
                "tax id",
                "itin",
                "codice fiscale",
                "curp",
                "identity number",
                "identity card",
                "personalausweis",
                "national id",
                "national_id",
                "id card",
                "medicare",
                "personal number",
                "tax_id",
                "taxpayer",
                "voter",
            ],
            Window::Around {
                before: 12,
                reach: 90,
            },
            concat!(
                r"(?:(?i:\b(?:passport|pass-?nr|pass-?nummer|reisepass|pasaporte|driver'?s?[ _-]?licen[sc]e|driving[ _-]?licen[sc]e|nino|national insurance|pesel|personnummer|personal identity code|henkil\S{1,8}tunnus|aadhaar|pan card|tax file number|social insurance|resident registration|nric|kimlik|tckn|citizen id|tnin|steuer(?:-?id|identifikationsnummer|nummer)|tax[ _-]?id|taxpayer|itin|codice fiscale|curp|identity (?:number|card)|personalausweis|national[ _-]?id|id card|medicare|personal number|voter)))",
                r#"(?:[ _-]?(?i:number|num|no|nr|nummer|id))?\.?\\?["']?(?:\s{0,3}[:=#]|\s(?i:is|was|of|en mi)|\s)?\s{0,4}\\?["']?([A-Za-z]{0,6}[ -]?\d[A-Za-z0-9 ./+-]{3,22}[A-Za-z0-9])"#
            ),
            identity,
        )
    },
    Detector {
        needs: digits::<1>,
        ..personal(
            "identity-number-short-name",
            "a number next to the short name of a national register",
            &[
                "nif", "nie", "dni", "pnr", "tfn", "sin", "rrn", "fin", "cpf", "bsn", "hetu",
            ],
            at(60),
            r#"\b(?:NIF|NIE|DNI|SIN|FIN|PNR|BSN|CPF|RRN|TFN|nif|nie|dni|pnr|bsn|cpf|rrn|tfn|HETU|hetu)\b(?i:[ _-]?(?:number|no|nr))?\.?\\?["']?(?:\s{0,3}[:=#]|\s(?i:is|was|of|en mi)|\s)?\s{0,4}\\?["']?([A-Za-z]{0,6}[ -]?\d[A-Za-z0-9 ./+-]{3,22}[A-Za-z0-9])"#,
            identity,
        )
    },
    Detector {
        needs: digits::<1>,
        ..personal(
            "identity-number-named-after",
            "a number that the words after it call a personal one",
            &[
                " pnr",
                " personnummer",
                " pesel",
                "numer pesel",
                " nhs number",
                " ssn",
            ],
            Window::Around {
                before: 48,
                reach: 16,
            },
            r"\b(\d[\d -]{7,15}\d)\b[^\r\n\d]{0,24}(?i:pnr|personnummer|pesel|nhs number|ssn)\b",
            identity,
        )
    },
    Detector {
        needs: digits::<9>,
        ..personal(
            "bank-routing",
            "a US bank routing number next to its name",
            &["routing", "aba"],
            at(60),
            r"(?i)\b(?:routing|aba)[^\r\n\d]{1,24}(\d{9})\b",
            |hit| accept_if(aba(hit.value())),
        )
    },
    Detector {
        needs: digits::<10>,
        ..personal(
            "nhs-number",
            "an NHS number whose check digit is right",
            &["nhs"],
            at(60),
            r"(?i)\bnhs[^\r\n\d]{1,24}(\d{3}[ -]?\d{3}[ -]?\d{4})\b",
            |hit| accept_if(nhs(hit.value())),
        )
    },
    personal(
        "vehicle-number",
        "a vehicle identification number whose check digit is right",
        &["vin", "chassis"],
        at(60),
        r"(?i)\b(?:vin|chassis)[^\r\n\w]{0,4}(?:number|no)?[^\r\n\w]{1,6}([A-HJ-NPR-Z0-9]{17})\b",
        |hit| accept_if(vin(hit.value())),
    ),
    Detector {
        severity: Severity::Highest,
        ..personal(
            "payment-card-chip",
            "a payment card number in chip or magnetic stripe data",
            &["5a08", "5a 08", "5a07", "5a0a", "5a09", "5713", "5711"],
            at(60),
            r"(?i)5A ?(?:0[6-9A]) ?((?:\d\d ?){6,10})F?|57 ?(?:1[0-3]|0F) ?(\d{13,19})D\d{7}",
            |hit| {
                let digits: String = hit.value().chars().filter(char::is_ascii_digit).collect();
                let least = digits.get(..digits.len() & !1).unwrap_or_default();
                accept_if([digits.as_str(), least].iter().any(|d| chip_number(d)))
            },
        )
    },
];

/// Whether an address can stand around the `@` at `at`. What begins before another `@` is looked for there.
fn between_names(text: &[u8], window: Range<usize>, at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|at| text.get(at));
    let text = text.get(..window.end).unwrap_or_default();
    before.is_some_and(|b| b.is_ascii_alphanumeric() || b"._%+'-".contains(b))
        && mail::domain(text, at + 1).is_some()
}

/// Whether the last word of the part of an address at `at` has a number behind it.
fn numbered(text: &[u8], window: Range<usize>, at: usize) -> bool {
    let after = text.get(at..window.end).unwrap_or_default();
    // ` suite `, ` flat ` and `apt. ` end with a blank, `apo a` with one of three letters
    let words = after.trim_ascii_start();
    let mut words = words.splitn(3, |b| *b == b' ').skip(1);
    let number = |word: Option<&[u8]>| word.and_then(<[u8]>::first).is_some_and(u8::is_ascii_digit);
    number(words.next()) || number(words.next())
}

/// Whether the name of a document begins at `at`, and a digit is near. `licen` and `identity` stand
/// within a name, the others begin one.
fn named(text: &[u8], window: Range<usize>, at: usize) -> bool {
    let begins = |word: &[u8]| {
        let head = text.get(at..at + word.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(word))
    };
    let before = text.get(window.start..at).unwrap_or_default();
    let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    let drives = || {
        before
            .to_ascii_lowercase()
            .windows(4)
            .any(|part| part == b"driv")
    };
    let fits = if begins(b"licen") {
        drives()
    } else {
        begins(b"identity") || !before.last().is_some_and(word)
    };
    fits && digits::<1>(text, window, at)
}

fn chip_number(digits: &str) -> bool {
    // the tag's value is padded to whole bytes, so the next tag may follow without a gap
    [16, 15, 14, 19, 18]
        .iter()
        .any(|n| digits.get(..*n).is_some_and(luhn))
}

fn accept(_: &Hit<'_>) -> Verdict {
    Verdict::Accept(Confidence::Medium)
}

fn accept_if(holds: bool) -> Verdict {
    if holds {
        Verdict::Accept(Confidence::High)
    } else {
        Verdict::Reject
    }
}

/// A person's address: not a role, not a machine, not reserved, not the author line of a source.
fn email(hit: &Hit<'_>) -> Verdict {
    let whole = hit.whole().to_ascii_lowercase();
    let Some((local, domain)) = whole.rsplit_once('@') else {
        return Verdict::Reject;
    };
    let top = domain.rsplit('.').next().unwrap_or_default();
    let first = local.split(['.', '+', '-', '_']).next().unwrap_or(local);
    let role = ROLES.contains(&local) || ROLES.contains(&first) && local.len() < first.len() + 4;
    let reserved = NOT_TOP.contains(&top)
        || domain.starts_with("example.")
        || RESERVED.iter().any(|reserved| {
            let within = domain.strip_suffix(reserved);
            within.is_some_and(|within| within.is_empty() || within.ends_with('.'))
        });
    let before = hit.text.get(..hit.span.start).unwrap_or_default();
    let mailto = before
        .len()
        .checked_sub(MAILTO.len())
        .and_then(|at| before.get(at..))
        .is_some_and(|last| last.eq_ignore_ascii_case(MAILTO));
    let glued = before.ends_with([':', '/', '@', '\\', '=']) && !mailto && !is_field(before);
    let host = hit.after(2).starts_with(':')
        && !hit.after(2).ends_with([' ', '\n', '"'])
        && hit.after(2).len() > 1;
    let line = around(hit.text, &hit.span, 100);
    let author = AUTHORS.iter().any(|word| line.contains(word)) || is_credit(hit);
    if role || reserved || glued || host || author {
        Verdict::Reject
    } else {
        Verdict::Accept(Confidence::Medium)
    }
}

const MAILTO: &str = "mailto:";

/// `// - Name <mail>`, `"Name <mail>",`: how comments and manifests name who wrote something.
fn is_credit(hit: &Hit<'_>) -> bool {
    let before = before_on_line(hit.text.get(..hit.span.start).unwrap_or_default(), 200);
    let line = before.trim_start();
    let marked = ["//", "#", "*", "\"", "'", ";", "--", "- "]
        .iter()
        .any(|mark| line.starts_with(mark));
    let bracketed = before.ends_with(['<', '(']) && hit.after(1).starts_with(['>', ')']);
    marked && bracketed
}

/// `EMAIL:`, `email=` and the like; other colons begin the password of a URI.
fn is_field(before: &str) -> bool {
    let line = before_on_line(before, 24).to_ascii_lowercase();
    let line = line.trim_end_matches([':', '=']);
    ["mail", "to", "from", "cc", "user", "login", "contact"]
        .iter()
        .any(|word| line.ends_with(word))
}

fn address(hit: &Hit<'_>) -> Verdict {
    let value = hit.value();
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let letters = value.chars().filter(|c| c.is_alphabetic()).count();
    let words = value
        .split_whitespace()
        .filter(|w| w.chars().filter(|c| c.is_alphabetic()).count() >= 2)
        .count();
    let code = value.contains(['(', '=', '/', '{', '[', '@', '\\', '_', '$'])
        || value.contains("0x")
        || value.contains("://")
        || value.contains("::");
    let numbered = value.split([' ', ',']).any(|w| {
        let w = w.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        (1..=6).contains(&w.len()) && w.bytes().all(|b| b.is_ascii_digit())
    });
    let proper = value
        .split_whitespace()
        .filter(|w| w.chars().next().is_some_and(char::is_uppercase))
        .count();
    let street = value.contains(',') || proper >= 2 || words >= 2 && proper >= 1;
    if !code && digits >= 1 && letters >= 5 && words >= 1 && numbered && street {
        Verdict::Accept(Confidence::Low)
    } else {
        Verdict::Reject
    }
}

/// The first day of a year and of the epoch are what test code writes.
fn birth(hit: &Hit<'_>) -> Verdict {
    let digits: String = hit.value().chars().filter(char::is_ascii_digit).collect();
    if hit.value().starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Verdict::Accept(Confidence::Low);
    }
    if digits.ends_with("0101") || digits.starts_with("0101") {
        Verdict::Reject
    } else {
        Verdict::Accept(Confidence::Low)
    }
}

fn identity(hit: &Hit<'_>) -> Verdict {
    let value = hit.value();
    let token: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
    let digits = token.bytes().filter(u8::is_ascii_digit).count();
    let letters = token.len() - digits;
    let distinct = (b'0'..=b'9')
        .filter(|d| token.as_bytes().contains(d))
        .count();
    let german = token.len() == 10 && kvnr(&token);
    let spaced = value
        .split(' ')
        .any(|w| w.len() > 2 && w.bytes().all(|b| b.is_ascii_alphabetic()));
    // a checksum excuses a value with few digits
    let shaped =
        (7..=16).contains(&token.len()) && digits >= 5 && letters <= digits && distinct >= 4;
    if (shaped && (!spaced || digits >= 7)) || german || spanish_letter(&token) {
        Verdict::Accept(Confidence::Low)
    } else {
        Verdict::Reject
    }
}

/// Words that stand for an office or a program, not for a person.
const ROLES: &[&str] = &[
    "noreply",
    "no",
    "donotreply",
    "reply",
    "info",
    "support",
    "admin",
    "administrator",
    "root",
    "security",
    "sales",
    "contact",
    "hello",
    "help",
    "team",
    "webmaster",
    "postmaster",
    "hostmaster",
    "abuse",
    "git",
    "git-lfs",
    "mail",
    "mailer",
    "mailer-daemon",
    "daemon",
    "bot",
    "ci",
    "build",
    "dev",
    "ops",
    "devops",
    "billing",
    "privacy",
    "legal",
    "press",
    "jobs",
    "careers",
    "office",
    "service",
    "services",
    "notifications",
    "newsletter",
    "feedback",
    "you",
    "your",
    "yourname",
    "me",
    "my",
    "user",
    "username",
    "name",
    "test",
    "tester",
    "testing",
    "foo",
    "bar",
    "baz",
    "foobar",
    "someone",
    "somebody",
    "anyone",
    "nobody",
    "email",
    "account",
    "example",
    "sample",
    "demo",
    "dummy",
    "fake",
    "invalid",
    "null",
    "unknown",
    "ec2",
    "ubuntu",
    "deploy",
    "acme",
    "cert",
    "certs",
    "letsencrypt",
    "registry",
    "sha256",
    "ssh",
    "opensource",
    "oss",
    "community",
    "conduct",
    "maintainers",
    "maintainer",
    "licensing",
    "users",
    "list",
    "lists",
];

const RESERVED: &[&str] = &[
    "example.com",
    "example.org",
    "example.net",
    "test.com",
    "foo.com",
    "bar.com",
    "baz.com",
    "domain.com",
    "email.com",
    "mail.com",
    "company.com",
    "yourcompany.com",
    "mycompany.com",
    "yourdomain.com",
    "mydomain.com",
    "acme.com",
    "acme.org",
    "users.noreply.github.com",
    "noreply.github.com",
    "noreply.gitlab.com",
    "gserviceaccount.com",
    "localhost.com",
    "somewhere.com",
    "host.com",
    "x.com",
    "abc.com",
    "xyz.com",
    "a.com",
    "b.com",
    "test.org",
    "foo.bar",
    "contoso.com",
    "fabrikam.com",
    "amazonses.com",
    "sentry.io",
    "github.com",
    "googlegroups.com",
    "lists.sourceforge.net",
    "example.edu",
    "example.co.uk",
    "example.io",
];

/// RFC 2606 and RFC 6761, and what ends a file's or a unit's name.
const NOT_TOP: &[&str] = &[
    "example",
    "test",
    "invalid",
    "localhost",
    "local",
    "internal",
    "lan",
    "corp",
    "home",
    "png",
    "jpg",
    "jpeg",
    "gif",
    "svg",
    "webp",
    "js",
    "ts",
    "json",
    "css",
    "html",
    "service",
    "socket",
    "timer",
    "target",
    "mount",
    "yaml",
    "yml",
    "toml",
    "md",
    "txt",
    "rs",
    "py",
    "go",
    "java",
    "class",
    "lock",
    "git",
    "tgz",
    "zip",
    "onion",
    "fake",
    "foo",
    "bar",
    "baz",
    "svc",
    "cluster",
    "latest",
    "sql",
    "xml",
    "db",
];

/// Where published source names who wrote it.
const AUTHORS: &[&str] = &[
    "copyright",
    "author",
    "maintainer",
    "signed-off-by",
    "co-authored-by",
    "reviewed-by",
    "acked-by",
    "tested-by",
    "reported-by",
    "committer",
    "(c) ",
    "©",
    "credit",
    "commit ",
    "security issues",
    "written by",
    "__email__",
    "conduct",
    "abusive",
    "message-id",
    "mailing list",
    "packager",
];
