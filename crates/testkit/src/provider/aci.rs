//! A simulated service of Attested Confidential Inference (`aci/1`): reports, receipts and sessions that are
//! format-true, with everything in them a field of a plan. Proves nothing: everybody can sign as it.

use std::collections::BTreeMap;

use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_evidence::Collateral;
use serde_json::{Value, json};

use super::{KEY_PROVIDER, MachinePlan, ProviderKey, QUOTE_POLICY, app_id, log, policies::machine};
use crate::{
    provider::MODEL,
    tee::{Plan, SimulatedTee},
};

/// The id of the key that signs receipts.
pub const RECEIPT_KEY: &str = "receipt-1";
/// How long the keyset of a plan holds.
const KEYSET_SECONDS: u32 = 300;
/// The application whose keys they are: that of a machine which runs a model.
const APPLICATION: &str = "model";

/// What the policy demands of sessions.
const SESSIONS: &str = "\n[sessions]\nverifiers = [\"simulated/1\"]\nmodels = [\"simulated/upstream-model\"]\n\
     claims = { tee_attested = [\"hardware_proven\"], tcb_up_to_date = [\"hardware_proven\", \"verifier_derived\"] }\n";

/// Where the receipt key comes from.
#[derive(Clone, Debug)]
pub struct CustodyPlan {
    /// The kind of service.
    pub provider: String,
    /// What the key is for.
    pub purpose: String,
    /// The key that the report says it is about, in hex.
    pub public_key: String,
    /// The service's root key.
    pub root: ProviderKey,
    /// The application that the root signed for.
    pub app_id: Vec<u8>,
    /// How many signatures the chain has.
    pub signatures: usize,
}

/// Everything that goes into a report. Change fields to make what must be refused.
#[derive(Clone, Debug)]
pub struct AciPlan {
    /// The keyset. Its digest is what the quote binds.
    pub keyset: Value,
    /// The keyset that the report shows, if that is another.
    pub shown_keyset: Option<Value>,
    /// The digest that the report gives, if that is another.
    pub shown_digest: Option<Digest>,
    /// The challenge that the quote is for.
    pub challenge: Option<Nonce>,
    /// The purpose that the statement names.
    pub purpose: String,
    /// The report data that the report states, if that is another.
    pub shown_data: Option<[u8; 32]>,
    /// Report data behind the statement's digest.
    pub padding: [u8; 32],
    /// The kind of TEE.
    pub tee_type: String,
    /// What was measured into the machine, and what is shown of it.
    pub machine: MachinePlan,
    /// Where the receipt key comes from; nothing said if there is none.
    pub custody: Option<CustodyPlan>,
    /// What the vendor says of the platform.
    pub platform: Plan,
}

/// The key of its receipts.
#[must_use]
pub fn receipt_key() -> ProviderKey {
    ProviderKey::ed25519("aci")
}

/// The policy that accepts it, for a service that serves so (`direct`, `aggregator`). Its siblings are
/// [`policies`](super::policies).
#[must_use]
pub fn policy(serving: &str) -> String {
    let gpu = match serving {
        "direct" => "\n[[tolerate]]\ncheck = \"gpu\"\nreason = \"shown to nobody\"\n",
        _ => "",
    };
    let sessions = match serving {
        "aggregator" => SESSIONS,
        _ => "",
    };
    let root = hex::encode(ProviderKey::ethereum("kms").compressed());
    format!(
        "name = \"simulated-aci\"\nformat = \"aci\"\nmodel = \"{MODEL}\"\nreceipts = \"required\"\n\
         quote_policy = \"{QUOTE_POLICY}\"\n\
         \n[[tolerate]]\ncheck = \"model\"\nreason = \"named by receipts alone\"\n{gpu}\
         {}{sessions}\n[keyset]\nserving = \"{serving}\"\nmax_seconds = 600\nkms_roots = [\"{root}\"]\n\
         rewrites = \"refused\"\n",
        machine("machine", APPLICATION)
    )
}

