//! `proofroom-enclave`: what is accepted, and each defect of its evidence with the check and the code that refuses it.

use proofroom_canonical::{Digest, Hex, Nonce};
use proofroom_provider::{
    Beside, CheckOutcome, Exchange, Format, ProviderAppraisal, ProviderCheck, ProviderDocument,
    ProviderPolicy, ProviderPolicyProblem, appraise_provider, platforms_of,
};
use proofroom_serving::{KeyConfig, SEALING_PURPOSE};
use proofroom_testkit::{
    enclave::{self, EnclavePlan},
    provider::{MODEL, ProviderKey},
    tee::TcbAnswer,
};
use proofroom_verifier::{Assurance, Verdict};

use crate::world::{NOW, connection, exchange, nonce, obstacle};

fn parsed(text: &str) -> Result<ProviderPolicy, Vec<ProviderPolicyProblem>> {
    let siblings = enclave::policies();
    ProviderPolicy::parse(text, "p.toml", &|name| siblings.get(name).cloned())
}

fn text() -> String {
    enclave::policy(enclave::weights(), enclave::image())
}

pub fn policy() -> ProviderPolicy {
    parsed(&text()).unwrap()
}

pub fn plan() -> EnclavePlan {
    enclave::plan(nonce(), connection(), NOW)
}

fn document(plan: &EnclavePlan) -> Vec<u8> {
    let report = enclave::report(plan);
    ProviderDocument::write(Format::ProofroomEnclave, &report, enclave::collateral(plan)).unwrap()
}

pub fn appraise(plan: &EnclavePlan) -> ProviderAppraisal {
    appraise_provider(&document(plan), &policy(), exchange(), NOW)
}

fn refused(change: impl FnOnce(&mut EnclavePlan)) -> (String, &'static str) {
    let mut plan = plan();
    change(&mut plan);
    let appraisal = appraise(&plan);
    let found = obstacle(&appraisal);
    assert!(appraisal.into_verified().is_err());
    found
}

#[test]
fn an_enclave_whose_every_claim_holds_is_accepted() {
    let appraisal = appraise(&plan());
    assert_eq!(
        appraisal.verdict(),
        Verdict::Accept,
        "{:#?}",
        appraisal.checks()
    );
    let labels: Vec<_> = appraisal
        .checks()
        .iter()
        .map(ProviderCheck::label)
        .collect();
    let expected = [
        "provider: report",
        "provider: model",
        "provider: tls-key",
        "model-0: quote",
        "model-0: statement",
        "model-0: nonce",
        "model-0: statement-expiry",
        "model-0: weights",
        "model-0: image",
        "model-0: gpu",
    ];
    assert_eq!(labels, expected);
    let verified = appraisal.into_verified().unwrap();
    assert_eq!(verified.assurance(), Assurance::Simulated);
    assert_eq!(
        (verified.model(), verified.tls_spki()),
        (MODEL, Some(connection()))
    );
    assert_eq!(verified.machines_and_gpus(), (1, 2));
    // the statement ends before quote and devices do
    assert_eq!(verified.expires(), NOW.after_seconds(300));
    let platforms = platforms_of(&enclave::report(&plan()), Format::ProofroomEnclave).unwrap();
    assert_eq!(platforms[0].to_string(), "514d00000000");
}

type Defect = (&'static str, &'static str, fn(&mut EnclavePlan));

