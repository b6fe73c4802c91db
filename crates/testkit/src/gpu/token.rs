//! Tokens of a simulated attestation service: detached EATs of ES384 JWTs, and the key set.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proofroom_canonical::Digest;
use serde_json::{Value, json};

use super::{BIOS, ReportPlan, SimulatedKey384};
use crate::tee::written;

/// The issuer of simulated tokens.
pub(super) const ISSUER: &str = "https://simulated.invalid";
const KEY_ID: &str = "simulated-key-1";

/// What a detached EAT says. Change fields to make what must be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPlan {
    /// The header's algorithm; with `none`, nothing is signed.
    pub alg: String,
    /// The header's key id.
    pub kid: String,
    /// The overall token's claims, but for `submods`.
    pub overall: Value,
    /// The devices' claims, by name.
    pub devices: BTreeMap<String, Value>,
    /// A digest for each device instead of the right ones.
    pub digests: Option<String>,
    /// The label of the key that signs; the key set has that of `nras`.
    pub signer: &'static str,
}

impl TokenPlan {
    /// An honest token about devices, issued at `now`, good for an hour.
    pub(super) fn about<'a>(
        devices: impl Iterator<Item = (String, &'a ReportPlan)>,
        now: i64,
    ) -> Self {
        let common = |nonce: &str| {
            json!({
                "iss": ISSUER,
                "iat": now,
                "nbf": now,
                "exp": now + 3600,
                "eat_nonce": nonce,
            })
        };
        let mut overall = common("");
        let mut claims = BTreeMap::new();
        for (number, (ueid, report)) in devices.enumerate() {
            let nonce = report.nonce.to_string();
            set(&mut overall, "eat_nonce", json!(nonce));
            let mut device = common(&nonce);
            for (name, value) in [
                ("ueid", json!(ueid)),
                ("measres", json!("success")),
                ("secboot", json!(true)),
                ("dbgstat", json!("disabled")),
                ("x-nvidia-gpu-driver-version", json!(report.driver)),
                ("x-nvidia-gpu-vbios-version", json!(BIOS.1)),
                (
                    "x-nvidia-gpu-attestation-report-cert-chain",
                    json!({ "x-nvidia-cert-status": "valid", "x-nvidia-cert-ocsp-status": "good" }),
                ),
            ] {
                set(&mut device, name, value);
            }
            claims.insert(format!("GPU-{number}"), device);
        }
        set(&mut overall, "x-nvidia-overall-att-result", json!(true));
        Self {
            alg: "ES384".to_owned(),
            kid: KEY_ID.to_owned(),
            overall,
            devices: claims,
            digests: None,
            signer: "nras",
        }
    }

    pub(super) fn write(&self, seed: &[u8; 32]) -> Vec<u8> {
        let devices: BTreeMap<&String, String> = self
            .devices
            .iter()
            .map(|(name, claims)| (name, self.jws(seed, claims)))
            .collect();
        let named: BTreeMap<&String, Value> = devices
            .iter()
            .map(|(name, jws)| {
                let digest = self
                    .digests
                    .clone()
                    .unwrap_or_else(|| Digest::of(jws).to_hex());
                (*name, json!(["DIGEST", ["SHA-256", digest]]))
            })
            .collect();
        let mut overall = self.overall.clone();
        set(&mut overall, "submods", json!(named));
        let overall = self.jws(seed, &overall);
        written(serde_json::to_vec(&json!([["JWT", overall], devices])))
    }

    fn jws(&self, seed: &[u8; 32], claims: &Value) -> String {
        let header = match self.alg.as_str() {
            "none" => json!({ "alg": "none" }),
            alg => json!({ "alg": alg, "kid": self.kid }),
        };
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = match self.alg.as_str() {
            "none" => String::new(),
            _ => {
                let key = SimulatedKey384::derive(seed, self.signer);
                URL_SAFE_NO_PAD.encode(key.sign_raw(signed.as_bytes()))
            }
        };
        format!("{signed}.{signature}")
    }
}

fn set(claims: &mut Value, name: &str, value: Value) {
    if let Some(members) = claims.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

pub(super) fn jwks(seed: &[u8; 32]) -> Vec<u8> {
    let key = SimulatedKey384::derive(seed, "nras");
    let (x, y) = key.coordinates();
    let set = json!({ "keys": [{
        "kty": "EC",
        "crv": "P-384",
        "alg": "ES384",
        "use": "sig",
        "kid": KEY_ID,
        "x": URL_SAFE_NO_PAD.encode(x),
        "y": URL_SAFE_NO_PAD.encode(y),
    }]});
    written(serde_json::to_vec(&set))
}
