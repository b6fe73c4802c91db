//! Access tokens: an honest one is accepted, and each lie has its code.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use proofroom_authn::{
    AccessToken, Algorithm, IssuerPolicy, KeySet, LEEWAY_SECONDS, NameClaim, PersonId, TokenKind,
    VerifiedPerson,
};
use proofroom_canonical::Timestamp;
use proofroom_testkit::issuer::{AUDIENCE, KEY_ID, SimulatedIssuer, SimulatedJwtKey};
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://login.test/realm";

fn issuer() -> SimulatedIssuer {
    SimulatedIssuer::new(ISSUER)
}

fn policy() -> IssuerPolicy {
    IssuerPolicy {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        algorithms: vec![Algorithm::Es256],
        kind: TokenKind::AccessToken,
        longest_life_seconds: 3600,
        name: NameClaim::Email,
    }
}

fn keys(set: &Value, allowed: &[Algorithm]) -> Result<KeySet, &'static str> {
    KeySet::parse(set.to_string().as_bytes(), allowed).map_err(|error| error.code())
}

fn verify_by(token: &str, policy: &IssuerPolicy, now: i64) -> Result<VerifiedPerson, &'static str> {
    let keys = keys(&issuer().key_set(), &policy.algorithms).unwrap();
    let now = Timestamp::from_unix_seconds(now);
    let parsed = AccessToken::parse(token).map_err(|error| error.code())?;
    parsed
        .verify(policy, &keys, now)
        .map_err(|error| error.code())
}

fn verify(token: &str) -> Result<VerifiedPerson, &'static str> {
    verify_by(token, &policy(), NOW)
}

fn with_claims(change: impl FnOnce(&mut Value)) -> Result<VerifiedPerson, &'static str> {
    verify(&issuer().token_with("ada", NOW, change))
}

fn with_header(change: impl FnOnce(&mut Value)) -> Result<VerifiedPerson, &'static str> {
    let issuer = issuer();
    let mut header = issuer.header();
    change(&mut header);
    verify(&issuer.key.sign(&header, &issuer.claims("ada", NOW)))
}

