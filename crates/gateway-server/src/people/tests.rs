//! `[people]` as it is written: what is read of it, and what refuses the file.

use std::path::Path;

use proofroom_authn::{Algorithm, NameClaim, TokenKind};

use super::{IssuerConfig, ProofDemand};
use crate::{Config, config::DEFAULT_CONFIG};

const BASE: &str = "version = 1\nstate = \"s\"\n[listen]\naddress = \"127.0.0.1:80\"\n";
const ISSUER: &str = r#"
[[people.issuer]]
url = "https://login.test"
audience = "https://gateway.test"
algorithms = ["ES256", "RS256"]
tokens = "jwt"
name = "email"
names = ["*@example.test"]
longest_life_minutes = 90
proof = "if-bound"
"#;
const RULE: &str = r#"
[[people.rule]]
issuer = "https://login.test"
when = [{ claim = ["realm_access", "roles"], is = "developer" }]
team = "core"
scope = { models = ["*"], tiers = ["*"], labels = ["*"], regions = ["*"], repository = "" }
"#;

/// An honest issuer at `url`.
pub(crate) fn issuer_at(url: &str) -> IssuerConfig {
    let text = format!("{BASE}{}", ISSUER.replace("https://login.test", url));
    let read = Config::parse(&text, Path::new("/etc/gateway")).unwrap();
    let issuer = read.people.issuers.into_iter().next();
    issuer.unwrap()
}

#[test]
fn issuers_and_rules_are_read() {
    let text = format!("{BASE}{ISSUER}authorities = \"ca.pem\"\nkeys_minutes = 30\n{RULE}");
    let config = Config::parse(&text, Path::new("/etc/gateway")).unwrap();
    let [issuer] = config.people.issuers.as_slice() else {
        panic!("{:?}", config.people);
    };
    let policy = &issuer.policy;
    assert_eq!(policy.issuer, "https://login.test");
    assert_eq!(policy.algorithms, [Algorithm::Es256, Algorithm::Rs256]);
    assert_eq!(
        (policy.kind, policy.name),
        (TokenKind::UntypedAccessToken, NameClaim::Email)
    );
    assert_eq!(
        (policy.longest_life_seconds, issuer.proof),
        (5400, ProofDemand::IfBound)
    );
    assert_eq!(issuer.keys_life.as_secs(), 1800);
    assert_eq!(
        issuer.authorities.as_deref(),
        Some(Path::new("/etc/gateway/ca.pem"))
    );
    assert_eq!(
        config.people.rules[0].when[0].claim,
        ["realm_access", "roles"]
    );
    assert_eq!(
        config.people.bars,
        Path::new("/etc/gateway/s/gateway-bars.json")
    );
    let default = Config::parse(DEFAULT_CONFIG, Path::new("/")).unwrap();
    assert!(default.people.issuers.is_empty() && default.urls.is_empty());
}

#[test]
fn the_commented_example_of_the_default_file_is_one() {
    // every line of the section, without its comment sign
    let (_, section) = DEFAULT_CONFIG.split_once("# [[people.issuer]]").unwrap();
    let lines = section
        .lines()
        .map(|line| line.strip_prefix("# ").unwrap_or_default());
    let text = format!(
        "{BASE}[[people.issuer]]{}",
        lines.collect::<Vec<_>>().join("\n")
    );
    let config =
        Config::parse(&text, Path::new("/")).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(
        (config.people.issuers.len(), config.people.rules.len()),
        (1, 1)
    );
}

