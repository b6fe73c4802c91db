//! The gateway as a server of its own: who may call it (virtual keys, people's tokens), how much (limits, budgets),
//! over which connections (TLS, caps on everything that a stranger can stretch), and where its
//! records are kept. What happens to a request is the gateway's; nothing here reads a prompt.

#![forbid(unsafe_code)]

mod body;
pub mod config;
mod connection;
mod doorkeeper;
mod front;
mod gate;
mod held;
pub mod identity;
pub mod issuer_client;
pub mod keys;
mod limits;
mod metrics;
pub mod people;
mod prices;
mod ring;
mod server;
mod sessions;
mod state_file;
mod store;
mod telemetry;
mod tls;

pub use config::{Config, ConfigProblem};
pub use keys::{KeyFile, KeyFileError};
pub use prices::{PriceProblem, Prices};
pub use server::{Parts, Server, ServerError};
pub use store::{CheckedRecords, Progress, RecordStore, StoreError, check_records};
pub use telemetry::{TelemetryConfig, TelemetryNews, TelemetryProblem};
