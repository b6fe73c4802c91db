//! Secrets with a structure that can be verified: keys in PEM, cloud key pairs, tokens with a
//! checksum, JSON web tokens, connection strings. Checks the form only, never the network.

use std::ops::Range;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use memchr::{memchr_iter, memmem};

use super::{
    Broken, Detector, Hit, Severity, Verdict, Window, always,
    value::{entropy, is_placeholder, is_varied},
};
use crate::Confidence;

/// A credential whose form says what it is, and which may be broken over lines.
pub(super) const fn secret(
    id: &'static str,
    reason: &'static str,
    literals: &'static [&'static str],
    pattern: &'static str,
    check: fn(&Hit<'_>) -> Verdict,
) -> Detector {
    Detector {
        id,
        reason,
        severity: Severity::Highest,
        literals,
        window: Window::At { reach: 1_024 },
        pattern,
        check,
        broken: Broken::Rejoin,
        needs: always,
    }
}

pub(super) const DETECTORS: &[Detector] = &[
    Detector {
        broken: Broken::Leave,
        ..secret(
            "private-key",
            "a private key in PEM, OpenSSH or PGP armour",
            &["-----begin"],
            r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----",
            private_key,
        )
    },
    Detector {
        broken: Broken::Leave,
        ..secret(
            "putty-private-key",
            "a PuTTY private key file",
            &["putty-user-key-file-"],
            r"PuTTY-User-Key-File-[23]: [^\r\n]{1,80}\r?\n(?:[^\r\n]{1,300}\r?\n){2,40}?Private-Lines: \d",
            accept_high,
        )
    },
    secret(
        "age-secret-key",
        "an age secret key",
        &["age-secret-key-1"],
        r"(?i:AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58})\b",
        accept_high,
    ),
    secret(
        "aws-access-key-id",
        "an AWS access key id",
        &["akia", "asia", "abia", "acca"],
        r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b",
        varied,
    ),
    Detector {
        window: Window::At { reach: 160 },
        ..secret(
            "aws-secret-access-key",
            "an AWS secret access key next to its name",
            &[
                "secret_access_key",
                "secretaccesskey",
                "secret-access-key",
                "aws_secret",
            ],
            r#"(?i:secret.?access.?key|aws.?secret)[^\r\n]{0,40}?[\s"'=:>`,(\\]([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)"#,
            aws_secret,
        )
    },
    secret(
        "github-token",
        "a GitHub token whose checksum is right",
        &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
        r"\bgh[pousr]_[A-Za-z0-9]{36}\b",
        crc_right,
    ),
    Detector {
        severity: Severity::SecondHighest,
        ..secret(
            "github-token-unverified",
            "the form of a GitHub token, with a wrong checksum",
            &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
            r"\bgh[pousr]_[A-Za-z0-9]{36}\b",
            crc_wrong,
        )
    },
    secret(
        "npm-token",
        "an npm token whose checksum is right",
        &["npm_"],
        r"\bnpm_[A-Za-z0-9]{36}\b",
        crc_right,
    ),
    Detector {
        severity: Severity::SecondHighest,
        ..secret(
            "npm-token-unverified",
            "the form of an npm token, with a wrong checksum",
            &["npm_"],
            r"\bnpm_[A-Za-z0-9]{36}\b",
            crc_wrong,
        )
    },
    Detector {
        window: Window::At { reach: 16_384 },
        needs: seldom_begun,
        ..secret(
            JSON_WEB_TOKEN,
            "a JSON web token whose header decodes",
            &["eyj"],
            r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]{4,})?",
            json_web_token,
        )
    },
    Detector {
        window: Window::Around {
            before: 24,
            reach: 400,
        },
        broken: Broken::Leave,
        needs: has_user,
        ..secret(
            "uri-password",
            "a password inside a connection URI",
            &["://"],
            r#"[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s:/@"'`<>?#]{0,80}:([^\s@"'`<>/]{2,160})@[A-Za-z0-9\[%$\{.-]"#,
            uri_password,
        )
    },
    secret(
        "azure-storage-key",
        "an Azure storage account key or shared access key",
        &["accountkey=", "sharedaccesskey=", ";secret="],
        r"(?i:AccountKey=|SharedAccessKey=|;Secret=)([A-Za-z0-9+/]{43}=|[A-Za-z0-9+/]{86}==)",
        azure_key,
    ),
    Detector {
        window: Window::At { reach: 200 },
        ..secret(
            "google-service-account",
            "a Google service account key file",
            &["private_key_id"],
            r#"private_key_id\\?"\s{0,4}:\s{0,4}\\?"([0-9a-f]{40})\\?""#,
            varied,
        )
    },
];

