//! Examples in an SNP policy file: what it must accept and what it must refuse, run when it is loaded.

use proofroom_canonical::Digest;
use proofroom_evidence::snp::{GuestPolicyBit, SigningKey, SnpProduct, TcbParts};
use serde::Deserialize;

use super::{RawParts, RawPartsFmc, read_hex};
use crate::{SnpAppraisalPolicy, policy::Problems};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExample {
    root: Option<Digest>,
    tcb: Option<RawPlatformTcb>,
    guest_policy: Option<Vec<GuestPolicyBit>>,
    vmpl: Option<u8>,
    key: Option<RawKey>,
    chip_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum RawPlatformTcb {
    Milan(RawParts),
    Genoa(RawParts),
    Turin(RawPartsFmc),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    kind: SigningKey,
    csp_id: Option<String>,
}

/// Runs `examples`, each of which must be accepted, or refused, in all that it says.
pub(super) fn run(
    policy: &SnpAppraisalPolicy,
    examples: &[RawExample],
    accepted: bool,
    problems: &mut Problems<'_>,
) {
    let key = if accepted { "match" } else { "not_match" };
    for (index, example) in examples.iter().enumerate() {
        let judged = judge(policy, example, problems);
        if judged.is_empty() {
            problems.add("policy-example", format!("[[{key}]] {index} says nothing"));
        } else if judged.iter().all(|holds| *holds) != accepted {
            problems.add(
                "policy-example",
                format!("[[{key}]] {index} does not hold under this policy"),
            );
        }
    }
}

fn judge(
    policy: &SnpAppraisalPolicy,
    example: &RawExample,
    problems: &mut Problems<'_>,
) -> Vec<bool> {
    let chips = example.chip_id.as_ref().map(|id| {
        let read = read_hex(std::slice::from_ref(id), "example `chip_id`", problems);
        read.into_iter()
            .all(|id| policy.judge_chip(super::ChipId::from_bytes(id)).is_ok())
    });
    [
        example.root.map(|root| policy.trusts_root(root)),
        example.tcb.as_ref().map(|tcb| reaches(policy, tcb)),
        example
            .guest_policy
            .as_ref()
            .map(|bits| policy.accepts_guest_bits(bits)),
        example.vmpl.map(|vmpl| policy.judge_vmpl(vmpl).is_ok()),
        example
            .key
            .as_ref()
            .map(|key| policy.judge_key(key.kind, key.csp_id.as_deref()).is_ok()),
        chips,
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn reaches(policy: &SnpAppraisalPolicy, tcb: &RawPlatformTcb) -> bool {
    let (product, parts) = match tcb {
        RawPlatformTcb::Milan(parts) => (SnpProduct::Milan, TcbParts::from(*parts)),
        RawPlatformTcb::Genoa(parts) => (SnpProduct::Genoa, TcbParts::from(*parts)),
        RawPlatformTcb::Turin(parts) => (SnpProduct::Turin, TcbParts::from(*parts)),
    };
    policy.judge_tcb(product, "example's", &parts).is_ok()
}
