//! The proof that a provider's evidence was accepted. Built from a
//! [`ProviderAppraisal`](crate::ProviderAppraisal) alone, around the verifier's own proofs.

use proofroom_canonical::{Digest, Timestamp};
use proofroom_serving::KeyConfig;
use proofroom_verifier::{Assurance, VerifiedQuote, VerifiedSnp, gpu::VerifiedGpus};

use crate::{Format, ProviderCheck, ReceiptRule, SigningKey, aci::AttestedKeys};

/// What the verifier proved of a machine's processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hardware {
    Tdx(VerifiedQuote),
    Snp(VerifiedSnp),
}

impl Hardware {
    /// SHA-256 of what the processor signed.
    const fn identity(&self) -> Digest {
        match self {
            Self::Tdx(quote) => quote.quote(),
            Self::Snp(report) => report.report(),
        }
    }

    pub(crate) const fn expires(&self) -> Timestamp {
        match self {
            Self::Tdx(quote) => quote.expires(),
            Self::Snp(report) => report.expires(),
        }
    }
}

/// A machine whose quote was accepted, with its GPUs where it showed any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// What signs its answers, where they are signed.
    pub(crate) key: Option<SigningKey>,
    pub(crate) hardware: Hardware,
    pub(crate) gpus: Option<VerifiedGpus>,
    /// Until when it stands by what it said, where it says so.
    pub(crate) until: Option<Timestamp>,
}

/// A provider whose evidence was accepted: for this model, until this time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedProvider {
    pub(crate) format: Format,
    pub(crate) model: String,
    pub(crate) tls_spki: Option<Digest>,
    pub(crate) sealing_key: Option<KeyConfig>,
    pub(crate) gateway: Option<Machine>,
    pub(crate) machines: Vec<Machine>,
    /// What signs receipts, where a keyset says so.
    pub(crate) keyset: Option<AttestedKeys>,
    pub(crate) receipts: ReceiptRule,
    pub(crate) checks: Vec<ProviderCheck>,
    pub(crate) expires: Timestamp,
    pub(crate) evidence: Digest,
    pub(crate) policy_name: String,
    pub(crate) policy_digest: Digest,
    pub(crate) assurance: Assurance,
}

impl VerifiedProvider {
    /// Whose format the evidence has.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// The model that the provider was verified for.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// SHA-256 of the DER `SubjectPublicKeyInfo` that a quote binds to the connection's end; `None` where
    /// the provider offers no such binding and the policy bears with that.
    #[must_use]
    pub const fn tls_spki(&self) -> Option<Digest> {
        self.tls_spki
    }

    /// The key that every request must be sealed to; `None` where the policy does not demand that.
    #[must_use]
    pub const fn sealing_key(&self) -> Option<KeyConfig> {
        self.sealing_key
    }

    /// Whether answers must have receipts.
    #[must_use]
    pub const fn receipts(&self) -> ReceiptRule {
        self.receipts
    }

    /// Every check, in order. One that was not made is here as not evaluated, never as passed.
    #[must_use]
    pub fn checks(&self) -> &[ProviderCheck] {
        &self.checks
    }

    /// How many machines run the model, and how many GPUs were accepted in all of them.
    #[must_use]
    pub fn machines_and_gpus(&self) -> (usize, usize) {
        let gpus = self
            .machines
            .iter()
            .filter_map(|machine| machine.gpus.as_ref());
        (
            self.machines.len(),
            gpus.map(|gpus| gpus.devices().len()).sum(),
        )
    }

    /// SHA-256 of the signed part of every accepted quote or report, the gateway's first.
    pub fn quotes(&self) -> impl Iterator<Item = Digest> {
        let machines = self.gateway.iter().chain(&self.machines);
        machines.map(|machine| machine.hardware.identity())
    }

    /// Until when this holds, exclusive: the earliest end of any quote's, any device's and any statement's.
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

    /// The name of the policy that accepted it.
    #[must_use]
    pub fn policy_name(&self) -> &str {
        &self.policy_name
    }

    /// See [`ProviderPolicy::digest`](crate::ProviderPolicy::digest).
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
