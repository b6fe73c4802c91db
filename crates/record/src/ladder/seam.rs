//! The one place where the ladder calls the verifier: an archived document, the policy's text, and
//! the time to judge at.

use proofroom_canonical::{Digest, Timestamp};
use proofroom_evidence::EvidenceDocument;
use proofroom_verifier::{AppraisalPolicy, Freshness, Verdict, appraise as appraise_document};

use super::Failure;

/// What an accepted document says.
#[derive(Clone, Debug)]
pub(super) struct Appraised {
    pub(super) tls_spki: Digest,
    pub(super) expires: Timestamp,
    pub(super) policy: String,
}

/// Appraises an archived document as of `at`, with the nonce that it records itself: whoever kept
/// the archive vouches for its freshness, nobody else does.
pub(super) fn appraise(
    document: &[u8],
    policy: &[u8],
    at: Timestamp,
) -> Result<Appraised, Failure> {
    let place = format!("evidence {}", Digest::of(document));
    let policy = parse_policy(policy)?;
    let nonce = EvidenceDocument::parse(document)
        .and_then(|document| document.statement())
        .map_err(|error| Failure::at(&place, error.code(), &error))?
        .nonce;
    let appraisal = appraise_document(document, &policy, Freshness::Challenge(nonce), at);
    if let Some((check, cause)) = appraisal.first_failure() {
        let cause_words = format!(
            "{place}: `{}` fails at {at}: {}",
            check.as_str(),
            cause.as_str()
        );
        return Err(Failure::refused(cause.as_str(), cause_words));
    }
    let verified = appraisal.into_verified().map_err(|appraisal| {
        debug_assert_ne!(appraisal.verdict(), Verdict::Accept);
        Failure::refused(
            "evidence-incomplete",
            format!("{place}: not every check of it could be made"),
        )
    })?;
    Ok(Appraised {
        tls_spki: verified.tls_spki(),
        expires: verified.expires(),
        policy: verified.policy_name().to_owned(),
    })
}

fn parse_policy(bytes: &[u8]) -> Result<AppraisalPolicy, Failure> {
    let refuse = |words: String| Failure::refused("appraisal-policy", words);
    let text = std::str::from_utf8(bytes)
        .map_err(|_| refuse("appraisal policy is not text".to_owned()))?;
    AppraisalPolicy::parse(text, "appraisal.toml").map_err(|problems| {
        let first = problems
            .first()
            .map(ToString::to_string)
            .unwrap_or_default();
        refuse(format!("appraisal policy cannot be used: {first}"))
    })
}
