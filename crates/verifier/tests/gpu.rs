//! Simulated NVIDIA devices through the production code: what is accepted, and for every way to break
//! it the exact check and code that refuses it. Says nothing about genuine hardware.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_testkit::gpu::{
    BIOS, ChainPlan, DevicePlan, RimPlan, SimulatedGpus, TokenPlan, list_of,
};
use proofroom_verifier::{
    Assurance, Freshness, Verdict,
    gpu::{
        DeviceAppraisal, GpuAppraisal, GpuCheckName, GpuEndorsements, GpuOutcome, GpuPolicy,
        GpuReason, PRODUCTION_GPU, SIMULATED_GPU, appraise_gpus, appraise_unendorsed_gpus,
    },
};
use serde_json::json;

const NONCE: Nonce = Nonce::from_random([0x5a; 32]);

fn now() -> Timestamp {
    "2026-11-23T12:00:00.000Z".parse().unwrap()
}

fn policy(text: &str) -> GpuPolicy {
    GpuPolicy::parse(text, "gpu.toml").unwrap()
}

/// Everything of one appraisal, for a test to change.
struct Case {
    gpus: SimulatedGpus,
    policy: String,
    list: Option<Vec<u8>>,
    devices: Vec<DevicePlan>,
    driver_rims: Vec<RimPlan>,
    bios_rims: Vec<RimPlan>,
    token: Option<TokenPlan>,
    jwks: Option<Vec<u8>>,
    freshness: Freshness,
}

impl Case {
    fn honest() -> Self {
        let gpus = SimulatedGpus::demo();
        let devices = vec![gpus.plan(1, NONCE), gpus.plan(2, NONCE)];
        Self {
            policy: SIMULATED_GPU.to_owned(),
            list: None,
            driver_rims: vec![RimPlan::driver()],
            bios_rims: vec![RimPlan::bios()],
            token: Some(gpus.token_plan(&devices, now().unix_seconds())),
            jwks: Some(gpus.jwks()),
            freshness: Freshness::Challenge(NONCE),
            devices,
            gpus,
        }
    }

    /// Without tokens, under a policy that needs none.
    fn without_token() -> Self {
        let mut case = Self::honest();
        case.policy = case
            .policy
            .replace("token = \"required\"", "token = \"not-required\"")
            .replace("revocation = \"required\"", "revocation = \"not-required\"");
        case.token = None;
        case.jwks = None;
        case
    }

    fn list(&self) -> Vec<u8> {
        let list = self.list.clone();
        list.unwrap_or_else(|| self.gpus.list(&self.devices))
    }

    fn appraise(&self) -> GpuAppraisal {
        let written = |plans: &[RimPlan]| {
            plans
                .iter()
                .map(|plan| self.gpus.rim(plan))
                .collect::<Vec<_>>()
        };
        let (driver_rims, bios_rims) = (written(&self.driver_rims), written(&self.bios_rims));
        let tokens: Vec<_> = self
            .token
            .iter()
            .map(|plan| self.gpus.token(plan))
            .collect();
        let endorsements = GpuEndorsements {
            driver_rims: &driver_rims,
            bios_rims: &bios_rims,
            tokens: &tokens,
            jwks: self.jwks.as_deref(),
        };
        let policy = policy(&self.policy);
        appraise_gpus(&self.list(), endorsements, &policy, self.freshness, now())
    }
}

#[track_caller]
fn assert_refused(appraisal: &GpuAppraisal, check: &str, code: &str) {
    let found = appraisal
        .first_failure()
        .map(|(check, code)| (check.as_str(), code.as_str()));
    assert_eq!(found, Some((check, code)), "{appraisal:#?}");
    assert_eq!(appraisal.verdict(), Verdict::Reject);
    appraisal.clone().into_verified().unwrap_err();
}

#[track_caller]
fn assert_accepted(appraisal: &GpuAppraisal) {
    assert_eq!(appraisal.verdict(), Verdict::Accept, "{appraisal:#?}");
}

/// Asserts that what `change` makes is rejected, first by `check` for `code`.
#[track_caller]
fn refused(check: &str, code: &str, change: impl FnOnce(&mut Case)) -> GpuAppraisal {
    let mut case = Case::honest();
    change(&mut case);
    let appraisal = case.appraise();
    assert_refused(&appraisal, check, code);
    appraisal
}

