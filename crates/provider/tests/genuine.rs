//! The production appraisal on NEAR AI's report of 22 May 2026, as captured: what of it holds, and for
//! what it is refused. Skips aloud without the evidence kit.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

use std::collections::BTreeMap;

use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_evidence::{
    Collateral, Quote,
    gpu::{DeviceReport, EvidenceList},
};
use proofroom_provider::{
    CheckOutcome, CollateralByPlatform, DstackLog, Exchange, Format, ProviderAppraisal,
    ProviderDocument, ProviderPolicy, appraise_provider, platforms_of,
};
use proofroom_verifier::{PRODUCTION_UPSTREAM, gpu::PRODUCTION_GPU};
use serde_json::Value;

#[path = "../../verifier/tests/support/evidence.rs"]
mod evidence;

use evidence::read;

const REPORT: &str = "near-ai/near_report_glm51_2026-05-22.json";
const MODEL_COLLATERAL: &str = "dcap-qvl/tdx_quote_outdated_collateral.json";
const GATEWAY_COLLATERAL: &str = "derived/collateral_b0c06f000000_2026-10-08.json";
const DSTACK: &str = "dstack/verifier_fixtures_quote-report.json";

fn collateral(name: &str) -> Collateral {
    serde_json::from_slice(&read(name).unwrap()).unwrap()
}

/// The report with what a policy must pin of it, taken from where the quotes prove it.
struct Captured {
    report: Vec<u8>,
    parsed: Value,
    nonce: Nonce,
}

impl Captured {
    fn read() -> Option<Self> {
        let report = read(REPORT)?;
        let parsed: Value = serde_json::from_slice(&report).unwrap();
        let nonce = hex::decode(text(&parsed["gateway_attestation"]["request_nonce"])).unwrap();
        Some(Self {
            report,
            parsed,
            nonce: Nonce::from_random(nonce.try_into().unwrap()),
        })
    }

    fn machines(&self) -> [&Value; 2] {
        [
            &self.parsed["gateway_attestation"],
            &self.parsed["model_attestations"][0],
        ]
    }

    fn table(name: &str, machine: &Value) -> String {
        let log = match &machine["event_log"] {
            Value::String(log) => log.clone(),
            other => other.to_string(),
        };
        let log = DstackLog::parse(log.as_bytes()).unwrap();
        let payload = |event: &str| {
            let found = log
                .runtime()
                .iter()
                .find(|found| found.name == event)
                .unwrap();
            found.payload.clone()
        };
        let provider: Value = serde_json::from_slice(&payload("key-provider")).unwrap();
        format!(
            "\n[{name}]\napp_ids = [\"{}\"]\ncompose_hashes = [\"{}\"]\nos_images = [\"{}\"]\nkey_providers = [\"{}\"]\n",
            hex::encode(payload("app-id")),
            hex::encode(payload("compose-hash")),
            hex::encode(payload("os-image-hash")),
            text(&provider["id"]),
        )
    }

    /// The production policies, pinned to what the report shows.
    fn policy(&self) -> ProviderPolicy {
        let [gateway, model] = self.machines();
        let own = format!(
            "name = \"captured\"\nformat = \"near-ai\"\nmodel = \"zai-org/GLM-5.1-FP8\"\nreceipts = \"required\"\n\
             quote_policy = \"quote.toml\"\ngpu_policy = \"gpu.toml\"\n{}{}",
            Self::table("gateway", gateway),
            Self::table("machine", model),
        );
        let siblings = BTreeMap::from([
            ("quote.toml", self.quote_policy()),
            ("gpu.toml", self.gpu_policy()),
        ]);
        ProviderPolicy::parse(&own, "captured.toml", &|name| siblings.get(name).cloned()).unwrap()
    }

    fn quote_policy(&self) -> String {
        let references: String = self.machines().iter().map(|machine| {
            let quote = hex::decode(text(&machine["intel_quote"])).unwrap();
            let claims = Quote::parse(&quote).unwrap().claims().clone();
            let [rtmr0, rtmr1, rtmr2, _] = claims.rtmr;
            format!(
                "\n[[reference]]\nname = \"captured\"\nmr_seam = \"not-compared\"\nmr_td = [\"{}\"]\nrtmr0 = [\"{rtmr0}\"]\n\
                 rtmr1 = [\"{rtmr1}\"]\nrtmr2 = [\"{rtmr2}\"]\nrtmr3 = \"not-compared\"\nmr_config_id = \"not-compared\"\n",
                claims.mr_td,
            )
        }).collect();
        let (before, _) = PRODUCTION_UPSTREAM.split_once("[[reference]]").unwrap();
        before.to_owned() + &references
    }

