//! What a policy demands of the platform under a TD, whatever runs in it: its roots, its TCB and the
//! TD's attributes. Policies for upstreams and for rooms say it with the same keys.

use proofroom_canonical::{Digest, Hex, Timestamp};
use proofroom_evidence::{Fmspc, Ppid, TdAttributes};
use serde::Deserialize;

use super::{INTEL_SGX_ROOT, Problems, RawRegister, SIMULATED};
use crate::{CauseCode, Outcome, TcbStatus};

/// Judges single facts about a platform. Built from a policy file alone.
#[derive(Clone, Debug)]
pub(crate) struct PlatformRule {
    /// Name of the policy, for words.
    pub(crate) policy: String,
    roots: Vec<Digest>,
    accept: Vec<TcbStatus>,
    tolerate: Vec<Tolerance>,
    min_evaluation: u32,
    refuse_advisories: Vec<String>,
    allowed_attributes: u64,
    /// None stands for any.
    ppids: Option<Vec<Ppid>>,
    fmspcs: Option<Vec<Fmspc>>,
}

/// Whether `id` is listed, where there is a list.
fn lists<T: PartialEq>(listed: Option<&Vec<T>>, id: &T) -> bool {
    listed.is_none_or(|listed| listed.contains(id))
}

impl PlatformRule {
    pub(crate) fn trusts_root(&self, root: Digest) -> bool {
        self.roots.contains(&root)
    }

    /// Until when the policy bears with `status`; `Ok(None)` for one that it simply accepts.
    pub(crate) fn judge_status(
        &self,
        status: TcbStatus,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Outcome> {
        if self.accept.contains(&status) {
            return Ok(None);
        }
        let refused = |code, words: String| {
            let words = format!("the platform's TCB is {status}, {words}");
            Err(Outcome::fail(code, words))
        };
        let Some(tolerance) = self.tolerate.iter().find(|t| t.status == status) else {
            let words = "which the policy does not accept".to_owned();
            return refused(CauseCode::TcbStatusRefused, words);
        };
        if now >= tolerance.until {
            let words = format!("tolerated until {}", tolerance.until);
            return refused(CauseCode::ToleranceEnded, words);
        }
        Ok(Some(tolerance.until))
    }

    pub(crate) fn judge_advisories(&self, advisories: &[String]) -> Outcome {
        let refused = advisories
            .iter()
            .find(|id| self.refuse_advisories.contains(id));
        refused.map_or(Outcome::Pass, |id| {
            let words = format!("advisory {id} applies to the platform, and the policy refuses it");
            Outcome::fail(CauseCode::AdvisoryRefused, words)
        })
    }

    pub(crate) fn judge_evaluation(&self, number: u32) -> Outcome {
        let wanted = self.min_evaluation;
        Outcome::when(number >= wanted, CauseCode::EvaluationTooOld, || {
            format!("TCB evaluation data number {number} is below the policy's {wanted}")
        })
    }

    pub(crate) fn judge_machine(&self, ppid: Ppid, fmspc: Fmspc) -> Outcome {
        if !lists(self.ppids.as_ref(), &ppid) {
            let words = format!("the policy does not list the machine {ppid}");
            return Outcome::fail(CauseCode::PpidNotListed, words);
        }
        Outcome::when(
            lists(self.fmspcs.as_ref(), &fmspc),
            CauseCode::FmspcNotListed,
            || format!("the policy does not list machines of the family {fmspc}"),
        )
    }

    pub(crate) fn judge_attributes(&self, attributes: TdAttributes) -> Outcome {
        let extra = attributes.bits() & !self.allowed_attributes;
        Outcome::when(extra == 0, CauseCode::AttributeNotAllowed, || {
            format!("attribute bits {extra:#018x} are set, and the policy does not allow them")
        })
    }
}

/// The keys of a policy file that say it.
pub(crate) struct RawPlatform {
    pub(crate) roots: Vec<String>,
    pub(crate) tcb: RawTcb,
    pub(crate) attributes: RawAttributes,
    pub(crate) machines: Option<RawMachines>,
}

impl RawPlatform {
    /// Reads the keys of the policy called `name`; a root that is no vendor's needs `simulated` in it.
    pub(crate) fn read(self, name: &str, problems: &mut Problems<'_>) -> PlatformRule {
        let (ppids, fmspcs) = self.machines.map_or((None, None), |it| it.read(problems));
        let tcb = self.tcb;
        check_tcb(&tcb, problems);
        let allowed = self.attributes.allow.iter();
        PlatformRule {
            policy: name.to_owned(),
            roots: read_roots(&self.roots, name, problems),
            accept: tcb.accept,
            tolerate: tcb.tolerate,
            min_evaluation: tcb.min_evaluation_data_number,
            refuse_advisories: tcb.refuse_advisories,
            allowed_attributes: allowed.fold(0, |bits, name| bits | name.bit()),
            ppids,
            fmspcs,
        }
    }
}

/// An example that is about the platform alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPlatformExample {
    pub(crate) tcb: Option<RawStatusAt>,
    pub(crate) root: Option<Digest>,
    pub(crate) ppid: Option<String>,
    pub(crate) fmspc: Option<String>,
}

