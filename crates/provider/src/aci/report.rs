//! The attestation report of a service, taken apart without trust. Members that are not named here are not read:
//! where the sources lie (`source_provenance`) and how it says to serve are in no quote.

use proofroom_canonical::{
    Digest,
    json::{self, JsonError},
    lower_hex,
};
use proofroom_evidence::MAX_QUOTE_BYTES;
use serde::Deserialize;
use serde_json::Value;

use super::{API_VERSION, custody::RawCustody};
use crate::{MAX_REPORT_BYTES, ReportError, log::RawLog};

/// What a service says of itself.
#[derive(Debug)]
pub(crate) struct AciReport {
    /// The digest that it gives for its keyset.
    pub(crate) keyset_digest: Digest,
    /// The keyset as served.
    pub(crate) keyset: Value,
    /// The first half of the report data that it says its quote has.
    pub(crate) report_data: [u8; 32],
    pub(crate) quote: Vec<u8>,
    pub(crate) log: RawLog,
    pub(crate) compose: String,
    pub(crate) custody: Option<RawCustody>,
}

#[derive(Deserialize)]
struct Raw {
    api_version: String,
    workload_keyset_digest: String,
    attestation: RawAttestation,
}

#[derive(Deserialize)]
struct RawAttestation {
    tee_type: String,
    workload_keyset: Value,
    report_data: String,
    evidence: RawEvidence,
}

#[derive(Deserialize)]
struct RawEvidence {
    quote: String,
    #[serde(default)]
    event_log: Option<RawLog>,
    #[serde(default)]
    app_compose: Option<String>,
    #[serde(default)]
    key_custody: Option<RawCustody>,
}

impl AciReport {
    /// Reads a report of at most [`MAX_REPORT_BYTES`].
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ReportError> {
        let document: Result<Raw, JsonError> = json::parse(bytes, MAX_REPORT_BYTES);
        let raw = document.map_err(ReportError::Document)?;
        if raw.api_version != API_VERSION {
            return Err(member("api_version", "is not `aci/1`"));
        }
        let attestation = raw.attestation;
        if attestation.tee_type != "tdx" {
            return Err(member(
                "tee_type",
                "is not `tdx`, the only one that is read",
            ));
        }
        let digest = raw.workload_keyset_digest.strip_prefix("sha256:");
        let digest = digest.and_then(lower_hex).map(Digest::from_bytes);
        let evidence = attestation.evidence;
        let quote = hex::decode(evidence.quote.trim_start_matches("0x"));
        let quote = quote.ok().filter(|quote| quote.len() <= MAX_QUOTE_BYTES);
        Ok(Self {
            keyset_digest: digest.ok_or(member("workload_keyset_digest", "is no SHA-256"))?,
            keyset: attestation.workload_keyset,
            report_data: lower_hex(&attestation.report_data)
                .ok_or(member("report_data", "is not 32 bytes in hex"))?,
            quote: quote.ok_or(member("quote", "is not hex of a size that is read"))?,
            // a log without events adds up to nothing, and an empty deployment is none that was measured
            log: evidence.event_log.unwrap_or(RawLog::List(Vec::new())),
            compose: evidence.app_compose.unwrap_or_default(),
            custody: evidence.key_custody,
        })
    }
}

const fn member(member: &'static str, problem: &'static str) -> ReportError {
    ReportError::Member { member, problem }
}
