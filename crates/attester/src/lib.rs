//! The attesting side of a room (the attester of RFC 9334): TPM 2.0 commands over a plain transport,
//! and the kernel's configfs-tsm. Makes evidence and decides nothing: whether any of it is to be
//! trusted is the verifier's to say. Blocking standard I/O alone, so that the first process of a
//! virtual machine can use it.

#![forbid(unsafe_code)]

mod detect;
mod error;
pub mod tpm2;
mod tpm2_attester;
mod tsm;

pub use detect::{Attester, GuestPaths, NoAttester, detect};
pub use error::AttestError;
pub use tpm2_attester::{MAX_BOOT_LOG_BYTES, QUOTED_PCRS, RUNTIME_PCR, Tpm2Attester};
pub use tsm::{MAX_BLOB_BYTES, Provider, Report, TsmAttester, TsmPaths};
