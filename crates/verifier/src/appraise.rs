//! The appraisal: every check in order on one evidence document, and what they come to. Total: any
//! bytes give an appraisal, because refusing them is one.

use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_evidence::{EvidenceDocument, EvidenceError, Fmspc, KeysetStatement, Ppid, Quote};
use serde::Serialize;

use crate::{
    AppraisalPolicy, Assurance, CauseCode, Check, CheckName, Outcome, Reason, TcbStatus, Verdict,
    VerifiedUpstream,
    check::{self, Made, all_passed, find, verdict_of},
    platform,
};

mod claims;

/// How freshness is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// The relying party chose this nonce for this very exchange (RFC 9334 §10.2).
    Challenge(Nonce),
    /// The evidence comes from an archive. Its freshness cannot be shown any more, so the `nonce`
    /// check is not evaluated and the appraisal is at best incomplete.
    ArchiveAudit,
}

/// What the vendor says about the platform, once that is verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TcbFacts {
    /// The platform's TCB status.
    pub status: TcbStatus,
    /// The advisories that apply.
    pub advisories: Vec<String>,
    /// The vendor's TCB evaluation data number.
    pub evaluation_data_number: u32,
    /// The platform family, from the PCK certificate; hex.
    pub fmspc: Fmspc,
    /// The machine, from the PCK certificate; hex.
    pub ppid: Ppid,
    /// Until when the collateral holds.
    pub collateral_expires: Timestamp,
}

/// What an evidence document is worth under a policy at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Appraisal {
    policy: String,
    policy_digest: Digest,
    assurance: Assurance,
    at: Timestamp,
    verdict: Verdict,
    evidence: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    quote: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<KeysetStatement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcb: Option<TcbFacts>,
    checks: Vec<Check>,
    #[serde(skip)]
    expires: Option<Timestamp>,
}

impl Appraisal {
    /// All checks, each of [`CheckName::ALL`] once and in that order.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// What `name` answered.
    #[must_use]
    pub fn outcome(&self, name: CheckName) -> &Outcome {
        const UNANSWERED: Outcome = Outcome::NotEvaluated(Reason::After(CheckName::DocumentParse));
        find(&self.checks, name).map_or(&UNANSWERED, |check| &check.outcome)
    }

    /// The worst outcome of all checks.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The worst outcome of all checks but `nonce`: what an archive can still show. Print beside it
    /// that freshness is the word of whoever kept the archive.
    #[must_use]
    pub fn verdict_without_freshness(&self) -> Verdict {
        Verdict::fold(
            self.checks
                .iter()
                .filter(|check| check.name != CheckName::Nonce)
                .map(|check| &check.outcome),
        )
    }

    /// The first check that failed, with its cause.
    #[must_use]
    pub fn first_failure(&self) -> Option<(CheckName, CauseCode)> {
        check::first_failure(&self.checks).map(|(name, cause, _)| (name, cause))
    }

    /// The name of the policy.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// SHA-256 of the policy's file.
    #[must_use]
    pub const fn policy_digest(&self) -> Digest {
        self.policy_digest
    }

    /// Whether an acceptance under the policy speaks about hardware. Print it with the verdict.
    #[must_use]
    pub const fn assurance(&self) -> Assurance {
        self.assurance
    }

    /// The time that everything was judged at.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// SHA-256 of the evidence document.
    #[must_use]
    pub const fn evidence(&self) -> Digest {
        self.evidence
    }

    /// SHA-256 of the quote's signed part, if it could be read.
    #[must_use]
    pub const fn quote(&self) -> Option<Digest> {
        self.quote
    }

    /// What the document's statement claims, if it could be read. Proved only under `Accept`.
    #[must_use]
    pub const fn statement(&self) -> Option<&KeysetStatement> {
        self.statement.as_ref()
    }

    /// What the vendor says about the platform, if it could be verified.
    #[must_use]
    pub const fn tcb(&self) -> Option<&TcbFacts> {
        self.tcb.as_ref()
    }

