//! The appraisal of confidential VMs with a virtual TPM. Behind Azure's paravisor the hardware vouches for the
//! runtime data, that for the attestation key of the virtual TPM, and that key for a quote over the relying
//! party's nonce and the boot's registers; for guests of Google's see [`gcp`]. Total, like
//! [`crate::appraise`]. See `docs/spec/vtpm.md`.

use std::fmt;

use proofroom_canonical::{Digest, Timestamp};
pub use proofroom_evidence::VTPM_REGISTERS;
use proofroom_evidence::{
    Bank, Collateral, HclReport, HclTee, PcrSelection, Quote, REPORT_DATA_BYTES, RsaNumbers,
    TpmQuote, pcr_digest,
};
use rsa::{BoxedUint, PublicKey, pkcs1v15, signature::Verifier as _};
use serde::Serialize;
use sha2::Sha256;

use crate::{
    Assurance, Check, SnpAppraisalPolicy, SnpChain, SnpCheck, SnpExpectation, Verdict,
    appraise_snp,
    check::{CheckOutcome, Made, NamedCheck, all_passed, first_failure, verdict_of},
    platform::{Quoted, judge},
};

mod ak;
mod gcp;
mod names;
mod policy;

pub use ak::GcpInstance;
pub use gcp::{GcpAppraisal, GcpEvidence, GcpHardware, VerifiedGcp, appraise_gcp};
pub use names::{VtpmCause, VtpmCheckName, VtpmReason};
use policy::{Cloud, Hardware, TdRule};
pub use policy::{
    GOOGLE_EK_AK_ROOT, PRODUCTION_AZURE_SNP, PRODUCTION_AZURE_TDX, PRODUCTION_GCP_SNP,
    PRODUCTION_GCP_TDX, VtpmPolicy,
};

/// RSA moduli have at most this many bits.
const RSA_BITS: u32 = 4096;

type Out = CheckOutcome<VtpmCause, VtpmReason>;

/// What a guest shows.
#[derive(Clone, Copy, Debug)]
pub struct VtpmEvidence<'a> {
    /// The paravisor's report, from NV index 0x01400001.
    pub hcl_report: &'a [u8],
    /// The virtual TPM's TPMS_ATTEST.
    pub quote: &'a [u8],
    /// The RSASSA-PKCS1-v1_5 signature over it, with SHA-256.
    pub signature: &'a [u8],
    /// The SHA-256 bank.
    pub pcrs: &'a [[u8; 32]; VTPM_REGISTERS],
    /// What vouches for the hardware.
    pub hardware: VtpmHardware<'a>,
}

/// What lies beside a paravisor's report.
#[derive(Clone, Copy, Debug)]
pub enum VtpmHardware<'a> {
    /// The TD's quote, and what Intel says about its platform.
    Tdx(&'a [u8], &'a Collateral),
    /// The certificates of the chip's key. The report itself is the paravisor's.
    Snp(SnpChain<'a>),
    /// Nothing: what rests on the hardware is refused.
    NotSupplied,
}

/// The checks that `hardware` is made of, but for those on what the hardware was asked to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HardwareChecks {
    /// None was made.
    None,
    /// Of a TD's quote.
    Tdx(Vec<Check>),
    /// Of an SNP report.
    Snp(Vec<SnpCheck>),
}

/// What the evidence is worth under a policy at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VtpmAppraisal {
    policy: String,
    policy_digest: Digest,
    assurance: Assurance,
    at: Timestamp,
    verdict: Verdict,
    checks: Vec<NamedCheck<VtpmCheckName>>,
    #[serde(skip)]
    hardware: HardwareChecks,
}

/// A guest whose every check passed. Only [`VtpmAppraisal::into_verified`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedVtpm {
    policy: String,
    assurance: Assurance,
}

impl VerifiedVtpm {
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
}

