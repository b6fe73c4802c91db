//! Code that keeps people or money safe: what imports a library of cryptography, authentication,
//! payment or patients' data, or defines a function or type named for such work. Says what code is
//! about, not that it holds a secret, so it is the policy that decides whether it counts.

use std::ops::Range;

use memchr::memrchr;

use super::{Broken, Detector, Hit, Severity, Verdict, Window};
use crate::Confidence;

pub(super) const DETECTORS: &[Detector] = &[Detector {
    id: SENSITIVE_CODE,
    reason: "code of cryptography, authentication, payment or patients' data",
    severity: Severity::ThirdHighest,
    literals: NAMES,
    window: Window::Line {
        before: MAX_BEFORE,
        reach: 64,
    },
    pattern: PATTERN,
    check: accept,
    broken: Broken::Leave,
    needs: declares,
}];

const fn accept(_: &Hit<'_>) -> Verdict {
    Verdict::Accept(Confidence::Medium)
}

/// Parts of names that the pattern knows.
const NAMES: &[&str] = &[
    "crypt",
    "nacl",
    "jwt",
    "jose",
    "jsonwebtoken",
    "argon2",
    "hmac",
    "hkdf",
    "pbkdf2",
    "ssl",
    "rustls",
    "ring::",
    "aes::",
    "aes_gcm",
    "rsa::",
    "poly1305",
    "25519",
    "p256::",
    "p384::",
    "k256::",
    "webpki",
    "x509",
    "java.security",
    "springframework.security",
    "bouncycastle",
    "nimbusds",
    "identitymodel",
    "aspnetcore.",
    "passlib",
    "passport",
    "oauth",
    "openid",
    "auth0",
    "authlib",
    "next-auth",
    "contrib.auth",
    "flask_login",
    "itsdangerous",
    "pyotp",
    "ldap",
    "devise",
    "sodium",
    "node-forge",
    "mbedtls",
    "gnutls",
    "tss2",
    "stripe",
    "braintree",
    "paypal",
    "hl7",
    "fhir",
    "pydicom",
    "hash_password",
    "hashpassword",
    "verify_password",
    "verifypassword",
    "check_password",
    "checkpassword",
    "verify_signature",
    "verifysignature",
    "verify_token",
    "verifytoken",
    "issue_token",
    "issuetoken",
    "derive_key",
    "derivekey",
    "authenticat",
    "authoriz",
    "charge_card",
    "chargecard",
    "patient",
];

/// Imports as Python, Rust, Go, JavaScript, the Java family, C# and C write them, then definitions.
const PATTERN: &str = concat!(
    r"[ \t]{0,24}(?:",
    r"(?:import|from)[ \t]+(?:cryptography|Crypto|Cryptodome|nacl|jwt|jose|bcrypt|passlib|argon2|hmac|ssl|OpenSSL|authlib|oauthlib|ldap3?|pyotp|",
    r"itsdangerous|django\.contrib\.auth|flask_login|stripe|braintree|paypalrestsdk|hl7|hl7apy|fhir\.resources|fhirclient|pydicom)\b",
    r"|(?:pub(?:\([a-z]{1,8}\))? )?use (?:::)?(?:ring|rustls|openssl|aes|aes_gcm|chacha20poly1305|crypto_box|ed25519_dalek|x25519_dalek|",
    r"curve25519_dalek|p256|p384|k256|rsa|hmac|hkdf|pbkdf2|argon2|bcrypt|scrypt|jsonwebtoken|webpki|rustls_webpki|x509_parser|x509_cert|oauth2|openidconnect|ldap3)::",
    r#"|(?:import[ \t]+)?(?:[a-z]\w{0,30} )?"(?:crypto/(?:aes|cipher|des|ecdh|ecdsa|ed25519|elliptic|hmac|rsa|subtle|tls|x509)|golang\.org/x/(?:crypto/|oauth2)|"#,
    r#"github\.com/(?:golang-jwt/|dgrijalva/jwt-go|go-jose/|coreos/go-oidc|go-ldap/|stripe/stripe-go|google/fhir))"#,
    r#"|(?:import\b[^'"\r\n]{0,100}|\}[ \t]*from[ \t]*|(?:const|let|var)[^='"\r\n]{1,80}=[ \t]*(?:await import|require)\()['"](?:node:)?(?:crypto|jsonwebtoken|jose|"#,
    r#"bcrypt(?:js)?|argon2|passport(?:-[\w-]{1,30})?|oauth[\w-]{0,30}|openid-client|next-auth|@auth0/[\w-]{1,40}|tweetnacl|libsodium[\w-]{0,20}|node-forge|crypto-js|"#,
    r#"stripe|@stripe/[\w-]{1,40}|braintree|fhir[\w.-]{0,30})(?:/[\w/-]{1,40})?['"]"#,
    r"|import (?:static )?(?:javax\.crypto|java\.security|javax\.net\.ssl|org\.bouncycastle|org\.springframework\.security|io\.jsonwebtoken|com\.auth0|",
    r"com\.nimbusds|com\.stripe|com\.braintreegateway|ca\.uhn\.(?:fhir|hl7v2)|org\.hl7)\.",
    r"|using (?:System\.Security\.Cryptography|Microsoft\.AspNetCore\.(?:Authentication|Authorization|Identity)|Microsoft\.IdentityModel|Stripe|Hl7\.Fhir)\b",
    r#"|#[ \t]{0,4}include[ \t]{0,4}[<"](?:openssl|sodium|mbedtls|gnutls|tss2)[/.]"#,
    r"|(?:(?:pub(?:\([a-z]{1,8}\))?|async|export|default|static|private|public|protected|internal|final|abstract) ){0,4}(?:fn|def|func|function|class|struct|interface|trait)[ \t]+",
    r"(?:\([^)\r\n]{0,50}\)[ \t]*)?\w{0,30}?(?i:encrypt|decrypt|(?:hash|verify|check)_?password|verify_?signature|(?:verify|issue)_?token|derive_?key|authenticat|authoriz|charge_?card|patient)",
    r")"
);

