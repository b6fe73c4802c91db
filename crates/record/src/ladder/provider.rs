//! Evidence of providers in their own formats, appraised again: under the policies that the session was bound to, and
//! under the auditor's own where they are given.

use std::collections::BTreeMap;

use proofroom_canonical::{Digest, Timestamp};
use proofroom_provider::{
    Exchange, KeptAnswer, KeptRun, ProviderCheck, ProviderDocument, ProviderPolicy, ReceiptRule,
    VerifiedProvider, appraise_provider, verify_kept_receipt,
};

use super::{Anchor, Failure, seam::Appraised};
use crate::{
    bundle::ProviderFiles,
    event::RunStatus,
    statement::{CheckFact, ModelRun, ProviderFacts, Receipt, UpstreamFacts},
};

/// The policies for providers among some files, by the files' names.
pub(super) struct ProviderPolicies(Vec<(String, ProviderPolicy)>);

impl ProviderPolicies {
    fn read(files: &ProviderFiles) -> Self {
        let text = |name: &str| {
            let bytes = files.get(name)?;
            std::str::from_utf8(bytes).ok().map(str::to_owned)
        };
        // a file that is none is what another rests on, and is read with that
        let parsed = files.keys().filter_map(|name| {
            let policy = ProviderPolicy::parse(&text(name)?, name, &text).ok()?;
            Some((name.clone(), policy))
        });
        Self(parsed.collect())
    }

    fn of_digest(&self, digest: Digest) -> Option<&(String, ProviderPolicy)> {
        self.0.iter().find(|(_, policy)| policy.digest() == digest)
    }
}

/// Whose policies judge providers.
pub(super) struct ProviderJudge {
    bound: ProviderPolicies,
    pinned: Anchor<ProviderPolicies>,
}

/// A document as a record used it.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) document: &'a [u8],
    /// Digest of the policy that accepted it.
    pub(super) policy: Digest,
    /// The key that the connection had.
    pub(super) tls_spki: Digest,
}

impl ProviderJudge {
    /// Of the files `held` those that are `bound` count, and no other is read: a bundle may have thousands.
    pub(super) fn new(
        held: &ProviderFiles,
        bound: &BTreeMap<String, Digest>,
        anchor: &Anchor<ProviderFiles>,
    ) -> Self {
        let own = bound.iter().filter_map(|(name, digest)| {
            let bytes = held.get(name)?;
            (Digest::of(bytes) == *digest).then(|| (name.clone(), bytes.clone()))
        });
        Self {
            bound: ProviderPolicies::read(&own.collect()),
            pinned: match anchor {
                Anchor::FromBundle => Anchor::FromBundle,
                Anchor::Pinned(files) => Anchor::Pinned(ProviderPolicies::read(files)),
            },
        }
    }

    /// What the document proves as of `at` under the policy that the session was bound to. The auditor's own policy
    /// of that name must accept it too.
    pub(super) fn appraise(&self, shown: Shown<'_>, at: Timestamp) -> Result<Appraised, Failure> {
        let (name, policy) = self.bound.of_digest(shown.policy).ok_or_else(|| {
            let cause =
                "a run was appraised under a policy for a provider that is not among the session's";
            Failure::refused("evidence-policy-differs", cause)
        })?;
        let verified = appraise(shown, policy, at)?;
        let pinned = match &self.pinned {
            Anchor::FromBundle => None,
            Anchor::Pinned(own) => {
                let own = own.0.iter().find(|(other, _)| other == name);
                let (_, own) = own.ok_or_else(|| {
                    let cause =
                        format!("the pinned policies have none for providers named `{name}`");
                    Failure::refused("provider-policy-missing", cause)
                })?;
                Some(appraise(shown, own, at)?)
            }
        };
        Ok(Appraised {
            model: verified.model().to_owned(),
            tls_spki: verified.tls_spki(),
            expires: verified.expires(),
            policy: verified.policy_name().to_owned(),
            provider: Some(ProviderProof {
                facts: ProviderFacts::of(&verified),
                verified,
                pinned,
            }),
        })
    }
}

/// Appraises an archived document as of `at`, for the challenge that it says itself and the connection that the record
/// states: that the challenge was fresh and the connection had this key is the gateway's word.
fn appraise(
    shown: Shown<'_>,
    policy: &ProviderPolicy,
    at: Timestamp,
) -> Result<VerifiedProvider, Failure> {
    let place = format!("evidence {}", Digest::of(shown.document));
    let challenge = ProviderDocument::parse(shown.document)
        .and_then(|document| document.kept_challenge())
        .map_err(|error| Failure::at(&place, error.code(), &error))?;
    let exchange = Exchange::Challenge {
        nonce: challenge,
        tls_spki: shown.tls_spki,
    };
    let appraisal = appraise_provider(shown.document, policy, exchange, at);
    appraisal.into_verified().map_err(|appraisal| {
        let obstacle = appraisal.first_obstacle();
        let label = obstacle.map_or_else(|| "evidence".to_owned(), ProviderCheck::label);
        let code = obstacle.and_then(|check| check.outcome.code());
        let code = code.unwrap_or("evidence-incomplete");
        let cause = format!("{place}: `{label}` fails at {at}: {code}");
        Failure::refused(code, cause)
    })
}

