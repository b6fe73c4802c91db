//! Cases of `gpu`: simulated devices that are accepted together, and for every way to break their
//! reports, certificates, manifests or tokens the check and code that must refuse it.

use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_evidence::gpu::EvidenceList;
use proofroom_testkit::gpu::{ChainPlan, DevicePlan, RimPlan, SimulatedGpus, TokenPlan, list_of};
use proofroom_verifier::gpu::{PRODUCTION_GPU, SIMULATED_GPU};
use serde_json::{Value, json};

use super::Case;
use crate::{
    Answer, Verdict,
    vector::{RawGpu, RawRequest},
};

mod rows;

/// 2026-11-23T12:00:00Z.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_435_200);
const NONCE: Nonce = Nonce::from_random([0x5a; 32]);
const MADE: &str = "made: the simulated NVIDIA vendor of the published demonstration seed";

type Failure = Option<(&'static str, &'static str)>;

/// Files that the cases share, by name.
pub(super) fn shared() -> Vec<(String, Vec<u8>)> {
    let plan = Plan::honest(2);
    let mut files = plan.files();
    files.push(("jwks.json", plan.gpus.jwks()));
    let policies = policies()
        .into_iter()
        .map(|(name, text)| (format!("policies/{name}.toml"), text.into_bytes()));
    files
        .into_iter()
        .map(|(name, bytes)| (name.to_owned(), bytes))
        .chain(policies)
        .collect()
}

fn policies() -> Vec<(&'static str, String)> {
    let root = SimulatedGpus::demo().root_digest();
    let refused = format!("refuse_certificates = [\"{root}\"]");
    let eight = |text: &str| {
        let chips = |count| vec!["\"GH100\""; count].join(", ");
        text.replace("count = 2", "count = 8")
            .replace(&chips(3), &chips(9))
            .replace(
                &format!("chips = [{}]", chips(2)),
                &format!("chips = [{}]", chips(8)),
            )
    };
    vec![
        ("simulated", SIMULATED_GPU.to_owned()),
        ("production", PRODUCTION_GPU.to_owned()),
        ("eight", eight(SIMULATED_GPU)),
        (
            "refuses-root",
            SIMULATED_GPU.replace("refuse_certificates = []", &refused),
        ),
        (
            "without-token",
            SIMULATED_GPU
                .replace("token = \"required\"", "token = \"not-required\"")
                .replace("revocation = \"required\"", "revocation = \"not-required\""),
        ),
    ]
}

/// Everything of one appraisal, for a case to change.
struct Plan {
    gpus: SimulatedGpus,
    policy: &'static str,
    nonce: Option<Nonce>,
    devices: Vec<DevicePlan>,
    list: Option<Vec<u8>>,
    driver: RimPlan,
    bios: RimPlan,
    /// Edits of the driver's manifest.
    manifest: Option<(&'static str, &'static str)>,
    token: TokenPlan,
    token_bytes: Option<Vec<u8>>,
    supplied: Supplied,
}

/// What is put beside the list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Supplied {
    All,
    NoToken,
    NoKeys,
    NoDriverManifest,
    OtherKeys,
}

impl Plan {
    fn honest(count: u8) -> Self {
        let gpus = SimulatedGpus::demo();
        let devices: Vec<_> = (1..=count).map(|number| gpus.plan(number, NONCE)).collect();
        Self {
            policy: "simulated",
            nonce: Some(NONCE),
            list: None,
            driver: RimPlan::driver(),
            bios: RimPlan::bios(),
            manifest: None,
            token: gpus.token_plan(&devices, NOW.unix_seconds()),
            token_bytes: None,
            supplied: Supplied::All,
            devices,
            gpus,
        }
    }

    fn files(&self) -> Vec<(&'static str, Vec<u8>)> {
        let list = self.list.clone();
        let mut driver = self.gpus.rim(&self.driver);
        if let Some((from, to)) = self.manifest {
            driver = String::from_utf8_lossy(&driver)
                .replacen(from, to, 1)
                .into_bytes();
        }
        let token = self.token_bytes.clone();
        vec![
            (
                "list.json",
                list.unwrap_or_else(|| self.gpus.list(&self.devices)),
            ),
            ("driver-rim.xml", driver),
            ("bios-rim.xml", self.gpus.rim(&self.bios)),
            (
                "token.json",
                token.unwrap_or_else(|| self.gpus.token(&self.token)),
            ),
        ]
    }

