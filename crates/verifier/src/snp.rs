//! The appraisal of an AMD SEV-SNP report: every check in order on report and certificates, and what
//! they come to. Total, like [`crate::appraise`]: any bytes give an appraisal, because refusing them
//! is one.

use proofroom_canonical::{Digest, Timestamp};
use proofroom_evidence::{
    Measurement, REPORT_DATA_BYTES,
    snp::{ChipId, SigningKey, SnpError, SnpProduct, SnpReport, TcbParts, VekFacts, check_layout},
};
use serde::Serialize;

use crate::{
    Assurance, SnpAppraisalPolicy, Verdict,
    check::{Made, all_passed, find, first_failure, verdict_of},
};

mod chain;
mod check;
mod claims;
mod pki;
mod verified;

pub use check::{SnpCause, SnpCheck, SnpCheckName, SnpOutcome, SnpReason};
pub use verified::VerifiedSnp;

/// AMD's certificates for one report, each DER, and the root's revocation list.
#[derive(Clone, Copy, Debug)]
pub struct SnpChain<'a> {
    /// The certificate of the chip key: VCEK or VLEK.
    pub leaf: &'a [u8],
    /// The certificate of the key that signed it: ASK or ASVK.
    pub intermediate: &'a [u8],
    /// The root certificate: ARK. Trusted only if the policy names its digest.
    pub root: &'a [u8],
    /// The root's revocation list. Without one the `revocation` check is not evaluated, and nothing
    /// is accepted.
    pub crl: Option<&'a [u8]>,
}

/// What report data the relying party expects, and what that shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnpExpectation {
    /// Data that the relying party made for this very exchange, over a nonce of its own (RFC 9334
    /// section 10.2).
    Challenge([u8; REPORT_DATA_BYTES]),
    /// Data from an archive. Its freshness cannot be shown any more, so the `freshness` check is not
    /// evaluated and the appraisal is at best incomplete.
    ArchiveAudit([u8; REPORT_DATA_BYTES]),
}

impl SnpExpectation {
    const fn report_data(&self) -> &[u8; REPORT_DATA_BYTES] {
        match self {
            Self::Challenge(data) | Self::ArchiveAudit(data) => data,
        }
    }
}

/// What the platform is, once report and certificates agree on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnpFacts {
    /// The product line.
    pub product: SnpProduct,
    /// The kind of key that signed.
    pub signing_key: SigningKey,
    /// The chip, unless the host hides it; hex.
    #[serde(serialize_with = "as_text", skip_serializing_if = "Option::is_none")]
    pub chip_id: Option<ChipId>,
    /// The cloud provider that the key was loaded for, with a VLEK alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csp_id: Option<String>,
    /// The TCB that the key stands for.
    pub reported_tcb: TcbParts,
}

fn as_text<T: std::fmt::Display, S: serde::Serializer>(
    value: &Option<T>,
    s: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => s.collect_str(value),
        None => s.serialize_none(),
    }
}

/// What an SNP report is worth under a policy at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnpAppraisal {
    policy: String,
    policy_digest: Digest,
    assurance: Assurance,
    at: Timestamp,
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<SnpFacts>,
    checks: Vec<SnpCheck>,
    #[serde(skip)]
    measurement: Option<Measurement>,
    #[serde(skip)]
    report_data: [u8; REPORT_DATA_BYTES],
    #[serde(skip)]
    expires: Option<Timestamp>,
}

impl SnpAppraisal {
    /// All checks, each of [`SnpCheckName::ALL`] once and in that order.
    #[must_use]
    pub fn checks(&self) -> &[SnpCheck] {
        &self.checks
    }

    /// What `name` answered.
    #[must_use]
    pub fn outcome(&self, name: SnpCheckName) -> &SnpOutcome {
        const UNANSWERED: SnpOutcome =
            SnpOutcome::NotEvaluated(SnpReason::After(SnpCheckName::ReportParse));
        find(&self.checks, name).map_or(&UNANSWERED, |check| &check.outcome)
    }

    /// The worst outcome of all checks.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The first check that failed, with its cause and words.
    #[must_use]
    pub fn first_failure(&self) -> Option<(SnpCheckName, SnpCause, &str)> {
        first_failure(&self.checks)
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

    /// SHA-256 of the report's signed part, if it could be read.
    #[must_use]
    pub const fn report(&self) -> Option<Digest> {
        self.report
    }

    /// What the platform is, if report and certificates agree on it under a signature that verified.
    #[must_use]
    pub const fn platform(&self) -> Option<&SnpFacts> {
        self.platform.as_ref()
    }

    /// Turns an accepted appraisal into the type that stands for a verified guest.
    ///
    /// # Errors
    /// The appraisal itself, unless every check passed.
    pub fn into_verified(self) -> Result<VerifiedSnp, Box<Self>> {
        let passed = all_passed(&self.checks, SnpCheckName::ALL);
        let (true, Some(platform), Some(report), Some(measurement), Some(expires)) = (
            passed,
            &self.platform,
            self.report,
            self.measurement,
            self.expires,
        ) else {
            return Err(Box::new(self));
        };
        Ok(VerifiedSnp {
            platform: platform.clone(),
            report,
            measurement,
            report_data: self.report_data,
            expires,
            policy_name: self.policy,
            policy_digest: self.policy_digest,
            assurance: self.assurance,
        })
    }
}

/// Appraises `report` with the certificates of `chain` under `policy` as of `now`.
#[must_use]
pub fn appraise_snp(
    report: &[u8],
    chain: SnpChain<'_>,
    policy: &SnpAppraisalPolicy,
    expected: SnpExpectation,
    now: Timestamp,
) -> SnpAppraisal {
    let mut work = Work {
        policy,
        now,
        made: Made::none(),
        expires: Vec::new(),
    };
    let report = work.read_report(report);
    let vek = chain::check(&mut work, chain, report.as_ref());
    if let Some(report) = &report {
        claims::check(&mut work, report, vek.as_ref(), expected);
    }
    work.finish(report.as_ref(), vek.as_ref(), expected)
}

/// Why something is refused.
type Refusal = (SnpCause, String);

/// An appraisal under way.
struct Work<'a> {
    policy: &'a SnpAppraisalPolicy,
    now: Timestamp,
    made: Made<SnpCheckName>,
    /// The ends of everything that the appraisal rests on.
    expires: Vec<Timestamp>,
}

