//! Appraisal of NVIDIA GPUs and NVSwitches: the reports of all devices of a machine, their
//! certificates, NVIDIA's reference manifests and tokens, judged together under one policy. Pure,
//! total: any bytes give an appraisal. Rules: `docs/spec/gpu.md`.

use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_evidence::gpu::{EvidenceList, GpuError};
use serde::Serialize;

use crate::{Assurance, Freshness, Verdict};

mod chain;
mod check;
mod device;
mod policy;
mod rim;
mod token;
mod verified;

pub use check::{GpuCause, GpuCheck, GpuCheckName, GpuOutcome, GpuReason};
pub use device::DeviceAppraisal;
pub use policy::{
    DeviceKind, DeviceMode, GpuPolicy, NVIDIA_DEVICE_ROOT, NVIDIA_RIM_ROOT, PRODUCTION_GPU,
    SIMULATED_GPU,
};
pub use verified::{VerifiedGpu, VerifiedGpus};

use chain::Refusal;
use device::Device;
use rim::Rims;
use token::Tokens;

/// What NVIDIA says about its devices beside their own evidence. Whatever is not supplied is not
/// evaluated; whether that is acceptable is the policy's to say.
#[derive(Clone, Copy, Debug, Default)]
pub struct GpuEndorsements<'a> {
    /// Reference manifests of drivers, as files.
    pub driver_rims: &'a [Vec<u8>],
    /// Reference manifests of video or switch BIOSes, as files.
    pub bios_rims: &'a [Vec<u8>],
    /// Detached EATs of NVIDIA's attestation service.
    pub tokens: &'a [Vec<u8>],
    /// The key set that tokens are verified with; its SHA-256 must be one that the policy names.
    pub jwks: Option<&'a [u8]>,
}

/// What the devices of a machine are worth under a policy at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GpuAppraisal {
    policy: String,
    policy_digest: Digest,
    assurance: Assurance,
    at: Timestamp,
    verdict: Verdict,
    checks: Vec<GpuCheck>,
    devices: Vec<DeviceAppraisal>,
    #[serde(skip)]
    nonce: Option<Nonce>,
    #[serde(skip)]
    expires: Option<Timestamp>,
}

impl GpuAppraisal {
    /// The checks on the set: each of [`GpuCheckName::SET`] once and in that order.
    #[must_use]
    pub fn checks(&self) -> &[GpuCheck] {
        &self.checks
    }

    /// The devices, in the order of their evidence, each with its own checks.
    #[must_use]
    pub fn devices(&self) -> &[DeviceAppraisal] {
        &self.devices
    }

    /// The worst outcome of all checks that failed or that the policy requires.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// What `name` answered about the set.
    #[must_use]
    pub fn outcome(&self, name: GpuCheckName) -> Option<&GpuOutcome> {
        check::find(&self.checks, name)
    }

    /// The first check that failed, of the devices in order, then of the set.
    #[must_use]
    pub fn first_failure(&self) -> Option<(GpuCheckName, GpuCause)> {
        let devices = self.devices.iter().flat_map(DeviceAppraisal::checks);
        devices
            .chain(&self.checks)
            .find_map(|check| match check.outcome {
                GpuOutcome::Fail { cause, .. } => Some((check.name, cause)),
                GpuOutcome::Pass | GpuOutcome::NotEvaluated(_) => None,
            })
    }

    /// The name of the policy.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// SHA-256 of the policy's file.
    #[must_use]
    pub const fn policy_digest(&self) -> Digest {
        self.policy_digest
    }

    /// Whether an acceptance under the policy speaks about hardware. Print it with the verdict.
    #[must_use]
    pub const fn assurance(&self) -> Assurance {
        self.assurance
    }

    /// The time that everything was judged at.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// Turns an accepted appraisal into the type that proves one.
    ///
    /// # Errors
    /// The appraisal itself, unless every required check passed and none failed.
    pub fn into_verified(self) -> Result<VerifiedGpus, Box<Self>> {
        let devices: Option<Vec<VerifiedGpu>> =
            self.devices.iter().map(DeviceAppraisal::verified).collect();
        let every_check = self
            .checks
            .iter()
            .map(|check| &check.name)
            .eq(GpuCheckName::SET);
        let accepted = every_check && fold(&self.checks, &self.devices) == Verdict::Accept;
        let (true, Some(devices), Some(nonce), Some(expires)) =
            (accepted, devices, self.nonce, self.expires)
        else {
            return Err(Box::new(self));
        };
        Ok(VerifiedGpus {
            devices,
            nonce,
            expires,
            policy_name: self.policy,
            policy_digest: self.policy_digest,
            assurance: self.assurance,
        })
    }
}

/// Appraises an evidence list, the bytes that NVIDIA's tools write, under `policy` as of `now`.
#[must_use]
pub fn appraise_gpus(
    list: &[u8],
    endorsements: GpuEndorsements<'_>,
    policy: &GpuPolicy,
    freshness: Freshness,
    now: Timestamp,
) -> GpuAppraisal {
    match EvidenceList::parse(list) {
        Ok(list) => appraise_devices(&list, endorsements, policy, freshness, now),
        Err(error) => Work::new(policy, freshness, now).refuse(&error),
    }
}

