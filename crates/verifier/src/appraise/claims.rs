//! The checks on what the quote and the statement say. A pass counts only when the quote's
//! signature, and for the statement its binding, were proved.

use proofroom_evidence::{EvidenceDocument, Register, TdClaims};

use super::{Freshness, Work};
use crate::{CauseCode, CheckName, Outcome, Reason, platform::placeholders};

/// What zero means in these two: never extended, never configured.
const UNUSED: &[Register] = &[Register::Rtmr3, Register::MrConfigId];
const SIGNED: &[CheckName] = &[CheckName::QuoteSignature];
const BOUND: &[CheckName] = &[CheckName::QuoteSignature, CheckName::ReportDataBinding];

pub(super) fn check(work: &mut Work<'_>, document: &EvidenceDocument, freshness: Freshness) {
    if let Some(quote) = work.quote.clone() {
        let claims = quote.claims();
        let outcome = work.policy.judge_measurements(claims);
        work.made
            .set_if_proved(CheckName::ReferenceValues, SIGNED, outcome);
        let outcome = placeholders(claims, UNUSED);
        work.made
            .set_if_proved(CheckName::PlaceholderRegisters, SIGNED, outcome);
        let outcome = binding(document, claims);
        work.made
            .set_if_proved(CheckName::ReportDataBinding, SIGNED, outcome);
    }
    statement(work, freshness);
}

fn binding(document: &EvidenceDocument, claims: &TdClaims) -> Outcome {
    let bound = claims.report_data == *document.bound_report_data().as_bytes();
    Outcome::when(
        bound,
        CauseCode::ReportDataMismatch,
        || "the quote's report data is not the SHA-512 of the statement",
    )
}

fn statement(work: &mut Work<'_>, freshness: Freshness) {
    let Some(statement) = work.statement.clone() else {
        return;
    };
    let nonce = match freshness {
        Freshness::ArchiveAudit => Outcome::NotEvaluated(Reason::ArchiveAudit),
        Freshness::Challenge(nonce) if nonce == statement.nonce => Outcome::Pass,
        Freshness::Challenge(nonce) => Outcome::fail(
            CauseCode::NonceMismatch,
            format!(
                "the statement answers nonce {}, not the {nonce} that was sent",
                statement.nonce
            ),
        ),
    };
    work.made.set_if_proved(CheckName::Nonce, BOUND, nonce);

    let left = statement
        .not_after
        .unix_millis()
        .saturating_sub(work.now.unix_millis());
    let longest = i64::from(work.policy.max_keyset_seconds()).saturating_mul(1000);
    let expiry = if left <= 0 {
        Outcome::fail(
            CauseCode::KeysetExpired,
            format!("the statement held until {}", statement.not_after),
        )
    } else if left > longest {
        Outcome::fail(
            CauseCode::KeysetLifetime,
            format!(
                "the statement claims to hold until {}, longer than the policy allows",
                statement.not_after
            ),
        )
    } else {
        Outcome::Pass
    };
    work.made
        .set_if_proved(CheckName::KeysetExpiry, BOUND, expiry);

    let allowed = work.policy.allows_model(&statement.model);
    let model = Outcome::when(allowed, CauseCode::ModelNotAllowed, || {
        format!("the policy does not allow model `{}`", statement.model)
    });
    work.made.set_if_proved(CheckName::Model, BOUND, model);
}