#[test]
fn every_defect_is_refused_by_its_own_check() {
    let defects: [Defect; 16] = [
        ("provider: model", "model-other", |plan| {
            plan.statement.model = "cheaper".to_owned()
        }),
        ("provider: tls-key", "tls-key-other", |plan| {
            plan.statement.tls_spki_sha256 = Digest::of("relay");
        }),
        ("model-0: quote", "reference-mismatch", |plan| {
            plan.td.mr_td = plan.td.mr_seam
        }),
        ("model-0: quote", "tcb-status-refused", |plan| {
            plan.platform.tcb = TcbAnswer::OutOfDate
        }),
        ("model-0: statement", "report-data-mismatch", |plan| {
            plan.report_data = Some([1; 64])
        }),
        ("model-0: statement", "report-data-mismatch", |plan| {
            // a statement that no quote binds: a receipt key put in its place
            let mut other = plan.statement.clone();
            other.receipt_key = Hex::from_bytes([1; 32]);
            other.gpu_evidence = enclave::gpu_evidence(&plan.gpus).map(Digest::of);
            plan.shown = Some(String::from_utf8(other.to_bytes().unwrap()).unwrap());
        }),
        ("model-0: statement", "serving-malformed", |plan| {
            plan.shown = Some("{}".to_owned())
        }),
        ("model-0: statement", "serving-purpose", |plan| {
            plan.statement.purpose = "proofroom.upstream-keyset.v1".to_owned();
        }),
        ("model-0: nonce", "nonce-mismatch", |plan| {
            plan.statement.nonce = Nonce::from_random([1; 32]);
        }),
        ("model-0: statement-expiry", "statement-expired", |plan| {
            plan.statement.not_after = NOW
        }),
        ("model-0: weights", "weights-not-allowed", |plan| {
            plan.statement.weights = Digest::of("quantised");
        }),
        ("model-0: image", "image-not-allowed", |plan| {
            plan.statement.image = Digest::of("debug")
        }),
        ("model-0: gpu", "gpu-not-bound", |plan| {
            plan.shown_gpus = Some(None)
        }),
        ("model-0: gpu", "gpu-not-bound", |plan| {
            plan.gpus.clear();
            plan.shown_gpus = Some(Some("[]".to_owned()));
        }),
        ("model-0: gpu", "gpu-nonce-mismatch", |plan| {
            let stale = Nonce::from_random([2; 32]);
            plan.gpus[0] = proofroom_testkit::gpu::SimulatedGpus::demo().plan(0, stale);
        }),
        ("model-0: gpu", "gpu-not-supplied", |plan| plan.gpus.clear()),
    ];
    for (place, (check, code, change)) in defects.into_iter().enumerate() {
        assert_eq!(refused(change), (check.to_owned(), code), "{place}");
    }
}

#[test]
fn nothing_of_a_statement_passes_that_no_accepted_quote_binds() {
    let mut unbound = plan();
    unbound.report_data = Some([1; 64]);
    let appraisal = appraise(&unbound);
    let passed: Vec<_> = appraisal
        .checks()
        .iter()
        .filter(|check| check.outcome == CheckOutcome::Pass)
        .map(ProviderCheck::label)
        .collect();
    assert_eq!(passed, ["provider: report", "model-0: quote"]);
}

#[test]
fn a_machine_without_gpus_is_accepted_only_where_the_policy_says_why_and_never_shown_as_passed() {
    let tolerant = text() + "\n[[tolerate]]\ncheck = \"gpu\"\nreason = \"no GPU\"\n";
    let mut plan = plan();
    plan.gpus.clear();
    let appraisal = appraise_provider(
        &document(&plan),
        &parsed(&tolerant).unwrap(),
        exchange(),
        NOW,
    );
    let gpu = appraisal.checks().last().unwrap().clone();
    assert_eq!(
        (gpu.outcome.word(), gpu.outcome.code()),
        ("not-evaluated", Some("gpu-not-supplied"))
    );
    assert_eq!(
        appraisal.into_verified().unwrap().machines_and_gpus(),
        (1, 0)
    );
}

#[test]
fn an_archive_cannot_show_freshness_or_a_connection() {
    let appraisal = appraise_provider(&document(&plan()), &policy(), Exchange::ArchiveAudit, NOW);
    assert_eq!(appraisal.verdict(), Verdict::Incomplete);
    let open: Vec<_> = appraisal
        .checks()
        .iter()
        .filter(|check| check.outcome.code() == Some("archive-audit"))
        .map(ProviderCheck::label)
        .collect();
    assert_eq!(open, ["provider: tls-key", "model-0: nonce"]);
    assert!(appraisal.into_verified().is_err());
}

#[test]
fn reports_of_other_formats_and_cut_ones_are_none() {
    let report = enclave::report(&plan());
    let cut = |bytes: &[u8]| {
        let document =
            ProviderDocument::write(Format::ProofroomEnclave, bytes, Beside::default()).unwrap();
        obstacle(&appraise_provider(&document, &policy(), exchange(), NOW)).1
    };
    for end in (0..report.len()).step_by(997) {
        assert_eq!(cut(&report[..end]), "report-malformed", "{end}");
    }
    assert_eq!(cut(&report), "not-supplied");
    let near = ProviderDocument::write(Format::NearAi, &report, Beside::default()).unwrap();
    let appraisal = appraise_provider(&near, &policy(), exchange(), NOW);
    assert_eq!(obstacle(&appraisal).1, "report-format");
}

