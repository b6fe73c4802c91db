//! Genuine evidence of NVIDIA devices through the production code, where it is at hand. It is
//! third-party evidence that is not part of the repository: `PROOFROOM_EVIDENCE_DIR`, or
//! `../shared/evidence` beside the repository. Without it these tests say aloud that they were
//! skipped.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_evidence::gpu::{
    DeviceEvidence, DeviceReport, EvidenceList, FeatureFlag, Rim, Switched,
};
use proofroom_verifier::{
    Freshness, Verdict,
    gpu::{
        GpuAppraisal, GpuCheckName, GpuEndorsements, GpuOutcome, GpuPolicy, PRODUCTION_GPU,
        appraise_devices, appraise_gpus, appraise_unendorsed_gpus,
    },
};
use serde_json::Value;

const SDK: &str = "nvidia-attestation-sdk/testdata";
const GPU: &str = "nvidia-attestation-sdk/testdata/sample_attestation_data/gpu";
const NEAR: &str = "near-ai/near_report_glm51_2026-05-22.json";
const SERIALIZED: &str = "nvidia-attestation-sdk/common-test-data/serialized_test_evidence";

fn directory() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("PROOFROOM_EVIDENCE_DIR") {
        return Some(named.into());
    }
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .skip(3) // this crate, `crates`, the repository
        .map(|parent| parent.join("shared/evidence"))
        .find(|candidate| candidate.is_dir())
}

