//! The report: what the evidence is, what every check answered, and what they come to.

use std::collections::BTreeMap;

use proofroom_canonical::{Digest, Timestamp};
use proofroom_verifier::{
    Assurance, VerifiedGcp, VerifiedQuote, VerifiedRoom, VerifiedSnp, VerifiedUpstream,
    VerifiedVtpm, gpu::VerifiedGpus,
};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::{Answer, Kind, Row};

/// Evidence that was accepted. The verifier alone makes these, out of an appraisal under a policy.
#[derive(Clone, Debug)]
pub enum Proof {
    /// An upstream.
    Upstream(Box<VerifiedUpstream>),
    /// A bare TDX quote.
    Quote(Box<VerifiedQuote>),
    /// An SNP guest.
    Snp(Box<VerifiedSnp>),
    /// NVIDIA devices.
    Gpus(Box<VerifiedGpus>),
    /// A room.
    Room(Box<VerifiedRoom>),
    /// A guest behind Azure's paravisor.
    Vtpm(Box<VerifiedVtpm>),
    /// A guest of Google's.
    Gcp(Box<VerifiedGcp>),
}

/// What a report comes to.
#[derive(Clone, Debug)]
pub enum End {
    /// Every check that the policy requires passed. There is no such end without a policy, because
    /// there is no [`Proof`] without one.
    Accepted(Proof),
    /// A check failed.
    Refused,
    /// No check failed, but not every one was made.
    Incomplete,
}

impl End {
    /// The stable spelling in JSON.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Refused => "refused",
            Self::Incomplete => "incomplete",
        }
    }
}

/// The policy behind a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyFacts {
    /// Its name.
    pub name: String,
    /// SHA-256 of its file.
    pub digest: Digest,
    /// Whether an acceptance under it speaks about hardware.
    pub assurance: Assurance,
}

/// A report on one piece of evidence at one time.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    kind: &'static str,
    evidence: Digest,
    at: Timestamp,
    #[serde(serialize_with = "spelled")]
    end: End,
    policy: Option<PolicyFacts>,
    facts: BTreeMap<String, Value>,
    checks: Vec<Row>,
    #[serde(skip)]
    is: Kind,
}

fn spelled<S: Serializer>(end: &End, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(end.as_str())
}

impl Report {
    /// What can be said without a policy, or without an acceptance.
    pub(crate) fn unproved(kind: Kind, evidence: &[u8], at: Timestamp, checks: Vec<Row>) -> Self {
        let failed = |row: &Row| matches!(row.answer, Answer::Fail { .. });
        Self {
            kind: kind.as_str(),
            is: kind,
            evidence: Digest::of(evidence),
            at,
            end: match checks.iter().any(failed) {
                true => End::Refused,
                false => End::Incomplete,
            },
            policy: None,
            facts: BTreeMap::new(),
            checks,
        }
    }

    pub(crate) fn under(mut self, policy: PolicyFacts, proof: Option<Proof>) -> Self {
        self.policy = Some(policy);
        if let Some(proof) = proof {
            self.end = End::Accepted(proof);
        }
        self
    }

    /// Adds what the evidence says, or the vendor of it: everything in `appraisal` but its judgement.
    pub(crate) fn with_facts(mut self, prefix: &str, appraisal: &impl Serialize) -> Self {
        const JUDGEMENT: &[&str] = &[
            "policy",
            "policy_digest",
            "assurance",
            "simulated",
            "at",
            "verdict",
            "checks",
            "devices",
            "evidence",
            "statement",
            "reference",
            "image",
        ];
        if let Ok(Value::Object(members)) = serde_json::to_value(appraisal) {
            let told = members
                .into_iter()
                .filter(|(name, _)| !JUDGEMENT.contains(&name.as_str()))
                .map(|(name, value)| (format!("{prefix}{name}"), value));
            self.facts.extend(told);
        }
        self
    }

    pub(crate) fn with_fact(mut self, name: &str, value: impl Into<String>) -> Self {
        self.facts.insert(name.to_owned(), value.into().into());
        self
    }

    /// What the evidence is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.is
    }

    /// SHA-256 of the evidence's bytes.
    #[must_use]
    pub const fn evidence(&self) -> Digest {
        self.evidence
    }

    /// The time that everything was judged at.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// What it comes to.
    #[must_use]
    pub const fn end(&self) -> &End {
        &self.end
    }

    /// The policy, if there is one.
    #[must_use]
    pub const fn policy(&self) -> Option<&PolicyFacts> {
        self.policy.as_ref()
    }

    /// What the evidence and the vendor say. Claims: proved only as far as the checks say.
    #[must_use]
    pub const fn facts(&self) -> &BTreeMap<String, Value> {
        &self.facts
    }

    /// Every check, in order.
    #[must_use]
    pub fn checks(&self) -> &[Row] {
        &self.checks
    }
}
