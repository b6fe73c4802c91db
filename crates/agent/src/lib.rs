//! The built-in coding agent: asks the model, calls the room's tools, stops. It decides nothing
//! about permission: every tool call is mediated by the room's supervisor, every model call by the
//! gateway, and it holds no key. It distrusts what the model answers.

#![forbid(unsafe_code)]

mod agent;
mod conversation;
mod model;
mod outcome;
mod socket;
mod tools;

pub use agent::{Options, run};
pub use outcome::{Ended, Outcome};
pub use socket::{Reply, Socket, SocketError};
pub use tools::{SYSTEM_PROMPT, tool_specs};