fn read(name: &str) -> Option<Vec<u8>> {
    let found = directory().and_then(|directory| std::fs::read(directory.join(name)).ok());
    if found.is_none() {
        // written past the test harness, which hides what passing tests print
        let skipped =
            format!("SKIPPED: no genuine evidence `{name}`; set PROOFROOM_EVIDENCE_DIR\n");
        std::io::stderr().write_all(skipped.as_bytes()).unwrap();
    }
    found
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The day after the provider's report was captured.
fn captured() -> Timestamp {
    time("2026-05-23T00:00:00.000Z")
}

/// A report in hex text.
fn report(name: &str) -> Option<Vec<u8>> {
    let text = String::from_utf8(read(name)?).unwrap();
    Some(hex::decode(text.split_ascii_whitespace().collect::<String>()).unwrap())
}

fn device(report_name: &str, chain_name: &str) -> Option<DeviceEvidence> {
    Some(DeviceEvidence {
        report: report(report_name)?,
        chain: read(chain_name)?,
    })
}

/// The production policy for `count` devices, pinned to what the evidence of `pinned` says.
fn policy_for(count: usize, pinned: &DeviceReport, extra: &str) -> GpuPolicy {
    let opaque = pinned.opaque();
    let ppcie = opaque.protected_pcie == Some(Switched::On);
    let mode = if ppcie || opaque.feature == Some(FeatureFlag::ProtectedPcie) {
        "protected-pcie"
    } else {
        "single-passthrough"
    };
    let chips = vec!["\"GH100\""; count].join(", ");
    let mut text = PRODUCTION_GPU
        .replace("count = 8", &format!("count = {count}"))
        .replace(
            "mode = [\"protected-pcie\"]",
            &format!("mode = [\"{mode}\"]"),
        )
        .replace(&["\"GH100\""; 8].join(", "), &chips)
        .replace(
            "compare_with = \"rim\"\nroots = [\"nvidia-corim-root-ca\"]",
            &format!(
                "compare_with = \"pinned\"\ndigests = [\"{}\"]",
                pinned.measurements_digest()
            ),
        );
    if count == 1 {
        text = text.replace("[[not_match]]\nchips = [\"GH100\"]\n", "");
    }
    let version = |found: &Option<String>| format!("= [\"{}\"]", found.clone().unwrap());
    text = text
        .replacen(
            "= [\"example, replace me\"]",
            &version(&opaque.driver_version),
            1,
        )
        .replacen(
            "= [\"example, replace me\"]",
            &version(&opaque.vbios_version),
            1,
        );
    if !extra.is_empty() {
        text = text.replace("refuse_certificates = []", extra);
    }
    GpuPolicy::parse(&text, "genuine.toml").unwrap()
}

/// The same, but measured against NVIDIA's manifests.
fn rim_policy_for(count: usize, pinned: &DeviceReport) -> GpuPolicy {
    let text = PRODUCTION_GPU
        .replace("count = 8", &format!("count = {count}"))
        .replace(
            &["\"GH100\""; 8].join(", "),
            &vec!["\"GH100\""; count].join(", "),
        )
        .replace("[[not_match]]\nchips = [\"GH100\"]\n", "")
        .replace(
            "mode = [\"protected-pcie\"]",
            "mode = [\"single-passthrough\"]",
        );
    let version = |found: &Option<String>| format!("= [\"{}\"]", found.clone().unwrap());
    let text = text
        .replacen(
            "= [\"example, replace me\"]",
            &version(&pinned.opaque().driver_version),
            1,
        )
        .replacen(
            "= [\"example, replace me\"]",
            &version(&pinned.opaque().vbios_version),
            1,
        );
    GpuPolicy::parse(&text, "genuine.toml").unwrap()
}

fn appraise_one(evidence: DeviceEvidence, now: Timestamp) -> GpuAppraisal {
    let report = DeviceReport::parse(&evidence.report).unwrap();
    let policy = policy_for(1, &report, "");
    let list = EvidenceList::new(vec![evidence]).unwrap();
    appraise_devices(
        &list,
        GpuEndorsements::default(),
        &policy,
        Freshness::Challenge(report.nonce()),
        now,
    )
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
fn assert_signed(appraisal: &GpuAppraisal) {
    for device in appraisal.devices() {
        for name in [
            GpuCheckName::ReportParse,
            GpuCheckName::CertificateChain,
            GpuCheckName::CertificateTime,
            GpuCheckName::ReportSignature,
        ] {
            assert_eq!(device.outcome(name), Some(&GpuOutcome::Pass), "{name}");
        }
    }
}

/// The evidence list of the provider's report, its nonce, and the list's text.
fn near() -> Option<(EvidenceList, Nonce, String)> {
    let report: Value = serde_json::from_slice(&read(NEAR)?).unwrap();
    let attestation = &report["model_attestations"][0];
    let payload = attestation["nvidia_payload"].as_str().unwrap().to_owned();
    let nonce = attestation["request_nonce"].as_str().unwrap();
    let nonce: [u8; 32] = hex::decode(nonce).unwrap().try_into().unwrap();
    let list = EvidenceList::parse(payload.as_bytes()).unwrap();
    Some((list, Nonce::from_random(nonce), payload))
}

#[test]
fn eight_genuine_gpus_of_a_provider_are_accepted_for_their_nonce() {
    let Some((list, nonce, payload)) = near() else {
        return;
    };
    let first = DeviceReport::parse(&list.devices()[0].report).unwrap();
    let policy = policy_for(8, &first, "");
    let none = GpuEndorsements::default();
    let fresh = Freshness::Challenge(nonce);
    let appraisal = appraise_gpus(payload.as_bytes(), none, &policy, fresh, captured());
    assert_eq!(appraisal.verdict(), Verdict::Accept, "{appraisal:#?}");
    let unendorsed = appraise_unendorsed_gpus(payload.as_bytes(), &policy, fresh, captured());
    assert_eq!(unendorsed, appraisal);
    let verified = appraisal.into_verified().unwrap();
    assert_eq!(verified.devices().len(), 8);
    assert_eq!(verified.devices()[0].driver(), Some("570.172.08"));
    assert_eq!(verified.devices()[0].bios(), "96.00.CF.00.02");

    let other = Freshness::Challenge(Nonce::from_random([1; 32]));
    let appraisal = appraise_gpus(payload.as_bytes(), none, &policy, other, captured());
    assert_refused(&appraisal, "nonce", "gpu-nonce-mismatch");

    let early = time("2022-02-28T23:59:59.000Z");
    let appraisal = appraise_gpus(payload.as_bytes(), none, &policy, fresh, early);
    assert_refused(
        &appraisal,
        "certificate-time",
        "gpu-certificate-not-yet-valid",
    );
}

#[test]
fn one_genuine_gpu_from_another_report_in_the_set_is_refused() {
    let (Some((list, nonce, _)), Some(other)) =
        (near(), read(&format!("{SERIALIZED}/hopper_evidence.json")))
    else {
        return;
    };
    let other = EvidenceList::parse(&other).unwrap().devices()[0].clone();
    let first = DeviceReport::parse(&list.devices()[0].report).unwrap();
    let policy = policy_for(8, &first, "");
    let judge = |devices: Vec<DeviceEvidence>| {
        let list = EvidenceList::new(devices).unwrap();
        let none = GpuEndorsements::default();
        appraise_devices(
            &list,
            none,
            &policy,
            Freshness::Challenge(nonce),
            captured(),
        )
    };
    let mut mixed = list.devices().to_vec();
    mixed[7] = other;
    let appraisal = judge(mixed);
    assert_signed(&appraisal);
    assert_refused(&appraisal, "nonce", "gpu-nonce-mismatch");

    let mut twice = list.devices().to_vec();
    twice[7] = twice[0].clone();
    assert_refused(&judge(twice), "device-unique", "gpu-device-twice");

    let mut crossed = list.devices().to_vec();
    crossed[0].chain = crossed[1].chain.clone();
    assert_refused(
        &judge(crossed),
        "report-signature",
        "gpu-report-signature-invalid",
    );

    let seven = list.devices()[..7].to_vec();
    assert_refused(&judge(seven), "device-count", "gpu-device-count");
}

#[test]
fn genuine_reports_of_one_gpu_are_accepted_for_their_nonce() {
    for (name, now) in [
        ("hopper_evidence.json", "2025-09-01T00:00:00.000Z"),
        ("hopper_evidence_cert_hold.json", "2025-09-01T00:00:00.000Z"),
    ] {
        let Some(list) = read(&format!("{SERIALIZED}/{name}")) else {
            return;
        };
        let evidence = EvidenceList::parse(&list).unwrap().devices()[0].clone();
        let appraisal = appraise_one(evidence, time(now));
        assert_eq!(appraisal.verdict(), Verdict::Accept, "{appraisal:#?}");
        // nobody was asked whether a certificate is on hold, and that is what is said
        assert!(matches!(
            appraisal.devices()[0].outcome(GpuCheckName::Revocation),
            Some(GpuOutcome::NotEvaluated(_))
        ));
    }
}

#[test]
fn a_genuine_certificate_on_hold_is_refused_by_a_policy_that_knows_of_it() {
    let Some(list) = read(&format!("{SERIALIZED}/hopper_evidence_cert_hold.json")) else {
        return;
    };
    let list = EvidenceList::parse(&list).unwrap();
    let evidence = &list.devices()[0];
    let chain = proofroom_evidence::gpu::certificate_chain(&evidence.chain).unwrap();
    let report = DeviceReport::parse(&evidence.report).unwrap();
    let refuse = format!("refuse_certificates = [\"{}\"]", Digest::of(&chain[0]));
    let policy = policy_for(1, &report, &refuse);
    let fresh = Freshness::Challenge(report.nonce());
    let none = GpuEndorsements::default();
    let appraisal = appraise_devices(&list, none, &policy, fresh, captured());
    assert_refused(&appraisal, "certificate-chain", "gpu-certificate-refused");
}

/// Every row of the kit's expectations: chain and signature, and the nonce.
#[test]
fn genuine_evidence_agrees_with_the_kits_matrix() {
    let Some(matrix) = read("derived/expected-gpu-matrix.json") else {
        return;
    };
    let matrix: Value = serde_json::from_slice(&matrix).unwrap();
    let rows = matrix["rows"].as_array().unwrap();
    assert!(rows.len() >= 15);
    for row in rows {
        let file = row["file"].as_str().unwrap();
        let index = row["index"].as_u64().map(|at| usize::try_from(at).unwrap());
        let evidence = match (index, row["chain_file"].as_str()) {
            (Some(at), None) if file == NEAR => near().unwrap().0.devices()[at].clone(),
            (Some(at), None) => {
                let list = EvidenceList::parse(&read(file).unwrap()).unwrap();
                list.devices()[at].clone()
            }
            (None, Some(chain)) => device(file, chain).unwrap(),
            other => panic!("{other:?}"),
        };
        let appraisal = appraise_one(evidence.clone(), captured());
        let device = &appraisal.devices()[0];
        let passed = |name| device.outcome(name) == Some(&GpuOutcome::Pass);
        let accepted = passed(GpuCheckName::CertificateChain)
            && passed(GpuCheckName::CertificateTime)
            && passed(GpuCheckName::ReportSignature);
        assert_eq!(
            Some(accepted),
            row["must_accept"].as_bool(),
            "{row}: {device:#?}"
        );
        let report = DeviceReport::parse(&evidence.report).unwrap();
        assert_eq!(row["nonce_hex"], report.nonce().to_string());
        let certificates = proofroom_evidence::gpu::certificate_chain(&evidence.chain).unwrap();
        assert_eq!(row["certs"], certificates.len());
    }
}

#[test]
fn genuine_chains_without_a_leaf_are_refused() {
    let trustee = "trustee/nvidia";
    let report = format!("{trustee}/hopperAttestationReport.txt");
    let chain = |case: &str| format!("{trustee}/hopper_cert_chain_{case}.txt");
    let (Some(whole), Some(one)) = (
        device(&report, &chain("case1")),
        device(&report, &chain("case2")),
    ) else {
        return;
    };
    let appraisal = appraise_one(whole.clone(), captured());
    assert_eq!(appraisal.verdict(), Verdict::Accept, "{appraisal:#?}");
    let appraisal = appraise_one(one, captured());
    assert_refused(&appraisal, "certificate-chain", "gpu-chain-leaf");

    // a link that is missing, and the leaf that is, made from the whole chain
    let text = String::from_utf8(whole.chain.clone()).unwrap();
    let end = "-----END CERTIFICATE-----";
    let parts: Vec<String> = text
        .split_inclusive(end)
        .filter(|part| part.contains(end))
        .map(|part| format!("{}\n", part.trim()))
        .collect();
    for (without, code) in [
        (0, "gpu-chain-leaf"),
        (1, "gpu-chain-broken"),
        (4, "gpu-root-not-trusted"),
    ] {
        let mut left = parts.clone();
        left.remove(without);
        let evidence = DeviceEvidence {
            chain: left.concat().into_bytes(),
            ..whole.clone()
        };
        let appraisal = appraise_one(evidence, captured());
        assert_refused(&appraisal, "certificate-chain", code);
    }
}

#[test]
fn a_genuine_report_with_an_invalid_signature_is_refused() {
    let report = format!("{GPU}/hopperAttestationReportInvalidSignature.txt");
    if let Some(evidence) = device(&report, &format!("{GPU}/hopperCertChain.txt")) {
        let appraisal = appraise_one(evidence, captured());
        assert_refused(
            &appraisal,
            "report-signature",
            "gpu-report-signature-invalid",
        );
    }
}

#[test]
fn a_genuine_old_report_that_names_no_firmware_is_refused() {
    let report = format!("{GPU}/hopperAttestationReport.txt");
    if let Some(evidence) = device(&report, &format!("{GPU}/hopperCertChain.txt")) {
        let appraisal = appraise_one(evidence, captured());
        assert_signed(&appraisal);
        assert_refused(&appraisal, "firmware-id", "gpu-firmware-id-absent");
    }
}

/// A genuine report with a zero byte behind it, as one collector leaves it.
#[test]
fn a_genuine_report_keeps_its_identity_with_filling_behind_it() {
    let Some((list, nonce, _)) = near() else {
        return;
    };
    let evidence = list.devices()[0].clone();
    let honest = appraise_one(evidence.clone(), captured());
    let mut filled = evidence.clone();
    filled.report.push(0);
    let appraisal = appraise_one(filled, captured());
    assert_eq!(appraisal.verdict(), Verdict::Accept, "{appraisal:#?}");
    assert_eq!(
        appraisal.devices()[0].report(),
        honest.devices()[0].report()
    );
    let report = DeviceReport::parse(&evidence.report).unwrap();
    assert_eq!(report.nonce(), nonce);
    // every byte of request, record and opaque data, one bit of each
    for at in (0..report.signed().len()).step_by(61) {
        let mut flipped = evidence.clone();
        flipped.report[at] ^= 1 << (at % 8);
        let policy = policy_for(1, &report, "");
        let list = EvidenceList::new(vec![flipped]).unwrap();
        let none = GpuEndorsements::default();
        let fresh = Freshness::Challenge(nonce);
        let appraisal = appraise_devices(&list, none, &policy, fresh, captured());
        assert_eq!(appraisal.verdict(), Verdict::Reject, "byte {at}");
    }
}

/// Judges the genuine report of driver 535.86.09 with one manifest for its driver or BIOS.
fn with_rims(driver: &[&str], bios: &[&str], now: &str) -> Option<GpuAppraisal> {
    let evidence = device(
        &format!("{GPU}/hopperAttestationReport.txt"),
        &format!("{GPU}/hopperCertChain.txt"),
    )?;
    let files = |names: &[&str]| {
        names
            .iter()
            .map(|name| read(&format!("{SDK}/{name}")))
            .collect::<Option<Vec<_>>>()
    };
    let (driver, bios) = (files(driver)?, files(bios)?);
    let report = DeviceReport::parse(&evidence.report).unwrap();
    let policy = rim_policy_for(1, &report);
    let list = EvidenceList::new(vec![evidence]).unwrap();
    let endorsements = GpuEndorsements {
        driver_rims: &driver,
        bios_rims: &bios,
        ..GpuEndorsements::default()
    };
    let fresh = Freshness::Challenge(report.nonce());
    Some(appraise_devices(
        &list,
        endorsements,
        &policy,
        fresh,
        time(now),
    ))
}

#[track_caller]
fn assert_check(appraisal: &GpuAppraisal, name: GpuCheckName, wanted: &str) {
    let outcome = appraisal.devices()[0].outcome(name).unwrap();
    let found = match outcome {
        GpuOutcome::Pass => "pass",
        GpuOutcome::Fail { cause, .. } => cause.as_str(),
        GpuOutcome::NotEvaluated(reason) => reason.code(),
    };
    assert_eq!(found, wanted, "{name}: {outcome:?}");
}

#[test]
fn genuine_manifests_are_judged_by_name() {
    let mismatch = "sample_rims/NV_GPU_DRIVER_GH100_535.86.09_measurement_mismatch.xml";
    let bios = "sample_rims/NV_GPU_VBIOS_1010_0200_882_96005E0001_measurement_mismatch.xml";
    let now = "2025-09-01T00:00:00.000Z";
    let Some(appraisal) = with_rims(&[mismatch], &[bios], now) else {
        return;
    };
    // the driver's was edited after it was signed; the BIOS's is NVIDIA's, and of its twelve golden
    // values the report has eleven
    assert_check(
        &appraisal,
        GpuCheckName::DriverRim,
        "gpu-rim-digest-mismatch",
    );
    assert_check(&appraisal, GpuCheckName::BiosRim, "pass");
    assert_check(
        &appraisal,
        GpuCheckName::Measurements,
        "gpu-measurement-mismatch",
    );

    let driver = |file: &str, now: &str, wanted: &str| {
        let appraisal = with_rims(&[file], &[bios], now).unwrap();
        assert_check(&appraisal, GpuCheckName::DriverRim, wanted);
    };
    let good = "NV_GPU_DRIVER_GH100_550.144.03.xml";
    driver(good, now, "gpu-rim-version-mismatch");
    driver(good, "2024-12-30T16:56:49.000Z", "gpu-rim-not-yet-valid");
    driver(good, "2026-12-30T16:56:51.000Z", "gpu-rim-expired");
    let expired = "sample_rims/NV_GPU_DRIVER_GH100_570.124.03_expired.xml";
    driver(expired, now, "gpu-rim-expired");
    driver(
        "incorrect_cert_chain_driver_rim.xml",
        now,
        "gpu-rim-root-not-trusted",
    );
    driver(
        "incorrect_signature_driver_rim.xml",
        now,
        "gpu-rim-signature-invalid",
    );
    let after = with_rims(&[mismatch], &[bios], "2025-12-12T23:58:04.000Z").unwrap();
    assert_check(&after, GpuCheckName::BiosRim, "gpu-rim-expired");
    let none = with_rims(&[], &[], now).unwrap();
    assert_check(&none, GpuCheckName::DriverRim, "not-supplied");
    assert_check(&none, GpuCheckName::Measurements, "not-supplied");
}

#[test]
fn a_genuine_manifest_is_what_its_digest_says_and_an_edited_one_is_not() {
    for (name, whole) in [
        ("NV_GPU_DRIVER_GH100_550.144.03.xml", true),
        ("incorrect_cert_chain_driver_rim.xml", true),
        (
            "sample_rims/NV_GPU_VBIOS_1010_0200_882_96005E0001_measurement_mismatch.xml",
            true,
        ),
        (
            "sample_rims/NV_GPU_DRIVER_GH100_570.124.03_expired.xml",
            false,
        ),
        (
            "sample_rims/NV_GPU_DRIVER_GH100_535.86.09_measurement_mismatch.xml",
            false,
        ),
    ] {
        let Some(bytes) = read(&format!("{SDK}/{name}")) else {
            return;
        };
        let rim = Rim::parse(&bytes).unwrap();
        assert_eq!(rim.digest() == rim.signed_digest(), whole, "{name}");
        assert!(!rim.measurements().is_empty());
    }
}

/// Judges the provider's GPUs with a genuine token, whose keys nobody has any more.
fn with_token(token: Vec<u8>, jwks: Option<&[u8]>) -> Option<GpuAppraisal> {
    let (list, nonce, _) = near()?;
    let first = DeviceReport::parse(&list.devices()[0].report).unwrap();
    let mut policy = policy_for(8, &first, "");
    if let Some(jwks) = jwks {
        let list = format!("refuse_certificates = []\n# {}", Digest::of(jwks));
        policy = policy_for(8, &first, &list);
    }
    let tokens = [token];
    let endorsements = GpuEndorsements {
        tokens: &tokens,
        jwks,
        ..GpuEndorsements::default()
    };
    let fresh = Freshness::Challenge(nonce);
    Some(appraise_devices(
        &list,
        endorsements,
        &policy,
        fresh,
        captured(),
    ))
}

#[test]
fn a_genuine_token_whose_key_is_not_at_hand_proves_nothing() {
    let name = format!("{SDK}/sample_attestation_data/hopperClaimsv3_detached_eat.json");
    let Some(token) = read(&name) else {
        return;
    };
    let parsed = proofroom_evidence::gpu::DetachedEat::parse(&token).unwrap();
    let named = &parsed.overall().claims()["submods"]["GPU-0"][1][1];
    assert_eq!(*named, parsed.submodules()["GPU-0"].digest().to_hex());
    assert_eq!(parsed.submodules()["GPU-0"].claims()["dbgstat"], "disabled");
    let appraisal = with_token(token.clone(), None).unwrap();
    assert_refused(&appraisal, "token-signature", "gpu-token-key-unknown");
    // any key set that the policy does not name is none
    let appraisal = with_token(token, Some(b"{\"keys\":[]}")).unwrap();
    assert_refused(&appraisal, "token-signature", "gpu-jwks-not-trusted");
}

/// `ueid` is the decimal serial number of the certificate, which the simulated tokens rest on.
#[test]
fn a_genuine_token_names_the_device_by_its_certificates_serial_number() {
    let token = format!("{SDK}/sample_attestation_data/hopperClaimsv3_detached_eat.json");
    let (Some(token), Some(chain)) = (
        read(&token),
        read("trustee/nvidia/hopper_cert_chain_case1.txt"),
    ) else {
        return;
    };
    let token = proofroom_evidence::gpu::DetachedEat::parse(&token).unwrap();
    let chain = proofroom_evidence::gpu::certificate_chain(&chain).unwrap();
    let facts = proofroom_evidence::gpu::DeviceFacts::parse(&chain[0]).unwrap();
    let claims = token.submodules()["GPU-0"].claims();
    assert_eq!(claims["ueid"], facts.ueid);
    assert_eq!(facts.chip, "GH100");
}

#[test]
fn a_genuine_unsigned_token_of_a_local_verifier_is_refused() {
    let Some(output) = read("dstack/dstack-util_tests_fixtures_gpu_attestation_h100.json") else {
        return;
    };
    let output: Value = serde_json::from_slice(&output).unwrap();
    let token = serde_json::to_vec(&output["detached_eat"]).unwrap();
    let appraisal = with_token(token, None).unwrap();
    assert_refused(&appraisal, "token-signature", "gpu-token-unsigned");
}

#[test]
fn lists_are_canonical_base64() {
    let list = serde_json::json!([{ "certificate": STANDARD.encode("x"), "evidence": "eA" }]);
    let error = EvidenceList::parse(list.to_string().as_bytes()).unwrap_err();
    assert_eq!(error.code(), "gpu-list-member");
}
