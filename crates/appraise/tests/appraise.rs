//! Reports on simulated evidence of every kind: with a policy, without one, and damaged.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use proofroom_appraise::{
    Answer, Beside, End, Expected, Kind, Made, Policy, Report, appraise, ear,
};
use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_evidence::snp::{SigningKey, SnpProduct};
use proofroom_testkit::{gpu::SimulatedGpus, snp::SimulatedAmd, tee::SimulatedTee};
use proofroom_verifier::{SIMULATED_UPSTREAM, gpu::SIMULATED_GPU};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_790_000_000);
const NONCE: Nonce = Nonce::from_random([7; 32]);
const DATA: [u8; 64] = [9; 64];

fn expected(made: Made) -> Expected {
    Expected {
        nonce: Some(NONCE),
        report_data: Some(DATA),
        made,
    }
}

fn upstream() -> Vec<u8> {
    SimulatedTee::demo().evidence_document(NONCE, Digest::of("key"), "any", NOW)
}

fn quote() -> (Vec<u8>, Beside) {
    let tee = SimulatedTee::demo();
    let plan = tee.plan(NONCE, Digest::of("key"), "any", NOW);
    let beside = Beside {
        collateral: Some(tee.collateral(&plan)),
        expected: expected(Made::ForThisExchange),
        ..Beside::default()
    };
    (tee.quote(&plan.td, DATA), beside)
}

fn policy(kind: Kind, text: &str) -> Policy {
    Policy::parse(kind, text, "test.toml", None, NOW).unwrap()
}

fn answer<'a>(report: &'a Report, check: &str) -> &'a Answer {
    let row = report.checks().iter().find(|row| row.check == check);
    &row.unwrap().answer
}

fn code<'a>(report: &'a Report, check: &str) -> &'a str {
    match answer(report, check) {
        Answer::Pass => "pass",
        Answer::Fail { code, .. } | Answer::NotEvaluated { code, .. } => code,
    }
}

#[test]
fn an_upstream_is_accepted_under_its_policy_and_never_without_one() {
    let document = upstream();
    let beside = Beside {
        expected: expected(Made::ForThisExchange),
        ..Beside::default()
    };
    let simulated = policy(Kind::Upstream, SIMULATED_UPSTREAM);
    let report = appraise(&document, &beside, Some(&simulated), NOW).unwrap();
    assert!(matches!(report.end(), End::Accepted(_)), "{report:#?}");
    assert!(report.checks().iter().all(|row| row.answer == Answer::Pass));

    // the simulated root is no vendor's
    let report = appraise(&document, &beside, None, NOW).unwrap();
    assert_eq!(report.end().as_str(), "refused");
    assert_eq!(code(&report, "pck-chain-root"), "root-not-trusted");
}

#[test]
fn a_bare_quote_is_accepted_with_collateral_and_fresh_report_data_alone() {
    let (bytes, beside) = quote();
    let simulated = policy(Kind::TdxQuote, SIMULATED_UPSTREAM);
    let end = |beside: &Beside| appraise(&bytes, beside, Some(&simulated), NOW).unwrap();
    let report = end(&beside);
    assert!(matches!(report.end(), End::Accepted(_)), "{report:#?}");

    let mut archived = beside.clone();
    archived.expected = expected(Made::Archived);
    assert_eq!(end(&archived).end().as_str(), "incomplete");
    assert_eq!(code(&end(&archived), "nonce"), "archive-audit");

    let mut unexpected = beside.clone();
    unexpected.expected = Expected::default();
    assert_eq!(end(&unexpected).end().as_str(), "incomplete");
    assert_eq!(
        code(&end(&unexpected), "report-data-binding"),
        "not-supplied"
    );

    let mut other = beside.clone();
    other.expected.report_data = Some([8; 64]);
    assert_eq!(end(&other).end().as_str(), "refused");
    assert_eq!(
        code(&end(&other), "report-data-binding"),
        "report-data-mismatch"
    );

    let mut alone = beside;
    alone.collateral = None;
    let report = end(&alone);
    assert_eq!(report.end().as_str(), "incomplete");
    assert_eq!(code(&report, "quote-signature"), "not-supplied");
    assert_eq!(code(&report, "td-attributes"), "unproved");
    assert_eq!(code(&report, "reference-values"), "unproved");
}

