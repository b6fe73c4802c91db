//! The receipt of one answer: which request came, which answer went out, for whose challenge. Signed with
//! Ed25519 over the exact text.

use proofroom_canonical::{Digest, Hex, Nonce};
use serde::{Deserialize, Serialize};

use crate::{ServingError, is_model, is_spelling, read, write, write_text};

/// What a receipt's `purpose` must be.
pub const RECEIPT_PURPOSE: &str = "proofroom.serving-receipt.v1";
/// The most bytes of a receipt that are read.
pub const MAX_RECEIPT_BYTES: usize = 4 * 1024;
/// Where receipts are served, each by its challenge.
pub const RECEIPT_PATH: &str = "/.well-known/proofroom/receipt/";
/// The header of a request with the challenge that its receipt must repeat: 64 lower-case hex digits, never
/// used before. The answer repeats it, or names the one that the enclave chose.
pub const RECEIPT_HEADER: &str = "proofroom-receipt";

const WHAT: &str = "receipt";

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptText {
    /// Always [`RECEIPT_PURPOSE`].
    pub purpose: String,
    /// What the client sent to find this receipt by, and to know it from any older one.
    pub challenge: Nonce,
    /// The model that is served.
    pub model: String,
    /// SHA-256 of the request's body, as it arrived.
    pub request_sha256: Digest,
    /// SHA-256 of the answer's body, as it was given out, to its end.
    pub answer_sha256: Digest,
    /// Bytes of the answer's body.
    pub answer_bytes: u64,
}

impl ReceiptText {
    /// Reads a text from its exact bytes.
    ///
    /// # Errors
    /// [`ServingError`] for anything but the one spelling that [`ReceiptText::to_bytes`] gives.
    pub fn parse(bytes: &[u8]) -> Result<Self, ServingError> {
        let text: Self = read(WHAT, bytes, MAX_RECEIPT_BYTES)?;
        if text.purpose != RECEIPT_PURPOSE {
            return Err(ServingError::purpose(WHAT, &text.purpose));
        }
        if !is_model(&text.model) || !is_spelling(&text, bytes) {
            return Err(ServingError::NotCanonical(WHAT));
        }
        Ok(text)
    }

    /// The text's one spelling: compact JSON, members in the order of the fields.
    ///
    /// # Errors
    /// `serving-malformed`, which no text of this type causes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ServingError> {
        write(WHAT, self)
    }

    /// The same as text.
    ///
    /// # Errors
    /// As [`ReceiptText::to_bytes`].
    pub fn to_text(&self) -> Result<String, ServingError> {
        write_text(WHAT, self)
    }
}

/// A receipt as it is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedReceipt {
    /// The exact text that is signed, a [`ReceiptText`].
    pub text: String,
    /// The Ed25519 key that signed it.
    pub key: Hex<32>,
    /// Its signature over the text's bytes.
    pub signature: Hex<64>,
}

impl SignedReceipt {
    /// Reads a receipt of at most [`MAX_RECEIPT_BYTES`]. Its text still has to be parsed, and its signature to be
    /// verified.
    ///
    /// # Errors
    /// `serving-malformed`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ServingError> {
        read(WHAT, bytes, MAX_RECEIPT_BYTES)
    }

    /// The receipt's bytes.
    ///
    /// # Errors
    /// `serving-malformed`, which no receipt of this type causes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ServingError> {
        write(WHAT, self)
    }
}

#[cfg(test)]
mod tests {
    use proofroom_canonical::{Digest, Hex, Nonce};

    use super::{RECEIPT_PURPOSE, ReceiptText, SignedReceipt};

    fn text() -> String {
        let text = ReceiptText {
            purpose: RECEIPT_PURPOSE.to_owned(),
            challenge: Nonce::from_random([7; 32]),
            model: "glm-5".to_owned(),
            request_sha256: Digest::of("request"),
            answer_sha256: Digest::of("answer"),
            answer_bytes: 6,
        };
        let bytes = text.to_bytes().unwrap();
        assert_eq!(ReceiptText::parse(&bytes).unwrap(), text);
        String::from_utf8(bytes).unwrap()
    }

    fn refusal(text: &str) -> &'static str {
        ReceiptText::parse(text.as_bytes()).unwrap_err().code()
    }

    #[test]
    fn only_the_one_spelling_of_a_text_is_accepted() {
        let text = text();
        for (from, to, code) in [
            (",", ", ", "serving-not-canonical"),
            (":6}", ":6.0}", "serving-malformed"),
            (":6}", ":-6}", "serving-malformed"),
            ("\"glm-5\"", "\"\"", "serving-not-canonical"),
            ("serving-receipt", "serving-statement", "serving-purpose"),
            (
                "{\"purpose\"",
                "{\"more\":1,\"purpose\"",
                "serving-malformed",
            ),
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
    }

    #[test]
    fn a_receipt_survives_its_bytes_and_no_shorter_ones() {
        let receipt = SignedReceipt {
            text: text(),
            key: Hex::from_bytes([9; 32]),
            signature: Hex::from_bytes([3; 64]),
        };
        let bytes = receipt.to_bytes().unwrap();
        assert_eq!(SignedReceipt::parse(&bytes).unwrap(), receipt);
        for end in 0..bytes.len() {
            assert!(SignedReceipt::parse(&bytes[..end]).is_err(), "{end}");
        }
        assert!(SignedReceipt::parse(&[&bytes[..], &[b' '; 4096]].concat()).is_err());
    }
}
