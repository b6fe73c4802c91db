//! The proof that an upstream's evidence was accepted. Built in this crate alone, from an
//! [`Appraisal`](crate::Appraisal) whose every check passed; there is no other way to one.

use proofroom_canonical::{Digest, Timestamp};

use crate::Assurance;

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
