//! The named checks on NVIDIA devices and what they may answer. No check lives here.

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeMap as _};

use crate::{
    Verdict,
    check::{CheckOutcome, NotMade, write_outcome},
    spelled::spelled,
};

spelled! {
    /// A check: on the set of devices ([`GpuCheckName::SET`]) or on one ([`GpuCheckName::DEVICE`]).
    GpuCheckName {
        /// The evidence list is strict JSON of the known form.
        EvidenceList = "evidence-list",
        /// The tokens are detached EATs.
        TokenParse = "token-parse",
        /// Every JWT is signed by a key of a key set that the policy names.
        TokenSignature = "token-signature",
        /// Issuer, time, nonce, result and the digests of the devices' tokens are right.
        TokenClaims = "token-claims",
        /// No device answered twice.
        DeviceUnique = "device-unique",
        /// There are as many devices of each chip as the policy says.
        DeviceCount = "device-count",
        /// The report is a signed SPDM measurement report, whole and with nothing behind it.
        ReportParse = "report-parse",
        /// The device's certificates lead to a root that the policy trusts, under the path's rules.
        CertificateChain = "certificate-chain",
        /// Every certificate holds at the time of appraisal.
        CertificateTime = "certificate-time",
        /// The leaf's key signed request and response.
        ReportSignature = "report-signature",
        /// The firmware that holds the key is the one that the report names.
        FirmwareId = "firmware-id",
        /// The report answers the challenge of this very relying party.
        Nonce = "nonce",
        /// The chip is one that the policy names.
        Chip = "chip",
        /// Driver and BIOS have versions that the policy names.
        Versions = "versions",
        /// The device is in a mode that the policy allows.
        Mode = "mode",
        /// The driver's reference manifest is NVIDIA's, holds, and is about this driver.
        DriverRim = "driver-rim",
        /// The BIOS's reference manifest is NVIDIA's, holds, and is about this BIOS.
        BiosRim = "bios-rim",
        /// Every measurement is one of its golden values, or all are what the policy pins.
        Measurements = "measurements",
        /// NVIDIA's service says the same of this device, and that it is neither debugged nor unsafe.
        TokenDevice = "token-device",
        /// Somebody who can know says that the device's certificates are not revoked.
        Revocation = "revocation",
    }
}

impl GpuCheckName {
    /// The checks on the set, in their order.
    pub const SET: &'static [Self] = &[
        Self::EvidenceList,
        Self::TokenParse,
        Self::TokenSignature,
        Self::TokenClaims,
        Self::DeviceUnique,
        Self::DeviceCount,
    ];

    /// The checks on each device, in their order.
    pub const DEVICE: &'static [Self] = &[
        Self::ReportParse,
        Self::CertificateChain,
        Self::CertificateTime,
        Self::ReportSignature,
        Self::FirmwareId,
        Self::Nonce,
        Self::Chip,
        Self::Versions,
        Self::Mode,
        Self::DriverRim,
        Self::BiosRim,
        Self::Measurements,
        Self::TokenDevice,
        Self::Revocation,
    ];
}

