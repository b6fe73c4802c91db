//! A simulated `proofroom-enclave`: reports and receipts that are format-true, with everything in them a field
//! of a plan. Proves nothing: everybody can sign as it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use proofroom_canonical::{Digest, Hex, Nonce, Timestamp};
use proofroom_evidence::{Collateral, ReportData};
use proofroom_serving::{
    RECEIPT_PURPOSE, ReceiptText, STATEMENT_PURPOSE, ServingReport, ServingStatement, SignedReceipt,
};

use crate::{
    gpu::{DevicePlan, SimulatedGpus},
    provider::{GPU_POLICY, MODEL, ProviderKey, quote_policy},
    tee::{Plan, SimulatedTd, SimulatedTee, written},
};

/// File name of the policy for the enclave's quotes.
pub const ENCLAVE_QUOTE_POLICY: &str = "simulated-enclave-quote.toml";
/// How long the statement of a plan holds.
const STATEMENT_SECONDS: u32 = 300;

/// Everything that goes into a report. Change fields to make what must be refused.
#[derive(Clone, Debug)]
pub struct EnclavePlan {
    /// What the statement says. Its bytes are what the quote binds.
    pub statement: ServingStatement,
    /// The text that the report shows, if that is another.
    pub shown: Option<String>,
    /// The TD.
    pub td: SimulatedTd,
    /// Report data other than the statement's digest.
    pub report_data: Option<[u8; 64]>,
    /// The evidence of GPUs that the report shows, if that is not what the statement binds.
    pub shown_gpus: Option<Option<String>>,
    /// Its GPUs; none shown if there are none.
    pub gpus: Vec<DevicePlan>,
    /// What the vendor says of the platform.
    pub platform: Plan,
}

/// The weights that the simulated enclave serves.
#[must_use]
pub fn weights() -> Digest {
    Digest::of("simulated weights")
}

/// The image that its server runs from.
#[must_use]
pub fn image() -> Digest {
    Digest::of("simulated image")
}

/// The key of its receipts.
#[must_use]
pub fn receipt_key() -> ProviderKey {
    ProviderKey::ed25519("enclave")
}

/// The policy that accepts it. Its siblings are [`policies`].
#[must_use]
pub fn policy(weights: Digest, image: Digest) -> String {
    format!(
        "name = \"simulated-enclave\"\nformat = \"proofroom-enclave\"\nmodel = \"{MODEL}\"\n\
         receipts = \"required\"\nquote_policy = \"{ENCLAVE_QUOTE_POLICY}\"\ngpu_policy = \"{GPU_POLICY}\"\n\n\
         [serving]\nweights = [\"{weights}\"]\nimages = [\"{image}\"]\n"
    )
}

/// The policies for quotes and devices, by file name.
#[must_use]
pub fn policies() -> BTreeMap<&'static str, String> {
    let mut all = crate::provider::policies();
    let [rtmr0, rtmr1, rtmr2, _] = SimulatedTd::default().rtmr;
    let quote = quote_policy("simulated-enclave-quote", [rtmr0, rtmr1, rtmr2]);
    all.insert(ENCLAVE_QUOTE_POLICY, quote);
    all
}

/// A plan with two GPUs that an appraisal at `now` accepts.
#[must_use]
pub fn plan(nonce: Nonce, tls_spki: Digest, now: Timestamp) -> EnclavePlan {
    let gpus = SimulatedGpus::demo();
    EnclavePlan {
        statement: ServingStatement {
            purpose: STATEMENT_PURPOSE.to_owned(),
            nonce,
            tls_spki_sha256: tls_spki,
            receipt_key: key_of(&receipt_key()),
            key_config: None,
            model: MODEL.to_owned(),
            weights: weights(),
            image: image(),
            gpu_evidence: None,
            not_after: now.after_seconds(STATEMENT_SECONDS),
        },
        shown: None,
        td: SimulatedTd::default(),
        report_data: None,
        shown_gpus: None,
        gpus: (0..2).map(|number| gpus.plan(number, nonce)).collect(),
        platform: SimulatedTee::demo().plan(nonce, tls_spki, MODEL, now),
    }
}

/// What was written for these devices: their certificates take a tenth of a second.
static LISTS: Mutex<Vec<(Vec<DevicePlan>, String)>> = Mutex::new(Vec::new());

/// The evidence of planned GPUs, as the enclave's helper gives it; `None` of no GPU.
#[must_use]
pub fn gpu_evidence(plans: &[DevicePlan]) -> Option<String> {
    if plans.is_empty() {
        return None;
    }
    let mut made = LISTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, list)) = made.iter().find(|(known, _)| known == plans) {
        return Some(list.clone());
    }
    let list = SimulatedGpus::demo().list(plans);
    let list = String::from_utf8_lossy(&list).into_owned();
    made.push((plans.to_vec(), list.clone()));
    Some(list)
}

/// The report of a plan, as it is served.
#[must_use]
pub fn report(plan: &EnclavePlan) -> Vec<u8> {
    let gpus = gpu_evidence(&plan.gpus);
    let statement = ServingStatement {
        gpu_evidence: gpus.as_deref().map(Digest::of),
        ..plan.statement.clone()
    };
    let statement = written(String::from_utf8(written(statement.to_bytes())));
    let bound = ReportData::of_statement(statement.as_bytes());
    let data = plan.report_data.unwrap_or(*bound.as_bytes());
    let report = ServingReport {
        quote: SimulatedTee::demo().quote(&plan.td, data),
        statement: plan.shown.clone().unwrap_or(statement),
        gpu_evidence: plan.shown_gpus.clone().unwrap_or(gpus),
    };
    written(report.to_bytes())
}

/// What the vendor says of the plan's platform, by its FMSPC.
#[must_use]
pub fn collateral(plan: &EnclavePlan) -> BTreeMap<String, Collateral> {
    let of_platform = SimulatedTee::demo().collateral(&plan.platform);
    BTreeMap::from([(hex::encode(crate::tee::FMSPC), of_platform)])
}

/// What a receipt for an answer says.
#[must_use]
pub fn receipt_text(challenge: Nonce, request: Digest, answer: &[u8]) -> ReceiptText {
    ReceiptText {
        purpose: RECEIPT_PURPOSE.to_owned(),
        challenge,
        model: MODEL.to_owned(),
        request_sha256: request,
        answer_sha256: Digest::of(answer),
        answer_bytes: answer.len() as u64,
    }
}

/// The receipt that says so, signed by `key`.
#[must_use]
pub fn receipt(key: &ProviderKey, text: &ReceiptText) -> SignedReceipt {
    let text = written(String::from_utf8(written(text.to_bytes())));
    let mut signature = [0; 64];
    written(hex::decode_to_slice(key.sign(&text), &mut signature));
    SignedReceipt {
        signature: Hex::from_bytes(signature),
        key: key_of(key),
        text,
    }
}

/// An Ed25519 key's public half.
fn key_of(key: &ProviderKey) -> Hex<32> {
    let bytes = key.bytes().try_into().unwrap_or([0; 32]);
    Hex::from_bytes(bytes)
}
