//! What a session leaves behind: a hash-chained event log, signed records, and the bundle that
//! holds them, with the ladder of checks by which a stranger verifies it offline. Pure: no I/O, no
//! clock, no randomness of its own.

#![forbid(unsafe_code)]

pub mod attest_api;
pub mod bundle;
pub mod certificate;
pub mod chain;
pub mod event;
pub mod facts;
pub mod gateway;
pub mod head;
pub mod ladder;
pub mod policy_version;
pub mod predicate;
pub mod render;
pub mod room_api;
pub mod spiffe;
pub mod statement;

pub use proofroom_dsse as dsse;