/// Whether the line of the name at `at` may be an import of it or a definition.
fn declares(text: &[u8], window: Range<usize>, at: usize) -> bool {
    let before = text.get(window.start..at).unwrap_or_default();
    let line = memrchr(b'\n', before).and_then(|end| before.get(end + 1..));
    let line = line.unwrap_or(before).trim_ascii_start();
    let (word, rest) = first_word(line);
    let quoted = || rest.iter().any(|b| matches!(b, b'"' | b'\''));
    // of a definition nothing but its name counts
    let defines = |rest: &[u8]| !rest.contains(&b'(') && is_defined(text, at);
    match word {
        b"import" | b"from" | b"using" => true,
        b"func" => is_defined(text, at),
        b"use" => begins_path(rest),
        b"pub" => {
            let rest = rest.strip_prefix(b"(").map_or(rest, after_bracket);
            match first_word(rest.trim_ascii_start()) {
                (b"use", path) => begins_path(path),
                _ => is_defined(text, at),
            }
        }
        // `const x = require("crypto")`
        b"const" | b"let" | b"var" => quoted(),
        _ if DEFINES.contains(&word) => defines(rest),
        // `"crypto/tls"`, `} from "crypto"`, `#include <openssl/…>`
        b"" => rest.first().is_none_or(|b| matches!(b, b'"' | b'}' | b'#')),
        // `name "golang.org/x/crypto/…"`, as Go renames what it imports
        _ => rest.starts_with(b" \""),
    }
}

fn first_word(line: &[u8]) -> (&[u8], &[u8]) {
    let letters = line.iter().take_while(|b| b.is_ascii_alphanumeric());
    line.split_at(letters.count())
}

fn after_bracket(rest: &[u8]) -> &[u8] {
    let close = rest.iter().position(|b| *b == b')');
    close
        .and_then(|close| rest.get(close + 1..))
        .unwrap_or_default()
}

/// Whether what follows `use` and this is still in the first part of the path, which names a crate.
fn begins_path(path: &[u8]) -> bool {
    let path = path.trim_ascii_start();
    !path.strip_prefix(b"::").unwrap_or(path).contains(&b':')
}

/// Whether the name at `at` is one that is defined, and not only imported.
fn is_defined(text: &[u8], at: usize) -> bool {
    let begins = |name: &&[u8]| {
        let head = text.get(at..at + name.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(name))
    };
    DEFINED.iter().any(begins)
}

/// How the names begin whose definitions the pattern knows.
const DEFINED: &[&[u8]] = &[
    b"crypt",
    b"hash",
    b"verify",
    b"check",
    b"issue",
    b"derive",
    b"authenticat",
    b"authoriz",
    b"charge",
    b"patient",
];

/// What definitions begin with, beside those above.
const DEFINES: &[&[u8]] = &[
    b"fn",
    b"def",
    b"function",
    b"class",
    b"struct",
    b"interface",
    b"trait",
    b"async",
    b"export",
    b"default",
    b"static",
    b"private",
    b"public",
    b"protected",
    b"internal",
    b"final",
    b"abstract",
];

pub(crate) const SENSITIVE_CODE: &str = "crypto-or-auth-code";
/// The longest start of a line up to a name.
const MAX_BEFORE: usize = 140;