#[test]
fn a_policy_that_leaves_weights_or_image_open_is_none() {
    let codes = |text: &str| -> Vec<&'static str> {
        let problems = parsed(text).unwrap_err();
        problems.iter().map(ProviderPolicyProblem::code).collect()
    };
    let text = text();
    let weights = format!("[\"{}\"]", enclave::weights());
    let image = format!("[\"{}\"]", enclave::image());
    assert_eq!(codes(&text.replace(&weights, "[]")), ["policy-unpinned"]);
    assert_eq!(codes(&text.replace(&image, "[]")), ["policy-unpinned"]);
    assert_eq!(codes(&text.replace(&image, "[\"*\"]")), ["policy-syntax"]);
    let without = text.replace(&format!("images = {image}\n"), "");
    assert_eq!(codes(&without), ["policy-syntax"]);
    assert_eq!(
        codes(&text.replace("\"required\"", "\"not-offered\"")),
        ["policy-receipts"]
    );
    assert_eq!(
        codes(&text.replace("[serving]", "[machine]")),
        ["policy-syntax"]
    );
    assert_eq!(
        codes(&text.replace("proofroom-enclave", "dstack")),
        ["policy-tables"]
    );
    let dstack = proofroom_testkit::provider::policy("dstack");
    assert_eq!(
        codes(&dstack.replace("\"dstack\"", "\"proofroom-enclave\"")),
        ["policy-tables"]
    );
}

#[test]
fn the_shipped_policy_is_whole_and_accepts_nobody_who_is_simulated() {
    let sibling = |name: &str| match name {
        "production-upstream.toml" => Some(proofroom_verifier::PRODUCTION_UPSTREAM.to_owned()),
        "production-gpu.toml" => Some(proofroom_verifier::gpu::PRODUCTION_GPU.to_owned()),
        _ => None,
    };
    let text = proofroom_provider::PRODUCTION_ENCLAVE;
    let policy = ProviderPolicy::parse(text, "production-enclave.toml", &sibling).unwrap();
    assert_eq!(policy.assurance(), Assurance::Hardware);
    let appraisal = appraise_provider(&document(&plan()), &policy, exchange(), NOW);
    assert_eq!(appraisal.verdict(), Verdict::Reject);
}

mod receipts {
    //! Signatures over single answers.

    use std::sync::LazyLock;

    use proofroom_provider::{ServedRun, VerifiedProvider, verify_serving_receipt};
    use proofroom_serving::{ReceiptText, SignedReceipt};

    use super::{Digest, MODEL, Nonce, ProviderKey, appraise, enclave, plan};

    static PROVIDER: LazyLock<VerifiedProvider> =
        LazyLock::new(|| appraise(&plan()).into_verified().unwrap());

    const ANSWER: &[u8] = b"data: {}\n\ndata: [DONE]\n\n";

    fn run() -> ServedRun {
        ServedRun {
            challenge: Nonce::from_random([3; 32]),
            request: Digest::of("the request"),
            answer: Digest::of(ANSWER),
            answer_bytes: ANSWER.len() as u64,
        }
    }

    fn text() -> ReceiptText {
        enclave::receipt_text(run().challenge, run().request, ANSWER)
    }

    fn signed(text: &ReceiptText) -> SignedReceipt {
        enclave::receipt(&enclave::receipt_key(), text)
    }

    fn judged(receipt: &[u8], run: &ServedRun) -> Result<String, &'static str> {
        verify_serving_receipt(receipt, &PROVIDER, run)
            .map(|verified| format!("{} {}", verified.signer(), verified.key().algorithm()))
            .map_err(|error| error.code())
    }

    fn code(receipt: &SignedReceipt) -> &'static str {
        judged(&receipt.to_bytes().unwrap(), &run()).unwrap_err()
    }

    #[test]
    fn the_enclaves_signature_over_this_very_run_is_accepted_and_no_other() {
        let good = signed(&text());
        let bytes = good.to_bytes().unwrap();
        assert_eq!(judged(&bytes, &run()), Ok("model-0 ed25519".to_owned()));
        let changed = |change: fn(&mut ReceiptText)| {
            let mut text = text();
            change(&mut text);
            code(&signed(&text))
        };
        assert_eq!(
            changed(|text| text.challenge = Nonce::from_random([4; 32])),
            "receipt-replayed"
        );
        assert_eq!(
            changed(|text| text.model = "cheaper".to_owned()),
            "receipt-model-differs"
        );
        assert_eq!(
            changed(|text| text.request_sha256 = Digest::of("another")),
            "receipt-request-differs"
        );
        assert_eq!(
            changed(|text| text.answer_sha256 = Digest::of("another")),
            "receipt-response-differs"
        );
        assert_eq!(
            changed(|text| text.answer_bytes -= 1),
            "receipt-response-differs"
        );
        assert_eq!(
            changed(|text| text.purpose = "proofroom.other.v1".to_owned()),
            "receipt-text"
        );
        // less arrived than was signed
        let cut = ServedRun {
            answer: Digest::of(&ANSWER[..10]),
            answer_bytes: 10,
            ..run()
        };
        assert_eq!(judged(&bytes, &cut), Err("receipt-response-truncated"));
        let relay = enclave::receipt(&ProviderKey::ed25519("relay"), &text());
        assert_eq!(code(&relay), "receipt-key-unknown");
        // its name alone is no signature
        let forged = SignedReceipt {
            key: good.key,
            ..relay
        };
        assert_eq!(code(&forged), "receipt-signature");
        let edited = SignedReceipt {
            text: good.text.replace(MODEL, "simulated/other"),
            ..good
        };
        assert_eq!(code(&edited), "receipt-signature");
    }

    #[test]
    fn bytes_that_are_no_receipt_are_refused_at_every_length() {
        let bytes = signed(&text()).to_bytes().unwrap();
        for end in (0..bytes.len()).step_by(7) {
            assert_eq!(
                judged(&bytes[..end], &run()),
                Err("receipt-malformed"),
                "{end}"
            );
        }
        assert_eq!(judged(&[b' '; 5000], &run()), Err("receipt-malformed"));
        let spaced = SignedReceipt {
            text: "{ }".to_owned(),
            ..signed(&text())
        };
        assert_eq!(code(&spaced), "receipt-text");
    }
}

