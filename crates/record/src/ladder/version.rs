//! Part of rung `policies`: that the entry of the policy history in the bundle is the one that the
//! session was bound to, consists of the session's files, and was in force when it began.

use super::{Failure, signatures::Records};
use crate::{
    policy_version::{VersionedPolicies, read_key},
    predicate::VerifiedRecord,
    statement::PolicyDigests,
};

/// What the entry says, in words that follow the sentence about the files; empty where the session
/// is bound to none and the bundle has none.
pub(super) fn verify(bound: &PolicyDigests, records: &Records) -> Result<String, Failure> {
    let refuse =
        |code, cause: &str| Err(Failure::refused(code, format!("policy version: {cause}")));
    if bound.version != records.version.as_ref().map(VerifiedRecord::digest) {
        let cause = "binding.json names another than the bundle has";
        return refuse("policy-version-differs", cause);
    }
    let Some(version) = records.version.as_ref().map(VerifiedRecord::predicate) else {
        return Ok(String::new());
    };
    if version.policies != VersionedPolicies::of(bound) {
        return refuse("policy-version-files", "it consists of other files");
    }
    if version.in_force_from > records.session.predicate().started {
        let cause = "it came into force after the session began";
        return refuse("policy-version-not-in-force", cause);
    }
    let own = read_key(version.number, &version.signer)
        .is_ok_and(|key| key == *records.gateway_certificate.key());
    let signer = match own {
        true => "the deployment's gateway key",
        false => "a key that the history vouches for and this bundle does not",
    };
    // author and reason come from outside: quoted and escaped
    Ok(format!(
        "; four of them are version {} of the deployment's policy, in force from {}, by {:?} because of {:?}, signed by {signer}",
        version.number, version.in_force_from, version.author, version.reason
    ))
}
