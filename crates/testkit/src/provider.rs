//! A simulated model provider in the formats of NEAR AI and dstack: reports and receipts that are
//! format-true, with everything in them a field of a plan. Proves nothing: everybody can sign as it.

pub mod aci;
mod key;
mod log;
mod policies;
pub mod tinfoil;

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_evidence::{Collateral, Measurement};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub use key::ProviderKey;
pub use log::{PlannedEvent, event, replay};
pub(crate) use policies::quote_policy;
pub use policies::{GPU_POLICY, QUOTE_POLICY, policies, policy};

use crate::{
    gpu::{DevicePlan, SimulatedGpus},
    tee::{Plan, SimulatedTd, SimulatedTee},
};

/// The model that the simulated provider serves.
pub const MODEL: &str = "simulated/model";
/// The identity of the service that gives its machines their keys.
pub const KEY_PROVIDER: &str = "6b6d73";
/// The digest of its operating system's image.
pub const OS_IMAGE: [u8; 32] = [0x53; 32];

/// Everything that goes into a report. Change fields to make what must be refused.
#[derive(Clone, Debug)]
pub struct ProviderPlan {
    /// The machine that ends connections; none in dstack's format.
    pub gateway: Option<MachinePlan>,
    /// The machines that run the model.
    pub models: Vec<MachinePlan>,
    /// What the vendor says of the platform.
    pub platform: Plan,
}

/// One machine.
#[derive(Clone, Debug)]
pub struct MachinePlan {
    /// The model that it says it serves.
    pub model: Option<String>,
    /// What signs receipts.
    pub key: ProviderKey,
    /// What the report says signs receipts, if that is another.
    pub shown_key: Option<ProviderKey>,
    /// The TLS key that is bound into the quote and named in the report.
    pub tls_spki: Option<Digest>,
    /// What the quote holds as nonce.
    pub nonce: [u8; 32],
    /// The TD but for RTMRs and MRCONFIGID, which follow from what is measured.
    pub td: SimulatedTd,
    /// What was measured.
    pub events: Vec<PlannedEvent>,
    /// What the report says was measured, if that is something else.
    pub shown_events: Option<Vec<PlannedEvent>>,
    /// The deployment that was measured.
    pub compose: String,
    /// The deployment in the report, if that is another.
    pub shown_compose: Option<String>,
    /// Its GPUs; none shown if there are none.
    pub gpus: Vec<DevicePlan>,
    /// Whether the log is a text in the report, as gateways show it.
    pub log_as_text: bool,
}

/// The provider with all its keys.
#[derive(Debug)]
pub struct SimulatedProvider {
    tee: SimulatedTee,
    gpus: SimulatedGpus,
    /// What was written for these devices: their certificates take a tenth of a second.
    payloads: Mutex<Vec<(Vec<DevicePlan>, String)>>,
}

impl SimulatedProvider {
    /// The provider whose policies [`policies`] writes.
    #[must_use]
    pub fn demo() -> Self {
        Self {
            tee: SimulatedTee::demo(),
            gpus: SimulatedGpus::demo(),
            payloads: Mutex::default(),
        }
    }

    /// A plan in NEAR AI's format that an appraisal at `now` accepts.
    #[must_use]
    pub fn plan(&self, nonce: Nonce, tls_spki: Digest, now: Timestamp) -> ProviderPlan {
        let model = MachinePlan {
            model: Some(MODEL.to_owned()),
            gpus: (0..2).map(|number| self.gpus.plan(number, nonce)).collect(),
            log_as_text: false,
            ..MachinePlan::new("model", nonce, None)
        };
        ProviderPlan {
            gateway: Some(MachinePlan::new("gateway", nonce, Some(tls_spki))),
            models: vec![model],
            platform: self.tee.plan(nonce, tls_spki, MODEL, now),
        }
    }

    /// The same in dstack's format: the machine that runs the model ends the connection.
    #[must_use]
    pub fn dstack_plan(&self, nonce: Nonce, tls_spki: Digest, now: Timestamp) -> ProviderPlan {
        let mut plan = self.plan(nonce, tls_spki, now);
        plan.gateway = None;
        for model in &mut plan.models {
            model.tls_spki = Some(tls_spki);
        }
        plan
    }

    /// The report of a plan, as it is served.
    #[must_use]
    pub fn report(&self, plan: &ProviderPlan) -> Vec<u8> {
        let machines: Vec<Value> = plan
            .models
            .iter()
            .map(|model| self.machine(model))
            .collect();
        let report = match &plan.gateway {
            Some(gateway) => json!({
                "gateway_attestation": self.machine(gateway),
                "model_attestations": machines,
                "vpc": { "not": "read" },
            }),
            None => machines.into_iter().next().unwrap_or_default(),
        };
        report.to_string().into_bytes()
    }