spelled! {
    /// Why a check on NVIDIA devices failed. Stable: these codes are in records and documents.
    GpuCause {
        /// The evidence list cannot be read.
        ListMalformed = "gpu-list-malformed",
        /// The report cannot be read or is of no supported kind.
        ReportMalformed = "gpu-report-malformed",
        /// The certificates cannot be read.
        ChainMalformed = "gpu-chain-malformed",
        /// The chain does not begin with a device's own certificate.
        ChainLeaf = "gpu-chain-leaf",
        /// A signature, name or constraint of the chain does not hold.
        ChainBroken = "gpu-chain-broken",
        /// The chain ends in a root that the policy does not name.
        RootNotTrusted = "gpu-root-not-trusted",
        /// The policy refuses a certificate of the chain by its digest.
        CertificateRefused = "gpu-certificate-refused",
        /// A certificate is not valid yet at the time of appraisal.
        CertificateNotYetValid = "gpu-certificate-not-yet-valid",
        /// A certificate is not valid any more at the time of appraisal.
        CertificateExpired = "gpu-certificate-expired",
        /// The leaf's key did not sign the report.
        ReportSignature = "gpu-report-signature-invalid",
        /// The certificate names no firmware, or the report none.
        FirmwareIdAbsent = "gpu-firmware-id-absent",
        /// Report and certificate name different firmware.
        FirmwareIdMismatch = "gpu-firmware-id-mismatch",
        /// The report answers another nonce.
        NonceMismatch = "gpu-nonce-mismatch",
        /// The policy names no such chip.
        ChipNotAllowed = "gpu-chip-not-allowed",
        /// The report does not say the driver's or the BIOS's version.
        VersionAbsent = "gpu-version-absent",
        /// The policy does not name the driver's version.
        DriverNotAllowed = "gpu-driver-not-allowed",
        /// The policy does not name the BIOS's version.
        BiosNotAllowed = "gpu-bios-not-allowed",
        /// The report does not say the device's mode, or says two.
        ModeUnknown = "gpu-mode-unknown",
        /// The policy does not allow the device's mode.
        ModeNotAllowed = "gpu-mode-not-allowed",
        /// The reference manifest cannot be read.
        RimMalformed = "gpu-rim-malformed",
        /// The manifest's chain ends in a root that the policy does not name.
        RimRootNotTrusted = "gpu-rim-root-not-trusted",
        /// A signature, name or constraint of the manifest's chain does not hold.
        RimChainBroken = "gpu-rim-chain-broken",
        /// The manifest's signer is not valid yet.
        RimNotYetValid = "gpu-rim-not-yet-valid",
        /// The manifest's signer is not valid any more.
        RimExpired = "gpu-rim-expired",
        /// The manifest is not what its signature's digest is about.
        RimDigest = "gpu-rim-digest-mismatch",
        /// The manifest's signature does not verify.
        RimSignature = "gpu-rim-signature-invalid",
        /// No manifest is about this version.
        RimVersion = "gpu-rim-version-mismatch",
        /// The manifest is about another chip.
        RimProduct = "gpu-rim-product-mismatch",
        /// Both manifests claim a measurement.
        RimConflict = "gpu-rim-conflict",
        /// A measurement is none of its golden values.
        MeasurementMismatch = "gpu-measurement-mismatch",
        /// The manifests or the report lack what must be compared.
        MeasurementAbsent = "gpu-measurement-absent",
        /// The measurements are not what the policy pins.
        MeasurementsNotPinned = "gpu-measurements-not-pinned",
        /// A token cannot be read.
        TokenMalformed = "gpu-token-malformed",
        /// The key set cannot be read.
        JwksMalformed = "gpu-jwks-malformed",
        /// The policy does not name the key set.
        JwksNotTrusted = "gpu-jwks-not-trusted",
        /// A JWT has no signature (`alg` is `none`).
        TokenUnsigned = "gpu-token-unsigned",
        /// A JWT is signed with another algorithm than ES384.
        TokenAlgorithm = "gpu-token-algorithm",
        /// A JWT names no key, or one that the key set does not have.
        TokenKeyUnknown = "gpu-token-key-unknown",
        /// A JWT's signature does not verify.
        TokenSignature = "gpu-token-signature-invalid",
        /// A JWT has an issuer that the policy does not name.
        TokenIssuer = "gpu-token-issuer",
        /// A JWT is not valid yet.
        TokenNotYetValid = "gpu-token-not-yet-valid",
        /// A JWT has expired.
        TokenExpired = "gpu-token-expired",
        /// A JWT answers another nonce.
        TokenNonce = "gpu-token-nonce-mismatch",
        /// The overall token does not name a device's token by its digest.
        TokenSubmodule = "gpu-token-submodule-mismatch",
        /// The service says that the attestation failed.
        TokenResult = "gpu-token-result",
        /// A claim is missing or of another type.
        TokenClaim = "gpu-token-claim",
        /// No token, or more than one, is about this device.
        TokenDeviceAbsent = "gpu-token-device-absent",
        /// The token says another thing of the device than its report.
        TokenDeviceMismatch = "gpu-token-device-mismatch",
        /// The service saw a debug status that the policy does not allow.
        DebugStatus = "gpu-debug-status",
        /// The service does not say that the device booted securely.
        SecureBoot = "gpu-secure-boot",
        /// The service says that a certificate is revoked, on hold or not good.
        CertificateRevoked = "gpu-certificate-revoked",
        /// Two reports come from one device.
        DeviceTwice = "gpu-device-twice",
        /// There are more or fewer devices than the policy says.
        DeviceCount = "gpu-device-count",
    }
}