/// Whether what follows the `://` at `at` is a user, a colon and, somewhere, an `@`.
fn has_user(text: &[u8], window: std::ops::Range<usize>, at: usize) -> bool {
    let after = text.get(at + "://".len()..window.end).unwrap_or_default();
    let mut ends = after.iter();
    let end = ends.find(|b| {
        b.is_ascii_whitespace()
            || matches!(
                b,
                b':' | b'/' | b'@' | b'"' | b'\'' | b'`' | b'<' | b'>' | b'?' | b'#'
            )
    });
    end == Some(&b':') && ends.any(|b| *b == b'@')
}

pub(crate) const JSON_WEB_TOKEN: &str = "json-web-token";

/// How far back it is looked how often a token began, and how often it may.
const BEGUN_REACH: usize = 4_096;
const MOST_BEGUN: usize = 16;

/// The places among the long `runs` of `text` where a JSON web token may end its header that has more beginnings
/// before it than [`seldom_begun`] lets try: what hides there nobody has looked for.
pub(crate) fn crowded_tokens(text: &str, runs: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut crowded = Vec::new();
    for run in runs
        .iter()
        .filter(|run| run.len() > MOST_BEGUN * BEGUN.len())
    {
        let bytes = text.as_bytes().get(run.clone()).unwrap_or_default();
        let mut from = 0;
        for dot in memchr_iter(b'.', bytes) {
            let header = bytes.get(from..dot).unwrap_or_default();
            let payload = bytes.get(dot + 1..).unwrap_or_default().iter();
            let letters = header.iter().rev().take_while(|b| is_token_letter(b));
            let start = dot - letters.count();
            let begun = bytes.get(start..dot).unwrap_or_default();
            let follows =
                payload.len() >= LEAST_PART && payload.take(LEAST_PART).all(is_token_letter);
            if follows && memmem::find_iter(begun, BEGUN).nth(MOST_BEGUN).is_some() {
                crowded.push(run.start + start..run.start + dot);
            }
            from = dot + 1;
        }
    }
    crowded
}

/// What a token begins with, `{"` in base64, and of how many letters its parts are at least.
const BEGUN: &[u8] = b"eyJ";
const LEAST_PART: usize = 8;

const fn is_token_letter(b: &u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')
}

/// False where the letters of one token begin a token again and again: each is looked for to the end of its
/// window, so that `eyJ-eyJ-…` would cost 4,096 bytes of work a byte. This bounds it to 16 * 16,384 / 4,096 = 64.
fn seldom_begun(text: &[u8], _: Range<usize>, at: usize) -> bool {
    let before = text.get(at.saturating_sub(BEGUN_REACH)..at);
    let run = before.unwrap_or_default().windows(BEGUN.len()).rev();
    let begun = run.take_while(|part| part.iter().all(is_token_letter));
    begun.filter(|part| *part == BEGUN).take(MOST_BEGUN).count() < MOST_BEGUN
}

fn accept_high(_: &Hit<'_>) -> Verdict {
    Verdict::Accept(Confidence::High)
}

/// Accepts what is no placeholder.
pub(super) fn varied(hit: &Hit<'_>) -> Verdict {
    accept_if(is_varied(hit.value()), Confidence::Medium)
}

fn accept_if(holds: bool, confidence: Confidence) -> Verdict {
    if holds {
        Verdict::Accept(confidence)
    } else {
        Verdict::Reject
    }
}

