//! Credentials without a vendor's form: a telling name, an operator, a literal. The name and the
//! value are both judged, because half of all code says `token = …`.

use std::ops::Range;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    Broken, Detector, Hit, Severity, Verdict, Window, always,
    value::{Look, NameKind, is_placeholder, look},
};
use crate::Confidence;

const NAMES: &[&str] = &[
    "pass",
    "pwd",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "access_key",
    "accesskey",
    "access-key",
    "private_key",
    "privatekey",
    "auth_key",
    "authkey",
    "encryption_key",
    "signing_key",
    "master_key",
    "account_key",
    "accountkey",
    "client_key",
    "app_key",
    "appkey",
    "service_key",
    "_key",
    "credential",
    "storage_key",
    "license_key",
];

/// Name, operator, literal. Groups 1 to 3: quoted; 4: the rest of a line of configuration.
const PATTERN: &str = concat!(
    r"(?i:pass|pwd|secret|token|credential|(?:api|access|private|auth|encryption|signing|master|",
    r"account|client|app|service|storage|license)[_-]?key|_key)[A-Za-z0-9_.\-]{0,40}",
    r#"(?:\\?["'`\]\)]){0,3}[ \t]{0,20}"#,
    r#"(?::[ \t]{0,4}[&A-Za-z_<>'\[\]?|. ]{1,30}=|:=|=>|::?:?=|[!=]={1,2}|[+.|?]{1,2}=|[=:(,>])"#,
    r#"[ \t]{0,20}(?:\r?\n[ \t]{0,40})?(?:[bruLf@]{0,2}\\?"([^"\r\n]{3,300}?)\\?"|[bruLf@]{0,2}'([^'\r\n]{3,300})'"#,
    r#"|`([^`\r\n]{3,300})`|([^\s"'`,;(){}\[\]<>&|]{4,300})(?:[ \t]*(?:[#;,&\\<]|$)|[ \t]*[\r\n]))"#,
);

