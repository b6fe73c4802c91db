//! The named checks on a room's evidence and what they may answer.

use std::fmt;

use proofroom_evidence::EvidenceType;
use serde::{Serialize, Serializer};

use crate::{
    CauseCode, CheckName, Outcome, Reason,
    check::{CheckKind, CheckOutcome, NamedCheck, NotMade},
    spelled::spelled,
};

spelled! {
    /// A check. Which ones are made depends on the evidence's type: [`RoomCheckName::of`].
    RoomCheckName {
        /// Document and evidence are strict JSON of the known formats, each in its one spelling.
        DocumentParse = "document-parse",
        /// The policy accepts this type of evidence.
        EvidenceType = "evidence-type",
        /// The evidence was made at the moment that is asked about.
        Moment = "moment",
        /// The quote can be read, and is one that a TPM made of its own registers, or one of a TD.
        QuoteParse = "quote-parse",
        /// The platform's certificates lead to a root that the policy trusts; none is revoked.
        PckChainRoot = "pck-chain-root",
        /// Certificates, revocation lists, TCB info and QE identity hold at the time of appraisal.
        CollateralTime = "collateral-time",
        /// TCB info and QE identity are signed by the vendor and are about this kind of platform.
        CollateralSignature = "collateral-signature",
        /// The attestation key is one that its TPM made, keeps, and lets sign nothing but quotes.
        AttestationKey = "attestation-key",
        /// The deployment's CA certified this very attestation key for this session's TPM.
        AkCertificate = "ak-certificate",
        /// The attestation key, or a genuine quoting enclave of the platform, signed the quote.
        QuoteSignature = "quote-signature",
        /// The platform's TCB status is one that the policy accepts or still tolerates.
        TcbStatus = "tcb-status",
        /// The TD cannot be debugged, profiled, migrated or served, and has no other odd attribute.
        TdAttributes = "td-attributes",
        /// The TDX module is one that the policy lists, or leaves to the TCB info that passed.
        MrSeam = "mr-seam",
        /// No register is a placeholder that no hash function returned.
        PlaceholderRegisters = "placeholder-registers",
        /// The quote names the attestation key as its signer, in the endorsement hierarchy.
        QuoteSigner = "quote-signer",
        /// The evidence's statement is the one that the session has, byte for byte.
        Statement = "statement",
        /// The quote carries the digest of that statement.
        QualifyingData = "qualifying-data",
        /// The quote's report data is the SHA-512 of that statement.
        ReportData = "report-data",
        /// The quote is over exactly the registers that must be judged.
        PcrSelection = "pcr-selection",
        /// The boot log can be read and leaves the register of runtime events alone.
        BootLog = "boot-log",
        /// Boot log and runtime events, replayed, add up to the quoted registers.
        PcrDigest = "pcr-digest",
        /// The boot log, replayed, adds up to the quoted RTMR0 to RTMR2.
        BootLogReplay = "boot-log-replay",
        /// The runtime events, replayed, add up to the quoted RTMR3.
        RuntimeReplay = "runtime-replay",
        /// Firmware code.
        ReferencePcr0 = "reference-pcr-0",
        /// Firmware configuration.
        ReferencePcr1 = "reference-pcr-1",
        /// Option code.
        ReferencePcr2 = "reference-pcr-2",
        /// Option configuration.
        ReferencePcr3 = "reference-pcr-3",
        /// The kernel.
        ReferencePcr4 = "reference-pcr-4",
        /// Boot configuration.
        ReferencePcr5 = "reference-pcr-5",
        /// Platform events.
        ReferencePcr6 = "reference-pcr-6",
        /// Secure boot policy.
        ReferencePcr7 = "reference-pcr-7",
        /// Command line, by some loaders.
        ReferencePcr8 = "reference-pcr-8",
        /// Initial ramdisk and command line.
        ReferencePcr9 = "reference-pcr-9",
        /// Machine owner keys.
        ReferencePcr14 = "reference-pcr-14",
        /// The TD's initial memory: its firmware.
        ReferenceMrTd = "reference-mrtd",
        /// Firmware configuration, ACPI tables, boot variables.
        ReferenceRtmr0 = "reference-rtmr0",
        /// The kernel.
        ReferenceRtmr1 = "reference-rtmr1",
        /// Command line and initial ramdisk.
        ReferenceRtmr2 = "reference-rtmr2",
        /// The host promised the boot configuration that the room measured.
        MrConfigId = "mr-config-id",
        /// Nobody else configured the TD.
        MrOwner = "mr-owner",
        /// The first runtime event is a boot configuration of the shape and layers of the reference.
        RuntimeBootConfig = "runtime-boot-config",
        /// The second runtime event is the session's assignment.
        RuntimeAssignment = "runtime-assignment",
        /// The room was told this session's nonce before it acted on anything.
        Nonce = "nonce",
    }
}

