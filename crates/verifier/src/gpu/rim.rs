//! Reference manifests: which are NVIDIA's and hold, which one is about a device's driver or BIOS,
//! and whether its measurements are the golden ones.

use p384::ecdsa::{Signature, signature::Verifier as _};
use proofroom_canonical::Timestamp;
use proofroom_evidence::gpu::{DeviceReport, Rim, Switched};

use super::{
    GpuCause, GpuEndorsements, GpuOutcome, GpuPolicy, GpuReason,
    chain::{Path, Refusal},
};

/// The measurement of the first video decoder, counted from 0. Devices without that decoder do not
/// measure it (NVIDIA/nvtrust, `verifier/verifier.py`).
const NVDEC0: u8 = 35;

/// A manifest that is signed by NVIDIA and holds.
pub(super) struct VerifiedRim {
    rim: Rim,
    until: Timestamp,
}

impl VerifiedRim {
    pub(super) const fn until(&self) -> Timestamp {
        self.until
    }
}

/// The manifests of one kind, in the order in which they were supplied.
pub(super) struct Kind(Vec<Result<VerifiedRim, Refusal>>);

/// All manifests.
pub(super) struct Rims {
    pub(super) driver: Kind,
    pub(super) bios: Kind,
}

impl Rims {
    /// No manifests.
    pub(super) const fn none() -> Self {
        Self {
            driver: Kind(Vec::new()),
            bios: Kind(Vec::new()),
        }
    }

    pub(super) fn verify(
        endorsements: &GpuEndorsements<'_>,
        policy: &GpuPolicy,
        now: Timestamp,
    ) -> Self {
        let verify = |files: &[Vec<u8>]| {
            Kind(
                files
                    .iter()
                    .map(|file| verify_rim(file, policy, now))
                    .collect(),
            )
        };
        Self {
            driver: verify(endorsements.driver_rims),
            bios: verify(endorsements.bios_rims),
        }
    }
}

impl Kind {
    /// The manifest of `chip` and `version`. Every supplied one must hold: a bad one is never passed
    /// over for a better.
    pub(super) fn choose(
        &self,
        chip: &str,
        version: Option<&str>,
    ) -> Result<&VerifiedRim, GpuOutcome> {
        if self.0.is_empty() {
            return Err(GpuOutcome::NotEvaluated(GpuReason::NotSupplied));
        }
        let refused = |(cause, words): &Refusal| GpuOutcome::fail(*cause, words.clone());
        let holding: Vec<&VerifiedRim> = self
            .0
            .iter()
            .map(|rim| rim.as_ref().map_err(refused))
            .collect::<Result<_, _>>()?;
        let Some(version) = version else {
            let words = "the report names no version that a manifest could be about";
            return Err(GpuOutcome::fail(GpuCause::VersionAbsent, words));
        };
        let about: Vec<_> = holding
            .iter()
            .filter(|held| held.rim.version() == version)
            .collect();
        if about.is_empty() {
            let words = format!("no manifest is about version `{version}`");
            return Err(GpuOutcome::fail(GpuCause::RimVersion, words));
        }
        about
            .into_iter()
            .find(|held| held.rim.product() == chip)
            .copied()
            .ok_or_else(|| {
                let words = format!("the manifest of `{version}` is not about chip `{chip}`");
                GpuOutcome::fail(GpuCause::RimProduct, words)
            })
    }
}

fn verify_rim(file: &[u8], policy: &GpuPolicy, now: Timestamp) -> Result<VerifiedRim, Refusal> {
    let rim = Rim::parse(file).map_err(|error| (GpuCause::RimMalformed, error.to_string()))?;
    let path = Path::verify(
        rim.chain(),
        |root| policy.trusts_rim_root(root),
        |certificate| policy.refuses_certificate(certificate),
    )
    .map_err(of_rim)?;
    path.holds_at(now).map_err(of_rim)?;
    if rim.digest() != rim.signed_digest() {
        let words = "the manifest is not what its signature's digest is about";
        return Err((GpuCause::RimDigest, words.to_owned()));
    }
    let signed = Signature::from_slice(rim.signature())
        .is_ok_and(|signature| path.key().verify(rim.signed_info(), &signature).is_ok());
    if !signed {
        let words = "the manifest's signature does not verify";
        return Err((GpuCause::RimSignature, words.to_owned()));
    }
    Ok(VerifiedRim {
        until: path.until(),
        rim,
    })
}

/// A refusal of a chain, as one of a manifest's chain.
fn of_rim((cause, words): Refusal) -> Refusal {
    let cause = match cause {
        GpuCause::RootNotTrusted => GpuCause::RimRootNotTrusted,
        GpuCause::CertificateNotYetValid => GpuCause::RimNotYetValid,
        GpuCause::CertificateExpired => GpuCause::RimExpired,
        GpuCause::CertificateRefused => GpuCause::CertificateRefused,
        _ => GpuCause::RimChainBroken,
    };
    (cause, words)
}

/// Proves that every measurement that the manifests have golden values for is one of them.
pub(super) fn compare(report: &DeviceReport, rims: &[&VerifiedRim]) -> Result<(), Refusal> {
    let golden: Vec<_> = rims
        .iter()
        .flat_map(|held| held.rim.measurements())
        .collect();
    if golden.is_empty() {
        let words = "the manifests have no golden value".to_owned();
        return Err((GpuCause::MeasurementAbsent, words));
    }
    let mut seen = Vec::new();
    for wanted in golden {
        if seen.contains(&wanted.index) {
            let words = format!("both manifests claim measurement {}", wanted.index);
            return Err((GpuCause::RimConflict, words));
        }
        seen.push(wanted.index);
        if wanted.index == NVDEC0 && report.opaque().nvdec0 == Some(Switched::Off) {
            continue;
        }
        let found = wanted
            .index
            .checked_add(1)
            .and_then(|index| report.measurement(index));
        match found {
            Some(found) if wanted.values.contains(&found) => {}
            Some(found) => {
                let words = format!("measurement {} is {found}, no golden value", wanted.index);
                return Err((GpuCause::MeasurementMismatch, words));
            }
            None => {
                let words = format!("the report lacks measurement {}", wanted.index);
                return Err((GpuCause::MeasurementAbsent, words));
            }
        }
    }
    Ok(())
}