const fn named(
    id: &'static str,
    reason: &'static str,
    severity: Severity,
    check: fn(&Hit<'_>) -> Verdict,
) -> Detector {
    Detector {
        id,
        reason,
        severity,
        literals: NAMES,
        window: Window::At { reach: 440 },
        pattern: PATTERN,
        check,
        broken: Broken::Leave,
        needs: always,
    }
}

pub(super) const DETECTORS: &[Detector] = &[
    Detector {
        needs: operator,
        ..named(
            "credential-assignment",
            "a generated value is assigned to a name that says credential",
            Severity::Highest,
            generated,
        )
    },
    Detector {
        needs: operator,
        ..named(
            "credential-assignment-possible",
            "a value that may be a credential is assigned to a name that says so",
            Severity::SecondHighest,
            possible,
        )
    },
    Detector {
        literals: &[
            "bearer",
            "basic ",
            "authorization",
            "x-api-key",
            "x-auth-token",
            "private-token",
        ],
        window: Window::At { reach: 600 },
        pattern: r#"(?i:authorization\\?["']?\s{0,4}[:=,]\s{0,4}\\?["'`]?(?:bearer|token|basic|apikey|api-key) {1,2}|bearer {1,2}|basic {1,2}|x-api-key\\?["']?\s{0,3}[:=,]\s{0,3}\\?["'`]?|x-auth-token\\?["']?\s{0,3}[:=,]\s{0,3}\\?["'`]?|private-token\\?["']?\s{0,3}[:=,]\s{0,3}\\?["'`]?)([A-Za-z0-9._~+/=-]{8,512})"#,
        ..named(
            "authorization-header",
            "a credential in an authorization header",
            Severity::Highest,
            header,
        )
    },
    Detector {
        literals: &[
            "--password",
            "--passwd",
            "--pass",
            "--token",
            "--secret",
            "--api-key",
            "--apikey",
            "-p'",
            "-u ",
        ],
        window: Window::At { reach: 300 },
        pattern: r#"(?:--(?:password|passwd|pass|token|secret|api-?key)[= ] ?\\?["']?([^\s"'`\\$<]{4,200})|-u ?\\?["']?[A-Za-z0-9_.@-]{1,60}:([^\s"'`\\$<]{4,200}))"#,
        ..named(
            "command-line-password",
            "a credential among the arguments of a command",
            Severity::Highest,
            argument,
        )
    },
    Detector {
        literals: &["password", "passphrase", "passcode"],
        window: Window::At { reach: 200 },
        pattern: r#"(?i:password|passphrase|passcode)(?: [A-Za-z0-9'`._@-]{1,40}){0,4}? (?i:is|was|to)(?: now|:)? ["'`]?([^\s"'`,;]{4,80})"#,
        ..named(
            "password-in-prose",
            "a sentence that tells a password",
            Severity::SecondHighest,
            told,
        )
    },
    Detector {
        literals: &["machine "],
        window: Window::At { reach: 400 },
        pattern: r"machine\s{1,8}\S{1,120}\s{1,8}login\s{1,8}\S{1,120}\s{1,8}password\s{1,8}(\S{4,200})",
        ..named(
            "netrc-password",
            "a password in a netrc line",
            Severity::Highest,
            argument,
        )
    },
    Detector {
        literals: &["_authtoken", "_password", "_auth"],
        window: Window::At { reach: 300 },
        pattern: r#"_(?:authToken|password|auth)\s{0,3}=\s{0,3}"?([A-Za-z0-9+/=_-]{8,200})"#,
        ..named(
            "npmrc-token",
            "a credential in an npm configuration line",
            Severity::Highest,
            argument,
        )
    },
];

/// Whether an operator may follow the name. It is asked for every `token` and `secret` of a text.
fn operator(text: &[u8], window: Range<usize>) -> bool {
    let window = text.get(window).unwrap_or_default();
    let passed = |part: &[u8], is: fn(&u8) -> bool| part.iter().take_while(|b| is(b)).count();
    let name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let (_, rest) = window.split_at(passed(window, name));
    let closing = |b: &u8| matches!(b, b'\\' | b'"' | b'\'' | b'`' | b']' | b')');
    let (_, rest) = rest.split_at(passed(rest, closing));
    let (_, rest) = rest.split_at(passed(rest, |b| matches!(b, b' ' | b'\t')));
    rest.first().is_some_and(|b| b":=!+.|?(,>".contains(b))
}

fn generated(hit: &Hit<'_>) -> Verdict {
    if *hit.look.get_or_init(|| judge(hit)) == Look::Generated {
        Verdict::Accept(Confidence::Medium)
    } else {
        Verdict::Reject
    }
}

fn possible(hit: &Hit<'_>) -> Verdict {
    if *hit.look.get_or_init(|| judge(hit)) == Look::Possible {
        Verdict::Accept(Confidence::Low)
    } else {
        Verdict::Reject
    }
}

fn header(hit: &Hit<'_>) -> Verdict {
    if hit.whole().to_ascii_lowercase().contains("basic ") {
        let decoded = STANDARD.decode(hit.value()).unwrap_or_default();
        let password = decoded.split(|b| *b == b':').nth(1).unwrap_or_default();
        let known = std::str::from_utf8(password).is_ok_and(is_placeholder);
        return if password.len() < 3 || known {
            Verdict::Reject
        } else {
            Verdict::Accept(Confidence::High)
        };
    }
    match look(hit.value(), NameKind::Token) {
        Look::Not => Verdict::Reject,
        Look::Possible | Look::Generated => Verdict::Accept(Confidence::Medium),
    }
}

/// Prose names many things after "password is": only what has a digit counts.
fn told(hit: &Hit<'_>) -> Verdict {
    let value = hit.value().trim_end_matches(['.', '!', '?', ')']);
    let before = hit.text.get(..hit.value.start).unwrap_or_default();
    let quoted = before.ends_with(['"', '\'', '`'])
        && hit
            .text
            .get(hit.value.end..)
            .is_some_and(|after| after.starts_with(['"', '\'', '`']));
    if quoted
        && value.len() >= 4
        && !NOT_TOLD.contains(&value)
        && !value.contains(['{', '$', '%', '<'])
    {
        return Verdict::Accept(Confidence::Low);
    }
    if value.bytes().any(|b| b.is_ascii_digit()) && look(value, NameKind::Password) != Look::Not {
        Verdict::Accept(Confidence::Low)
    } else {
        Verdict::Reject
    }
}

fn argument(hit: &Hit<'_>) -> Verdict {
    match look(hit.value(), NameKind::Password) {
        Look::Not => Verdict::Reject,
        Look::Possible | Look::Generated => Verdict::Accept(Confidence::Medium),
    }
}

fn judge(hit: &Hit<'_>) -> Look {
    let name = name_of(hit);
    let Some(kind) = name_kind(&name) else {
        return Look::Not;
    };
    let value = hit.value();
    if value.eq_ignore_ascii_case(&name) {
        return Look::Not;
    }
    if hit.group < QUOTED_GROUPS {
        return look(value, kind);
    }
    // without quotes only a line of configuration counts, and its value must not read like code
    let code = value.contains(['.', '*', '?', '\\', '/', ':'])
        && value.bytes().filter(u8::is_ascii_digit).count() < 4;
    let line = line_before(hit);
    // the entry of a map on one line, `{user: a, password: b}`
    let entry = line.rsplit_once(['{', ',']).map(|(_, entry)| entry);
    let plain = is_configuration(line) || is_environment(&name, hit);
    let sibling = line.rsplit_once(['{', ',', '(']).is_some_and(|(head, _)| {
        ["user:", "user\":", "username:", "user =", "user=", "login:"]
            .iter()
            .any(|word| head.contains(word))
    });
    if code || !(plain || entry.is_some_and(is_configuration)) || is_placeholder(value) {
        return Look::Not;
    }
    let digit = value.bytes().any(|b| b.is_ascii_digit());
    match look(value, kind) {
        Look::Possible | Look::Not if sibling && is_chosen(value) => Look::Possible,
        Look::Possible if !digit && (kind == NameKind::Token || !plain) => Look::Not,
        other => other,
    }
}

/// `NAME=value` without blanks, as a shell or a log writes it.
fn is_environment(name: &str, hit: &Hit<'_>) -> bool {
    let upper = name
        .bytes()
        .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    let before = hit.text.get(..hit.value.start).unwrap_or_default();
    upper && name.contains('_') && before.ends_with('=') && !before.ends_with("==")
}

/// What a person may have chosen, next to a user's name: letters and digits, no variable.
fn is_chosen(value: &str) -> bool {
    (3..=40).contains(&value.len())
        && !is_placeholder(value)
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#%&*+-_@^".contains(&b))
        && value
            .bytes()
            .any(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && !value.bytes().any(|b| b.is_ascii_uppercase() || b == b'_')
}

/// The whole identifier of which the literal is a part.
fn name_of(hit: &Hit<'_>) -> String {
    let before = hit.text.get(..hit.span.start).unwrap_or_default();
    let part = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let start: String = before.chars().rev().take_while(part).take(60).collect();
    let start: String = start.chars().rev().collect();
    let rest: String = hit.whole().chars().take_while(part).collect();
    start + &rest
}

fn line_before<'a>(hit: &Hit<'a>) -> &'a str {
    let before = hit.text.get(..hit.span.start).unwrap_or_default();
    before.rsplit('\n').next().unwrap_or_default()
}

