//! The proof that the report of an SNP guest was accepted. Built in this crate alone, from a
//! [`SnpAppraisal`](crate::SnpAppraisal) whose every check passed; there is no other way to one.

use proofroom_canonical::{Digest, Timestamp};
use proofroom_evidence::{Measurement, REPORT_DATA_BYTES};

use crate::{Assurance, SnpFacts};

/// An SNP guest whose report was accepted: this measurement, on this platform, until this time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedSnp {
    pub(crate) platform: SnpFacts,
    pub(crate) report: Digest,
    pub(crate) measurement: Measurement,
    pub(crate) report_data: [u8; REPORT_DATA_BYTES],
    pub(crate) expires: Timestamp,
    pub(crate) policy_name: String,
    pub(crate) policy_digest: Digest,
    pub(crate) assurance: Assurance,
}

impl VerifiedSnp {
    /// The platform that the guest runs on.
    #[must_use]
    pub const fn platform(&self) -> &SnpFacts {
        &self.platform
    }

    /// SHA-256 of the report's signed part.
    #[must_use]
    pub const fn report(&self) -> Digest {
        self.report
    }

    /// The guest's launch measurement.
    #[must_use]
    pub const fn measurement(&self) -> Measurement {
        self.measurement
    }

    /// What the guest had bound into its report, as the relying party expected it.
    #[must_use]
    pub const fn report_data(&self) -> &[u8; REPORT_DATA_BYTES] {
        &self.report_data
    }

    /// Until when this holds, exclusive: the earliest end of certificates, revocation list and the
    /// policy's own limit.
    #[must_use]
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Whether this still holds at `now`.
    #[must_use]
    pub fn holds_at(&self, now: Timestamp) -> bool {
        now < self.expires
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
