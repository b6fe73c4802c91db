//! The proof that a bare quote was accepted. Built from a [`QuoteAppraisal`](super::QuoteAppraisal) whose every check
//! passed; there is no other way to one.

use proofroom_canonical::{Digest, Timestamp};
use proofroom_evidence::REPORT_DATA_BYTES;

use crate::Assurance;

/// A bare quote that was accepted: these measurements with this report data, until this time. What the
/// report data means is for whoever expected it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedQuote {
    pub(super) quote: Digest,
    pub(super) report_data: [u8; REPORT_DATA_BYTES],
    pub(super) expires: Timestamp,
    pub(super) policy_name: String,
    pub(super) policy_digest: Digest,
    pub(super) assurance: Assurance,
}

impl VerifiedQuote {
    /// SHA-256 of the quote's signed part.
    #[must_use]
    pub const fn quote(&self) -> Digest {
        self.quote
    }

    /// What the TD had bound into its quote, as the relying party expected it.
    #[must_use]
    pub const fn report_data(&self) -> &[u8; REPORT_DATA_BYTES] {
        &self.report_data
    }

    /// Until when this holds, exclusive: the earliest end of collateral, tolerance and the policy's own
    /// limit.
    #[must_use]
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }

    /// The name of the policy that accepted it.
    #[must_use]
    pub fn policy_name(&self) -> &str {
        &self.policy_name
    }

    /// SHA-256 of that policy's file.
    #[must_use]
    pub const fn policy_digest(&self) -> Digest {
        self.policy_digest
    }

    /// Whether hardware stands behind this. Print it wherever this is shown.
    #[must_use]
    pub const fn assurance(&self) -> Assurance {
        self.assurance
    }
}
