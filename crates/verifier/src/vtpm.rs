//! The appraisal of a confidential VM behind Azure's paravisor. The hardware vouches for the runtime data,
//! that for the attestation key of the virtual TPM, and that key for a quote over the relying party's
//! nonce and the boot's registers. Total, like [`crate::appraise`]. See `docs/spec/vtpm.md`.

use std::fmt;

use proofroom_canonical::{Digest, Timestamp};
use proofroom_evidence::{
    Bank, Collateral, HclReport, HclTee, Quote, RsaNumbers, TpmQuote, pcr_digest,
};
use rsa::{BoxedUint, PublicKey, pkcs1v15, signature::Verifier as _};
use serde::Serialize;
use sha2::Sha256;

use crate::{
    Assurance, SnpChain, SnpExpectation, Verdict, appraise_snp,
    check::{
        CheckKind, CheckOutcome, Made, NamedCheck, NotMade, all_passed, first_failure, verdict_of,
    },
    platform::{JudgedBy, Quoted, judge},
    spelled::spelled,
};

mod policy;

pub use policy::VtpmPolicy;
use policy::{Hardware, TdRule};

/// How many registers a SHA-256 bank has.
pub const VTPM_REGISTERS: usize = 24;
/// RSA moduli have at most this many bits.
const RSA_BITS: u32 = 4096;

spelled! {
    /// A check. Every appraisal answers every one of them, in this order.
    VtpmCheckName {
        /// The paravisor's report can be read.
        HclParse = "hcl-parse",
        /// It is of the hardware that the policy accepts, and what that hardware needs was supplied.
        Tee = "tee",
        /// The hardware's report or quote is genuine and acceptable, but for what it binds.
        Hardware = "hardware",
        /// It carries the digest of the runtime data, which names the attestation key.
        RuntimeData = "runtime-data",
        /// The virtual TPM's quote can be read.
        QuoteParse = "quote-parse",
        /// The attestation key signed it.
        QuoteSignature = "quote-signature",
        /// It answers the relying party's nonce.
        QualifyingData = "qualifying-data",
        /// It is over the SHA-256 bank, and over every register that the policy compares.
        PcrSelection = "pcr-selection",
        /// The registers beside it add up to what it is over.
        PcrDigest = "pcr-digest",
        /// Each register that the policy compares has a reference value.
        ReferencePcrs = "reference-pcrs",
    }
}

spelled! {
    /// Why a check failed. Stable.
    VtpmCause {
        /// See [`VtpmCheckName::HclParse`].
        HclMalformed = "hcl-malformed",
        /// Hardware or a digest that is not supported.
        HclUnsupported = "hcl-unsupported",
        /// Runtime data that is no JSON.
        HclRuntime = "hcl-runtime-malformed",
        /// Runtime data without one usable attestation key.
        HclKey = "hcl-key",
        /// Evidence of other hardware than the policy accepts.
        TeeRefused = "tee-refused",
        /// No quote of the TD, or no collateral or certificates.
        TeeIncomplete = "tee-incomplete",
        /// See the words, which name check and code of the hardware's own appraisal.
        HardwareRefused = "hardware-refused",
        /// The hardware vouches for other runtime data.
        RuntimeDataMismatch = "runtime-data-mismatch",
        /// The TPM's quote cannot be read.
        QuoteMalformed = "tpm-malformed",
        /// Another key signed, or something else was signed.
        QuoteSignatureInvalid = "quote-signature-invalid",
        /// The quote answers another nonce.
        QualifyingDataMismatch = "qualifying-data-mismatch",
        /// The quote leaves out a register that is compared, or is over another bank.
        PcrSelectionMismatch = "pcr-selection-mismatch",
        /// The registers are others than the quoted ones.
        PcrDigestMismatch = "pcr-digest-mismatch",
        /// A register has no reference value.
        ReferenceMismatch = "reference-mismatch",
    }
}

/// Why a check was not made. Never a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VtpmReason {
    /// It needs what an earlier check, which failed, would have yielded.
    After(VtpmCheckName),
    /// In order, but what would prove it did not pass.
    Unproved(VtpmCheckName),
}

impl NotMade for VtpmReason {
    fn code_and_words(&self) -> (&'static str, String) {
        match self {
            Self::After(check) => (
                "not-reached",
                format!("not reached, because `{check}` did not pass"),
            ),
            Self::Unproved(check) => (
                "unproved",
                format!("in order, but unproved, because `{check}` did not pass"),
            ),
        }
    }
}

impl CheckKind for VtpmCheckName {
    type Cause = VtpmCause;
    type Reason = VtpmReason;

    fn after(stopped: Self) -> VtpmReason {
        VtpmReason::After(stopped)
    }

