//! The attesting side of a room (the attester of RFC 9334): TPM 2.0 commands over a plain transport.
//! Makes evidence and decides nothing: whether any of it is to be trusted is the verifier's to say.
//! Blocking standard I/O alone, so that the first process of a virtual machine can use it.

#![forbid(unsafe_code)]

pub mod tpm2;