/// Like [`appraise_gpus`] with nothing of NVIDIA's beside the evidence. A program that calls this alone has no reader of
/// manifests and tokens in it.
#[must_use]
pub fn appraise_unendorsed_gpus(
    list: &[u8],
    policy: &GpuPolicy,
    freshness: Freshness,
    now: Timestamp,
) -> GpuAppraisal {
    let work = Work::new(policy, freshness, now);
    match EvidenceList::parse(list) {
        Ok(list) => work.judge(&list, |work| (Rims::none(), Tokens::none(work))),
        Err(error) => work.refuse(&error),
    }
}

/// Appraises devices whose reports and certificates are at hand.
#[must_use]
pub fn appraise_devices(
    list: &EvidenceList,
    endorsements: GpuEndorsements<'_>,
    policy: &GpuPolicy,
    freshness: Freshness,
    now: Timestamp,
) -> GpuAppraisal {
    Work::new(policy, freshness, now).judge(list, |work| {
        let rims = Rims::verify(&endorsements, policy, now);
        (rims, token::verify(work, &endorsements))
    })
}

/// An appraisal under way.
struct Work<'a> {
    policy: &'a GpuPolicy,
    freshness: Freshness,
    now: Timestamp,
    checks: Vec<GpuCheck>,
}

impl<'a> Work<'a> {
    const fn new(policy: &'a GpuPolicy, freshness: Freshness, now: Timestamp) -> Self {
        Self {
            policy,
            freshness,
            now,
            checks: Vec::new(),
        }
    }

    /// Judges the devices, with the manifests and tokens that `endorsed` gives.
    fn judge(
        mut self,
        list: &EvidenceList,
        endorsed: impl FnOnce(&mut Self) -> (Rims, Tokens),
    ) -> GpuAppraisal {
        self.set(GpuCheckName::EvidenceList, GpuOutcome::Pass);
        let (rims, tokens) = endorsed(&mut self);
        let devices: Vec<Device> = list
            .devices()
            .iter()
            .map(|evidence| Device::appraise(&self, evidence, &rims, &tokens))
            .collect();
        self.set_unique(&devices);
        self.set_count(&devices);
        self.finish(devices, tokens.expires)
    }

    fn set(&mut self, name: GpuCheckName, outcome: GpuOutcome) {
        let required = self.policy.requires(name);
        self.checks.push(GpuCheck {
            name,
            required,
            outcome,
        });
    }

    /// Two reports of one device are one device.
    fn set_unique(&mut self, devices: &[Device]) {
        let mut seen = Vec::new();
        for device in devices {
            let Some(key) = device.device_key() else {
                let reason = GpuReason::After(GpuCheckName::CertificateChain);
                let outcome = GpuOutcome::NotEvaluated(reason);
                return self.set(GpuCheckName::DeviceUnique, outcome);
            };
            if seen.contains(&key) {
                let words = format!("two reports come from device {key}");
                let outcome = GpuOutcome::fail(GpuCause::DeviceTwice, words);
                return self.set(GpuCheckName::DeviceUnique, outcome);
            }
            seen.push(key);
        }
        self.set(GpuCheckName::DeviceUnique, GpuOutcome::Pass);
    }

    fn set_count(&mut self, devices: &[Device]) {
        let proved = devices.iter().all(Device::chain_holds);
        let chips: Vec<&str> = devices.iter().filter_map(Device::chip).collect();
        let outcome = match proved && chips.len() == devices.len() {
            true => self.policy.judge_count(&chips),
            false => GpuOutcome::NotEvaluated(GpuReason::After(GpuCheckName::CertificateChain)),
        };
        self.set(GpuCheckName::DeviceCount, outcome);
    }

    fn refuse(mut self, error: &GpuError) -> GpuAppraisal {
        let outcome = GpuOutcome::malformed(GpuCause::ListMalformed, error);
        self.set(GpuCheckName::EvidenceList, outcome);
        self.finish(Vec::new(), None)
    }

    fn finish(self, devices: Vec<Device>, tokens_expire: Option<Timestamp>) -> GpuAppraisal {
        let own_limit = self.now.after_seconds(self.policy.max_age_seconds());
        let expires = devices
            .iter()
            .filter_map(Device::expires)
            .chain(tokens_expire)
            .chain([own_limit])
            .min();
        let devices: Vec<DeviceAppraisal> = devices
            .into_iter()
            .map(|device| device.finish(self.policy))
            .collect();
        let checks = check::complete(
            GpuCheckName::SET,
            &self.checks,
            GpuCheckName::EvidenceList,
            |name| self.policy.requires(name),
        );
        GpuAppraisal {
            policy: self.policy.name().to_owned(),
            policy_digest: self.policy.digest(),
            assurance: self.policy.assurance(),
            at: self.now,
            verdict: fold(&checks, &devices),
            checks,
            devices,
            nonce: match self.freshness {
                Freshness::Challenge(nonce) => Some(nonce),
                Freshness::ArchiveAudit => None,
            },
            expires,
        }
    }
}

/// No devices prove nothing.
fn fold(checks: &[GpuCheck], devices: &[DeviceAppraisal]) -> Verdict {
    let set = Verdict::worst(checks.iter().map(GpuCheck::verdict));
    let each = Verdict::worst(devices.iter().map(DeviceAppraisal::verdict));
    set.max(each)
}

/// What a refusal answers.
fn outcome(result: Result<(), Refusal>) -> GpuOutcome {
    match result {
        Ok(()) => GpuOutcome::Pass,
        Err((cause, words)) => GpuOutcome::fail(cause, words),
    }
}
