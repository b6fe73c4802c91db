//! The values that ACI's own document of test vectors gives.

use proofroom_canonical::{Digest, Nonce, Timestamp};
use serde_json::{Value, json};

use super::{
    canonical::canonical,
    keyset::{Keyset, statement},
};

/// The keyset of section 1, in another order and spelling than the canonical one.
fn keyset() -> Value {
    json!({
        "tls_public_keys": [{ "spki_sha256": "c0".repeat(32), "domain": "api.example.com" }],
        "subject": "dstack-app://example-app",
        "receipt_signing_keys": [{
            "key_id": "receipt-1",
            "algo": "ed25519",
            "public_key": "8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394",
        }],
        "e2ee_public_keys": [{
            "key_id": "e2ee-1",
            "algo": "x25519-aes-256-gcm-hkdf-sha256",
            "public_key": "5dfedd3b6bd47f6fa28ee15d969d5bb0ea53774d488bdaf9df1c6e0124b3ef22",
        }],
        "not_after": 1_800_000_000,
    })
}

fn nonce() -> Nonce {
    Nonce::from_random(std::array::from_fn(|place| u8::try_from(place).unwrap()))
}

#[test]
fn digest_and_statement_are_those_of_the_published_vectors() {
    let keyset = Keyset::read(&keyset()).unwrap();
    let digest = "53a5cd44b30dcc51999754c719f2628a041f174ecbf9662a6f8e898a10cd9371";
    assert_eq!(keyset.digest.to_hex(), digest);
    assert_eq!(
        keyset.not_after,
        Timestamp::from_unix_seconds(1_800_000_000)
    );
    for (challenge, first) in [
        (
            Some(nonce()),
            "df2174d28130852b413646a3786927b93e94c11d770268b65def8bdba45cb49e",
        ),
        (
            None,
            "0633919ca3f00e97bafaa3304278eb22420cc3ff0d19f87dfca2d3f7508150bc",
        ),
    ] {
        let data = statement(keyset.digest, challenge);
        assert_eq!(hex::encode(&data[..32]), first);
        assert_eq!(data[32..], [0; 32]);
    }
}

#[test]
fn a_tls_key_of_one_domain_counts_for_that_domain_alone() {
    let keyset = Keyset::read(&keyset()).unwrap();
    let spki = Digest::from_bytes([0xc0; 32]);
    assert!(keyset.names_tls(spki, Some("api.example.com")));
    for domain in [None, Some("other.example.com")] {
        assert!(!keyset.names_tls(spki, domain));
    }
    assert!(!keyset.names_tls(Digest::of("other"), Some("api.example.com")));
}

#[test]
fn a_keyset_of_another_shape_or_with_a_key_in_two_roles_is_refused() {
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 9] = [
        ("a member more", |k| k["roles"] = json!([])),
        ("a member less", |k| {
            drop(k.as_object_mut().unwrap().remove("e2ee_public_keys"))
        }),
        ("a fraction", |k| k["not_after"] = json!(1.5)),
        ("a huge number", |k| k["not_after"] = json!(u64::MAX)),
        ("a name that is not ASCII", |k| k["ä"] = json!(1)),
        ("a short key", |k| {
            k["receipt_signing_keys"][0]["public_key"] = json!("00")
        }),
        ("an id twice", |k| {
            let key = k["receipt_signing_keys"][0].clone();
            k["receipt_signing_keys"].as_array_mut().unwrap().push(key);
        }),
        ("a receipt key for encryption", |k| {
            k["e2ee_public_keys"][0]["public_key"] =
                k["receipt_signing_keys"][0]["public_key"].clone();
        }),
        ("a receipt key for TLS", |k| {
            let key = k["receipt_signing_keys"][0]["public_key"].as_str().unwrap();
            let der = hex::decode(format!("302a300506032b6570032100{key}")).unwrap();
            k["tls_public_keys"][0]["spki_sha256"] = json!(Digest::of(der).to_hex());
        }),
    ];
    for (what, change) in changes {
        let mut keyset = keyset();
        change(&mut keyset);
        assert!(Keyset::read(&keyset).is_err(), "{what}");
    }
    let mut many = keyset();
    many["tls_public_keys"] = vec![many["tls_public_keys"][0].clone(); 17].into();
    assert!(Keyset::read(&many).is_err());
}

#[test]
fn a_receipt_key_of_an_unknown_algorithm_is_left_out() {
    let mut keyset = keyset();
    keyset["receipt_signing_keys"][0]["algo"] = json!("ml-dsa-65");
    assert!(Keyset::read(&keyset).unwrap().receipt_keys.is_empty());
}

#[test]
fn the_canonical_form_sorts_names_and_keeps_escapes() {
    let value = json!({ "b": [1, true, null], "a": "\u{1}\n\"ä", "A": -5 });
    assert_eq!(
        canonical(&value).unwrap(),
        "{\"A\":-5,\"a\":\"\\u0001\\n\\\"ä\",\"b\":[1,true,null]}"
    );
    for refused in [json!(1.0), json!(1_u64 << 53), json!({ "ü": 1 })] {
        assert_eq!(canonical(&refused), None);
    }
}
