//! The checks on one device: its report, its certificates, what it says of itself, and what
//! manifests and tokens say of it.

use p384::ecdsa::{Signature, signature::Verifier as _};
use proofroom_canonical::{Digest, Timestamp};
use proofroom_evidence::gpu::{DeviceEvidence, DeviceFacts, DeviceReport, certificate_chain};
use serde::Serialize;

use super::{
    GpuCause, GpuCheck, GpuCheckName, GpuOutcome, GpuPolicy, GpuReason, VerifiedGpu, Work,
    chain::Path, check, outcome, policy::DeviceKind, rim::Rims, token::Tokens,
};
use crate::{Freshness, Verdict};

const SIGNED: &[GpuCheckName] = &[
    GpuCheckName::CertificateChain,
    GpuCheckName::ReportSignature,
];
/// A manifest answers for the versions that the report is proved to name.
const VERSIONED: &[GpuCheckName] = &[
    GpuCheckName::CertificateChain,
    GpuCheckName::ReportSignature,
    GpuCheckName::DriverRim,
    GpuCheckName::BiosRim,
];

/// What one device is worth under a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceAppraisal {
    /// SHA-256 of the report's signed bytes, if it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<Digest>,
    /// SHA-256 of the key that certifies the device's signing key.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bios: Option<String>,
    /// SHA-256 over all measurements, as a policy pins them.
    #[serde(skip_serializing_if = "Option::is_none")]
    measurements: Option<Digest>,
    checks: Vec<GpuCheck>,
}

impl DeviceAppraisal {
    /// All checks, each of [`GpuCheckName::DEVICE`] once and in that order.
    #[must_use]
    pub fn checks(&self) -> &[GpuCheck] {
        &self.checks
    }

    /// What `name` answered.
    #[must_use]
    pub fn outcome(&self, name: GpuCheckName) -> Option<&GpuOutcome> {
        check::find(&self.checks, name)
    }

    /// SHA-256 of the report's signed bytes, if it could be read.
    #[must_use]
    pub const fn report(&self) -> Option<Digest> {
        self.report
    }

    /// SHA-256 of the key that certifies the device's signing key, if the chain holds.
    #[must_use]
    pub const fn device(&self) -> Option<Digest> {
        self.device
    }

    /// SHA-256 over all measurements, as a policy may pin them.
    #[must_use]
    pub const fn measurements(&self) -> Option<Digest> {
        self.measurements
    }

    /// The worst outcome of all checks that failed or that the policy requires.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        Verdict::worst(self.checks.iter().map(GpuCheck::verdict))
    }

    pub(super) fn verified(&self) -> Option<VerifiedGpu> {
        let answered = self.checks.iter().map(|check| &check.name);
        if !answered.eq(GpuCheckName::DEVICE) || self.verdict() != Verdict::Accept {
            return None;
        }
        Some(VerifiedGpu {
            device: self.device?,
            report: self.report?,
            chip: self.chip.clone()?,
            driver: self.driver.clone(),
            bios: self.bios.clone()?,
            measurements: self.measurements?,
        })
    }
}

/// One device under appraisal.
pub(super) struct Device {
    report: Option<DeviceReport>,
    facts: Option<DeviceFacts>,
    path: Option<Path>,
    kind: Option<DeviceKind>,
    checks: Vec<GpuCheck>,
    rims_until: Option<Timestamp>,
}

impl Device {
    pub(super) fn appraise(
        work: &Work<'_>,
        evidence: &DeviceEvidence,
        rims: &Rims,
        tokens: &Tokens,
    ) -> Self {
        let mut device = Self {
            report: None,
            facts: None,
            path: None,
            kind: None,
            checks: Vec::new(),
            rims_until: None,
        };
        device.read_report(work, &evidence.report);
        device.read_chain(work, &evidence.chain);
        if let Some(report) = device.report.clone() {
            device.check_signature(work, &report);
            device.check_claims(work, &report);
            device.check_manifests(work, &report, rims);
            device.check_tokens(work, &report, tokens);
        }
        device
    }

    pub(super) fn device_key(&self) -> Option<Digest> {
        self.path.as_ref().map(Path::issuer_key)
    }

    pub(super) fn chip(&self) -> Option<&str> {
        self.facts.as_ref().map(|facts| facts.chip.as_str())
    }

    pub(super) const fn chain_holds(&self) -> bool {
        self.path.is_some()
    }

    pub(super) fn expires(&self) -> Option<Timestamp> {
        let chain = self.path.as_ref().map(Path::until);
        [chain, self.rims_until].into_iter().flatten().min()
    }

