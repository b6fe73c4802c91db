//! The appraisal of a confidential VM of Google's. Google certifies the attestation key of a virtual TPM, which
//! its host runs outside of the confidential VM; that key signs a quote over the nonce and the boot's
//! registers, which the event log explains; and the hardware's own quote or report carries the nonce, or
//! nonce and key. See `docs/spec/vtpm.md`.

use proofroom_canonical::Timestamp;
use proofroom_evidence::{Base64, Collateral, EventLog, PcrSelection, REPORT_DATA_BYTES};
use serde::Serialize;

use super::{
    HardwareChecks, Out, Quoting, VTPM_REGISTERS, VtpmAppraisal, VtpmCause, VtpmCheckName,
    VtpmPolicy,
    ak::{AkChain, GcpInstance},
    not_judged,
    policy::{Cloud, Hardware},
    quote, snp, td, tee_incomplete, tee_refused,
};
use crate::{
    Assurance, SnpChain, Verdict,
    check::{Made, NamedCheck, all_passed},
};

/// What a guest shows.
#[derive(Clone, Copy, Debug)]
pub struct GcpEvidence<'a> {
    /// The attestation key's certificate first, its root's last; DER.
    pub ak_certificates: &'a [Base64],
    /// The virtual TPM's TPMS_ATTEST.
    pub quote: &'a [u8],
    /// The TPMT_SIGNATURE over it.
    pub signature: &'a [u8],
    /// The SHA-256 bank.
    pub pcrs: &'a [[u8; 32]; VTPM_REGISTERS],
    /// The TCG event log of the boot.
    pub event_log: &'a [u8],
    /// What the hardware says, with what vouches for it.
    pub hardware: GcpHardware<'a>,
}

/// What a guest's hardware says.
#[derive(Clone, Copy, Debug)]
pub enum GcpHardware<'a> {
    /// The TD's quote, and what Intel says about its platform.
    Tdx(&'a [u8], &'a Collateral),
    /// The report, and the certificates of the chip's key.
    Snp(&'a [u8], SnpChain<'a>),
    /// Nothing: what rests on the hardware is refused.
    NotSupplied,
}

/// What the evidence is worth under a policy at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GcpAppraisal {
    #[serde(flatten)]
    appraisal: VtpmAppraisal,
    instance: Option<GcpInstance>,
}

/// A guest of Google's whose every check passed. Only [`GcpAppraisal::into_verified`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedGcp {
    policy: String,
    assurance: Assurance,
    instance: GcpInstance,
}

impl VerifiedGcp {
    /// The name of the policy that accepted it.
    #[must_use]
    pub fn policy_name(&self) -> &str {
        &self.policy
    }

    /// Whether hardware stands behind it.
    #[must_use]
    pub const fn assurance(&self) -> Assurance {
        self.assurance
    }

    /// The instance whose virtual TPM it is, by Google's word.
    #[must_use]
    pub const fn instance(&self) -> &GcpInstance {
        &self.instance
    }
}

impl GcpAppraisal {
    /// All checks, each once and in order.
    #[must_use]
    pub fn checks(&self) -> &[NamedCheck<VtpmCheckName>] {
        self.appraisal.checks()
    }

    /// What `hardware` is made of.
    #[must_use]
    pub const fn hardware_checks(&self) -> &HardwareChecks {
        self.appraisal.hardware_checks()
    }

    /// The worst outcome of all checks.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.appraisal.verdict()
    }

    /// The first check that failed, with its cause and words.
    #[must_use]
    pub fn first_failure(&self) -> Option<(VtpmCheckName, VtpmCause, &str)> {
        self.appraisal.first_failure()
    }

    /// Turns an accepted appraisal into the type that stands for a verified guest.
    ///
    /// # Errors
    /// The appraisal itself, unless every check passed.
    pub fn into_verified(self) -> Result<VerifiedGcp, Box<Self>> {
        let passed = all_passed(self.checks(), VtpmCheckName::GCP);
        match self.instance {
            Some(instance) if passed => Ok(VerifiedGcp {
                policy: self.appraisal.policy,
                assurance: self.appraisal.assurance,
                instance,
            }),
            _ => Err(Box::new(self)),
        }
    }
}