fn token(case: &mut Case) -> &mut TokenPlan {
    case.token.as_mut().unwrap()
}

#[test]
fn the_shipped_policy_names_the_demo_keys() {
    let gpus = SimulatedGpus::demo();
    let digests = [
        gpus.root_digest(),
        gpus.rim_root_digest(),
        gpus.jwks_digest(),
    ];
    for digest in digests {
        assert!(SIMULATED_GPU.contains(&digest.to_string()), "{digests:#?}");
    }
}

#[test]
fn honest_simulated_devices_are_accepted_and_marked() {
    let case = Case::honest();
    let appraisal = case.appraise();
    assert_accepted(&appraisal);
    let every = appraisal
        .devices()
        .iter()
        .flat_map(DeviceAppraisal::checks)
        .chain(appraisal.checks());
    for check in every {
        assert_eq!(check.outcome, GpuOutcome::Pass, "{}", check.name);
    }
    let verified = appraisal.into_verified().unwrap();
    assert_eq!(verified.assurance(), Assurance::Simulated);
    assert_eq!(verified.nonce(), NONCE);
    assert_eq!(verified.policy_name(), "simulated-gpu");
    assert_eq!(verified.policy_digest(), Digest::of(SIMULATED_GPU));
    assert_eq!(
        verified.expires().unix_seconds(),
        now().unix_seconds() + 600
    );
    assert!(verified.holds_at(now()));
    assert!(!verified.holds_at(verified.expires()));
    let [first, second] = verified.devices() else {
        panic!("two devices");
    };
    assert_ne!(first.device(), second.device());
    assert_eq!(first.measurements(), second.measurements());
    assert_eq!((first.chip(), first.bios()), ("GH100", BIOS.1));
    assert_eq!(first.driver(), Some("999.10.01"));
}

#[test]
fn the_shortest_limit_decides_the_expiry() {
    let mut case = Case::honest();
    let soon = now().unix_seconds() + 60;
    for claims in token(&mut case).devices.values_mut() {
        claims["exp"] = json!(soon);
    }
    let verified = case.appraise().into_verified().unwrap();
    assert_eq!(verified.expires().unix_seconds(), soon);
}

#[test]
fn what_was_not_supplied_is_not_evaluated_and_counts_where_it_is_required() {
    let without = Case::without_token().appraise();
    assert_accepted(&without);
    let device = &without.devices()[0];
    for name in [GpuCheckName::TokenDevice, GpuCheckName::Revocation] {
        let not_supplied = GpuOutcome::NotEvaluated(GpuReason::NotSupplied);
        assert_eq!(device.outcome(name), Some(&not_supplied));
    }
    without.into_verified().unwrap();

    for change in [
        (|case: &mut Case| case.token = None) as fn(&mut Case),
        |case| case.driver_rims.clear(),
        |case| case.bios_rims.clear(),
    ] {
        let mut case = Case::honest();
        change(&mut case);
        let appraisal = case.appraise();
        assert_eq!(appraisal.verdict(), Verdict::Incomplete, "{appraisal:#?}");
        appraisal.into_verified().unwrap_err();
    }
}

#[test]
fn the_production_policy_refuses_simulated_devices_at_their_root() {
    let mut case = Case::honest();
    case.policy = PRODUCTION_GPU.to_owned();
    let appraisal = case.appraise();
    assert_refused(&appraisal, "certificate-chain", "gpu-root-not-trusted");
    assert_eq!(appraisal.assurance(), Assurance::Hardware);
    let device = &appraisal.devices()[0];
    for unproved in [GpuCheckName::Nonce, GpuCheckName::ReportSignature] {
        assert!(matches!(
            device.outcome(unproved),
            Some(GpuOutcome::NotEvaluated(_))
        ));
    }
}

#[test]
fn another_seed_is_another_root() {
    refused("certificate-chain", "gpu-root-not-trusted", |case| {
        case.gpus = SimulatedGpus::from_seed([1; 32]);
    });
}

