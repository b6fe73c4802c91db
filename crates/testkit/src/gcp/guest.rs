//! A whole SIMULATED guest of Google's in a TD of the demonstration's TEE: its evidence document, and the policy
//! that accepts it.

use std::sync::Arc;

use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_evidence::{Base64, VtpmDocument, VtpmGuest, key_report_data};
use rcgen::PublicKeyData as _;

use super::{AkKey, AkPlan, SimulatedGoogle, SimulatedVtpm};
use crate::tee::{Plan, SimulatedKey, SimulatedTee};

/// A guest with its cloud. Change fields to make what must be refused.
#[derive(Clone, Debug)]
pub struct SimulatedGuest {
    /// Its cloud.
    pub google: Arc<SimulatedGoogle>,
    /// Its virtual TPM.
    pub tpm: SimulatedVtpm,
    /// What the certificate of its attestation key says.
    pub certificate: AkPlan,
    /// Its TD and what Intel says about its platform.
    pub plan: Plan,
}

impl SimulatedGuest {
    /// The guest of `seed`, as of `now`. Its attestation key is on P-256.
    #[must_use]
    pub fn from_seed(seed: [u8; 32], now: Timestamp) -> Self {
        let nonce = Nonce::from_random(seed);
        let tee = SimulatedTee::demo();
        Self {
            google: Arc::new(SimulatedGoogle::from_seed(seed)),
            tpm: SimulatedVtpm::booted(AkKey::Ecdsa(SimulatedKey::derive(&seed, "ak"))),
            certificate: AkPlan::default(),
            plan: tee.plan(nonce, Digest::of("key"), "any", now),
        }
    }

    /// The certificates of its attestation key.
    #[must_use]
    pub fn certificates(&self) -> Vec<Base64> {
        let chain = self.google.certificates(&self.tpm.key, &self.certificate);
        chain.into_iter().map(Base64).collect()
    }

    /// Its evidence over `nonce`, whose TD was asked to report `report_data`.
    #[must_use]
    pub fn document(&self, nonce: &[u8], report_data: [u8; 64]) -> VtpmDocument {
        let guest = VtpmGuest::Gcp {
            ak_certificates: self.certificates(),
            event_log: Base64(self.tpm.event_log()),
            snp_report: None,
        };
        let td_quote = SimulatedTee::demo().quote(&self.plan.td, report_data);
        let quote = self.tpm.quote(nonce);
        VtpmDocument::new(guest, quote, self.tpm.pcrs(), Some(td_quote))
    }

    /// The report data that binds `nonce` and the attestation key.
    #[must_use]
    pub fn bound(&self, nonce: &[u8]) -> [u8; 64] {
        key_report_data(nonce, &self.tpm.key.subject_public_key_info())
    }

    /// The policy that accepts it, where `report_data` is `nonce` or `nonce-and-key`.
    #[must_use]
    pub fn policy(&self, report_data: &str) -> String {
        let td = &self.plan.td;
        let [rtmr0, rtmr1, rtmr2, _] = td.rtmr;
        format!(
            r#"name = "simulated-gcp-tdx"
purpose = "simulated"
accept = "gcp-tdx"
roots = ["{}"]
mr_seam = "not-compared"
mr_td = ["{}"]
rtmr0 = ["{rtmr0}"]
rtmr1 = ["{rtmr1}"]
rtmr2 = ["{rtmr2}"]

[tcb]
accept = ["UpToDate"]
min_evaluation_data_number = 1
refuse_advisories = []

[attributes]
allow = ["SEPT_VE_DISABLE"]

{}"#,
            SimulatedTee::demo().root_digest(),
            td.mr_td,
            self.policy_on_google(report_data),
        )
    }

    /// The part of a policy that is about Google and the boot, whatever the hardware.
    #[must_use]
    pub fn policy_on_google(&self, report_data: &str) -> String {
        let [pcr0, _, _, _, pcr4, ..] = self.tpm.pcrs().map(hex::encode);
        format!(
            r#"[freshness]
nonce = "required"

[google]
ak_roots = ["{}"]
projects = ["{}"]
report_data = "{report_data}"

[pcrs]
0 = ["{pcr0}"]
4 = ["{pcr4}"]
"#,
            self.google.root_digest(),
            self.certificate.project,
        )
    }
}
