//! The host side of a room at level `process`: its configuration, its start, its resource limits
//! and its observed end. Not the supervisor (crate `guest`), not the mechanisms (crate `confine`).

#![forbid(unsafe_code)]

mod config;
mod error;
mod groups;
mod room;
mod slots;

pub use config::{ConfigProblem, DEFAULT_ROOM, Limits, RoomConfig};
pub use error::RoomError;
pub use proofroom_confine::{Diagnostics, Loopback};
pub use room::{DestructionObserved, Fact, Programs, Room, Spare, sweep};
