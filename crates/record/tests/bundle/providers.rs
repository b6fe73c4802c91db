//! Bundles of a session whose upstream attested in its own format: an honest one, and ones whose gateway lies about what
//! the evidence shows, or cites other evidence, another key, another policy.

use std::{collections::BTreeMap, sync::LazyLock};

use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_provider::{
    Beside, Exchange, Format, ProviderDocument, ProviderPolicy, VerifiedProvider,
    appraise_provider, verify_receipt,
};
use proofroom_record::{
    bundle::{BundleParts, ProviderFiles},
    event::RunStatus,
    ladder::{Anchor, Anchors, Outcome, verify_bundle, write_bundle},
    predicate::Predicate as _,
    statement::{Assurance, Binding, ModelRun, ProviderFacts, Receipt, RedactionResult},
};
use proofroom_testkit::provider::{self, ProviderKey, SimulatedProvider, aci};

use crate::{
    first_problem,
    fixture::{Fixture, assemble, at},
    good_files,
    mutations::{Wanted, refused},
    now, verify,
};

const POLICY: &str = "near-ai.toml";

/// The policy and those that it rests on.
fn policies() -> ProviderFiles {
    with_policy(&provider::policy("near-ai"))
}

fn with_policy(text: &str) -> ProviderFiles {
    let siblings = provider::policies().into_iter();
    let siblings = siblings.map(|(name, text)| (name.to_owned(), text.into_bytes()));
    let own = (POLICY.to_owned(), text.as_bytes().to_vec());
    siblings.chain([own]).collect()
}

fn spki() -> Digest {
    Digest::of("the provider's TLS key")
}

/// What the provider showed, and what it proves.
fn evidence(made: Timestamp) -> (Vec<u8>, VerifiedProvider) {
    let simulated = SimulatedProvider::demo();
    let plan = simulated.plan(nonce(), spki(), made);
    let collateral = simulated.collateral(&plan);
    let report = simulated.report(&plan);
    let document = ProviderDocument::write(Format::NearAi, &report, collateral).unwrap();
    let verified = proved(&document, &policies(), made);
    (document, verified)
}

fn nonce() -> Nonce {
    Nonce::from_random([6; 32])
}

fn proved(document: &[u8], files: &ProviderFiles, made: Timestamp) -> VerifiedProvider {
    let sibling = |name: &str| String::from_utf8(files.get(name)?.clone()).ok();
    let policy = ProviderPolicy::parse(&sibling(POLICY).unwrap(), POLICY, &sibling).unwrap();
    let exchange = Exchange::Challenge {
        nonce: nonce(),
        tls_spki: spki(),
    };
    let appraisal = appraise_provider(document, &policy, exchange, made);
    appraisal.into_verified().unwrap()
}

/// Of the time of the session, and of weeks before: their devices' certificates take a while to make.
static OF_THE_SESSION: LazyLock<(Vec<u8>, VerifiedProvider)> = LazyLock::new(|| evidence(at(10)));
static OLD: LazyLock<(Vec<u8>, VerifiedProvider)> = LazyLock::new(|| evidence(at(-4_000_000)));

/// What may be lied about: what the second run says of its upstream, what the session is bound to, and the files.
#[derive(Clone, Copy)]
struct Lies {
    run: fn(&mut Claim<'_>),
    /// All else of the run.
    whole: fn(&mut ModelRun),
    binding: fn(&mut Binding),
    files: fn(&mut BundleParts),
}

/// A claim of evidence, and the model that was asked for.
struct Claim<'a> {
    model: &'a mut Option<String>,
    evidence: &'a mut Digest,
    policy: &'a mut Digest,
    policy_name: &'a mut String,
    tls_spki: &'a mut Digest,
    appraised: &'a mut Timestamp,
    expires: &'a mut Timestamp,
    provider: &'a mut Option<ProviderFacts>,
    receipt: &'a mut Option<Receipt>,
}

/// The answer's receipt as the gateway kept it.
fn receipt(run: &ModelRun, verified: &VerifiedProvider) -> Receipt {
    let (request, answer) = (
        run.request.forwarded.unwrap(),
        run.response.as_ref().unwrap().digest,
    );
    let key = ProviderKey::ethereum("model");
    let served = provider::receipt(&key, Some(provider::MODEL), request, answer).to_string();
    Receipt::of(&verify_receipt(served.as_bytes(), verified, request, answer).unwrap())
}

