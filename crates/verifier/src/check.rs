//! The named checks of an appraisal, their outcomes and the fold to one verdict. No check lives
//! here: this is what a check may answer.

use std::{error::Error, fmt};

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::spelled::spelled;

spelled! {
    /// A check. Every appraisal answers every one of them, in this order.
    CheckName {
        /// The document is strict JSON of the known format.
        DocumentParse = "document-parse",
        /// The quote is a TDX quote of a supported version, whole and with nothing behind it.
        QuoteParse = "quote-parse",
        /// The keyset statement is one, in its canonical spelling.
        StatementParse = "statement-parse",
        /// The platform's certificates lead to a root that the policy trusts; none is revoked.
        PckChainRoot = "pck-chain-root",
        /// Certificates, revocation lists, TCB info and QE identity hold at the time of appraisal.
        CollateralTime = "collateral-time",
        /// TCB info and QE identity are signed by the vendor and are about this kind of platform.
        CollateralSignature = "collateral-signature",
        /// The quote is signed by a genuine quoting enclave of that platform.
        QuoteSignature = "quote-signature",
        /// The platform's TCB status is one that the policy accepts or still tolerates.
        TcbStatus = "tcb-status",
        /// The TD cannot be debugged, profiled, migrated or served, and has no other odd attribute.
        TdAttributes = "td-attributes",
        /// The measurements equal one set of the policy's reference values.
        ReferenceValues = "reference-values",
        /// No measurement is a placeholder that no hash function returned.
        PlaceholderRegisters = "placeholder-registers",
        /// The quote's report data is the SHA-512 of the statement.
        ReportDataBinding = "report-data-binding",
        /// The statement carries the challenge of this very relying party.
        Nonce = "nonce",
        /// The statement has not expired and does not promise too much.
        KeysetExpiry = "keyset-expiry",
        /// The statement's model is one that the policy allows.
        Model = "model",
    }
}

spelled! {
    /// Why a check failed. Stable: these codes are in records and documents.
    CauseCode {
        /// See [`CheckName::DocumentParse`].
        DocumentMalformed = "document-malformed",
        /// The quote cannot be read or is of no supported kind.
        QuoteMalformed = "quote-malformed",
        /// The statement cannot be read.
        StatementMalformed = "statement-malformed",
        /// The statement was made for another protocol.
        StatementPurpose = "statement-purpose",
        /// The certificates are not PEM, or lack the root.
        ChainMalformed = "chain-malformed",
        /// The chain ends in a root that the policy does not name.
        RootNotTrusted = "root-not-trusted",
        /// A signature or constraint of the chain does not hold.
        ChainBroken = "chain-broken",
        /// A certificate of the chain is revoked.
        CertificateRevoked = "certificate-revoked",
        /// No revocation list speaks about a certificate of the chain.
        RevocationUnknown = "revocation-unknown",
        /// TCB info or QE identity was issued after the time of appraisal.
        CollateralNotYetValid = "collateral-not-yet-valid",
        /// TCB info or QE identity is too old at the time of appraisal.
        CollateralExpired = "collateral-expired",
        /// A revocation list is too old at the time of appraisal.
        CrlExpired = "crl-expired",
        /// A certificate is not valid yet at the time of appraisal.
        CertificateNotYetValid = "certificate-not-yet-valid",
        /// A certificate is not valid any more at the time of appraisal.
        CertificateExpired = "certificate-expired",
        /// TCB info or QE identity is not what Intel's PCS publishes.
        CollateralMalformed = "collateral-malformed",
        /// A revocation list is malformed or not signed by its issuer.
        CrlInvalid = "crl-invalid",
        /// The signature over TCB info does not verify.
        TcbInfoSignature = "tcb-info-signature",
        /// The signature over the QE identity does not verify.
        QeIdentitySignature = "qe-identity-signature",
        /// The QE identity is that of another kind of enclave (SGX instead of TDX).
        QeIdentityKind = "qe-identity-kind",
        /// The TCB info is that of another kind of platform (SGX instead of TDX).
        TcbInfoKind = "tcb-info-kind",
        /// The TCB info is about another platform family than the PCK certificate.
        FmspcMismatch = "fmspc-mismatch",
        /// The TCB info is about another provisioning enclave than the PCK certificate.
        PceIdMismatch = "pce-id-mismatch",
        /// The quoting enclave's vendor is not Intel.
        QeVendor = "qe-vendor",
        /// The PCK did not sign the quoting enclave's report.
        QeReportSignature = "qe-report-signature",
        /// The quoting enclave did not vouch for the attestation key.
        AttestationKeyNotBound = "attestation-key-not-bound",
        /// The quoting enclave is not the one that the vendor describes.
        QeIdentityMismatch = "qe-identity-mismatch",
        /// The attestation key did not sign header and body.
        QuoteSignatureInvalid = "quote-signature-invalid",
        /// Refused for a reason that has no code of its own; see the words.
        VerifierRefused = "verifier-refused",
        /// The platform meets no TCB level that the vendor lists.
        NoTcbLevel = "no-tcb-level",
        /// The platform's TCB is revoked. No policy can accept that.
        TcbRevoked = "tcb-revoked",
        /// The TDX module is not one that the vendor describes.
        TdxModule = "tdx-module",
        /// The policy neither accepts nor tolerates the TCB status.
        TcbStatusRefused = "tcb-status-refused",
        /// The policy tolerated the TCB status until a date that has passed.
        ToleranceEnded = "tolerance-ended",
        /// An advisory that the policy refuses applies.
        AdvisoryRefused = "advisory-refused",
        /// The collateral is from before the evaluation that the policy demands.
        EvaluationTooOld = "evaluation-too-old",
        /// The policy lists machines, and not this one.
        PpidNotListed = "ppid-not-listed",
        /// The policy lists families of machines, and not this one's.
        FmspcNotListed = "fmspc-not-listed",
        /// The TD is a debug TD.
        TdDebug = "td-debug",
        /// The TD can be profiled.
        TdProfiling = "td-profiling",
        /// A reserved attribute bit is set.
        TdReserved = "td-reserved",
        /// A service TD can act on the TD.
        TdServiceTd = "td-service-td",
        /// The TD can be migrated.
        TdMigratable = "td-migratable",
        /// `SEPT_VE_DISABLE` is off.
        TdSeptVe = "td-sept-ve",
        /// An attribute bit is set that the policy does not allow.
        AttributeNotAllowed = "attribute-not-allowed",
        /// No set of reference values equals the measurements.
        ReferenceMismatch = "reference-mismatch",
        /// A register repeats one byte.
        PlaceholderRegister = "placeholder-register",
        /// The report data is not the statement's SHA-512.
        ReportDataMismatch = "report-data-mismatch",
        /// The statement carries another nonce.
        NonceMismatch = "nonce-mismatch",
        /// The statement has expired.
        KeysetExpired = "keyset-expired",
        /// The statement claims to hold for longer than the policy allows.
        KeysetLifetime = "keyset-lifetime",
        /// The policy does not allow the model.
        ModelNotAllowed = "model-not-allowed",
    }
}