/// Nothing but a name stands before the operator: `NAME=`, `  name: `, `export NAME=`, `- name: `.
fn is_configuration(line: &str) -> bool {
    let line = line
        .trim_start()
        .trim_start_matches(['-', '#', '$', '>', '+'])
        .trim_start();
    let line = ["export ", "set ", "ENV ", "ARG ", "env "]
        .iter()
        .find_map(|word| line.strip_prefix(word))
        .unwrap_or(line);
    line.bytes().all(|b| {
        b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'"' | b'\'' | b'/' | b':')
    })
}

/// Whether a name says credential, and of which kind. Its last word decides: a `token_type` or a
/// `password_field` holds no credential.
fn name_kind(name: &str) -> Option<NameKind> {
    let words = words(name);
    let last = words.last()?.as_str();
    if NOT_LAST.contains(&last)
        || words
            .iter()
            .any(|w| matches!(w.as_str(), "public" | "csrf" | "xsrf"))
    {
        return None;
    }
    let has = |wanted: &[&str]| {
        words.iter().any(|word| {
            wanted
                .iter()
                .any(|w| word == w || word.strip_suffix('s') == Some(w))
        })
    };
    if has(&[
        "password",
        "passwd",
        "pass",
        "pwd",
        "passphrase",
        "passcode",
    ]) || words
        .iter()
        .any(|w| w.ends_with("password") || w.ends_with("passwd") || w.ends_with("pwd"))
    {
        return Some(NameKind::Password);
    }
    let token = has(&[
        "secret",
        "token",
        "apikey",
        "credential",
        "accesskey",
        "authkey",
        "appkey",
        "accountkey",
        "privatekey",
    ]) || words
        .iter()
        .any(|w| w.ends_with("token") || w.ends_with("secret") || w.ends_with("apikey"));
    let key = has(&["key"]);
    if token || (key && has(KEY_QUALIFIERS)) {
        return Some(NameKind::Token);
    }
    key.then_some(NameKind::Key)
}

