//! A simulated enclave of Tinfoil: documents of version 3, of AMD SEV-SNP and of Intel TDX, with everything in them a
//! field of a plan. Proves nothing: everybody can sign as it.

use std::{
    collections::BTreeMap,
    sync::{LazyLock, Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pem::{Pem, encode_many};
use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_evidence::{
    Collateral,
    snp::{SigningKey, SnpProduct},
};
use serde_json::{Value, json};

use super::{GPU_POLICY, MODEL};
use crate::{
    enclave::{ENCLAVE_QUOTE_POLICY, gpu_evidence},
    gpu::{DevicePlan, SimulatedGpus},
    snp::{SNP_SEED, SimulatedAmd, SnpEvidence, SnpPlan},
    tee::{Plan, SimulatedTd, SimulatedTee, simulated_measurement},
};

/// File name of the policy for reports.
pub const SNP_POLICY: &str = "simulated-tinfoil-snp.toml";

/// Its keys take seconds to make.
static AMD: LazyLock<SimulatedAmd> = LazyLock::new(|| SimulatedAmd::from_seed(SNP_SEED));

/// Everything that goes into a document. Change fields to make what must be refused.
#[derive(Clone, Debug)]
pub struct TinfoilPlan {
    /// The document's format.
    pub format: String,
    /// The challenge that the document names.
    pub nonce: Nonce,
    /// The challenge that the processor signs, if that is another.
    pub signed_nonce: Option<Nonce>,
    /// The endorsed keys.
    pub keys: Vec<Value>,
    /// The keys that the document shows, if those are others.
    pub shown_keys: Option<Vec<Value>>,
    /// The devices' evidence.
    pub gpus: Vec<DevicePlan>,
    /// More devices.
    pub devices: Vec<Value>,
    /// Bytes behind the digest in report data.
    pub padding: [u8; 32],
    /// Whether the processor is Intel's.
    pub tdx: bool,
    /// AMD's report with its certificates.
    pub snp: SnpPlan,
    /// Whether the document brings the revocation list along.
    pub crl: bool,
    /// Whether it brings the certificates along.
    pub certificates: bool,
    /// Intel's TD.
    pub td: SimulatedTd,
    /// What Intel says of the platform.
    pub platform: Plan,
}

/// The policy that accepts it, for an enclave that serves so (`direct`, `aggregator`).
#[must_use]
pub fn policy(serving: &str) -> String {
    format!(
        "name = \"simulated-tinfoil\"\nformat = \"tinfoil\"\nmodel = \"{MODEL}\"\nreceipts = \"not-offered\"\n\
         quote_policy = \"{ENCLAVE_QUOTE_POLICY}\"\nsnp_policy = \"{SNP_POLICY}\"\ngpu_policy = \"{GPU_POLICY}\"\n\
         \n[[tolerate]]\ncheck = \"model\"\nreason = \"not named\"\n\
         \n[[tolerate]]\ncheck = \"release-provenance\"\nreason = \"measurements are pinned\"\n\
         \n[enclave]\nserving = \"{serving}\"\n"
    )
}

/// The policies for quotes, reports and devices, by file name.
#[must_use]
pub fn policies() -> BTreeMap<&'static str, String> {
    let mut all = crate::enclave::policies();
    all.insert(SNP_POLICY, snp_policy());
    all
}

fn snp_policy() -> String {
    format!(
        "name = \"simulated-tinfoil-snp\"\npurpose = \"simulated\"\nroots = [\"{}\"]\nvmpl = [0]\n\n\
         [freshness]\nreport_data = \"required\"\nmax_age_seconds = 600\n\n\
         [signing]\nkeys = [\"vcek\"]\ncsp_ids = []\nchip_ids = \"any\"\nrevocation_list = \"required\"\n\n\
         [tcb.genoa]\nboot_loader = 9\ntee = 0\nsnp = 23\nmicrocode = 84\n\n\
         [guest_policy]\nmin_abi = [0, 0]\nallow = [\"SMT\"]\nrequire = []\n\n\
         [platform]\nrequire = [\"ALIAS_CHECK_COMPLETE\"]\n\n\
         [[reference]]\nname = \"simulated release\"\nmeasurement = [\"{}\"]\nhost_data = \"not-compared\"\n\
         id_key = \"absent\"\nauthor_key = \"absent\"\nmin_guest_svn = 0\n",
        AMD.root_digest(SnpProduct::Genoa),
        simulated_measurement("snp"),
    )
}

/// An endorsed key.
#[must_use]
pub fn key(id: &str, format: &str, data: &str) -> Value {
    json!({ "id": id, "format": format!("https://tinfoil.sh/key/{format}/v1"), "data": data })
}

/// A plan with two GPUs behind AMD's processor that an appraisal at `now` accepts.
#[must_use]
pub fn plan(nonce: Nonce, tls_spki: Digest, now: Timestamp) -> TinfoilPlan {
    let gpus = SimulatedGpus::demo();
    TinfoilPlan {
        format: "https://tinfoil.sh/predicate/attestation/v3".to_owned(),
        nonce,
        signed_nonce: None,
        keys: vec![
            key("tls", "spki-fp-sha256", &tls_spki.to_hex()),
            key("hpke", "x25519-hpke", &"ab".repeat(32)),
        ],
        shown_keys: None,
        gpus: (0..2).map(|number| gpus.plan(number, nonce)).collect(),
        devices: Vec::new(),
        padding: [0; 32],
        tdx: false,
        snp: AMD.plan(SnpProduct::Genoa, 3, SigningKey::Vcek, now),
        crl: true,
        certificates: true,
        td: SimulatedTd::default(),
        platform: SimulatedTee::demo().plan(nonce, tls_spki, MODEL, now),
    }
}

fn section(name: &str, items: &[Value]) -> String {
    json!({ "format": format!("https://tinfoil.sh/{name}/v1"), "items": items }).to_string()
}

impl TinfoilPlan {
    fn devices(&self) -> Vec<Value> {
        let list = gpu_evidence(&self.gpus).unwrap_or_else(|| "[]".to_owned());
        let list: Vec<Value> = serde_json::from_str(&list).unwrap_or_default();
        let gpus = list.into_iter().enumerate().map(|(place, evidence)| {
            json!({
                "id": format!("gpu{place}"),
                "kind": "gpu",
                "vendor": "nvidia",
                "format": "https://tinfoil.sh/format/nvidia-gpu-evidence/v1",
                "evidence": evidence,
            })
        });
        gpus.chain(self.devices.iter().cloned()).collect()
    }

    /// Report data for a challenge over two sections.
    fn data(&self, nonce: Nonce, [crypto, devices]: [Digest; 2]) -> [u8; 64] {
        let text = [
            b"https://tinfoil.sh/report-data/v1".as_slice(),
            nonce.as_bytes(),
            crypto.as_bytes(),
            devices.as_bytes(),
        ];
        let mut data = [0; 64];
        data[..32].copy_from_slice(Digest::of(text.concat()).as_bytes());
        data[32..].copy_from_slice(&self.padding);
        data
    }

    fn evidence(&self, data: [u8; 64]) -> (&'static str, Vec<u8>, Vec<Value>) {
        if self.tdx {
            let quote = SimulatedTee::demo().quote(&self.td, data);
            return ("tdx-quote", quote, Vec::new());
        }
        let mut plan = self.snp.clone();
        plan.report.report_data = data;
        let made = certified(&plan);
        let chain = [made.intermediate, made.root].map(|der| Pem::new("CERTIFICATE", der));
        let entry = |id: &str, format: &str, data: Value| {
            json!({
                "id": id,
                "role": "endorsement",
                "format": format!("https://tinfoil.sh/collateral/{format}/v1"),
                "subjects": ["cpu"],
                "data": data,
            })
        };
        let vcek = json!({
            "vcek_der_base64": STANDARD.encode(made.leaf),
            "cert_chain_pem": encode_many(&chain),
        });
        let crl = json!({ "crl_der_base64": STANDARD.encode(made.crl) });
        let certificates = self
            .certificates
            .then(|| entry("cpu-endorsement", "amd-vcek", vcek));
        let list = self.crl.then(|| entry("cpu-crl", "amd-crl", crl));
        let collateral = certificates.into_iter().chain(list).collect();
        ("sev-snp-report", made.report, collateral)
    }
}

/// What was made for these certificates: their signatures take a tenth of a second each.
static CHAINS: Mutex<Vec<(String, SnpEvidence)>> = Mutex::new(Vec::new());

/// A plan's report with its chain.
fn certified(plan: &SnpPlan) -> SnpEvidence {
    let named = format!("{:?}", (&plan.vek, plan.intermediate_ca, &plan.crl));
    let mut made = CHAINS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, chain)) = made.iter().find(|(known, _)| *known == named) {
        let report = AMD.report(plan);
        return SnpEvidence {
            report,
            ..chain.clone()
        };
    }
    let chain = AMD.make(plan);
    made.push((named, chain.clone()));
    chain
}

