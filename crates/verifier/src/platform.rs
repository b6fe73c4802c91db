//! The checks on the platform under a TD, the same for upstreams and rooms: certificate chain,
//! collateral, quote signature, TCB and the TD's attributes. What runs in the TD is for others.

use proofroom_canonical::{Digest, Timestamp, json};
use proofroom_evidence::{
    Collateral, MAX_DOCUMENT_BYTES, PckFacts, Quote, Register, TdClaims, TdFlaw,
};

use crate::{CauseCode, CheckName, Outcome, TcbFacts, check::Made, dcap, policy::PlatformRule};

const SIGNED: &[CheckName] = &[CheckName::QuoteSignature];
const ABOUT_IT: &[CheckName] = &[CheckName::CollateralSignature];

/// A quote with the vendor's word on its platform.
#[derive(Clone, Copy)]
pub(crate) struct Quoted<'a> {
    pub(crate) quote: &'a Quote,
    /// The bytes that it was parsed from.
    pub(crate) bytes: &'a [u8],
    pub(crate) collateral: &'a Collateral,
}

/// What came of it. A check that was not reached has no outcome here.
pub(crate) struct Findings {
    pub(crate) made: Made<CheckName>,
    pub(crate) tcb: Option<TcbFacts>,
    /// The end of a tolerance that was used.
    pub(crate) tolerated_until: Option<Timestamp>,
}

/// Makes the checks `pck-chain-root` to `td-attributes`.
pub(crate) fn judge(quoted: Quoted<'_>, rule: &PlatformRule, now: Timestamp) -> Findings {
    let mut found = Findings {
        made: Made::none(),
        tcb: None,
        tolerated_until: None,
    };
    match chain(quoted, rule) {
        Ok((root, pck)) => match dcap::verify(quoted.bytes, quoted.collateral, (root, &pck), now) {
            Ok(tcb) => {
                let about = about_this_pce(quoted.collateral, pck.pce_id);
                accept(&mut found, tcb, about, (rule, now));
            }
            Err(refusal) => refuse(&mut found, refusal),
        },
        Err(outcome) => found.made.set(CheckName::PckChainRoot, outcome),
    }
    if !found.made.answered(CheckName::TdAttributes) {
        let outcome = attributes(rule, quoted.quote.claims());
        found
            .made
            .set_if_proved(CheckName::TdAttributes, SIGNED, outcome);
    }
    found
}

fn chain(quoted: Quoted<'_>, rule: &PlatformRule) -> Result<(Vec<u8>, PckFacts), Outcome> {
    let root = trusted_root(quoted, rule)?;
    let pck = quoted
        .quote
        .pck_facts()
        .map_err(|error| Outcome::malformed(CauseCode::ChainMalformed, &error))?;
    Ok((root, pck))
}

fn refuse(found: &mut Findings, refusal: dcap::Refusal) {
    for name in refusal.passed {
        found.made.set(*name, Outcome::Pass);
    }
    let outcome = Outcome::fail(refusal.cause, refusal.words);
    found.made.set(refusal.check, outcome);
}

/// The quote verified; what is left is whether its platform is good enough.
fn accept(
    found: &mut Findings,
    tcb: TcbFacts,
    about: Outcome,
    (rule, now): (&PlatformRule, Timestamp),
) {
    for name in [
        CheckName::PckChainRoot,
        CheckName::CollateralTime,
        CheckName::QuoteSignature,
    ] {
        found.made.set(name, Outcome::Pass);
    }
    found.made.set(CheckName::CollateralSignature, about);
    let outcome = match rule.judge_status(tcb.status, now) {
        Ok(until) => {
            found.tolerated_until = until;
            judge_tcb(rule, &tcb)
        }
        Err(outcome) => outcome,
    };
    found.tcb = Some(tcb);
    found
        .made
        .set_if_proved(CheckName::TcbStatus, ABOUT_IT, outcome);
}