/// A header counts when key material follows it, so that code which names the header does not.
fn private_key(hit: &Hit<'_>) -> Verdict {
    let body = hit.after(MAX_PEM_BYTES);
    let material = body.split("-----").next().unwrap_or_default();
    let longest = material
        .replace("\\n", "\n")
        .replace("\\r", "\n")
        .split(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c)))
        .filter(|run| is_material(run))
        .map(str::len)
        .max();
    if longest.unwrap_or(0) < MIN_KEY_RUN {
        return Verdict::Reject;
    }
    let footer = body
        .find("-----END")
        .and_then(|at| body.get(at..))
        .and_then(|end| end.get("-----END".len()..)?.find("-----"))
        .map_or(0, |dashes| "-----END".len() + dashes + "-----".len());
    let end = hit.span.end + material.len() + footer;
    Verdict::AcceptTo(Confidence::High, end)
}

/// Key files hold long rows of zeros; what a key is not is a row of nothing else.
fn is_material(run: &str) -> bool {
    run.bytes()
        .collect::<std::collections::BTreeSet<u8>>()
        .len()
        >= MIN_KEY_ALPHABET
}

fn aws_secret(hit: &Hit<'_>) -> Verdict {
    let value = hit.value();
    let mixed = value.bytes().any(|b| b.is_ascii_uppercase())
        && value.bytes().any(|b| b.is_ascii_lowercase())
        && value.bytes().any(|b| b.is_ascii_digit());
    accept_if(
        mixed && entropy(value) > 4.0 && is_varied(value),
        Confidence::Medium,
    )
}

/// The last six characters of the token are the CRC-32 of the thirty before them, in base 62.
fn crc_matches(token: &str) -> bool {
    let Some((_, body)) = token.split_once('_') else {
        return false;
    };
    let (Some(payload), Some(checksum)) = (body.get(..30), body.get(30..)) else {
        return false;
    };
    let mut crc = crc32fast::hash(payload.as_bytes());
    let mut digits: Vec<u8> = Vec::with_capacity(6);
    for _ in 0..6 {
        let digit = usize::try_from(crc % 62).ok().and_then(|d| BASE62.get(d));
        digits.extend(digit);
        crc /= 62;
    }
    digits.reverse();
    digits == checksum.as_bytes()
}

fn crc_right(hit: &Hit<'_>) -> Verdict {
    accept_if(crc_matches(hit.value()), Confidence::High)
}

fn crc_wrong(hit: &Hit<'_>) -> Verdict {
    let value = hit.value();
    accept_if(!crc_matches(value) && is_varied(value), Confidence::Low)
}

fn json_web_token(hit: &Hit<'_>) -> Verdict {
    let header = hit.value().split('.').next().unwrap_or_default();
    let decoded = URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    let object: Option<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_slice(&decoded).ok();
    accept_if(
        object.is_some_and(|header| header.contains_key("alg") || header.contains_key("enc")),
        Confidence::High,
    )
}

fn uri_password(hit: &Hit<'_>) -> Verdict {
    let value = hit.value();
    let user = hit
        .whole()
        .split("://")
        .nth(1)
        .and_then(|r| r.split(':').next());
    let port_only = value.bytes().all(|b| b.is_ascii_digit()) && value.len() <= 5;
    let empty_user =
        user.is_some_and(|user| is_placeholder(user) && user.contains(['<', '{', '$']));
    accept_if(
        !(is_placeholder(value) || port_only || empty_user || user == Some(value)),
        Confidence::Medium,
    )
}

fn azure_key(hit: &Hit<'_>) -> Verdict {
    accept_if(
        is_varied(hit.value()) && !hit.value().starts_with(AZURITE_KEY_START),
        Confidence::Medium,
    )
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Longest armoured key looked through: RSA-16384 in PKCS #8 takes 12.3 KiB of base64.
const MAX_PEM_BYTES: usize = 16_384;

/// Shortest unbroken run of key material; an Ed25519 key in PKCS #8 is 64 characters, EC P-256 on
/// its last line 36.
const MIN_KEY_RUN: usize = 36;

/// Fewest different characters in such a run.
const MIN_KEY_ALPHABET: usize = 10;

/// Start of the key that Azure's storage emulator publishes for everybody.
const AZURITE_KEY_START: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6";
