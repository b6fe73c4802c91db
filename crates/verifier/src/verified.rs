//! The proofs that evidence of an upstream or of a room was accepted. Built in this crate alone, from an
//! [`Appraisal`](crate::Appraisal) or [`RoomAppraisal`](crate::RoomAppraisal) whose every check passed; there is
//! no other way to one.

use proofroom_canonical::{Digest, IsolationLevel, SessionId, Timestamp};
use proofroom_evidence::{EvidenceType, Moment};

use crate::{Assurance, label_of, level_of};

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
