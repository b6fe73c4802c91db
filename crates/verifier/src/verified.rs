//! The proofs that evidence of an upstream, of an SNP guest or of a room was accepted. Built in this
//! crate alone, from an [`Appraisal`](crate::Appraisal), [`SnpAppraisal`](crate::SnpAppraisal) or
//! [`RoomAppraisal`](crate::RoomAppraisal) whose every check passed; there is no other way to one.

use proofroom_canonical::{Digest, IsolationLevel, SessionId, Timestamp};
use proofroom_evidence::{EvidenceType, Measurement, Moment, REPORT_DATA_BYTES};

use crate::{Assurance, SnpFacts, label_of, level_of};

/// An upstream whose evidence was accepted: this TLS key, for this model, until this time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedUpstream {
    pub(crate) tls_spki: Digest,
    pub(crate) model: String,
    pub(crate) expires: Timestamp,
    pub(crate) evidence: Digest,
    pub(crate) quote: Digest,
    pub(crate) policy_name: String,
    pub(crate) policy_digest: Digest,
    pub(crate) assurance: Assurance,
}

impl VerifiedUpstream {
    /// SHA-256 of the DER `SubjectPublicKeyInfo` that the upstream's TLS certificate must have. A
    /// connection to any other key is not to this upstream.
    #[must_use]
    pub const fn tls_spki(&self) -> Digest {
        self.tls_spki
    }

    /// The model that the upstream was verified for.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Until when this holds, exclusive: the earliest end of collateral, statement, tolerance and
    /// the policy's own limit.
    #[must_use]
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Whether this still holds at `now`.
    #[must_use]
    pub fn holds_at(&self, now: Timestamp) -> bool {
        now < self.expires
    }

    /// SHA-256 of the evidence document.
    #[must_use]
    pub const fn evidence(&self) -> Digest {
        self.evidence
    }

    /// SHA-256 of the quote's signed part.
    #[must_use]
    pub const fn quote(&self) -> Digest {
        self.quote
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

/// A bare quote that was accepted: these measurements with this report data, until this time. What the
/// report data means is for whoever expected it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedQuote {
    pub(crate) quote: Digest,
    pub(crate) report_data: [u8; REPORT_DATA_BYTES],
    pub(crate) expires: Timestamp,
    pub(crate) policy_name: String,
    pub(crate) policy_digest: Digest,
    pub(crate) assurance: Assurance,
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

/// A room whose evidence was accepted at one moment of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRoom {
    pub(crate) kind: EvidenceType,
    pub(crate) assurance: Assurance,
    pub(crate) moment: Moment,
    pub(crate) session: SessionId,
    pub(crate) evidence: Digest,
    pub(crate) reference: Digest,
    pub(crate) image: Digest,
    pub(crate) policy_name: String,
    pub(crate) policy_digest: Digest,
}

impl VerifiedRoom {
    /// What the evidence can show at most. Never `hardware` under a policy for the simulated TEE.
    #[must_use]
    pub const fn level(&self) -> IsolationLevel {
        level_of(self.kind, self.assurance)
    }

    /// Whose evidence it is, in words. Print it wherever this is shown.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        label_of(self.kind, self.assurance)
    }

    /// Whether hardware can stand behind this at all. Print it wherever this is shown.
    #[must_use]
    pub const fn assurance(&self) -> Assurance {
        self.assurance
    }

    /// The evidence's type.
    #[must_use]
    pub const fn kind(&self) -> EvidenceType {
        self.kind
    }

    /// When it was made.
    #[must_use]
    pub const fn moment(&self) -> Moment {
        self.moment
    }

    /// The session that the room is for.
    #[must_use]
    pub const fn session(&self) -> SessionId {
        self.session
    }

    /// SHA-256 of the evidence's text.
    #[must_use]
    pub const fn evidence(&self) -> Digest {
        self.evidence
    }

    /// The reference manifest that the boot equals.
    #[must_use]
    pub const fn reference(&self) -> Digest {
        self.reference
    }

    /// The image that the manifest is about.
    #[must_use]
    pub const fn image(&self) -> Digest {
        self.image
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
}