    /// What the vendor says of the plan's platform, by its FMSPC.
    #[must_use]
    pub fn collateral(&self, plan: &ProviderPlan) -> BTreeMap<String, Collateral> {
        let fmspc = hex::encode(crate::tee::FMSPC);
        BTreeMap::from([(fmspc, self.tee.collateral(&plan.platform))])
    }

    fn machine(&self, plan: &MachinePlan) -> Value {
        let key = plan.shown_key.as_ref().unwrap_or(&plan.key);
        let events = plan.shown_events.as_ref().unwrap_or(&plan.events);
        let log = log::written(events);
        let quote = self.tee.quote(&plan.measured(), plan.report_data());
        let mut machine = json!({
            "signing_address": key.address(),
            "signing_algo": key.algorithm(),
            "intel_quote": hex::encode(quote),
            "event_log": if plan.log_as_text { json!(log.to_string()) } else { log },
            "request_nonce": hex::encode(plan.nonce),
            "info": {
                "tcb_info": { "app_compose": plan.shown_compose.as_ref().unwrap_or(&plan.compose) },
            },
        });
        if let Some(members) = machine.as_object_mut() {
            let shown = plan.tls_spki.map(|spki| json!(spki.to_hex()));
            members.extend(shown.map(|spki| ("tls_cert_fingerprint".to_owned(), spki)));
            let model = plan.model.as_ref().map(|name| json!(name));
            members.extend(model.map(|name| ("model_name".to_owned(), name)));
            if !plan.gpus.is_empty() {
                let payload = self.payload(&plan.gpus);
                members.insert("nvidia_payload".to_owned(), json!(payload));
            }
        }
        machine
    }

    fn payload(&self, gpus: &[DevicePlan]) -> String {
        let mut made = self.payloads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, payload)) = made.iter().find(|(plans, _)| plans == gpus) {
            return payload.clone();
        }
        let payload = self.write_payload(gpus);
        made.push((gpus.to_vec(), payload.clone()));
        payload
    }

    fn write_payload(&self, gpus: &[DevicePlan]) -> String {
        let list: Value = serde_json::from_slice(&self.gpus.list(gpus)).unwrap_or_default();
        json!({ "nonce": "", "arch": "HOPPER", "evidence_list": list }).to_string()
    }
}

impl MachinePlan {
    fn new(name: &str, nonce: Nonce, tls_spki: Option<Digest>) -> Self {
        let compose = format!("{{\"name\":\"simulated {name}\"}}");
        Self {
            model: None,
            key: ProviderKey::ethereum(name),
            shown_key: None,
            tls_spki,
            nonce: *nonce.as_bytes(),
            td: SimulatedTd::default(),
            events: log::boot(app_id(name), &compose),
            shown_events: None,
            compose,
            shown_compose: None,
            gpus: Vec::new(),
            log_as_text: true,
        }
    }

    /// The TD with what was measured into it.
    fn measured(&self) -> SimulatedTd {
        let mut config = [0; 48];
        config[0] = 1;
        config[1..33].copy_from_slice(&Sha256::digest(&self.compose));
        SimulatedTd {
            rtmr: replay(&self.events),
            mr_config_id: Measurement::from_bytes(config),
            ..self.td
        }
    }

    fn report_data(&self) -> [u8; 64] {
        let mut data = [0; 64];
        let key = self.key.bytes();
        match self.tls_spki {
            None => {
                for (place, byte) in data.iter_mut().zip(&key) {
                    *place = *byte;
                }
            }
            Some(spki) => {
                let bound = Sha256::new()
                    .chain_update(&key)
                    .chain_update(spki.as_bytes());
                data[..32].copy_from_slice(&bound.finalize());
            }
        }
        data[32..].copy_from_slice(&self.nonce);
        data
    }
}

/// The application's identity: its name, padded to 20 bytes.
fn app_id(name: &str) -> [u8; 20] {
    let mut id = [0; 20];
    for (place, byte) in id.iter_mut().zip(name.bytes()) {
        *place = byte;
    }
    id
}

/// A receipt for a request and an answer by their SHA-256: with a model's name as models sign it, without
/// as gateways do.
#[must_use]
pub fn receipt(key: &ProviderKey, model: Option<&str>, request: Digest, answer: Digest) -> Value {
    let of_model = model.map_or_else(String::new, |model| format!("{model}:"));
    let text = format!("{of_model}{}:{}", request.to_hex(), answer.to_hex());
    json!({
        "text": text,
        "signature": key.sign(&text),
        "signing_address": key.address(),
        "signing_algo": key.algorithm(),
    })
}