#[test]
fn broken_chains_are_refused_each_for_its_own_reason() {
    for (plan, code) in [
        (ChainPlan::RootAlone, "gpu-chain-leaf"),
        (ChainPlan::NoLeaf, "gpu-chain-leaf"),
        (ChainPlan::LeafIsCa, "gpu-chain-leaf"),
        (ChainPlan::NoRoot, "gpu-root-not-trusted"),
        (ChainPlan::NoDeviceCa, "gpu-chain-broken"),
        (ChainPlan::ForgedIdentity, "gpu-chain-broken"),
        (ChainPlan::ForgedLeaf, "gpu-chain-broken"),
        (ChainPlan::PathTooLong, "gpu-chain-broken"),
        (ChainPlan::NoCa, "gpu-chain-broken"),
    ] {
        refused("certificate-chain", code, |case| {
            case.devices[1].chain = plan;
        });
    }
}

#[test]
fn certificates_outside_their_time_are_refused() {
    refused("certificate-time", "gpu-certificate-expired", |case| {
        case.devices[0].chain = ChainPlan::LeafExpired;
    });
    refused(
        "certificate-time",
        "gpu-certificate-not-yet-valid",
        |case| {
            case.devices[0].chain = ChainPlan::LeafNotYetValid;
        },
    );
}

#[test]
fn a_certificate_that_the_policy_refuses_is_refused() {
    let root = SimulatedGpus::demo().root_digest();
    refused("certificate-chain", "gpu-certificate-refused", |case| {
        let list = format!("refuse_certificates = [\"{root}\"]");
        case.policy = case.policy.replace("refuse_certificates = []", &list);
    });
}

#[test]
fn what_is_no_pem_chain_is_refused() {
    for chain in [
        String::new(),
        "no certificate".to_owned(),
        SimulatedGpus::demo()
            .chain(&Case::honest().devices[0])
            .repeat(3),
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".repeat(2),
    ] {
        refused("certificate-chain", "gpu-chain-malformed", |case| {
            let report = case.gpus.report(&case.devices[0]);
            case.list = Some(list_of([(report, chain.clone())]));
        });
    }
}

#[test]
fn a_report_that_another_key_signed_is_refused() {
    refused("report-signature", "gpu-report-signature-invalid", |case| {
        case.devices[0].chain = ChainPlan::OtherKey;
    });
    // a report beside the certificates of another device
    refused("report-signature", "gpu-report-signature-invalid", |case| {
        let report = case.gpus.report(&case.devices[0]);
        let chain = case.gpus.chain(&case.devices[1]);
        case.list = Some(list_of([(report, chain)]));
    });
}

#[test]
fn firmware_that_the_certificate_does_not_name_is_refused() {
    refused("firmware-id", "gpu-firmware-id-mismatch", |case| {
        case.devices[0].report.fwid = Some([7; 48]);
    });
    refused("firmware-id", "gpu-firmware-id-absent", |case| {
        case.devices[0].report.fwid = None;
    });
    refused("firmware-id", "gpu-firmware-id-absent", |case| {
        case.devices[0].chain = ChainPlan::NoFirmwareId;
    });
}

#[test]
fn one_gpu_of_a_set_from_another_report_is_refused() {
    let appraisal = refused("nonce", "gpu-nonce-mismatch", |case| {
        case.devices[1].report.nonce = Nonce::from_random([0x5b; 32]);
    });
    assert_eq!(appraisal.devices()[0].verdict(), Verdict::Accept);
}

#[test]
fn a_replayed_list_does_not_answer_the_next_nonce() {
    refused("nonce", "gpu-nonce-mismatch", |case| {
        case.freshness = Freshness::Challenge(Nonce::from_random([0x5b; 32]));
    });
}

#[test]
fn an_archive_cannot_show_freshness() {
    let mut case = Case::honest();
    case.freshness = Freshness::ArchiveAudit;
    let appraisal = case.appraise();
    assert_eq!(appraisal.verdict(), Verdict::Incomplete, "{appraisal:#?}");
    appraisal.into_verified().unwrap_err();
}

#[test]
fn one_device_that_answers_twice_is_refused() {
    refused("device-unique", "gpu-device-twice", |case| {
        case.devices[1] = case.devices[0].clone();
    });
}

#[test]
fn more_or_fewer_devices_than_the_policy_says_are_refused() {
    let mut fewer = Case::without_token();
    fewer.devices.pop();
    assert_refused(&fewer.appraise(), "device-count", "gpu-device-count");
    let mut more = Case::without_token();
    more.devices.push(more.gpus.plan(3, NONCE));
    assert_refused(&more.appraise(), "device-count", "gpu-device-count");
}