/// `dbPassword_v2` is `db`, `password`, `v2`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut small = false;
    for c in name.chars() {
        let starts = c.is_ascii_uppercase() && small;
        if (starts || !c.is_ascii_alphanumeric()) && words.last().is_some_and(|w| !w.is_empty()) {
            words.push(String::new());
        }
        small = c.is_ascii_lowercase() || c.is_ascii_digit();
        if c.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(c.to_ascii_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What makes a key a secret one.
const KEY_QUALIFIERS: &[&str] = &[
    "api",
    "access",
    "private",
    "auth",
    "encryption",
    "signing",
    "master",
    "account",
    "client",
    "app",
    "service",
    "storage",
    "license",
];

/// What sentences say of a password that is not one.
const NOT_TOLD: &[&str] = &[
    "string",
    "password",
    "required",
    "invalid",
    "valid",
    "empty",
    "null",
    "none",
    "None",
    "true",
    "false",
    "text",
    "missing",
    "incorrect",
    "correct",
    "hidden",
    "optional",
    "undefined",
    "expired",
];

/// The pattern's groups below this one are quoted.
const QUOTED_GROUPS: usize = 4;

const NOT_LAST: &[&str] = &[
    "name",
    "names",
    "file",
    "filename",
    "path",
    "dir",
    "url",
    "uri",
    "endpoint",
    "id",
    "ids",
    "type",
    "types",
    "kind",
    "field",
    "fields",
    "length",
    "len",
    "size",
    "policy",
    "count",
    "limit",
    "max",
    "min",
    "expiry",
    "expires",
    "expiration",
    "ttl",
    "age",
    "prefix",
    "suffix",
    "regex",
    "pattern",
    "label",
    "placeholder",
    "header",
    "env",
    "var",
    "variable",
    "version",
    "format",
    "algorithm",
    "alg",
    "mode",
    "hint",
    "error",
    "err",
    "message",
    "msg",
    "description",
    "desc",
    "title",
    "class",
    "selector",
    "input",
    "text",
    "test",
    "tests",
    "reset",
    "required",
    "enabled",
    "provider",
    "store",
    "manager",
    "service",
    "source",
    "ref",
    "arn",
    "scope",
    "method",
    "handler",
    "callback",
    "form",
    "strength",
    "usage",
    "help",
    "kinds",
    "index",
    "position",
    "status",
    "passed",
    "change",
    "changed",
    "forgot",
    "validation",
    "rule",
    "rules",
    "issuer",
    "audience",
    "tokenizer",
    "tokenize",
    "tokenized",
    "stream",
    "kdf",
    "hasher",
    "attempts",
    "page",
    "screen",
    "button",
    "icon",
    "vault",
    "engine",
    "location",
    "bypass",
];

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use regex_automata::{Anchored, Input, meta::Regex};

    use super::{PATTERN, operator};
    use crate::detect::compile;

    fn shared() -> &'static Regex {
        static SHARED: LazyLock<Regex> = LazyLock::new(|| compile(PATTERN).unwrap());
        &SHARED
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        /// The quick look never keeps the pattern from a match.
        #[test]
        fn an_operator_is_seen_wherever_the_pattern_matches(
            name in "(pass|token|api[_-]?key|secret)[a-z_.-]{0,3}",
            middle in "[\\\\\"'`)\\] \t]{0,4}(:|:=|=>|::=|==|!=|[+.|?]{1,2}=|\\(|,|>|: &str =|[a-z=]{0,2})[ \n]{0,2}",
            value in "(\"[a-z]{3,6}\"|'[a-z]{3,6}'|`[a-z]{3,6}`|[a-z]{4,6};?)\n?",
        ) {
            let text = format!("{name}{middle}{value}");
            let input = Input::new(&text).anchored(Anchored::Yes);
            let matches = shared().is_match(input);
            prop_assert!(!matches || operator(text.as_bytes(), 0..text.len()), "{text:?}");
        }
    }
}