impl VtpmAppraisal {
    /// What `made` comes to, where it must have made the checks `names`.
    fn of(
        made: &Made<VtpmCheckName>,
        names: &[VtpmCheckName],
        policy: &VtpmPolicy,
        now: Timestamp,
    ) -> Self {
        let first = names.first().copied().unwrap_or(VtpmCheckName::HclParse);
        let checks = made.complete(names, first);
        Self {
            policy: policy.name().to_owned(),
            policy_digest: policy.digest(),
            assurance: policy.assurance(),
            at: now,
            verdict: verdict_of(&checks),
            checks,
            hardware: HardwareChecks::None,
        }
    }

    fn with(self, hardware: HardwareChecks) -> Self {
        Self { hardware, ..self }
    }

    /// What `hardware` is made of.
    #[must_use]
    pub const fn hardware_checks(&self) -> &HardwareChecks {
        &self.hardware
    }

    /// All checks, each once and in order.
    #[must_use]
    pub fn checks(&self) -> &[NamedCheck<VtpmCheckName>] {
        &self.checks
    }

    /// The worst outcome of all checks.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The first check that failed, with its cause and words.
    #[must_use]
    pub fn first_failure(&self) -> Option<(VtpmCheckName, VtpmCause, &str)> {
        first_failure(&self.checks)
    }

    /// Turns an accepted appraisal into the type that stands for a verified guest.
    ///
    /// # Errors
    /// The appraisal itself, unless every check passed.
    pub fn into_verified(self) -> Result<VerifiedVtpm, Box<Self>> {
        if !all_passed(&self.checks, VtpmCheckName::AZURE) {
            return Err(Box::new(self));
        }
        Ok(VerifiedVtpm {
            policy: self.policy,
            assurance: self.assurance,
        })
    }
}

/// Appraises a guest behind Azure's paravisor under `policy` as of `now`. The quote must answer `nonce`,
/// which the relying party made for this very exchange; hardware and key are as old as the guest's boot.
#[must_use]
pub fn appraise_vtpm(
    evidence: VtpmEvidence<'_>,
    policy: &VtpmPolicy,
    nonce: &[u8],
    now: Timestamp,
) -> VtpmAppraisal {
    let mut made = Made::none();
    let mut checks = HardwareChecks::None;
    match HclReport::parse(evidence.hcl_report) {
        Ok(report) => {
            made.set(VtpmCheckName::HclParse, Out::Pass);
            checks = hardware(&mut made, &report, evidence.hardware, (policy, now));
            let quoted = Quoting {
                quote: evidence.quote,
                pcrs: evidence.pcrs,
                signed: &|| is_signed(report.key(), evidence.quote, evidence.signature),
                key_from: VtpmCheckName::RuntimeData,
            };
            quote(&mut made, quoted, policy, nonce);
        }
        Err(error) => {
            let cause = match error.code() {
                "hcl-unsupported" => VtpmCause::HclUnsupported,
                "hcl-runtime-malformed" => VtpmCause::HclRuntime,
                "hcl-key" => VtpmCause::HclKey,
                _ => VtpmCause::HclMalformed,
            };
            made.set(VtpmCheckName::HclParse, Out::fail(cause, error.to_string()));
        }
    }
    VtpmAppraisal::of(&made, VtpmCheckName::AZURE, policy, now).with(checks)
}

