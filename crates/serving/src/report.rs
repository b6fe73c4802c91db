//! The report that an enclave serves for a nonce: its statement, the quote that binds it, and what its GPUs
//! showed. What Intel says of the platform is not in it: the relying party has that.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proofroom_evidence::MAX_QUOTE_BYTES;
use serde::{Deserialize, Serialize};

use crate::{ServingError, read, write};

/// The `format` member of every report.
pub const REPORT_FORMAT: &str = "proofroom.serving-report.v1";
/// The most bytes of a report that are read: the evidence of eight GPUs has 250,000.
pub const MAX_REPORT_BYTES: usize = 1024 * 1024;
/// Where it is served, with `?nonce=` and 64 lower-case hex digits behind it.
pub const REPORT_PATH: &str = "/.well-known/proofroom/attestation";

const WHAT: &str = "report";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    format: String,
    statement: String,
    quote: String,
    gpu_evidence: Option<String>,
}

/// A report whose outer form is right. Nothing in it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServingReport {
    /// The exact text of the statement.
    pub statement: String,
    /// The quote's bytes.
    pub quote: Vec<u8>,
    /// The exact text of the evidence of the machine's GPUs, if there is any.
    pub gpu_evidence: Option<String>,
}

impl ServingReport {
    /// Reads a report of at most [`MAX_REPORT_BYTES`].
    ///
    /// # Errors
    /// [`ServingError`] for anything but strict JSON with exactly the known members.
    pub fn parse(bytes: &[u8]) -> Result<Self, ServingError> {
        let raw: Raw = read(WHAT, bytes, MAX_REPORT_BYTES)?;
        if raw.format != REPORT_FORMAT {
            return Err(ServingError::purpose(WHAT, &raw.format));
        }
        let quote = STANDARD.decode(&raw.quote).ok();
        let quote = quote.filter(|bytes| bytes.len() <= MAX_QUOTE_BYTES);
        let quote = quote.ok_or(ServingError::Member {
            what: WHAT,
            member: "quote",
            problem: "is not canonical padded base64 of a size that is read",
        })?;
        Ok(Self {
            statement: raw.statement,
            quote,
            gpu_evidence: raw.gpu_evidence,
        })
    }

    /// The report's bytes.
    ///
    /// # Errors
    /// `serving-malformed`, which no report of this type causes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ServingError> {
        let raw = Raw {
            format: REPORT_FORMAT.to_owned(),
            statement: self.statement.clone(),
            quote: STANDARD.encode(&self.quote),
            gpu_evidence: self.gpu_evidence.clone(),
        };
        write(WHAT, &raw)
    }
}

#[cfg(test)]
mod tests {
    use super::ServingReport;

    fn text(gpu_evidence: Option<&str>) -> String {
        let report = ServingReport {
            statement: "{}".to_owned(),
            quote: vec![1, 2],
            gpu_evidence: gpu_evidence.map(str::to_owned),
        };
        let bytes = report.to_bytes().unwrap();
        assert_eq!(ServingReport::parse(&bytes).unwrap(), report);
        String::from_utf8(bytes).unwrap()
    }

    fn refusal(text: &str) -> &'static str {
        ServingReport::parse(text.as_bytes()).unwrap_err().code()
    }

    #[test]
    fn a_report_survives_its_bytes_and_no_other_document_is_one() {
        text(Some("[]"));
        let text = text(None);
        for (from, to, code) in [
            ("serving-report.v1", "serving-report.v2", "serving-purpose"),
            ("AQI=", "AQJ=", "serving-member"),
            ("AQI=", "AQI", "serving-member"),
            ("{\"format\"", "{\"more\":1,\"format\"", "serving-malformed"),
            ("\"quote\"", "\"quote\":\"\",\"quote\"", "serving-malformed"),
        ] {
            assert!(text.contains(from), "{from}");
            assert_eq!(refusal(&text.replacen(from, to, 1)), code, "{from} {to}");
        }
        for end in 0..text.len() {
            assert_eq!(
                refusal(text.get(..end).unwrap()),
                "serving-malformed",
                "{end}"
            );
        }
        let long = "A".repeat(22_000);
        assert_eq!(refusal(&text.replace("AQI=", &long)), "serving-member");
    }
}
