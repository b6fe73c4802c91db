//! Cases of `vtpm`: guests of Azure and of Google that are accepted, and for every way to break one the check
//! and code that must refuse it.

use std::sync::LazyLock;

use proofroom_canonical::{Digest, Hex, Nonce, Timestamp};
use proofroom_evidence::{
    Base64, VtpmDocument, VtpmGuest,
    snp::{SigningKey, SnpProduct},
};
use proofroom_testkit::{
    azure::SimulatedParavisor,
    gcp::{AkKey, SimulatedGoogle, SimulatedGuest, SimulatedRsaKey, SimulatedVtpm},
    snp::{SNP_SEED, SimulatedAmd, SnpEvidence},
    tee::{SimulatedKey, SimulatedTee, simulated_measurement, written},
};
use proofroom_verifier::{PRODUCTION_AZURE_SNP, PRODUCTION_GCP_SNP, PRODUCTION_GCP_TDX};

use super::Case;
use crate::{
    Answer, Verdict,
    vector::{RawChain, RawRequest, RawVtpm},
};

mod azure;
mod gcp;

const STAGE: &str = "vtpm";
/// 2026-12-01T00:00:00Z.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_796_083_200);
const NONCE: Nonce = Nonce::from_random([7; 32]);
const SEED: [u8; 32] = *b"proofroom simulated vTPM seed 01";
const OTHER_SEED: [u8; 32] = *b"proofroom simulated vTPM seed 02";
const MADE: &str = "made: simulated guests of the seed `proofroom simulated vTPM seed 01`";
const AZURE_SNP: u32 = 2;
const AZURE_TDX: u32 = 4;

/// Check and code; none where the case is accepted.
type Failure = Option<(&'static str, &'static str)>;

/// What is supplied beside a document.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Collateral,
    Chain,
    ChainWithoutList,
    Nothing,
}

struct Row {
    name: &'static str,
    title: &'static str,
    change: &'static str,
    policy: &'static str,
    beside: Beside,
    failure: Failure,
    document: Vec<u8>,
}

impl Row {
    fn new(
        name: &'static str,
        title: &'static str,
        change: &'static str,
        failure: Failure,
        document: &VtpmDocument,
    ) -> Self {
        Self {
            name,
            title,
            change,
            policy: "gcp-tdx",
            beside: Beside::Collateral,
            failure,
            document: written(document.write()),
        }
    }

    fn under(self, policy: &'static str) -> Self {
        Self { policy, ..self }
    }

    fn with(self, beside: Beside) -> Self {
        Self { beside, ..self }
    }
}

static KIT: LazyLock<Kit> = LazyLock::new(Kit::new);

/// What all cases are made from.
struct Kit {
    guest: SimulatedGuest,
    paravisor: SimulatedParavisor,
    amd: SimulatedAmd,
}

impl Kit {
    fn new() -> Self {
        Self {
            guest: SimulatedGuest::from_seed(SEED, NOW),
            paravisor: SimulatedParavisor::from_seed(SEED),
            amd: SimulatedAmd::from_seed(SNP_SEED),
        }
    }

    fn snp(&self, report_data: [u8; 64]) -> SnpEvidence {
        let mut plan = self.amd.plan(SnpProduct::Milan, 3, SigningKey::Vcek, NOW);
        plan.report.report_data = report_data;
        self.amd.make(&plan)
    }

    /// A shipped policy for SNP guests, made to trust the simulated vendor, up to its `[freshness]`.
    fn snp_policy(&self, shipped: &str) -> String {
        let (before, _) = shipped.split_once("[freshness]\nnonce").unwrap_or_default();
        let example = before.lines().find(|line| line.starts_with("measurement"));
        let measurement = simulated_measurement("snp");
        let root = self.amd.root_digest(SnpProduct::Milan);
        before
            .replace("name = \"production-", "name = \"simulated-")
            .replace("\"production-upstream\"", "\"simulated\"")
            .replace("\"amd-ark-milan\"", &format!("\"{root}\""))
            .replace(
                example.unwrap_or_default(),
                &format!("measurement = [\"{measurement}\"]"),
            )
    }

