//! Does a value look like a secret, a placeholder or a word? Letter statistics, no model.

use std::{collections::HashSet, sync::LazyLock};

use aho_corasick::AhoCorasick;

/// How much a value looks like a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Look {
    /// A placeholder, a word, a path, code: not a credential.
    Not,
    /// It could be one, for instance a short password that a person chose.
    Possible,
    /// A generator made it.
    Generated,
}

/// What kind of name the value was given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameKind {
    /// A password: people choose these, so words with digits count.
    Password,
    /// A secret, token or key: machines make these.
    Token,
    /// Some other kind of key, most of which are no secret.
    Key,
}

/// Judges a literal value.
pub(super) fn look(value: &str, kind: NameKind) -> Look {
    let counts = Counts::of(value);
    // a sentence, as most of what is assigned
    if value.len() < 4 || counts.other > 0 || value.contains(' ') {
        return Look::Not;
    }
    // a machine's short value has a digit
    if kind != NameKind::Password && counts.digit == 0 && value.len() < MIN_NOISE {
        return Look::Not;
    }
    if is_placeholder(value) || is_code(value) {
        return Look::Not;
    }
    if is_uuid(value) {
        return if kind == NameKind::Token {
            Look::Possible
        } else {
            Look::Not
        };
    }
    let hex = value.bytes().all(|b| b.is_ascii_hexdigit());
    if hex && value.len() >= 32 && counts.digit > 0 && is_varied(value) {
        return Look::Generated;
    }
    let spread = entropy(value);
    let wordy = is_wordy(value);
    let dense = value.len() >= 16 && counts.digit >= 2 && spread >= 3.3 && !wordy;
    let mixed = value.len() >= 10 && counts.classes() >= 3 && spread >= 3.0 && !wordy;
    // letters alone, too many of them in an order that no word has
    let noise = value.len() >= MIN_NOISE && spread >= 3.5 && !wordy && counts.symbol == 0;
    if dense || noise || (mixed && counts.digit > 0) {
        return Look::Generated;
    }
    let possible = match kind {
        NameKind::Password => {
            (counts.letters() > 0 && counts.digit + counts.symbol > 0 && !is_identifier(value))
                || (!wordy && !is_identifier_path(value))
        }
        NameKind::Key => false,
        NameKind::Token => value.len() >= 8 && !wordy && counts.digit > 0 && counts.letters() > 0,
    };
    if possible { Look::Possible } else { Look::Not }
}

/// Whether a value that [`look`] says no to may yet be a credential: it is one word of ASCII, no placeholder
/// and no code.
pub(super) fn is_doubtful(value: &str) -> bool {
    (4..=MAX_DOUBTFUL).contains(&value.len())
        && value.bytes().all(|b| b.is_ascii_graphic())
        && !is_placeholder(value)
        && !is_code(value)
}

/// The longest value that is doubted.
const MAX_DOUBTFUL: usize = 100;

/// Whether a token that already has the right form is more than a row of the same characters.
pub(super) fn is_varied(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let mut seen = [false; 256];
    let mut distinct = 0;
    for byte in lower.bytes() {
        if let Some(slot) = seen.get_mut(usize::from(byte))
            && !*slot
        {
            *slot = true;
            distinct += 1;
        }
    }
    let wanted = if value.len() >= 24 { 9 } else { 6 };
    distinct >= wanted && !TOKEN_DUMMIES.iter().any(|dummy| lower.contains(dummy))
}

