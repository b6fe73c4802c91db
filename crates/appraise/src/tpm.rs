//! Reports on TPM attestations that come without key, signature and certificate.

use proofroom_canonical::Timestamp;
use proofroom_evidence::TpmQuote;
use proofroom_verifier::RoomCheckName;

use crate::{Answer, Kind, Report, Row};

/// A TPMS_ATTEST alone proves nothing: it can be read, and no more.
pub(crate) fn report(evidence: &[u8], at: Timestamp) -> Report {
    let parse = RoomCheckName::QuoteParse.as_str();
    match TpmQuote::parse(evidence) {
        Ok(quote) => {
            let absent = |name: RoomCheckName, what: &str| {
                Row::new(name.as_str(), Answer::not_supplied(what))
            };
            let rows = vec![
                Row::new(parse, Answer::Pass),
                absent(RoomCheckName::AttestationKey, "the attestation key"),
                absent(RoomCheckName::AkCertificate, "the key's certificate"),
                absent(RoomCheckName::QuoteSignature, "the signature"),
                absent(RoomCheckName::QualifyingData, "the statement that it binds"),
                absent(RoomCheckName::PcrDigest, "the event log"),
            ];
            Report::unproved(Kind::TpmQuote, evidence, at, rows)
                .with_fact("qualifying_data", hex::encode(&quote.qualifying_data))
                .with_fact("pcr_digest", hex::encode(&quote.pcr_digest))
        }
        Err(error) => {
            let answer = Answer::Fail {
                code: error.code().to_owned(),
                words: error.to_string(),
            };
            let rows = vec![Row::new(parse, answer)];
            Report::unproved(Kind::TpmQuote, evidence, at, rows)
        }
    }
}
