//! The checks on what the quote and the statement say. A pass counts only when the quote's
//! signature, and for the statement its binding, were proved.

use proofroom_evidence::{EvidenceDocument, KeysetStatement, Quote, Register, TdClaims};

use super::{Freshness, Work};
use crate::{CauseCode, CheckName, Outcome, Reason, platform::placeholders};

/// What zero means in these two: never extended, never configured.
const UNUSED: &[Register] = &[Register::Rtmr3, Register::MrConfigId];
const SIGNED: &[CheckName] = &[CheckName::QuoteSignature];
const BOUND: &[CheckName] = &[CheckName::QuoteSignature, CheckName::ReportDataBinding];

pub(super) fn check(work: &mut Work<'_>, document: &EvidenceDocument, freshness: Freshness) {
    if let Some(claims) = work.quote.as_ref().map(Quote::claims) {
        let judged = [
            (
                CheckName::ReferenceValues,
                work.policy.judge_measurements(claims),
            ),
            (
                CheckName::PlaceholderRegisters,
                placeholders(claims, UNUSED),
            ),
            (CheckName::ReportDataBinding, binding(document, claims)),
        ];
        work.made.set_all_if_proved(SIGNED, judged);
    }
    if let Some(statement) = &work.statement {
        let judged = [
            (CheckName::Nonce, nonce(freshness, statement)),
            (CheckName::KeysetExpiry, expiry(work, statement)),
            (CheckName::Model, model(work, statement)),
        ];
        work.made.set_all_if_proved(BOUND, judged);
    }
}

fn binding(document: &EvidenceDocument, claims: &TdClaims) -> Outcome {
    let bound = claims.report_data == *document.bound_report_data().as_bytes();
    Outcome::when(
        bound,
        CauseCode::ReportDataMismatch,
        || "the quote's report data is not the SHA-512 of the statement",
    )
}

fn nonce(freshness: Freshness, statement: &KeysetStatement) -> Outcome {
    let found = statement.nonce;
    match freshness {
        Freshness::ArchiveAudit => Outcome::NotEvaluated(Reason::ArchiveAudit),
        Freshness::Challenge(sent) => {
            Outcome::when(sent == found, CauseCode::NonceMismatch, || {
                format!("the statement answers nonce {found}, not the {sent} that was sent")
            })
        }
    }
}

fn expiry(work: &Work<'_>, statement: &KeysetStatement) -> Outcome {
    let until = statement.not_after;
    if until <= work.now {
        let words = format!("the statement held until {until}");
        return Outcome::fail(CauseCode::KeysetExpired, words);
    }
    let latest = work.now.after_seconds(work.policy.max_keyset_seconds());
    Outcome::when(until <= latest, CauseCode::KeysetLifetime, || {
        format!("the statement claims to hold until {until}, longer than the policy allows")
    })
}

fn model(work: &Work<'_>, statement: &KeysetStatement) -> Outcome {
    let allowed = work.policy.allows_model(&statement.model);
    Outcome::when(allowed, CauseCode::ModelNotAllowed, || {
        format!("the policy does not allow model `{}`", statement.model)
    })
}
