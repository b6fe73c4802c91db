//! The verifier of RFC 9334: evidence and vendor collateral in, an appraisal out. Pure: the clock
//! and the policy are arguments, nothing is fetched. The one type that proves an accepted appraisal,
//! [`VerifiedUpstream`], cannot be built by anybody else.

#![forbid(unsafe_code)]

mod appraise;
mod check;
mod dcap;
mod policy;
pub mod reference;
mod verified;

pub use appraise::{Appraisal, Freshness, TcbFacts, appraise};
pub use check::{CauseCode, Check, CheckName, Outcome, Reason, Verdict};
pub use policy::{
    AppraisalPolicy, Assurance, INTEL_SGX_ROOT, PRODUCTION_UPSTREAM, PolicyProblem,
    SIMULATED_UPSTREAM, TcbStatus,
};
pub use reference::{ReferenceError, ReferenceManifest};
pub use verified::VerifiedUpstream;