/// Whether a value is there to be replaced: a template, a mask, or a word of the lexicon.
pub(super) fn is_placeholder(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let word = lower.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let bytes = value.as_bytes();
    if word.is_empty() || is_in_lexicon(word) || says_dummy(&lower) {
        return true;
    }
    let template = bytes.iter().any(|b| b"{}(%".contains(b))
        && ["${", "{{", "}}", "$(", "%(", "<%", "#{", "@{", "%{", "[%"]
            .iter()
            .any(|mark| value.contains(mark));
    let wrapped = matches!(
        (bytes.first(), bytes.last()),
        (Some(b'<'), Some(b'>'))
            | (Some(b'{'), Some(b'}'))
            | (Some(b'['), Some(b']'))
            | (Some(b'%'), Some(b'%'))
    );
    let variable = bytes.first() == Some(&b'$')
        && bytes
            .iter()
            .skip(1)
            .all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let format = matches!(
        lower.as_str(),
        "%s" | "%v" | "%d" | "%q" | "{}" | "{0}" | "%@"
    );
    let distinct = distinct(bytes);
    let row = distinct <= 2 || (distinct <= 3 && value.len() >= 10);
    template || wrapped || variable || format || row
}

fn is_in_lexicon(word: &str) -> bool {
    static WORDS: LazyLock<HashSet<&str>> = LazyLock::new(|| LEXICON.iter().copied().collect());
    WORDS.contains(word)
}

fn says_dummy(lower: &str) -> bool {
    static WORDS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| AhoCorasick::new(DUMMIES).ok());
    match WORDS.as_ref() {
        Some(words) => words.is_match(lower),
        None => DUMMIES.iter().any(|word| lower.contains(word)),
    }
}

/// Which bytes there are, a bit for each.
fn present(bytes: &[u8]) -> [u128; 2] {
    let mut present = [0; 2];
    for byte in bytes {
        if let Some(half) = present.get_mut(usize::from(byte >> 7)) {
            *half |= 1 << (byte & 0x7f);
        }
    }
    present
}

/// How many different bytes there are.
fn distinct(bytes: &[u8]) -> u32 {
    present(bytes).iter().map(|half| half.count_ones()).sum()
}

/// Shannon entropy in bits per byte, added up in the order of the bytes.
pub(super) fn entropy(value: &str) -> f64 {
    let mut counts = [0_u32; 256];
    let mut total = 0_u32;
    for byte in value.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
        total += 1;
    }
    let (mut sum, mut last) = (0.0, (0, 0.0));
    for (half, counts) in present(value.as_bytes())
        .into_iter()
        .zip(counts.chunks(128))
    {
        let mut left = half;
        while let Some(count) = counts.get(left.trailing_zeros() as usize) {
            left &= left - 1;
            // most bytes are as frequent as the one before
            if last.0 != *count {
                let share = f64::from(*count) / f64::from(total);
                last = (*count, -share * share.log2());
            }
            sum += last.1;
        }
    }
    sum
}

#[derive(Default)]
struct Counts {
    upper: usize,
    lower: usize,
    digit: usize,
    symbol: usize,
    other: usize,
}

impl Counts {
    fn of(value: &str) -> Self {
        let mut counts = Self::default();
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' => counts.upper += 1,
                b'a'..=b'z' => counts.lower += 1,
                b'0'..=b'9' => counts.digit += 1,
                b'!'..=b'~' | b' ' => counts.symbol += 1,
                _ => counts.other += 1,
            }
        }
        counts
    }

    fn letters(&self) -> usize {
        self.upper + self.lower
    }

    fn classes(&self) -> usize {
        [self.upper, self.lower, self.digit, self.symbol]
            .iter()
            .filter(|count| **count > 0)
            .count()
    }
}

/// Paths, addresses, calls and member accesses.
fn is_code(value: &str) -> bool {
    // each of them has one of these
    let marked = |b: u8| matches!(b, b'/' | b':' | b'(' | b'>' | b'.' | b'\\' | b'[');
    if !value.bytes().any(marked) {
        return false;
    }
    let path = value.starts_with('/') || value.starts_with("./") || value.starts_with("../");
    let scheme = value.contains("://") || value.starts_with("data:");
    let call = value.contains("()") || value.contains("->") || value.contains("::");
    let file = value.rsplit_once('.').is_some_and(|(stem, extension)| {
        !stem.is_empty() && FILE_EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str())
    });
    let escape = value.contains("\\d")
        || value.contains("\\w")
        || value.contains("[^")
        || value.contains("(?");
    path || scheme || call || file || escape
}