/// Why a check was not made. Never a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The check needs what an earlier check, which failed, would have yielded.
    After(CheckName),
    /// What was looked at is in order, but a check that failed or was not made left it unproved.
    Unproved(CheckName),
    /// Evidence from an archive cannot show that it was fresh.
    ArchiveAudit,
    /// What the check needs beside the evidence was not supplied.
    NotSupplied,
}

impl Reason {
    /// The stable spelling in JSON and documents.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::After(_) => "not-reached",
            Self::Unproved(_) => "unproved",
            Self::ArchiveAudit => "archive-audit",
            Self::NotSupplied => "not-supplied",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(check) => write!(f, "not reached, because `{check}` did not pass"),
            Self::Unproved(check) => {
                write!(f, "in order, but unproved, because `{check}` did not pass")
            }
            Self::ArchiveAudit => {
                f.write_str("evidence from an archive cannot show that it was fresh")
            }
            Self::NotSupplied => f.write_str("what it needs was not supplied"),
        }
    }
}

/// What a check answered: `C` says why it failed, `R` why it was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckOutcome<C, R> {
    /// What the check is about holds.
    Pass,
    /// It does not hold.
    Fail {
        /// Why, for programs.
        cause: C,
        /// Why, for a person.
        words: String,
    },
    /// Nobody looked, or what was seen is unproved.
    NotEvaluated(R),
}

/// What a check on a platform or an upstream answered.
pub type Outcome = CheckOutcome<CauseCode, Reason>;

/// Why a check was not made, as documents and reports spell it.
pub trait NotMade {
    /// The stable code, and words for a person.
    fn code_and_words(&self) -> (&'static str, String);
}

impl NotMade for Reason {
    fn code_and_words(&self) -> (&'static str, String) {
        (self.code(), self.to_string())
    }
}

impl<C, R> CheckOutcome<C, R> {
    pub(crate) fn fail(cause: impl Into<C>, words: impl Into<String>) -> Self {
        Self::Fail {
            cause: cause.into(),
            words: words.into(),
        }
    }

    /// A pass if it `holds`; else a failure with what `words` say.
    pub(crate) fn when<W: Into<String>>(
        holds: bool,
        cause: impl Into<C>,
        words: impl FnOnce() -> W,
    ) -> Self {
        if holds {
            return Self::Pass;
        }
        Self::fail(cause, words())
    }

