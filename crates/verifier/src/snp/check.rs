//! The named checks on an SNP report and what they may answer.

use std::fmt;

use crate::{
    check::{CheckKind, CheckOutcome, NamedCheck, NotMade},
    spelled::spelled,
};

spelled! {
    /// A check. Every appraisal answers every one of them, in this order.
    SnpCheckName {
        /// The report is an SNP report of a supported version, whole, with every reserved bit in its place.
        ReportParse = "report-parse",
        /// Three certificates of the shapes that AMD's root, signing key and chip keys have.
        ChainParse = "chain-parse",
        /// The root certificate is one that the policy trusts.
        ChainRoot = "chain-root",
        /// Root signed signing key, signing key signed chip key, each for that use.
        ChainSignatures = "chain-signatures",
        /// All three certificates hold at the time of appraisal.
        ChainTime = "chain-time",
        /// The root's revocation list is at hand and names none of the certificates.
        Revocation = "revocation",
        /// The chip key signed the report.
        ReportSignature = "report-signature",
        /// The kind of key is the one that the report names, and the policy accepts it.
        SigningKey = "signing-key",
        /// Certificate and report are about the same product.
        Product = "product",
        /// The certificate is for the TCB that the report names.
        ReportedTcb = "reported-tcb",
        /// The certificate is for the chip that the report names, and the policy accepts that chip.
        ChipId = "chip-id",
        /// No part of the platform is below the policy's minimum, now, committed and at launch.
        TcbMinimum = "tcb-minimum",
        /// The guest cannot be debugged or migrated, and started under conditions that the policy accepts.
        GuestPolicy = "guest-policy",
        /// The platform has everything that the policy demands.
        Platform = "platform",
        /// The report was asked for at a privilege level that the policy accepts.
        Vmpl = "vmpl",
        /// The measurement and what belongs to it equal one set of the policy's reference values.
        ReferenceValues = "reference-values",
        /// The measurement is no placeholder that no hash function returned.
        PlaceholderMeasurement = "placeholder-measurement",
        /// The report data is what the relying party expects.
        ReportDataBinding = "report-data-binding",
        /// What the report data binds was made for this very exchange.
        Freshness = "freshness",
    }
}