const HONEST: Lies = Lies {
    run: |_| {},
    whole: |_| {},
    binding: |_| {},
    files: |_| {},
};

fn parts(lies: Lies) -> BundleParts {
    let (document, verified) = OF_THE_SESSION.clone();
    parts_of(document, verified, policies(), lies)
}

fn parts_of(
    document: Vec<u8>,
    verified: VerifiedProvider,
    files: ProviderFiles,
    lies: Lies,
) -> BundleParts {
    let claimed = Assurance::Attested {
        evidence: Digest::of(&document),
        appraisal_policy: verified.policy_name().to_owned(),
        policy: verified.policy_digest(),
        tls_spki: spki(),
        appraised: at(10),
        expires: verified.expires(),
        provider: Some(ProviderFacts::of(&verified)),
    };
    let digests: BTreeMap<_, _> = (files.iter())
        .map(|(name, bytes)| (name.clone(), Digest::of(bytes)))
        .collect();
    let fixture = Fixture {
        binding: Box::new(move |binding| {
            binding.policies.providers.clone_from(&digests);
            (lies.binding)(binding);
        }),
        runs: Box::new(move |runs: &mut Vec<ModelRun>| {
            let signs = verified.format() == Format::NearAi;
            let kept = signs.then(|| receipt(&runs[1], &verified));
            let run = &mut runs[1];
            let upstream = run.upstream.as_mut().unwrap();
            let receipt = &mut run.response.as_mut().unwrap().receipt;
            *receipt = kept;
            let (model, said) = (&mut upstream.model, &mut upstream.assurance);
            *model = Some(provider::MODEL.to_owned());
            *said = claimed.clone();
            if let Assurance::Attested {
                evidence,
                appraisal_policy: policy_name,
                policy,
                tls_spki,
                appraised,
                expires,
                provider,
            } = said
            {
                (lies.run)(&mut Claim {
                    model,
                    evidence,
                    policy,
                    policy_name,
                    tls_spki,
                    appraised,
                    expires,
                    provider,
                    receipt,
                });
            }
            (lies.whole)(run);
        }),
        ..Fixture::default()
    };
    let mut parts = fixture.parts();
    parts.evidence = vec![document];
    parts.trust.policies.providers = files;
    (lies.files)(&mut parts);
    parts
}