#[test]
fn chips_versions_and_modes_that_the_policy_does_not_name_are_refused() {
    refused("chip", "gpu-chip-not-allowed", |case| {
        case.devices[0].chip = "GB100";
    });
    refused("versions", "gpu-driver-not-allowed", |case| {
        case.devices[0].report.driver = Some("999.10.02".into());
    });
    refused("versions", "gpu-version-absent", |case| {
        case.devices[0].report.driver = None;
    });
    refused("versions", "gpu-bios-not-allowed", |case| {
        case.devices[0].report.bios[4] = 3;
    });
    refused("mode", "gpu-mode-not-allowed", |case| {
        case.devices[0].report.protected_pcie = Some(0x55);
        case.devices[0].report.feature = Some(0);
    });
    refused("mode", "gpu-mode-unknown", |case| {
        case.devices[0].report.feature = Some(0);
    });
    refused("mode", "gpu-mode-unknown", |case| {
        case.devices[0].report.protected_pcie = None;
        case.devices[0].report.feature = None;
    });
}

#[test]
fn a_switch_is_accepted_without_driver_and_mode() {
    let mut case = Case::without_token();
    let switch = "[[device]]\nkind = \"switch\"\nchip = \"LS10\"\ncount = 1\nbios = [\"96.00.CF.00.02\"]\n\n[measurements]";
    case.policy = case.policy.replace("[measurements]", switch).replace(
        "chips = [\"GH100\", \"GH100\"]",
        "chips = [\"GH100\", \"GH100\", \"LS10\"]",
    );
    case.devices.push(case.gpus.switch_plan(1, NONCE));
    let mut rim = RimPlan::bios();
    rim.product = "LS10".into();
    case.bios_rims.push(rim);
    let appraisal = case.appraise();
    assert_accepted(&appraisal);
    let not_applicable = GpuOutcome::NotEvaluated(GpuReason::NotApplicable);
    let switch = &appraisal.devices()[2];
    for name in [GpuCheckName::Mode, GpuCheckName::DriverRim] {
        assert_eq!(switch.outcome(name), Some(&not_applicable));
    }
    let verified = appraisal.into_verified().unwrap();
    assert_eq!(verified.devices()[2].driver(), None);
}

#[test]
fn manifests_that_do_not_hold_are_refused_each_for_its_own_reason() {
    for (code, change) in [
        (
            "gpu-rim-root-not-trusted",
            (|rim: &mut RimPlan| rim.other_root = true) as fn(&mut RimPlan),
        ),
        ("gpu-rim-expired", |rim| rim.signer_until = 2025),
        ("gpu-rim-signature-invalid", |rim| rim.bad_signature = true),
        ("gpu-rim-version-mismatch", |rim| {
            rim.version = "96.00.CF.00.03".into();
        }),
        ("gpu-rim-product-mismatch", |rim| {
            rim.product = "GB100".into()
        }),
    ] {
        let appraisal = refused("driver-rim", code, |case| change(&mut case.driver_rims[0]));
        assert!(matches!(
            appraisal.devices()[0].outcome(GpuCheckName::Measurements),
            Some(GpuOutcome::NotEvaluated(_))
        ));
        refused("bios-rim", code, |case| change(&mut case.bios_rims[0]));
    }
}

/// Judges an honest case with the text of its driver's manifest as `edit` makes it.
fn with_driver_rim(edit: impl FnOnce(String) -> String) -> GpuAppraisal {
    let case = Case::without_token();
    let text = String::from_utf8(case.gpus.rim(&RimPlan::driver())).unwrap();
    let driver_rims = [edit(text).into_bytes()];
    let bios_rims = [case.gpus.rim(&RimPlan::bios())];
    let endorsements = GpuEndorsements {
        driver_rims: &driver_rims,
        bios_rims: &bios_rims,
        ..GpuEndorsements::default()
    };
    let policy = policy(&case.policy);
    appraise_gpus(&case.list(), endorsements, &policy, case.freshness, now())
}

fn edited(from: &str, to: &str) -> GpuAppraisal {
    with_driver_rim(|text| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    })
}

#[test]
fn an_edited_manifest_is_refused() {
    for (from, to) in [
        ("active=\"True\"", "active=\"False\""),
        ("index=\"63\"", "index=\"64\""),
        ("tagId=\"simulated\"", "tagId=\"another\""),
        ("\n </ns0:Payload>", "\n  </ns0:Payload>"),
    ] {
        let appraisal = edited(from, to);
        assert_refused(&appraisal, "driver-rim", "gpu-rim-digest-mismatch");
    }
}