impl Work<'_> {
    fn set(&mut self, name: SnpCheckName, outcome: SnpOutcome) {
        self.made.set(name, outcome);
    }

    /// The outcome of `judged`, unless it is a pass that rests on something that did not pass.
    fn judge(
        &mut self,
        name: SnpCheckName,
        rests_on: &[SnpCheckName],
        judged: Result<(), Refusal>,
    ) {
        let outcome = match judged {
            Ok(()) => SnpOutcome::Pass,
            Err((cause, words)) => SnpOutcome::fail(cause, words),
        };
        self.made.set_if_proved(name, rests_on, outcome);
    }

    fn read_report(&mut self, report: &[u8]) -> Option<SnpReport> {
        match SnpReport::parse(report) {
            Ok(report) => {
                self.set(SnpCheckName::ReportParse, SnpOutcome::Pass);
                Some(report)
            }
            Err(error) => {
                let (cause, words) = unreadable(&error);
                self.set(SnpCheckName::ReportParse, SnpOutcome::fail(cause, words));
                None
            }
        }
    }

    /// The earliest end of everything that the appraisal rests on.
    fn expires(&self) -> Option<Timestamp> {
        let own_limit = self.now.after_seconds(self.policy.max_age_seconds());
        self.expires.iter().copied().chain([own_limit]).min()
    }

    /// What report and certificates agree on.
    fn platform(&self, report: &SnpReport, vek: &VekFacts) -> Option<SnpFacts> {
        let agreed = [
            SnpCheckName::ReportSignature,
            SnpCheckName::Product,
            SnpCheckName::ReportedTcb,
        ];
        if !agreed.into_iter().all(|name| self.made.passed(name)) {
            return None;
        }
        let claims = report.claims();
        Some(SnpFacts {
            product: vek.product,
            signing_key: claims.signing_key,
            chip_id: (!claims.chip_id.is_masked()).then_some(claims.chip_id),
            csp_id: vek.csp_id.clone(),
            reported_tcb: vek.tcb,
        })
    }

    fn finish(
        self,
        report: Option<&SnpReport>,
        vek: Option<&VekFacts>,
        expected: SnpExpectation,
    ) -> SnpAppraisal {
        let checks = self
            .made
            .complete(SnpCheckName::ALL, SnpCheckName::ReportParse);
        SnpAppraisal {
            policy: self.policy.name().to_owned(),
            policy_digest: self.policy.digest(),
            assurance: self.policy.assurance(),
            at: self.now,
            verdict: verdict_of(&checks),
            report: report.map(SnpReport::identity),
            platform: report
                .zip(vek)
                .and_then(|(report, vek)| self.platform(report, vek)),
            measurement: report.map(|report| report.claims().measurement),
            report_data: *expected.report_data(),
            expires: self.expires(),
            checks,
        }
    }
}

/// What a part that could not be read makes of its check.
fn unreadable(error: &SnpError) -> Refusal {
    let cause = match error {
        SnpError::Truncated { .. } => SnpCause::Truncated,
        SnpError::TrailingBytes { .. } => SnpCause::TrailingBytes,
        SnpError::Version(_) => SnpCause::Version,
        SnpError::Processor { .. } => SnpCause::Processor,
        SnpError::Algorithm(_) => SnpCause::Algorithm,
        SnpError::SigningKey(_) => SnpCause::SigningKeyReserved,
        SnpError::Vmpl(_) => SnpCause::VmplReserved,
        SnpError::SignatureEncoding => SnpCause::SignatureEncoding,
        SnpError::VekCertificate => SnpCause::VekCertificate,
        SnpError::VekExtension(_) => SnpCause::VekExtension,
        _ => SnpCause::Reserved,
    };
    (cause, error.to_string())
}

/// Refuses a report that is not of `product`, or not laid out as `product` does.
fn fits_product(report: &SnpReport, product: SnpProduct) -> Result<(), Refusal> {
    if let Some(found) = report.product().filter(|found| *found != product) {
        let words = format!("the report is of a {found}, the certificate of a {product}");
        return Err((SnpCause::ProductMismatch, words));
    }
    check_layout(report.claims(), product).map_err(|error| unreadable(&error))
}