    pub(super) fn finish(self, policy: &GpuPolicy) -> DeviceAppraisal {
        let report = self.report.as_ref();
        let opaque = report.map(DeviceReport::opaque);
        DeviceAppraisal {
            device: self.device_key(),
            chip: self.chip().map(str::to_owned),
            report: report.map(DeviceReport::identity),
            driver: opaque.and_then(|opaque| opaque.driver_version.clone()),
            bios: opaque.and_then(|opaque| opaque.vbios_version.clone()),
            measurements: report.map(DeviceReport::measurements_digest),
            checks: check::complete(
                GpuCheckName::DEVICE,
                &self.checks,
                GpuCheckName::ReportParse,
                |name| policy.requires(name),
            ),
        }
    }

    fn set(&mut self, work: &Work<'_>, name: GpuCheckName, outcome: GpuOutcome) {
        // what a kind of device does not have cannot be required of it
        let applies = outcome != GpuOutcome::NotEvaluated(GpuReason::NotApplicable);
        self.checks.push(GpuCheck {
            name,
            required: applies && work.policy.requires(name),
            outcome,
        });
    }

    /// `outcome`, unless it is a pass that rests on something that did not pass.
    fn set_if_proved(
        &mut self,
        work: &Work<'_>,
        name: GpuCheckName,
        rests_on: &[GpuCheckName],
        outcome: GpuOutcome,
    ) {
        let missing = rests_on.iter().find(|needed| !self.stands(**needed));
        match (missing, &outcome) {
            (Some(needed), GpuOutcome::Pass) => {
                let reason = GpuReason::Unproved(*needed);
                self.set(work, name, GpuOutcome::NotEvaluated(reason));
            }
            _ => self.set(work, name, outcome),
        }
    }

    fn stands(&self, name: GpuCheckName) -> bool {
        matches!(
            check::find(&self.checks, name),
            Some(GpuOutcome::Pass | GpuOutcome::NotEvaluated(GpuReason::NotApplicable))
        )
    }

    fn read_report(&mut self, work: &Work<'_>, bytes: &[u8]) {
        match DeviceReport::parse(bytes) {
            Ok(report) => {
                self.set(work, GpuCheckName::ReportParse, GpuOutcome::Pass);
                self.report = Some(report);
            }
            Err(error) => {
                let outcome = GpuOutcome::malformed(GpuCause::ReportMalformed, &error);
                self.set(work, GpuCheckName::ReportParse, outcome);
            }
        }
    }

    fn read_chain(&mut self, work: &Work<'_>, pem: &[u8]) {
        let chain = match certificate_chain(pem) {
            Ok(chain) => chain,
            Err(error) => {
                let outcome = GpuOutcome::malformed(GpuCause::ChainMalformed, &error);
                return self.set(work, GpuCheckName::CertificateChain, outcome);
            }
        };
        self.facts = chain.first().and_then(|leaf| DeviceFacts::parse(leaf).ok());
        let path = Path::verify(
            &chain,
            |root| work.policy.trusts_root(root),
            |certificate| work.policy.refuses_certificate(certificate),
        );
        match path {
            Ok(path) => {
                self.set(work, GpuCheckName::CertificateChain, GpuOutcome::Pass);
                let time = outcome(path.holds_at(work.now));
                self.set(work, GpuCheckName::CertificateTime, time);
                self.path = Some(path);
            }
            Err(refusal) => {
                self.set(work, GpuCheckName::CertificateChain, outcome(Err(refusal)));
            }
        }
    }

    fn check_signature(&mut self, work: &Work<'_>, report: &DeviceReport) {
        let Some(path) = &self.path else {
            return;
        };
        let holds = Signature::from_slice(report.signature())
            .is_ok_and(|signature| path.key().verify(report.signed(), &signature).is_ok());
        let outcome = if holds {
            GpuOutcome::Pass
        } else {
            let words = "the leaf's key did not sign request and response";
            GpuOutcome::fail(GpuCause::ReportSignature, words)
        };
        self.set(work, GpuCheckName::ReportSignature, outcome);
    }

