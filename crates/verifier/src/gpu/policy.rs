//! The policy for NVIDIA devices: which roots, chips, counts, versions, modes and measurements are
//! acceptable. A policy that leaves one of them open cannot be built.

use proofroom_canonical::Digest;
use proofroom_evidence::gpu::{FeatureFlag, OpaqueData, Switched};

use super::{GpuCause, GpuCheckName, GpuOutcome};
use crate::{Assurance, PolicyProblem};

mod raw;

/// SHA-256 of the DER of NVIDIA's device root, `CN=NVIDIA Device Identity CA`. Policies name it
/// `nvidia-device-identity-ca`. Source: NVIDIA/nvtrust, `verifier_device_root.pem`.
pub const NVIDIA_DEVICE_ROOT: Digest = Digest::from_bytes([
    0x10, 0x2b, 0xf6, 0x59, 0xd5, 0x41, 0x96, 0x14, 0xc9, 0xd8, 0xe6, 0xae, 0xce, 0xbc, 0x80, 0x45,
    0x4e, 0xb2, 0x6b, 0x1d, 0xf6, 0xa7, 0x69, 0xac, 0x72, 0x0b, 0x9a, 0x69, 0x0b, 0x16, 0x7b, 0x48,
]);

/// SHA-256 of the DER of the root of NVIDIA's reference manifests, `CN=NVIDIA CoRIM signing Root CA`.
/// Policies name it `nvidia-corim-root-ca`. Source: NVIDIA/nvtrust, `verifier_RIM_root.pem`.
pub const NVIDIA_RIM_ROOT: Digest = Digest::from_bytes([
    0x12, 0x97, 0x7b, 0x51, 0x15, 0xac, 0xb0, 0x38, 0x11, 0x79, 0x27, 0x9f, 0xff, 0xeb, 0x5a, 0x8c,
    0x4d, 0x26, 0x49, 0x71, 0xeb, 0xb3, 0x22, 0x98, 0x02, 0x3a, 0x46, 0x5f, 0xa4, 0x1d, 0xf5, 0xd1,
]);

/// The policy for genuine devices, as shipped: an example that accepts nobody until its measurements
/// are replaced.
pub const PRODUCTION_GPU: &str = include_str!("../../policies/production-gpu.toml");

/// The policy for the simulated devices of the tests.
pub const SIMULATED_GPU: &str = include_str!("../../policies/simulated-gpu.toml");

const SIMULATED: &str = "simulated";

/// What kind of device a chip is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    /// A GPU: has a driver and a mode.
    Gpu,
    /// An `NVSwitch`: has a BIOS alone.
    Switch,
}

/// What a GPU is set up for, by its own report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceMode {
    /// One GPU passed through to one machine.
    SinglePassthrough,
    /// Several GPUs of one machine.
    MultiPassthrough,
    /// Several GPUs behind protected PCIe and `NVSwitch`.
    ProtectedPcie,
}

impl DeviceMode {
    const fn as_str(self) -> &'static str {
        match self {
            Self::SinglePassthrough => "single-passthrough",
            Self::MultiPassthrough => "multi-passthrough",
            Self::ProtectedPcie => "protected-pcie",
        }
    }

    /// The mode that a report names; none if it names none, or two.
    fn of(opaque: &OpaqueData) -> Option<Self> {
        let named = opaque.feature.map(|feature| match feature {
            FeatureFlag::SinglePassthrough => Self::SinglePassthrough,
            FeatureFlag::MultiPassthrough => Self::MultiPassthrough,
            FeatureFlag::ProtectedPcie => Self::ProtectedPcie,
        });
        match (opaque.protected_pcie, named) {
            // older drivers know one other mode than protected PCIe, and do not name it
            (Some(Switched::Off), None) => Some(Self::SinglePassthrough),
            (Some(Switched::On), None) => Some(Self::ProtectedPcie),
            (Some(Switched::On), Some(mode)) => (mode == Self::ProtectedPcie).then_some(mode),
            (Some(Switched::Off), Some(mode)) => (mode != Self::ProtectedPcie).then_some(mode),
            (None, named) => named,
        }
    }
}

#[derive(Clone, Debug)]
struct DeviceRule {
    kind: DeviceKind,
    chip: String,
    count: u16,
    driver: Vec<String>,
    bios: Vec<String>,
    mode: Vec<DeviceMode>,
}

#[derive(Clone, Debug)]
enum MeasurementRule {
    /// Against NVIDIA's reference manifests.
    Rim { roots: Vec<Digest> },
    /// Against digests over all measurements.
    Pinned(Vec<Digest>),
}

#[derive(Clone, Debug)]
struct TokenRule {
    required: bool,
    revocation_required: bool,
    issuers: Vec<String>,
    jwks: Vec<Digest>,
    debug_status: Vec<String>,
}

/// A policy that pins everything it must. See `docs/spec/gpu.md` for the file's format.
#[derive(Clone, Debug)]
pub struct GpuPolicy {
    name: String,
    digest: Digest,
    roots: Vec<Digest>,
    refuse_certificates: Vec<Digest>,
    max_age_seconds: u32,
    devices: Vec<DeviceRule>,
    measurements: MeasurementRule,
    token: TokenRule,
}