/// TCB info is published per FMSPC and PCEID. `dcap-qvl` compares the first alone.
fn about_this_pce(collateral: &Collateral, pce_id: [u8; 2]) -> Outcome {
    let text = &collateral.tcb_info;
    let found = json::parse_value(text.as_bytes(), MAX_DOCUMENT_BYTES)
        .ok()
        .and_then(|info| info.get("pceId")?.as_str().map(str::to_ascii_lowercase));
    let about_it = found.as_deref() == Some(hex::encode(pce_id).as_str());
    Outcome::when(
        about_it,
        CauseCode::PceIdMismatch,
        || "TCB info is not about the PCEID of the PCK certificate",
    )
}

fn judge_tcb(rule: &PlatformRule, tcb: &TcbFacts) -> Outcome {
    let judged = [
        rule.judge_machine(tcb.ppid, tcb.fmspc),
        rule.judge_evaluation(tcb.evaluation_data_number),
        rule.judge_advisories(&tcb.advisories),
    ];
    let refusal = judged.into_iter().find(|outcome| *outcome != Outcome::Pass);
    refusal.unwrap_or(Outcome::Pass)
}

/// The DER of the root that both the collateral's and the quote's chain end in, if the policy
/// trusts it. Compared by digest, so a changed copy of a root is no root.
fn trusted_root(quoted: Quoted<'_>, rule: &PlatformRule) -> Result<Vec<u8>, Outcome> {
    let missing = |whose: &str| {
        let words = format!("{whose} has no certificate");
        Outcome::fail(CauseCode::ChainMalformed, words)
    };
    let chain = pem::parse_many(&quoted.collateral.tcb_info_issuer_chain).unwrap_or_default();
    let root = chain.into_iter().next_back().map(pem::Pem::into_contents);
    let root = root.ok_or_else(|| missing("TCB info issuer chain of the collateral"))?;
    let chain = quoted.quote.pck_chain().unwrap_or_default();
    let in_quote = chain.into_iter().next_back();
    let in_quote = in_quote.ok_or_else(|| missing("PCK certificate chain of the quote"))?;
    for digest in [&root, &in_quote].map(Digest::of) {
        if !rule.trusts_root(digest) {
            let policy = &rule.policy;
            let words =
                format!("the chain ends in root {digest}, which policy `{policy}` does not trust");
            return Err(Outcome::fail(CauseCode::RootNotTrusted, words));
        }
    }
    if root != in_quote {
        let words = "quote and collateral come from two different roots";
        return Err(Outcome::fail(CauseCode::ChainBroken, words));
    }
    Ok(root)
}

pub(crate) fn attributes(rule: &PlatformRule, claims: &TdClaims) -> Outcome {
    let mut flaws = claims.td_attributes.flaws();
    if claims
        .mr_service_td
        .is_some_and(|bound| bound.repeated_byte() != Some(0))
    {
        flaws.push(TdFlaw::ServiceTd);
    }
    let Some(flaw) = flaws.first() else {
        return rule.judge_attributes(claims.td_attributes);
    };
    let (cause, words) = match flaw {
        TdFlaw::Debug => (CauseCode::TdDebug, "a debug TD: its host can read it"),
        TdFlaw::Profiling => (CauseCode::TdProfiling, "the TD can be profiled by its host"),
        TdFlaw::Reserved => (CauseCode::TdReserved, "a reserved attribute bit is set"),
        TdFlaw::ServiceTd => (CauseCode::TdServiceTd, "a service TD can act on the TD"),
        TdFlaw::Migratable => (CauseCode::TdMigratable, "the TD can be migrated"),
        TdFlaw::SeptVe => (CauseCode::TdSeptVe, "SEPT_VE_DISABLE is off"),
    };
    Outcome::fail(cause, words)
}

/// No register repeats one byte, except that those of `unused` may be all zero.
pub(crate) fn placeholders(claims: &TdClaims, unused: &[Register]) -> Outcome {
    let placeholder = Register::ALL.into_iter().find(|register| {
        match claims.register(*register).repeated_byte() {
            None => false,
            Some(0) => !unused.contains(register),
            Some(_) => true,
        }
    });
    placeholder.map_or(Outcome::Pass, |register| {
        let words = format!("`{register}` repeats one byte, which no measurement does");
        Outcome::fail(CauseCode::PlaceholderRegister, words)
    })
}