/// A plan that an appraisal at `now` accepts.
#[must_use]
pub fn plan(nonce: Nonce, tls_spki: Digest, now: Timestamp) -> AciPlan {
    let key = hex::encode(receipt_key().bytes());
    AciPlan {
        keyset: json!({
            "subject": null,
            "not_after": now.after_seconds(KEYSET_SECONDS).unix_seconds(),
            "receipt_signing_keys": [{ "key_id": RECEIPT_KEY, "algo": "ed25519", "public_key": key }],
            "e2ee_public_keys": [],
            "tls_public_keys": [{ "spki_sha256": tls_spki.to_hex() }],
        }),
        shown_keyset: None,
        shown_digest: None,
        challenge: Some(nonce),
        purpose: "aci.report_data.v1".to_owned(),
        shown_data: None,
        padding: [0; 32],
        tee_type: "tdx".to_owned(),
        machine: MachinePlan::new(APPLICATION, nonce, None),
        custody: Some(CustodyPlan {
            provider: "dstack-kms".to_owned(),
            purpose: "aci.receipt.ed25519.v1".to_owned(),
            public_key: key,
            root: ProviderKey::ethereum("kms"),
            app_id: app_id(APPLICATION).to_vec(),
            signatures: 2,
        }),
        platform: SimulatedTee::demo().plan(nonce, tls_spki, MODEL, now),
    }
}

impl AciPlan {
    fn statement(&self) -> Value {
        json!({
            "keyset_digest": format!("sha256:{}", digest(&self.keyset).to_hex()),
            "nonce": self.challenge.map(|nonce| nonce.to_string()),
            "purpose": self.purpose,
        })
    }

    fn report_data(&self) -> [u8; 64] {
        let mut data = [0; 64];
        data[..32].copy_from_slice(digest(&self.statement()).as_bytes());
        data[32..].copy_from_slice(&self.padding);
        data
    }
}

/// SHA-256 of a document's [`canonical`] form.
#[must_use]
pub fn digest(document: &Value) -> Digest {
    Digest::of(canonical(document))
}

/// A document's canonical form (RFC 8785), where it has neither fractions nor other than ASCII names.
#[must_use]
pub fn canonical(document: &Value) -> String {
    sorted(document).to_string()
}

/// The document with the members of each object in their order, whether or not its reader kept that.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Object(members) => {
            let members: BTreeMap<_, _> = members
                .iter()
                .map(|(name, it)| (name, sorted(it)))
                .collect();
            json!(members)
        }
        other => other.clone(),
    }
}

/// The report of a plan, as it is served.
#[must_use]
pub fn report(plan: &AciPlan) -> Vec<u8> {
    let data = plan.report_data();
    let shown_data = plan
        .shown_data
        .unwrap_or_else(|| *digest(&plan.statement()).as_bytes());
    let machine = &plan.machine;
    let events = machine.shown_events.as_ref().unwrap_or(&machine.events);
    let stated = plan.shown_digest.unwrap_or_else(|| digest(&plan.keyset));
    let quote = SimulatedTee::demo().quote(&machine.measured(), data);
    let mut evidence = json!({
        "quote": hex::encode(quote),
        "quote_report_data": hex::encode(data),
        "event_log": log::written(events).to_string(),
        "app_compose": machine.shown_compose.as_ref().unwrap_or(&machine.compose),
        "vm_config": { "not": "read" },
    });
    if let (Some(custody), Some(members)) = (&plan.custody, evidence.as_object_mut()) {
        members.insert("key_custody".to_owned(), written_custody(custody));
    }
    json!({
        "api_version": "aci/1",
        "workload_keyset_digest": format!("sha256:{}", stated.to_hex()),
        "attestation": {
            "tee_type": plan.tee_type,
            "workload_keyset": plan.shown_keyset.as_ref().unwrap_or(&plan.keyset),
            "report_data": hex::encode(shown_data),
            "source_provenance": { "repo_url": "https://example.invalid", "repo_commit": "0" },
            "evidence": evidence,
        },
        "service_capabilities": { "supported_e2ee_versions": [], "serving": "direct" },
    })
    .to_string()
    .into_bytes()
}