impl GpuPolicy {
    /// Reads a policy from TOML text; `file` is named in problems.
    ///
    /// # Errors
    /// Every [`PolicyProblem`] that was found, never none: unknown or missing keys, an empty list
    /// where something must be pinned, a root that is not NVIDIA's in a policy whose name does not
    /// contain `simulated`, an example that does not hold.
    pub fn parse(text: &str, file: &str) -> Result<Self, Vec<PolicyProblem>> {
        raw::parse(text, file)
    }

    /// The policy's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the policy's file.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// What an acceptance under this policy means.
    #[must_use]
    pub fn assurance(&self) -> Assurance {
        if self.name.contains(SIMULATED) {
            Assurance::Simulated
        } else {
            Assurance::Hardware
        }
    }

    pub(super) const fn max_age_seconds(&self) -> u32 {
        self.max_age_seconds
    }

    pub(super) fn trusts_root(&self, root: Digest) -> bool {
        self.roots.contains(&root)
    }

    pub(super) fn trusts_rim_root(&self, root: Digest) -> bool {
        match &self.measurements {
            MeasurementRule::Rim { roots } => roots.contains(&root),
            MeasurementRule::Pinned(_) => false,
        }
    }

    pub(super) fn refuses_certificate(&self, certificate: Digest) -> bool {
        self.refuse_certificates.contains(&certificate)
    }

    pub(super) fn trusts_jwks(&self, jwks: Digest) -> bool {
        self.token.jwks.contains(&jwks)
    }

    pub(super) fn trusts_issuer(&self, issuer: &str) -> bool {
        self.token.issuers.iter().any(|known| known == issuer)
    }

    pub(super) fn allows_debug_status(&self, status: &str) -> bool {
        self.token.debug_status.iter().any(|known| known == status)
    }

    /// Whether an acceptance needs this check to pass.
    pub(super) const fn requires(&self, name: GpuCheckName) -> bool {
        match name {
            GpuCheckName::DriverRim | GpuCheckName::BiosRim => {
                matches!(self.measurements, MeasurementRule::Rim { .. })
            }
            GpuCheckName::TokenParse
            | GpuCheckName::TokenSignature
            | GpuCheckName::TokenClaims
            | GpuCheckName::TokenDevice => self.token.required,
            GpuCheckName::Revocation => self.token.revocation_required,
            _ => true,
        }
    }

    fn rule(&self, chip: &str) -> Option<&DeviceRule> {
        self.devices.iter().find(|rule| rule.chip == chip)
    }

    pub(super) fn kind_of(&self, chip: &str) -> Option<DeviceKind> {
        self.rule(chip).map(|rule| rule.kind)
    }

    pub(super) fn judge_count(&self, chips: &[&str]) -> GpuOutcome {
        for rule in &self.devices {
            let found = chips.iter().filter(|chip| **chip == rule.chip).count();
            if found != usize::from(rule.count) {
                let words = format!(
                    "there are {found} of chip `{}`, the policy says {}",
                    rule.chip, rule.count
                );
                return GpuOutcome::fail(GpuCause::DeviceCount, words);
            }
        }
        GpuOutcome::Pass
    }

    pub(super) fn judge_versions(&self, chip: &str, opaque: &OpaqueData) -> GpuOutcome {
        let Some(rule) = self.rule(chip) else {
            return GpuOutcome::fail(GpuCause::ChipNotAllowed, "the policy names no such chip");
        };
        let driver = match rule.kind {
            DeviceKind::Gpu => {
                let driver = opaque.driver_version.as_deref();
                judge_version("driver", driver, &rule.driver, GpuCause::DriverNotAllowed)
            }
            DeviceKind::Switch => GpuOutcome::Pass,
        };
        if driver != GpuOutcome::Pass {
            return driver;
        }
        let bios = opaque.vbios_version.as_deref();
        judge_version("BIOS", bios, &rule.bios, GpuCause::BiosNotAllowed)
    }

    pub(super) fn judge_mode(&self, chip: &str, opaque: &OpaqueData) -> GpuOutcome {
        let Some(mode) = DeviceMode::of(opaque) else {
            let words = "the report names no mode, or two that exclude each other";
            return GpuOutcome::fail(GpuCause::ModeUnknown, words);
        };
        if self
            .rule(chip)
            .is_some_and(|rule| rule.mode.contains(&mode))
        {
            return GpuOutcome::Pass;
        }
        let words = format!("the policy does not allow mode `{}`", mode.as_str());
        GpuOutcome::fail(GpuCause::ModeNotAllowed, words)
    }

    /// What the pinned digests say; nothing if the policy compares with manifests.
    pub(super) fn judge_measurements(&self, found: Digest) -> Option<GpuOutcome> {
        match &self.measurements {
            MeasurementRule::Rim { .. } => None,
            MeasurementRule::Pinned(digests) if digests.contains(&found) => Some(GpuOutcome::Pass),
            MeasurementRule::Pinned(_) => {
                let words = format!("the measurements are {found}, which the policy does not pin");
                Some(GpuOutcome::fail(GpuCause::MeasurementsNotPinned, words))
            }
        }
    }
}

fn judge_version(
    what: &str,
    version: Option<&str>,
    allowed: &[String],
    refused: GpuCause,
) -> GpuOutcome {
    let Some(version) = version else {
        let words = format!("the report does not say the {what}'s version");
        return GpuOutcome::fail(GpuCause::VersionAbsent, words);
    };
    if allowed.iter().any(|known| known == version) {
        return GpuOutcome::Pass;
    }
    let words = format!("the policy does not allow {what} `{version}`");
    GpuOutcome::fail(refused, words)
}

#[cfg(test)]
mod tests;