#[test]
fn a_spelling_that_canonical_xml_makes_the_same_is_the_same() {
    assert_accepted(&edited("></ns0:Entity>", " />"));
    let meta = "colloquialVersion=\"999.10.01\" product=\"GH100\"";
    let swapped = "product='GH100'  colloquialVersion=\"999.10.01\"";
    assert_accepted(&edited(meta, swapped));
}

#[test]
fn xml_that_no_manifest_needs_is_refused() {
    for (from, to) in [
        (
            "<SoftwareIdentity",
            "<!DOCTYPE x [<!ENTITY e \"x\">]><SoftwareIdentity",
        ),
        ("<ns0:Entity", "<!-- --><ns0:Entity"),
        ("<ns0:Entity", "<?x y?><ns0:Entity"),
        ("<ns0:Entity", "<![CDATA[x]]><ns0:Entity"),
        ("name=\"SIMULATED\"", "name=\"&#65;\""),
        ("name=\"SIMULATED\"", "name=\"\u{e9}\""),
        ("name=\"SIMULATED\"", "name=\"a\tb\""),
        ("name=\"SIMULATED\"", "xml:base=\"x\""),
        ("name=\"SIMULATED\"", "name=\"a\" name=\"b\""),
        ("name=\"SIMULATED\"", "xmlns=\"\""),
        ("xmldsig-more#ecdsa-sha384", "xmldsig-more#ecdsa-sha256"),
        ("xml-c14n11", "xml-c14n12"),
        ("Reference URI=\"\"", "Reference URI=\"#x\""),
        ("active=\"True\"", "active=\"Maybe\""),
        ("alternatives=\"2\"", "alternatives=\"1\""),
        ("</SoftwareIdentity>\n", "</SoftwareIdentity><x/>"),
        ("</SoftwareIdentity>\n", "</SoftwareIdentity>x"),
    ] {
        assert_refused(&edited(from, to), "driver-rim", "gpu-rim-malformed");
    }
}

#[test]
fn measurements_that_are_not_golden_are_refused() {
    refused("measurements", "gpu-measurement-mismatch", |case| {
        case.devices[1].report.measurements[9] = [9; 48];
    });
    refused("measurements", "gpu-measurement-absent", |case| {
        case.devices[1].report.measurements.truncate(60);
    });
    refused("measurements", "gpu-rim-conflict", |case| {
        let twice = case.bios_rims[0].golden[0].clone();
        case.driver_rims[0].golden.insert(0, twice);
    });
    refused("measurements", "gpu-measurement-absent", |case| {
        case.driver_rims[0].golden.clear();
        case.bios_rims[0].golden.clear();
    });
}

#[test]
fn the_decoders_measurement_counts_where_there_is_a_decoder() {
    let mut case = Case::honest();
    for device in &mut case.devices {
        device.report.measurements[35] = [9; 48];
    }
    assert_accepted(&case.appraise());
    case.devices[0].report.nvdec0 = 0xaa;
    assert_refused(&case.appraise(), "measurements", "gpu-measurement-mismatch");
}

#[test]
fn pinned_measurements_need_no_manifest() {
    let mut case = Case::without_token();
    let digest = case.appraise().devices()[0].measurements().unwrap();
    let rim_root = case.gpus.rim_root_digest();
    case.policy = case
        .policy
        .replace("compare_with = \"rim\"", "compare_with = \"pinned\"")
        .replace(
            &format!("roots = [\"{rim_root}\"]"),
            &format!("digests = [\"{digest}\"]"),
        );
    case.driver_rims.clear();
    case.bios_rims.clear();
    let appraisal = case.appraise();
    assert_accepted(&appraisal);
    let device = &appraisal.devices()[0];
    assert_eq!(
        device.outcome(GpuCheckName::DriverRim),
        Some(&GpuOutcome::NotEvaluated(GpuReason::NotSupplied))
    );
    case.devices[0].report.measurements[0] = [9; 48];
    assert_refused(
        &case.appraise(),
        "measurements",
        "gpu-measurements-not-pinned",
    );
}

