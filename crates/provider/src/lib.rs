//! Model providers that attest in a format of their own (NEAR AI, dstack, ACI, Tinfoil), and our own `proofroom-enclave`: what they serve as
//! evidence, a policy for it, its appraisal, and the receipts with which they sign single answers. Pure: nothing is fetched,
//! clock and nonce are arguments. Quotes and devices are judged by the verifier and by nobody else; a
//! [`VerifiedProvider`] holds its proofs and cannot be made without them. Rules:
//! `docs/spec/upstreams.md` and `docs/spec/enclave.md`.

#![forbid(unsafe_code)]

mod aci;
mod appraise;
mod check;
mod document;
mod kept;
mod log;
mod policy;
mod receipt;
mod report;
mod service;
mod serving_receipt;
mod tinfoil;
mod verified;

pub use aci::{
    AciRun, CitedSession, MAX_SESSION_BYTES, SessionError, verify_aci_receipt, verify_aci_session,
};
pub use appraise::{Exchange, ProviderAppraisal, appraise_provider};
pub use check::{CheckOutcome, Component, ProviderCheck, ProviderCheckName};
pub use document::{
    Beside, CollateralByPlatform, MAX_PROVIDER_DOCUMENT_BYTES, PROVIDER_FORMAT, ProviderDocument,
    platforms_of,
};
pub use kept::{KeptAnswer, KeptReceipt, KeptRun, verify_kept_receipt};
pub use log::{DstackEvent, DstackLog, LogError};
pub use policy::{
    Format, PRODUCTION_ACI, PRODUCTION_ENCLAVE, PRODUCTION_NEAR_AI, PRODUCTION_TINFOIL,
    ProviderPolicy, ProviderPolicyProblem, ReceiptRule,
};
pub use receipt::{MAX_RECEIPT_BYTES, ReceiptError, VerifiedReceipt, verify_receipt};
pub use report::{MAX_REPORT_BYTES, ReportError, SigningKey};
pub use serving_receipt::{ServedRun, verify_serving_receipt};
pub use verified::VerifiedProvider;