impl RoomCheckName {
    /// The checks of one type of evidence, in order. No policy accepts SEV-SNP, so that no appraisal
    /// of it can have answered them.
    #[must_use]
    pub const fn of(kind: EvidenceType) -> &'static [Self] {
        match kind {
            EvidenceType::Tpm2 => TPM2,
            EvidenceType::Tdx => TDX,
            EvidenceType::SevSnp => Self::ALL,
        }
    }

    /// The room's check that is the same as one on an upstream's platform.
    pub(crate) fn of_platform(name: CheckName) -> Option<Self> {
        let same = OF_PLATFORM.iter().find(|(theirs, _)| *theirs == name);
        same.map(|(_, ours)| *ours)
    }
}

const OF_PLATFORM: [(CheckName, RoomCheckName); 7] = [
    (CheckName::PckChainRoot, RoomCheckName::PckChainRoot),
    (CheckName::CollateralTime, RoomCheckName::CollateralTime),
    (
        CheckName::CollateralSignature,
        RoomCheckName::CollateralSignature,
    ),
    (CheckName::QuoteSignature, RoomCheckName::QuoteSignature),
    (CheckName::TcbStatus, RoomCheckName::TcbStatus),
    (CheckName::TdAttributes, RoomCheckName::TdAttributes),
    (
        CheckName::PlaceholderRegisters,
        RoomCheckName::PlaceholderRegisters,
    ),
];

const TPM2: &[RoomCheckName] = &[
    RoomCheckName::DocumentParse,
    RoomCheckName::EvidenceType,
    RoomCheckName::Moment,
    RoomCheckName::QuoteParse,
    RoomCheckName::AttestationKey,
    RoomCheckName::AkCertificate,
    RoomCheckName::QuoteSignature,
    RoomCheckName::QuoteSigner,
    RoomCheckName::Statement,
    RoomCheckName::QualifyingData,
    RoomCheckName::PcrSelection,
    RoomCheckName::BootLog,
    RoomCheckName::PcrDigest,
    RoomCheckName::ReferencePcr0,
    RoomCheckName::ReferencePcr1,
    RoomCheckName::ReferencePcr2,
    RoomCheckName::ReferencePcr3,
    RoomCheckName::ReferencePcr4,
    RoomCheckName::ReferencePcr5,
    RoomCheckName::ReferencePcr6,
    RoomCheckName::ReferencePcr7,
    RoomCheckName::ReferencePcr8,
    RoomCheckName::ReferencePcr9,
    RoomCheckName::ReferencePcr14,
    RoomCheckName::RuntimeBootConfig,
    RoomCheckName::RuntimeAssignment,
    RoomCheckName::Nonce,
];

const TDX: &[RoomCheckName] = &[
    RoomCheckName::DocumentParse,
    RoomCheckName::EvidenceType,
    RoomCheckName::Moment,
    RoomCheckName::QuoteParse,
    RoomCheckName::PckChainRoot,
    RoomCheckName::CollateralTime,
    RoomCheckName::CollateralSignature,
    RoomCheckName::QuoteSignature,
    RoomCheckName::TcbStatus,
    RoomCheckName::TdAttributes,
    RoomCheckName::MrSeam,
    RoomCheckName::PlaceholderRegisters,
    RoomCheckName::Statement,
    RoomCheckName::ReportData,
    RoomCheckName::BootLog,
    RoomCheckName::BootLogReplay,
    RoomCheckName::RuntimeReplay,
    RoomCheckName::ReferenceMrTd,
    RoomCheckName::ReferenceRtmr0,
    RoomCheckName::ReferenceRtmr1,
    RoomCheckName::ReferenceRtmr2,
    RoomCheckName::MrConfigId,
    RoomCheckName::MrOwner,
    RoomCheckName::RuntimeBootConfig,
    RoomCheckName::RuntimeAssignment,
    RoomCheckName::Nonce,
];