spelled! {
    /// Why a check failed. Stable: these codes are in reports and documents.
    SnpCause {
        /// The report is too short.
        Truncated = "snp-truncated",
        /// Bytes follow the report.
        TrailingBytes = "snp-trailing-bytes",
        /// A version that is not supported.
        Version = "snp-version",
        /// A processor that is not supported.
        Processor = "snp-processor",
        /// A signature algorithm that is not supported.
        Algorithm = "snp-algorithm",
        /// A reserved value of the signing key.
        SigningKeyReserved = "snp-signing-key",
        /// A privilege level that no guest has.
        VmplReserved = "snp-vmpl",
        /// A reserved bit does not have its value.
        Reserved = "snp-reserved",
        /// The signature is not written in its one way.
        SignatureEncoding = "snp-signature-encoding",
        /// The certificate of the chip key cannot be read.
        VekCertificate = "vek-certificate-malformed",
        /// The certificate of the chip key lacks one of AMD's extensions.
        VekExtension = "vek-extension-malformed",
        /// A certificate is not DER X.509, or not of AMD's shape.
        ChainMalformed = "chain-malformed",
        /// The policy does not name the root.
        RootNotTrusted = "root-not-trusted",
        /// A signature, name or constraint of the chain does not hold.
        ChainBroken = "chain-broken",
        /// A certificate is not valid yet at the time of appraisal.
        CertificateNotYetValid = "certificate-not-yet-valid",
        /// A certificate is not valid any more at the time of appraisal.
        CertificateExpired = "certificate-expired",
        /// The revocation list is malformed or not signed by the root.
        CrlInvalid = "crl-invalid",
        /// The revocation list does not hold at the time of appraisal.
        CrlExpired = "crl-expired",
        /// A certificate of the chain is revoked.
        CertificateRevoked = "certificate-revoked",
        /// The chip key did not sign the report.
        ReportSignatureInvalid = "report-signature-invalid",
        /// The report says that no key signed it.
        ReportUnsigned = "report-unsigned",
        /// The report names another kind of key than the certificate.
        SigningKeyMismatch = "signing-key-mismatch",
        /// The policy does not accept the kind of key.
        SigningKeyRefused = "signing-key-refused",
        /// The host hides the chip's key, and yet that key is named as the signer.
        ChipKeyMasked = "chip-key-masked",
        /// The policy does not accept keys of this cloud provider.
        CspRefused = "csp-refused",
        /// Report and certificate are about different products.
        ProductMismatch = "product-mismatch",
        /// The certificate is for another TCB than the report's.
        ReportedTcbMismatch = "reported-tcb-mismatch",
        /// The host hides the chip's id, so that it cannot be compared.
        ChipIdMasked = "chip-id-masked",
        /// The certificate is for another chip than the report's.
        ChipIdMismatch = "chip-id-mismatch",
        /// The policy does not accept the chip.
        ChipRefused = "chip-refused",
        /// The policy has no minimum for the product, so it accepts none of it.
        ProductRefused = "product-refused",
        /// A part of the platform is below the policy's minimum.
        TcbBelowMinimum = "tcb-below-minimum",
        /// The reported TCB is above the committed one, or that above the current one.
        TcbInconsistent = "tcb-inconsistent",
        /// The guest may be debugged by the host.
        GuestDebug = "guest-debug",
        /// The guest may be moved elsewhere, or a migration agent is bound to it.
        GuestMigratable = "guest-migratable",
        /// The guest policy allows something that the appraisal policy does not.
        PolicyBitNotAllowed = "policy-bit-not-allowed",
        /// The guest policy lacks something that the appraisal policy demands.
        PolicyBitMissing = "policy-bit-missing",
        /// The guest would run under an older ABI than the policy's.
        AbiTooOld = "abi-too-old",
        /// The platform lacks something that the policy demands.
        PlatformBitMissing = "platform-bit-missing",
        /// The policy does not accept the privilege level.
        VmplRefused = "vmpl-refused",
        /// No set of reference values equals the report.
        ReferenceMismatch = "reference-mismatch",
        /// The measurement repeats one byte.
        PlaceholderMeasurement = "placeholder-measurement",
        /// The report data is not the expected one.
        ReportDataMismatch = "report-data-mismatch",
    }
}

/// Why a check was not made. Never a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnpReason {
    /// The check needs what an earlier check, which failed, would have yielded.
    After(SnpCheckName),
    /// What was looked at is in order, but a check that failed or was not made left it unproved.
    Unproved(SnpCheckName),
    /// Nobody supplied the root's revocation list.
    NoRevocationList,
    /// Evidence from an archive cannot show that it was fresh.
    ArchiveAudit,
}

impl SnpReason {
    /// The stable spelling in JSON and documents.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::After(_) => "not-reached",
            Self::Unproved(_) => "unproved",
            Self::NoRevocationList => "no-revocation-list",
            Self::ArchiveAudit => "archive-audit",
        }
    }
}

impl fmt::Display for SnpReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(check) => write!(f, "not reached, because `{check}` did not pass"),
            Self::Unproved(check) => {
                write!(f, "in order, but unproved, because `{check}` did not pass")
            }
            Self::NoRevocationList => f.write_str("nobody supplied the root's revocation list"),
            Self::ArchiveAudit => {
                f.write_str("evidence from an archive cannot show that it was fresh")
            }
        }
    }
}

/// What a check on an SNP report answered.
pub type SnpOutcome = CheckOutcome<SnpCause, SnpReason>;

impl NotMade for SnpReason {
    fn code_and_words(&self) -> (&'static str, String) {
        (self.code(), self.to_string())
    }
}

/// A check on an SNP report with its outcome.
pub type SnpCheck = NamedCheck<SnpCheckName>;

impl CheckKind for SnpCheckName {
    type Cause = SnpCause;
    type Reason = SnpReason;

    fn after(stopped: Self) -> SnpReason {
        SnpReason::After(stopped)
    }

    fn unproved(needed: Self) -> SnpReason {
        SnpReason::Unproved(needed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{SnpCause, SnpCheckName};

    #[test]
    fn every_spelling_is_unique() {
        let names: BTreeSet<&str> = SnpCheckName::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(names.len(), SnpCheckName::ALL.len());
        let causes: BTreeSet<&str> = SnpCause::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(causes.len(), SnpCause::ALL.len());
    }
}
