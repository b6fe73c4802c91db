//! What is accepted, and what is not although nothing failed.

use proofroom_canonical::{Digest, Nonce};
use proofroom_provider::{
    Beside, CheckOutcome, Exchange, Format, ProviderDocument, appraise_provider,
};
use proofroom_testkit::provider::{self, MODEL};
use proofroom_verifier::{Assurance, Verdict};

use crate::world::{
    NOW, PROVIDER, appraise, connection, document, exchange, gateway, model, near_policy, nonce,
    obstacle, plan, policy_of,
};

#[test]
fn a_provider_whose_machines_quotes_and_gpus_hold_is_accepted() {
    let appraisal = appraise(&plan(), &near_policy());
    assert_eq!(
        appraisal.verdict(),
        Verdict::Accept,
        "{:#?}",
        appraisal.checks()
    );
    assert!(
        appraisal
            .checks()
            .iter()
            .all(|check| check.outcome == CheckOutcome::Pass)
    );
    let verified = appraisal.into_verified().unwrap();
    assert_eq!(verified.assurance(), Assurance::Simulated);
    assert_eq!(verified.model(), MODEL);
    assert_eq!(verified.tls_spki(), Some(connection()));
    assert_eq!(verified.machines_and_gpus(), (1, 2));
    assert_eq!(verified.quotes().count(), 2);
    assert_eq!(verified.expires(), NOW.after_seconds(600));
}

#[test]
fn one_machine_of_dstack_is_accepted_in_its_own_format() {
    let policy = policy_of(&provider::policy("dstack"));
    let plan = PROVIDER.dstack_plan(nonce(), connection(), NOW);
    let verified = appraise(&plan, &policy).into_verified().unwrap();
    assert_eq!(verified.tls_spki(), Some(connection()));
    assert_eq!(verified.machines_and_gpus(), (1, 2));
    // NEAR AI's report is none of dstack's, nor the other way round
    let near = document(&self::plan(), Format::Dstack);
    let appraisal = appraise_provider(&near, &policy, exchange(), NOW);
    assert_eq!(
        obstacle(&appraisal),
        ("provider: report".to_owned(), "report-malformed")
    );
    let near = document(&self::plan(), Format::NearAi);
    let appraisal = appraise_provider(&near, &policy, exchange(), NOW);
    assert_eq!(
        obstacle(&appraisal),
        ("provider: report".to_owned(), "report-format")
    );
}

#[test]
fn what_was_not_checked_is_accepted_only_where_the_policy_says_why_and_is_never_shown_as_passed() {
    let tolerate = "\n[[tolerate]]\ncheck = \"tls-key\"\nreason = \"not offered\"\n\
                    \n[[tolerate]]\ncheck = \"gpu\"\nreason = \"no GPUs\"\n";
    let policy = policy_of(&(provider::policy("near-ai") + tolerate));
    let mut plan = plan();
    gateway(&mut plan).tls_spki = None;
    model(&mut plan).gpus.clear();
    let verified = appraise(&plan, &policy).into_verified().unwrap();
    assert_eq!(verified.tls_spki(), None);
    assert_eq!(verified.machines_and_gpus(), (1, 0));
    let open: Vec<_> = verified
        .checks()
        .iter()
        .filter(|check| check.outcome != CheckOutcome::Pass)
        .map(|check| {
            (
                check.label(),
                check.outcome.word(),
                check.outcome.code().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        open,
        [
            (
                "provider: tls-key".to_owned(),
                "not-evaluated",
                "tls-key-not-offered"
            ),
            (
                "model-0: gpu".to_owned(),
                "not-evaluated",
                "gpu-not-supplied"
            ),
        ]
    );
    // what fails is never borne with
    let mut relay = crate::world::plan();
    gateway(&mut relay).tls_spki = Some(Digest::of("relay"));
    assert_eq!(obstacle(&appraise(&relay, &policy)).1, "tls-key-other");
    let mut old = crate::world::plan();
    model(&mut old).gpus[0].report.nonce = Nonce::from_random([1; 32]);
    assert_eq!(obstacle(&appraise(&old, &policy)).1, "gpu-nonce-mismatch");
}

#[test]
fn an_archive_proves_neither_freshness_nor_a_connection() {
    let document = document(&plan(), Format::NearAi);
    let appraisal = appraise_provider(&document, &near_policy(), Exchange::ArchiveAudit, NOW);
    assert_eq!(
        appraisal.verdict(),
        Verdict::Incomplete,
        "{:#?}",
        appraisal.checks()
    );
    let open: Vec<_> = appraisal
        .checks()
        .iter()
        .filter(|check| check.outcome != CheckOutcome::Pass)
        .map(|check| (check.label(), check.outcome.code().unwrap()))
        .collect();
    let archive = |label: &str| (label.to_owned(), "archive-audit");
    assert_eq!(
        open,
        [
            archive("provider: tls-key"),
            archive("gateway: nonce"),
            archive("model-0: nonce"),
        ]
    );
    assert!(appraisal.into_verified().is_err());
}

#[test]
fn a_document_cut_at_any_length_or_without_its_collateral_is_not_accepted() {
    let policy = near_policy();
    let whole = document(&plan(), Format::NearAi);
    for length in (0..whole.len())
        .step_by(997)
        .chain(whole.len() - 40..whole.len())
    {
        let appraisal = appraise_provider(&whole[..length], &policy, exchange(), NOW);
        assert_eq!(
            obstacle(&appraisal),
            ("provider: report".to_owned(), "report-malformed"),
            "{length}"
        );
    }
    let report = PROVIDER.report(&plan());
    let bare = ProviderDocument::write(Format::NearAi, &report, Beside::default()).unwrap();
    let appraisal = appraise_provider(&bare, &policy, exchange(), NOW);
    assert_eq!(appraisal.verdict(), Verdict::Incomplete);
    assert_eq!(
        obstacle(&appraisal),
        ("gateway: quote".to_owned(), "not-supplied")
    );
    let text = String::from_utf8(report).unwrap();
    for (broken, code) in [
        (
            text.replacen("\"intel_quote\":\"04", "\"intel_quote\":\"03", 1),
            "quote-unsupported",
        ),
        (
            text.replacen("\"intel_quote\":\"04", "\"intel_quote\":\"zz", 1),
            "report-malformed",
        ),
        (
            text.replacen("\"signing_algo\":\"ecdsa\"", "\"signing_algo\":\"rsa\"", 1),
            "report-malformed",
        ),
        (
            text.replacen(
                "\"signing_algo\"",
                "\"signing_algo\":\"ecdsa\",\"signing_algo\"",
                1,
            ),
            "report-malformed",
        ),
    ] {
        assert_ne!(broken, text);
        let document =
            ProviderDocument::write(Format::NearAi, broken.as_bytes(), Beside::default()).unwrap();
        let appraisal = appraise_provider(&document, &policy, exchange(), NOW);
        assert_eq!(obstacle(&appraisal).1, code);
    }
}
