//! Credentials without a vendor's form: a telling name, an operator, a literal. The name and the
//! value are both judged, because half of all code says `token = …`.

mod form;
mod given;
mod prose;

use std::ops::Range;

use aho_corasick::AhoCorasick;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use memchr::memmem;
use regex_automata::{Anchored, Input};

use super::{
    Broken, Detector, Hit, Severity, Verdict, Window, always, compile, floor_boundary,
    line::before_on_line,
    name::name_kind,
    scorer::{self, Least, Place, Vector},
    value::{Look, NameKind, is_doubtful, is_placeholder, look},
};
use crate::{Confidence, training::Candidate};
pub(super) use form::{PATTERN, assignment};
use given::{given_looks, given_to_password};
use prose::password_in_prose;

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
        window: Window::At { reach: NAMED_REACH },
        pattern: PATTERN,
        check,
        broken: Broken::Leave,
        needs: always,
    }
}

pub(super) const DETECTORS: &[Detector] = &[
    Detector {
        needs: assigned,
        ..named(
            "credential-assignment",
            "a generated value is assigned to a name that says credential",
            Severity::Highest,
            generated,
        )
    },
    Detector {
        needs: assigned,
        ..named(
            "credential-assignment-possible",
            "a value that may be a credential is assigned to a name that says so",
            Severity::SecondHighest,
            possible,
        )
    },
    // on where a policy says how sure the scorer must be
    Detector {
        needs: assigned_or_doubtful,
        ..named(SCORED, scorer::REASON, Severity::SecondHighest, |_| {
            Verdict::Reject
        })
    },
    given_to_password(
        "credential-assignment",
        "a generated value is given to a password",
        Severity::Highest,
        |hit| given_looks(hit, Look::Generated, Confidence::Medium),
    ),
    given_to_password(
        "credential-assignment-possible",
        "a value that may be a credential is given to a password",
        Severity::SecondHighest,
        |hit| given_looks(hit, Look::Possible, Confidence::Low),
    ),
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
    password_in_prose(),
    Detector {
        literals: &["machine "],
        window: Window::At { reach: 400 },
        needs: |text, window, _| {
            let near = text.get(window).unwrap_or_default();
            memmem::find(near, b"login").is_some()
        },
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

/// Whether the name at `at` says credential and what follows may be a literal that counts. It is
/// asked for every `token` and `secret` of a text, of which few are assigned anything.
fn assigned(text: &[u8], window: Range<usize>, at: usize) -> bool {
    may_be_assigned(text, window, at, false)
}

/// The same, for what the scorer is asked about too.
fn assigned_or_doubtful(text: &[u8], window: Range<usize>, at: usize) -> bool {
    may_be_assigned(text, window, at, true)
}

fn may_be_assigned(text: &[u8], window: Range<usize>, at: usize, doubt: bool) -> bool {
    let end = window.end;
    let name = at + run(text, at..end, is_name);
    let closed = name + run(text, name..end, is_closing);
    let operator = blanks(text, closed..end);
    let after = operator + run(text, operator..end, is_operator);
    if after == operator {
        return false;
    }
    let begin = |from| literal_at(text, from..end);
    let typed = || {
        let declared = operator + 1..end.min(operator + MAX_TYPE);
        let equals = operator + 1 + run(text, declared, is_type);
        let colon = text.get(operator) == Some(&b':');
        (colon && text.get(equals) == Some(&b'=')).then(|| begin(equals + 1))
    };
    // a literal without quotes may begin with what operators are made of
    let mixed = (after > operator + 1).then_some(Literal::Mixed);
    let literals = [Some(begin(after)), typed(), mixed].map(|l| l.unwrap_or(Literal::None));
    if literals
        .iter()
        .all(|literal| matches!(literal, Literal::None))
    {
        return false;
    }
    let Some(kind) = kind_of_name(text, at, name) else {
        return false;
    };
    literals.into_iter().any(|literal| match literal {
        Literal::None => false,
        Literal::Quoted(start, mark) => quoted_counts(text, start..end, (mark, kind, doubt)),
        Literal::Bare(start) => {
            bare_counts(text, start..end, kind, doubt) && may_be_configuration(text, at)
        }
        Literal::Mixed => may_be_configuration(text, at),
    })
}

/// How a literal begins, where one may.
enum Literal {
    None,
    /// From this byte on to the same mark.
    Quoted(usize, u8),
    /// Without quotes, from this byte on.
    Bare(usize),
    /// Without quotes, somewhere in the operator.
    Mixed,
}

fn literal_at(text: &[u8], rest: Range<usize>) -> Literal {
    let end = rest.end;
    let mut value = blanks(text, rest);
    value += usize::from(text.get(value) == Some(&b'\r'));
    if text.get(value) == Some(&b'\n') {
        value = blanks(text, value + 1..end);
    }
    let quote = value + run(text, value..end.min(value + 2), |b| b"bruLf@".contains(b));
    let quote = quote + usize::from(text.get(quote) == Some(&b'\\'));
    match text.get(quote) {
        Some(mark @ (b'"' | b'\'' | b'`')) => Literal::Quoted(quote + 1, *mark),
        _ if text.get(value).is_some_and(is_bare) => Literal::Bare(value),
        _ => Literal::None,
    }
}

/// What a literal without quotes is made of.
const fn is_bare(b: &u8) -> bool {
    let mark = matches!(
        b,
        b'"' | b'\'' | b'`' | b',' | b';' | b'<' | b'>' | b'&' | b'|'
    );
    let bracket = matches!(b, b'(' | b')' | b'{' | b'}' | b'[' | b']');
    !b.is_ascii_whitespace() && !mark && !bracket
}

/// Whether the literal without quotes at the start of `rest` ends as one does, and may look like a
/// credential.
fn bare_counts(text: &[u8], rest: Range<usize>, kind: NameKind, doubt: bool) -> bool {
    let end = rest.start + run(text, rest.clone(), is_bare);
    let value = text.get(rest.start..end).unwrap_or_default();
    // it may end before one of these
    if value.iter().any(|b| matches!(b, b'#' | b'\\')) {
        return true;
    }
    let next = text.get(blanks(text, end..text.len()));
    let ends = next.is_none_or(|next| b"#;,&\\<}\r\n".contains(next));
    if !ends || value.len() < MIN_BARE {
        return false;
    }
    // a value of other bytes is not judged here
    std::str::from_utf8(value).map_or(true, |value| {
        !reads_like_code(value)
            && (look(value, kind) != Look::Not || is_chosen(value) || (doubt && is_doubtful(value)))
    })
}

/// Whether what stands from the start of `rest` to the next `mark` looks like a credential.
fn quoted_counts(
    text: &[u8],
    rest: Range<usize>,
    (mark, kind, doubt): (u8, NameKind, bool),
) -> bool {
    let within = |b: &u8| *b != mark && !matches!(b, b'\r' | b'\n');
    let close = rest.start + run(text, rest.clone(), within);
    let value = text.get(rest.start..close).unwrap_or_default();
    if text.get(close) != Some(&mark) || value.len() < MIN_VALUE {
        return false;
    }
    let unescaped = value.strip_suffix(b"\\").filter(|v| v.len() >= MIN_VALUE);
    let value = unescaped.filter(|_| mark == b'"').unwrap_or(value);
    // a value of other bytes is not judged here
    std::str::from_utf8(value).map_or(true, |value| {
        look(value, kind) != Look::Not || (doubt && is_doubtful(value))
    })
}

/// Whether a bare literal counts, as far as what is before the name at `at` decides.
fn may_be_configuration(text: &[u8], at: usize) -> bool {
    let begin = at.saturating_sub(MAX_LINE);
    let before = text.get(begin..at).unwrap_or_default();
    let line = before.rsplit(|b| *b == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let entry = line.rsplit_once(['{', ',']).map(|(_, entry)| entry);
    let constant = line.ends_with(|c: char| c.is_ascii_uppercase() || c == '_')
        || text
            .get(at)
            .is_some_and(|b| b.is_ascii_uppercase() || *b == b'_');
    is_configuration(&line) || entry.is_some_and(is_configuration) || constant
}

/// Of which kind of credential the identifier around `at` is the name, which ends at `end`.
fn kind_of_name(text: &[u8], at: usize, end: usize) -> Option<NameKind> {
    let before = text
        .get(at.saturating_sub(MAX_NAME)..at)
        .unwrap_or_default();
    let start = at - before.iter().rev().take_while(|b| is_name(b)).count();
    let name = text.get(start..end).unwrap_or_default();
    name_kind(&String::from_utf8_lossy(name))
}

/// How many bytes of `range` are so from its start on.
fn run(text: &[u8], range: Range<usize>, is: impl Fn(&u8) -> bool) -> usize {
    let part = text.get(range).unwrap_or_default();
    part.iter().take_while(|b| is(b)).count()
}

fn blanks(text: &[u8], range: Range<usize>) -> usize {
    range.start + run(text, range, |b| matches!(b, b' ' | b'\t'))
}

const fn is_name(b: &u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')
}

const fn is_closing(b: &u8) -> bool {
    matches!(b, b'\\' | b'"' | b'\'' | b'`' | b']' | b')')
}

/// What a declared type is written with.
fn is_type(b: &u8) -> bool {
    b.is_ascii_alphabetic() || b" \t&_<>'[]?|.".contains(b)
}

const fn is_operator(b: &u8) -> bool {
    matches!(
        b,
        b':' | b'=' | b'!' | b'+' | b'.' | b'|' | b'?' | b'(' | b',' | b'>'
    )
}

/// The shortest value in quotes.
const MIN_VALUE: usize = 3;
/// The shortest without.
const MIN_BARE: usize = 4;
/// The longest declared type.
const MAX_TYPE: usize = 36;
/// The longest name.
const MAX_NAME: usize = 60;
/// The longest line of configuration up to a name.
const MAX_LINE: usize = 512;

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

/// Accepts what no rule takes and the scorer does.
pub(crate) fn scored(hit: &Hit<'_>, least: Least) -> Verdict {
    if *hit.look.get_or_init(|| judge(hit)) != Look::Not {
        return Verdict::Reject;
    }
    match vector(hit).filter(|vector| least.is_reached_by(scorer::score(vector))) {
        Some(vector) => Verdict::Because(Confidence::Low, scorer::because(&vector)),
        None => Verdict::Reject,
    }
}

/// The features of a value that may be scored.
fn vector(hit: &Hit<'_>) -> Option<Vector> {
    let name = name_of(hit);
    let (kind, value) = (name_kind(&name)?, hit.value());
    let quoted = hit.group < QUOTED_GROUPS;
    let before = line_before(hit);
    let entry = before.rsplit_once(['{', ',']).map(|(_, entry)| entry);
    let bare = || {
        let plain = is_configuration(before) || is_environment(&name, hit);
        !reads_like_code(value) && (plain || entry.is_some_and(is_configuration))
    };
    let may_count = is_doubtful(value) && !value.eq_ignore_ascii_case(&name) && (quoted || bare());
    may_count.then(|| {
        scorer::features(&Place {
            name: &name,
            kind,
            value,
            before,
            around: around(hit),
            quoted,
        })
    })
}

/// What stands near a hit, on the lines before and after too.
fn around<'a>(hit: &Hit<'a>) -> &'a str {
    let from = floor_boundary(hit.text, hit.span.start.saturating_sub(NEAR));
    let to = floor_boundary(hit.text, hit.span.end.saturating_add(NEAR));
    hit.text.get(from..to).unwrap_or_default()
}

/// The values of `text` that may be scored, for training.
pub(crate) fn candidates(text: &str) -> Vec<Candidate> {
    let (Some(pattern), Ok(names)) = (compile(PATTERN), names()) else {
        return Vec::new();
    };
    let mut found: Vec<Candidate> = Vec::new();
    let mut done = 0;
    for name in names.find_overlapping_iter(text) {
        let end = text.len().min(name.start() + NAMED_REACH);
        let input = Input::new(text)
            .range(name.start()..end)
            .anchored(Anchored::Yes);
        let mut captures = pattern.create_captures();
        pattern.search_captures(&input, &mut captures);
        let group = (1..=QUOTED_GROUPS).find(|group| captures.get_group(*group).is_some());
        let value = group.and_then(|group| captures.get_group(group));
        let (Some(whole), Some(value)) = (captures.get_match(), value) else {
            continue;
        };
        let hit = Hit::new(text, whole.range(), value.range(), group.unwrap_or(0));
        // several names may announce one value
        if value.start < done {
            continue;
        }
        if let Some(vector) = vector(&hit) {
            done = value.end;
            found.push(Candidate {
                features: vector.to_vec(),
                judged: judge(&hit) != Look::Not,
            });
        }
    }
    found
}

fn names() -> Result<AhoCorasick, aho_corasick::BuildError> {
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .build(NAMES)
}

/// For a value that stands where only a credential does.
pub(super) fn argument(hit: &Hit<'_>) -> Verdict {
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
    let line = line_before(hit);
    // the entry of a map on one line, `{user: a, password: b}`
    let entry = line.rsplit_once(['{', ',']).map(|(_, entry)| entry);
    let plain = is_configuration(line) || is_environment(&name, hit);
    let sibling = line.rsplit_once(['{', ',', '(']).is_some_and(|(head, _)| {
        ["user:", "user\":", "username:", "user =", "user=", "login:"]
            .iter()
            .any(|word| head.contains(word))
    });
    if reads_like_code(value)
        || !(plain || entry.is_some_and(is_configuration))
        || is_placeholder(value)
    {
        return Look::Not;
    }
    let digit = value.bytes().any(|b| b.is_ascii_digit());
    match look(value, kind) {
        Look::Possible | Look::Not if sibling && is_chosen(value) => Look::Possible,
        Look::Possible if !digit && (kind == NameKind::Token || !plain) => Look::Not,
        other => other,
    }
}

fn reads_like_code(value: &str) -> bool {
    value.contains(['.', '*', '?', '\\', '/', ':'])
        && value.bytes().filter(u8::is_ascii_digit).count() < 4
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
    let start: String = before
        .chars()
        .rev()
        .take_while(part)
        .take(MAX_NAME)
        .collect();
    let start: String = start.chars().rev().collect();
    let rest: String = hit.whole().chars().take_while(part).collect();
    start + &rest
}

fn line_before<'a>(hit: &Hit<'a>) -> &'a str {
    let before = hit.text.get(..hit.span.start).unwrap_or_default();
    before_on_line(before, MAX_LINE)
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

