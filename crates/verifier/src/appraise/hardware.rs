//! The checks that rest on the vendor's keys: certificate chain, collateral, quote signature, TCB.

use proofroom_canonical::{Digest, json};
use proofroom_evidence::{EvidenceDocument, MAX_DOCUMENT_BYTES, PckFacts, Quote};

use super::{TcbFacts, Work};
use crate::{CauseCode, CheckName, Outcome, dcap};

pub(super) fn check(work: &mut Work<'_>, document: &EvidenceDocument) {
    let Some(quote) = work.quote.clone() else {
        return;
    };
    let root = match trusted_root(work, document, &quote) {
        Ok(root) => root,
        Err(outcome) => {
            work.set(CheckName::PckChainRoot, outcome);
            return;
        }
    };
    let pck = match quote.pck_facts() {
        Ok(facts) => facts,
        Err(error) => {
            let outcome = super::malformed(CauseCode::ChainMalformed, &error);
            work.set(CheckName::PckChainRoot, outcome);
            return;
        }
    };
    let verified = dcap::verify(
        document.quote_bytes(),
        document.collateral(),
        root,
        work.now,
    );
    match verified {
        Ok(platform) => accept(work, document, platform, &pck),
        Err(refusal) => {
            for name in refusal.passed {
                work.set(*name, Outcome::Pass);
            }
            work.set(
                refusal.check,
                Outcome::Fail {
                    cause: refusal.cause,
                    words: refusal.words,
                },
            );
        }
    }
}

/// The quote verified; what is left is whether its platform is good enough.
fn accept(
    work: &mut Work<'_>,
    document: &EvidenceDocument,
    platform: dcap::Platform,
    pck: &PckFacts,
) {
    for name in [
        CheckName::PckChainRoot,
        CheckName::CollateralTime,
        CheckName::QuoteSignature,
    ] {
        work.set(name, Outcome::Pass);
    }
    let about = about_this_pce(document, pck.pce_id);
    work.set(CheckName::CollateralSignature, about);
    work.tcb = Some(TcbFacts {
        status: platform.status,
        advisories: platform.advisories,
        evaluation_data_number: platform.evaluation,
        fmspc: pck.fmspc,
        collateral_expires: platform.collateral_expires,
    });
    let outcome = judge_tcb(work);
    work.set_if_proved(
        CheckName::TcbStatus,
        &[CheckName::CollateralSignature],
        outcome,
    );
}

/// TCB info is published per FMSPC and PCEID. `dcap-qvl` compares the first alone.
fn about_this_pce(document: &EvidenceDocument, pce_id: [u8; 2]) -> Outcome {
    let text = &document.collateral().tcb_info;
    let found = json::parse_value(text.as_bytes(), MAX_DOCUMENT_BYTES)
        .ok()
        .and_then(|info| info.get("pceId")?.as_str().map(str::to_ascii_lowercase));
    if found.as_deref() == Some(hex::encode(pce_id).as_str()) {
        return Outcome::Pass;
    }
    Outcome::fail(
        CauseCode::PceIdMismatch,
        "TCB info is not about the PCEID of the PCK certificate",
    )
}

fn judge_tcb(work: &mut Work<'_>) -> Outcome {
    let Some(tcb) = &work.tcb else {
        return Outcome::fail(CauseCode::VerifierRefused, "no TCB status");
    };
    match work.policy.judge_status(tcb.status, work.now) {
        Ok(until) => work.tolerated_until = until,
        Err(outcome) => return outcome,
    }
    let evaluation = work.policy.judge_evaluation(tcb.evaluation_data_number);
    if evaluation != Outcome::Pass {
        return evaluation;
    }
    work.policy.judge_advisories(&tcb.advisories)
}

/// The DER of the root that both the collateral's and the quote's chain end in, if the policy
/// trusts it. Compared by digest, so a changed copy of a root is no root.
fn trusted_root(
    work: &Work<'_>,
    document: &EvidenceDocument,
    quote: &Quote,
) -> Result<Vec<u8>, Outcome> {
    let malformed = |words: &str| Outcome::fail(CauseCode::ChainMalformed, words);
    let root = pem::parse_many(&document.collateral().tcb_info_issuer_chain)
        .ok()
        .and_then(|mut chain| chain.pop())
        .ok_or_else(|| malformed("TCB info issuer chain of the collateral has no certificate"))?
        .into_contents();
    let quoted = quote
        .pck_chain()
        .ok()
        .and_then(|mut chain| chain.pop())
        .ok_or_else(|| malformed("PCK certificate chain of the quote has no certificate"))?;
    for candidate in [&root, &quoted] {
        let digest = Digest::of(candidate);
        if !work.policy.trusts_root(digest) {
            return Err(Outcome::fail(
                CauseCode::RootNotTrusted,
                format!(
                    "the chain ends in root {digest}, which policy `{}` does not trust",
                    work.policy.name()
                ),
            ));
        }
    }
    if root != quoted {
        return Err(Outcome::fail(
            CauseCode::ChainBroken,
            "quote and collateral come from two different roots",
        ));
    }
    Ok(root)
}
