//! The checks on what a report says: against its certificate, and against the policy.

use proofroom_evidence::snp::{SigningKey, SnpClaims, SnpProduct, SnpReport, TcbParts, VekFacts};

use super::{
    Refusal, SnpCheckName, SnpExpectation, SnpOutcome, SnpReason, Work, fits_product, unreadable,
};
use crate::SnpCause;

const SIGNED: &[SnpCheckName] = &[SnpCheckName::ReportSignature];

pub(super) fn check(
    work: &mut Work<'_>,
    report: &SnpReport,
    vek: Option<&VekFacts>,
    expected: SnpExpectation,
) {
    if let Some(vek) = vek {
        endorsement(work, report, vek);
    }
    let claims = report.claims();
    let policy = work.policy;
    let product = vek.map(|vek| vek.product).or(report.product());
    if let Some(product) = product {
        let rests_on = [SnpCheckName::ReportSignature, SnpCheckName::Product];
        let judged = tcb_reaches(work, claims, product);
        work.judge(SnpCheckName::TcbMinimum, &rests_on, judged);
    }
    work.judge(
        SnpCheckName::GuestPolicy,
        SIGNED,
        policy.judge_guest_policy(claims),
    );
    work.judge(
        SnpCheckName::Platform,
        SIGNED,
        policy.judge_platform(claims.platform),
    );
    work.judge(SnpCheckName::Vmpl, SIGNED, policy.judge_vmpl(claims.vmpl));
    work.judge(
        SnpCheckName::ReferenceValues,
        SIGNED,
        policy.judge_reference(claims),
    );
    work.judge(
        SnpCheckName::PlaceholderMeasurement,
        SIGNED,
        measured_by_a_hash(claims),
    );
    binding(work, claims, expected);
}

/// What the certificate says must be what the report says.
fn endorsement(work: &mut Work<'_>, report: &SnpReport, vek: &VekFacts) {
    let claims = report.claims();
    let key = key_fits(work, claims, vek);
    work.judge(SnpCheckName::SigningKey, SIGNED, key);
    let product = fits_product(report, vek.product);
    work.judge(SnpCheckName::Product, SIGNED, product);
    let tcb = reported_tcb_fits(claims, vek);
    work.judge(SnpCheckName::ReportedTcb, SIGNED, tcb);
    let chip = chip_fits(claims, vek).and_then(|()| work.policy.judge_chip(claims.chip_id));
    work.judge(SnpCheckName::ChipId, SIGNED, chip);
}

fn key_fits(work: &Work<'_>, claims: &SnpClaims, vek: &VekFacts) -> Result<(), Refusal> {
    let (named, endorsed) = (claims.signing_key, vek.kind());
    if named != endorsed {
        let words =
            format!("the report names {named} as its signer, the certificate is of a {endorsed}");
        return Err((SnpCause::SigningKeyMismatch, words));
    }
    if named == SigningKey::Vcek && claims.chip_key_masked {
        let words = "the host hides the chip's key, and yet the report names it as its signer";
        return Err((SnpCause::ChipKeyMasked, words.to_owned()));
    }
    work.policy.judge_key(endorsed, vek.csp_id.as_deref())
}

fn reported_tcb_fits(claims: &SnpClaims, vek: &VekFacts) -> Result<(), Refusal> {
    let reported = parts(claims.reported_tcb.parts(vek.product))?;
    if reported == vek.tcb {
        return Ok(());
    }
    let words = format!(
        "the report's TCB is {reported}, the certificate's {}",
        vek.tcb
    );
    Err((SnpCause::ReportedTcbMismatch, words))
}

fn parts<T>(read: Result<T, proofroom_evidence::snp::SnpError>) -> Result<T, Refusal> {
    read.map_err(|error| unreadable(&error))
}

/// A VLEK is loaded into many chips: its certificate names none.
fn chip_fits(claims: &SnpClaims, vek: &VekFacts) -> Result<(), Refusal> {
    let Some(endorsed) = &vek.hardware_id else {
        return Ok(());
    };
    if claims.chip_id.is_masked() {
        let words = "the host hides the chip's id, which the certificate of a VCEK must equal";
        return Err((SnpCause::ChipIdMasked, words.to_owned()));
    }
    if parts(claims.chip_id.significant(vek.product))? == endorsed {
        return Ok(());
    }
    let words = "the certificate is for another chip than the report's".to_owned();
    Err((SnpCause::ChipIdMismatch, words))
}

/// The reported TCB makes the key, the committed one bounds what the firmware can go back to, and the
/// launch one is what loaded the guest: none may be below the minimum.
fn tcb_reaches(work: &Work<'_>, claims: &SnpClaims, product: SnpProduct) -> Result<(), Refusal> {
    let current = parts(claims.current_tcb.parts(product))?;
    let committed = parts(claims.committed_tcb.parts(product))?;
    let reported = parts(claims.reported_tcb.parts(product))?;
    let launch = parts(claims.launch_tcb.parts(product))?;
    if !committed.reaches(&reported) || !current.reaches(&committed) {
        let words = format!(
            "the reported TCB ({reported}) is above the committed one ({committed}), or that above the current one ({current})"
        );
        return Err((SnpCause::TcbInconsistent, words));
    }
    let named: [(&str, TcbParts); 3] = [
        ("reported", reported),
        ("committed", committed),
        ("launch", launch),
    ];
    for (name, tcb) in named {
        work.policy.judge_tcb(product, name, &tcb)?;
    }
    Ok(())
}

fn measured_by_a_hash(claims: &SnpClaims) -> Result<(), Refusal> {
    let Some(byte) = claims.measurement.repeated_byte() else {
        return Ok(());
    };
    let words = format!("the measurement is {byte:#04x} throughout");
    Err((SnpCause::PlaceholderMeasurement, words))
}

fn binding(work: &mut Work<'_>, claims: &SnpClaims, expected: SnpExpectation) {
    let bound = if claims.report_data == *expected.report_data() {
        Ok(())
    } else {
        let words = "the report data is not the expected one".to_owned();
        Err((SnpCause::ReportDataMismatch, words))
    };
    work.judge(SnpCheckName::ReportDataBinding, SIGNED, bound);
    match expected {
        SnpExpectation::Challenge(_) => work.judge(
            SnpCheckName::Freshness,
            &[SnpCheckName::ReportDataBinding],
            Ok(()),
        ),
        SnpExpectation::ArchiveAudit(_) => {
            let unknown = SnpOutcome::NotEvaluated(SnpReason::ArchiveAudit);
            work.set(SnpCheckName::Freshness, unknown);
        }
    }
}