/// The rule that reports what the scorer takes.
pub(crate) const SCORED: &str = "credential-scored";

/// How far the pattern reaches from its name.
const NAMED_REACH: usize = 440;

/// How much around a hit is looked at, on each side.
const NEAR: usize = 160;

/// The pattern's groups below this one are quoted.
const QUOTED_GROUPS: usize = 4;

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use regex_automata::{Anchored, Input, meta::Regex};

    use super::{Hit, Look, PATTERN, assigned, assigned_or_doubtful, judge, scored, scorer::Least};
    use crate::detect::{Verdict, compile};

    fn shared() -> &'static Regex {
        static SHARED: LazyLock<Regex> = LazyLock::new(|| compile(PATTERN).unwrap());
        &SHARED
    }

    /// What the pattern and a judgement say without a quick look.
    fn counts(text: &str, at: usize, judged: fn(&Hit<'_>) -> bool) -> bool {
        let input = Input::new(text).range(at..).anchored(Anchored::Yes);
        let mut captures = shared().create_captures();
        shared().search_captures(&input, &mut captures);
        let Some(whole) = captures.get_match() else {
            return false;
        };
        let group = (1..5).find(|group| captures.get_group(*group).is_some());
        let value = captures.get_group(group.unwrap()).unwrap().range();
        judged(&Hit::new(text, whole.range(), value, group.unwrap()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6_000))]
        /// The quick look never keeps the pattern from a finding.
        #[test]
        fn what_counts_passes_the_quick_look(
            before in "(export |  |- |\\{user: a, |let |x[.(]|DB_|# |\"|my_){0,2}",
            name in "(pass|token|api[_-]?key|secret|_key|API_TOKEN|SECRET_)[a-z_.-]{0,3}",
            middle in "[\\\\\"'`)\\] \t]{0,4}(:|:=|=|=>|::=|==|!=|[+.|?]{1,2}=|\\(|,|>|: &str =|: Option<T> =|[a-z=]{0,2})[ \n]{0,2}\r?\n?",
            value in "[bruLf@]{0,2}(\"[a-z0-9]{3,12}\"|'[a-zA-Z0-9]{3,12}'|`[a-z0-9]{3,12}`|[a-z0-9]{4,12};?|\\\\\"[a-z0-9]{6}\\\\\")\n?",
        ) {
            let text = format!("{before}{name}{middle}{value}");
            let at = before.len();
            let window = || at..text.len();
            let rules = counts(&text, at, |hit| judge(hit) != Look::Not);
            prop_assert!(!rules || assigned(text.as_bytes(), window(), at), "{text:?}");
            let least = |hit: &Hit<'_>| scored(hit, Least::percent(50).unwrap()) != Verdict::Reject;
            let doubted = counts(&text, at, least);
            prop_assert!(!doubted || assigned_or_doubtful(text.as_bytes(), window(), at), "{text:?}");
        }
    }
}