fn is_uuid(value: &str) -> bool {
    let dash = |index: usize| matches!(index, 8 | 13 | 18 | 23);
    value.len() == 36
        && value.bytes().enumerate().all(|(index, byte)| {
            if dash(index) {
                byte == b'-'
            } else {
                byte.is_ascii_hexdigit()
            }
        })
}

/// Letters and single separators only, or upper-case with underscores: a name, not a value.
fn is_identifier(value: &str) -> bool {
    let constant = value
        .bytes()
        .all(|b| b.is_ascii_uppercase() || b == b'_' || b.is_ascii_digit())
        && value.contains('_');
    constant || is_identifier_path(value) && is_wordy(value)
}

fn is_identifier_path(value: &str) -> bool {
    value.contains(['.', '_', '-', '/', ':'])
        && value
            .split(['.', '_', '-', '/', ':'])
            .all(|part| part.bytes().all(|b| b.is_ascii_alphabetic()))
}

/// Whether the letters read like words: most neighbouring letters are neighbours in words too,
/// and few digits break them up.
fn is_wordy(value: &str) -> bool {
    let bytes = value.as_bytes();
    let (mut pairs, mut rare, mut turns) = (0_usize, 0_usize, 0_usize);
    for pair in bytes.windows(2) {
        let [a, b] = pair else { continue };
        match (a.is_ascii_alphabetic(), b.is_ascii_alphabetic()) {
            (true, true) => {
                // a capital after a small letter begins a new word
                if a.is_ascii_lowercase() && b.is_ascii_uppercase() {
                    turns += 1;
                    continue;
                }
                pairs += 1;
                rare += usize::from(!is_common_pair(*a, *b));
            }
            (x, y) if x != y && (a.is_ascii_digit() || b.is_ascii_digit()) => turns += 1,
            _ => {}
        }
    }
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    pairs > 0 && letters * 2 >= value.len() && rare * 5 <= pairs && turns * 5 <= value.len()
}

pub(super) fn is_common_pair(a: u8, b: u8) -> bool {
    let row = usize::from(a.to_ascii_lowercase().saturating_sub(b'a'));
    COMMON_AFTER
        .get(row)
        .is_some_and(|after| after.as_bytes().contains(&b.to_ascii_lowercase()))
}

/// For each letter the letters that follow it in 95.5 % of pairs in technical English.
const COMMON_AFTER: [&str; 26] = [
    "bcdfgiklmnprstuvy",
    "aeiloru",
    "acehiklorstu",
    "adegiorsu",
    "acdefgilmnpqrstvwxy",
    "aefiloru",
    "ehinorsu",
    "aeiotu",
    "abcdefglmnoprstvxz",
    "e",
    "eis",
    "adeilostuy",
    "abeilmopsu",
    "acdefgiklnostuvy",
    "bcdgilmnoprstuvw",
    "aeiloprstu",
    "u",
    "acdefgikmnorstuvy",
    "acehioprstuy",
    "acdehiloprstuy",
    "abcegilmnprst",
    "aei",
    "aehinors",
    "ept",
    "opst",
    "e",
];

/// The shortest value that is taken for a generated one without a digit.
const MIN_NOISE: usize = 20;

