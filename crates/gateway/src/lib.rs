//! The confidential gateway.
#![forbid(unsafe_code)]
pub mod config;
