//! The first process of a room's virtual machine. It trusts nothing that the host tells it before
//! it has measured it, builds the same room inside that `process` rooms have on a host, and ends
//! with it. The supervisor and the agent are not its business; they run in that room.

mod attest;
mod capture;
mod disks;
mod dm;
mod error;
mod harden;
mod inner;
mod layers;
mod mounts;
mod ports;
mod pump;
mod start;
pub mod verity;
pub mod workspace;

pub use error::InitError;
pub use start::main;