#[test]
fn unsigned_and_wrongly_signed_tokens_are_refused() {
    refused("token-signature", "gpu-token-unsigned", |case| {
        token(case).alg = "none".into();
    });
    for alg in ["HS256", "ES256", "RS256", "es384"] {
        refused("token-signature", "gpu-token-algorithm", |case| {
            token(case).alg = alg.into();
        });
    }
    refused("token-signature", "gpu-token-key-unknown", |case| {
        token(case).kid = "another".into();
    });
    refused("token-signature", "gpu-token-key-unknown", |case| {
        case.jwks = None;
    });
    refused("token-signature", "gpu-token-signature-invalid", |case| {
        token(case).signer = "another";
    });
}

#[test]
fn only_the_key_set_of_the_policy_counts() {
    refused("token-signature", "gpu-jwks-not-trusted", |case| {
        case.jwks = Some(SimulatedGpus::from_seed([1; 32]).jwks());
    });
    let malformed = b"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-384\",\"kid\":\"x\"}]}".to_vec();
    refused("token-signature", "gpu-jwks-malformed", |case| {
        let (honest, other) = (case.gpus.jwks_digest(), Digest::of(&malformed));
        case.policy = case.policy.replace(&honest.to_string(), &other.to_string());
        case.jwks = Some(malformed);
    });
}

#[test]
fn tokens_with_other_claims_are_refused() {
    for (code, name, value) in [
        ("gpu-token-issuer", "iss", json!("NVAT-LOCAL-VERIFIER")),
        ("gpu-token-claim", "iss", json!(1)),
        ("gpu-token-expired", "exp", json!(now().unix_seconds())),
        (
            "gpu-token-not-yet-valid",
            "nbf",
            json!(now().unix_seconds() + 1),
        ),
        (
            "gpu-token-not-yet-valid",
            "iat",
            json!(now().unix_seconds() + 1),
        ),
        ("gpu-token-claim", "exp", json!("never")),
        (
            "gpu-token-nonce-mismatch",
            "eat_nonce",
            json!("11".repeat(32)),
        ),
    ] {
        let of_all = value.clone();
        refused("token-claims", code, |case| {
            token(case).overall[name] = of_all;
        });
        refused("token-claims", code, |case| {
            token(case).devices.get_mut("GPU-1").unwrap()[name] = value;
        });
    }
    refused("token-claims", "gpu-token-result", |case| {
        token(case).overall["x-nvidia-overall-att-result"] = json!(false);
    });
    refused("token-claims", "gpu-token-submodule-mismatch", |case| {
        token(case).digests = Some("00".repeat(32));
    });
}

#[test]
fn what_tokens_say_of_a_device_must_be_said_of_this_device() {
    let device = |check: &str, code: &str, name: &str, value: serde_json::Value| {
        refused(check, code, |case| {
            token(case).devices.get_mut("GPU-0").unwrap()[name] = value;
        })
    };
    device(
        "token-device",
        "gpu-token-device-absent",
        "ueid",
        json!("1"),
    );
    device("token-device", "gpu-token-result", "measres", json!("fail"));
    device("token-device", "gpu-secure-boot", "secboot", json!(false));
    device(
        "token-device",
        "gpu-debug-status",
        "dbgstat",
        json!("enabled"),
    );
    let other = "gpu-token-device-mismatch";
    device(
        "token-device",
        other,
        "x-nvidia-gpu-driver-version",
        json!("1"),
    );
    device(
        "token-device",
        other,
        "x-nvidia-gpu-vbios-version",
        json!("1"),
    );
    refused("token-device", "gpu-token-device-absent", |case| {
        token(case).devices.remove("GPU-0");
    });
    refused("token-device", "gpu-token-device-absent", |case| {
        let twice = token(case).devices["GPU-0"].clone();
        token(case).devices.insert("GPU-9".into(), twice);
    });
}

#[test]
fn a_certificate_on_hold_is_refused_once_somebody_says_so() {
    for (status, ocsp) in [("revoked", "good"), ("valid", "certificateHold")] {
        refused("revocation", "gpu-certificate-revoked", |case| {
            token(case).devices.get_mut("GPU-1").unwrap()["x-nvidia-gpu-attestation-report-cert-chain"] =
                json!({ "x-nvidia-cert-status": status, "x-nvidia-cert-ocsp-status": ocsp });
        });
    }
}

