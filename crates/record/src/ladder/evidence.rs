//! Rungs `evidence` and `evidence-now`: every attested upstream's document, appraised again under
//! the policy that the session was bound to, as of the time of its use and as of now.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use proofroom_canonical::{Digest, Timestamp};
use proofroom_provider::VerifiedProvider;
use serde::Serialize;

use super::{
    Anchors, Failure, Made,
    provider::{ProviderJudge, Shown},
    room, seam,
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
    /// `proofroom-upstream`, or a provider's format.
    pub format: String,
    /// Name of the policy that accepted it, then and here.
    pub policy: String,
    /// Digest of the evidence document.
    pub evidence: Digest,
    /// How many checks of a provider's evidence hold. Of the first protocol every one that is required, uncounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<usize>,
    /// The checks that were not made, and that the policy bears with.
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
    documents: BTreeMap<Digest, &'a [u8]>,
    policy: &'a [u8],
    providers: ProviderJudge,
}

/// What an accepted document says.
enum Accepted {
    First(seam::Appraised),
    Provider(Box<VerifiedProvider>),
}

/// What an appraisal depends on: document, policy, connection, time.
type Question = (Digest, Digest, Digest, Timestamp);

impl<'a> Judge<'a> {
    pub(super) fn new(parts: &'a BundleParts, anchors: &'a Anchors) -> Self {
        let own = &parts.trust.policies;
        let documents = parts.evidence.iter();
        Self {
            documents: documents
                .map(|document| (Digest::of(document), document.as_slice()))
                .collect(),
            policy: anchors.appraisal_policy.bytes(&own.appraisal),
            providers: ProviderJudge::new(&own.providers, &anchors.provider_policies),
        }
    }

    pub(super) fn verify_at_use(
        &self,
        parts: &BundleParts,
        binding: &Binding,
        records: &Records,
    ) -> Made<Vec<UpstreamEvidence>> {
        check_cited(parts, records)?;
        let mut appraised: BTreeMap<Question, Accepted> = BTreeMap::new();
        let mut shown = Vec::new();
        let mut unbound = 0usize;
        for used in uses(records) {
            if used.provider.is_none() && used.policy != binding.policies.appraisal {
                let run = used.run.run;
                let cause =
                    format!("`{run}` was appraised under another policy than the session's");
                return Err(Failure::refused("evidence-policy-differs", cause));
            }
            let question = (used.evidence, used.policy, used.tls_spki, used.appraised);
            let result = match appraised.entry(question) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => place.insert(self.appraise(&used, used.appraised)?),
            };
            check_use(&used, result)?;
            unbound += usize::from(!result.binds_connection());
            shown.push(told(&used, result));
        }
        let keys = match unbound {
            0 => "each names the key of its connection".to_owned(),
            some => format!("in {some} no evidence names the key of the connection"),
        };
        let found = format!(
            "{} documents accepted as of their use in {} model runs; {keys}",
            appraised.len(),
            shown.len(),
        );
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

    fn appraise(&self, used: &Use<'_>, at: Timestamp) -> Result<Accepted, Failure> {
        let (run, evidence) = (used.run.run, used.evidence);
        let document = self.documents.get(&evidence).ok_or_else(|| {
            let cause = format!("evidence {evidence} of `{run}` is not in the bundle");
            Failure::refused("evidence-missing", cause)
        })?;
        if used.provider.is_none() {
            return seam::appraise(document, self.policy, at).map(Accepted::First);
        }
        let shown = Shown {
            document,
            policy: used.policy,
            tls_spki: used.tls_spki,
        };
        let verified = self.providers.appraise(shown, at)?;
        Ok(Accepted::Provider(Box::new(verified)))
    }
}

impl Accepted {
    fn policy(&self) -> &str {
        match self {
            Self::First(appraised) => &appraised.policy,
            Self::Provider(verified) => verified.policy_name(),
        }
    }

    const fn expires(&self) -> Timestamp {
        match self {
            Self::First(appraised) => appraised.expires,
            Self::Provider(verified) => verified.expires(),
        }
    }

    /// Whether evidence binds the key of the connection. Where it does, the key is the record's: of a provider the
    /// appraisal itself compares them.
    const fn binds_connection(&self) -> bool {
        match self {
            Self::First(_) => true,
            Self::Provider(verified) => verified.tls_spki().is_some(),
        }
    }
}

fn check_use(used: &Use<'_>, result: &Accepted) -> Result<(), Failure> {
    let run = used.run.run;
    let refuse = |code, cause: String| Err(Failure::refused(code, cause));
    if result.policy().contains("simulated") && !used.policy_name.contains("simulated") {
        let cause = "hides that its evidence was accepted by a policy for test keys";
        return refuse("evidence-policy-name", format!("`{run}` {cause}"));
    }
    match (result, used.provider) {
        (Accepted::First(appraised), _) if appraised.tls_spki != used.tls_spki => {
            let cause =
                format!("the connection of `{run}` used another key than the evidence names");
            return refuse("evidence-key-differs", cause);
        }
        (Accepted::Provider(verified), Some(stated)) if ProviderFacts::of(verified) != *stated => {
            let cause = format!("`{run}` states other checks than its evidence shows");
            return refuse("evidence-checks-differ", cause);
        }
        _ => {}
    }
    let over = used.expires > result.expires();
    let sent = used.upstream.sent;
    if over || sent < used.appraised || sent > used.expires {
        let cause = "was sent outside the time for which the evidence was accepted";
        return refuse("evidence-expired", format!("`{run}` {cause}"));
    }
    Ok(())
}

fn told(used: &Use<'_>, result: &Accepted) -> UpstreamEvidence {
    let checks = used.provider.map(|facts| facts.checks.as_slice());
    let held = |check: &&CheckFact| check.outcome == "pass";
    let not_made = checks.into_iter().flatten().filter(|check| !held(check));
    UpstreamEvidence {
        sequence: used.run.sequence,
        upstream: used.upstream.name.clone(),
        format: used
            .provider
            .map_or(FIRST_PROTOCOL, |facts| &facts.format)
            .to_owned(),
        policy: result.policy().to_owned(),
        evidence: used.evidence,
        held: checks.map(|checks| checks.iter().filter(held).count()),
        not_made: not_made.cloned().collect(),
    }
}
