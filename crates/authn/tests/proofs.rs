//! Proofs of possession: an honest one is accepted once, and each lie has its code.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proofroom_authn::{
    HolderKey, Nonces, Origin, PROOF_WINDOW_SECONDS, ProofOf, ProofVerifier, ProvedRequest,
    PublicKey, Thumbprint, VerifiedProof,
};
use proofroom_canonical::{Digest, Timestamp};
use proofroom_testkit::issuer::SimulatedJwtKey;
use proptest::prelude::*;
use serde_json::{Value, json};
use zeroize::Zeroizing;

const NOW: i64 = 1_800_000_000;
const PATH: &str = "/v1/messages";
const TOKEN: &str = "prk_0011223344556677_secret";

fn uptime(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn verifier(process: u8) -> ProofVerifier {
    let origin: Origin = "https://Gateway.test:443".parse().unwrap();
    let local: Origin = "http://127.0.0.1:8420".parse().unwrap();
    let nonces = Nonces::of(&Zeroizing::new([process; 32]));
    ProofVerifier::new(vec![origin, local], nonces)
}

fn key() -> SimulatedJwtKey {
    SimulatedJwtKey::es256("client")
}

fn thumbprint(key: &SimulatedJwtKey) -> Thumbprint {
    let jwk = key.jwk();
    PublicKey::from_jwk(jwk.as_object().unwrap())
        .unwrap()
        .thumbprint()
}

fn header(key: &SimulatedJwtKey) -> Value {
    json!({"typ": "dpop+jwt", "alg": key.algorithm(), "jwk": key.jwk()})
}

fn claims(nonce: &str) -> Value {
    json!({
        "jti": "one",
        "htm": "POST",
        "htu": "https://gateway.test/v1/messages",
        "iat": NOW,
        "ath": URL_SAFE_NO_PAD.encode(Digest::of(TOKEN).as_bytes()),
        "nonce": nonce,
    })
}

fn ask(
    verifier: &ProofVerifier,
    proof: &str,
    bound: Thumbprint,
    seconds: u64,
) -> Result<VerifiedProof, &'static str> {
    let request = ProvedRequest {
        method: "POST",
        path: PATH,
        token: TOKEN,
        key: bound,
        holder: Digest::of("ada"),
    };
    let now = Timestamp::from_unix_seconds(NOW);
    verifier
        .verify(proof, &request, now, uptime(seconds))
        .map_err(|error| error.code())
}

/// One proof to a verifier of its own.
fn lie(
    change_header: impl FnOnce(&mut Value),
    change_claims: impl FnOnce(&mut Value),
) -> Result<VerifiedProof, &'static str> {
    let (verifier, key) = (verifier(1), key());
    let (mut header, mut claims) = (header(&key), claims(&verifier.nonce(uptime(0))));
    change_header(&mut header);
    change_claims(&mut claims);
    ask(&verifier, &key.sign(&header, &claims), thumbprint(&key), 0)
}

