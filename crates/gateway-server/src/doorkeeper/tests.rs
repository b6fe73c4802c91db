//! One credential, whose it is, and the proof that it is theirs.

use std::path::Path;

use http::{HeaderMap, Method};
use proofroom_authn::{HolderKey, PersonId, ProofOf};
use proofroom_canonical::{Digest, Timestamp};
use proofroom_testkit::issuer::IssuerServer;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Doorkeeper, Head};
use crate::{
    config::Config,
    held::Held,
    keys::{KeyFile, KeyToken, VirtualKey, tests::key_for},
    people::{Bar, BarFile, BarredSubject, MAX_BAR_FILE_BYTES},
};

const NOW: i64 = 1_800_000_000;
type Headers<'a> = Vec<(&'static str, &'a str)>;
type Lie = (fn(&IssuerServer), &'static str);

const PATH: &str = "/v1/messages";

struct Door {
    dir: tempfile::TempDir,
    token: KeyToken,
    issuer: IssuerServer,
    doorkeeper: Doorkeeper,
    runtime: tokio::runtime::Runtime,
}

fn config(dir: &Path, issuer: &IssuerServer, proof: &str, urls: &str) -> Config {
    let (url, table) = (&issuer.issuer.url, issuer.issuer.table(proof));
    let text = format!(
        r#"
version = 1
state = "."
[listen]
address = "127.0.0.1:0"
urls = [{urls}]
{table}
[[people.rule]]
issuer = "{url}"
when = [{{ claim = ["groups"], is = "admins" }}]
team = "admins"
scope = {{ models = ["*"], tiers = ["*"], labels = ["*"], regions = ["*"], repository = "" }}
[[people.rule]]
issuer = "{url}"
when = [{{ claim = ["groups"], is = "developers" }}, {{ claim = ["scope"], is = "models" }}]
team = "core"
scope = {{ models = ["m"], tiers = ["*"], labels = ["*"], regions = ["*"], repository = "r", purpose = "work" }}
limits = {{ requests_per_minute = 7 }}
"#
    );
    Config::parse(&text, dir).unwrap()
}

impl Door {
    fn new() -> Self {
        Self::with("if-bound", r#""https://gateway.test""#, |_| ())
    }

    fn with(proof: &str, urls: &str, change: impl FnOnce(&mut VirtualKey)) -> Self {
        let (dir, issuer) = (tempfile::tempdir().unwrap(), IssuerServer::start());
        let token = KeyToken::generate().unwrap();
        let mut key = key_for(&token);
        change(&mut key);
        let config = config(dir.path(), &issuer, proof, urls);
        KeyFile::change(&config.keys, |file| {
            file.keys.push(key);
            Ok(())
        })
        .unwrap();
        Self {
            doorkeeper: Doorkeeper::open(&config).unwrap(),
            runtime: tokio::runtime::Runtime::new().unwrap(),
            dir,
            token,
            issuer,
        }
    }

    fn ask(&self, headers: &[(&'static str, &str)]) -> Result<Held, &'static str> {
        self.ask_at(headers, NOW)
    }

    fn ask_at(&self, headers: &[(&'static str, &str)], now: i64) -> Result<Held, &'static str> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let head = Head {
            method: &Method::POST,
            path: PATH,
            headers: &headers,
            client_key: None,
        };
        let now = Timestamp::from_unix_seconds(now);
        let asked = self.doorkeeper.let_in(&head, now);
        self.runtime.block_on(asked).map_err(|refused| {
            let (code, status) = (refused.code(), refused.status().as_u16());
            // whoever is refused for want of something is told what
            assert_eq!(refused.challenge().is_some(), status == 401, "{code}");
            code
        })
    }

    fn bearer(&self, token: &str) -> Result<Held, &'static str> {
        self.ask(&[("authorization", &format!("Bearer {token}"))])
    }

    fn bar(&self, subject: BarredSubject) {
        let since = Timestamp::from_unix_seconds(NOW);
        let bar = Bar { subject, since };
        BarFile::change(&self.bars(), |file| file.bars.push(bar)).unwrap();
    }

    fn bars(&self) -> std::path::PathBuf {
        self.dir.path().join("gateway-bars.json")
    }

    fn proof(&self, key: &HolderKey, token: &str, id: u8) -> String {
        let nonce = self.doorkeeper.nonce().unwrap();
        let of = ProofOf {
            method: "POST",
            address: "https://gateway.test/v1/messages",
            token,
            nonce: nonce.to_str().unwrap(),
        };
        key.prove(&of, [id; 16], Timestamp::from_unix_seconds(NOW))
    }
}

fn client() -> HolderKey {
    HolderKey::of(&Zeroizing::new([9; 32])).unwrap()
}

#[test]
fn one_credential_in_either_header_and_nothing_else() {
    let door = Door::new();
    let key = door.token.expose();
    let other = KeyToken::generate().unwrap();
    let other = other.expose();
    let (bearer, lower) = (format!("Bearer {key}"), format!("bearer {key}"));
    let (dpop, basic) = (format!("DPoP {key}"), format!("Basic {key}"));
    let cases: [(Headers<'_>, Option<&str>); 10] = [
        (vec![], Some("key-missing")),
        (vec![("authorization", &bearer)], None),
        (vec![("authorization", &lower)], None),
        (vec![("x-api-key", key)], None),
        (vec![("x-api-key", key), ("authorization", &bearer)], None),
        (
            vec![("x-api-key", key), ("x-api-key", other)],
            Some("key-ambiguous"),
        ),
        (
            vec![("x-api-key", key), ("authorization", &dpop)],
            Some("key-ambiguous"),
        ),
        (vec![("authorization", &basic)], Some("key-unknown")),
        (vec![("x-api-key", other)], Some("key-unknown")),
        // an issuer is configured, so that this might be its token
        (vec![("x-api-key", "sk-1")], Some("token-malformed")),
    ];
    for (headers, expected) in cases {
        assert_eq!(door.ask(&headers).err(), expected, "{headers:?}");
    }
}

#[test]
fn a_person_gets_what_the_first_rule_about_them_says_and_without_one_nothing() {
    let door = Door::new();
    let issuer = &door.issuer.issuer;
    let token = issuer.token("ada", NOW);
    for headers in [
        [("authorization", format!("Bearer {token}"))],
        [("x-api-key", token.clone())],
    ] {
        let headers = headers
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let held = door.ask(&headers).unwrap();
        let client = &held.client;
        assert_eq!(client.key, PersonId::of(&issuer.url, "ada").to_string());
        assert_eq!(
            (client.user.as_str(), client.team.as_str()),
            ("ada@example.test", "core")
        );
        assert_eq!(client.issuer.as_deref(), Some(issuer.url.as_str()));
        assert!(client.token.is_some() && client.proof_key.is_none());
        assert_eq!(held.grant.scope.purpose, "work");
        assert_eq!(held.grant.limits.requests_per_minute, Some(7));
        assert!(!format!("{:?}", held.client).contains(&token));
    }
    let changed = |change: fn(&mut Value)| {
        door.bearer(&issuer.token_with("ada", NOW, change))
            .map(|held| held.client.team)
    };
    assert_eq!(
        changed(|c| c["groups"] = json!(["admins", "developers"])),
        Ok("admins".to_owned())
    );
    assert_eq!(
        changed(|c| c["groups"] = json!(["others"])).err(),
        Some("person-not-permitted")
    );
    assert_eq!(
        changed(|c| c["scope"] = json!("offline_access")).err(),
        Some("person-not-permitted")
    );
    let foreign = changed(|c| c["email"] = json!("root@corp.test"));
    assert_eq!(foreign.err(), Some("person-name"));
    assert_eq!(
        changed(|c| c["iss"] = json!("https://evil.test")).err(),
        Some("token-issuer")
    );
    assert_eq!(
        changed(|c| c["aud"] = json!("other")).err(),
        Some("token-audience")
    );
    // and ends when the token does
    let held = door.bearer(&token).unwrap();
    assert!(held.is_usable(Timestamp::from_unix_seconds(NOW + 600)));
    assert!(!held.is_usable(Timestamp::from_unix_seconds(NOW + 630)));
}

#[test]
fn whoever_is_barred_is_refused_at_once_and_their_runs_under_way_end() {
    let door = Door::new();
    let issuer = &door.issuer.issuer;
    let (first, second) = (issuer.token("ada", NOW), issuer.token("ada", NOW - 1));
    let held = door.bearer(&first).unwrap();
    let other = door.bearer(&second).unwrap();
    door.bar(BarredSubject::Token {
        token: held.client.token.unwrap(),
    });
    assert_eq!(door.bearer(&first).err(), Some("token-barred"));
    assert!(held.has_ended() && !other.has_ended());
    door.bar(BarredSubject::TokenId {
        issuer: issuer.url.clone(),
        id: format!("ada-{}", NOW - 1),
    });
    assert_eq!(door.bearer(&second).err(), Some("token-barred"));
    assert!(other.has_ended());
    let third = issuer.token("ada", NOW - 2);
    let held = door.bearer(&third).unwrap();
    let eve = door.bearer(&issuer.token("eve", NOW)).unwrap();
    door.bar(BarredSubject::Person {
        person: PersonId::of(&issuer.url, "ada"),
    });
    // without a request, the server looks once a second
    door.runtime.block_on(async { door.doorkeeper.tend() });
    assert!(held.has_ended() && !eve.has_ended());
    assert_eq!(door.bearer(&third).err(), Some("person-barred"));
    assert!(
        !door
            .doorkeeper
            .is_usable(held.holder, Timestamp::from_unix_seconds(NOW))
    );
    // a file that cannot be read bars everybody, and no key
    std::fs::write(door.bars(), "{").unwrap();
    assert_eq!(
        door.bearer(&issuer.token("eve", NOW)).err(),
        Some("bars-unreadable")
    );
    assert!(eve.has_ended());
    assert_eq!(door.doorkeeper.unreadable(), Some("bars-unreadable\n"));
    assert!(door.bearer(door.token.expose()).is_ok());
    BarFile::change(&door.bars(), |_| ()).unwrap_err();
}

#[test]
fn a_file_of_bars_that_is_gone_bars_everybody_until_it_is_back() {
    let door = Door::new();
    let token = door.issuer.issuer.token("eve", NOW);
    // there was none at the start
    let held = door.bearer(&token).unwrap();
    door.bar(BarredSubject::Token {
        token: Digest::of("of somebody"),
    });
    assert!(door.bearer(&token).is_ok());
    let away = door.dir.path().join("away");
    std::fs::rename(door.bars(), &away).unwrap();
    assert_eq!(door.bearer(&token).err(), Some("bars-unreadable"));
    assert_eq!(door.bearer(&token).err(), Some("bars-unreadable"));
    assert!(held.has_ended());
    assert_eq!(door.doorkeeper.unreadable(), Some("bars-unreadable\n"));
    std::fs::rename(&away, door.bars()).unwrap();
    assert!(door.bearer(&token).is_ok());
    // and what would not be read is not written
    let since = Timestamp::from_unix_seconds(NOW);
    let subject = BarredSubject::TokenId {
        issuer: "i".to_owned(),
        id: "x".repeat(MAX_BAR_FILE_BYTES),
    };
    let refused = BarFile::change(&door.bars(), |file| file.bars.push(Bar { subject, since }));
    assert_eq!(refused.unwrap_err().code(), "bars-too-large");
    assert!(door.bearer(&token).is_ok());
}

#[test]
fn an_issuers_keys_are_asked_for_once_and_an_unknown_one_once_a_minute() {
    let door = Door::new();
    let asked = || door.issuer.asked("/keys").len();
    let token = door.issuer.issuer.token("ada", NOW);
    for _ in 0..3 {
        door.bearer(&token).unwrap();
    }
    assert_eq!(asked(), 1);
    let issuer = &door.issuer.issuer;
    let header = json!({"typ": "at+jwt", "alg": "ES256", "kid": "new"});
    let unknown = issuer.key.sign(&header, &issuer.claims("ada", NOW));
    // within a minute of the first, so that strangers cannot make the gateway ask
    assert_eq!(door.bearer(&unknown).err(), Some("token-key-unknown"));
    assert_eq!(asked(), 1);
}

#[test]
fn an_issuer_that_cannot_be_reached_or_is_another_lets_nobody_in() {
    let lies: [Lie; 6] = [
        (
            |server| server.answer("/keys", 500, &json!({})),
            "issuer-unreachable",
        ),
        (
            |server| server.answer("/keys", 200, &json!({"keys": []})),
            "issuer-unreachable",
        ),
        (
            |server| server.answer("/.well-known/openid-configuration", 404, &json!({})),
            "issuer-unreachable",
        ),
        (
            |server| {
                let mut said = server.issuer.discovery();
                said["issuer"] = json!(format!("{}/", server.issuer.url));
                server.answer("/.well-known/openid-configuration", 200, &said);
            },
            "issuer-unreachable",
        ),
        (
            |server| {
                let mut said = server.issuer.discovery();
                said["jwks_uri"] = json!("http://192.0.2.1/keys");
                server.answer("/.well-known/openid-configuration", 200, &said);
            },
            "issuer-unreachable",
        ),
        (
            |server| {
                let large = json!({"keys": [server.issuer.jwk()], "more": "m".repeat(300_000)});
                server.answer("/keys", 200, &large);
            },
            "issuer-unreachable",
        ),
    ];
    for (number, (lie, code)) in lies.into_iter().enumerate() {
        let door = Door::new();
        lie(&door.issuer);
        let token = door.issuer.issuer.token("ada", NOW);
        assert_eq!(door.bearer(&token).err(), Some(code), "lie {number}");
        // keys are not the issuer's business
        assert!(door.bearer(door.token.expose()).is_ok());
    }
}

#[test]
fn a_bound_key_needs_a_proof_for_each_request() {
    let key = client();
    let door = Door::with("if-bound", r#""https://gateway.test""#, |entry| {
        entry.proof_key = Some(client().thumbprint());
    });
    let token = door.token.expose();
    let dpop = format!("DPoP {token}");
    assert_eq!(door.bearer(token).err(), Some("key-bound-to-client"));
    assert_eq!(
        door.ask(&[("x-api-key", token)]).err(),
        Some("key-bound-to-client")
    );
    assert_eq!(
        door.ask(&[("authorization", &dpop)]).err(),
        Some("proof-missing")
    );
    let (one, two) = (door.proof(&key, token, 1), door.proof(&key, token, 2));
    let several = [
        ("authorization", dpop.as_str()),
        ("dpop", &one),
        ("dpop", &two),
    ];
    assert_eq!(door.ask(&several).err(), Some("proof-ambiguous"));
    let held = door
        .ask(&[("authorization", &dpop), ("dpop", &one)])
        .unwrap();
    assert_eq!(held.client.proof_key, Some(key.thumbprint().digest()));
    assert_eq!(
        door.ask(&[("authorization", &dpop), ("dpop", &one)]).err(),
        Some("proof-used")
    );
    assert!(
        door.ask(&[("authorization", &dpop), ("dpop", &two)])
            .is_ok()
    );
    let foreign = HolderKey::of(&Zeroizing::new([8; 32])).unwrap();
    let foreign = door.proof(&foreign, token, 3);
    assert_eq!(
        door.ask(&[("authorization", &dpop), ("dpop", &foreign)])
            .err(),
        Some("key-bound-to-client")
    );
    let of_other = door.proof(&key, "prk_other", 4);
    assert_eq!(
        door.ask(&[("authorization", &dpop), ("dpop", &of_other)])
            .err(),
        Some("proof-token")
    );
}

#[test]
fn a_proof_from_before_a_start_is_refused_though_nobody_remembers_it() {
    let key = client();
    let door = Door::with("if-bound", r#""https://gateway.test""#, |entry| {
        entry.proof_key = Some(client().thumbprint());
    });
    let token = door.token.expose().to_owned();
    let dpop = format!("DPoP {token}");
    let used = door.proof(&key, &token, 5);
    let sent = [("authorization", dpop.as_str()), ("dpop", used.as_str())];
    assert!(door.ask(&sent).is_ok());
    let config = config(
        door.dir.path(),
        &door.issuer,
        "if-bound",
        r#""https://gateway.test""#,
    );
    let door = Door {
        doorkeeper: Doorkeeper::open(&config).unwrap(),
        ..door
    };
    assert_eq!(door.ask(&sent).err(), Some("use-dpop-nonce"));
}

#[test]
fn a_proof_is_asked_of_what_is_bound_and_of_nothing_else() {
    let key = client();
    let door = Door::new();
    let token = door.token.expose();
    let proof = door.proof(&key, token, 1);
    let sent = [("authorization", format!("DPoP {token}")), ("dpop", proof)];
    let sent = sent.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(door.ask(&sent).err(), Some("proof-of-nothing"));
    // a gateway that does not know its own addresses takes no proof
    let door = Door::with("if-bound", "", |entry| {
        entry.proof_key = Some(client().thumbprint());
    });
    assert!(door.doorkeeper.nonce().is_none());
    let dpop = format!("DPoP {}", door.token.expose());
    let refused = door.ask(&[("authorization", &dpop), ("dpop", "p")]);
    assert_eq!(refused.err(), Some("proof-not-configured"));
}

#[test]
fn a_persons_token_is_bound_by_its_issuer_and_may_have_to_be() {
    let key = client();
    for proof in ["if-bound", "required"] {
        let door = Door::with(proof, r#""https://gateway.test""#, |_| ());
        let issuer = &door.issuer.issuer;
        let bound = issuer.token_with("ada", NOW, |claims| {
            claims["cnf"] = json!({"jkt": key.thumbprint().to_string()});
        });
        assert_eq!(door.bearer(&bound).err(), Some("key-bound-to-client"));
        let sent = door.proof(&key, &bound, 1);
        let dpop = format!("DPoP {bound}");
        let held = door
            .ask(&[("authorization", &dpop), ("dpop", &sent)])
            .unwrap();
        assert_eq!(held.client.proof_key, Some(key.thumbprint().digest()));
        let free = door.bearer(&issuer.token("ada", NOW));
        let expected = (proof == "required").then_some("token-not-bound");
        assert_eq!(free.err(), expected);
    }
}