/// What a provider's evidence proves under the session's policy, and under the auditor's own where that was given.
pub(super) struct ProviderProof {
    facts: ProviderFacts,
    verified: VerifiedProvider,
    pinned: Option<VerifiedProvider>,
}

/// What stands behind a run besides the evidence of its upstream.
#[derive(Default)]
pub(super) struct Backing {
    /// Whose machine signed the answer.
    pub(super) receipt: Option<String>,
    /// The checks that were not made.
    pub(super) not_made: Vec<CheckFact>,
}

/// Compares what a run states of `upstream`, the checks `stated` among it, with what the evidence proves, and judges the
/// receipt of its answer again.
pub(super) fn check_run(
    run: &ModelRun,
    upstream: &UpstreamFacts,
    stated: Option<&ProviderFacts>,
    proof: Option<&ProviderProof>,
) -> Result<Backing, Failure> {
    let mut backing = Backing::default();
    if upstream.model.is_none() {
        let unknown = CheckFact::not_made("request: model", "model-not-recorded");
        backing.not_made.push(unknown);
    }
    if stated != proof.map(|proof| &proof.facts) {
        let cause = format!("`{}` states other checks than its evidence shows", run.run);
        return Err(Failure::refused("evidence-checks-differ", cause));
    }
    let Some(proof) = proof else {
        return Ok(backing);
    };
    let open = proof.facts.checks.iter().filter(|check| !check.holds());
    backing.not_made.extend(open.cloned());
    if let Some(own) = &proof.pinned {
        let asked = upstream.model.as_ref();
        if asked.is_some_and(|model| model != own.model()) {
            let words = "asked for another model than the pinned policy is for";
            let cause = format!("`{}` {words}", run.run);
            return Err(Failure::refused("evidence-model-differs", cause));
        }
    }
    // who was busy signed nothing
    if run.upstream.as_ref() == Some(upstream) {
        if let Some(own) = &proof.pinned {
            check_receipt((run, upstream), own, &mut Backing::default())?;
        }
        check_receipt((run, upstream), &proof.verified, &mut backing)?;
    }
    Ok(backing)
}

fn check_receipt(
    (run, upstream): (&ModelRun, &UpstreamFacts),
    provider: &VerifiedProvider,
    backing: &mut Backing,
) -> Result<(), Failure> {
    let refused = |code, what: &str| {
        let cause = format!("the receipt for the answer of `{}` {what}", run.run);
        Err(Failure::refused(code, cause))
    };
    let complete = run.status == RunStatus::Complete;
    let receipt = run.response.as_ref().and_then(|it| it.receipt.as_ref());
    let (Some(receipt), Some(request)) = (receipt, run.request.forwarded) else {
        let required = provider.receipts() == ReceiptRule::Required;
        if required && complete {
            return refused("receipt-missing", "is not there");
        }
        // an error needs none
        let answered =
            (run.response.as_ref()).is_some_and(|it| (200..300).contains(&it.http_status));
        if required && answered {
            let open = CheckFact::not_made("receipt", "run-not-complete");
            backing.not_made.push(open);
        }
        return Ok(());
    };
    let answer = answer_of(run);
    let asked = run.translated.as_ref().map(|said| &said.endpoint);
    let of_run = KeptRun {
        endpoint: asked.unwrap_or(&run.request.endpoint),
        request,
        answer,
        // the gateway looked at its clock a moment before it wrote this down
        sent: Timestamp::from_unix_seconds(upstream.sent.unix_seconds().saturating_sub(1)),
        ended: run.finished,
    };
    let (verified, session) = match verify_kept_receipt(receipt.kept(), provider, &of_run) {
        Ok(verified) => verified,
        Err(error) => return refused(error.code(), &format!("does not hold: {error}")),
    };
    if Receipt::of(&verified) != *receipt {
        return refused(
            "receipt-differs",
            "is by another key or machine than the record says",
        );
    }
    let open = [
        (
            answer == KeptAnswer::NotKept,
            ("receipt: answer", "answer-not-kept"),
        ),
        (session.is_some(), ("receipt: session", "session-not-kept")),
    ];
    let open = open.into_iter().filter(|(is, _)| *is);
    let open = open.map(|(_, (check, code))| CheckFact::not_made(check, code));
    backing.not_made.extend(open);
    backing.receipt = Some(verified.signer().to_string());
    Ok(())
}

/// The answer as it arrived. Of one that was cut off, or in which placeholders were put back, the record has the digest
/// of what the client got; so may records of a time that did not say the model have, whose clients left at the end mark.
fn answer_of(run: &ModelRun) -> KeptAnswer {
    let answer = match (&run.translated, &run.classification.redaction) {
        (Some(said), _) => said.answer,
        (None, None) if run.sent_to().all(|upstream| upstream.model.is_some()) => {
            run.response.as_ref().map(|response| response.digest)
        }
        (None, _) => None,
    };
    let answer = answer.filter(|_| run.status == RunStatus::Complete);
    answer.map_or(KeptAnswer::NotKept, KeptAnswer::Whole)
}
