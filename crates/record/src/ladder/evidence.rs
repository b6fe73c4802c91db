//! Rungs `evidence` and `evidence-now`: every attested upstream's document, appraised again under
//! the appraisal policy, as of the time of its use and as of now.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use proofroom_canonical::{Digest, Timestamp};

use super::{Blame, Failure, Made, room, seam, signatures::Records};
use crate::{
    bundle::BundleParts,
    statement::{Assurance, Binding, ModelRun},
};

/// An attested upstream as a model-run record states it.
struct Use<'a> {
    run: &'a ModelRun,
    evidence: Digest,
    policy: Digest,
    policy_name: &'a str,
    tls_spki: Digest,
    appraised: Timestamp,
    expires: Timestamp,
    sent: Timestamp,
    /// Whether its evidence is in a provider's own format.
    foreign: bool,
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
            evidence: *evidence,
            policy: *policy,
            policy_name: appraisal_policy,
            tls_spki: *tls_spki,
            appraised: *appraised,
            expires: *expires,
            sent: upstream.sent,
            foreign: provider.is_some(),
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

pub(super) fn verify_at_use(
    parts: &BundleParts,
    binding: &Binding,
    records: &Records,
    policy: &[u8],
) -> Made<()> {
    check_cited(parts, records)?;
    let documents = documents(parts);
    let mut appraised: BTreeMap<(Digest, Timestamp), seam::Appraised> = BTreeMap::new();
    let mut count = 0usize;
    for used in uses(records) {
        let (run, evidence) = (used.run.run, used.evidence);
        if used.foreign {
            let cause = format!("`{run}` rests on a provider's own format");
            return Err(Failure::refused("evidence-format", cause).blamed(Blame::Unsupported));
        }
        let document = documents.get(&evidence).ok_or_else(|| {
            let cause = format!("evidence {evidence} of `{run}` is not in the bundle");
            Failure::refused("evidence-missing", cause)
        })?;
        if used.policy != binding.policies.appraisal {
            let cause = format!("`{run}` was appraised under another policy than the session's");
            return Err(Failure::refused("evidence-policy-differs", cause));
        }
        let result = match appraised.entry((evidence, used.appraised)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(seam::appraise(document, policy, used.appraised)?),
        };
        check_use(&used, result)?;
        count += 1;
    }
    let found = format!(
        "{} documents accepted as of their use in {count} model runs; each names the key of its connection",
        appraised.len()
    );
    Ok((found, ()))
}

fn check_use(used: &Use<'_>, result: &seam::Appraised) -> Result<(), Failure> {
    let run = used.run.run;
    let refuse = |code, cause: String| Err(Failure::refused(code, cause));
    if result.policy.contains("simulated") && !used.policy_name.contains("simulated") {
        let cause = "hides that its evidence was accepted by a policy for test keys";
        return refuse("evidence-policy-name", format!("`{run}` {cause}"));
    }
    if result.tls_spki != used.tls_spki {
        let cause = format!("the connection of `{run}` used another key than the evidence names");
        return refuse("evidence-key-differs", cause);
    }
    let over = used.expires > result.expires;
    if over || used.sent < used.appraised || used.sent > used.expires {
        let cause = "was sent outside the time for which the evidence was accepted";
        return refuse("evidence-expired", format!("`{run}` {cause}"));
    }
    Ok(())
}

pub(super) fn verify_now(
    parts: &BundleParts,
    records: &Records,
    policy: &[u8],
    now: Timestamp,
) -> Made<()> {
    let documents = documents(parts);
    let cited: BTreeSet<Digest> = uses(records).map(|used| used.evidence).collect();
    for evidence in cited {
        if let Some(document) = documents.get(&evidence) {
            seam::appraise(document, policy, now)?;
        }
    }
    Ok((format!("would still be accepted at {now}"), ()))
}

fn documents(parts: &BundleParts) -> BTreeMap<Digest, &[u8]> {
    let documents = parts.evidence.iter();
    documents
        .map(|document| (Digest::of(document), document.as_slice()))
        .collect()
}
