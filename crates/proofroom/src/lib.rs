//! The one-machine server behind the `proofroom` command: session service, host end of the room's
//! channel, git broker, the deployment's keys, and what is written about each session.

#![forbid(unsafe_code)]

pub mod backends;
pub mod broker;
mod causes;
pub mod collateral;
pub mod control;
pub mod isolation;
pub mod journal;
pub mod journal_text;
pub mod judge;
pub mod keys;
pub mod log;
pub mod login;
pub mod measure;
pub mod policies;
pub mod policy_history;
pub mod progress;
pub mod proxy;
pub mod replay;
pub mod service;
pub mod session;
pub mod shadow_rules;
pub mod shelf;
pub mod state;
pub mod upstreams;
pub mod verified_gateway;

pub use proofroom_ledger::files;