type Lie = (fn(&mut Value), &'static str);

const HEADER_LIES: [Lie; 22] = [
    (|h| h["typ"] = json!("JWT"), "token-type"),
    (|h| h["typ"] = json!("dpop+jwt"), "token-type"),
    (
        |h| drop(h.as_object_mut().unwrap().remove("typ")),
        "token-type",
    ),
    (|h| h["alg"] = json!("none"), "token-algorithm"),
    (|h| h["alg"] = json!("NONE"), "token-algorithm"),
    (|h| h["alg"] = json!("HS256"), "token-algorithm"),
    (|h| h["alg"] = json!("es256"), "token-algorithm"),
    (|h| h["alg"] = json!("ES384"), "token-algorithm"),
    (|h| h["alg"] = json!(256), "token-algorithm"),
    (
        |h| drop(h.as_object_mut().unwrap().remove("alg")),
        "token-algorithm",
    ),
    (
        |h| drop(h.as_object_mut().unwrap().remove("kid")),
        "token-key-unnamed",
    ),
    (|h| h["kid"] = json!(7), "token-key-unnamed"),
    (|h| h["kid"] = json!("other"), "token-key-unknown"),
    (|h| h["kid"] = json!("../keys"), "token-key-unknown"),
    (|h| h["crit"] = json!(["exp"]), "token-header"),
    (|h| h["b64"] = json!(false), "token-header"),
    (
        |h| h["jku"] = json!("https://evil.test/keys"),
        "token-header",
    ),
    (
        |h| h["x5u"] = json!("https://evil.test/cert"),
        "token-header",
    ),
    (|h| h["x5c"] = json!(["MII"]), "token-header"),
    (
        |h| h["jwk"] = SimulatedJwtKey::es256("evil").jwk(),
        "token-header",
    ),
    (|h| h["zip"] = json!("DEF"), "token-header"),
    (|h| h["cty"] = json!("JWT"), "token-header"),
];

const CLAIM_LIES: [Lie; 32] = [
    (
        |c| c["iss"] = json!("https://login.test/realm/"),
        "token-issuer",
    ),
    (
        |c| c["iss"] = json!("https://LOGIN.test/realm"),
        "token-issuer",
    ),
    (
        |c| drop(c.as_object_mut().unwrap().remove("iss")),
        "token-claim",
    ),
    (|c| c["aud"] = json!("https://other.test"), "token-audience"),
    (|c| c["aud"] = json!(["a", "b"]), "token-audience"),
    (|c| c["aud"] = json!([]), "token-audience"),
    (|c| c["aud"] = json!(vec!["a"; 17]), "token-claim"),
    (
        |c| drop(c.as_object_mut().unwrap().remove("aud")),
        "token-claim",
    ),
    (|c| c["sub"] = json!(""), "token-claim"),
    (|c| c["sub"] = json!(7), "token-claim"),
    (|c| c["sub"] = json!("s".repeat(256)), "token-claim"),
    (
        |c| drop(c.as_object_mut().unwrap().remove("exp")),
        "token-claim",
    ),
    (|c| c["exp"] = json!("1800000600"), "token-claim"),
    (|c| c["exp"] = json!(-1), "token-claim"),
    (|c| c["exp"] = json!(u64::MAX), "token-claim"),
    (|c| c["exp"] = json!(NOW - LEEWAY_SECONDS), "token-expired"),
    (
        |c| drop(c.as_object_mut().unwrap().remove("iat")),
        "token-claim",
    ),
    (
        |c| c["iat"] = json!(NOW + LEEWAY_SECONDS + 1),
        "token-not-yet-valid",
    ),
    (
        |c| c["nbf"] = json!(NOW + LEEWAY_SECONDS + 1),
        "token-not-yet-valid",
    ),
    (|c| c["nbf"] = json!("soon"), "token-claim"),
    (|c| c["exp"] = json!(NOW + 3601), "token-life"),
    (|c| c["iat"] = json!(NOW - 3001), "token-life"),
    (
        |c| drop(c.as_object_mut().unwrap().remove("client_id")),
        "token-claim",
    ),
    (
        |c| drop(c.as_object_mut().unwrap().remove("jti")),
        "token-claim",
    ),
    (|c| c["jti"] = json!("j".repeat(256)), "token-claim"),
    (|c| c["email"] = json!("ada\n"), "token-claim"),
    (|c| c["email"] = json!("ada @example.test"), "token-claim"),
    (|c| c["email"] = json!("аda"), "token-claim"),
    (
        |c| drop(c.as_object_mut().unwrap().remove("email")),
        "token-claim",
    ),
    (
        |c| c["cnf"] = json!({"x5t#S256": "abc"}),
        "token-confirmation",
    ),
    (|c| c["cnf"] = json!({"jkt": "short"}), "token-confirmation"),
    (|c| c["cnf"] = json!(null), "token-confirmation"),
];

#[test]
fn an_honest_token_is_a_person() {
    let person = verify(&issuer().token("ada", NOW)).unwrap();
    assert_eq!(person.id(), PersonId::of(ISSUER, "ada"));
    assert_eq!(person.name(), "ada@example.test");
    assert_eq!((person.issuer(), person.bound_to()), (ISSUER, None));
    assert_eq!(person.token_id(), Some("ada-1800000000"));
    let path = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    assert!(person.claims(&path(&["groups"]), "developers"));
    assert!(person.claims(&path(&["scope"]), "models"));
    assert!(!person.claims(&path(&["scope"]), "models offline_access"));
    assert!(!person.claims(&path(&["groups"]), "admins"));
    assert!(!person.claims(&path(&["groups", "developers"]), "developers"));
    assert!(!person.claims(&[], "developers"));
    let nested = with_claims(|claims| claims["realm_access"] = json!({"roles": ["r"]})).unwrap();
    assert!(nested.claims(&path(&["realm_access", "roles"]), "r"));
    // the same person by another name, and another person at another issuer
    let renamed = with_claims(|claims| claims["email"] = json!("Lovelace@Example.TEST")).unwrap();
    assert_eq!(renamed.name(), "lovelace@example.test");
    assert_eq!(renamed.id(), person.id());
    assert_ne!(PersonId::of("https://other.test", "ada"), person.id());
    assert_eq!(person.id().to_string().parse(), Ok(person.id()));
}

#[test]
fn every_lie_in_the_header_has_its_code() {
    for (number, (lie, code)) in HEADER_LIES.into_iter().enumerate() {
        assert_eq!(with_header(lie).unwrap_err(), code, "lie {number}");
    }
    for good in ["at+jwt", "AT+JWT", "application/at+jwt"] {
        assert!(with_header(|h| h["typ"] = json!(good)).is_ok(), "{good}");
    }
    assert!(with_header(|h| h["x5t"] = json!("abc")).is_ok());
}

#[test]
fn every_lie_in_the_claims_has_its_code() {
    for (number, (lie, code)) in CLAIM_LIES.into_iter().enumerate() {
        assert_eq!(with_claims(lie).unwrap_err(), code, "lie {number}");
    }
    let bounds: [fn(&mut Value); 6] = [
        |c| c["exp"] = json!(NOW - LEEWAY_SECONDS + 1),
        |c| c["iat"] = json!(NOW + LEEWAY_SECONDS),
        |c| c["nbf"] = json!(NOW + LEEWAY_SECONDS),
        |c| c["exp"] = json!(NOW + 3600),
        |c| c["aud"] = json!(["a", AUDIENCE]),
        |c| c["sub"] = json!("s".repeat(255)),
    ];
    for (number, bound) in bounds.into_iter().enumerate() {
        let seen = with_claims(|claims| {
            bound(claims);
            // its life stays within what is allowed
            if claims["exp"] == json!(NOW - LEEWAY_SECONDS + 1) {
                claims["iat"] = json!(NOW - 600);
            }
        });
        assert!(seen.is_ok(), "bound {number}: {seen:?}");
    }
}

#[test]
fn what_two_parsers_read_differently_is_no_token() {
    let issuer = issuer();
    let (header, claims) = (
        issuer.header().to_string(),
        issuer.claims("ada", NOW).to_string(),
    );
    let sign = |header: &str, claims: &str| verify(&issuer.key.sign_texts(header, claims));
    assert!(sign(&header, &claims).is_ok());
    let twice = claims.replacen('{', r#"{"sub":"eve","#, 1);
    assert_eq!(sign(&header, &twice).unwrap_err(), "token-malformed");
    let twice = header.replacen('{', r#"{"alg":"none","#, 1);
    assert_eq!(sign(&twice, &claims).unwrap_err(), "token-malformed");
    for bad in ["[]", "", "1", "{}{}", r#"{"exp":1e3}"#, "{\"a\":1,}"] {
        assert_eq!(sign(&header, bad).unwrap_err(), "token-malformed", "{bad}");
    }
    let good = issuer.token("ada", NOW);
    let parts: Vec<&str> = good.split('.').collect();
    for bad in [
        format!("{good}="),
        format!("{good}."),
        format!("{good}.{}", parts[2]),
        format!("{}.{}", parts[0], parts[1]),
        format!(" {good}"),
        good.replace('.', "_"),
        format!("{}.{}.{}+", parts[0], parts[1], parts[2]),
        "a".repeat(16 * 1024 + 1),
        String::new(),
    ] {
        assert_eq!(verify(&bad).unwrap_err(), "token-malformed", "{bad}");
    }
    let unsigned = format!("{}.{}.", parts[0], parts[1]);
    assert_eq!(verify(&unsigned).unwrap_err(), "token-signature");
}

#[test]
fn a_key_signs_by_its_own_algorithm_alone() {
    // the public key's bytes as an HMAC key: the name is not known, so nothing is tried
    assert_eq!("HS256".parse::<Algorithm>().ok(), None);
    let every = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256];
    for key in [
        SimulatedJwtKey::es256("k"),
        SimulatedJwtKey::eddsa("k"),
        SimulatedJwtKey::rs256(),
    ] {
        let issuer = SimulatedIssuer { key, ..issuer() };
        let policy = IssuerPolicy {
            algorithms: every.to_vec(),
            ..policy()
        };
        let keys = keys(&issuer.key_set(), &every).unwrap();
        let ask = |token: &str| {
            let now = Timestamp::from_unix_seconds(NOW);
            let parsed = AccessToken::parse(token).unwrap();
            parsed
                .verify(&policy, &keys, now)
                .map_err(|error| error.code())
        };
        assert!(ask(&issuer.token("ada", NOW)).is_ok(), "{:?}", issuer.key);
        for other in ["ES256", "EdDSA", "RS256", "PS256"] {
            let mut header = issuer.header();
            if header["alg"] == other {
                continue;
            }
            header["alg"] = json!(other);
            let code = if other == "PS256" {
                "token-algorithm"
            } else {
                "token-key-unfit"
            };
            let token = issuer.key.sign(&header, &issuer.claims("ada", NOW));
            assert_eq!(ask(&token).unwrap_err(), code);
        }
        let evil = SimulatedIssuer {
            key: SimulatedJwtKey::es256("evil"),
            ..issuer.clone()
        };
        let forged = evil.key.sign(&issuer.header(), &issuer.claims("ada", NOW));
        assert_eq!(ask(&forged).unwrap_err(), "token-signature");
    }
}

#[test]
fn a_key_that_says_too_little_is_passed_over() {
    let es = [Algorithm::Es256];
    let set = |change: fn(&mut Value)| {
        let mut key = issuer().jwk();
        change(&mut key);
        json!({"keys": [key]})
    };
    let unfit: [fn(&mut Value); 8] = [
        |k| drop(k.as_object_mut().unwrap().remove("kid")),
        |k| drop(k.as_object_mut().unwrap().remove("use")),
        |k| k["use"] = json!("enc"),
        |k| k["key_ops"] = json!(["sign"]),
        |k| k["alg"] = json!("HS256"),
        |k| k["alg"] = json!("ES384"),
        |k| k["x"] = json!("AA"),
        |k| k["crv"] = json!("secp256k1"),
    ];
    for (number, change) in unfit.into_iter().enumerate() {
        assert_eq!(
            keys(&set(change), &es).unwrap_err(),
            "issuer-keys-none",
            "{number}"
        );
    }
    let fit: [fn(&mut Value); 3] = [
        |k| drop(k.as_object_mut().unwrap().remove("alg")),
        |k| k["key_ops"] = json!(["verify"]),
        |k| {
            k.as_object_mut().unwrap().remove("use");
            k["key_ops"] = json!(["verify"]);
        },
    ];
    for (number, change) in fit.into_iter().enumerate() {
        assert!(keys(&set(change), &es).unwrap().has(KEY_ID), "{number}");
    }
    // an RSA key without `alg` has the one RSA algorithm that is allowed, and none where two are
    let mut rsa = SimulatedJwtKey::rs256().jwk();
    rsa["kid"] = json!("r");
    rsa["use"] = json!("sig");
    let rsa = json!({"keys": [rsa]});
    assert!(keys(&rsa, &[Algorithm::Rs256]).is_ok());
    assert_eq!(
        keys(&rsa, &[Algorithm::Rs256, Algorithm::Ps256]).unwrap_err(),
        "issuer-keys-none"
    );
}

#[test]
fn a_key_set_that_says_too_much_is_refused() {
    let es = [Algorithm::Es256];
    let key = issuer().jwk();
    let mut secret = key.clone();
    secret["d"] = json!("AA");
    let secret = json!({"keys": [secret]});
    assert_eq!(keys(&secret, &es).unwrap_err(), "issuer-keys-secret");
    let symmetric = json!({"keys": [key, {"kty": "oct", "k": "AA", "kid": "h"}]});
    assert_eq!(keys(&symmetric, &es).unwrap_err(), "issuer-keys-secret");
    assert_eq!(
        keys(&json!({"keys": [key, key]}), &es).unwrap_err(),
        "issuer-keys-twice"
    );
    let many = json!({"keys": vec![json!({}); 65]});
    assert_eq!(keys(&many, &es).unwrap_err(), "issuer-keys-too-many");
    assert_eq!(
        keys(&json!({"keys": {}}), &es).unwrap_err(),
        "issuer-keys-malformed"
    );
    let large = json!({"keys": [key], "more": "m".repeat(256 * 1024)});
    assert_eq!(keys(&large, &es).unwrap_err(), "issuer-keys-malformed");
}

#[test]
fn an_issuer_without_typed_tokens_is_accepted_where_the_policy_says_so_and_its_id_tokens_are_not() {
    let issuer = issuer();
    let untyped = IssuerPolicy {
        kind: TokenKind::UntypedAccessToken,
        ..policy()
    };
    let header = json!({"typ": "JWT", "alg": "ES256", "kid": KEY_ID});
    let ask = |header: &Value, change: fn(&mut Value)| {
        let mut claims = issuer.claims("ada", NOW);
        change(&mut claims);
        verify_by(&issuer.key.sign(header, &claims), &untyped, NOW)
    };
    assert!(ask(&header, |_| ()).is_ok());
    assert!(ask(&header, |c| c["typ"] = json!("Bearer")).is_ok());
    assert!(ask(&header, |c| c["typ"] = json!("DPoP")).is_ok());
    assert_eq!(ask(&issuer.header(), |_| ()).unwrap_err(), "token-type");
    for lie in [
        (|c: &mut Value| c["nonce"] = json!("n")) as fn(&mut Value),
        |c| c["at_hash"] = json!("h"),
        |c| c["c_hash"] = json!("h"),
        |c| c["typ"] = json!("ID"),
        |c| drop(c.as_object_mut().unwrap().remove("scope")),
    ] {
        assert_eq!(ask(&header, lie).unwrap_err(), "token-of-a-client");
    }
}

#[test]
fn an_address_that_nobody_verified_is_nobodys_name() {
    let issuer = issuer();
    let by_email = IssuerPolicy {
        name: NameClaim::Email,
        ..policy()
    };
    let email = |verified: Value| {
        let token = issuer.token_with("ada", NOW, |c| {
            c["email"] = json!("ada@example.test");
            c["email_verified"] = verified;
        });
        verify_by(&token, &by_email, NOW).map(|person| person.name().to_owned())
    };
    assert_eq!(email(json!(true)), Ok("ada@example.test".to_owned()));
    assert_eq!(email(json!(false)), Err("token-claim"));
    assert_eq!(email(json!("true")), Err("token-claim"));
}

proptest! {
    #[test]
    fn a_token_with_any_bit_changed_is_refused(place in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let good = issuer().token("ada", NOW);
        let mut bytes = good.clone().into_bytes();
        let at = place.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(changed) = String::from_utf8(bytes) {
            prop_assert!(verify(&changed).is_err(), "{changed}");
        }
        prop_assert!(verify(&good).is_ok());
    }

    #[test]
    fn a_token_cut_short_is_refused(place in any::<prop::sample::Index>()) {
        let good = issuer().token("ada", NOW);
        let at = place.index(good.len());
        prop_assert!(verify(good.get(..at).unwrap()).is_err());
    }
}
