//! What is looked at in a value, its name and its place. Each feature is a share of 64.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::{
    super::value::{NameKind, is_common_pair},
    Place,
};

/// Something that is measured of a value in its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Feature {
    /// Its name in the table of weights.
    pub(crate) name: &'static str,
    /// What it says for a credential, after "because".
    pub(crate) says: &'static str,
    pub(super) of: fn(&Place<'_>) -> i32,
}

const fn feature(name: &'static str, says: &'static str, of: fn(&Place<'_>) -> i32) -> Feature {
    Feature { name, says, of }
}

/// All features. The first is the same for every value.
pub(crate) const FEATURES: [Feature; 30] = [
    feature("bias", "of nothing in particular", |_| WHOLE),
    feature("short", "it is short", |p| flag(p.value.len() < 8)),
    feature("length", "it is long", |p| {
        share(p.value.len().min(LONG), LONG)
    }),
    feature("digits", "it has many digits", |p| {
        of_value(p, |b| b.is_ascii_digit())
    }),
    feature("capitals", "it has many capitals", |p| {
        of_value(p, |b| b.is_ascii_uppercase())
    }),
    feature("symbols", "it has many symbols", |p| {
        of_value(p, |b| b.is_ascii_punctuation())
    }),
    feature("has-digit", "it has a digit", |p| {
        flag(p.value.bytes().any(|b| b.is_ascii_digit()))
    }),
    feature("has-symbol", "it has a symbol of no name", |p| {
        flag(p.value.bytes().any(|b| b"!@#$%^&*+=~?".contains(&b)))
    }),
    feature("classes", "it mixes kinds of characters", |p| {
        share(classes(p.value).saturating_sub(1), 3)
    }),
    feature("turns", "letters and digits take turns in it", turns),
    feature("rare-pairs", "its letters stand as in no word", |p| {
        rare_pairs(p.value)
    }),
    feature("distinct", "few of its characters are the same", |p| {
        share(distinct(p.value), p.value.len().min(LONG))
    }),
    feature("rows", "it has rows of neighbouring characters", rows),
    feature("separators", "it has separators", |p| {
        of_value(p, |b| b"._-/:".contains(&b))
    }),
    feature("name-like", "it is written like a name", |p| {
        flag(is_name_like(p.value))
    }),
    feature("program-words", "it has words of programs", |p| {
        covered(&PROGRAM_WORDS, p.value)
    }),
    feature("chosen-words", "it has words that people choose", |p| {
        covered(&CHOSEN_WORDS, p.value)
    }),
    feature(
        "word-then-digits",
        "a word ends in digits or symbols",
        |p| flag(is_word_then_digits(p.value)),
    ),
    feature("named-password", "its name says password", |p| {
        flag(p.kind == NameKind::Password)
    }),
    feature("named-key", "its name says key", |p| {
        flag(p.kind == NameKind::Key)
    }),
    feature("name-length", "its name is long", |p| {
        share(p.name.len().min(LONG), LONG)
    }),
    feature("name-constant", "its name is a constant's", |p| {
        flag(!p.name.bytes().any(|b| b.is_ascii_lowercase()))
    }),
    feature("name-of-test", "its name says test", |p| {
        flag(says_test(p.name))
    }),
    feature("echo", "it repeats its name", |p| flag(echoes(p))),
    feature("quoted", "it is quoted", |p| flag(p.quoted)),
    feature("code", "it stands in code", |p| {
        flag(is_code_line(p.before))
    }),
    feature("comment", "it stands in a comment", |p| {
        let begin = p.before.trim_start();
        flag(
            ["//", "#", "*", "--", ";"]
                .iter()
                .any(|mark| begin.starts_with(mark)),
        )
    }),
    feature("compared", "it is compared", |p| {
        flag(
            ["==", "!=", "===", "assert", "expect"]
                .iter()
                .any(|mark| p.before.contains(mark)),
        )
    }),
    feature("lines-of-test", "lines around it say test", |p| {
        flag(says_test(p.around))
    }),
    feature("beside-user", "a user or a host is named beside it", |p| {
        flag(names_user(p))
    }),
];

/// A feature that is wholly so.
const WHOLE: i32 = 64;
/// What is longer does not count as more.
const LONG: usize = 40;

const fn flag(is: bool) -> i32 {
    if is { WHOLE } else { 0 }
}

/// `part` of `all` in parts of 64.
fn share(part: usize, all: usize) -> i32 {
    let part = i32::try_from(part).unwrap_or(i32::MAX / WHOLE);
    let all = i32::try_from(all).unwrap_or(i32::MAX);
    (part * WHOLE).checked_div(all).unwrap_or(0).min(WHOLE)
}

fn of_value(place: &Place<'_>, is: impl Fn(u8) -> bool) -> i32 {
    let value = place.value;
    share(value.bytes().filter(|b| is(*b)).count(), value.len())
}

fn classes(value: &str) -> usize {
    let kinds: [fn(&u8) -> bool; 4] = [
        u8::is_ascii_lowercase,
        u8::is_ascii_uppercase,
        u8::is_ascii_digit,
        u8::is_ascii_punctuation,
    ];
    kinds
        .iter()
        .filter(|is| value.bytes().any(|b| is(&b)))
        .count()
}

fn pairs(value: &str) -> impl Iterator<Item = (u8, u8)> {
    value.bytes().zip(value.bytes().skip(1))
}

fn turns(place: &Place<'_>) -> i32 {
    let turns = pairs(place.value).filter(|(a, b)| {
        (a.is_ascii_digit() && b.is_ascii_alphabetic())
            || (a.is_ascii_alphabetic() && b.is_ascii_digit())
    });
    share(turns.count(), place.value.len().saturating_sub(1))
}

/// Of neighbouring letters those that are seldom neighbours in words. A capital after a small letter
/// begins a word.
fn rare_pairs(value: &str) -> i32 {
    let letters = pairs(value).filter(|(a, b)| {
        let begins = a.is_ascii_lowercase() && b.is_ascii_uppercase();
        a.is_ascii_alphabetic() && b.is_ascii_alphabetic() && !begins
    });
    let (all, rare) = letters.fold((0, 0), |(all, rare), (a, b)| {
        (all + 1, rare + usize::from(!is_common_pair(a, b)))
    });
    share(rare, all)
}

fn distinct(value: &str) -> usize {
    let mut seen = [false; 256];
    let new = value.bytes().filter(|b| {
        let slot = seen.get_mut(usize::from(*b));
        slot.is_some_and(|slot| !std::mem::replace(slot, true))
    });
    new.count()
}

/// Of pairs those that count up, as in `1234` and `abcd`, or say a character twice.
fn rows(place: &Place<'_>) -> i32 {
    let next = pairs(place.value).filter(|(a, b)| b.wrapping_sub(*a) <= 1);
    share(next.count(), place.value.len().saturating_sub(1))
}

/// `some.name`, `some_name`, `some-name`, `someName`, with letters alone.
fn is_name_like(value: &str) -> bool {
    let letters = value
        .bytes()
        .all(|b| b.is_ascii_alphabetic() || b"._-/:".contains(&b));
    let turn = pairs(value).any(|(a, b)| a.is_ascii_lowercase() && b.is_ascii_uppercase());
    letters && (turn || value.contains(['.', '_', '-', '/', ':']))
}

fn is_word_then_digits(value: &str) -> bool {
    let letters = value.bytes().take_while(u8::is_ascii_alphabetic).count();
    let tail = value.get(letters..).unwrap_or_default();
    letters >= 3 && !tail.is_empty() && !tail.bytes().any(|b| b.is_ascii_alphabetic())
}

type Words = LazyLock<Option<AhoCorasick>>;

fn words(list: &[&str]) -> Option<AhoCorasick> {
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .match_kind(aho_corasick::MatchKind::LeftmostLongest)
        .build(list)
        .ok()
}

/// How much of the value words of a list make up.
fn covered(words: &Words, value: &str) -> i32 {
    let found = words.iter().flat_map(|words| words.find_iter(value));
    share(found.map(|word| word.len()).sum(), value.len())
}

fn says_test(text: &str) -> bool {
    static TEST: Words = LazyLock::new(|| {
        words(&[
            "test", "example", "sample", "fake", "mock", "dummy", "fixture",
        ])
    });
    TEST.as_ref().is_some_and(|words| words.is_match(text))
}

/// The value holds a word of its name, or the name the value.
fn echoes(place: &Place<'_>) -> bool {
    let (name, value) = (
        place.name.to_ascii_lowercase(),
        place.value.to_ascii_lowercase(),
    );
    let mut parts = name.split(|c: char| !c.is_ascii_alphanumeric());
    name.contains(&value) || parts.any(|part| part.len() >= 4 && value.contains(part))
}

/// More than a name and an operator stands before the value.
fn is_code_line(before: &str) -> bool {
    before.contains(['(', '{', '.', '[', '$']) || before.trim().contains(' ')
}

fn names_user(place: &Place<'_>) -> bool {
    static USER: Words = LazyLock::new(|| {
        words(&[
            "user", "login", "host", "email", "dbname", "database", "jdbc", "smtp",
        ])
    });
    let around = place.around;
    USER.as_ref().is_some_and(|words| words.is_match(around))
}

/// Words that programs are written with: what they name is seldom a credential.
static PROGRAM_WORDS: Words = LazyLock::new(|| {
    words(&[
        "access",
        "account",
        "action",
        "address",
        "admin",
        "api",
        "app",
        "args",
        "array",
        "async",
        "auth",
        "base",
        "body",
        "bool",
        "boolean",
        "bucket",
        "buffer",
        "build",
        "bytes",
        "cache",
        "call",
        "check",
        "class",
        "client",
        "code",
        "column",
        "command",
        "common",
        "config",
        "connection",
        "console",
        "container",
        "content",
        "context",
        "controller",
        "cookie",
        "count",
        "create",
        "credential",
        "current",
        "data",
        "database",
        "date",
        "debug",
        "default",
        "delete",
        "device",
        "dialog",
        "domain",
        "element",
        "email",
        "empty",
        "enable",
        "encode",
        "endpoint",
        "entity",
        "entry",
        "error",
        "event",
        "field",
        "file",
        "filter",
        "find",
        "flag",
        "form",
        "format",
        "forward",
        "function",
        "generate",
        "get",
        "global",
        "grant",
        "group",
        "handler",
        "hash",
        "header",
        "header",
        "hidden",
        "host",
        "html",
        "http",
        "icon",
        "image",
        "index",
        "info",
        "input",
        "instance",
        "interface",
        "invalid",
        "item",
        "json",
        "key",
        "label",
        "length",
        "level",
        "line",
        "link",
        "list",
        "load",
        "local",
        "log",
        "login",
        "main",
        "manager",
        "map",
        "message",
        "method",
        "missing",
        "mode",
        "model",
        "module",
        "name",
        "network",
        "new",
        "node",
        "not",
        "null",
        "number",
        "object",
        "offset",
        "option",
        "order",
        "output",
        "page",
        "param",
        "parent",
        "parse",
        "password",
        "path",
        "pattern",
        "permission",
        "plugin",
        "policy",
        "port",
        "prefix",
        "private",
        "process",
        "profile",
        "project",
        "property",
        "protocol",
        "provider",
        "proxy",
        "public",
        "query",
        "queue",
        "read",
        "record",
        "refresh",
        "region",
        "register",
        "remote",
        "remove",
        "render",
        "replace",
        "request",
        "required",
        "reset",
        "resource",
        "response",
        "result",
        "return",
        "role",
        "root",
        "route",
        "rule",
        "schema",
        "scope",
        "search",
        "secret",
        "select",
        "send",
        "server",
        "service",
        "session",
        "set",
        "setting",
        "shared",
        "sign",
        "size",
        "source",
        "stack",
        "start",
        "state",
        "static",
        "status",
        "storage",
        "store",
        "stream",
        "string",
        "style",
        "submit",
        "suffix",
        "system",
        "table",
        "target",
        "task",
        "temp",
        "template",
        "text",
        "thread",
        "time",
        "title",
        "token",
        "type",
        "unique",
        "update",
        "upload",
        "url",
        "user",
        "valid",
        "value",
        "variable",
        "vault",
        "version",
        "view",
        "web",
        "widget",
        "write",
    ])
});

/// Words that people choose for passwords.
static CHOSEN_WORDS: Words = LazyLock::new(|| {
    words(&[
        "alpha",
        "andrew",
        "angel",
        "apple",
        "april",
        "asdf",
        "august",
        "autumn",
        "awesome",
        "babe",
        "banana",
        "baseball",
        "batman",
        "bear",
        "beer",
        "black",
        "blue",
        "boss",
        "bread",
        "butter",
        "casper",
        "changeit",
        "charlie",
        "cheese",
        "chicken",
        "chocolate",
        "coffee",
        "computer",
        "cookie",
        "correct",
        "cowboy",
        "dallas",
        "daniel",
        "december",
        "diamond",
        "dog",
        "dolphin",
        "dragon",
        "eagle",
        "easy",
        "falcon",
        "february",
        "fish",
        "flower",
        "football",
        "freedom",
        "friend",
        "ginger",
        "god",
        "gold",
        "green",
        "guest",
        "happy",
        "hello",
        "hockey",
        "home",
        "horse",
        "house",
        "hunter",
        "ilove",
        "internet",
        "iron",
        "january",
        "jesus",
        "jordan",
        "july",
        "june",
        "junior",
        "killer",
        "king",
        "kitty",
        "letmein",
        "lion",
        "london",
        "love",
        "lucky",
        "magic",
        "march",
        "marina",
        "master",
        "matrix",
        "michael",
        "mike",
        "monday",
        "money",
        "monkey",
        "moon",
        "mustang",
        "nicole",
        "ninja",
        "november",
        "october",
        "orange",
        "pass",
        "passw0rd",
        "peace",
        "pepper",
        "phoenix",
        "pizza",
        "power",
        "princess",
        "purple",
        "qazwsx",
        "qwer",
        "qwerty",
        "rabbit",
        "rainbow",
        "red",
        "robert",
        "rocket",
        "samsung",
        "school",
        "sea",
        "september",
        "shadow",
        "silver",
        "smile",
        "snow",
        "soccer",
        "spring",
        "star",
        "starwars",
        "summer",
        "sun",
        "sunshine",
        "super",
        "superman",
        "swordfish",
        "thomas",
        "thunder",
        "tiger",
        "trustno",
        "turtle",
        "wasd",
        "welcome",
        "white",
        "whatever",
        "winter",
        "wizard",
        "yellow",
        "zaq1",
        "zxcv",
    ])
});
