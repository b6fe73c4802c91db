//! The words that every Proofroom crate shares: digests, typed identifiers, time, secrets, levels
//! and strict JSON. Pure: no I/O, no clock, no randomness of its own.

#![forbid(unsafe_code)]

mod digest;
mod hexadecimal;
mod id;
pub mod json;
mod level;
mod refusal;
mod sensitive;
mod time;

pub use digest::{Digest, DigestError, Hasher};
pub use hexadecimal::{Hex, HexError, lower_hex};
pub use id::{IdError, Nonce, RunId, SessionId};
pub use level::{EvidenceLevel, IsolationLevel};
pub use refusal::Refusal;
pub use sensitive::{Sensitive, Wipe, Wiped};
pub use time::{Timestamp, TimestampError};
