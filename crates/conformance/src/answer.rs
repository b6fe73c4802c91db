//! What this implementation answers: the production code, and nothing beside it.

use p256::{ecdsa::VerifyingKey, pkcs8::DecodePublicKey as _};
use proofroom_canonical::{Digest, Nonce, Timestamp};
use proofroom_record::dsse::Envelope;
use proofroom_tlog::{LogProof, VerifierKey};
use proofroom_verifier::{Appraisal, AppraisalPolicy, CheckName, Freshness, Outcome, appraise};

use crate::{Answer, Request};

mod gpu;
mod room;
mod snp;
mod vtpm;

/// The code for a request whose own frame (policy, key) cannot be used.
const UNUSABLE: &str = "request-unusable";

/// Answers one request.
#[must_use]
pub fn answer(request: &Request) -> Answer {
    match request {
        Request::UpstreamTdx {
            at,
            nonce,
            policy,
            document,
        } => upstream(&document.0, policy, *nonce, *at),
        Request::Room {
            at,
            policy,
            reference,
            deployment_ca,
            session,
            document,
        } => {
            let asked = room::Asked {
                policy,
                reference: &reference.0,
                deployment_ca,
                session,
                at: *at,
            };
            room::answer(&asked, &document.0)
        }
        Request::Gpu(asked) => gpu::answer(asked),
        Request::Snp(asked) => snp::answer(asked),
        Request::Vtpm(asked) => vtpm::answer(asked),
        Request::Dsse { key, envelope } => dsse(key, &envelope.0),
        Request::TlogProof { key, proof, leaf } => {
            receipt(key, &proof.0, &leaf.0).unwrap_or_else(Answer::reject)
        }
    }
}

fn upstream(document: &[u8], policy: &str, nonce: Option<Nonce>, at: Timestamp) -> Answer {
    let policy = match AppraisalPolicy::parse(policy, "policy.toml") {
        Ok(policy) => policy,
        Err(problems) => {
            return Answer::reject(problems.first().map_or(UNUSABLE, |one| one.code()));
        }
    };
    let freshness = nonce.map_or(Freshness::ArchiveAudit, Freshness::Challenge);
    let appraisal = appraise(document, &policy, freshness, at);
    let failure = appraisal.first_failure();
    Answer {
        verdict: appraisal.verdict().into(),
        check: failure.map(|(check, _)| check.to_string()),
        code: failure.map(|(_, code)| code.to_string()),
        identity: appraisal.quote().map(|quote| quote.to_string()),
        tcb: good_platform(&appraisal),
    }
}

/// The TCB status, where everything about the platform was found to be in order.
fn good_platform(appraisal: &Appraisal) -> Option<String> {
    let passed = |name| *appraisal.outcome(name) == Outcome::Pass;
    let good = passed(CheckName::TcbStatus) && passed(CheckName::TdAttributes);
    appraisal
        .tcb()
        .filter(|_| good)
        .map(|tcb| tcb.status.to_string())
}

fn dsse(key: &str, envelope: &[u8]) -> Answer {
    let Ok(key) = VerifyingKey::from_public_key_pem(key) else {
        return Answer::reject(UNUSABLE);
    };
    let verified = Envelope::parse(envelope).and_then(|envelope| envelope.verify(&key));
    match verified {
        Ok(payload) => Answer::accept(Digest::of(payload.as_bytes()).to_string()),
        Err(error) => Answer::reject(error.code()),
    }
}

fn receipt(key: &str, proof: &[u8], leaf: &[u8]) -> Result<Answer, &'static str> {
    let key = VerifierKey::parse(key).map_err(|error| error.code())?;
    let proof = LogProof::parse(proof).map_err(|error| error.code())?;
    let verified = key
        .verify_proof(&proof, leaf)
        .map_err(|error| error.code())?;
    Ok(Answer::accept(verified.leaf().node().to_base64()))
}