/// Appraises a guest of Google's under `policy` as of `now`. Quotes of TPM and hardware must answer `nonce`,
/// which the relying party made for this very exchange.
#[must_use]
pub fn appraise_gcp(
    evidence: GcpEvidence<'_>,
    policy: &VtpmPolicy,
    nonce: &[u8],
    now: Timestamp,
) -> GcpAppraisal {
    let mut made = Made::none();
    let mut instance = None;
    let chain = AkChain::parse(evidence.ak_certificates);
    match &chain {
        Ok(chain) => {
            instance = certified(&mut made, chain, policy, now);
            let quoting = Quoting {
                quote: evidence.quote,
                pcrs: evidence.pcrs,
                signed: &|| chain.signed(evidence.quote, evidence.signature),
                key_from: VtpmCheckName::AkCertificates,
            };
            if let Some(selection) = quote(&mut made, quoting, policy, nonce) {
                let explained = explained(&selection, &evidence, policy);
                let rests_on = &[VtpmCheckName::PcrDigest];
                made.set_if_proved(VtpmCheckName::EventLog, rests_on, explained);
            }
        }
        Err((cause, words)) => {
            made.set(VtpmCheckName::AkCertificates, Out::fail(*cause, words));
        }
    }
    let key = chain.map(|chain| chain.spki()).unwrap_or_default();
    let checks = hardware(&mut made, evidence.hardware, (policy, now), (nonce, &key));
    GcpAppraisal {
        appraisal: VtpmAppraisal::of(&made, VtpmCheckName::GCP, policy, now).with(checks),
        instance,
    }
}

/// Judges the key's certificates, and answers which instance they are of.
fn certified(
    made: &mut Made<VtpmCheckName>,
    chain: &AkChain<'_>,
    policy: &VtpmPolicy,
    now: Timestamp,
) -> Option<GcpInstance> {
    use VtpmCheckName::{AkCertificates, Instance};
    let Some(rule) = policy.google() else {
        let words = "the policy is for guests of another cloud, and names no root";
        made.set(AkCertificates, Out::fail(VtpmCause::RootNotTrusted, words));
        return None;
    };
    let judged = chain.judge(rule, now);
    let failed = |(cause, words)| Out::fail(cause, words);
    made.set(AkCertificates, judged.map_or_else(failed, |()| Out::Pass));
    match chain.instance() {
        Ok(instance) => {
            let allowed = rule.allows_project(&instance.project);
            let words = || format!("the policy does not list project `{}`", instance.project);
            let outcome = Out::when(allowed, VtpmCause::ProjectNotAllowed, words);
            made.set_if_proved(Instance, &[AkCertificates], outcome);
            Some(instance)
        }
        Err(refusal) => {
            made.set(Instance, failed(refusal));
            None
        }
    }
}

/// Whether the event log yields every register that it extends and the quote is over, and leaves out none
/// that the policy compares.
fn explained(selection: &PcrSelection, evidence: &GcpEvidence<'_>, policy: &VtpmPolicy) -> Out {
    let replayed = EventLog::parse(evidence.event_log).and_then(|log| log.replay_sha256());
    let replayed = match replayed {
        Ok(replayed) => replayed,
        Err(error) => return Out::malformed(VtpmCause::EventLogMalformed, &error),
    };
    let register = |pcr: u32| evidence.pcrs.get(usize::try_from(pcr).ok()?);
    let differs = |(pcr, value): &(&u32, &[u8; 32])| {
        selection.pcrs.contains(pcr) && register(**pcr) != Some(*value)
    };
    if let Some((pcr, _)) = replayed.iter().find(differs) {
        let words = format!("the event log yields another value of PCR {pcr}");
        return Out::fail(VtpmCause::EventLogMismatch, words);
    }
    match policy.compared().find(|pcr| !replayed.contains_key(pcr)) {
        Some(pcr) => {
            let words = format!("the event log leaves out PCR {pcr}");
            Out::fail(VtpmCause::EventLogIncomplete, words)
        }
        None => Out::Pass,
    }
}

fn hardware(
    made: &mut Made<VtpmCheckName>,
    says: GcpHardware<'_>,
    (policy, now): (&VtpmPolicy, Timestamp),
    (nonce, key): (&[u8], &[u8]),
) -> HardwareChecks {
    use VtpmCheckName::{Hardware as HardwareCheck, ReportData, Tee};
    let data = policy
        .google()
        .and_then(|rule| rule.report_data(nonce, key));
    // no report carries what cannot be: a nonce longer than report data is refused below
    let expected = data.unwrap_or([0; REPORT_DATA_BYTES]);
    let judged = match (policy.hardware_of(Cloud::Gcp), says) {
        (Some(Hardware::Tdx(rule)), GcpHardware::Tdx(bytes, collateral)) => {
            td(rule, (bytes, collateral), now, &expected)
        }
        (Some(Hardware::Snp(rule)), GcpHardware::Snp(report, chain)) => {
            snp(rule, (report, chain), now, expected)
        }
        (Some(_), GcpHardware::NotSupplied) => return not_judged(made, tee_incomplete()),
        _ => return not_judged(made, tee_refused()),
    };
    made.set(Tee, Out::Pass);
    made.set(HardwareCheck, judged.outcome);
    let bound = judged.bound && data.is_some();
    let words = || "the hardware was asked to report something else";
    let bound = Out::when(bound, VtpmCause::ReportDataMismatch, words);
    made.set_if_proved(ReportData, &[HardwareCheck], bound);
    judged.checks
}