fn hardware(
    made: &mut Made<VtpmCheckName>,
    report: &HclReport,
    beside: VtpmHardware<'_>,
    (policy, now): (&VtpmPolicy, Timestamp),
) -> HardwareChecks {
    let data = report.report_data();
    let judged = match (policy.hardware_of(Cloud::Azure), report.tee(), beside) {
        (Some(Hardware::Tdx(rule)), HclTee::Tdx, VtpmHardware::Tdx(bytes, collateral)) => {
            td(rule, (bytes, collateral), now, &data)
        }
        (Some(Hardware::Snp(rule)), HclTee::Snp, VtpmHardware::Snp(chain)) => {
            // What the report binds is as old as the boot: that it is fresh is the TPM's to show.
            snp(rule, (report.hardware(), chain), now, data)
        }
        (Some(Hardware::Tdx(_)), HclTee::Tdx, _) | (Some(Hardware::Snp(_)), HclTee::Snp, _) => {
            return not_judged(made, tee_incomplete());
        }
        _ => return not_judged(made, tee_refused()),
    };
    made.set(VtpmCheckName::Tee, Out::Pass);
    made.set(VtpmCheckName::Hardware, judged.outcome);
    let words = || "the hardware vouches for other runtime data";
    let bound = Out::when(judged.bound, VtpmCause::RuntimeDataMismatch, words);
    made.set_if_proved(
        VtpmCheckName::RuntimeData,
        &[VtpmCheckName::Hardware],
        bound,
    );
    judged.checks
}

fn not_judged(made: &mut Made<VtpmCheckName>, tee: Out) -> HardwareChecks {
    made.set(VtpmCheckName::Tee, tee);
    HardwareChecks::None
}

fn tee_incomplete() -> Out {
    let words = "what vouches for this hardware was not supplied";
    Out::fail(VtpmCause::TeeIncomplete, words)
}

fn tee_refused() -> Out {
    Out::fail(VtpmCause::TeeRefused, "the policy accepts other hardware")
}

fn refused(check: impl fmt::Display, code: impl fmt::Display, words: &str) -> Out {
    let words = format!("`{check}` fails ({code}): {words}");
    Out::fail(VtpmCause::HardwareRefused, words)
}

/// What the hardware's quote or report comes to.
struct Judged {
    outcome: Out,
    /// Whether it carries what it should.
    bound: bool,
    checks: HardwareChecks,
}

fn td(
    rule: &TdRule,
    (bytes, collateral): (&[u8], &Collateral),
    now: Timestamp,
    data: &[u8],
) -> Judged {
    let quote = match Quote::parse(bytes) {
        Ok(quote) => quote,
        Err(error) => {
            let outcome = refused("quote-parse", error.code(), &error.to_string());
            return Judged {
                outcome,
                bound: false,
                checks: HardwareChecks::None,
            };
        }
    };
    let quoted = Quoted {
        quote: &quote,
        bytes,
        collateral,
    };
    let checks = judge(quoted, &rule.platform, now).made.into_checks();
    let claims = quote.claims();
    let outcome = match first_failure(&checks) {
        Some((check, code, words)) => refused(check, code, words),
        None if verdict_of(&checks) != Verdict::Accept => {
            refused("platform", "incomplete", "not every check could be made")
        }
        None => rule.judge_registers(claims),
    };
    Judged {
        outcome,
        bound: claims.report_data == *data,
        checks: HardwareChecks::Tdx(checks),
    }
}

fn snp(
    rule: &SnpAppraisalPolicy,
    (report, chain): (&[u8], SnpChain<'_>),
    now: Timestamp,
    data: [u8; REPORT_DATA_BYTES],
) -> Judged {
    use crate::SnpCheckName::{Freshness, ReportDataBinding};
    let expected = SnpExpectation::Challenge(data);
    let appraisal = appraise_snp(report, chain, rule, expected, now);
    let (binding, of_the_hardware): (Vec<_>, Vec<_>) = (appraisal.checks().iter().cloned())
        .partition(|check| matches!(check.name, ReportDataBinding | Freshness));
    let mut refusals = of_the_hardware.iter().filter_map(|check| {
        let (code, words) = check.outcome.code_and_words()?;
        Some(refused(check.name, code, &words))
    });
    Judged {
        outcome: refusals.next().unwrap_or(Out::Pass),
        bound: first_failure(&binding).is_none(),
        checks: HardwareChecks::Snp(of_the_hardware),
    }
}

/// A TPM's quote with what lies beside it.
#[derive(Clone, Copy)]
struct Quoting<'a> {
    quote: &'a [u8],
    pcrs: &'a [[u8; 32]; VTPM_REGISTERS],
    /// Whether the attestation key signed the quote.
    signed: &'a dyn Fn() -> bool,
    /// The check that says whose key that is.
    key_from: VtpmCheckName,
}

