//! The appraisal of a bare TDX quote: no statement is beside it, so that what its report data means is
//! the relying party's to know. Total, like [`crate::appraise`]. Models and keysets are not judged:
//! a bare quote names none.

use proofroom_canonical::{Digest, Timestamp};
use proofroom_evidence::{Collateral, Quote, REPORT_DATA_BYTES, Register, TdClaims};
use serde::Serialize;

mod verified;

pub use verified::VerifiedQuote;

use crate::{
    AppraisalPolicy, Assurance, CauseCode, Check, CheckName, Outcome, Reason, TcbFacts, Verdict,
    check::{Made, all_passed, verdict_of},
    platform::{Findings, Quoted, judge, placeholders},
};

/// What zero means in these two: never extended, never configured.
const UNUSED: &[Register] = &[Register::Rtmr3, Register::MrConfigId];

/// What report data the relying party expects, and what that shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuoteExpectation {
    /// Data that the relying party made for this very exchange, over a nonce of its own (RFC 9334
    /// section 10.2).
    Challenge([u8; REPORT_DATA_BYTES]),
    /// Data from an archive: it can be compared, but not shown to be fresh.
    ArchiveAudit([u8; REPORT_DATA_BYTES]),
    /// Nobody says what the quote should bind. Neither binding nor freshness is evaluated.
    NotSupplied,
}

/// What a bare quote is worth under a policy at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QuoteAppraisal {
    policy: String,
    policy_digest: Digest,
    assurance: Assurance,
    at: Timestamp,
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    quote: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcb: Option<TcbFacts>,
    checks: Vec<Check>,
    #[serde(skip)]
    report_data: Option<[u8; REPORT_DATA_BYTES]>,
    #[serde(skip)]
    expires: Option<Timestamp>,
}

impl QuoteAppraisal {
    /// The checks on a bare quote, in their order.
    pub const CHECKS: &'static [CheckName] = &[
        CheckName::QuoteParse,
        CheckName::PckChainRoot,
        CheckName::CollateralTime,
        CheckName::CollateralSignature,
        CheckName::QuoteSignature,
        CheckName::TcbStatus,
        CheckName::TdAttributes,
        CheckName::ReferenceValues,
        CheckName::PlaceholderRegisters,
        CheckName::ReportDataBinding,
        CheckName::Nonce,
    ];

    /// All checks, each of [`QuoteAppraisal::CHECKS`] once and in that order.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The worst outcome of all checks.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// What the vendor says about the platform, if it could be verified.
    #[must_use]
    pub const fn tcb(&self) -> Option<&TcbFacts> {
        self.tcb.as_ref()
    }

    /// Turns an accepted appraisal into the type that stands for a verified quote.
    ///
    /// # Errors
    /// The appraisal itself, unless every check passed.
    pub fn into_verified(self) -> Result<VerifiedQuote, Box<Self>> {
        let passed = all_passed(&self.checks, Self::CHECKS);
        let (true, Some(quote), Some(report_data), Some(expires)) =
            (passed, self.quote, self.report_data, self.expires)
        else {
            return Err(Box::new(self));
        };
        Ok(VerifiedQuote {
            quote,
            report_data,
            expires,
            policy_name: self.policy,
            policy_digest: self.policy_digest,
            assurance: self.assurance,
        })
    }
}

/// Appraises the bytes of a TDX quote under `policy` as of `now`. Without `collateral` nothing about
/// its platform is evaluated, and nothing that rests on its signature passes.
#[must_use]
pub fn appraise_quote(
    bytes: &[u8],
    collateral: Option<&Collateral>,
    policy: &AppraisalPolicy,
    expected: QuoteExpectation,
    now: Timestamp,
) -> QuoteAppraisal {
    let parsed = Quote::parse(bytes);
    let mut found = Findings {
        made: Made::none(),
        tcb: None,
        tolerated_until: None,
    };
    match &parsed {
        Ok(quote) => {
            platform(&mut found, (quote, bytes), collateral, policy, now);
            found.made.set(CheckName::QuoteParse, Outcome::Pass);
            claims(&mut found, policy, quote.claims(), expected);
        }
        Err(error) => {
            let outcome = Outcome::malformed(CauseCode::QuoteMalformed, error);
            found.made.set(CheckName::QuoteParse, outcome);
        }
    }
    finish(found, parsed.ok().as_ref(), policy, now)
}

