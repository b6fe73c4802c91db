//! Rung `presentation`, and the writing of bundles. `VERIFY.md` and `report.html` follow from the
//! records alone, so a reader can make them again and compare: neither page can lie.

use proofroom_canonical::{Refusal, Timestamp};

use super::{Anchors, Blame, Check, Failure, Outcome, Requirement, Rungs, climb, render};
use crate::{
    bundle::{self, Bundle, BundleParts, MANIFEST, REPORT_HTML, VERIFY_MD, archive},
    facts::BundleFacts,
};

// What the page shows must follow from the records alone: not from pinned anchors, not from today.
const ON_PAGE: [&str; 12] = [
    "signature",
    "key-chain",
    "checkpoint",
    "inclusion",
    "consistency",
    "times",
    "event-chain",
    "binding",
    "completeness",
    "policies",
    "destruction",
    "isolation",
];

/// Why a bundle was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The records are not what they must be; a bundle of them would be refused.
    #[error("check `{check}` does not hold for these parts: {cause}")]
    Check {
        /// Name of the first check that failed.
        check: &'static str,
        /// Its code.
        code: &'static str,
        /// Its cause.
        cause: String,
    },
    /// The archive cannot hold them.
    #[error(transparent)]
    Archive(#[from] Refusal),
}

impl WriteError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Check { code, .. } => code,
            Self::Archive(error) => error.code(),
        }
    }
}

/// Writes the bundle of `parts` with its pages and manifest. The same parts give the same bytes.
///
/// # Errors
/// [`WriteError::Check`] when a required check refutes the parts: nothing is written that would be
/// rejected. A check that could not be made does not prevent writing.
pub fn write_bundle(parts: &BundleParts) -> Result<Vec<u8>, WriteError> {
    let mut rungs = Rungs::default();
    let end_of_time = Timestamp::from_unix_millis(i64::MAX);
    let facts = climb(&mut rungs, parts, &Anchors::from_bundle(), end_of_time);
    if let Some((check, failure)) = first_failure(&rungs.checks) {
        return Err(WriteError::Check {
            check,
            code: failure.code,
            cause: failure.cause.clone(),
        });
    }
    let mut files = parts.to_files();
    if let Some(facts) = facts {
        files.insert(VERIFY_MD.to_owned(), render::verify_md(&facts).into_bytes());
        files.insert(
            REPORT_HTML.to_owned(),
            render::report_html(&facts, &on_page(&rungs.checks)).into_bytes(),
        );
    }
    files.insert(MANIFEST.to_owned(), bundle::manifest(&files));
    Ok(archive::write(&files)?)
}

fn first_failure(checks: &[Check]) -> Option<(&'static str, &Failure)> {
    checks
        .iter()
        .find_map(|check| match (&check.outcome, check.requirement) {
            (Outcome::Fail(failure), Requirement::Required) => Some((check.name, failure)),
            _ => None,
        })
}

fn on_page(checks: &[Check]) -> Vec<Check> {
    checks
        .iter()
        .filter(|check| ON_PAGE.contains(&check.name))
        .cloned()
        .collect()
}

pub(super) fn check(rungs: &mut Rungs, bundle: &Bundle, facts: Option<&BundleFacts>) {
    let refuted = rungs
        .checks
        .iter()
        .find(|check| matches!(check.outcome, Outcome::Fail(_)) && ON_PAGE.contains(&check.name))
        .map(|check| check.name);
    let (None, Some(facts)) = (refuted, facts) else {
        return rungs.blocked("presentation", refuted.unwrap_or("signature"));
    };
    let shown = on_page(&rungs.checks);
    rungs.require("presentation", || {
        let (format, page) = (render::VERIFY_MD_FORMAT, render::verify_md(facts));
        compare(VERIFY_MD, format, &bundle.verify_md, &page)?;
        let (format, page) = (render::REPORT_FORMAT, render::report_html(facts, &shown));
        compare(REPORT_HTML, format, &bundle.report_html, &page)?;
        let found = "VERIFY.md and report.html say what the records say";
        Ok((found.to_owned(), ()))
    });
}

fn compare(name: &str, format: &str, held: &[u8], made: &str) -> Result<(), Failure> {
    if held == made.as_bytes() {
        return Ok(());
    }
    let known = held
        .strip_prefix(b"<!-- ")
        .is_some_and(|rest| rest.starts_with(format.as_bytes()));
    let cause = format!("{name} is not the page that follows from the records");
    let failure = Failure::refused("page-differs", cause);
    Err(if known || !held.starts_with(b"<!-- proofroom-") {
        failure
    } else {
        failure.blamed(Blame::Unsupported)
    })
}
