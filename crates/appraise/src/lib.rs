//! One report on any attestation evidence: what it is, by its bytes; every named check that the
//! verifier makes on it; and what they come to. Pure: clock, policy and all that lies beside the
//! evidence are arguments. Without a policy nothing can be accepted: see [`End`].

#![forbid(unsafe_code)]

mod beside;
mod chain;
mod device;
pub mod ear;
mod error;
mod kind;
mod policy;
mod quote;
mod report;
mod room;
mod row;
mod snp;
mod token;
mod tpm;
mod upstream;
mod vtpm;

pub use beside::{Beside, Expected, Made, RoomSession};
pub use error::AppraiseError;
pub use kind::{Kind, MAX_EVIDENCE_BYTES};
pub use policy::Policy;
pub use report::{End, PolicyFacts, Proof, Report};
pub use row::{Answer, Row};

use proofroom_canonical::Timestamp;

/// Appraises `evidence` as of `at`: under `policy`, or without one as far as that goes.
///
/// # Errors
/// `evidence-too-large`, `evidence-unknown` for bytes of no kind that is read, `policy-kind` for a
/// policy of another kind of evidence. Evidence of a known kind that is wrong gives a report.
pub fn appraise(
    evidence: &[u8],
    beside: &Beside,
    policy: Option<&Policy>,
    at: Timestamp,
) -> Result<Report, AppraiseError> {
    let kind = Kind::recognise(evidence)?;
    if let Some(policy) = policy {
        policy.must_fit(kind)?;
    }
    Ok(match kind {
        Kind::TdxQuote => quote::report(evidence, beside, policy, at),
        Kind::Upstream => upstream::report(evidence, beside, policy, at),
        Kind::Room => room::report(evidence, beside, policy, at),
        Kind::SnpReport => snp::report(evidence, beside, policy, at),
        Kind::GpuList => device::report(evidence, beside, policy, at),
        Kind::NrasToken => token::report(evidence, at),
        Kind::TpmQuote => tpm::report(evidence, at),
        Kind::Vtpm => vtpm::report(evidence, beside, policy, at),
    })
}
