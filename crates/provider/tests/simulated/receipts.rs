//! Signatures over single answers.

use proofroom_canonical::Digest;
use proofroom_provider::{VerifiedProvider, verify_receipt};
use proofroom_testkit::provider::{MODEL, ProviderKey, receipt};

use crate::world::{appraise, model, near_policy, plan, verified};

fn key(name: &str) -> ProviderKey {
    ProviderKey::ethereum(name)
}

fn request() -> Digest {
    Digest::of("the request")
}

fn answer() -> Digest {
    Digest::of("the answer")
}

fn judged(receipt: &str, provider: &VerifiedProvider) -> Result<String, &'static str> {
    verify_receipt(receipt.as_bytes(), provider, request(), answer())
        .map(|verified| verified.signer().to_string())
        .map_err(|error| error.code())
}

#[test]
fn an_answer_is_a_machines_word_only_by_a_receipt_over_its_exact_bytes() {
    let provider = verified();
    let by_gateway = of_model(&key("gateway"), None);
    assert_eq!(judged(&good(), &provider), Ok("model-0".to_owned()));
    assert_eq!(judged(&by_gateway, &provider), Ok("gateway".to_owned()));
    for (what, receipt, code) in about_something_else().into_iter().chain(malformed()) {
        assert_eq!(judged(&receipt, &provider), Err(code), "{what}: {receipt}");
    }
}

fn of_model(key: &ProviderKey, model: Option<&str>) -> String {
    receipt(key, model, request(), answer()).to_string()
}

fn good() -> String {
    of_model(&key("model"), Some(MODEL))
}

type Refused = (&'static str, String, &'static str);

fn about_something_else() -> Vec<Refused> {
    let other = Digest::of("re-serialised");
    vec![
        (
            "another request",
            receipt(&key("model"), Some(MODEL), other, answer()).to_string(),
            "receipt-request-differs",
        ),
        (
            "another answer, as one re-serialised or cut",
            receipt(&key("model"), Some(MODEL), request(), other).to_string(),
            "receipt-response-differs",
        ),
        (
            "another model",
            of_model(&key("model"), Some("cheaper")),
            "receipt-model-differs",
        ),
        (
            "another key",
            of_model(&key("relay"), Some(MODEL)),
            "receipt-key-unknown",
        ),
        (
            "the gateway's key for a model's word",
            of_model(&key("gateway"), Some(MODEL)),
            "receipt-key-unknown",
        ),
        (
            "a model's key for the gateway's word",
            of_model(&key("model"), None),
            "receipt-key-unknown",
        ),
        (
            "an Ed25519 key that no quote binds",
            of_model(&ProviderKey::ed25519("model"), Some(MODEL)),
            "receipt-key-unknown",
        ),
    ]
}

fn malformed() -> Vec<Refused> {
    let good = good();
    vec![
        (
            "an edited text",
            good.replacen(":", ": ", 1)
                .replace(MODEL, "simulated/model "),
            "receipt-model-differs",
        ),
        (
            "upper-case digests",
            good.to_uppercase(),
            "receipt-malformed",
        ),
        (
            "a text of another form",
            good.replace(&format!("{MODEL}:"), "a:b:")
                .replace(&request().to_hex(), "00"),
            "receipt-text",
        ),
        (
            "no signature",
            good.replace("\"signature\":\"0x", "\"signature\":\"")
                .replace("\"signature\"", "\"signature\":\"\",\"was\""),
            "receipt-signature",
        ),
        (
            "a second member of one name",
            good.replacen("{", "{\"text\":\"\",", 1),
            "receipt-malformed",
        ),
        (
            "a refusal of the provider",
            "{\"error_code\":\"SIGNATURE_UNSUPPORTED\"}".to_owned(),
            "receipt-malformed",
        ),
        ("too long", " ".repeat(20_000), "receipt-malformed"),
    ]
}

#[test]
fn an_ed25519_key_signs_receipts_where_a_quote_binds_it() {
    let mut plan = plan();
    model(&mut plan).key = ProviderKey::ed25519("model");
    let provider = appraise(&plan, &near_policy()).into_verified().unwrap();
    let good = receipt(
        &ProviderKey::ed25519("model"),
        Some(MODEL),
        request(),
        answer(),
    );
    assert_eq!(
        judged(&good.to_string(), &provider),
        Ok("model-0".to_owned())
    );
    let mut changed = good.clone();
    let signature = good["signature"].as_str().unwrap();
    // S plus the group's order also verifies where S is not checked (RFC 8032 section 5.1.7)
    changed["signature"] = format!("{}{:02x}", signature.get(..126).unwrap(), 0xff).into();
    assert_eq!(
        judged(&changed.to_string(), &provider),
        Err("receipt-signature")
    );
    // a key of small order verifies anything where that is not refused
    changed["signing_address"] = format!("01{}", "00".repeat(31)).into();
    assert_eq!(
        judged(&changed.to_string(), &provider),
        Err("receipt-signature")
    );
}

#[test]
fn no_byte_of_a_receipts_signature_is_free() {
    let provider = verified();
    let good = receipt(&key("model"), Some(MODEL), request(), answer());
    let signature =
        hex::decode(good["signature"].as_str().unwrap().trim_start_matches("0x")).unwrap();
    for place in 0..signature.len() {
        // every bit of `v`, one of each byte before it: a recovery takes milliseconds unoptimised
        for bit in if place == 64 {
            0..8
        } else {
            place % 8..place % 8 + 1
        } {
            let mut flipped = signature.clone();
            flipped[place] ^= 1 << bit;
            let mut changed = good.clone();
            changed["signature"] = hex::encode(flipped).into();
            let judged = judged(&changed.to_string(), &provider);
            let code = judged.unwrap_err();
            assert!(
                ["receipt-signature", "receipt-key-unknown"].contains(&code),
                "{place}/{bit}"
            );
        }
    }
    // the other of the two signatures that every one has
    let (rs, v) = signature.split_at(64);
    let s = k256::ecdsa::Signature::from_slice(rs).unwrap();
    let (r, s) = s.split_scalars();
    let high = k256::ecdsa::Signature::from_scalars(r, -s).unwrap();
    let mut changed = good.clone();
    changed["signature"] =
        format!("{}{:02x}", hex::encode(high.to_bytes()), v[0] ^ 1 ^ 27 ^ 27).into();
    assert_eq!(
        judged(&changed.to_string(), &provider),
        Err("receipt-signature")
    );
}