/// A policy that has requests sealed, with `more`.
fn sealing(more: &str) -> ProviderPolicy {
    let text = text().replace("[serving]", "[serving]\nencryption = \"required\"");
    parsed(&format!("{text}\n{more}")).unwrap()
}

const RELAYED: &str = "[[tolerate]]\ncheck = \"tls-key\"\nreason = \"a relay ends TLS\"\n";

fn with_key() -> EnclavePlan {
    let mut plan = plan();
    plan.statement.purpose = SEALING_PURPOSE.to_owned();
    plan.statement.key_config = Some(KeyConfig::new([5; 32]).to_hex());
    plan
}

#[test]
fn a_policy_that_demands_sealed_requests_refuses_a_statement_without_a_key_for_them() {
    let judged =
        |plan: &EnclavePlan, policy| appraise_provider(&document(plan), policy, exchange(), NOW);
    let policy = sealing("");
    let refused = judged(&plan(), &policy);
    let expected = ("model-0: sealing-key".to_owned(), "sealing-not-offered");
    assert_eq!(obstacle(&refused), expected);
    let accepted = judged(&with_key(), &policy).into_verified().unwrap();
    assert_eq!(accepted.sealing_key(), Some(KeyConfig::new([5; 32])));
    assert_eq!(accepted.tls_spki(), Some(connection()));
    // a key that no accepted quote binds is none
    let mut unbound = with_key();
    unbound.report_data = Some([1; 64]);
    assert!(judged(&unbound, &policy).into_verified().is_err());
    // nobody uses a key that the policy does not ask for
    let other = judged(&with_key(), &self::policy())
        .into_verified()
        .unwrap();
    assert_eq!(other.sealing_key(), None);
    for word in ["\"offered\"", "\"\"", "true"] {
        let text = text().replace("[serving]", &format!("[serving]\nencryption = {word}"));
        assert_eq!(parsed(&text).unwrap_err()[0].code(), "policy-syntax");
    }
}

#[test]
fn another_end_of_the_connection_is_borne_with_only_where_requests_are_sealed_and_the_policy_says_why()
 {
    let mut relayed = with_key();
    relayed.statement.tls_spki_sha256 = Digest::of("enclave");
    let judged =
        |policy: &ProviderPolicy| appraise_provider(&document(&relayed), policy, exchange(), NOW);
    let other = ("provider: tls-key".to_owned(), "tls-key-other");
    let tolerant = parsed(&format!("{}\n{RELAYED}", text())).unwrap();
    for policy in [policy(), tolerant, sealing("")] {
        let refused = judged(&policy);
        assert_eq!(obstacle(&refused), other);
    }
    let appraisal = judged(&sealing(RELAYED));
    let tls = appraisal.checks()[2].clone();
    assert_eq!(
        (tls.label().as_str(), tls.outcome.word(), tls.outcome.code()),
        (
            "provider: tls-key",
            "not-evaluated",
            Some("tls-key-relayed")
        )
    );
    let verified = appraisal.into_verified().unwrap();
    assert_eq!(verified.tls_spki(), None);
    assert_eq!(verified.sealing_key(), Some(KeyConfig::new([5; 32])));
}
