//! Bundles of deployments that keep a policy history: the entry in force is in the bundle, and every
//! lie about it is refused.

use proofroom_canonical::Digest;
use proofroom_record::{
    bundle::archive,
    ladder::{Outcome, Verdict, write_bundle},
};

use crate::{
    first_problem,
    fixture::{Fixture, assemble, at},
    good_files, verify,
};

fn with_version() -> Fixture {
    Fixture {
        version: Some(Box::new(|_| {})),
        ..Fixture::default()
    }
}

#[test]
fn the_version_in_force_is_verified_and_named() {
    let bytes = write_bundle(&with_version().parts()).unwrap();
    let report = verify(&bytes);
    assert_eq!(report.verdict, Verdict::Accepted, "{report:#?}");
    let policies = report.checks.iter().find(|check| check.name == "policies");
    let Outcome::Pass { found, .. } = &policies.unwrap().outcome else {
        panic!("{policies:?}");
    };
    assert!(
        found.contains("version 1 of the deployment's policy"),
        "{found}"
    );
    assert!(
        found.contains("security@acme.example") && found.contains("gateway key"),
        "{found}"
    );
    let files = archive::read(&bytes).unwrap();
    assert!(files.contains_key("records/policy-version.dsse.json"));
    assert!(files.contains_key("records/policy-version.tlog-proof"));
}

#[test]
fn every_lie_about_the_version_is_refused() {
    let refused = |fixture: Fixture| {
        let bytes = assemble(&fixture.parts(), &good_files());
        first_problem(&verify(&bytes))
    };
    let version = |change: fn(&mut proofroom_record::policy_version::PolicyVersion)| Fixture {
        version: Some(Box::new(change)),
        ..Fixture::default()
    };
    let other_files = version(|v| v.policies.routing = Digest::of("another"));
    assert_eq!(refused(other_files), ("policies", "policy-version-files"));
    let later = version(|v| v.in_force_from = at(5));
    assert_eq!(refused(later), ("policies", "policy-version-not-in-force"));
    let no_key = version(|v| v.signer = "none".to_owned());
    assert_eq!(refused(no_key), ("signature", "policy-history-key"));
    let mut unbound = with_version();
    unbound.binding = Box::new(|binding| binding.policies.version = None);
    assert_eq!(refused(unbound), ("policies", "policy-version-differs"));
    let mut missing = with_version().parts();
    missing.trust.policy_version = None;
    let bytes = assemble(&missing, &good_files());
    assert_eq!(
        first_problem(&verify(&bytes)),
        ("policies", "policy-version-differs")
    );
    let mut parts = with_version().parts();
    parts.trust.policy_version.as_mut().unwrap().proof = parts.session.proof.clone();
    let bytes = assemble(&parts, &good_files());
    assert_eq!(first_problem(&verify(&bytes)).0, "inclusion");
}