impl RawPlatformExample {
    /// Whether `rule` accepts each thing that the example names.
    pub(crate) fn judged(&self, rule: &PlatformRule) -> Vec<bool> {
        let tcb = self.tcb.as_ref();
        let ppid = self.ppid.as_ref().map(|text| read_id(text));
        let fmspc = self.fmspc.as_ref().map(|text| read_id(text));
        [
            tcb.map(|t| rule.judge_status(t.status, t.at).is_ok()),
            self.root.map(|root| rule.trusts_root(root)),
            ppid.map(|id| id.is_some_and(|id| lists(rule.ppids.as_ref(), &id))),
            fmspc.map(|id| id.is_some_and(|id| lists(rule.fmspcs.as_ref(), &id))),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Which machines: lists of hex digits, or `"any"`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawMachines {
    ppids: RawRegister,
    fmspcs: RawRegister,
}

impl RawMachines {
    fn read(self, problems: &mut Problems<'_>) -> (Option<Vec<Ppid>>, Option<Vec<Fmspc>>) {
        (
            read_ids("ppids", self.ppids, problems),
            read_ids("fmspcs", self.fmspcs, problems),
        )
    }
}

fn read_ids<const N: usize>(
    key: &str,
    raw: RawRegister,
    problems: &mut Problems<'_>,
) -> Option<Vec<Hex<N>>> {
    let texts = match raw {
        RawRegister::Word(word) if word == "any" => return None,
        RawRegister::Word(_) => Vec::new(),
        RawRegister::List(texts) => texts,
    };
    let ids: Option<Vec<Hex<N>>> = texts.iter().map(|text| read_id(text)).collect();
    match &ids {
        Some(ids) if ids.contains(&Hex::ZERO) => {
            let words = format!("`machines.{key}` has a placeholder of zeros");
            problems.add("policy-placeholder", words);
        }
        Some(ids) if !ids.is_empty() => {}
        _ => {
            let digits = N * 2;
            let words =
                format!("`machines.{key}` must be `\"any\"` or list {digits} hex digits each");
            problems.add("policy-machines", words);
        }
    }
    ids
}

/// Vendors write these ids with capitals too.
fn read_id<const N: usize>(text: &str) -> Option<Hex<N>> {
    text.to_ascii_lowercase().parse().ok()
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawStatusAt {
    status: TcbStatus,
    at: Timestamp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTcb {
    accept: Vec<TcbStatus>,
    min_evaluation_data_number: u32,
    refuse_advisories: Vec<String>,
    #[serde(default)]
    tolerate: Vec<Tolerance>,
}

/// A status that the policy bears with for a while.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tolerance {
    status: TcbStatus,
    until: Timestamp,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawAttributes {
    allow: Vec<AttributeName>,
}

/// Attribute bits that do not let others in (TDX module ABI specification, TD attributes).
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum AttributeName {
    Icssd,
    Lass,
    SeptVeDisable,
    Pks,
    Kl,
    Tpa,
    Perfmon,
}

impl AttributeName {
    const fn bit(self) -> u64 {
        1 << match self {
            Self::Icssd => 16,
            Self::Lass => 27,
            Self::SeptVeDisable => 28,
            Self::Pks => 30,
            Self::Kl => 31,
            Self::Tpa => 62,
            Self::Perfmon => 63,
        }
    }
}

fn read_roots(roots: &[String], name: &str, problems: &mut Problems<'_>) -> Vec<Digest> {
    if roots.is_empty() {
        problems.add("policy-roots", "`roots` must name at least one root");
    }
    let mut read = Vec::new();
    for root in roots {
        let digest = match root.as_str() {
            "intel-sgx-root" => Ok(INTEL_SGX_ROOT),
            digest => digest.parse(),
        };
        match digest {
            Ok(digest) if digest == INTEL_SGX_ROOT || name.contains(SIMULATED) => read.push(digest),
            Ok(_) => {
                let words =
                    "is no vendor's: a policy that trusts it must have `simulated` in its name";
                problems.add("policy-root-simulated", format!("root `{root}` {words}"));
            }
            Err(_) => {
                let words = "is neither `intel-sgx-root` nor `sha256:<64 hex digits>`";
                problems.add("policy-roots", format!("root `{root}` {words}"));
            }
        }
    }
    read
}

fn check_tcb(tcb: &RawTcb, problems: &mut Problems<'_>) {
    if tcb.accept.is_empty() {
        problems.add("policy-tcb", "`tcb.accept` must list at least one status");
    }
    let tolerated = tcb.tolerate.iter().map(|t| &t.status);
    if (tcb.accept.iter().chain(tolerated)).any(|status| *status == TcbStatus::Revoked) {
        problems.add("policy-tcb", "a `Revoked` TCB can not be accepted");
    }
    if tcb.tolerate.iter().any(|t| t.reason.trim().is_empty()) {
        problems.add("policy-tcb", "`tcb.tolerate` needs a `reason`");
    }
}
