//! Does a name say that what it is given to is a credential?

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hash, Hasher},
    iter,
    sync::LazyLock,
};

use super::value::NameKind;

/// Whether a name says credential, and of which kind. Its last word decides: a `token_type` or a
/// `password_field` holds no credential.
pub(super) fn name_kind(name: &str) -> Option<NameKind> {
    let mut said = Said(0);
    let mut last = Said(0);
    for word in words(name) {
        last = Said::of(word);
        said.0 |= last.0;
    }
    let kind = said.kind()?;
    (!last.says(NOT_LAST)).then_some(kind)
}

/// What words of a name say.
#[derive(Clone, Copy)]
struct Said(u8);

const PASSWORD: u8 = 1;
const TOKEN: u8 = 2;
const KEY: u8 = 4;
/// It makes a key a secret one.
const QUALIFIES: u8 = 8;
const PUBLIC: u8 = 16;
/// A name that ends so holds no credential.
const NOT_LAST: u8 = 32;
/// What many of a word say as one does.
const ONE_OR_MANY: u8 = PASSWORD | TOKEN | KEY | QUALIFIES;

impl Said {
    /// What one word says. It is asked for every word beside every `token` and `key` of a text.
    fn of(word: &str) -> Self {
        let say = |word: &[u8]| {
            let known = Packed::of(word).and_then(|word| WORDS.get(&word));
            known.copied().unwrap_or(0)
        };
        let one = word.strip_suffix(['s', 'S']);
        let one = one.map_or(0, |one| say(one.as_bytes()));
        let said = say(word.as_bytes()) | (one & ONE_OR_MANY);
        let ends = |ends: &[&str]| ends.iter().any(|end| ends_with(word, end));
        let password = u8::from(ends(&["password", "passwd", "pwd"])) * PASSWORD;
        let token = u8::from(ends(&["token", "secret", "apikey"])) * TOKEN;
        Self(said | password | token)
    }

    const fn says(self, what: u8) -> bool {
        self.0 & what != 0
    }

    const fn kind(self) -> Option<NameKind> {
        if self.says(PUBLIC) {
            None
        } else if self.says(PASSWORD) {
            Some(NameKind::Password)
        } else if self.says(TOKEN) || (self.says(KEY) && self.says(QUALIFIES)) {
            Some(NameKind::Token)
        } else if self.says(KEY) {
            Some(NameKind::Key)
        } else {
            None
        }
    }
}

/// A short word in small letters, in one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Packed(u128);

impl Packed {
    /// Nothing of a word that is longer than all that are listed.
    fn of(word: &[u8]) -> Option<Self> {
        let mut packed = [0; LONGEST];
        packed.get_mut(..word.len())?.copy_from_slice(word);
        packed.make_ascii_lowercase();
        Some(Self(u128::from_le_bytes(packed)))
    }
}

impl Hash for Packed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.0);
    }
}

/// A hash of [`Packed`] words. The words are listed here, so nobody chooses them to collide, and a multiplication is
/// enough.
#[derive(Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn write_u128(&mut self, word: u128) {
        let bytes = word.to_le_bytes();
        let (halves, _) = bytes.as_chunks();
        let halves = halves.iter().map(|half| u64::from_le_bytes(*half));
        let mixed = halves.fold(0, |mixed: u64, half| {
            (mixed.rotate_left(23) ^ half).wrapping_mul(GOLDEN)
        });
        self.0 = mixed ^ (mixed >> 32);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(GOLDEN);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The golden ratio's fraction, which spreads well (Knuth, TAOCP 3, 6.4).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// What each word of the lists says.
static WORDS: LazyLock<HashMap<Packed, u8, BuildHasherDefault<Mixed>>> = LazyLock::new(|| {
    let lists: [(&[&str], u8); 6] = [
        (PASSWORDS, PASSWORD),
        (TOKENS, TOKEN),
        (&["key"], KEY),
        (KEY_QUALIFIERS, QUALIFIES),
        (&["public", "csrf", "xsrf"], PUBLIC),
        (LAST_WORDS, NOT_LAST),
    ];
    let mut words = HashMap::default();
    for (list, says) in lists {
        for word in list.iter().filter_map(|word| Packed::of(word.as_bytes())) {
            *words.entry(word).or_default() |= says;
        }
    }
    words
});

/// No listed word is as long, nor are many of one.
const LONGEST: usize = 16;

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
pub(super) const KEY_QUALIFIERS: &[&str] = &[
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

/// Words after which a name holds no credential.
const LAST_WORDS: &[&str] = &[
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
    use super::{KEY_QUALIFIERS, LAST_WORDS, LONGEST, PASSWORDS, TOKENS, name_kind};
    use crate::detect::value::NameKind;

    #[test]
    fn every_listed_word_is_short_enough_to_be_looked_up() {
        let lists = [PASSWORDS, TOKENS, KEY_QUALIFIERS, LAST_WORDS];
        let mut words = lists.into_iter().flatten();
        assert!(words.all(|word| word.len() < LONGEST && *word == word.to_ascii_lowercase()));
    }

    #[test]
    fn the_words_of_a_name_say_what_it_holds() {
        for (name, kind) in [
            ("dbPassword_v2", Some(NameKind::Password)),
            ("PASSWORDS", Some(NameKind::Password)),
            ("userpwd", Some(NameKind::Password)),
            ("APIKeys", Some(NameKind::Token)),
            ("api_keys", Some(NameKind::Token)),
            ("signing-key", Some(NameKind::Token)),
            ("primary_key", Some(NameKind::Key)),
            ("averyveryverylongaccesstoken", Some(NameKind::Token)),
            ("public_token", None),
            ("publics_token", Some(NameKind::Token)),
            ("csrfToken", None),
            ("token_type", None),
            ("token_types", None),
            ("token_ages", Some(NameKind::Token)),
            ("monkey", None),
            ("passes", None),
            ("", None),
        ] {
            assert_eq!(name_kind(name), kind, "{name}");
        }
    }
}