type Lie = (fn(&mut Value), &'static str);

const HEADER_LIES: [Lie; 17] = [
    (|h| h["typ"] = json!("JWT"), "proof-type"),
    (|h| h["typ"] = json!("at+jwt"), "proof-type"),
    (
        |h| drop(h.as_object_mut().unwrap().remove("typ")),
        "proof-type",
    ),
    (|h| h["alg"] = json!("none"), "proof-algorithm"),
    (|h| h["alg"] = json!("HS256"), "proof-algorithm"),
    (|h| h["alg"] = json!("RS256"), "proof-algorithm"),
    (|h| h["alg"] = json!("ES384"), "proof-signature"),
    (
        |h| drop(h.as_object_mut().unwrap().remove("alg")),
        "proof-algorithm",
    ),
    (
        |h| drop(h.as_object_mut().unwrap().remove("jwk")),
        "proof-key",
    ),
    (|h| h["jwk"] = json!("key"), "proof-key"),
    (|h| h["jwk"]["d"] = json!("AA"), "proof-key"),
    (|h| h["jwk"] = json!({"kty": "oct", "k": "AA"}), "proof-key"),
    (|h| h["jwk"]["x"] = json!("AA"), "proof-key"),
    (
        |h| h["jwk"] = SimulatedJwtKey::es256("evil").jwk(),
        "key-bound-to-client",
    ),
    (|h| h["crit"] = json!(["b64"]), "proof-header"),
    (|h| h["kid"] = json!("k"), "proof-header"),
    (|h| h["jku"] = json!("https://evil.test"), "proof-header"),
];

const CLAIM_LIES: [Lie; 28] = [
    (
        |c| drop(c.as_object_mut().unwrap().remove("jti")),
        "proof-claim",
    ),
    (|c| c["jti"] = json!(""), "proof-claim"),
    (|c| c["jti"] = json!("j".repeat(256)), "proof-claim"),
    (
        |c| drop(c.as_object_mut().unwrap().remove("htm")),
        "proof-claim",
    ),
    (|c| c["htm"] = json!("GET"), "proof-method"),
    (|c| c["htm"] = json!("post"), "proof-method"),
    (
        |c| drop(c.as_object_mut().unwrap().remove("htu")),
        "proof-claim",
    ),
    (
        |c| c["htu"] = json!("https://other.test/v1/messages"),
        "proof-address",
    ),
    (
        |c| c["htu"] = json!("http://gateway.test/v1/messages"),
        "proof-address",
    ),
    (
        |c| c["htu"] = json!("https://gateway.test:8443/v1/messages"),
        "proof-address",
    ),
    (
        |c| c["htu"] = json!("https://gateway.test/v1/chat/completions"),
        "proof-address",
    ),
    (
        |c| c["htu"] = json!("https://gateway.test/v1/messages/"),
        "proof-address",
    ),
    (
        |c| c["htu"] = json!("https://gateway.test/v1/messages?beta=true"),
        "proof-address",
    ),
    (
        |c| c["htu"] = json!("https://gateway.test/v1/messages#f"),
        "proof-address",
    ),
    (
        |c| c["htu"] = json!("https://ada@gateway.test/v1/messages"),
        "proof-address",
    ),
    (
        |c| c["htu"] = json!("https://gateway.test.evil.test/v1/messages"),
        "proof-address",
    ),
    (|c| c["htu"] = json!("/v1/messages"), "proof-address"),
    (
        |c| drop(c.as_object_mut().unwrap().remove("iat")),
        "proof-claim",
    ),
    (|c| c["iat"] = json!("now"), "proof-claim"),
    (
        |c| c["iat"] = json!(NOW - PROOF_WINDOW_SECONDS - 1),
        "proof-time",
    ),
    (
        |c| c["iat"] = json!(NOW + PROOF_WINDOW_SECONDS + 1),
        "proof-time",
    ),
    (|c| c["iat"] = json!(i64::MIN), "proof-time"),
    (
        |c| drop(c.as_object_mut().unwrap().remove("ath")),
        "proof-claim",
    ),
    (
        |c| c["ath"] = json!(URL_SAFE_NO_PAD.encode(Digest::of("other").as_bytes())),
        "proof-token",
    ),
    (
        |c| drop(c.as_object_mut().unwrap().remove("nonce")),
        "use-dpop-nonce",
    ),
    (|c| c["nonce"] = json!("AAAA"), "use-dpop-nonce"),
    (
        |c| c["nonce"] = json!(URL_SAFE_NO_PAD.encode([0; 40])),
        "use-dpop-nonce",
    ),
    (|c| c["nonce"] = json!(7), "use-dpop-nonce"),
];

#[test]
fn an_honest_proof_is_accepted_once() {
    let verifier = verifier(1);
    let key = HolderKey::of(&Zeroizing::new([5; 32])).unwrap();
    let nonce = verifier.nonce(uptime(0));
    let of = ProofOf {
        method: "POST",
        address: "https://gateway.test/v1/messages",
        token: TOKEN,
        nonce: &nonce,
    };
    let now = Timestamp::from_unix_seconds(NOW);
    let proof = key.prove(&of, [1; 16], now);
    let proved = ask(&verifier, &proof, key.thumbprint(), 0).unwrap();
    assert_eq!(proved.key(), key.thumbprint());
    assert_eq!(
        ask(&verifier, &proof, key.thumbprint(), 0),
        Err("proof-used")
    );
    let next = key.prove(&of, [2; 16], now);
    assert!(ask(&verifier, &next, key.thumbprint(), 119).is_ok());
    assert_eq!(
        ask(&verifier, &next, key.thumbprint(), 119),
        Err("proof-used")
    );
    let late = key.prove(&of, [3; 16], now);
    assert_eq!(
        ask(&verifier, &late, key.thumbprint(), 120),
        Err("use-dpop-nonce")
    );
    // forgotten with its nonce, and refused by it
    assert_eq!(
        ask(&verifier, &proof, key.thumbprint(), 1_000),
        Err("use-dpop-nonce")
    );
}

#[test]
fn a_proof_does_not_outlive_the_process_whose_nonce_it_names() {
    let key = key();
    let before = verifier(1);
    let proof = key.sign(&header(&key), &claims(&before.nonce(uptime(0))));
    assert!(ask(&before, &proof, thumbprint(&key), 0).is_ok());
    // the same address and the same second, after a start
    let after = verifier(2);
    assert_eq!(
        ask(&after, &proof, thumbprint(&key), 0),
        Err("use-dpop-nonce")
    );
}

#[test]
fn every_lie_in_the_header_has_its_code() {
    for (number, (change, code)) in HEADER_LIES.into_iter().enumerate() {
        assert_eq!(lie(change, |_| ()), Err(code), "lie {number}");
    }
    // a point that is not on the curve
    let off = lie(|h| h["jwk"]["x"] = h["jwk"]["y"].clone(), |_| ());
    assert_eq!(off, Err("key-bound-to-client"));
    assert!(lie(|_| (), |_| ()).is_ok());
}

#[test]
fn every_lie_in_the_claims_has_its_code() {
    for (number, (change, code)) in CLAIM_LIES.into_iter().enumerate() {
        assert_eq!(lie(|_| (), change), Err(code), "lie {number}");
    }
    let good: [fn(&mut Value); 5] = [
        |c| c["iat"] = json!(NOW - PROOF_WINDOW_SECONDS),
        |c| c["iat"] = json!(NOW + PROOF_WINDOW_SECONDS),
        |c| c["htu"] = json!("HTTPS://GATEWAY.test:443/v1/messages"),
        |c| c["htu"] = json!("http://127.0.0.1:8420/v1/messages"),
        |c| c["more"] = json!("of whatever"),
    ];
    for (number, change) in good.into_iter().enumerate() {
        assert!(lie(|_| (), change).is_ok(), "good {number}");
    }
}

#[test]
fn a_proof_by_another_key_is_nobodys() {
    let verifier = verifier(1);
    let nonce = verifier.nonce(uptime(0));
    let (own, other) = (key(), SimulatedJwtKey::eddsa("other"));
    let proof = other.sign(&header(&other), &claims(&nonce));
    let refused = ask(&verifier, &proof, thumbprint(&own), 0);
    assert_eq!(refused, Err("key-bound-to-client"));
    // without a look at its signature, which costs time
    let (signed, _) = proof.rsplit_once('.').unwrap();
    let forged = format!("{signed}.AAAA");
    let refused = ask(&verifier, &forged, thumbprint(&own), 0);
    assert_eq!(refused, Err("key-bound-to-client"));
    // and was not used up: it is good for whoever is bound to that key
    assert!(ask(&verifier, &proof, thumbprint(&other), 0).is_ok());
}

#[test]
fn proofs_are_verified_at_once_and_one_of_the_same_is_accepted() {
    let (verifier, key) = (verifier(1), key());
    let proof = key.sign(&header(&key), &claims(&verifier.nonce(uptime(0))));
    let bound = thumbprint(&key);
    let accepted = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| ask(&verifier, &proof, bound, 0).is_ok()))
            .collect();
        let accepted = asked.into_iter().map(|one| one.join().unwrap());
        accepted.filter(|accepted| *accepted).count()
    });
    assert_eq!(accepted, 1);
}

