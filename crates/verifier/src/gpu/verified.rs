//! The proof that all devices of a machine were accepted together. Built from a
//! [`GpuAppraisal`](super::GpuAppraisal) alone; there is no other way to one.

use proofroom_canonical::{Digest, Nonce, Timestamp};

use crate::Assurance;

/// One device whose evidence was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedGpu {
    pub(super) device: Digest,
    pub(super) report: Digest,
    pub(super) chip: String,
    pub(super) driver: Option<String>,
    pub(super) bios: String,
    pub(super) measurements: Digest,
}

impl VerifiedGpu {
    /// SHA-256 of the key that certifies the device's signing key: the same for the same device.
    #[must_use]
    pub const fn device(&self) -> Digest {
        self.device
    }

    /// SHA-256 of the report's signed bytes.
    #[must_use]
    pub const fn report(&self) -> Digest {
        self.report
    }

    /// The chip, such as `GH100`.
    #[must_use]
    pub fn chip(&self) -> &str {
        &self.chip
    }

    /// The driver's version; a switch has none.
    #[must_use]
    pub fn driver(&self) -> Option<&str> {
        self.driver.as_deref()
    }

    /// The BIOS's version.
    #[must_use]
    pub fn bios(&self) -> &str {
        &self.bios
    }

    /// SHA-256 over all measurements.
    #[must_use]
    pub const fn measurements(&self) -> Digest {
        self.measurements
    }
}

/// Devices whose evidence was accepted, all for one nonce. Says nothing about which machine they are
/// plugged into: whoever relays a nonce can have it answered by devices elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedGpus {
    pub(super) devices: Vec<VerifiedGpu>,
    pub(super) nonce: Nonce,
    pub(super) expires: Timestamp,
    pub(super) policy_name: String,
    pub(super) policy_digest: Digest,
    pub(super) assurance: Assurance,
}

impl VerifiedGpus {
    /// The devices, in the order of their evidence.
    #[must_use]
    pub fn devices(&self) -> &[VerifiedGpu] {
        &self.devices
    }

    /// The nonce that all of them answered.
    #[must_use]
    pub const fn nonce(&self) -> Nonce {
        self.nonce
    }

    /// Until when this holds, exclusive: the earliest end of certificates, manifests, tokens and the
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

    /// The name of the policy that accepted them.
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