/// Why a check was not made. Never a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GpuReason {
    /// The check needs what an earlier check, which failed, would have yielded.
    After(GpuCheckName),
    /// What was looked at is in order, but a check that failed or was not made left it unproved.
    Unproved(GpuCheckName),
    /// Evidence from an archive cannot show that it was fresh.
    ArchiveAudit,
    /// What the check is about was not supplied.
    NotSupplied,
    /// Devices of this kind have nothing that the check is about.
    NotApplicable,
}

impl GpuReason {
    /// The stable spelling in JSON and documents.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::After(_) => "not-reached",
            Self::Unproved(_) => "unproved",
            Self::ArchiveAudit => "archive-audit",
            Self::NotSupplied => "not-supplied",
            Self::NotApplicable => "not-applicable",
        }
    }
}

impl fmt::Display for GpuReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(check) => write!(f, "not reached, because `{check}` did not pass"),
            Self::Unproved(check) => {
                write!(f, "in order, but unproved, because `{check}` did not pass")
            }
            Self::ArchiveAudit => {
                f.write_str("evidence from an archive cannot show that it was fresh")
            }
            Self::NotSupplied => f.write_str("what it is about was not supplied"),
            Self::NotApplicable => f.write_str("devices of this kind have nothing of that kind"),
        }
    }
}

/// What a check on NVIDIA devices answered.
pub type GpuOutcome = CheckOutcome<GpuCause, GpuReason>;

impl NotMade for GpuReason {
    fn code_and_words(&self) -> (&'static str, String) {
        (self.code(), self.to_string())
    }
}

/// A named check, whether the policy requires it, and its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuCheck {
    /// Which check.
    pub name: GpuCheckName,
    /// Whether an acceptance needs it to pass. A failure refuses in any case.
    pub required: bool,
    /// What it answered.
    pub outcome: GpuOutcome,
}

impl GpuCheck {
    /// What this check alone makes of the whole: one that was not made counts only if required.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        match (&self.outcome, self.required) {
            (GpuOutcome::Fail { .. }, _) => Verdict::Reject,
            (GpuOutcome::NotEvaluated(_), true) => Verdict::Incomplete,
            (GpuOutcome::Pass, _) | (GpuOutcome::NotEvaluated(_), false) => Verdict::Accept,
        }
    }
}

impl Serialize for GpuCheck {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("check", &self.name)?;
        map.serialize_entry("required", &self.required)?;
        write_outcome(&self.outcome, &mut map)?;
        map.end()
    }
}

pub(super) fn find(checks: &[GpuCheck], name: GpuCheckName) -> Option<&GpuOutcome> {
    checks
        .iter()
        .find(|check| check.name == name)
        .map(|check| &check.outcome)
}

/// Every check of `names` in order; one without an answer was not reached after the first failure.
pub(super) fn complete(
    names: &[GpuCheckName],
    answered: &[GpuCheck],
    first: GpuCheckName,
    required: impl Fn(GpuCheckName) -> bool,
) -> Vec<GpuCheck> {
    let stopped = answered
        .iter()
        .find(|check| matches!(check.outcome, GpuOutcome::Fail { .. }))
        .map_or(first, |check| check.name);
    names
        .iter()
        .map(|name| {
            let found = answered.iter().find(|check| check.name == *name);
            found.cloned().unwrap_or(GpuCheck {
                name: *name,
                required: required(*name),
                outcome: GpuOutcome::NotEvaluated(GpuReason::After(stopped)),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{GpuCause, GpuCheckName};

    #[test]
    fn every_check_is_in_one_list_and_every_spelling_is_unique() {
        let both: Vec<_> = [GpuCheckName::SET, GpuCheckName::DEVICE].concat();
        assert_eq!(both, GpuCheckName::ALL);
        let codes: std::collections::BTreeSet<&str> =
            GpuCause::ALL.iter().map(|cause| cause.as_str()).collect();
        assert_eq!(codes.len(), GpuCause::ALL.len());
    }
}
