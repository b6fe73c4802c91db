//! The gateway as a server of its own: who may call it (virtual keys), how much (limits, budgets),
//! over which connections (TLS, caps on everything that a stranger can stretch), and where its
//! records are kept. What happens to a request is the gateway's; nothing here reads a prompt.

#![forbid(unsafe_code)]

mod body;
pub mod config;
mod connection;
mod front;
mod gate;
pub mod identity;
pub mod keys;
mod limits;
mod metrics;
mod prices;
mod ring;
mod server;
mod sessions;
mod store;
mod tls;

pub use config::{Config, ConfigProblem};
pub use keys::{KeyFile, KeyFileError};
pub use prices::{PriceProblem, Prices};
pub use server::{Parts, Server, ServerError};
pub use store::{CheckedRecords, Progress, RecordStore, StoreError, check_records};
