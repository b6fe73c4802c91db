//! Rungs `evidence` and `evidence-now`: every attested upstream's document, appraised again under
//! the policy that the session was bound to, as of the time of its use and as of now.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
};

use proofroom_canonical::{Digest, Timestamp};
use serde::Serialize;

use super::{
    Anchors, Failure, Made,
    provider::{Backing, ProviderJudge, Shown, check_run},
    room,
    seam::{self, Appraised},
    signatures::Records,
};
use crate::{
    bundle::BundleParts,
    statement::{Assurance, Binding, CheckFact, ModelRun, ProviderFacts, UpstreamFacts},
};

/// How evidence of the first protocol is called, which has no format of a provider's.
const FIRST_PROTOCOL: &str = "proofroom-upstream";

/// What stood behind one sending to an attested upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UpstreamEvidence {
    /// Place of the run among the session's.
    pub sequence: u64,
    /// The upstream, as configured.
    pub upstream: String,
    /// The model that it was asked for, and that its evidence is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// `proofroom-upstream`, or a provider's format.
    pub format: String,
    /// Name of the policy that accepted it, then and here.
    pub policy: String,
    /// Digest of the evidence document.
    pub evidence: Digest,
    /// How many checks of a provider's evidence hold. Of the first protocol every one that is required, uncounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<usize>,
    /// Whose machine signed the answer, where a receipt was judged again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// The checks that were not made: those that the policy bears with, and those for which the
    /// record has not enough, such as `request: model` where it does not say which model was asked for.
    pub not_made: Vec<CheckFact>,
}

/// An attested upstream as a model-run record states it.
struct Use<'a> {
    run: &'a ModelRun,
    upstream: &'a UpstreamFacts,
    evidence: Digest,
    policy: Digest,
    policy_name: &'a str,
    tls_spki: Digest,
    appraised: Timestamp,
    expires: Timestamp,
    provider: Option<&'a ProviderFacts>,
}

fn uses(records: &Records) -> impl Iterator<Item = Use<'_>> {
    let runs = records.runs.iter().map(super::VerifiedRecord::predicate);
    let sent = runs.flat_map(|run| run.sent_to().map(move |upstream| (run, upstream)));
    sent.filter_map(|(run, upstream)| match &upstream.assurance {
        Assurance::ContractOnly { .. } => None,
        Assurance::Attested {
            evidence,
            policy,
            tls_spki,
            appraised,
            expires,
            appraisal_policy,
            provider,
        } => Some(Use {
            run,
            upstream,
            evidence: *evidence,
            policy: *policy,
            policy_name: appraisal_policy,
            tls_spki: *tls_spki,
            appraised: *appraised,
            expires: *expires,
            provider: provider.as_ref(),
        }),
    })
}

/// Whether any model run used an attested upstream.
pub(super) fn is_used(records: &Records) -> bool {
    uses(records).next().is_some()
}

pub(super) fn check_cited(parts: &BundleParts, records: &Records) -> Result<(), Failure> {
    let mut cited: BTreeSet<Digest> = uses(records).map(|used| used.evidence).collect();
    cited.extend(room::cited(parts, records.session.predicate()));
    let held = parts.evidence.iter().map(Digest::of);
    match held.into_iter().find(|held| !cited.contains(held)) {
        Some(held) => {
            let cause = format!("evidence {held} is cited by no record");
            Err(Failure::refused("evidence-not-cited", cause))
        }
        None => Ok(()),
    }
}

/// The documents of a bundle, and the policies that judge them.
pub(super) struct Judge<'a> {
    parts: &'a BundleParts,
    binding: &'a Binding,
    anchors: &'a Anchors,
    documents: BTreeMap<Digest, &'a [u8]>,
    /// Read when the first run on a provider is judged.
    providers: OnceCell<ProviderJudge>,
}

/// What an appraisal depends on: document, policy, connection, time.
type Question = (Digest, Digest, Digest, Timestamp);

impl<'a> Judge<'a> {
    pub(super) fn new(parts: &'a BundleParts, binding: &'a Binding, anchors: &'a Anchors) -> Self {
        let documents = parts.evidence.iter();
        let documents = documents.map(|document| (Digest::of(document), document.as_slice()));
        Self {
            parts,
            binding,
            anchors,
            documents: documents.collect(),
            providers: OnceCell::new(),
        }
    }