#[test]
fn a_port_that_is_no_number_is_not_the_schemes_own() {
    for bad in ["", "99999", "abc", "443x", "-1"] {
        let address = format!("https://gateway.test:{bad}");
        assert!(address.parse::<Origin>().is_err(), "{address}");
        let htu = json!(format!("{address}/v1/messages"));
        assert_eq!(lie(|_| (), |c| c["htu"] = htu), Err("proof-address"));
    }
    assert!("https://[::1]:443".parse::<Origin>().is_ok());
}

/// RFC 7638 section 3.1 and RFC 9449 sections 6.1 and 7.1.
#[test]
fn thumbprints_and_hashes_of_tokens_are_those_of_the_standards() {
    let rsa = json!({
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    });
    let thumbprint = |jwk: &Value| {
        let key = PublicKey::from_jwk(jwk.as_object().unwrap()).unwrap();
        key.thumbprint().to_string()
    };
    assert_eq!(
        thumbprint(&rsa),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
    let ec = json!({
        "kty": "EC",
        "crv": "P-256",
        "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
        "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
    });
    assert_eq!(
        thumbprint(&ec),
        "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
    );
    let token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
    let hash = URL_SAFE_NO_PAD.encode(Digest::of(token).as_bytes());
    assert_eq!(hash, "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo");
}

proptest! {
    #[test]
    fn a_proof_with_any_bit_changed_is_refused(place in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let (verifier, key) = (verifier(1), key());
        let good = key.sign(&header(&key), &claims(&verifier.nonce(uptime(0))));
        let mut bytes = good.clone().into_bytes();
        let at = place.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(changed) = String::from_utf8(bytes) {
            prop_assert!(ask(&verifier, &changed, thumbprint(&key), 0).is_err(), "{changed}");
        }
        prop_assert!(ask(&verifier, &good, thumbprint(&key), 0).is_ok());
    }

    #[test]
    fn a_nonce_with_any_bit_changed_is_refused(at in 0_usize..40, bit in 0_u8..8) {
        let changed = lie(|_| (), |claims| {
            let mut bytes = URL_SAFE_NO_PAD.decode(claims["nonce"].as_str().unwrap()).unwrap();
            bytes[at] ^= 1 << bit;
            claims["nonce"] = json!(URL_SAFE_NO_PAD.encode(bytes));
        });
        prop_assert_eq!(changed, Err("use-dpop-nonce"));
    }
}
