//! What `proofroom-enclave` says of itself and of its answers, as bytes: the statement that a quote binds, the
//! report in which it is served, and the receipt of one answer. Reads and writes, decides nothing: whether any
//! of it is true is for `proofroom-provider` to say. Rules: `docs/spec/enclave.md`.

#![forbid(unsafe_code)]

mod error;
mod receipt;
mod report;
mod statement;

pub use error::ServingError;
pub use receipt::{
    MAX_RECEIPT_BYTES, RECEIPT_HEADER, RECEIPT_PATH, RECEIPT_PURPOSE, ReceiptText, SignedReceipt,
};
pub use report::{MAX_REPORT_BYTES, REPORT_FORMAT, REPORT_PATH, ServingReport};
pub use statement::{MAX_STATEMENT_BYTES, STATEMENT_PURPOSE, ServingStatement};

use proofroom_canonical::json;
use proofroom_evidence::MAX_MODEL_BYTES;
use serde::Serialize;

/// Whether `bytes` are the one spelling of `value`: compact JSON, members in the order of its fields.
fn is_spelling<T: Serialize>(value: &T, bytes: &[u8]) -> bool {
    json::to_bytes(value).is_ok_and(|written| written == bytes)
}

fn is_model(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_MODEL_BYTES && !name.contains(char::is_control)
}