    /// A failure because something could not be read, with every cause of `error` in its words.
    pub(crate) fn malformed(cause: impl Into<C>, error: &(dyn Error + 'static)) -> Self {
        Self::fail(cause, with_causes(error))
    }

    /// Code and words of an outcome that is no pass.
    #[must_use]
    pub fn code_and_words(&self) -> Option<(String, String)>
    where
        C: fmt::Display,
        R: NotMade,
    {
        match self {
            Self::Pass => None,
            Self::Fail { cause, words } => Some((cause.to_string(), words.clone())),
            Self::NotEvaluated(reason) => {
                let (code, words) = reason.code_and_words();
                Some((code.to_owned(), words))
            }
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

impl<C, R, E: Into<C>> From<Result<(), (E, String)>> for CheckOutcome<C, R> {
    fn from(made: Result<(), (E, String)>) -> Self {
        match made {
            Ok(()) => Self::Pass,
            Err((cause, words)) => Self::fail(cause, words),
        }
    }
}

/// What `error` says, and everything that caused it.
#[must_use]
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    let words: Vec<String> = causes.map(ToString::to_string).collect();
    words.join(": ")
}

/// Writes the members `outcome`, and `code` and `words` where it is no pass.
pub(crate) fn write_outcome<C: Serialize, R: NotMade, M: SerializeMap>(
    outcome: &CheckOutcome<C, R>,
    map: &mut M,
) -> Result<(), M::Error> {
    match outcome {
        CheckOutcome::Pass => map.serialize_entry("outcome", "pass"),
        CheckOutcome::Fail { cause, words } => {
            map.serialize_entry("outcome", "fail")?;
            map.serialize_entry("code", cause)?;
            map.serialize_entry("words", words)
        }
        CheckOutcome::NotEvaluated(reason) => {
            let (code, words) = reason.code_and_words();
            map.serialize_entry("outcome", "not-evaluated")?;
            map.serialize_entry("code", code)?;
            map.serialize_entry("words", &words)
        }
    }
}

/// The names of the checks of one kind of appraisal.
pub trait CheckKind: Copy + PartialEq + Serialize + 'static {
    /// Why one failed.
    type Cause: Clone + Copy + Serialize;
    /// Why one was not made.
    type Reason: Clone + NotMade;

    /// What JSON calls the name.
    const MEMBER: &'static str = "check";

    /// Not reached after `stopped`, which failed.
    fn after(stopped: Self) -> Self::Reason;

    /// In order, but `needed`, which it rests on, did not pass.
    fn unproved(needed: Self) -> Self::Reason;
}

impl CheckKind for CheckName {
    type Cause = CauseCode;
    type Reason = Reason;

    fn after(stopped: Self) -> Reason {
        Reason::After(stopped)
    }

    fn unproved(needed: Self) -> Reason {
        Reason::Unproved(needed)
    }
}

/// What a check of one kind answers.
pub(crate) type OutcomeOf<N> = CheckOutcome<<N as CheckKind>::Cause, <N as CheckKind>::Reason>;

/// A check with its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedCheck<N: CheckKind> {
    /// Which check.
    pub name: N,
    /// What it answered.
    pub outcome: CheckOutcome<N::Cause, N::Reason>,
}

/// A check on a platform or an upstream with its outcome.
pub type Check = NamedCheck<CheckName>;

impl<N: CheckKind> Serialize for NamedCheck<N> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        map.serialize_entry(N::MEMBER, &self.name)?;
        write_outcome(&self.outcome, &mut map)?;
        map.end()
    }
}

/// The checks that an appraisal under way has made, in the order in which it made them.
pub(crate) struct Made<N: CheckKind>(Vec<NamedCheck<N>>);

impl<N: CheckKind> Made<N> {
    pub(crate) const fn none() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn set(&mut self, name: N, outcome: OutcomeOf<N>) {
        self.0.push(NamedCheck { name, outcome });
    }

    /// Answers `name` by whether something could be had, and hands it on.
    pub(crate) fn read<T>(&mut self, name: N, found: Result<T, OutcomeOf<N>>) -> Option<T> {
        let (outcome, found) = match found {
            Ok(found) => (CheckOutcome::Pass, Some(found)),
            Err(outcome) => (outcome, None),
        };
        self.set(name, outcome);
        found
    }

    pub(crate) fn passed(&self, name: N) -> bool {
        find(&self.0, name).is_some_and(|check| matches!(check.outcome, CheckOutcome::Pass))
    }

    pub(crate) fn answered(&self, name: N) -> bool {
        find(&self.0, name).is_some()
    }

