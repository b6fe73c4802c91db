//! Simulated NVIDIA devices: certificates, measurement reports, reference manifests and tokens,
//! format-true and derived from a seed, so that the production verifier runs on them unchanged.
//! Proves nothing about hardware: whoever knows the seed can sign any report. Every certificate says
//! `SIMULATED`.

mod keys;
mod pki;
mod report;
mod rim;
mod token;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proofroom_canonical::{Digest, Nonce};
use serde_json::json;

pub use keys::SimulatedKey384;
pub use pki::ChainPlan;
pub use report::ReportPlan;
pub use rim::RimPlan;
pub use token::TokenPlan;

use crate::tee::{DEMO_SEED, written};

/// The driver of a planned GPU.
pub const DRIVER: &str = "999.10.01";
/// The BIOS of a planned device, as its report writes it and as everybody reads it.
pub const BIOS: ([u8; 8], &str) = ([0x00, 0xcf, 0x00, 0x96, 0x02, 0, 0, 0], "96.00.CF.00.02");

/// A vendor of simulated devices with all its keys, made from one seed.
#[derive(Debug)]
pub struct SimulatedGpus {
    seed: [u8; 32],
    pki: pki::DevicePki,
}

/// Everything that goes into the evidence of one device. Change fields to make what must be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePlan {
    /// Which device of the vendor's this is; two of one number are the same device.
    pub number: u8,
    /// The chip's name.
    pub chip: &'static str,
    /// What its report says.
    pub report: ReportPlan,
    /// What its certificates are.
    pub chain: ChainPlan,
}

impl SimulatedGpus {
    /// The vendor of `seed`: the same seed makes the same roots, byte for byte.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self {
            seed,
            pki: pki::DevicePki::from_seed(&seed),
        }
    }

    /// The vendor of [`DEMO_SEED`], whose roots `simulated-gpu.toml` names.
    #[must_use]
    pub fn demo() -> Self {
        Self::from_seed(DEMO_SEED)
    }

    /// SHA-256 of the device root's DER, as a policy names it.
    #[must_use]
    pub fn root_digest(&self) -> Digest {
        self.pki.root_digest()
    }

    /// SHA-256 of the manifest root's DER, as a policy names it.
    #[must_use]
    pub fn rim_root_digest(&self) -> Digest {
        rim::Signer::new(&self.seed, &RimPlan::driver()).root_digest()
    }

    /// SHA-256 of [`SimulatedGpus::jwks`], as a policy names it.
    #[must_use]
    pub fn jwks_digest(&self) -> Digest {
        Digest::of(self.jwks())
    }

    /// GPU `number`, which an appraisal for `nonce` accepts.
    #[must_use]
    pub fn plan(&self, number: u8, nonce: Nonce) -> DevicePlan {
        DevicePlan {
            number,
            chip: "GH100",
            report: ReportPlan::gpu(nonce),
            chain: ChainPlan::Whole,
        }
    }

    /// Switch `number`, which an appraisal for `nonce` accepts.
    #[must_use]
    pub fn switch_plan(&self, number: u8, nonce: Nonce) -> DevicePlan {
        DevicePlan {
            number,
            chip: "LS10",
            report: ReportPlan::switch(nonce),
            chain: ChainPlan::Whole,
        }
    }

    /// The report of a plan.
    #[must_use]
    pub fn report(&self, plan: &DevicePlan) -> Vec<u8> {
        plan.report.write(&pki::leaf_key(&self.seed, plan))
    }

    /// The certificate chain of a plan, PEM, leaf first.
    #[must_use]
    pub fn chain(&self, plan: &DevicePlan) -> String {
        self.pki.chain(&self.seed, plan)
    }

    /// The evidence list of plans, as NVIDIA's tools write it.
    #[must_use]
    pub fn list(&self, plans: &[DevicePlan]) -> Vec<u8> {
        let devices = plans
            .iter()
            .map(|plan| (self.report(plan), self.chain(plan)));
        list_of(devices)
    }

    /// The manifest of a plan, as a file.
    #[must_use]
    pub fn rim(&self, plan: &RimPlan) -> Vec<u8> {
        rim::write(&self.seed, plan)
    }

    /// The key set of the simulated attestation service, as a file.
    #[must_use]
    pub fn jwks(&self) -> Vec<u8> {
        token::jwks(&self.seed)
    }

    /// The decimal serial number of a planned device's certificate, which tokens call `ueid`.
    #[must_use]
    pub fn ueid(&self, plan: &DevicePlan) -> String {
        pki::serial(plan).to_string()
    }

    /// What the simulated attestation service says of planned devices at `now` (Unix seconds).
    #[must_use]
    pub fn token_plan(&self, plans: &[DevicePlan], now: i64) -> TokenPlan {
        let devices = plans.iter().map(|plan| (self.ueid(plan), &plan.report));
        TokenPlan::about(devices, now)
    }

    /// The detached EAT of a plan.
    #[must_use]
    pub fn token(&self, plan: &TokenPlan) -> Vec<u8> {
        plan.write(&self.seed)
    }
}

/// An evidence list of reports and chains at hand.
#[must_use]
pub fn list_of(devices: impl IntoIterator<Item = (Vec<u8>, String)>) -> Vec<u8> {
    let devices: Vec<_> = devices
        .into_iter()
        .map(|(report, chain)| {
            json!({
                "arch": "HOPPER",
                "certificate": STANDARD.encode(chain),
                "evidence": STANDARD.encode(report),
                "nonce": "",
            })
        })
        .collect();
    written(serde_json::to_vec(&devices))
}
