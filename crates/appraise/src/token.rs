//! Reports on tokens of NVIDIA's attestation service that come without the devices' own evidence.

use proofroom_canonical::Timestamp;
use proofroom_evidence::gpu::{DetachedEat, Jws};
use proofroom_verifier::gpu::GpuCheckName;

use crate::{Answer, Kind, Report, Row};

/// A token alone is never accepted: it speaks about reports, and is judged beside them.
pub(crate) fn report(evidence: &[u8], at: Timestamp) -> Report {
    let rows = match DetachedEat::parse(evidence) {
        Ok(token) => vec![
            Row::new(GpuCheckName::TokenParse.as_str(), Answer::Pass),
            Row::new(GpuCheckName::TokenSignature.as_str(), signature(&token)),
            Row::new(
                GpuCheckName::TokenClaims.as_str(),
                Answer::not_supplied("the devices' own evidence, which a token is judged beside,"),
            ),
        ],
        Err(error) => vec![Row::new(
            GpuCheckName::TokenParse.as_str(),
            Answer::Fail {
                code: "gpu-token-malformed".to_owned(),
                words: error.to_string(),
            },
        )],
    };
    Report::unproved(Kind::NrasToken, evidence, at, rows)
}

fn signature(token: &DetachedEat) -> Answer {
    let unsigned =
        |jws: &Jws| jws.header().alg.eq_ignore_ascii_case("none") || jws.signature().is_empty();
    if std::iter::once(token.overall())
        .chain(token.submodules().values())
        .any(unsigned)
    {
        return Answer::Fail {
            code: "gpu-token-unsigned".to_owned(),
            words: "a token has no signature: anybody can write it".to_owned(),
        };
    }
    Answer::not_evaluated(
        "needs-policy",
        "a policy names the key sets that are trusted",
    )
}