/// Makes the checks from `quote-parse` to `reference-pcrs`, but for the event log; answers which registers the
/// quote is over.
fn quote(
    made: &mut Made<VtpmCheckName>,
    quoting: Quoting<'_>,
    policy: &VtpmPolicy,
    nonce: &[u8],
) -> Option<PcrSelection> {
    use VtpmCheckName::{
        PcrDigest, PcrSelection, QualifyingData, QuoteParse, QuoteSignature, ReferencePcrs,
    };
    let parsed = TpmQuote::parse(quoting.quote)
        .map_err(|error| Out::malformed(VtpmCause::QuoteMalformed, &error));
    let parsed = made.read(QuoteParse, parsed)?;
    let words = || "the attestation key did not sign the quote";
    let signed = Out::when((quoting.signed)(), VtpmCause::QuoteSignatureInvalid, words);
    made.set_if_proved(QuoteSignature, &[quoting.key_from], signed);
    let answers = parsed.qualifying_data == nonce;
    let words = || "the quote answers another nonce";
    let answers = Out::when(answers, VtpmCause::QualifyingDataMismatch, words);
    made.set_if_proved(QualifyingData, &[QuoteSignature], answers);
    let Some(values) = selected(&parsed, quoting.pcrs, policy) else {
        let words = "the quote is not over the SHA-256 bank's compared registers";
        let outcome = Out::fail(VtpmCause::PcrSelectionMismatch, words);
        made.set(PcrSelection, outcome);
        return None;
    };
    made.set_if_proved(PcrSelection, &[QuoteSignature], Out::Pass);
    let same = parsed.pcr_digest == pcr_digest(values);
    let words = || "the registers are not the quoted ones";
    let same = Out::when(same, VtpmCause::PcrDigestMismatch, words);
    made.set_if_proved(PcrDigest, &[QuoteSignature, PcrSelection], same);
    let judged = policy.judge_registers(quoting.pcrs);
    made.set_if_proved(ReferencePcrs, &[PcrDigest], judged);
    parsed.selections.into_iter().next()
}

/// The values of the quoted registers, in the order of the quote; none where a compared one is left out.
fn selected<'a>(
    quote: &TpmQuote,
    pcrs: &'a [[u8; 32]; VTPM_REGISTERS],
    policy: &VtpmPolicy,
) -> Option<Vec<&'a [u8]>> {
    let [selection] = quote.selections.as_slice() else {
        return None;
    };
    let whole = policy.compared().all(|pcr| selection.pcrs.contains(&pcr));
    if selection.bank != Bank::Sha256 || !whole {
        return None;
    }
    let value = |pcr: &u32| {
        pcrs.get(usize::try_from(*pcr).ok()?)
            .map(<[u8; 32]>::as_slice)
    };
    selection.pcrs.iter().map(value).collect()
}

fn is_signed(key: &RsaNumbers, message: &[u8], signature: &[u8]) -> bool {
    let number = |bytes: &[u8], bits| BoxedUint::from_be_slice(bytes, bits).ok();
    let key = number(&key.modulus, RSA_BITS)
        .zip(number(&key.exponent, 64))
        .and_then(|(modulus, exponent)| PublicKey::new(modulus, exponent).ok());
    let signature = pkcs1v15::Signature::try_from(signature).ok();
    let Some((key, signature)) = key.zip(signature) else {
        return false;
    };
    pkcs1v15::VerifyingKey::<Sha256>::new(key)
        .verify(message, &signature)
        .is_ok()
}