fn platform(
    found: &mut Findings,
    (quote, bytes): (&Quote, &[u8]),
    collateral: Option<&Collateral>,
    policy: &AppraisalPolicy,
    now: Timestamp,
) {
    let Some(collateral) = collateral else {
        for name in [
            CheckName::PckChainRoot,
            CheckName::CollateralTime,
            CheckName::CollateralSignature,
            CheckName::QuoteSignature,
            CheckName::TcbStatus,
        ] {
            found
                .made
                .set(name, Outcome::NotEvaluated(Reason::NotSupplied));
        }
        let unproved = Reason::Unproved(CheckName::QuoteSignature);
        let outcome = match crate::platform::attributes(policy.platform(), quote.claims()) {
            Outcome::Pass => Outcome::NotEvaluated(unproved),
            other => other,
        };
        return found.made.set(CheckName::TdAttributes, outcome);
    };
    let quoted = Quoted {
        quote,
        bytes,
        collateral,
    };
    *found = judge(quoted, policy.platform(), now);
}

fn claims(
    found: &mut Findings,
    policy: &AppraisalPolicy,
    claims: &TdClaims,
    expected: QuoteExpectation,
) {
    let signed = &[CheckName::QuoteSignature];
    let references = policy.judge_measurements(claims);
    found
        .made
        .set_if_proved(CheckName::ReferenceValues, signed, references);
    let registers = placeholders(claims, UNUSED);
    found
        .made
        .set_if_proved(CheckName::PlaceholderRegisters, signed, registers);
    let (binding, fresh) = match expected {
        QuoteExpectation::Challenge(data) => (bound(claims, &data), Outcome::Pass),
        QuoteExpectation::ArchiveAudit(data) => (
            bound(claims, &data),
            Outcome::NotEvaluated(Reason::ArchiveAudit),
        ),
        QuoteExpectation::NotSupplied => (
            Outcome::NotEvaluated(Reason::NotSupplied),
            Outcome::NotEvaluated(Reason::NotSupplied),
        ),
    };
    found
        .made
        .set_if_proved(CheckName::ReportDataBinding, signed, binding);
    found
        .made
        .set_if_proved(CheckName::Nonce, &[CheckName::ReportDataBinding], fresh);
}

fn bound(claims: &TdClaims, expected: &[u8; REPORT_DATA_BYTES]) -> Outcome {
    let same = claims.report_data == *expected;
    Outcome::when(
        same,
        CauseCode::ReportDataMismatch,
        || "the quote's report data is not the expected one",
    )
}

fn finish(
    found: Findings,
    quote: Option<&Quote>,
    policy: &AppraisalPolicy,
    now: Timestamp,
) -> QuoteAppraisal {
    let checks = found
        .made
        .complete(QuoteAppraisal::CHECKS, CheckName::QuoteParse);
    QuoteAppraisal {
        policy: policy.name().to_owned(),
        policy_digest: policy.digest(),
        assurance: policy.assurance(),
        at: now,
        verdict: verdict_of(&checks),
        quote: quote.map(Quote::identity),
        report_data: quote.map(|quote| quote.claims().report_data),
        expires: expires(&found, policy, now),
        tcb: found.tcb,
        checks,
    }
}

/// The earliest end of everything that the appraisal rests on.
fn expires(found: &Findings, policy: &AppraisalPolicy, now: Timestamp) -> Option<Timestamp> {
    let own_limit = now.after_seconds(policy.max_age_seconds());
    let collateral = found.tcb.as_ref()?.collateral_expires;
    let tolerated = found.tolerated_until.unwrap_or(own_limit);
    [own_limit, collateral, tolerated].into_iter().min()
}