    pub(super) fn verify_at_use(&self, records: &Records) -> Made<Vec<UpstreamEvidence>> {
        check_cited(self.parts, records)?;
        let mut appraised: BTreeMap<Question, Appraised> = BTreeMap::new();
        let mut shown = Vec::new();
        for used in uses(records) {
            if used.provider.is_none() && used.policy != self.binding.policies.appraisal {
                let run = used.run.run;
                let cause = format!("`{run}` was judged by another policy than the session's");
                return Err(Failure::refused("evidence-policy-differs", cause));
            }
            let question = (used.evidence, used.policy, used.tls_spki, used.appraised);
            let result = match appraised.entry(question) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => place.insert(self.appraise(&used, used.appraised)?),
            };
            let backing = check_use(&used, result)?;
            shown.push(told(&used, result, backing));
        }
        let (documents, runs) = (appraised.len(), shown.len());
        let found = format!("{documents} documents accepted as of their use in {runs} model runs");
        Ok((found, shown))
    }

    pub(super) fn verify_now(&self, records: &Records, now: Timestamp) -> Made<()> {
        let mut asked = BTreeSet::new();
        for used in uses(records) {
            if asked.insert((used.evidence, used.policy, used.tls_spki)) {
                self.appraise(&used, now)?;
            }
        }
        Ok((format!("would still be accepted at {now}"), ()))
    }

    fn appraise(&self, used: &Use<'_>, at: Timestamp) -> Result<Appraised, Failure> {
        let (run, evidence) = (used.run.run, used.evidence);
        let document = self.documents.get(&evidence).ok_or_else(|| {
            let cause = format!("evidence {evidence} of `{run}` is not in the bundle");
            Failure::refused("evidence-missing", cause)
        })?;
        let (own, anchors) = (&self.parts.trust.policies, self.anchors);
        if used.provider.is_none() {
            let policy = anchors.appraisal_policy.bytes(&own.appraisal);
            return seam::appraise(document, policy, at);
        }
        let shown = Shown {
            document,
            policy: used.policy,
            tls_spki: used.tls_spki,
        };
        let bound = &self.binding.policies.providers;
        let read = || ProviderJudge::new(&own.providers, bound, &anchors.provider_policies);
        self.providers.get_or_init(read).appraise(shown, at)
    }
}

/// What a record's use of evidence must satisfy: the code and words of the refusal, and whether it does.
type Rule = (&'static str, &'static str, fn(&Use<'_>, &Appraised) -> bool);

const RULES: [Rule; 4] = [
    (
        "evidence-policy-name",
        "hides that its evidence was accepted by a policy for test keys",
        |used, by| !by.policy.contains("simulated") || used.policy_name.contains("simulated"),
    ),
    (
        "evidence-key-differs",
        "used another key for its connection than its evidence names",
        |used, by| by.tls_spki.is_none_or(|key| key == used.tls_spki),
    ),
    (
        "evidence-model-differs",
        "asked for another model than its evidence is about",
        |used, by| {
            used.upstream
                .model
                .as_ref()
                .is_none_or(|model| *model == by.model)
        },
    ),
    (
        "evidence-expired",
        "was sent outside the time for which its evidence was accepted",
        |used, by| {
            let accepted = used.appraised..=used.expires;
            used.expires <= by.expires && accepted.contains(&used.upstream.sent)
        },
    ),
];

fn check_use(used: &Use<'_>, result: &Appraised) -> Result<Backing, Failure> {
    if let Some((code, words, _)) = RULES.iter().find(|(.., holds)| !holds(used, result)) {
        let cause = format!("`{}` {words}", used.run.run);
        return Err(Failure::refused(code, cause));
    }
    check_run(
        used.run,
        used.upstream,
        used.provider,
        result.provider.as_ref(),
    )
}

fn told(used: &Use<'_>, result: &Appraised, backing: Backing) -> UpstreamEvidence {
    let (upstream, provider) = (used.upstream, used.provider);
    let format = provider.map_or(FIRST_PROTOCOL, |facts| &facts.format);
    UpstreamEvidence {
        sequence: used.run.sequence,
        upstream: upstream.name.clone(),
        model: upstream.model.clone(),
        format: format.to_owned(),
        policy: result.policy.clone(),
        evidence: used.evidence,
        held: provider.map(ProviderFacts::held),
        receipt: backing.receipt,
        not_made: backing.not_made,
    }
}
