//! The one place where the ladder calls the verifier for the first protocol: an archived document, the
//! policy's text, and the time to judge at.

use proofroom_canonical::{Digest, Timestamp};
use proofroom_evidence::EvidenceDocument;
use proofroom_verifier::{
    AppraisalPolicy, Freshness, PolicyProblem, Verdict, appraise as appraise_document,
};

use super::{Failure, provider::ProviderProof};

/// What an accepted document says.
pub(super) struct Appraised {
    /// The model that it is about.
    pub(super) model: String,
    /// The key of the connection; none where a provider's evidence binds none and its policy bears with that.
    pub(super) tls_spki: Option<Digest>,
    pub(super) expires: Timestamp,
    /// Name of the policy that accepted it.
    pub(super) policy: String,
    /// The proof that it makes of a provider; none in the first protocol.
    pub(super) provider: Option<ProviderProof>,
}

/// Appraises an archived document as of `at`, with the nonce that it records itself: whoever kept
/// the archive vouches for its freshness, nobody else does.
pub(super) fn appraise(
    document: &[u8],
    policy: &[u8],
    at: Timestamp,
) -> Result<Appraised, Failure> {
    let place = format!("evidence {}", Digest::of(document));
    let (code, title) = ("appraisal-policy", "appraisal policy");
    let policy = read_policy(policy, code, title, |text| {
        AppraisalPolicy::parse(text, "appraisal.toml")
    })?;
    let nonce = EvidenceDocument::parse(document)
        .and_then(|document| document.statement())
        .map_err(|error| Failure::at(&place, error.code(), &error))?
        .nonce;
    let appraisal = appraise_document(document, &policy, Freshness::Challenge(nonce), at);
    if let Some((check, cause)) = appraisal.first_failure() {
        let words = format!("{place}: `{check}` fails at {at}: {cause}");
        return Err(Failure::refused(cause.as_str(), words));
    }
    let verified = appraisal.into_verified().map_err(|appraisal| {
        debug_assert_ne!(appraisal.verdict(), Verdict::Accept);
        let cause = format!("{place}: not every check of it could be made");
        Failure::refused("evidence-incomplete", cause)
    })?;
    Ok(Appraised {
        model: verified.model().to_owned(),
        tls_spki: Some(verified.tls_spki()),
        expires: verified.expires(),
        policy: verified.policy_name().to_owned(),
        provider: None,
    })
}

/// Reads the text of a policy; says the first thing that is wrong with it.
pub(super) fn read_policy<P>(
    bytes: &[u8],
    code: &'static str,
    title: &str,
    parse: impl FnOnce(&str) -> Result<P, Vec<PolicyProblem>>,
) -> Result<P, Failure> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Failure::refused(code, format!("{title} is not text")))?;
    parse(text).map_err(|problems| {
        let first = problems.first().map(ToString::to_string);
        let first = first.unwrap_or_default();
        Failure::refused(code, format!("{title} cannot be used: {first}"))
    })
}