    fn check_claims(&mut self, work: &Work<'_>, report: &DeviceReport) {
        if self.path.is_some() {
            let outcome = firmware_id(report, self.facts.as_ref());
            self.set_if_proved(work, GpuCheckName::FirmwareId, SIGNED, outcome);
        }
        let outcome = nonce(work, report);
        self.set_if_proved(work, GpuCheckName::Nonce, SIGNED, outcome);
        let Some(chip) = self.chip().map(str::to_owned) else {
            return;
        };
        self.kind = work.policy.kind_of(&chip);
        let Some(kind) = self.kind else {
            let words = format!("the policy names no chip `{chip}`");
            let outcome = GpuOutcome::fail(GpuCause::ChipNotAllowed, words);
            return self.set(work, GpuCheckName::Chip, outcome);
        };
        self.set_if_proved(work, GpuCheckName::Chip, SIGNED, GpuOutcome::Pass);
        let outcome = work.policy.judge_versions(&chip, report.opaque());
        self.set_if_proved(work, GpuCheckName::Versions, SIGNED, outcome);
        let outcome = match kind {
            DeviceKind::Gpu => work.policy.judge_mode(&chip, report.opaque()),
            DeviceKind::Switch => GpuOutcome::NotEvaluated(GpuReason::NotApplicable),
        };
        self.set_if_proved(work, GpuCheckName::Mode, SIGNED, outcome);
    }

    fn check_manifests(&mut self, work: &Work<'_>, report: &DeviceReport, rims: &Rims) {
        let (Some(kind), Some(chip)) = (self.kind, self.chip().map(str::to_owned)) else {
            return;
        };
        let opaque = report.opaque();
        let driver = match kind {
            DeviceKind::Gpu => rims.driver.choose(&chip, opaque.driver_version.as_deref()),
            DeviceKind::Switch => Err(GpuOutcome::NotEvaluated(GpuReason::NotApplicable)),
        };
        let bios = rims.bios.choose(&chip, opaque.vbios_version.as_deref());
        let chosen = [
            (GpuCheckName::DriverRim, &driver),
            (GpuCheckName::BiosRim, &bios),
        ];
        for (name, rim) in chosen {
            let outcome = rim.as_ref().err().cloned().unwrap_or(GpuOutcome::Pass);
            self.set(work, name, outcome);
        }
        let ends = [&driver, &bios].map(|rim| rim.as_ref().ok().map(|rim| rim.until()));
        self.rims_until = ends.into_iter().flatten().min();
        self.check_measurements(work, report, [driver.ok(), bios.ok()]);
    }

    fn check_measurements(
        &mut self,
        work: &Work<'_>,
        report: &DeviceReport,
        rims: [Option<&super::rim::VerifiedRim>; 2],
    ) {
        let name = GpuCheckName::Measurements;
        if let Some(pinned) = work.policy.judge_measurements(report.measurements_digest()) {
            return self.set_if_proved(work, name, SIGNED, pinned);
        }
        let given: Vec<_> = rims.into_iter().flatten().collect();
        if given.is_empty() {
            let supplied = [GpuCheckName::DriverRim, GpuCheckName::BiosRim]
                .into_iter()
                .find(|rim| {
                    matches!(
                        check::find(&self.checks, *rim),
                        Some(GpuOutcome::Fail { .. })
                    )
                });
            let reason = supplied.map_or(GpuReason::NotSupplied, GpuReason::After);
            return self.set(work, name, GpuOutcome::NotEvaluated(reason));
        }
        let outcome = outcome(super::rim::compare(report, &given));
        self.set_if_proved(work, name, VERSIONED, outcome);
    }

    fn check_tokens(&mut self, work: &Work<'_>, report: &DeviceReport, tokens: &Tokens) {
        let Some(facts) = &self.facts else {
            return;
        };
        let (says, revocation) = tokens.judge(work.policy, facts, report);
        self.set_if_proved(work, GpuCheckName::TokenDevice, SIGNED, says);
        self.set_if_proved(work, GpuCheckName::Revocation, SIGNED, revocation);
    }
}

fn firmware_id(report: &DeviceReport, facts: Option<&DeviceFacts>) -> GpuOutcome {
    let (Some(reported), Some(facts)) = (report.opaque().fwid, facts) else {
        let words = "certificate or report does not name the firmware that holds the key";
        return GpuOutcome::fail(GpuCause::FirmwareIdAbsent, words);
    };
    if reported == facts.fwid {
        return GpuOutcome::Pass;
    }
    let words = format!(
        "the report names firmware {reported}, the certificate {}",
        facts.fwid
    );
    GpuOutcome::fail(GpuCause::FirmwareIdMismatch, words)
}

fn nonce(work: &Work<'_>, report: &DeviceReport) -> GpuOutcome {
    match work.freshness {
        Freshness::ArchiveAudit => GpuOutcome::NotEvaluated(GpuReason::ArchiveAudit),
        Freshness::Challenge(nonce) if nonce == report.nonce() => GpuOutcome::Pass,
        Freshness::Challenge(_) => GpuOutcome::fail(
            GpuCause::NonceMismatch,
            "the report answers another nonce than the one that was asked with",
        ),
    }
}