    /// `outcome`, unless it is a pass that rests on something that did not pass.
    pub(crate) fn set_if_proved(&mut self, name: N, rests_on: &[N], outcome: OutcomeOf<N>) {
        let missing = rests_on.iter().find(|needed| !self.passed(**needed));
        let outcome = match (missing, outcome) {
            (Some(needed), CheckOutcome::Pass) => CheckOutcome::NotEvaluated(N::unproved(*needed)),
            (_, outcome) => outcome,
        };
        self.set(name, outcome);
    }

    /// Every answer of `judged`, each like [`Self::set_if_proved`].
    pub(crate) fn set_all_if_proved(
        &mut self,
        rests_on: &[N],
        judged: impl IntoIterator<Item = (N, OutcomeOf<N>)>,
    ) {
        for (name, outcome) in judged {
            self.set_if_proved(name, rests_on, outcome);
        }
    }

    /// Takes over what another part of the appraisal made.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn into_checks(self) -> Vec<NamedCheck<N>> {
        self.0
    }

    /// Every check of `names`, once and in that order. One without an answer was not reached after the first
    /// failure, or after `first`.
    pub(crate) fn complete(&self, names: &[N], first: N) -> Vec<NamedCheck<N>> {
        let failed = first_failure(&self.0);
        let stopped = failed.map_or(first, |(name, ..)| name);
        let not_reached = |name| NamedCheck {
            name,
            outcome: CheckOutcome::NotEvaluated(N::after(stopped)),
        };
        let answer = |name: &N| find(&self.0, *name).cloned();
        names
            .iter()
            .map(|name| answer(name).unwrap_or_else(|| not_reached(*name)))
            .collect()
    }
}

pub(crate) fn find<N: CheckKind>(checks: &[NamedCheck<N>], name: N) -> Option<&NamedCheck<N>> {
    checks.iter().find(|check| check.name == name)
}

/// The first check that failed, with its cause and words.
pub(crate) fn first_failure<N: CheckKind>(checks: &[NamedCheck<N>]) -> Option<(N, N::Cause, &str)> {
    checks.iter().find_map(|check| match &check.outcome {
        CheckOutcome::Fail { cause, words } => Some((check.name, *cause, words.as_str())),
        CheckOutcome::Pass | CheckOutcome::NotEvaluated(_) => None,
    })
}

/// The worst outcome of `checks`.
pub(crate) fn verdict_of<N: CheckKind>(checks: &[NamedCheck<N>]) -> Verdict {
    Verdict::worst(checks.iter().map(|check| check.outcome.verdict()))
}

/// Whether every check of `names` was answered, in that order, and all of them passed.
pub(crate) fn all_passed<N: CheckKind>(checks: &[NamedCheck<N>], names: &[N]) -> bool {
    checks.iter().map(|check| &check.name).eq(names) && verdict_of(checks) == Verdict::Accept
}

spelled! {
    /// What an appraisal comes to. Ordered: the worst outcome decides.
    Verdict {
        /// Every check passed.
        Accept = "accept",
        /// No check failed, but not every one was made.
        Incomplete = "incomplete",
        /// A check failed.
        Reject = "reject",
    }
}

impl Verdict {
    /// Folds outcomes to one verdict: the worst of them. No outcomes prove nothing.
    #[must_use]
    pub fn fold<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Self {
        Self::worst(outcomes.into_iter().map(Outcome::verdict))
    }

    /// The worst of `verdicts`; none prove nothing.
    pub(crate) fn worst(verdicts: impl IntoIterator<Item = Self>) -> Self {
        verdicts.into_iter().max().unwrap_or(Self::Incomplete)
    }
}

#[cfg(test)]
mod tests {
    use super::{CauseCode, CheckName, Outcome, Reason, Verdict};

    #[test]
    fn nothing_proved_is_not_success() {
        assert_eq!(Verdict::fold([]), Verdict::Incomplete);
    }

    #[test]
    fn the_worst_outcome_decides() {
        let fail = Outcome::fail(CauseCode::TdDebug, "");
        let skipped = Outcome::NotEvaluated(Reason::ArchiveAudit);
        assert_eq!(Verdict::fold([&Outcome::Pass]), Verdict::Accept);
        assert_eq!(
            Verdict::fold([&Outcome::Pass, &skipped]),
            Verdict::Incomplete
        );
        assert_eq!(Verdict::fold([&skipped, &fail]), Verdict::Reject);
    }

    #[test]
    fn every_spelling_is_unique() {
        for (spellings, count) in [
            (
                CheckName::ALL.iter().map(|c| c.as_str()).collect(),
                CheckName::ALL.len(),
            ),
            (
                CauseCode::ALL.iter().map(|c| c.as_str()).collect(),
                CauseCode::ALL.len(),
            ),
        ] {
            let spellings: std::collections::BTreeSet<&str> = spellings;
            assert_eq!(spellings.len(), count);
        }
    }
}
