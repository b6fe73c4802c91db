//! The serving statement: which keys an enclave holds, which model it serves, from which weights and which
//! server image, and what its GPUs showed. Its SHA-512 is the quote's report data, so one quote vouches for all.

use proofroom_canonical::{Digest, Hex, Nonce, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    KEY_CONFIG_BYTES, KeyConfig, ServingError, is_model, is_spelling, read, write, write_text,
};

/// What the `purpose` of a statement without a key for sealed requests must be. A quote over another protocol's text
/// binds nothing here, and this text binds nothing there.
pub const STATEMENT_PURPOSE: &str = "proofroom.serving-statement.v1";
/// What the `purpose` of a statement with such a key must be.
pub const SEALING_PURPOSE: &str = "proofroom.serving-statement.v2";
/// The most bytes of a statement that are read.
pub const MAX_STATEMENT_BYTES: usize = 4 * 1024;

const WHAT: &str = "statement";

/// What an enclave says about itself. A claim until a verified quote binds its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServingStatement {
    /// [`SEALING_PURPOSE`], or [`STATEMENT_PURPOSE`] without `key_config`.
    pub purpose: String,
    /// The nonce that the relying party sent.
    pub nonce: Nonce,
    /// SHA-256 of the DER `SubjectPublicKeyInfo` of the enclave's TLS certificate.
    pub tls_spki_sha256: Digest,
    /// The Ed25519 key that signs receipts.
    pub receipt_key: Hex<32>,
    /// The key that requests may be sealed to, a [`KeyConfig`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_config: Option<Hex<KEY_CONFIG_BYTES>>,
    /// The model that is served, as clients ask for it.
    pub model: String,
    /// SHA-256 of the manifest of the weights' files, each of which the enclave read whole.
    pub weights: Digest,
    /// SHA-256 of the image that the model's server runs from, as the enclave's configuration says.
    pub image: Digest,
    /// SHA-256 of the evidence of the machine's GPUs that is in the same report; `None` where there is none.
    pub gpu_evidence: Option<Digest>,
    /// Until when the enclave stands by this statement.
    pub not_after: Timestamp,
}

impl ServingStatement {
    /// Reads a statement from its exact bytes.
    ///
    /// # Errors
    /// [`ServingError`] for anything but the one spelling that [`ServingStatement::to_bytes`] gives.
    pub fn parse(bytes: &[u8]) -> Result<Self, ServingError> {
        let statement: Self = read(WHAT, bytes, MAX_STATEMENT_BYTES)?;
        let purpose = match statement.key_config {
            Some(_) => SEALING_PURPOSE,
            None => STATEMENT_PURPOSE,
        };
        if statement.purpose != purpose {
            return Err(ServingError::purpose(WHAT, &statement.purpose));
        }
        if statement.key_config.is_some() && statement.sealing_key().is_none() {
            return Err(ServingError::Member {
                what: WHAT,
                member: "key_config",
                problem: "is not one X25519 key for HKDF-SHA256 and ChaCha20-Poly1305",
            });
        }
        if !is_model(&statement.model) {
            return Err(ServingError::Member {
                what: WHAT,
                member: "model",
                problem: "must have 1 to 256 bytes and no control characters",
            });
        }
        if !is_spelling(&statement, bytes) {
            return Err(ServingError::NotCanonical(WHAT));
        }
        Ok(statement)
    }

    /// The key that requests may be sealed to.
    #[must_use]
    pub fn sealing_key(&self) -> Option<KeyConfig> {
        let config = self.key_config.as_ref()?;
        KeyConfig::parse(config.as_bytes())
    }

    /// The statement's one spelling: compact JSON, members in the order of the fields.
    ///
    /// # Errors
    /// `serving-malformed`, which no statement of this type causes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ServingError> {
        write(WHAT, self)
    }

    /// The same as text.
    ///
    /// # Errors
    /// As [`ServingStatement::to_bytes`].
    pub fn to_text(&self) -> Result<String, ServingError> {
        write_text(WHAT, self)
    }
}

#[cfg(test)]
mod tests {
    use proofroom_canonical::{Digest, Hex, Nonce, Timestamp};
    use proofroom_evidence::KeysetStatement;

