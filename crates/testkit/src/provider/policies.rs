//! The policies that accept the simulated provider, written from what it is.

use std::collections::BTreeMap;

use proofroom_canonical::Nonce;
use proofroom_evidence::{Measurement, gpu::DeviceReport};
use sha2::{Digest as _, Sha256};

use super::{KEY_PROVIDER, MODEL, OS_IMAGE, app_id, log};
use crate::{
    gpu::{BIOS, DRIVER, SimulatedGpus},
    tee::{SimulatedTd, SimulatedTee, written},
};

/// File name of the policy for quotes.
pub const QUOTE_POLICY: &str = "simulated-provider-quote.toml";
/// File name of the policy for devices.
pub const GPU_POLICY: &str = "simulated-provider-gpu.toml";

/// The policies for quotes and devices, by file name.
#[must_use]
pub fn policies() -> BTreeMap<&'static str, String> {
    BTreeMap::from([(QUOTE_POLICY, quote()), (GPU_POLICY, gpu())])
}

/// The provider's policy in a format that has a gateway, or in one that has none.
#[must_use]
pub fn policy(format: &str) -> String {
    let gateway = if format == "near-ai" {
        machine("gateway", "gateway")
    } else {
        String::new()
    };
    format!(
        "name = \"simulated-provider\"\nformat = \"{format}\"\nmodel = \"{MODEL}\"\n\
         receipts = \"required\"\nquote_policy = \"{QUOTE_POLICY}\"\ngpu_policy = \"{GPU_POLICY}\"\n\
         {gateway}{}",
        machine("machine", "model")
    )
}

pub(super) fn machine(table: &str, name: &str) -> String {
    let compose = Sha256::digest(format!("{{\"name\":\"simulated {name}\"}}"));
    format!(
        "\n[{table}]\napp_ids = [\"{}\"]\ncompose_hashes = [\"{}\"]\nos_images = [\"{}\"]\n\
         key_providers = [\"{KEY_PROVIDER}\"]\n",
        hex::encode(app_id(name)),
        hex::encode(compose),
        hex::encode(OS_IMAGE),
    )
}

fn quote() -> String {
    let [rtmr0, rtmr1, rtmr2, _] = log::replay(&log::boot(app_id("model"), ""));
    quote_policy("simulated-provider-quote", [rtmr0, rtmr1, rtmr2])
}

/// The policy of that name for quotes of a default TD whose boot added up to these registers.
pub(crate) fn quote_policy(name: &str, [rtmr0, rtmr1, rtmr2]: [Measurement; 3]) -> String {
    let td = SimulatedTd::default();
    format!(
        "name = \"{name}\"\npurpose = \"simulated\"\nroots = [\"{}\"]\nmodels = [\"*\"]\n\n\
         [freshness]\nnonce = \"required\"\nmax_age_seconds = 600\nmax_keyset_seconds = 600\n\n\
         [tcb]\naccept = [\"UpToDate\"]\nmin_evaluation_data_number = 20\nrefuse_advisories = []\n\n\
         [attributes]\nallow = [\"SEPT_VE_DISABLE\"]\n\n\
         [[reference]]\nname = \"simulated boot\"\nmr_seam = \"not-compared\"\nmr_td = [\"{}\"]\n\
         rtmr0 = [\"{rtmr0}\"]\nrtmr1 = [\"{rtmr1}\"]\nrtmr2 = [\"{rtmr2}\"]\n\
         rtmr3 = \"not-compared\"\nmr_config_id = \"not-compared\"\n",
        SimulatedTee::demo().root_digest(),
        td.mr_td,
    )
}

fn gpu() -> String {
    let (_, bios) = BIOS;
    let gpus = SimulatedGpus::demo();
    let planned = gpus.report(&gpus.plan(0, Nonce::from_random([0; 32])));
    let measurements = written(DeviceReport::parse(&planned)).measurements_digest();
    format!(
        "name = \"simulated-provider-gpu\"\npurpose = \"simulated\"\nroots = [\"{}\"]\nrefuse_certificates = []\n\n\
         [freshness]\nnonce = \"required\"\nmax_age_seconds = 600\n\n\
         [[device]]\nkind = \"gpu\"\nchip = \"GH100\"\ncount = 2\ndriver = [\"{DRIVER}\"]\n\
         bios = [\"{bios}\"]\nmode = [\"protected-pcie\"]\n\n\
         [measurements]\ncompare_with = \"pinned\"\ndigests = [\"{measurements}\"]\n\n\
         [token]\ntoken = \"not-required\"\nrevocation = \"not-required\"\n\
         issuers = [\"https://simulated.invalid\"]\njwks = []\nsecure_boot = \"required\"\n\
         debug_status = [\"disabled\"]\n",
        gpus.root_digest(),
    )
}