#[test]
fn a_quote_cut_anywhere_is_never_accepted() {
    let (bytes, beside) = quote();
    let simulated = policy(Kind::TdxQuote, SIMULATED_UPSTREAM);
    for length in 8..bytes.len() {
        let report = appraise(&bytes[..length], &beside, Some(&simulated), NOW).unwrap();
        assert_eq!(report.end().as_str(), "refused", "{length}");
        assert_eq!(code(&report, "quote-parse"), "quote-malformed");
    }
}

#[test]
fn a_document_cut_anywhere_is_not_accepted() {
    let document = upstream();
    let simulated = policy(Kind::Upstream, SIMULATED_UPSTREAM);
    let beside = Beside {
        expected: expected(Made::ForThisExchange),
        ..Beside::default()
    };
    for length in (0..document.len()).step_by(61) {
        let refused = appraise(&document[..length], &beside, Some(&simulated), NOW).unwrap_err();
        assert_eq!(refused.code(), "evidence-unknown", "{length}");
    }
}

#[test]
fn devices_are_accepted_under_their_policy_and_never_without_one() {
    let gpus = SimulatedGpus::demo();
    let plans: Vec<_> = (0..1).map(|number| gpus.plan(number, NONCE)).collect();
    let list = gpus.list(&plans);
    let beside = Beside {
        expected: expected(Made::ForThisExchange),
        ..Beside::default()
    };
    let report = appraise(&list, &beside, None, NOW).unwrap();
    assert_eq!(report.kind(), Kind::GpuList);
    assert_eq!(report.end().as_str(), "refused");
    assert_eq!(code(&report, "certificate-chain"), "gpu-root-not-trusted");
    let simulated = policy(Kind::GpuList, SIMULATED_GPU);
    let report = appraise(&list, &beside, Some(&simulated), NOW).unwrap();
    assert_eq!(code(&report, "report-signature"), "pass", "{report:#?}");

    let token = gpus.token(&gpus.token_plan(&plans, NOW.unix_seconds()));
    let report = appraise(&token, &beside, None, NOW).unwrap();
    assert_eq!(report.kind(), Kind::NrasToken);
    assert_eq!(report.end().as_str(), "incomplete");
    let refused = appraise(&token, &beside, Some(&simulated), NOW).unwrap_err();
    assert_eq!(refused.code(), "policy-kind");
}

#[test]
fn certificates_of_an_snp_report_are_put_in_order_and_their_absence_is_said() {
    let amd = SimulatedAmd::from_seed([3; 32]);
    let plan = amd.plan(SnpProduct::Milan, 3, SigningKey::Vcek, NOW);
    let made = amd.make(&plan);
    let mut beside = Beside {
        certificates: vec![made.root, made.leaf, made.intermediate],
        crl: Some(made.crl),
        ..Beside::default()
    };
    let report = appraise(&made.report, &beside, None, NOW).unwrap();
    assert_eq!(code(&report, "chain-parse"), "pass");
    assert_eq!(code(&report, "chain-root"), "root-not-trusted");
    assert_eq!(code(&report, "freshness"), "not-supplied");
    beside.certificates.pop();
    let report = appraise(&made.report, &beside, None, NOW).unwrap();
    assert_eq!(report.end().as_str(), "incomplete", "{report:#?}");
    assert_eq!(code(&report, "chain-parse"), "not-supplied");
    assert_eq!(code(&report, "report-parse"), "pass");
}