    fn unproved(needed: Self) -> VtpmReason {
        VtpmReason::Unproved(needed)
    }
}

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
        if !all_passed(&self.checks, VtpmCheckName::ALL) {
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
    match HclReport::parse(evidence.hcl_report) {
        Ok(report) => {
            made.set(VtpmCheckName::HclParse, Out::Pass);
            hardware(&mut made, &report, evidence.hardware, (policy, now));
            quote(&mut made, evidence, policy, (report.key(), nonce));
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
    let checks = made.complete(VtpmCheckName::ALL, VtpmCheckName::HclParse);
    VtpmAppraisal {
        policy: policy.name().to_owned(),
        policy_digest: policy.digest(),
        assurance: policy.assurance(),
        at: now,
        verdict: verdict_of(&checks),
        checks,
    }
}

fn hardware(
    made: &mut Made<VtpmCheckName>,
    report: &HclReport,
    beside: VtpmHardware<'_>,
    (policy, now): (&VtpmPolicy, Timestamp),
) {
    let data = report.report_data();
    let (judged, bound) = match (policy.hardware(), report.tee(), beside) {
        (Hardware::Tdx(rule), HclTee::Tdx, VtpmHardware::Tdx(bytes, collateral)) => {
            td(rule, policy.name(), (bytes, collateral), now, &data)
        }
        (Hardware::Snp(rule), HclTee::Snp, VtpmHardware::Snp(chain)) => {
            // What the report binds is as old as the boot: that it is fresh is the TPM's to show.
            let expected = SnpExpectation::Challenge(data);
            let appraisal = appraise_snp(report.hardware(), chain, rule, expected, now);
            snp(&appraisal)
        }
        (Hardware::Tdx(_), HclTee::Tdx, _) | (Hardware::Snp(_), HclTee::Snp, _) => {
            let words = "what vouches for this hardware was not supplied";
            return made.set(
                VtpmCheckName::Tee,
                Out::fail(VtpmCause::TeeIncomplete, words),
            );
        }
        _ => {
            let words = "the policy accepts other hardware";
            return made.set(VtpmCheckName::Tee, Out::fail(VtpmCause::TeeRefused, words));
        }
    };
    made.set(VtpmCheckName::Tee, Out::Pass);
    made.set(VtpmCheckName::Hardware, judged);
    let words = || "the hardware vouches for other runtime data";
    let bound = Out::when(bound, VtpmCause::RuntimeDataMismatch, words);
    made.set_if_proved(
        VtpmCheckName::RuntimeData,
        &[VtpmCheckName::Hardware],
        bound,
    );
}

fn refused(check: impl fmt::Display, code: impl fmt::Display, words: &str) -> Out {
    let words = format!("`{check}` fails ({code}): {words}");
    Out::fail(VtpmCause::HardwareRefused, words)
}

/// What the TD's quote comes to, and whether it binds `data`.
fn td(
    rule: &TdRule,
    policy: &str,
    (bytes, collateral): (&[u8], &Collateral),
    now: Timestamp,
    data: &[u8],
) -> (Out, bool) {
    let quote = match Quote::parse(bytes) {
        Ok(quote) => quote,
        Err(error) => {
            return (
                refused("quote-parse", error.code(), &error.to_string()),
                false,
            );
        }
    };
    let quoted = Quoted {
        quote: &quote,
        bytes,
        collateral,
    };
    let by = JudgedBy {
        rule: &rule.platform,
        policy,
        now,
    };
    let checks = judge(quoted, by).made.into_checks();
    let claims = quote.claims();
    let outcome = match first_failure(&checks) {
        Some((check, code, words)) => refused(check, code, words),
        None if verdict_of(&checks) != Verdict::Accept => {
            refused("platform", "incomplete", "not every check could be made")
        }
        None => rule.judge_registers(claims),
    };
    (outcome, claims.report_data == *data)
}

/// What the SNP report comes to, and whether it binds what is expected of it.
fn snp(appraisal: &crate::SnpAppraisal) -> (Out, bool) {
    use crate::SnpCheckName::{Freshness, ReportDataBinding};
    let of_the_hardware = appraisal
        .checks()
        .iter()
        .filter(|check| !matches!(check.name, ReportDataBinding | Freshness));
    let bound = appraisal.checks().iter().any(|check| {
        check.name == ReportDataBinding && !matches!(check.outcome, CheckOutcome::Fail { .. })
    });
    let mut outcome = Out::Pass;
    for check in of_the_hardware {
        if let Some((code, words)) = check.outcome.code_and_words() {
            outcome = refused(check.name, code, &words);
            break;
        }
    }
    (outcome, bound)
}

/// The TPM's own quote, by the key that the runtime data names.
fn quote(
    made: &mut Made<VtpmCheckName>,
    evidence: VtpmEvidence<'_>,
    policy: &VtpmPolicy,
    (key, nonce): (&RsaNumbers, &[u8]),
) {
    use VtpmCheckName::{
        PcrDigest, PcrSelection, QualifyingData, QuoteSignature, ReferencePcrs, RuntimeData,
    };
    let parsed = match TpmQuote::parse(evidence.quote) {
        Ok(parsed) => parsed,
        Err(error) => {
            let outcome = Out::malformed(VtpmCause::QuoteMalformed, &error);
            return made.set(VtpmCheckName::QuoteParse, outcome);
        }
    };
    made.set(VtpmCheckName::QuoteParse, Out::Pass);
    let signed = is_signed(key, evidence.quote, evidence.signature);
    let words = || "the attestation key of the runtime data did not sign the quote";
    let signed = Out::when(signed, VtpmCause::QuoteSignatureInvalid, words);
    made.set_if_proved(QuoteSignature, &[RuntimeData], signed);
    let answers = parsed.qualifying_data == nonce;
    let words = || "the quote answers another nonce";
    let answers = Out::when(answers, VtpmCause::QualifyingDataMismatch, words);
    made.set_if_proved(QualifyingData, &[QuoteSignature], answers);
    let Some(values) = selected(&parsed, evidence.pcrs, policy) else {
        let words = "the quote is not over the SHA-256 bank's compared registers";
        return made.set(
            PcrSelection,
            Out::fail(VtpmCause::PcrSelectionMismatch, words),
        );
    };
    made.set_if_proved(PcrSelection, &[QuoteSignature], Out::Pass);
    let same = parsed.pcr_digest == pcr_digest(values);
    let words = || "the registers are not the quoted ones";
    let same = Out::when(same, VtpmCause::PcrDigestMismatch, words);
    made.set_if_proved(PcrDigest, &[QuoteSignature, PcrSelection], same);
    let judged = policy.judge_registers(evidence.pcrs);
    made.set_if_proved(ReferencePcrs, &[PcrDigest], judged);
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
