//! The shim that a model's operator runs in a TEE before any OpenAI-compatible server. It ends TLS with a key
//! that lives in this process alone; it binds that key, the key of its receipts, the model, its weights, the server's image
//! and what the GPUs show into the machine's quote; and it signs every answer. Nothing is written to a disk, and
//! nothing of requests or answers is logged. What it does not do: it does not start the server, and cannot see
//! which of the files that it read the server loads. Rules: `docs/spec/enclave.md`.

#![forbid(unsafe_code)]

mod answer;
pub mod config;
mod evidence;
mod gpu;
mod harden;
mod keys;
mod proxy;
mod receipts;
mod reply;
mod sealed;
mod server;
pub mod weights;

pub use config::{Config, ConfigProblem};
pub use evidence::{MachineError, Reports, machine};
pub use harden::{HardenError, Kept, harden, keep_from_swap};
pub use server::{Enclave, EnclaveError, Listening};