/// The document of a plan, as it is served.
#[must_use]
pub fn report(plan: &TinfoilPlan) -> Vec<u8> {
    let (crypto, devices) = (
        section("crypto-material", &plan.keys),
        section("device-evidence", &plan.devices()),
    );
    let digests = [Digest::of(&crypto), Digest::of(&devices)];
    let signed = plan.data(plan.signed_nonce.unwrap_or(plan.nonce), digests);
    let (kind, evidence, collateral) = plan.evidence(signed);
    let shown = plan.shown_keys.as_ref();
    let shown = shown.map_or(crypto, |keys| section("crypto-material", keys));
    json!({
        "format": plan.format,
        "challenge": {
            "nonce": plan.nonce.to_string(),
            "report_data": hex::encode(plan.data(plan.nonce, digests)),
            "report_data_algorithm": "https://tinfoil.sh/report-data/v1",
        },
        "cpu_evidence": {
            "format": format!("https://tinfoil.sh/format/{kind}/v1"),
            "report_base64": STANDARD.encode(evidence),
            "endorsed": {
                "crypto_material_hash": digests[0].to_hex(),
                "device_evidence_hash": digests[1].to_hex(),
            },
        },
        "crypto_material": STANDARD.encode(shown),
        "device_evidence": STANDARD.encode(devices),
        "collateral": collateral,
    })
    .to_string()
    .into_bytes()
}

/// What Intel says of the plan's platform, by its FMSPC.
#[must_use]
pub fn collateral(plan: &TinfoilPlan) -> BTreeMap<String, Collateral> {
    let of_platform = SimulatedTee::demo().collateral(&plan.platform);
    BTreeMap::from([(hex::encode(crate::tee::FMSPC), of_platform)])
}
