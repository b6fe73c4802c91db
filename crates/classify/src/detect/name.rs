//! Does a name say that what it is given to is a credential?

use std::iter;

use super::value::NameKind;

/// Whether a name says credential, and of which kind. Its last word decides: a `token_type` or a
/// `password_field` holds no credential.
pub(super) fn name_kind(name: &str) -> Option<NameKind> {
    let mut said = Said::default();
    let mut last = "";
    for word in words(name) {
        said.add(word);
        last = word;
    }
    let kind = said.kind()?;
    let barred = NOT_LAST.iter().any(|word| word.eq_ignore_ascii_case(last));
    (!barred).then_some(kind)
}

/// What the words of a name say.
#[derive(Default)]
struct Said {
    password: bool,
    token: bool,
    key: bool,
    qualified: bool,
    public: bool,
}

impl Said {
    fn add(&mut self, word: &str) {
        let is = |wanted: &[&str]| wanted.iter().any(|w| is_one_or_many(word, w));
        let ends = |ends: &[&str]| ends.iter().any(|end| ends_with(word, end));
        self.password |= ends(&["password", "passwd", "pwd"]) || is(PASSWORDS);
        self.token |= ends(&["token", "secret", "apikey"]) || is(TOKENS);
        self.key |= is(&["key"]);
        self.qualified |= is(KEY_QUALIFIERS);
        self.public |= ["public", "csrf", "xsrf"]
            .iter()
            .any(|open| word.eq_ignore_ascii_case(open));
    }

    const fn kind(&self) -> Option<NameKind> {
        if self.public {
            None
        } else if self.password {
            Some(NameKind::Password)
        } else if self.token || (self.key && self.qualified) {
            Some(NameKind::Token)
        } else if self.key {
            Some(NameKind::Key)
        } else {
            None
        }
    }
}

fn is_one_or_many(word: &str, wanted: &str) -> bool {
    let one = word.strip_suffix(['s', 'S']);
    word.eq_ignore_ascii_case(wanted) || one.is_some_and(|w| w.eq_ignore_ascii_case(wanted))
}

fn ends_with(word: &str, end: &str) -> bool {
    let begin = word.len().checked_sub(end.len());
    let tail = begin.and_then(|begin| word.get(begin..));
    tail.is_some_and(|tail| tail.eq_ignore_ascii_case(end))
}

/// `dbPassword_v2` is `db`, `Password`, `v2`.
fn words(name: &str) -> impl Iterator<Item = &str> {
    let mut rest = name;
    iter::from_fn(move || {
        rest = rest.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        let mut small = false;
        let end = rest.bytes().position(|b| {
            let ends = !b.is_ascii_alphanumeric() || (b.is_ascii_uppercase() && small);
            small = !b.is_ascii_uppercase();
            ends
        });
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        (!word.is_empty()).then_some(word)
    })
}

const PASSWORDS: &[&str] = &[
    "pass",
    "passphrase",
    "passcode",
    "password",
    "passwd",
    "pwd",
];

const TOKENS: &[&str] = &[
    "secret",
    "token",
    "apikey",
    "credential",
    "accesskey",
    "authkey",
    "appkey",
    "accountkey",
    "privatekey",
];

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
