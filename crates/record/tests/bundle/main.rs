//! Bundles from fixed seeds: what is accepted, what each of many mutations is refused for, and that
//! no byte of a bundle is free.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "a test: what does not hold ends it"
)]

mod accepted;
mod fixture;
mod flips;
mod lies;
mod mutations;
mod providers;
mod version;

use proofroom_canonical::Timestamp;
use proofroom_record::{
    bundle::{Files, archive},
    ladder::{Anchors, Outcome, Report, Requirement, verify_bundle, write_bundle},
};

fn now() -> Timestamp {
    fixture::at(86_400)
}

fn good() -> Vec<u8> {
    write_bundle(&fixture::Fixture::default().parts()).unwrap()
}

fn good_files() -> Files {
    archive::read(&good()).unwrap()
}

fn verify(bytes: &[u8]) -> Report {
    verify_bundle(bytes, &Anchors::from_bundle(), now())
}

/// The first required check that failed, with its code; or that was not evaluated, with `-`.
fn first_problem(report: &Report) -> (&'static str, &'static str) {
    let required = || {
        report
            .checks
            .iter()
            .filter(|check| check.requirement == Requirement::Required)
    };
    let failed = required().find_map(|check| match &check.outcome {
        Outcome::Fail(failure) => Some((check.name, failure.code)),
        _ => None,
    });
    let skipped = || {
        required()
            .find(|check| matches!(check.outcome, Outcome::NotEvaluated { .. }))
            .map(|check| (check.name, "-"))
    };
    failed.or_else(skipped).unwrap_or(("none", "accepted"))
}
