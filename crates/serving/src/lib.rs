//! What `proofroom-enclave` says of itself and of its answers, as bytes: the statement that a quote binds, the
//! report in which it is served, and the receipt of one answer. Reads and writes, decides nothing: whether any
//! of it is true is for `proofroom-provider` to say. Rules: `docs/spec/enclave.md`.

#![forbid(unsafe_code)]

mod error;
mod key_config;
mod receipt;
mod report;
mod statement;

pub use error::ServingError;
pub use key_config::{KEY_CONFIG_BYTES, KEY_ID, KeyConfig};
pub use receipt::{
    MAX_RECEIPT_BYTES, RECEIPT_HEADER, RECEIPT_PATH, RECEIPT_PURPOSE, ReceiptText, SignedReceipt,
};
pub use report::{MAX_REPORT_BYTES, REPORT_FORMAT, REPORT_PATH, ServingReport};
pub use statement::{MAX_STATEMENT_BYTES, SEALING_PURPOSE, STATEMENT_PURPOSE, ServingStatement};

/// Where sealed requests are sent, each by `POST`.
pub const SEALED_PATH: &str = "/.well-known/proofroom/sealed";
/// The header of a sealed request with the digest of the key configuration that it is sealed to: a hint for those
/// who route among enclaves, and for an enclave that has another key.
pub const SEALED_TO_HEADER: &str = "proofroom-sealed-to";

use proofroom_canonical::json;
use proofroom_evidence::MAX_MODEL_BYTES;
use serde::{Serialize, de::DeserializeOwned};

/// Strict JSON of at most `max` bytes, as the document that `what` names.
fn read<T: DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
    max: usize,
) -> Result<T, ServingError> {
    json::parse(bytes, max).map_err(|source| ServingError::Malformed { what, source })
}

/// Compact JSON, members in the order of the fields.
fn write<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, ServingError> {
    json::to_bytes(value).map_err(|source| ServingError::Malformed { what, source })
}

/// The same as text.
fn write_text<T: Serialize>(what: &'static str, value: &T) -> Result<String, ServingError> {
    String::from_utf8(write(what, value)?).map_err(|_| ServingError::NotCanonical(what))
}

/// Whether `bytes` are the one spelling of `value`: compact JSON, members in the order of its fields.
fn is_spelling<T: Serialize>(value: &T, bytes: &[u8]) -> bool {
    json::to_bytes(value).is_ok_and(|written| written == bytes)
}

fn is_model(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_MODEL_BYTES && !name.contains(char::is_control)
}
