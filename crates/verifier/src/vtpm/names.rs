//! What is checked on guests with a virtual TPM, and why a check failed or was not made.

use crate::{
    check::{CheckKind, NotMade},
    spelled::spelled,
};

spelled! {
    /// A check. Every appraisal answers every one that is made on guests of its cloud.
    VtpmCheckName {
        /// The paravisor's report can be read.
        HclParse = "hcl-parse",
        /// It is of the hardware that the policy accepts, and what that hardware needs was supplied.
        Tee = "tee",
        /// The hardware's report or quote is genuine and acceptable, but for what it binds.
        Hardware = "hardware",
        /// It carries the digest of the runtime data, which names the attestation key.
        RuntimeData = "runtime-data",
        /// Google certified the attestation key, under a root that the policy names.
        AkCertificates = "ak-certificates",
        /// The certificate names an instance of a project that the policy accepts.
        Instance = "instance",
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
        /// The event log yields the registers, each of those that the policy compares among them.
        EventLog = "event-log",
        /// Each register that the policy compares has a reference value.
        ReferencePcrs = "reference-pcrs",
        /// The hardware's report or quote carries the nonce, or nonce and attestation key.
        ReportData = "report-data",
    }
}

impl VtpmCheckName {
    /// The checks on a guest behind Azure's paravisor, in order.
    pub const AZURE: &'static [Self] = &[
        Self::HclParse,
        Self::Tee,
        Self::Hardware,
        Self::RuntimeData,
        Self::QuoteParse,
        Self::QuoteSignature,
        Self::QualifyingData,
        Self::PcrSelection,
        Self::PcrDigest,
        Self::ReferencePcrs,
    ];
    /// The checks on a guest of Google's, in order.
    pub const GCP: &'static [Self] = &[
        Self::AkCertificates,
        Self::Instance,
        Self::QuoteParse,
        Self::QuoteSignature,
        Self::QualifyingData,
        Self::PcrSelection,
        Self::PcrDigest,
        Self::EventLog,
        Self::ReferencePcrs,
        Self::Tee,
        Self::Hardware,
        Self::ReportData,
    ];
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
        /// A certificate of the attestation key's chain cannot be read.
        ChainMalformed = "chain-malformed",
        /// The chain ends in a root that the policy does not name.
        RootNotTrusted = "root-not-trusted",
        /// There is no path from the key's certificate to the root.
        ChainBroken = "chain-broken",
        /// A certificate is not valid yet.
        CertificateNotYetValid = "certificate-not-yet-valid",
        /// A certificate is not valid any more.
        CertificateExpired = "certificate-expired",
        /// The certified key is not for signatures.
        AkUsage = "ak-usage",
        /// The key's certificate does not name one instance.
        InstanceMalformed = "instance-malformed",
        /// The instance is not one of Google's production.
        InstanceNotProduction = "instance-not-production",
        /// The instance is of a project that the policy does not list.
        ProjectNotAllowed = "project-not-allowed",
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
        /// The event log cannot be read, or has no SHA-256 bank.
        EventLogMalformed = "event-log-malformed",
        /// The event log yields other registers.
        EventLogMismatch = "event-log-mismatch",
        /// The event log leaves out a register that is compared.
        EventLogIncomplete = "event-log-incomplete",
        /// A register has no reference value.
        ReferenceMismatch = "reference-mismatch",
        /// The hardware's report or quote carries something else.
        ReportDataMismatch = "report-data-mismatch",
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
