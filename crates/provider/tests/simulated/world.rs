//! A simulated provider, its policies, and one exchange with it.

use std::sync::LazyLock;

use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_provider::{
    Exchange, Format, ProviderAppraisal, ProviderDocument, ProviderPolicy, VerifiedProvider,
    appraise_provider,
};
use proofroom_testkit::provider::{self, MachinePlan, ProviderPlan, SimulatedProvider};
use proofroom_verifier::Verdict;

pub static PROVIDER: LazyLock<SimulatedProvider> = LazyLock::new(SimulatedProvider::demo);

pub const NOW: Timestamp = Timestamp::from_unix_seconds(1_796_083_200);
pub const NONCE: [u8; 32] = [0x5a; 32];

pub fn nonce() -> Nonce {
    Nonce::from_random(NONCE)
}

pub fn connection() -> Digest {
    Digest::of("the connection's key")
}

pub fn exchange() -> Exchange {
    Exchange::Challenge {
        nonce: nonce(),
        tls_spki: connection(),
    }
}

pub fn policy_of(text: &str) -> ProviderPolicy {
    let siblings = provider::policies();
    ProviderPolicy::parse(text, "p.toml", &|name| siblings.get(name).cloned()).unwrap()
}

pub fn near_policy() -> ProviderPolicy {
    policy_of(&provider::policy("near-ai"))
}

pub fn plan() -> ProviderPlan {
    PROVIDER.plan(nonce(), connection(), NOW)
}

pub fn document(plan: &ProviderPlan, format: Format) -> Vec<u8> {
    let report = PROVIDER.report(plan);
    ProviderDocument::write(format, &report, PROVIDER.collateral(plan)).unwrap()
}

pub fn appraise(plan: &ProviderPlan, policy: &ProviderPolicy) -> ProviderAppraisal {
    let document = document(plan, policy.format());
    appraise_provider(&document, policy, exchange(), NOW)
}

pub fn verified() -> VerifiedProvider {
    appraise(&plan(), &near_policy()).into_verified().unwrap()
}

/// Code of the check that stands in the way, as `<component>: <check>`.
pub fn obstacle(appraisal: &ProviderAppraisal) -> (String, &'static str) {
    let check = appraisal.first_obstacle().unwrap();
    (check.label(), check.outcome.code().unwrap())
}

/// That `appraisal` of a document with the defect `what` was refused by `check` with `code`, and proves nothing.
pub fn assert_refused(what: &str, appraisal: ProviderAppraisal, check: &str, code: &'static str) {
    assert_eq!(
        obstacle(&appraisal),
        (check.to_owned(), code),
        "{what}: {:#?}",
        appraisal.checks()
    );
    assert_ne!(appraisal.verdict(), Verdict::Accept, "{what}");
    assert!(appraisal.into_verified().is_err(), "{what}");
}

pub fn gateway(plan: &mut ProviderPlan) -> &mut MachinePlan {
    plan.gateway.as_mut().unwrap()
}

pub fn model(plan: &mut ProviderPlan) -> &mut MachinePlan {
    &mut plan.models[0]
}