#[test]
fn a_bad_token_is_refused_also_where_none_is_required() {
    let mut case = Case::without_token();
    let mut plan = case
        .gpus
        .token_plan(&case.devices, now().unix_seconds() - 7200);
    case.jwks = Some(case.gpus.jwks());
    plan.alg = "none".into();
    case.token = Some(plan);
    assert_refused(&case.appraise(), "token-signature", "gpu-token-unsigned");
}

#[test]
fn what_is_no_token_is_refused() {
    let case = Case::without_token();
    for bytes in [
        &b""[..],
        b"[]",
        b"[[\"JWT\",\"a.b.c\"],{}]",
        b"{\"detached_eat\":[]}",
    ] {
        let tokens = [bytes.to_vec()];
        let endorsements = GpuEndorsements {
            tokens: &tokens,
            ..GpuEndorsements::default()
        };
        let policy = policy(&case.policy);
        let appraisal = appraise_gpus(&case.list(), endorsements, &policy, case.freshness, now());
        assert_refused(&appraisal, "token-parse", "gpu-token-malformed");
    }
}

#[test]
fn what_is_no_list_is_refused() {
    for bytes in [&b""[..], b"{}", b"[]", b"null", &[0xff; 10]] {
        let appraisal = refused("evidence-list", "gpu-list-malformed", |case| {
            case.list = Some(bytes.to_vec());
        });
        assert_eq!(appraisal.checks().len(), GpuCheckName::SET.len());
        assert!(appraisal.devices().is_empty());
    }
}

#[test]
fn trailing_zeros_are_filling_and_anything_else_is_refused() {
    let case = Case::without_token();
    let with = |filling: &[u8]| {
        let devices = case.devices.iter().map(|plan| {
            let report = [case.gpus.report(plan), filling.to_vec()].concat();
            (report, case.gpus.chain(plan))
        });
        let mut filled = Case::without_token();
        filled.list = Some(list_of(devices));
        filled.appraise()
    };
    let (honest, filled) = (with(&[]), with(&[0]));
    assert_accepted(&filled);
    assert_accepted(&with(&[0; 64]));
    assert_eq!(honest.devices()[0].report(), filled.devices()[0].report());
    assert_refused(&with(&[1]), "report-parse", "gpu-report-malformed");
    assert_refused(&with(&[0; 65]), "report-parse", "gpu-report-malformed");
}

#[test]
fn every_truncation_of_a_report_is_refused() {
    let case = Case::without_token();
    let whole = case.gpus.report(&case.devices[0]);
    let policy = policy(&case.policy);
    for end in 0..whole.len() {
        let list = list_of([(whole[..end].to_vec(), String::new())]);
        let none = GpuEndorsements::default();
        let appraisal = appraise_gpus(&list, none, &policy, case.freshness, now());
        assert_refused(&appraisal, "report-parse", "gpu-report-malformed");
        let unendorsed = appraise_unendorsed_gpus(&list, &policy, case.freshness, now());
        assert_eq!(unendorsed, appraisal);
    }
}

/// One bit of each byte of signed part and signature; without optimisation of each 23rd.
#[test]
fn no_flip_in_a_report_is_accepted() {
    let case = Case::without_token();
    let whole = case.gpus.report(&case.devices[0]);
    let chain = case.gpus.chain(&case.devices[0]);
    let policy = policy(&case.policy);
    for at in (0..whole.len()).step_by(if cfg!(debug_assertions) { 23 } else { 1 }) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        let list = list_of([(flipped, chain.clone())]);
        let none = GpuEndorsements::default();
        let appraisal = appraise_gpus(&list, none, &policy, case.freshness, now());
        let device = &appraisal.devices()[0];
        assert_eq!(device.verdict(), Verdict::Reject, "byte {at}");
    }
}

#[test]
fn an_appraisal_reads_well_as_json() {
    let json = serde_json::to_value(Case::without_token().appraise()).unwrap();
    assert_eq!(json["verdict"], "accept");
    assert_eq!(json["assurance"], "simulated");
    assert_eq!(json["checks"][0]["check"], "evidence-list");
    assert_eq!(json["devices"][0]["chip"], "GH100");
    assert_eq!(json["devices"][0]["checks"][12]["check"], "token-device");
    assert_eq!(json["devices"][0]["checks"][12]["outcome"], "not-evaluated");
    assert_eq!(json["devices"][0]["checks"][12]["required"], false);
}
