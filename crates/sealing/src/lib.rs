//! Requests and answers sealed to a key that an enclave's quote binds, so that whoever ends TLS on the way sees
//! ciphertext alone: chunked Oblivious HTTP (draft-ietf-ohai-chunked-ohttp) over HPKE (RFC 9180), with Binary HTTP
//! (RFC 9292) inside. The chunks of a message are counted and its last one is marked, so a message that was cut,
//! reordered, replayed or extended does not open. No I/O and no randomness of its own. Rules: `docs/spec/enclave.md`.

#![forbid(unsafe_code)]

mod answer;
mod chunks;
mod error;
mod message;
mod request;
mod suite;
#[cfg(test)]
mod tests;
mod varint;

pub use answer::{AnswerOpener, AnswerSealer, Piece};
pub use chunks::MAX_CHUNK_BYTES;
pub use error::SealError;
pub use message::{AnswerHead, Fields, Request, RequestHead};
pub use request::{OpenedRequest, RequestOpener, seal_request};
pub use suite::{AnswerSecret, KeyPair};

/// The media type of a sealed request (draft-ietf-ohai-chunked-ohttp, section 3).
pub const REQUEST_TYPE: &str = "message/ohttp-chunked-req";
/// The media type of a sealed answer.
pub const ANSWER_TYPE: &str = "message/ohttp-chunked-res";