/// Whole values that stand for a credential without being one.
const LEXICON: &[&str] = &[
    "password",
    "passwd",
    "pass",
    "pwd",
    "secret",
    "token",
    "key",
    "apikey",
    "api_key",
    "api-key",
    "test",
    "testing",
    "foo",
    "bar",
    "baz",
    "foobar",
    "qux",
    "none",
    "null",
    "nil",
    "undefined",
    "true",
    "false",
    "empty",
    "string",
    "str",
    "text",
    "number",
    "value",
    "optional",
    "required",
    "default",
    "username",
    "user",
    "admin",
    "root",
    "guest",
    "secret_key",
    "secretkey",
    "bearer",
    "basic",
    "authorization",
    "auth",
    "login",
    "hidden",
    "private",
    "public",
    "mysecret",
    "mypassword",
    "mytoken",
    "my-secret",
    "my-token",
    "my_token",
    "my_secret",
    "secretpassword",
    "access_token",
    "refresh_token",
    "id_token",
    "client_secret",
    "abc",
    "abcd",
    "abcdef",
    "abc123",
    "123",
    "1234",
    "12345",
    "123456",
    "12345678",
    "123456789",
    "1234567890",
    "todo",
    "tbd",
    "fixme",
    "na",
    "n/a",
    "dummy",
    "fake",
    "mock",
    "sample",
    "demo",
    "some",
    "something",
    "any",
    "anything",
    "xxx",
    "yyy",
    "zzz",
    "aaa",
    "bbb",
    "placeholder",
    "redacted",
    "masked",
    "unknown",
    "unset",
    "passphrase",
    "credentials",
    "credential",
    "accesskey",
    "access_key",
    "postgres",
    "mysql",
    "mongo",
    "redis",
    "rabbitmq",
    "minio",
    "localhost",
    "development",
    "production",
    "staging",
    "yes",
    "no",
    "on",
    "off",
    "env",
    "file",
    "vault",
    "void",
    "self",
    "this",
    "new",
    "object",
    "boolean",
    "bool",
    "int",
    "integer",
    "float",
    "bytes",
    "byte",
    "char",
    "function",
    "const",
    "code",
    "csrf",
    "jwt",
    "oauth",
    "oauth2",
    "saml",
    "oidc",
    "cookie",
    "session",
    "header",
    "query",
    "body",
    "form",
    "input",
    "output",
    "invalid",
    "valid",
    "wrong",
    "expired",
    "missing",
    "stdin",
];

/// Parts that make any value a placeholder.
const DUMMIES: &[&str] = &[
    "example",
    "changeme",
    "change_me",
    "change-me",
    "change_this",
    "changeit",
    "placeholder",
    "your_",
    "your-",
    "yourpass",
    "yoursecret",
    "yourtoken",
    "yourkey",
    "yourapi",
    "youraccess",
    "replace",
    "redacted",
    "insert",
    "xxxx",
    "****",
    "....",
    "####",
    "----",
    "____",
    "0000000",
    "1111111",
    "todo",
    "fixme",
    "not-a-real",
    "notreal",
    "not_real",
    "notarealpassword",
    "dummy",
    "sample",
    "my-secret",
    "my_secret",
    "process.env",
    "os.environ",
    "getenv",
    "os.getenv",
    "lorem",
    "ipsum",
    "<your",
    "enter_",
    "enter-",
    "_here",
    "-here",
    "secretref",
    "valuefrom",
    "hunter2",
    "deadbeef",
    "…",
];

/// Parts that a generated token never has by chance.
const TOKEN_DUMMIES: &[&str] = &[
    "example",
    "xxxxx",
    "00000000",
    "11111111",
    "aaaaaaaa",
    "placeholder",
    "redacted",
    "your_",
    "your-",
    "changeme",
    "....",
    "****",
    "1234567890123",
    "abcdefghijklmnop",
    "replace",
];

const FILE_EXTENSIONS: &[&str] = &[
    "pem", "key", "crt", "cert", "cer", "json", "yaml", "yml", "toml", "txt", "ts", "js", "tsx",
    "py", "go", "rs", "java", "kt", "rb", "php", "html", "xml", "conf", "cfg", "ini", "env", "sh",
    "creds", "jwt", "nk", "p12", "pfx", "jks", "md", "csv", "log", "sql", "com", "org", "net",
    "io", "local", "internal",
];
