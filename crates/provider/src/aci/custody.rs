//! Where the keys of receipts come from: a chain of two signatures (secp256k1 over Keccak-256) from the root of a key
//! service of dstack, by way of the application's key, to what the service says it derived a receipt key from.
//! That the Ed25519 key follows from that is the measured program's word.

use k256::ecdsa::VerifyingKey;
use serde::Deserialize;

use super::Keyset;
use crate::{check::CheckOutcome, receipt::recover_key};

/// The one service whose chains are known.
const DSTACK: &str = "dstack-kms";
/// What a key for receipts is derived for.
const PURPOSE: &str = "aci.receipt.ed25519.v1";
/// What the root signs before the application's identity.
const ISSUED: &[u8] = b"dstack-kms-issued:";

/// What a report says of its keys' origin.
#[derive(Debug, Deserialize)]
pub(crate) struct RawCustody {
    provider: String,
    keys: Vec<RawKey>,
}

#[derive(Debug, Deserialize)]
struct RawKey {
    role: String,
    public_key: String,
    kms_public_key: String,
    purpose: String,
    signature_chain: Vec<String>,
}

/// Whether every receipt key of `keyset` comes from a key service with one of these root keys, for this application.
pub(crate) fn judge(
    custody: Option<&RawCustody>,
    keyset: &Keyset,
    app_id: Option<&[u8]>,
    roots: &[String],
) -> CheckOutcome {
    let Some(custody) = custody else {
        let words = "the report does not say where its keys come from";
        return CheckOutcome::not_evaluated("custody-not-supplied", words);
    };
    if custody.provider != DSTACK {
        let words = "the keys come from a service of a kind that is not known";
        return CheckOutcome::fail("custody-provider", words);
    }
    let Some(app_id) = app_id else {
        let words = "no application was measured that keys could be for";
        return CheckOutcome::not_evaluated("not-reached", words);
    };
    if keyset.receipt_keys.is_empty() {
        let words = "there is no receipt key that could come from anywhere";
        return CheckOutcome::not_evaluated("not-reached", words);
    }
    let each = keyset.receipt_keys.iter().map(|key| {
        let text = hex::encode(key.key);
        let mut receipt = custody.keys.iter().filter(|raw| raw.role == "receipt");
        let said = receipt.find(|raw| raw.public_key == text);
        said.map_or_else(missing, |said| chain(said, app_id, roots))
    });
    let failed = each
        .into_iter()
        .find(|outcome| *outcome != CheckOutcome::Pass);
    failed.unwrap_or(CheckOutcome::Pass)
}

fn missing() -> CheckOutcome {
    let words = "nothing is said of where a receipt key comes from";
    CheckOutcome::fail("custody-key-missing", words)
}

fn chain(said: &RawKey, app_id: &[u8], roots: &[String]) -> CheckOutcome {
    if said.purpose != PURPOSE {
        let words = "the key was derived for something else than receipts";
        return CheckOutcome::fail("custody-purpose", words);
    }
    match root_of(said, app_id) {
        None => CheckOutcome::fail(
            "custody-signature",
            "the chain of signatures cannot be read",
        ),
        Some(root) if roots.contains(&root) => CheckOutcome::Pass,
        Some(root) => {
            let words = format!(
                "the keys come from a service with root key {root}, or the chain does not hold"
            );
            CheckOutcome::fail("custody-root", words)
        }
    }
}

/// The key that signed the chain's root, compressed, in hex. A chain about anything else gives another key.
fn root_of(said: &RawKey, app_id: &[u8]) -> Option<String> {
    let [of_app, of_root] = said.signature_chain.as_slice() else {
        return None;
    };
    let key = VerifyingKey::from_sec1_bytes(&hex::decode(&said.kms_public_key).ok()?).ok()?;
    let derived = format!("{PURPOSE}:{}", hex::encode(compressed(&key)));
    let app = recover_key(derived.as_bytes(), &hex::decode(of_app).ok()?)?;
    let issued = [ISSUED, app_id, &compressed(&app)].concat();
    let root = recover_key(&issued, &hex::decode(of_root).ok()?)?;
    Some(hex::encode(compressed(&root)))
}

fn compressed(key: &VerifyingKey) -> Vec<u8> {
    key.to_sec1_point(true).as_bytes().to_vec()
}