    use super::{SEALING_PURPOSE, STATEMENT_PURPOSE, ServingStatement};
    use crate::KeyConfig;

    fn statement() -> ServingStatement {
        ServingStatement {
            purpose: STATEMENT_PURPOSE.to_owned(),
            nonce: Nonce::from_random([7; 32]),
            tls_spki_sha256: Digest::of("spki"),
            receipt_key: Hex::from_bytes([9; 32]),
            key_config: None,
            model: "glm-5".to_owned(),
            weights: Digest::of("weights"),
            image: Digest::of("image"),
            gpu_evidence: None,
            not_after: Timestamp::from_unix_seconds(1_800_000_000),
        }
    }

    fn text() -> String {
        String::from_utf8(statement().to_bytes().unwrap()).unwrap()
    }

    fn refusal(text: &str) -> &'static str {
        ServingStatement::parse(text.as_bytes()).unwrap_err().code()
    }

    #[test]
    fn a_statement_survives_its_bytes() {
        assert_eq!(
            ServingStatement::parse(text().as_bytes()).unwrap(),
            statement()
        );
        let with_gpus = ServingStatement {
            gpu_evidence: Some(Digest::of("gpus")),
            ..statement()
        };
        let bytes = with_gpus.to_bytes().unwrap();
        assert_eq!(ServingStatement::parse(&bytes).unwrap(), with_gpus);
    }

    #[test]
    fn its_text_is_as_the_specification_prints_it() {
        let expected = format!(
            "{{\"purpose\":\"proofroom.serving-statement.v1\",\"nonce\":\"{}\",\"tls_spki_sha256\":\"{}\",\
             \"receipt_key\":\"{}\",\"model\":\"glm-5\",\"weights\":\"{}\",\"image\":\"{}\",\
             \"gpu_evidence\":null,\"not_after\":\"2027-01-15T08:00:00.000Z\"}}",
            "07".repeat(32),
            Digest::of("spki"),
            "09".repeat(32),
            Digest::of("weights"),
            Digest::of("image"),
        );
        assert_eq!(text(), expected);
    }

    #[test]
    fn only_the_one_spelling_is_accepted() {
        let text = text();
        for (from, to, code) in [
            (",", ", ", "serving-not-canonical"),
            ("glm-5", "\\u0067lm-5", "serving-not-canonical"),
            ("\"gpu_evidence\":null,", "", "serving-not-canonical"),
            (
                "{\"purpose\"",
                "{\"more\":1,\"purpose\"",
                "serving-malformed",
            ),
            (
                "\"model\"",
                "\"model\":\"other\",\"model\"",
                "serving-malformed",
            ),
            (
                STATEMENT_PURPOSE,
                "proofroom.upstream-keyset.v1",
                "serving-purpose",
            ),
            ("glm-5", "", "serving-member"),
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
        assert_eq!(
            refusal(&format!("{text}{}", " ".repeat(4096))),
            "serving-malformed"
        );
    }

    #[test]
    fn a_key_for_sealed_requests_is_in_a_statement_of_the_second_version_and_in_no_other() {
        let config = KeyConfig::new([5; 32]);
        let second = ServingStatement {
            purpose: SEALING_PURPOSE.to_owned(),
            key_config: Some(config.to_hex()),
            ..statement()
        };
        let text = second.to_text().unwrap();
        let read = ServingStatement::parse(text.as_bytes()).unwrap();
        assert_eq!((&read, read.sealing_key()), (&second, Some(config)));
        let suite = "000400010003";
        assert!(text.contains(suite));
        for (from, to, code) in [
            (SEALING_PURPOSE, STATEMENT_PURPOSE, "serving-purpose"),
            (suite, "000400010001", "serving-member"),
            (suite, "0004000100", "serving-malformed"),
        ] {
            assert_eq!(refusal(&text.replacen(from, to, 1)), code, "{from} {to}");
        }
        let without = self::text().replacen(STATEMENT_PURPOSE, SEALING_PURPOSE, 1);
        assert_eq!(refusal(&without), "serving-purpose");
    }

    #[test]
    fn a_reader_of_the_first_protocol_refuses_it() {
        let refused = KeysetStatement::parse(text().as_bytes()).unwrap_err();
        assert_eq!(refused.code(), "statement-malformed");
    }
}
