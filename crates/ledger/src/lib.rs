//! A durable transparency log on disk: group commit into a write-ahead log, C2SP tiles and entry
//! bundles, signed checkpoints, receipts, recovery and a full check. Effects live here; formats and
//! proofs are `proofroom-tlog`. It serves nothing over a network and asks no witness.
//!
//! A leaf is first [`Durable`] (on disk), then [`Integrated`] (in a signed tree head). A witness
//! would make it witnessed; nothing here claims that. After the first storage fault the ledger is
//! failed for good: it must be opened again, which recovers every leaf that was acknowledged.

#![forbid(unsafe_code)]

mod append;
mod error;
pub mod files;
mod frame;
mod fsck;
mod integrate;
mod layout;
mod ledger;
mod reader;
mod recover;
mod status;
mod storage;
mod threads;
mod wal;

pub use append::Appending;
pub use error::{CorruptLedger, LedgerError, StorageFault};
pub use fsck::{FsckReport, fsck};
pub use integrate::Integrated;
pub use ledger::{Clock, KnownHead, Ledger, LedgerOptions};
pub use recover::Recovery;
pub use status::{Durable, LeafStatus};
pub use storage::{AppendFile, DiskStorage, Storage};

#[cfg(test)]
mod tests;