fn run(run: fn(&mut Claim<'_>)) -> Lies {
    Lies { run, ..HONEST }
}

#[test]
fn what_a_provider_proved_is_judged_again_and_shown() {
    let report = verify(&write_bundle(&parts(HONEST)).unwrap());
    assert_eq!(first_problem(&report), ("none", "accepted"));
    let shown: Vec<_> = (report.upstreams.iter())
        .map(|one| (one.format.as_str(), one.policy.as_str(), one.held))
        .collect();
    assert_eq!(shown, [("near-ai", "simulated-provider", Some(20))]);
    assert_eq!(report.upstreams[0].model.as_deref(), Some(provider::MODEL));
    assert_eq!(report.upstreams[0].not_made, []);
    assert_eq!(report.upstreams[0].receipt.as_deref(), Some("model-0"));
}

/// Whoever restores placeholders gives the client other bytes than came, and keeps no digest of these.
#[test]
fn a_receipt_for_an_answer_that_the_record_does_not_have_is_judged_but_for_the_answer() {
    let changed = Lies {
        whole: |run| {
            run.classification.redaction = Some(RedactionResult {
                label: "public".to_owned(),
                high_water_after: run.classification.high_water_after.clone(),
                replaced: Vec::new(),
                restored: 0,
            });
            run.response.as_mut().unwrap().digest = Digest::of("what the client got");
        },
        ..HONEST
    };
    let report = verify(&write_bundle(&parts(changed)).unwrap());
    assert_eq!(first_problem(&report), ("none", "accepted"));
    let shown = &report.upstreams[0];
    assert_eq!(shown.receipt.as_deref(), Some("model-0"));
    let not_made: Vec<_> = shown.not_made.iter().map(ToString::to_string).collect();
    assert_eq!(not_made, ["receipt: answer [answer-not-kept]"]);
    // a run that broke off needs no receipt
    let broken = Lies {
        run: |claim| *claim.receipt = None,
        whole: |run| run.status = RunStatus::Cancelled,
        ..HONEST
    };
    let report = verify(&write_bundle(&parts(broken)).unwrap());
    assert_eq!(first_problem(&report), ("none", "accepted"));
    let shown = &report.upstreams[0];
    assert_eq!(shown.receipt, None);
    assert_eq!(shown.not_made[0].to_string(), "receipt [run-not-complete]");
}

/// What the session's policy did without, or was for, is not what the auditor's own demands.
#[test]
fn the_auditors_own_policy_judges_receipts_and_models_too() {
    let pinned = |files: ProviderFiles| Anchors {
        provider_policies: Anchor::Pinned(files),
        ..Anchors::from_bundle()
    };
    let judged = |parts: &BundleParts, anchors: &Anchors| {
        let report = verify_bundle(&write_bundle(parts).unwrap(), anchors, now());
        first_problem(&report)
    };
    let document = OF_THE_SESSION.0.clone();
    let text = provider::policy("near-ai");
    let lax = with_policy(&text.replace("\"required\"", "\"not-offered\""));
    let verified = proved(&document, &lax, at(10));
    let without = Lies {
        run: |claim| *claim.receipt = None,
        ..HONEST
    };
    let parts = parts_of(document, verified, lax.clone(), without);
    assert_eq!(judged(&parts, &pinned(lax)).1, "accepted");
    assert_eq!(
        judged(&parts, &pinned(policies())),
        ("evidence", "receipt-missing")
    );
    // a service whose evidence names no model: its policy alone says which
    let plan = aci::plan(nonce(), spki(), at(10));
    let beside = Beside {
        collateral: aci::collateral(&plan),
        challenge: Some(nonce()),
    };
    let document = ProviderDocument::write(Format::Aci, &aci::report(&plan), beside);
    let (document, files) = (document.unwrap(), with_policy(&aci::policy("direct")));
    let verified = proved(&document, &files, at(10));
    let broken = Lies {
        whole: |run| run.status = RunStatus::Cancelled,
        ..HONEST
    };
    let parts = parts_of(document, verified, files.clone(), broken);
    let other = aci::policy("direct").replace(provider::MODEL, "simulated/other");
    let anchors = pinned(with_policy(&other));
    assert_eq!(
        judged(&parts, &anchors),
        ("evidence", "evidence-model-differs")
    );
    assert_eq!(judged(&parts, &pinned(files)).1, "accepted");
}

#[test]
fn a_receipt_of_a_provider_that_was_not_asked_contradicts_its_record() {
    let (_, verified) = OF_THE_SESSION.clone();
    let fixture = Fixture {
        runs: Box::new(move |runs: &mut Vec<ModelRun>| {
            let kept = receipt(&runs[0], &verified);
            runs[0].response.as_mut().unwrap().receipt = Some(kept);
            let words = "a receipt of a provider that was not asked";
            assert_eq!(runs[0].contradiction(), Some(words));
            runs[0].response.as_mut().unwrap().receipt = None;
        }),
        ..Fixture::default()
    };
    drop(fixture.parts());
}

/// Records of a time that did not say which model was asked for are accepted, and not as if they had said it.
#[test]
fn a_record_without_the_model_that_was_asked_for_says_that_it_was_not_compared() {
    let parts = parts(run(|claim| *claim.model = None));
    let report = verify(&write_bundle(&parts).unwrap());
    assert_eq!(first_problem(&report), ("none", "accepted"));
    let not_made = report.upstreams[0].not_made.iter().map(ToString::to_string);
    assert_eq!(
        not_made.collect::<Vec<_>>(),
        [
            "request: model [model-not-recorded]",
            // its client may have left at the end mark
            "receipt: answer [answer-not-kept]",
        ]
    );
}

#[test]
fn a_gateway_that_lies_about_a_providers_evidence_is_refused() {
    let code = |code| ("evidence", code, 10);
    let lies: [(&str, Lies, Wanted); 17] = [
        (
            "a check more",
            run(|claim| {
                let facts = claim.provider.as_mut().unwrap();
                let mut more = facts.checks[0].clone();
                more.check = "request: sealed".to_owned();
                facts.checks.push(more);
            }),
            code("evidence-checks-differ"),
        ),
        (
            "another model than the evidence is about",
            run(|claim| *claim.model = Some("simulated/other".to_owned())),
            code("evidence-model-differs"),
        ),
        (
            "an answer without its receipt",
            run(|claim| *claim.receipt = None),
            code("receipt-missing"),
        ),
        (
            "a receipt of a key that no quote binds",
            run(|claim| {
                let receipt = claim.receipt.as_mut().unwrap();
                receipt.signature = ProviderKey::ethereum("relay").sign(&receipt.text);
            }),
            code("receipt-key-unknown"),
        ),
        (
            "a receipt by another machine than it is",
            run(|claim| "gateway".clone_into(&mut claim.receipt.as_mut().unwrap().signer)),
            code("receipt-differs"),
        ),
        (
            "another answer than the signed one",
            Lies {
                whole: |run| run.response.as_mut().unwrap().digest = Digest::of("x"),
                ..HONEST
            },
            code("receipt-response-differs"),
        ),
        (
            "another request than the signed one",
            Lies {
                whole: |run| run.request.forwarded = Some(Digest::of("x")),
                ..HONEST
            },
            code("receipt-request-differs"),
        ),
        (
            "a check less",
            run(|claim| drop(claim.provider.as_mut().unwrap().checks.pop())),
            code("evidence-checks-differ"),
        ),
        (
            "another format",
            run(|claim| "dstack".clone_into(&mut claim.provider.as_mut().unwrap().format)),
            code("evidence-checks-differ"),
        ),
        (
            "a connection with another key",
            run(|claim| *claim.tls_spki = Digest::of("x")),
            code("tls-key-other"),
        ),
        (
            "a policy that is not among the session's",
            run(|claim| *claim.policy = Digest::of("x")),
            code("evidence-policy-differs"),
        ),
        (
            "a provider's evidence as that of the first protocol",
            run(|claim| (*claim.provider, *claim.receipt) = (None, None)),
            code("evidence-policy-differs"),
        ),
        (
            "simulated, and does not say so",
            run(|claim| "production".clone_into(claim.policy_name)),
            code("evidence-policy-name"),
        ),
        (
            "held for longer",
            run(|claim| *claim.expires = at(900_000_000)),
            code("evidence-expired"),
        ),
        (
            "used before it was appraised",
            run(|claim| *claim.appraised = at(45)),
            code("evidence-expired"),
        ),
        (
            "evidence that is not there",
            Lies {
                run: |claim| *claim.evidence = Digest::of("x"),
                files: |parts| parts.evidence.clear(),
                ..HONEST
            },
            code("evidence-missing"),
        ),
        (
            "evidence of another day",
            Lies {
                run: |claim| *claim.evidence = Digest::of(&OLD.0),
                files: |parts| parts.evidence = vec![OLD.0.clone()],
                ..HONEST
            },
            code("crl-expired"),
        ),
    ];
    for (what, lies, wanted) in lies {
        refused(what, &assemble(&parts(lies), &good_files()), wanted);
    }
}

#[test]
fn a_file_that_the_session_is_not_bound_to_judges_nothing() {
    let policies = |code| ("policies", code, 10);
    let unbound = Lies {
        binding: |binding| {
            binding.policies.providers.remove(POLICY);
        },
        ..HONEST
    };
    let added = Lies {
        files: |parts| {
            let files = &mut parts.trust.policies.providers;
            files.insert("added.toml".to_owned(), files[POLICY].clone());
        },
        ..HONEST
    };
    let removed = Lies {
        files: |parts| drop(parts.trust.policies.providers.remove(provider::GPU_POLICY)),
        ..HONEST
    };
    for (what, lies) in [("unbound", unbound), ("added", added), ("removed", removed)] {
        let bytes = assemble(&parts(lies), &good_files());
        refused(what, &bytes, policies("policy-differs"));
        let report = verify(&bytes);
        let found = report.checks.iter().find(|check| check.name == "evidence");
        let code = match &found.unwrap().outcome {
            Outcome::Fail(failure) => failure.code,
            _ => "accepted",
        };
        let wanted = if what == "added" {
            "accepted"
        } else {
            "evidence-policy-differs"
        };
        assert_eq!(code, wanted, "{what}");
    }
}