    /// Turns an accepted appraisal into the type that allows sending.
    ///
    /// # Errors
    /// The appraisal itself, unless every check passed.
    pub fn into_verified(self) -> Result<VerifiedUpstream, Box<Self>> {
        let passed = all_passed(&self.checks, CheckName::ALL);
        let (true, Some(statement), Some(quote), Some(expires)) =
            (passed, &self.statement, self.quote, self.expires)
        else {
            return Err(Box::new(self));
        };
        Ok(VerifiedUpstream {
            tls_spki: statement.tls_spki_sha256,
            model: statement.model.clone(),
            expires,
            evidence: self.evidence,
            quote,
            policy_name: self.policy,
            policy_digest: self.policy_digest,
            assurance: self.assurance,
        })
    }
}

/// Appraises `document`, the bytes that an upstream served, under `policy` as of `now`.
#[must_use]
pub fn appraise(
    document: &[u8],
    policy: &AppraisalPolicy,
    freshness: Freshness,
    now: Timestamp,
) -> Appraisal {
    let mut work = Work {
        policy,
        now,
        made: Made::none(),
        quote: None,
        statement: None,
        tcb: None,
        tolerated_until: None,
    };
    let parsed = EvidenceDocument::parse(document)
        .map_err(|error| Outcome::malformed(CauseCode::DocumentMalformed, &error));
    if let Some(parsed) = work.made.read(CheckName::DocumentParse, parsed) {
        work.read(&parsed);
        work.judge_platform(&parsed);
        claims::check(&mut work, &parsed, freshness);
    }
    work.finish(Digest::of(document))
}

/// An appraisal under way.
struct Work<'a> {
    policy: &'a AppraisalPolicy,
    now: Timestamp,
    made: Made<CheckName>,
    quote: Option<Quote>,
    statement: Option<KeysetStatement>,
    tcb: Option<TcbFacts>,
    tolerated_until: Option<Timestamp>,
}

impl Work<'_> {
    fn read(&mut self, document: &EvidenceDocument) {
        let quote = document.quote();
        let quote = quote.map_err(|error| Outcome::malformed(CauseCode::QuoteMalformed, &error));
        self.quote = self.made.read(CheckName::QuoteParse, quote);
        let statement = document.statement().map_err(|error| {
            let cause = match error {
                EvidenceError::StatementPurpose(_) => CauseCode::StatementPurpose,
                _ => CauseCode::StatementMalformed,
            };
            Outcome::malformed(cause, &error)
        });
        self.statement = self.made.read(CheckName::StatementParse, statement);
    }

    fn judge_platform(&mut self, document: &EvidenceDocument) {
        let Some(quote) = &self.quote else {
            return;
        };
        let quoted = platform::Quoted {
            quote,
            bytes: document.quote_bytes(),
            collateral: document.collateral(),
        };
        let found = platform::judge(quoted, self.policy.platform(), self.now);
        self.made.extend(found.made);
        self.tcb = found.tcb;
        self.tolerated_until = found.tolerated_until;
    }

    /// The earliest end of everything that the appraisal rests on.
    fn expires(&self) -> Option<Timestamp> {
        let own_limit = self.now.after_seconds(self.policy.max_age_seconds());
        let collateral = self.tcb.as_ref()?.collateral_expires;
        let keyset = self.statement.as_ref()?.not_after;
        let tolerated = self.tolerated_until.unwrap_or(own_limit);
        [own_limit, collateral, keyset, tolerated].into_iter().min()
    }

    fn finish(self, evidence: Digest) -> Appraisal {
        let checks = self.made.complete(CheckName::ALL, CheckName::DocumentParse);
        Appraisal {
            policy: self.policy.name().to_owned(),
            policy_digest: self.policy.digest(),
            assurance: self.policy.assurance(),
            at: self.now,
            verdict: verdict_of(&checks),
            evidence,
            quote: self.quote.as_ref().map(Quote::identity),
            expires: self.expires(),
            statement: self.statement,
            tcb: self.tcb,
            checks,
        }
    }
}
