//! Attested Confidential Inference (`aci/1`), as Dstack-TEE's private-ai-gateway serves it: a keyset that one
//! quote binds, receipts signed by its keys, and sessions that receipts cite. What is read, and what must hold.

mod canonical;
mod custody;
mod keyset;
mod receipt;
mod report;
mod session;

pub(crate) use custody::judge as judge_custody;
pub(crate) use keyset::{Keyset, ReceiptKey, statement};
pub(crate) use receipt::AttestedKeys;
pub(crate) use receipt::judge_kept as judge_kept_receipt;
pub use receipt::{AciRun, CitedSession, verify_aci_receipt};
pub(crate) use report::AciReport;
pub use session::{MAX_SESSION_BYTES, SessionError, verify_aci_session};

use serde::Deserialize;

/// The version of all its documents.
const API_VERSION: &str = "aci/1";

/// Whether the service runs the model itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Serving {
    /// In the very machine that was attested.
    Direct,
    /// It passes requests on to upstreams that it verified.
    Aggregator,
}

#[cfg(test)]
mod tests;