#[test]
fn a_result_of_simulated_roots_affirms_nothing_and_a_check_not_made_is_no_claim() {
    let (bytes, beside) = quote();
    let simulated = policy(Kind::TdxQuote, SIMULATED_UPSTREAM);
    let report = appraise(&bytes, &beside, Some(&simulated), NOW).unwrap();
    let claims = ear::claims_set(&report, "test");
    let appraisal = &claims["submods"]["tdx-quote"];
    assert_eq!(appraisal["ear_status"], "none");
    for value in appraisal["ear_trustworthiness_vector"]
        .as_object()
        .unwrap()
        .values()
    {
        assert_eq!(value, 0);
    }
    assert_eq!(claims["eat_profile"], ear::PROFILE);

    // the same vector under a policy whose name does not say `simulated`, with one check left out
    let mut alone = beside;
    alone.collateral = None;
    let report = appraise(&bytes, &alone, None, NOW).unwrap();
    let claims = ear::claims_set(&report, "test");
    let vector = &claims["submods"]["tdx-quote"]["ear_trustworthiness_vector"];
    for value in vector.as_object().unwrap().values() {
        assert_eq!(value, 0, "{vector}");
    }

    let mut other = alone;
    other.expected.report_data = Some([8; 64]);
    let report = appraise(&bytes, &other, None, NOW).unwrap();
    let claims = ear::claims_set(&report, "test");
    let appraisal = &claims["submods"]["tdx-quote"];
    assert_eq!(appraisal["ear_status"], "contraindicated");
    assert_eq!(
        appraisal["ear_trustworthiness_vector"]["instance-identity"],
        96
    );
}

#[test]
fn every_check_is_about_one_claim() {
    let names = proofroom_verifier::CheckName::ALL
        .iter()
        .map(|name| name.as_str());
    let names = names
        .chain(
            proofroom_verifier::RoomCheckName::ALL
                .iter()
                .map(|name| name.as_str()),
        )
        .chain(
            proofroom_verifier::SnpCheckName::ALL
                .iter()
                .map(|name| name.as_str()),
        )
        .chain(
            proofroom_verifier::gpu::GpuCheckName::ALL
                .iter()
                .map(|name| name.as_str()),
        )
        .chain(
            proofroom_verifier::VtpmCheckName::ALL
                .iter()
                .map(|name| name.as_str()),
        );
    for name in names {
        assert!(ear::Claim::of(name).is_some(), "{name}");
    }
    assert_eq!(ear::Claim::of("no such check"), None);
}

#[test]
fn a_policy_for_other_evidence_is_refused() {
    let (bytes, beside) = quote();
    let gpu = policy(Kind::GpuList, SIMULATED_GPU);
    let refused = appraise(&bytes, &beside, Some(&gpu), NOW).unwrap_err();
    assert_eq!(refused.code(), "policy-kind");
}

#[test]
fn a_signed_result_verifies_with_its_key_alone_and_says_what_the_claims_set_says() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use p256::ecdsa::{Signature, SigningKey, signature::Verifier as _};

    let (quote, beside) = quote();
    let policy = policy(Kind::TdxQuote, SIMULATED_UPSTREAM);
    let report = appraise(&quote, &beside, Some(&policy), NOW).unwrap();
    let claims = ear::claims_set(&report, "test");
    let key = |byte| SigningKey::from_slice(&[byte; 32]).unwrap();
    let token = ear::token(&claims, &key(1));
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let signature = Signature::from_slice(&signature).unwrap();
    let verifies = |byte: u8, text: &str| {
        let key = key(byte);
        key.verifying_key()
            .verify(text.as_bytes(), &signature)
            .is_ok()
    };
    assert!(verifies(1, signed));
    assert!(!verifies(2, signed) && !verifies(1, &signed.replacen('e', "f", 1)));
    let (header, payload) = signed.split_once('.').unwrap();
    let read = |part: &str| -> serde_json::Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    assert_eq!(read(header)["alg"], "ES256");
    assert_eq!(read(header)["typ"], "eat+jwt");
    assert_eq!(read(payload), claims);
    assert_eq!(claims["eat_profile"], "tag:ietf.org,2026:rats/ear#04");
}
