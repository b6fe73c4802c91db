//! Stand-ins for hardware and upstreams, for tests and the demonstration. Not for production: what
//! this crate signs is signed with keys that anybody can derive.

#![forbid(unsafe_code)]

pub mod azure;
pub mod bedrock;
pub mod cassette;
mod der;
pub mod enclave;
pub mod event_log;
pub mod gcp;
pub mod gpu;
pub mod image;
pub mod issuer;
pub mod provider;
pub mod service_account;
pub mod simulated_guest;
pub mod snp;
pub mod td;
pub mod tee;
pub mod tls;
pub mod tpm;
pub mod tsm;
