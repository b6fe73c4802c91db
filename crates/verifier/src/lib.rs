//! The verifier of RFC 9334: evidence and vendor collateral in, an appraisal out. Pure: the clock
//! and the policy are arguments, nothing is fetched. The types that prove an accepted appraisal,
//! [`VerifiedUpstream`], [`VerifiedQuote`], [`VerifiedSnp`] and [`VerifiedRoom`], cannot be built by anybody else.

#![forbid(unsafe_code)]

mod appraise;
mod check;
mod dcap;
pub mod gpu;
mod platform;
mod policy;
mod quote;
pub mod reference;
mod room;
mod room_policy;
mod snp;
mod snp_policy;
mod spelled;
mod verified;
mod vtpm;
pub mod x509;

pub use appraise::{Appraisal, Freshness, TcbFacts, appraise};
pub use check::{
    CauseCode, Check, CheckKind, CheckName, CheckOutcome, NamedCheck, NotMade, Outcome, Reason,
    Verdict, with_causes,
};
/// Intel's TCB status of a platform, as PCS spells it.
pub use dcap_qvl::TcbStatus;
pub use policy::{
    AppraisalPolicy, Assurance, INTEL_SGX_ROOT, PRODUCTION_UPSTREAM, PolicyProblem,
    SIMULATED_UPSTREAM,
};
pub use quote::{QuoteAppraisal, QuoteExpectation, VerifiedQuote, appraise_quote};
pub use reference::{ReferenceManifest, ReferenceRelease};
pub use room::{
    AIK_USAGE, AK_COMMON_NAME, RoomAppraisal, RoomCause, RoomCheck, RoomCheckName, RoomCode,
    RoomExpectation, RoomOutcome, RoomTrust, appraise_room,
};
pub use room_policy::{
    NO_ROOM_EVIDENCE, PinnedRoomPolicy, ROOM_SIMULATED, ROOM_TDX, ROOM_VM, RoomAppraisalPolicy,
    TpmOwner, label_of, level_of,
};
pub use snp::{
    SnpAppraisal, SnpCause, SnpChain, SnpCheck, SnpCheckName, SnpExpectation, SnpFacts, SnpOutcome,
    SnpReason, VerifiedSnp, appraise_snp,
};
pub use snp_policy::{
    AMD_ARK_GENOA, AMD_ARK_MILAN, AMD_ARK_TURIN, PRODUCTION_SNP, SnpAppraisalPolicy,
};
pub use verified::{VerifiedRoom, VerifiedUpstream};
pub use vtpm::{
    GOOGLE_EK_AK_ROOT, GcpAppraisal, GcpEvidence, GcpHardware, GcpInstance, HardwareChecks,
    PRODUCTION_AZURE_SNP, PRODUCTION_AZURE_TDX, PRODUCTION_GCP_SNP, PRODUCTION_GCP_TDX,
    VTPM_REGISTERS, VerifiedGcp, VerifiedVtpm, VtpmAppraisal, VtpmCause, VtpmCheckName,
    VtpmEvidence, VtpmHardware, VtpmPolicy, VtpmReason, appraise_gcp, appraise_vtpm,
};
