//! Answers of `vtpm`.

use proofroom_canonical::{Digest, json};
use proofroom_evidence::{
    Collateral, HclReport, HclTee, MAX_DOCUMENT_BYTES, VtpmDocument, VtpmGuest,
};
use proofroom_verifier::{
    GcpEvidence, GcpHardware, SnpChain, Verdict, VtpmCause, VtpmCheckName, VtpmEvidence,
    VtpmHardware, VtpmPolicy, appraise_gcp, appraise_vtpm,
};

use super::UNUSABLE;
use crate::{Answer, VtpmRequest};

pub(super) fn answer(asked: &VtpmRequest) -> Answer {
    let policy = match VtpmPolicy::parse(&asked.policy, "policy.toml") {
        Ok(policy) => policy,
        Err(problems) => {
            return Answer::reject(problems.first().map_or(UNUSABLE, |one| one.code()));
        }
    };
    let collateral = asked.collateral.as_ref().map(|bytes| &bytes.0[..]);
    let collateral = match collateral.map(|bytes| json::parse(bytes, MAX_DOCUMENT_BYTES)) {
        Some(Err(_)) => return Answer::reject(UNUSABLE),
        Some(Ok(collateral)) => Some(collateral),
        None => None,
    };
    match VtpmDocument::parse(&asked.document.0) {
        Ok(document) => judged(asked, &policy, &document, collateral.as_ref()),
        Err(error) => Answer {
            check: Some("document-parse".to_owned()),
            ..Answer::reject(error.code())
        },
    }
}

fn judged(
    asked: &VtpmRequest,
    policy: &VtpmPolicy,
    document: &VtpmDocument,
    collateral: Option<&Collateral>,
) -> Answer {
    let td_quote = document.td_quote.as_ref().map(|quote| &quote.0[..]);
    let tdx = td_quote.zip(collateral);
    let pcrs = document.registers();
    let (quote, signature) = (&document.quote.0, &document.signature.0);
    let nonce = asked.nonce.as_bytes();
    match &document.guest {
        VtpmGuest::Azure { hcl_report } => {
            let of_snp = HclReport::parse(&hcl_report.0).is_ok_and(|it| it.tee() == HclTee::Snp);
            let hardware = match (of_snp, chain(asked), tdx) {
                (true, Some(chain), _) => VtpmHardware::Snp(chain),
                (false, _, Some((quote, collateral))) => VtpmHardware::Tdx(quote, collateral),
                _ => VtpmHardware::NotSupplied,
            };
            let evidence = VtpmEvidence {
                hcl_report: &hcl_report.0,
                quote,
                signature,
                pcrs: &pcrs,
                hardware,
            };
            let appraisal = appraise_vtpm(evidence, policy, nonce, asked.at);
            told(document, appraisal.verdict(), appraisal.first_failure())
        }
        VtpmGuest::Gcp {
            ak_certificates,
            event_log,
            snp_report,
        } => {
            let hardware = match (snp_report, chain(asked), tdx) {
                (Some(report), Some(chain), _) => GcpHardware::Snp(&report.0, chain),
                (None, _, Some((quote, collateral))) => GcpHardware::Tdx(quote, collateral),
                _ => GcpHardware::NotSupplied,
            };
            let evidence = GcpEvidence {
                ak_certificates,
                quote,
                signature,
                pcrs: &pcrs,
                event_log: &event_log.0,
                hardware,
            };
            let appraisal = appraise_gcp(evidence, policy, nonce, asked.at);
            told(document, appraisal.verdict(), appraisal.first_failure())
        }
    }
}

fn chain(asked: &VtpmRequest) -> Option<SnpChain<'_>> {
    let chain = asked.chain.as_ref()?;
    Some(SnpChain {
        leaf: &chain.leaf.0,
        intermediate: &chain.intermediate.0,
        root: &chain.root.0,
        crl: chain.crl.as_ref().map(|crl| &crl.0[..]),
    })
}

fn told(
    document: &VtpmDocument,
    verdict: Verdict,
    failure: Option<(VtpmCheckName, VtpmCause, &str)>,
) -> Answer {
    Answer {
        verdict: verdict.into(),
        check: failure.map(|(check, ..)| check.to_string()),
        code: failure.map(|(_, cause, _)| cause.as_str().to_owned()),
        identity: Some(Digest::of(&document.quote.0).to_string()),
        tcb: None,
    }
}