    fn azure_rest(&self) -> String {
        let [_, _, _, _, pcr4, _, _, pcr7, ..] = self.paravisor.pcrs.map(hex::encode);
        format!("[freshness]\nnonce = \"required\"\n\n[pcrs]\n4 = [\"{pcr4}\"]\n7 = [\"{pcr7}\"]\n")
    }

    fn azure_policy(&self) -> String {
        let (root, mr_td) = (SimulatedTee::demo().root_digest(), self.guest.plan.td.mr_td);
        format!(
            r#"name = "simulated-azure-tdx"
purpose = "simulated"
accept = "azure-tdx"
roots = ["{root}"]
mr_seam = "not-compared"
mr_td = ["{mr_td}"]

[tcb]
accept = ["UpToDate"]
min_evaluation_data_number = 1
refuse_advisories = []

[attributes]
allow = ["SEPT_VE_DISABLE"]

{}"#,
            self.azure_rest()
        )
    }
}

/// The nonce, then zeros.
fn padded() -> [u8; 64] {
    let mut data = [0; 64];
    for (place, byte) in data.iter_mut().zip(NONCE.as_bytes()) {
        *place = *byte;
    }
    data
}

/// Files that the cases share, by name.
pub(super) fn shared() -> Vec<(String, Vec<u8>)> {
    let kit = &*KIT;
    let azure_snp = kit.snp_policy(PRODUCTION_AZURE_SNP) + &kit.azure_rest();
    let gcp_snp = kit.snp_policy(PRODUCTION_GCP_SNP) + &kit.guest.policy_on_google("nonce");
    let policies = [
        ("azure-tdx", kit.azure_policy()),
        ("azure-snp", azure_snp),
        ("gcp-tdx", kit.guest.policy("nonce-and-key")),
        ("gcp-tdx-nonce", kit.guest.policy("nonce")),
        ("gcp-snp", gcp_snp),
        ("production-gcp-tdx", PRODUCTION_GCP_TDX.to_owned()),
    ];
    let collateral = SimulatedTee::demo().collateral(&kit.guest.plan);
    let chip = kit.snp([0; 64]);
    let beside = [
        ("collateral.json", written(serde_json::to_vec(&collateral))),
        ("leaf.der", chip.leaf),
        ("intermediate.der", chip.intermediate),
        ("root.der", chip.root),
        ("crl.der", chip.crl),
    ];
    let policies = policies
        .into_iter()
        .map(|(name, text)| (format!("policies/{name}.toml"), text.into_bytes()));
    let beside = beside
        .into_iter()
        .map(|(name, bytes)| (format!("beside/{name}"), bytes));
    policies.chain(beside).collect()
}

pub(super) fn cases() -> Vec<Case> {
    let kit = &*KIT;
    let rows = [azure::rows(kit), gcp::rows(kit)];
    rows.into_iter().flatten().map(case).collect()
}

fn case(row: Row) -> Case {
    let file = |name: &str| format!("../beside/{name}");
    let chain = |crl: bool| RawChain {
        leaf: file("leaf.der"),
        intermediate: file("intermediate.der"),
        root: file("root.der"),
        crl: crl.then(|| file("crl.der")),
    };
    let document = VtpmDocument::parse(&row.document).ok();
    Case {
        stage: STAGE,
        name: row.name.to_owned(),
        title: row.title.to_owned(),
        clauses: vec!["vtpm.md, Checks".to_owned()],
        provenance: match row.change {
            "" => MADE.to_owned(),
            change => format!("{MADE}; {change}"),
        },
        request: RawRequest::Vtpm(RawVtpm {
            at: NOW,
            nonce: NONCE,
            policy: format!("../policies/{}.toml", row.policy),
            document: "document.json".to_owned(),
            collateral: (row.beside == Beside::Collateral).then(|| file("collateral.json")),
            chain: match row.beside {
                Beside::Chain => Some(chain(true)),
                Beside::ChainWithoutList => Some(chain(false)),
                Beside::Collateral | Beside::Nothing => None,
            },
        }),
        files: vec![("document.json", row.document)],
        expected: Answer {
            verdict: row.failure.map_or(Verdict::Accept, |_| Verdict::Reject),
            check: row.failure.map(|(check, _)| check.to_owned()),
            code: row.failure.map(|(_, code)| code.to_owned()),
            identity: document.map(|document| Digest::of(&document.quote.0).to_string()),
            tcb: None,
        },
    }
}