    fn device(&mut self, index: usize, change: impl FnOnce(&mut DevicePlan)) {
        if let Some(device) = self.devices.get_mut(index) {
            change(device);
        }
    }

    fn claim(&mut self, device: &str, name: &str, value: Value) {
        let claims = self
            .token
            .devices
            .get_mut(device)
            .and_then(Value::as_object_mut);
        if let Some(claims) = claims {
            claims.insert(name.to_owned(), value);
        }
    }

    fn overall(&mut self, name: &str, value: Value) {
        if let Some(claims) = self.token.overall.as_object_mut() {
            claims.insert(name.to_owned(), value);
        }
    }

    fn identity(&self) -> Option<Digest> {
        let files = self.files();
        let (_, list) = files.first()?;
        let list = EvidenceList::parse(list).ok()?;
        let report = &list.devices().first()?.report;
        let report = proofroom_evidence::gpu::DeviceReport::parse(report).ok()?;
        Some(report.identity())
    }
}

struct Row {
    name: &'static str,
    title: &'static str,
    change: &'static str,
    clause: &'static str,
    verdict: Verdict,
    failure: Failure,
    plan: Plan,
}

pub(super) fn cases() -> Vec<Case> {
    let honest = Plan::honest(2).files();
    rows::all().iter().map(|row| case(row, &honest)).collect()
}

/// Files that are the honest ones are not written again.
fn case(row: &Row, honest: &[(&'static str, Vec<u8>)]) -> Case {
    let plan = &row.plan;
    let identity = plan.identity().map(|identity| identity.to_string());
    let mut files = plan.files();
    files.retain(|file| !honest.contains(file));
    let other_keys = plan.supplied == Supplied::OtherKeys;
    if other_keys {
        files.push(("jwks.json", SimulatedGpus::from_seed([1; 32]).jwks()));
    }
    let place = |name: &str| match files.iter().any(|(own, _)| *own == name) {
        true => name.to_owned(),
        false => format!("../{name}"),
    };
    let unless = |left_out: Supplied, name: &str| match plan.supplied == left_out {
        true => Vec::new(),
        false => vec![place(name)],
    };
    Case {
        stage: "gpu",
        name: row.name.to_owned(),
        title: row.title.to_owned(),
        clauses: vec![row.clause.to_owned()],
        provenance: match row.change {
            "" => MADE.to_owned(),
            change => format!("{MADE}; {change}"),
        },
        request: RawRequest::Gpu(RawGpu {
            at: NOW,
            nonce: plan.nonce,
            policy: format!("../policies/{}.toml", plan.policy),
            list: place("list.json"),
            driver_rims: unless(Supplied::NoDriverManifest, "driver-rim.xml"),
            bios_rims: vec![place("bios-rim.xml")],
            tokens: unless(Supplied::NoToken, "token.json"),
            jwks: unless(Supplied::NoKeys, "jwks.json").pop(),
        }),
        expected: Answer {
            verdict: row.verdict,
            check: row.failure.map(|(check, _)| check.to_owned()),
            code: row.failure.map(|(_, code)| code.to_owned()),
            identity,
            tcb: None,
        },
        files,
    }
}

/// The evidence of a plan with its reports as `edit` makes them.
fn with_reports(plan: &Plan, edit: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    list_of(plan.devices.iter().map(|device| {
        let mut report = plan.gpus.report(device);
        edit(&mut report);
        (report, plan.gpus.chain(device))
    }))
}

fn on_hold() -> Value {
    json!({ "x-nvidia-cert-status": "valid", "x-nvidia-cert-ocsp-status": "certificateHold" })
}

fn revoked() -> Value {
    json!({ "x-nvidia-cert-status": "revoked", "x-nvidia-cert-ocsp-status": "good" })
}

/// The report of one device with the certificates of another.
fn crossed(plan: &Plan) -> Vec<u8> {
    let report = |device: &DevicePlan| plan.gpus.report(device);
    let chains = plan
        .devices
        .iter()
        .rev()
        .map(|device| plan.gpus.chain(device));
    list_of(plan.devices.iter().map(report).zip(chains))
}

fn chain(plan: &mut Plan, of: ChainPlan) {
    plan.device(1, |device| device.chain = of);
}
