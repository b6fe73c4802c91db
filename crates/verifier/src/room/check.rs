//! The named checks on a room's evidence and what they may answer.

use proofroom_evidence::EvidenceType;
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use crate::{Verdict, check::spelled};

spelled! {
    /// A check. Which ones are made depends on the evidence's type: [`RoomCheckName::of`].
    RoomCheckName {
        /// Document and evidence are strict JSON of the known formats, each in its one spelling.
        DocumentParse = "document-parse",
        /// The policy accepts this type of evidence.
        EvidenceType = "evidence-type",
        /// The evidence was made at the moment that is asked about.
        Moment = "moment",
        /// The quote is one that a TPM made of its own registers.
        QuoteParse = "quote-parse",
        /// The attestation key is one that its TPM made, keeps, and lets sign nothing but quotes.
        AttestationKey = "attestation-key",
        /// The deployment's CA certified this very attestation key for this session's TPM.
        AkCertificate = "ak-certificate",
        /// The attestation key signed the quote.
        QuoteSignature = "quote-signature",
        /// The quote names the attestation key as its signer, in the endorsement hierarchy.
        QuoteSigner = "quote-signer",
        /// The evidence's statement is the one that the session has, byte for byte.
        Statement = "statement",
        /// The quote carries the digest of that statement.
        QualifyingData = "qualifying-data",
        /// The quote is over exactly the registers that must be judged.
        PcrSelection = "pcr-selection",
        /// The boot log can be read and leaves the register of runtime events alone.
        BootLog = "boot-log",
        /// Boot log and runtime events, replayed, add up to the quoted registers.
        PcrDigest = "pcr-digest",
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
        /// The first runtime event is a boot configuration of the shape and layers of the reference.
        RuntimeBootConfig = "runtime-boot-config",
        /// The second runtime event is the session's assignment.
        RuntimeAssignment = "runtime-assignment",
        /// The room was told this session's nonce before it acted on anything.
        Nonce = "nonce",
    }
}

impl RoomCheckName {
    /// The checks of one type of evidence, in order.
    #[must_use]
    pub const fn of(kind: EvidenceType) -> &'static [Self] {
        match kind {
            EvidenceType::Tpm2 => Self::ALL,
            EvidenceType::Tdx | EvidenceType::SevSnp => Self::ALL,
        }
    }
}

spelled! {
    /// Why a check failed. Stable: these codes are in reports and documents.
    RoomCause {
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
        /// The boot log extends a register that belongs to the guest.
        BootLogRuntimeRegister = "boot-log-runtime-register",
        /// The logs do not add up to the quoted registers.
        PcrDigestMismatch = "pcr-digest-mismatch",
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

/// What a check answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomOutcome {
    /// What the check is about holds.
    Pass,
    /// It does not hold.
    Fail {
        /// Why, for programs.
        cause: RoomCause,
        /// Why, for a person.
        words: String,
    },
    /// Not reached, or in order as read but unproved, because this check did not pass.
    NotEvaluated(RoomCheckName),
}

impl RoomOutcome {
    pub(crate) fn fail(cause: RoomCause, words: impl Into<String>) -> Self {
        Self::Fail {
            cause,
            words: words.into(),
        }
    }

    /// What this outcome alone makes of the whole.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        match self {
            Self::Pass => Verdict::Accept,
            Self::NotEvaluated(_) => Verdict::Incomplete,
            Self::Fail { .. } => Verdict::Reject,
        }
    }
}

/// A named check and its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomCheck {
    /// Which check.
    pub name: RoomCheckName,
    /// What it answered.
    pub outcome: RoomOutcome,
}

impl Serialize for RoomCheck {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        match &self.outcome {
            RoomOutcome::Pass => map.serialize_entry("outcome", "pass")?,
            RoomOutcome::Fail { cause, words } => {
                map.serialize_entry("outcome", "fail")?;
                map.serialize_entry("code", cause)?;
                map.serialize_entry("words", words)?;
            }
            RoomOutcome::NotEvaluated(after) => {
                map.serialize_entry("outcome", "not-evaluated")?;
                map.serialize_entry("code", "not-reached")?;
                map.serialize_entry("words", &format!("`{after}` did not pass"))?;
            }
        }
        map.end()
    }
}