fn written_custody(plan: &CustodyPlan) -> Value {
    let (derived, app) = (
        ProviderKey::ethereum("derived"),
        ProviderKey::ethereum("application"),
    );
    let of_app = format!("{}:{}", plan.purpose, hex::encode(derived.compressed()));
    let of_root = [&b"dstack-kms-issued:"[..], &plan.app_id, &app.compressed()].concat();
    let chain = [
        app.sign_raw(of_app.as_bytes()),
        plan.root.sign_raw(&of_root),
    ];
    let chain: Vec<_> = chain.into_iter().take(plan.signatures).collect();
    json!({
        "provider": plan.provider,
        "kms_id": KEY_PROVIDER,
        "keys": [{
            "role": "receipt",
            "public_key": plan.public_key,
            "kms_public_key": hex::encode(derived.compressed()),
            "purpose": plan.purpose,
            "signature_chain": chain,
        }],
    })
}

/// What the vendor says of the plan's platform, by its FMSPC.
#[must_use]
pub fn collateral(plan: &AciPlan) -> BTreeMap<String, Collateral> {
    let of_platform = SimulatedTee::demo().collateral(&plan.platform);
    BTreeMap::from([(hex::encode(crate::tee::FMSPC), of_platform)])
}

/// The events of an answer that the service made itself.
#[must_use]
pub fn events(request: Digest, answer: Digest) -> Vec<Value> {
    let event = |kind: &str, digest: Digest| {
        let digest = format!("sha256:{}", digest.to_hex());
        json!({ "type": kind, "body_hash": digest })
    };
    vec![
        event("request.received", request),
        event("request.forwarded", request),
        event("response.returned", answer),
    ]
}

/// The event that says who answered, of a service that passes requests on.
#[must_use]
pub fn verified(session: &Value) -> Value {
    json!({
        "type": "upstream.verified",
        "result": "verified",
        "required": true,
        "model_id": "simulated/upstream-model",
        "session_id": digest(session).to_hex(),
    })
}

/// A receipt without its signature.
#[must_use]
pub fn receipt(plan: &AciPlan, events: &[Value], served: Timestamp) -> Value {
    json!({
        "api_version": "aci/1",
        "receipt_id": "rcpt-1",
        "chat_id": "x",
        "model": MODEL,
        "workload_keyset_digest": format!("sha256:{}", digest(&plan.keyset).to_hex()),
        "endpoint": "/v1/chat/completions",
        "method": "POST",
        "served_at": served.unix_seconds(),
        "event_log": events,
        "key_id": RECEIPT_KEY,
    })
}

/// The receipt, signed by `key`.
#[must_use]
pub fn signed(key: &ProviderKey, mut receipt: Value) -> Value {
    let signature = key.sign(&canonical(&receipt));
    if let Some(members) = receipt.as_object_mut() {
        members.insert("signature".to_owned(), json!(signature));
    }
    receipt
}

/// A session that the policy accepts, made before `now` and good for a while after.
#[must_use]
pub fn session(now: Timestamp) -> Value {
    let (from, until) = (now.unix_seconds() - 60, now.unix_seconds() + 600);
    let proven =
        json!({ "status": "asserted", "source": "hardware_proven", "reason": "simulated" });
    json!({
        "api_version": "aci/1",
        "upstream_name": "simulated",
        "endpoint": "https://upstream.invalid",
        "verifier_id": "simulated/1",
        "established_at": from,
        "expires_at": until,
        "channel_binding": [{
            "type": "tls_spki_sha256",
            "origin": "https://upstream.invalid",
            "spki_sha256": Digest::of("upstream").to_hex(),
        }],
        "claims": {
            "tee_attested": proven,
            "tcb_up_to_date": proven,
            "gpu_attested": { "status": "unknown" },
            "extra": { "tcb_status": "UpToDate" },
        },
        "evidence": {
            "digest": format!("sha256:{}", Digest::of("example-evidence").to_hex()),
            "data": "data:text/plain;base64,ZXhhbXBsZS1ldmlkZW5jZQ==",
        },
    })
}