    fn gpu_policy(&self) -> String {
        let payload = text(&self.machines()[1]["nvidia_payload"]);
        let list = EvidenceList::parse(payload.as_bytes()).unwrap();
        let mut digests: Vec<String> = list
            .devices()
            .iter()
            .map(|device| {
                let report = DeviceReport::parse(&device.report).unwrap();
                format!("\"{}\"", report.measurements_digest())
            })
            .collect();
        digests.sort();
        digests.dedup();
        PRODUCTION_GPU
            .replace(
                "driver = [\"example, replace me\"]",
                "driver = [\"570.172.08\"]",
            )
            .replace(
                "bios = [\"example, replace me\"]",
                "bios = [\"96.00.CF.00.02\"]",
            )
            .replace("compare_with = \"rim\"", "compare_with = \"pinned\"")
            .replace(
                "roots = [\"nvidia-corim-root-ca\"]",
                &format!("digests = [{}]", digests.join(", ")),
            )
    }

    fn appraise(
        &self,
        report: &str,
        collateral: &[(&str, Collateral)],
        nonce: Nonce,
        at: &str,
    ) -> ProviderAppraisal {
        let collateral = collateral
            .iter()
            .map(|(fmspc, held)| ((*fmspc).to_owned(), held.clone()));
        let document = ProviderDocument::write(
            Format::NearAi,
            report.as_bytes(),
            collateral.collect::<CollateralByPlatform>(),
        )
        .unwrap();
        let tls_spki = Digest::of("the key of a connection of then, which nobody kept");
        let exchange = Exchange::Challenge { nonce, tls_spki };
        let at: Timestamp = at.parse().unwrap();
        appraise_provider(&document, &self.policy(), exchange, at)
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.report).unwrap()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn open(appraisal: &ProviderAppraisal) -> Vec<(String, &'static str)> {
    let open = appraisal
        .checks()
        .iter()
        .filter(|check| check.outcome != CheckOutcome::Pass);
    open.map(|check| (check.label(), check.outcome.code().unwrap()))
        .collect()
}

/// In March 2026 by the collateral of then: the models' platform is up to date. For the gateway's no collateral
/// of that time is at hand.
const MARCH: &str = "2026-03-15T00:00:00.000Z";

#[test]
fn all_that_the_captured_report_says_of_its_model_holds_and_what_it_lacks_is_named() {
    let Some(captured) = Captured::read() else {
        return;
    };
    let collateral = [("90c06f000000", collateral(MODEL_COLLATERAL))];
    let appraisal = captured.appraise(captured.text(), &collateral, captured.nonce, MARCH);
    let open = open(&appraisal);
    assert!(
        open.iter().all(|(check, _)| !check.starts_with("model-0")),
        "{open:#?}"
    );
    // no quote of it binds a TLS key, and without collateral nothing of the gateway is proved
    assert!(
        open.contains(&("provider: tls-key".to_owned(), "tls-key-not-offered")),
        "{open:#?}"
    );
    assert!(
        open.contains(&("gateway: quote".to_owned(), "not-supplied")),
        "{open:#?}"
    );
    assert!(
        open.iter()
            .all(|(_, code)| ["tls-key-not-offered", "not-supplied", "unproved"].contains(code)),
        "{open:#?}"
    );
    assert!(appraisal.into_verified().is_err());
}

#[test]
fn the_captured_gateway_is_refused_for_its_platform_months_later() {
    let Some(captured) = Captured::read() else {
        return;
    };
    let collateral = [("b0c06f000000", collateral(GATEWAY_COLLATERAL))];
    let appraisal = captured.appraise(
        captured.text(),
        &collateral,
        captured.nonce,
        "2026-10-14T00:00:00.000Z",
    );
    let open = open(&appraisal);
    assert!(
        open.contains(&("gateway: quote".to_owned(), "tcb-status-refused")),
        "{open:#?}"
    );
    assert!(appraisal.into_verified().is_err());
}

#[test]
fn what_is_changed_in_the_captured_report_is_noticed() {
    let Some(captured) = Captured::read() else {
        return;
    };
    let collateral = [("90c06f000000", collateral(MODEL_COLLATERAL))];
    let noticed = |report: &str, nonce: Nonce, wanted: (&str, &str)| {
        let appraisal = captured.appraise(report, &collateral, nonce, MARCH);
        let open = open(&appraisal);
        assert!(
            open.contains(&(wanted.0.to_owned(), wanted.1)),
            "{wanted:?} {open:#?}"
        );
    };
    let other = Nonce::from_random([1; 32]);
    noticed(captured.text(), other, ("model-0: nonce", "nonce-mismatch"));
    noticed(
        captured.text(),
        other,
        ("model-0: gpu", "gpu-nonce-mismatch"),
    );
    let mut changed = captured.parsed.clone();
    let gateway = changed["gateway_attestation"]["signing_address"].clone();
    changed["model_attestations"][0]["signing_address"] = gateway;
    noticed(
        &changed.to_string(),
        captured.nonce,
        ("model-0: signing-key", "key-not-in-quote"),
    );
    let mut changed = captured.parsed.clone();
    let compose = changed["gateway_attestation"]["info"]["tcb_info"]["app_compose"].clone();
    changed["model_attestations"][0]["info"]["tcb_info"]["app_compose"] = compose;
    noticed(
        &changed.to_string(),
        captured.nonce,
        ("model-0: compose", "compose-mismatch"),
    );
    let mut changed = captured.parsed.clone();
    changed["model_attestations"][0]["event_log"]
        .as_array_mut()
        .unwrap()
        .swap(23, 24);
    noticed(
        &changed.to_string(),
        captured.nonce,
        ("model-0: event-log", "log-replay"),
    );
}

/// Reports that private-ai-gateway's own tests use: keyset and statement are as its program writes them, and there is
/// no quote.
#[test]
fn the_keysets_of_captured_reports_have_the_digest_that_they_give_and_no_quote() {
    for name in [
        "private-ai-gateway/tests_fixtures_aci_report_fixture.json",
        "private-ai-gateway/clients_verifier-ts_test_fixtures_aci_report.json",
    ] {
        let Some(report) = read(name) else { return };
        let mut changed: Value = serde_json::from_slice(&report).unwrap();
        changed["attestation"]["workload_keyset"]["not_after"] = 2_000_000_001_u32.into();
        let changed = changed.to_string();
        let siblings = proofroom_testkit::provider::policies();
        let policy = proofroom_testkit::provider::aci::policy("direct");
        let policy = ProviderPolicy::parse(&policy, "p.toml", &|name| siblings.get(name).cloned());
        let policy = policy.unwrap();
        for (report, keyset) in [
            (&report[..], "not-reached"),
            (changed.as_bytes(), "keyset-digest"),
        ] {
            let document =
                ProviderDocument::write(Format::Aci, report, CollateralByPlatform::new());
            let at = Timestamp::from_unix_seconds(1_796_083_200);
            let exchange = Exchange::ArchiveAudit;
            let appraisal = appraise_provider(&document.unwrap(), &policy, exchange, at);
            let code = |label: &str| {
                let found = appraisal
                    .checks()
                    .iter()
                    .find(|check| check.label() == label);
                found.unwrap().outcome.code()
            };
            assert_eq!(code("provider: report"), None, "{name}");
            assert_eq!(code("model-0: keyset"), Some(keyset), "{name}");
            assert_eq!(code("model-0: quote"), Some("quote-unsupported"), "{name}");
        }
    }
}

#[test]
fn the_platforms_of_the_captured_report_are_named() {
    let Some(captured) = Captured::read() else {
        return;
    };
    let platforms = platforms_of(&captured.report, Format::NearAi).unwrap();
    let names: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["b0c06f000000", "90c06f000000"]);
}

#[test]
fn the_event_log_of_a_dstack_machine_replays_to_its_quote() {
    let Some(report) = read(DSTACK) else { return };
    let report: Value = serde_json::from_slice(&report).unwrap();
    let quote = Quote::parse(&hex::decode(text(&report["quote"])).unwrap()).unwrap();
    let log = DstackLog::parse(text(&report["event_log"]).as_bytes()).unwrap();
    assert_eq!(
        log.registers(),
        quote.claims().rtmr.map(|register| *register.as_bytes())
    );
    // an application may write what it likes after the boot
    assert_eq!(log.runtime().last().unwrap().name, "LIUM_MINER_HOTKEY");
}