/// What is written in the place of what, and the code.
const WEAK: [(&str, &str, &str); 22] = [
    (
        "[\"ES256\", \"RS256\"]",
        "[\"HS256\"]",
        "gateway-config-syntax",
    ),
    (
        "[\"ES256\", \"RS256\"]",
        "[\"none\"]",
        "gateway-config-syntax",
    ),
    ("[\"ES256\", \"RS256\"]", "[]", "gateway-people"),
    (
        "tokens = \"jwt\"",
        "tokens = \"id-token\"",
        "gateway-config-syntax",
    ),
    (
        "url = \"https://login.test\"",
        "url = \"http://login.test\"",
        "gateway-people",
    ),
    (
        "url = \"https://login.test\"",
        "url = \"https://login.test?a=b\"",
        "gateway-people",
    ),
    (
        "url = \"https://login.test\"",
        "url = \"https://other.test\"",
        "gateway-people",
    ),
    (
        "audience = \"https://gateway.test\"",
        "audience = \"\"",
        "gateway-people",
    ),
    (
        "names = [\"*@example.test\"]",
        "names = []",
        "gateway-people",
    ),
    (
        "names = [\"*@example.test\"]",
        "names = [\"[\"]",
        "gateway-people",
    ),
    (
        "longest_life_minutes = 90",
        "longest_life_minutes = 0",
        "gateway-people",
    ),
    (
        "longest_life_minutes = 90",
        "longest_life_minutes = 1441",
        "gateway-people",
    ),
    (
        "name = \"email\"",
        "name = \"preferred_username\"",
        "gateway-config-syntax",
    ),
    (
        "proof = \"if-bound\"",
        "proof = \"never\"",
        "gateway-config-syntax",
    ),
    (
        "proof = \"if-bound\"",
        "proof = \"if-bound\"\nkeys_minutes = 4",
        "gateway-people",
    ),
    (
        "proof = \"if-bound\"",
        "proof = \"if-bound\"\ncolour = 1",
        "gateway-config-syntax",
    ),
    (
        "[{ claim = [\"realm_access\", \"roles\"], is = \"developer\" }]",
        "[]",
        "gateway-people",
    ),
    ("[\"realm_access\", \"roles\"]", "[]", "gateway-people"),
    ("is = \"developer\"", "is = \"\"", "gateway-people"),
    ("team = \"core\"", "team = \"\"", "gateway-people"),
    ("models = [\"*\"]", "models = [\"[\"]", "gateway-people"),
    (
        "repository = \"\"",
        "repository = \"r\\n\"",
        "gateway-people",
    ),
];

#[test]
fn what_is_missing_unknown_or_weak_refuses_the_file() {
    let both = format!("{ISSUER}{RULE}");
    let refused = |from: &str, to: &str| {
        assert!(both.contains(from), "{from}");
        let text = format!("{BASE}{}", both.replace(from, to));
        Config::parse(&text, Path::new("/")).unwrap_err().code()
    };
    for line in ISSUER.lines().filter(|line| line.contains(" = ")) {
        assert_eq!(refused(line, ""), "gateway-config-syntax", "{line}");
    }
    for (from, to, code) in WEAK {
        assert_eq!(refused(from, to), code, "{to}");
    }
    let other = ISSUER.replace("login.test", "other.test");
    let others = other.replace("*@example.test", "*@other.test");
    for (second, refused) in [
        (ISSUER, Some("gateway-people")),
        // two issuers of the same names, however they are written
        (&other, Some("gateway-people")),
        (&other.replace("*@ex", "*@EX"), Some("gateway-people")),
        // of which one name fits both
        (
            &other.replace("*@example.test", "ann*"),
            Some("gateway-people"),
        ),
        (&others, None),
    ] {
        let both = format!("{BASE}{ISSUER}{second}");
        let read = Config::parse(&both, Path::new("/"));
        assert_eq!(read.err().map(|error| error.code()), refused, "{second}");
    }
    for urls in [
        "http://gateway.test",
        "https://gateway.test/path",
        "gateway.test",
    ] {
        let text = format!("{BASE}urls = [\"{urls}\"]\n");
        let refused = Config::parse(&text, Path::new("/")).unwrap_err();
        assert_eq!(refused.code(), "gateway-config-syntax", "{urls}");
    }
}
