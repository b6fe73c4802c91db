//! The keyset statement: which TLS key an attested upstream holds, for which model, until when. Its
//! SHA-512 is the quote's report data, so one quote vouches for everything that it names.

use proofroom_canonical::{Digest, Nonce, Timestamp, json};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha512};

use crate::{EvidenceError, REPORT_DATA_BYTES};

/// What a statement's `purpose` must be. A quote over another protocol's text binds nothing here.
pub const PURPOSE: &str = "proofroom.upstream-keyset.v1";
/// The most bytes of a statement that are read.
pub const MAX_STATEMENT_BYTES: usize = 4 * 1024;
/// The most bytes of a model's name.
pub const MAX_MODEL_BYTES: usize = 256;

/// The 64 bytes that a TD puts into its quote.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ReportData([u8; REPORT_DATA_BYTES]);

impl ReportData {
    /// The report data that binds `statement`: SHA-512 of its exact bytes.
    #[must_use]
    pub fn of_statement(statement: &[u8]) -> Self {
        Self(Sha512::digest(statement).into())
    }

    /// The 64 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; REPORT_DATA_BYTES] {
        &self.0
    }
}

impl std::fmt::Debug for ReportData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// What an attested upstream says about itself. A claim until a verified quote binds its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysetStatement {
    /// Always [`PURPOSE`].
    pub purpose: String,
    /// The nonce that the relying party sent.
    pub nonce: Nonce,
    /// SHA-256 of the DER `SubjectPublicKeyInfo` of the upstream's TLS certificate.
    pub tls_spki_sha256: Digest,
    /// The model that the upstream serves.
    pub model: String,
    /// Until when the upstream stands by this statement.
    pub not_after: Timestamp,
}

impl KeysetStatement {
    /// Reads a statement from its exact bytes.
    ///
    /// # Errors
    /// `statement-malformed`, `statement-purpose`, `document-member` for an unusable model name, or
    /// `statement-not-canonical` unless the bytes are what [`KeysetStatement::to_bytes`] writes.
    pub fn parse(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let statement: Self =
            json::parse(bytes, MAX_STATEMENT_BYTES).map_err(EvidenceError::Statement)?;
        if statement.purpose != PURPOSE {
            return Err(EvidenceError::StatementPurpose(
                statement.purpose.chars().take(80).collect(),
            ));
        }
        let model = &statement.model;
        if model.is_empty() || model.len() > MAX_MODEL_BYTES || model.contains(char::is_control) {
            return Err(EvidenceError::Member(
                "model",
                "must have 1 to 256 bytes and no control characters",
            ));
        }
        if statement.to_bytes()? != bytes {
            return Err(EvidenceError::StatementNotCanonical);
        }
        Ok(statement)
    }

    /// The statement's one spelling: compact JSON, members in the order of the fields.
    ///
    /// # Errors
    /// `statement-malformed`, which no statement of this type causes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EvidenceError> {
        json::to_bytes(self).map_err(EvidenceError::Statement)
    }
}

#[cfg(test)]
mod tests {
    use super::{Digest, EvidenceError, KeysetStatement, Nonce, PURPOSE, Timestamp};

    fn statement() -> KeysetStatement {
        KeysetStatement {
            purpose: PURPOSE.to_owned(),
            nonce: Nonce::from_random([7; 32]),
            tls_spki_sha256: Digest::of("spki"),
            model: "glm-5".to_owned(),
            not_after: Timestamp::from_unix_seconds(1_800_000_000),
        }
    }

    fn refusal(text: &str) -> &'static str {
        KeysetStatement::parse(text.as_bytes()).unwrap_err().code()
    }

    #[test]
    fn a_statement_survives_its_bytes() {
        let bytes = statement().to_bytes().unwrap();
        assert_eq!(KeysetStatement::parse(&bytes).unwrap(), statement());
    }

    #[test]
    fn only_the_one_spelling_is_accepted() {
        let text = String::from_utf8(statement().to_bytes().unwrap()).unwrap();
        let spaced = text.replace(",", ", ");
        assert_eq!(refusal(&spaced), "statement-not-canonical");
        let escaped = text.replace("glm-5", "\\u0067lm-5");
        assert_eq!(refusal(&escaped), "statement-not-canonical");
        let added = text.replace("{\"purpose\"", "{\"extra_key\":\"x\",\"purpose\"");
        assert_eq!(refusal(&added), "statement-malformed");
        let twice = text.replace("\"model\"", "\"model\":\"other\",\"model\"");
        assert_eq!(refusal(&twice), "statement-malformed");
    }

    #[test]
    fn a_statement_for_another_protocol_is_refused() {
        let text = String::from_utf8(statement().to_bytes().unwrap()).unwrap();
        let other = text.replace(PURPOSE, "aci.keyset.v1");
        assert_eq!(refusal(&other), "statement-purpose");
    }

    #[test]
    fn an_empty_model_is_refused() {
        let text = String::from_utf8(statement().to_bytes().unwrap()).unwrap();
        let refused = KeysetStatement::parse(text.replace("glm-5", "").as_bytes());
        assert!(matches!(refused, Err(EvidenceError::Member("model", _))));
    }
}