spelled! {
    /// Why a check on a room failed, where no upstream could fail so. Stable: these codes are in reports
    /// and documents.
    RoomCode {
        /// Document or evidence cannot be read.
        DocumentMalformed = "room-document-malformed",
        /// A type of evidence that no policy can accept.
        EvidenceTypeUnsupported = "room-evidence-unsupported",
        /// A type of evidence that this policy does not accept.
        EvidenceTypeRefused = "evidence-type-refused",
        /// Evidence of another moment.
        MomentMismatch = "moment-mismatch",
        /// A TPM structure cannot be read.
        TpmMalformed = "tpm-malformed",
        /// The quote lacks the mark of what a TPM makes itself.
        TpmMagic = "tpm-magic",
        /// Another attestation than a quote.
        TpmQuoteKind = "tpm-quote-kind",
        /// RSA is not supported.
        TpmRsa = "tpm-rsa",
        /// Another algorithm than ECDSA P-256 with SHA-256.
        TpmUnsupported = "tpm-unsupported",
        /// The key may be used outside its TPM, or for other things than quotes.
        AkAttributes = "ak-attributes",
        /// The key is not a point of the curve.
        AkKey = "ak-key",
        /// The certificate cannot be read.
        AkCertificateMalformed = "ak-certificate-malformed",
        /// The deployment's CA did not issue the certificate.
        AkCertificateIssuer = "ak-certificate-issuer",
        /// The certificate is for another use.
        AkCertificateUse = "ak-certificate-use",
        /// The certificate is about another session's TPM.
        AkCertificateSession = "ak-certificate-session",
        /// The certificate is about another key.
        AkCertificateKey = "ak-certificate-key",
        /// The certificate does not hold at the time of appraisal.
        AkCertificateTime = "ak-certificate-time",
        /// The key did not sign the quote.
        QuoteSignatureInvalid = "quote-signature-invalid",
        /// The quote names another signer.
        QuoteSignerMismatch = "quote-signer-mismatch",
        /// The statement is not the session's.
        StatementMismatch = "statement-mismatch",
        /// The quote carries other data than the statement's digest.
        QualifyingDataMismatch = "qualifying-data-mismatch",
        /// The quote is over other registers.
        PcrSelectionMismatch = "pcr-selection-mismatch",
        /// The boot log cannot be read.
        BootLogMalformed = "boot-log-malformed",
        /// The quote's report data is not the statement's SHA-512.
        ReportDataMismatch = "report-data-mismatch",
        /// The boot log extends a register that belongs to the guest.
        BootLogRuntimeRegister = "boot-log-runtime-register",
        /// The logs do not add up to the quoted registers.
        PcrDigestMismatch = "pcr-digest-mismatch",
        /// The boot log does not add up to a quoted register.
        BootLogMismatch = "boot-log-mismatch",
        /// The runtime events do not add up to the quoted register.
        RuntimeEventsMismatch = "runtime-events-mismatch",
        /// The manifest has no values for the registers of a TD.
        ReferenceNotComputed = "reference-not-computed",
        /// The host promised another boot configuration than the room measured.
        MrConfigIdMismatch = "mr-config-id-mismatch",
        /// MROWNER or MROWNERCONFIG is set, which our hosts leave alone.
        MrOwnerSet = "mr-owner-set",
        /// The TDX module is not one that the policy lists.
        MrSeamMismatch = "mr-seam-mismatch",
        /// A register differs from its reference value.
        ReferenceMismatch = "reference-mismatch",
        /// The first runtime event is none, or not a boot configuration.
        BootConfigMissing = "boot-config-missing",
        /// The boot configuration cannot be read.
        BootConfigMalformed = "boot-config-malformed",
        /// The boot configuration is for another machine than the reference values.
        BootConfigShape = "boot-config-shape",
        /// The boot configuration names a layer that the reference does not.
        BootConfigLayer = "boot-config-layer",
        /// The boot configuration lacks a layer of the reference.
        BootConfigLayerMissing = "boot-config-layer-missing",
        /// The boot configuration names a layer of the reference more often than that.
        BootConfigLayerExtra = "boot-config-layer-extra",
        /// The boot configuration has the layers of the reference in another order.
        BootConfigLayerOrder = "boot-config-layer-order",
        /// The second runtime event is none, or not an assignment, or there is another.
        AssignmentMissing = "assignment-missing",
        /// The assignment event cannot be read.
        AssignmentMalformed = "assignment-malformed",
        /// The room was assigned something else than the session says.
        AssignmentMismatch = "assignment-mismatch",
        /// The room was told another nonce.
        NonceMismatch = "nonce-mismatch",
    }
}

/// Why a check failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomCause {
    /// Something about the room.
    Room(RoomCode),
    /// Something about the platform under it, as with an upstream.
    Platform(CauseCode),
}

impl From<RoomCode> for RoomCause {
    fn from(code: RoomCode) -> Self {
        Self::Room(code)
    }
}

impl RoomCause {
    /// The stable spelling in JSON, documents and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Room(code) => code.as_str(),
            Self::Platform(code) => code.as_str(),
        }
    }
}

impl fmt::Display for RoomCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for RoomCause {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

/// What a check on a room answered. One that was not made names the check that did not pass: it was not
/// reached after it, or is in order as read and unproved without it.
pub type RoomOutcome = CheckOutcome<RoomCause, RoomCheckName>;

impl NotMade for RoomCheckName {
    fn code_and_words(&self) -> (&'static str, String) {
        ("not-reached", format!("`{self}` did not pass"))
    }
}

impl RoomOutcome {
    /// What a check on the platform answered.
    pub(crate) fn of_platform(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Pass => Self::Pass,
            Outcome::Fail { cause, words } => Self::Fail {
                cause: RoomCause::Platform(cause),
                words,
            },
            Outcome::NotEvaluated(Reason::After(check) | Reason::Unproved(check)) => {
                let after = RoomCheckName::of_platform(check);
                Self::NotEvaluated(after.unwrap_or(RoomCheckName::QuoteParse))
            }
            // no room's check on its platform answers that
            Outcome::NotEvaluated(Reason::ArchiveAudit | Reason::NotSupplied) => {
                Self::NotEvaluated(RoomCheckName::Nonce)
            }
        }
    }
}

/// A check on a room with its outcome.
pub type RoomCheck = NamedCheck<RoomCheckName>;

impl CheckKind for RoomCheckName {
    type Cause = RoomCause;
    type Reason = Self;

    const MEMBER: &'static str = "name";

    fn after(stopped: Self) -> Self {
        stopped
    }

    fn unproved(needed: Self) -> Self {
        needed
    }
}
